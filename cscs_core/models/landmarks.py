"""Dense landmarks: the 468-point face mesh from an aligned crop, eyes and mouth again from closer."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from .blocks import convolution, stages


@dataclass(frozen=True)
class LandmarkConfig:
    size: int = 128  # px, crop side
    widths: tuple[int, ...] = (24, 48, 96, 160, 192)
    depths: tuple[int, ...] = (0, 1, 2, 2, 1)
    features: int = 320
    points: int = 468


class LandmarkNet(nn.Module):
    """Residual network with a flattened head: position is kept, not pooled away."""

    def __init__(self, config: LandmarkConfig = LandmarkConfig()):
        super().__init__()
        self.config = config
        self.body = nn.Sequential(*stages(tuple(config.widths), tuple(config.depths)))
        side = config.size // 2 ** len(config.widths)
        self.neck = convolution(config.widths[-1], 96, kernel=1)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Linear(96 * side * side, config.features),
            nn.ReLU(True),
            nn.Linear(config.features, 2 * config.points),
        )

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (N, 3, S, S) in 0..1 -> points (N, P, 2) in crop pixels."""
        points = self.head(self.neck(self.body(crops * 2 - 1))).unflatten(-1, (self.config.points, 2))
        return (points.float() + 0.5) * self.config.size

    def start_at(self, points: Tensor, basis: Tensor) -> None:
        """Sets the last layer so that training starts at mean points, (P, 2) in crop pixels, and its features, in
        pairs for more and less, are the face's main ways to vary, (K, P, 2) crop pixels for one deviation each."""
        ways = (basis / self.config.size).flatten(1).T
        pairs = torch.stack([ways, -ways], -1).flatten(1)
        last = cast(nn.Linear, self.head[-1])
        with torch.no_grad():
            last.weight.mul_(0.05)
            last.weight[:, : pairs.shape[1]] += pairs
            last.bias.copy_((points / self.config.size - 0.5).flatten())


_PART: dict[str, Any] = {"size": 64, "widths": (24, 48, 96, 160), "depths": (0, 1, 2, 1), "features": 256}


@dataclass(frozen=True)
class FaceMeshConfig:
    whole: LandmarkConfig = field(default_factory=LandmarkConfig)
    eye: LandmarkConfig = field(default_factory=partial(LandmarkConfig, points=42, **_PART))
    mouth: LandmarkConfig = field(default_factory=partial(LandmarkConfig, points=80, **_PART))

    def __post_init__(self):
        for part in fields(self):  # from a file they come as plain tables
            value = getattr(self, part.name)
            if isinstance(value, dict):
                object.__setattr__(self, part.name, LandmarkConfig(**value))


class FaceMesh(nn.Module):
    """Three networks for one face: the whole mesh, then an eye with its brow, and the mouth. `locate` runs them."""

    def __init__(self, config: FaceMeshConfig | None = None):
        super().__init__()
        self.config = config = config or FaceMeshConfig()
        self.whole = LandmarkNet(config.whole)
        self.eye = LandmarkNet(config.eye)
        self.mouth = LandmarkNet(config.mouth)
