"""AEI-Net, the generator of CSCS: makes a face from the attributes of a target image and an identity embedding.

First stage of FaceShifter (Li et al. 2020) as released with CSCS; names are those of the released state dict.
`AEINet` is the plain form for training and for loading weights; `FusedAEINet` computes the same faster.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

DOWN = (32, 64, 128, 256, 512, 1024, 1024)  # channels after each stride-2 convolution of the encoder
UP = (1024, 512, 256, 128, 64, 32)  # channels after each transposed convolution, without the skip connection
ATTRIBUTES = (1024, 2048, 1024, 512, 256, 128, 64, 64)  # channels of the 8 attribute maps, 2 to 256 px
WIDTHS = (1024, 1024, 1024, 1024, 512, 256, 128, 64, 3)  # channels into each of the 8 blocks, and out of the last
_LAST = 3  # the last blocks, whose masks make the attention map


@dataclass(frozen=True)
class AEIConfig:
    identity: int = 512  # width of the embedding; 1024 with a `concat` adapter


class AEINet(nn.Module):
    """Target images (N, 3, 256, 256) in [-1, 1], identity embeddings (N, Z) -> swapped images like the targets."""

    def __init__(self, config: AEIConfig = AEIConfig()):
        super().__init__()
        self.config = config
        self.encoder = AttributeEncoder()
        self.generator = Generator(config.identity)

    def forward(self, target: Tensor, z: Tensor, masks: list[list[Tensor]] | None = None) -> Tensor:
        """`masks`, if given, receives a list for each of the 8 blocks, 2 to 256 px: the masks M of its AAD layers,
        (N, 1, h, w), 1 where the identity is used, 0 where the attributes are. A third one belongs to the shortcut.
        """
        return self.generator(self.encoder(target), z, masks)


def attention(masks: list[list[Tensor]], size: int) -> Tensor:
    """Where the generator uses the identity, (N, 1, size, size) 0..1: the mean of the AAD masks M of the last blocks
    (64 to 256 px), resized. `masks` as AEINet.forward fills it."""
    last = [mask for block in masks[-_LAST:] for mask in block]
    same = [nnf.interpolate(mask, (size, size), mode="bilinear", antialias=True) for mask in last]
    return torch.stack(same).mean(0).clamp(0, 1)


class AttributeEncoder(nn.Module):
    """U-Net: images (N, 3, 256, 256) in [-1, 1] -> 8 attribute maps, ATTRIBUTES channels at 2, 4, ... 256 px."""

    def __init__(self):
        super().__init__()
        for index, (inputs, outputs) in enumerate(zip((3, *DOWN[:-1]), DOWN, strict=True), 1):
            down = nn.Sequential(nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False), nn.BatchNorm2d(outputs))
            self.add_module(f"conv{index}", down)
        for index, (inputs, outputs) in enumerate(zip(ATTRIBUTES[:6], UP, strict=True), 1):
            self.add_module(f"deconv{index}", Deconvolution(inputs, outputs))

    def forward(self, pictures: Tensor) -> list[Tensor]:
        features = [pictures]
        for index in range(1, len(DOWN) + 1):
            features.append(nnf.leaky_relu(self.get_submodule(f"conv{index}")(features[-1]), 0.1))
        maps = [features.pop()]
        for index in range(1, len(UP) + 1):
            raised = nnf.leaky_relu(self.get_submodule(f"deconv{index}")(maps[-1]), 0.1)
            maps.append(torch.cat([raised, features.pop()], 1))
        return [*maps, double(maps[-1])]


class Deconvolution(nn.Module):
    """Transposed convolution with stride 2, then batch norm: (N, C, h, w) -> (N, D, 2h, 2w)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(inputs, outputs, 4, 2, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.deconv(x))


class Generator(nn.Module):
    """8 attribute maps and embeddings (N, Z) -> images (N, 3, 256, 256) in [-1, 1]."""

    def __init__(self, identity: int):
        super().__init__()
        self.up1 = nn.ConvTranspose2d(identity, WIDTHS[0], 2)
        for index, attributes in enumerate(ATTRIBUTES, 1):
            self.add_module(f"AADBlk{index}", AADBlock(WIDTHS[index - 1], WIDTHS[index], attributes, identity))

    def forward(self, maps: list[Tensor], z: Tensor, masks: list[list[Tensor]] | None = None) -> Tensor:
        h = self.up1(z[..., None, None])
        for index, attributes in enumerate(maps, 1):
            seen: list[Tensor] = []
            h = self.get_submodule(f"AADBlk{index}")(h if index == 1 else double(h), attributes, z, seen)
            if masks is not None:
                masks.append(seen)
        return h.tanh()


class AADBlock(nn.Module):
    """Residual block of two AAD-ReLU-convolution steps, (N, C, h, w) -> (N, D, h, w); a third one is the shortcut if
    C differs from D."""

    def __init__(self, inputs: int, outputs: int, attributes: int, identity: int):
        super().__init__()
        self.AAD1 = AADLayer(inputs, attributes, identity)
        self.conv1 = nn.Conv2d(inputs, inputs, 3, 1, 1, bias=False)
        self.AAD2 = AADLayer(inputs, attributes, identity)
        self.conv2 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = inputs != outputs
        if self.shortcut:
            self.AAD3 = AADLayer(inputs, attributes, identity)
            self.conv3 = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)

    def forward(self, x: Tensor, attributes: Tensor, z: Tensor, masks: list[Tensor]) -> Tensor:
        h = self.conv1(self.AAD1(x, attributes, z, masks).relu())
        h = self.conv2(self.AAD2(h, attributes, z, masks).relu())
        if self.shortcut:
            x = self.conv3(self.AAD3(x, attributes, z, masks).relu())
        return x + h


class AADLayer(nn.Module):
    """Adaptive attentional denormalisation (FaceShifter, equations 2 to 6), (N, C, h, w) -> same. Appends M."""

    def __init__(self, width: int, attributes: int, identity: int):
        super().__init__()
        self.conv1 = nn.Conv2d(attributes, width, 1)
        self.conv2 = nn.Conv2d(attributes, width, 1)
        self.fc1 = nn.Linear(identity, width)
        self.fc2 = nn.Linear(identity, width)
        self.conv_h = nn.Conv2d(width, 1, 1)

    def forward(self, h: Tensor, attributes: Tensor, z: Tensor, masks: list[Tensor]) -> Tensor:
        h = nnf.instance_norm(h)
        a = self.conv1(attributes) * h + self.conv2(attributes)  # gamma * h + beta from the attributes
        i = self.fc1(z)[..., None, None] * h + self.fc2(z)[..., None, None]  # from the identity
        m = self.conv_h(h).sigmoid()
        masks.append(m)
        return (1 - m) * a + m * i


def double(x: Tensor) -> Tensor:
    """Bilinear upsampling with aligned corners, (N, C, h, w) -> (N, C, 2h, 2w)."""
    return nnf.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=True)
