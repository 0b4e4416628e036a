"""Identity encoder: a face as a unit embedding."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as nnf
from torch import Tensor, nn

from .blocks import stages


@dataclass(frozen=True)
class EncoderConfig:
    size: int = 112  # px, crop side
    widths: tuple[int, ...] = (32, 64, 128, 256)
    depths: tuple[int, ...] = (0, 1, 2, 1)
    embedding: int = 128


class IdentityEncoder(nn.Module):
    """Residual network with a global depthwise convolution over the last 7 x 7 map (as in MobileFaceNet)."""

    def __init__(self, config: EncoderConfig = EncoderConfig()):
        super().__init__()
        self.config = config
        width = config.widths[-1]
        side = config.size // 2 ** len(config.widths)
        self.body = nn.Sequential(*stages(tuple(config.widths), tuple(config.depths)))
        self.place = nn.Sequential(nn.Conv2d(width, width, side, groups=width, bias=False), nn.BatchNorm2d(width))
        self.head = nn.Linear(width, config.embedding)

    def forward(self, crops: Tensor) -> Tensor:
        """Crops (N, 3, 112, 112) in 0..1, aligned to arcface_112_v2 -> unit embeddings (N, 128)."""
        features = self.place(self.body(crops * 2 - 1)).flatten(1)
        return nnf.normalize(self.head(features).float(), dim=-1)
