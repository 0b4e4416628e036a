"""Refiner: what is to change on a face that was laid over another, so that it looks grown there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from .small_generator import AdaINBlock


@dataclass(frozen=True)
class RefinerConfig:
    identity: int = 128  # width of the identity vector
    widths: tuple[int, ...] = (24, 48, 96, 128)  # channels at half the side, a quarter ...
    blocks: int = 6  # residual blocks at the smallest side


class Refiner(nn.Module):
    """A U-net on folded pixels (2 x 2 of them are one place), whose inner layers are told who it is."""

    def __init__(self, config: RefinerConfig = RefinerConfig()):
        super().__init__()
        self.config = config
        widths, z = tuple(config.widths), config.identity
        self.stem = nn.Conv2d(4 * 7, widths[0], 3, 1, 1)
        self.down = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in pairwise(widths))
        self.inner = nn.ModuleList(AdaINBlock(widths[-1], widths[-1], z) for _ in range(config.blocks))
        *inner, last = pairwise(widths[::-1])
        self.up = nn.ModuleList(AdaINBlock(i + o, o, z) for i, o in inner)
        self.last = nn.Conv2d(sum(last), last[1], 3, 1, 1)
        self.change = nn.Conv2d(last[1], 4 * 3, 3, 1, 1)
        for value in self.change.parameters():
            nn.init.zeros_(value)  # begins by changing nothing

    def forward(self, target: Tensor, laid: Tensor, region: Tensor, z: Tensor) -> Tensor:
        """Targets and the same with a face laid on (N, 3, S, S) in 0..1, where something may change (N, 1, S, S) 0..1,
        unit identities (N, Z) -> what to add to the second, (N, 3, S, S). S is a multiple of 16."""
        z = z * math.sqrt(self.config.identity)  # entries of about 1
        x = nnf.pixel_unshuffle(torch.cat([target * 2 - 1, laid * 2 - 1, region], 1), 2)
        maps = [nnf.leaky_relu(self.stem(x), 0.2)]
        for layer in self.down:
            maps.append(nnf.leaky_relu(layer(maps[-1]), 0.2))
        x = maps.pop()
        for block in self.inner:
            x = x + block(x, z)
        for layer in self.up:
            x = layer(_beside(x, maps.pop()), z)
        x = nnf.leaky_relu(self.last(_beside(x, maps.pop())), 0.2)
        return nnf.pixel_shuffle(self.change(x), 2) * region


def _beside(x: Tensor, finer: Tensor) -> Tensor:
    """Maps enlarged to the side of finer ones, and these, (N, C, h, w), (N, D, 2 h, 2 w) -> (N, C + D, 2 h, 2 w)."""
    return torch.cat([nnf.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False), finer], 1)
