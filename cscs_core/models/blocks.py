"""The residual block shared by the bundled detector, encoder and landmark network."""

from __future__ import annotations

from torch import Tensor, nn


def convolution(inputs: int, outputs: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, batch norm, ReLU: (N, C, H, W) -> (N, D, H / stride, W / stride)."""
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
    """One stage per width: a stride-2 convolution, then its depth in residual blocks. The first stage takes RGB."""
    inputs = (3, *widths[:-1])
    return [
        nn.Sequential(convolution(i, o, stride=2), *(Residual(o) for _ in range(depth)))
        for i, o, depth in zip(inputs, widths, depths, strict=True)
    ]
