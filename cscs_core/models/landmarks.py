"""Dense landmarks: the 468-point face mesh from an aligned crop, refined on closer crops of eyes and mouth."""

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
    """Residual network whose head flattens the feature map, since pooling would lose positions."""

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
        """Crops (N, 3, S, S) in 0..1 -> landmarks (N, P, 2) in crop pixels."""
        points = self.head(self.neck(self.body(crops * 2 - 1))).unflatten(-1, (self.config.points, 2))
        return (points.float() + 0.5) * self.config.size

    def start_at(self, points: Tensor, basis: Tensor) -> None:
        """Initialises the last layer from the mean landmarks (P, 2) and their principal components (K, P, 2).

        The mean becomes the bias; pairs of features add and subtract a component. Both are in crop pixels, each
        component scaled to one standard deviation.
        """
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
        for part in fields(self):  # a weights file gives them as plain dicts
            value = getattr(self, part.name)
            if isinstance(value, dict):
                object.__setattr__(self, part.name, LandmarkConfig(**value))


class FaceMesh(nn.Module):
    """Three networks: the whole mesh, an eye with its brow, the mouth. `faces.landmarks.locate` runs them."""

    def __init__(self, config: FaceMeshConfig | None = None):
        super().__init__()
        self.config = config = config or FaceMeshConfig()
        self.whole = LandmarkNet(config.whole)
        self.eye = LandmarkNet(config.eye)
        self.mouth = LandmarkNet(config.mouth)
