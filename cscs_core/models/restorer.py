"""Face restorer: sharpens blurred, low-resolution, noisy or heavily compressed faces."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ..ops.colour import gaussian_blur

_GAIN, _REST = 2.0, 0.1  # what an output of 1 means; outputs of similar size learn at similar rates


@dataclass(frozen=True)
class FaceRestorerConfig:
    widths: tuple[int, ...] = (32, 64, 128)  # channels at 1/2, 1/4, ... of the side
    blocks: int = 5  # residual blocks at the smallest side
    bands: tuple[float, ...] = (0.6, 1.2, 2.4, 4.8)  # pixels, standard deviations of the blurs that separate the bands


class FaceRestorer(nn.Module):
    """A U-Net on pixel-unshuffled images (2 x 2 pixels per position), without norms so that contrast is kept.

    For every pixel it predicts a gain for each band of detail and a residual. Gains amplify or dampen detail in place,
    so that the network invents little.
    """

    def __init__(self, config: FaceRestorerConfig = FaceRestorerConfig()):
        super().__init__()
        self.config = config
        widths, count = tuple(config.widths), len(config.bands)
        self.stem = nn.Conv2d(4 * 3 * (1 + count), widths[0], 3, 1, 1)
        self.down = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1) for i, o in pairwise(widths))
        self.inner = nn.ModuleList(_Block(widths[-1]) for _ in range(config.blocks))
        self.up = nn.ModuleList(nn.Conv2d(i + o, o, 3, 1, 1) for i, o in pairwise(widths[::-1]))
        self.fine = nn.ModuleList(_Block(width) for width in widths[-2::-1])
        self.change = nn.Conv2d(widths[0], 4 * 3 * (1 + count), 3, 1, 1)
        for value in self.change.parameters():
            nn.init.zeros_(value)  # zero change at the start of training

    def forward(self, pictures: Tensor) -> Tensor:
        """Images (N, 3, S, S) in 0..1 -> what to add to them, same shape. S is a multiple of 2 ** len(widths)."""
        bands = self._bands(pictures)
        x = torch.cat([pictures * 2 - 1, bands * 5], 1)  # detail is faint; scaled up, it is learned sooner
        maps = [nnf.leaky_relu(self.stem(nnf.pixel_unshuffle(x, 2)), 0.2)]
        for layer in self.down:
            maps.append(nnf.leaky_relu(layer(maps[-1]), 0.2))
        x = maps.pop()
        for block in self.inner:
            x = block(x)
        for layer, block in zip(self.up, self.fine, strict=True):
            x = nnf.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(nnf.leaky_relu(layer(torch.cat([x, maps.pop()], 1)), 0.2))
        rest, gains = nnf.pixel_shuffle(self.change(x), 2).float().tensor_split([3], 1)
        return _REST * rest + _GAIN * (gains * bands).unflatten(1, (-1, 3)).sum(1)

    def _bands(self, pictures: Tensor) -> Tensor:
        """Detail from fine to coarse, (N, 3, S, S) -> (N, 3 bands, S, S)."""
        with torch.autocast(pictures.device.type, enabled=False):  # half precision would turn fine detail into noise
            levels = [pictures, *(gaussian_blur(pictures, deviation) for deviation in self.config.bands)]
        return torch.cat([fine - coarse for fine, coarse in pairwise(levels)], 1)


class _Block(nn.Module):
    """Two convolutions with a shortcut, (N, C, h, w) -> same."""

    def __init__(self, width: int):
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, 1, 1)
        self.second = nn.Conv2d(width, width, 3, 1, 1)
        self.second.weight.data.mul_(0.1)  # starts close to the identity, as there is no norm

    def forward(self, x: Tensor) -> Tensor:
        return x + self.second(nnf.leaky_relu(self.first(x), 0.2))
