"""Face detector: one-stage, anchor-free; boxes and five landmarks at three strides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from .blocks import convolution, stages

STRIDES = (8, 16, 32)


@dataclass(frozen=True)
class DetectorConfig:
    widths: tuple[int, ...] = (16, 24, 48, 80, 112)  # at strides 2, 4, 8, 16, 32
    depths: tuple[int, ...] = (0, 0, 1, 1, 1)
    neck: int = 48


class FaceDetector(nn.Module):
    """Backbone, top-down feature pyramid, and one head shared by all strides (as in FCOS, Tian et al. 2019)."""

    def __init__(self, config: DetectorConfig = DetectorConfig()):
        super().__init__()
        self.config = config
        widths = tuple(config.widths)
        body = stages(widths, tuple(config.depths))
        self.stem = nn.Sequential(*body[:3])
        self.deeper = nn.ModuleList(body[3:])
        self.lateral = nn.ModuleList(convolution(width, config.neck, kernel=1) for width in widths[2:])
        self.tower = nn.Conv2d(config.neck, config.neck, 3, 1, 1, bias=False)
        # One head, but a batch norm per stride, since their statistics differ (as in NAS-FPN's RetinaNet head).
        self.norm = nn.ModuleList(nn.BatchNorm2d(config.neck) for _ in STRIDES)
        self.out = nn.Conv2d(config.neck, 15, 1)  # score, 4 box sides, 5 landmarks
        self.scale = nn.Parameter(torch.ones(len(STRIDES)))
        with torch.no_grad():
            cast(Tensor, self.out.bias)[0] = -4.6  # prior: a face at 1 % of the locations (Lin et al. 2017)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images (N, 3, H, W) in 0..1, sides multiples of 32 -> predictions at all A locations of the three strides:
        score logits (N, A), boxes (N, A, 4) and landmarks (N, A, 5, 2) in image pixels, locations (A, 3) x y stride.
        """
        maps = [self.stem(images * 2 - 1)]
        for stage in self.deeper:
            maps.append(stage(maps[-1]))
        top = maps[-1].new_zeros(())
        scores, boxes, points, places = [], [], [], []
        for level in reversed(range(len(STRIDES))):
            mixed = self.lateral[level](maps[level])
            top = mixed + (nnf.interpolate(top, scale_factor=2.0, mode="nearest") if top.ndim else 0)
            stride = STRIDES[level]
            features = self.norm[level](self.tower(top)).relu()
            raw = self.out(features).float().flatten(2).transpose(1, 2)
            place = _locations(mixed.shape[-2], mixed.shape[-1], stride, images.device)
            centre, unit = place[:, :2], stride * self.scale[level]
            near, far = (raw[..., 1:5].clamp(-8, 8).exp() * unit).split(2, -1)
            scores.append(raw[..., 0])
            boxes.append(torch.cat([centre - near, centre + far], -1))
            points.append(centre[:, None] + raw[..., 5:].unflatten(-1, (5, 2)) * unit)
            places.append(place)
        return torch.cat(scores, 1), torch.cat(boxes, 1), torch.cat(points, 1), torch.cat(places)


def _locations(height: int, width: int, stride: int, device: torch.device) -> Tensor:
    """Centres of a feature map's cells in image pixels, (height width, 3) x y stride."""
    x = (torch.arange(width, device=device) + 0.5) * stride - 0.5
    y = (torch.arange(height, device=device) + 0.5) * stride - 0.5
    grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), -1).view(-1, 2)
    return torch.cat([grid, grid.new_full((len(grid), 1), stride)], -1)
