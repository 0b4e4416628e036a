"""Dense landmarks: the 468-point face mesh from an aligned crop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from .blocks import convolution, stages


@dataclass(frozen=True)
class LandmarkConfig:
    size: int = 128  # px, crop side
    widths: tuple[int, ...] = (24, 48, 96, 160, 192)
    depths: tuple[int, ...] = (0, 1, 2, 2, 1)
    features: int = 320


class LandmarkNet(nn.Module):
    """Residual network with a flattened head: position is kept, not pooled away."""

    def __init__(self, config: LandmarkConfig = LandmarkConfig()):
        super().__init__()
        self.config = config
        self.body = nn.Sequential(*stages(tuple(config.widths), tuple(config.depths)))
        side = config.size // 2 ** len(config.widths)
        self.neck = convolution(config.widths[-1], 96, kernel=1)
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(96 * side * side, config.features), nn.ReLU(True), nn.Linear(config.features, 936)
        )

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (N, 3, S, S) in 0..1, template dfl_whole_face -> points (N, 468, 2) in crop pixels."""
        points = self.head(self.neck(self.body(crops * 2 - 1))).unflatten(-1, (468, 2))
        return (points.float() + 0.5) * self.config.size

    def start_at(self, points: Tensor, basis: Tensor) -> None:
        """Sets the last layer so that training starts at a mean face, (468, 2) in crop pixels, and its features, in
        pairs for more and less, are the face's main ways to vary, (K, 468, 2) crop pixels for one deviation each."""
        ways = (basis / self.config.size).flatten(1).T
        pairs = torch.stack([ways, -ways], -1).flatten(1)
        last = cast(nn.Linear, self.head[-1])
        with torch.no_grad():
            last.weight.mul_(0.05)
            last.weight[:, : pairs.shape[1]] += pairs
            last.bias.copy_((points / self.config.size - 0.5).flatten())
