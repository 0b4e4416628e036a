"""The improved residual network of ArcFace (Deng et al. 2019): a face as an embedding.

Parameter names are those of the public ArcFace state dicts (IResNet of insightface).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

DEPTHS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 14, 3), 100: (3, 13, 30, 3)}
WIDTHS = (64, 128, 256, 512)
EPS = 1e-5


@dataclass(frozen=True)
class IResNetConfig:
    depth: int = 100  # 18, 34, 50 or 100
    embedding: int = 512

    def __post_init__(self):
        if self.depth not in DEPTHS:
            raise ValueError(f"no IResNet of depth {self.depth}; choose one of {', '.join(map(str, DEPTHS))}")


class IResNet(nn.Module):
    """Aligned faces (N, 3, 112, 112) in [-1, 1] -> embeddings (N, 512), not normalised."""

    def __init__(self, config: IResNetConfig = IResNetConfig()):
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0], EPS)
        self.prelu = nn.PReLU(WIDTHS[0])
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(Bottleneck(i, o, 2), *(Bottleneck(o, o) for _ in range(depth - 1)))
            for i, o, depth in zip((WIDTHS[0], *WIDTHS[:-1]), WIDTHS, DEPTHS[config.depth], strict=True)
        )
        self.bn2 = nn.BatchNorm2d(WIDTHS[-1], EPS)
        self.fc = nn.Linear(WIDTHS[-1] * 7 * 7, config.embedding)
        self.features = nn.BatchNorm1d(config.embedding, EPS)

    def forward(self, faces: Tensor) -> Tensor:
        x = self.prelu(self.bn1(self.conv1(faces)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.features(self.fc(self.bn2(x).flatten(1)))

    @torch.no_grad()
    def fold(self) -> None:
        """Folds batch norms into the adjacent convolutions and linear layer, in place, for inference.

        A batch norm before a padded convolution stays, since its shift does not apply to the padding.
        """
        self.conv1, self.bn1 = fused(self.conv1, self.bn1), nn.Identity()
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            for block in layer:
                cast(Bottleneck, block).fold()
        before, after = _affine(self.bn2), _affine(self.features)
        places = self.fc.in_features // WIDTHS[-1]
        scale, shift = (part.repeat_interleave(places) for part in before)
        weight, bias = self.fc.weight * scale, self.fc.bias + self.fc.weight @ shift
        self.fc.weight.copy_(weight * after[0][:, None])
        self.fc.bias.copy_(bias * after[0] + after[1])
        self.bn2, self.features = nn.Identity(), nn.Identity()


class Bottleneck(nn.Module):
    """BN-conv-BN-PReLU-conv-BN with a shortcut (Han et al. 2017): (N, C, h, w) -> (N, D, h / stride, w / stride)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs, EPS)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs, EPS)
        self.prelu = nn.PReLU(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, stride, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs, EPS)
        self.downsample = nn.Identity()
        if stride != 1:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs, EPS)
            )

    def forward(self, x: Tensor) -> Tensor:
        h = self.prelu(self.bn2(self.conv1(self.bn1(x))))
        return self.bn3(self.conv2(h)) + self.downsample(x)

    def fold(self) -> None:
        """As IResNet.fold."""
        self.conv1, self.bn2 = fused(self.conv1, self.bn2), nn.Identity()
        self.conv2, self.bn3 = fused(self.conv2, self.bn3), nn.Identity()
        if isinstance(self.downsample, nn.Sequential):
            self.downsample = fused(*self.downsample)


def fused(conv: nn.Module, norm: nn.Module) -> nn.Conv2d:
    """One convolution that replaces a convolution and the batch norm after it."""
    return fuse_conv_bn_eval(cast(nn.Conv2d, conv), cast(nn.BatchNorm2d, norm))


def _affine(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm in evaluation mode."""
    norm = cast(nn.BatchNorm2d, norm)
    scale = norm.weight * (cast(Tensor, norm.running_var) + norm.eps).rsqrt()
    return scale, norm.bias - cast(Tensor, norm.running_mean) * scale
