"""A small generator that trains in minutes: a U-Net with adaptive instance norm for the identity."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn


@dataclass(frozen=True)
class SmallGeneratorConfig:
    identity: int = 128  # width of the embedding
    widths: tuple[int, ...] = (16, 32, 64, 96)  # channels at 1, 1/2, 1/4, ... of the side
    blocks: int = 3  # residual blocks at the smallest side


class SmallGenerator(nn.Module):
    """Target images (N, 3, S, S) in [-1, 1], embeddings (N, Z) -> swapped images like the targets.

    S is a multiple of 2 ** (len(widths) - 1). The network predicts what to add to the target, little at first, so that
    it need not learn to copy.
    """

    def __init__(self, config: SmallGeneratorConfig = SmallGeneratorConfig()):
        super().__init__()
        self.config = config
        widths, z = tuple(config.widths), config.identity
        self.stem = nn.Conv2d(3, widths[0], 5, 1, 2)
        self.down = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1, bias=False) for i, o in pairwise(widths))
        self.inner = nn.ModuleList(AdaINBlock(widths[-1], widths[-1], z) for _ in range(config.blocks))
        self.up = nn.ModuleList(AdaINBlock(i + o, o, z) for i, o in pairwise(widths[::-1]))
        self.rgb = nn.Conv2d(widths[0], 3, 3, 1, 1)
        self.rgb.weight.data.mul_(0.1)

    def prepare(self, z: Tensor) -> Tensor:
        """Embeddings (N, Z) -> same; FusedAEINet.prepare has real work to do here."""
        return z

    def forward(self, target: Tensor, z: Tensor) -> Tensor:
        z = z * math.sqrt(z.shape[-1])  # so that entries are about 1
        maps = [self.stem(target)]
        for layer in self.down:
            maps.append(nnf.leaky_relu(nnf.instance_norm(layer(maps[-1])), 0.2))
        x = maps.pop()
        for block in self.inner:
            x = x + block(x, z)
        for layer in self.up:
            x = nnf.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = layer(torch.cat([x, maps.pop()], 1), z)
        return (target + self.rgb(x)).clamp(-1, 1)


class AdaINBlock(nn.Module):
    """Convolution, adaptive instance norm, leaky ReLU: (N, C, h, w), embeddings (N, Z) -> (N, D, h, w)."""

    def __init__(self, inputs: int, outputs: int, identity: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, 1, 1, bias=False)
        self.style = nn.Linear(identity, 2 * outputs)

    def forward(self, x: Tensor, z: Tensor) -> Tensor:
        scale, shift = self.style(z)[..., None, None].chunk(2, 1)
        return nnf.leaky_relu(nnf.instance_norm(self.conv(x)) * (1 + scale) + shift, 0.2)
