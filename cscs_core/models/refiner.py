"""Refiner: the correction that blends a warped source face into the target."""

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
    identity: int = 128  # width of the embedding
    widths: tuple[int, ...] = (24, 48, 96, 128)  # channels at 1/2, 1/4, ... of the side
    blocks: int = 6  # residual blocks at the smallest side


class Refiner(nn.Module):
    """A U-Net on pixel-unshuffled images (2 x 2 pixels per position) with AdaIN layers for the identity."""

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
            nn.init.zeros_(value)  # zero change at the start of training

    def forward(self, target: Tensor, laid: Tensor, region: Tensor, z: Tensor) -> Tensor:
        """Predicts what to add to `laid`, (N, 3, S, S). S is a multiple of 16.

        `target` and `laid`, the target with the warped source face on it, are (N, 3, S, S) 0..1; `region`, where
        pixels may change, is (N, 1, S, S) 0..1; `z` holds unit embeddings (N, Z).
        """
        z = z * math.sqrt(self.config.identity)  # so that entries are about 1
        x = nnf.pixel_unshuffle(torch.cat([target * 2 - 1, laid * 2 - 1, region], 1), 2)
        maps = [nnf.leaky_relu(self.stem(x), 0.2)]
        for layer in self.down:
            maps.append(nnf.leaky_relu(layer(maps[-1]), 0.2))
        x = maps.pop()
        for block in self.inner:
            x = x + block(x, z)
        for layer in self.up:
            x = layer(_join_skip(x, maps.pop()), z)
        x = nnf.leaky_relu(self.last(_join_skip(x, maps.pop())), 0.2)
        return nnf.pixel_shuffle(self.change(x), 2) * region


def _join_skip(x: Tensor, skip: Tensor) -> Tensor:
    """Upsamples and appends the skip connection, (N, C, h, w), (N, D, 2h, 2w) -> (N, C + D, 2h, 2w)."""
    return torch.cat([nnf.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False), skip], 1)
