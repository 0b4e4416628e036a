"""The residual block that our three small networks share."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(True)
    )


class Residual(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016, basic block): (N, C, H, W) -> same."""

    def __init__(self, width: int):
        super().__init__()
        self.first = convolution(width, width)
        self.second = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width))
        self.active = nn.ReLU(True)

    def forward(self, x: Tensor) -> Tensor:
        return self.active(x + self.second(self.first(x)))


def stages(widths: tuple[int, ...], depths: tuple[int, ...]) -> list[nn.Sequential]:
    """One stage per width: a stride-2 convolution, then `depth` residual blocks. The first reads RGB."""
    inputs = (3, *widths[:-1])
    return [
        nn.Sequential(convolution(i, o, stride=2), *(Residual(o) for _ in range(depth)))
        for i, o, depth in zip(inputs, widths, depths, strict=True)
    ]


def for_inference(model: nn.Module) -> nn.Module:
    """The model itself, in place: batch norms folded into the convolutions before them, channels last. It computes the
    same to float precision, and no longer has the names of its weights file."""
    for module in list(model.modules()):
        if isinstance(module, nn.Sequential):
            for index in range(len(module) - 1):
                first, second = module[index], module[index + 1]
                if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
                    module[index], module[index + 1] = fuse_conv_bn_eval(first, second), nn.Identity()
    return model.to(memory_format=torch.channels_last).requires_grad_(False)  # pyright: ignore[reportCallIssue]
