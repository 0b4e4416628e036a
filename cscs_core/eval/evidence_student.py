"""The small student of the ablation: it takes the source's face as an image together with the target and trains in
minutes.

A student conditioned by an embedding alone, like AEI-Net, does not start to swap in this time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ..models.small_generator import AdaINBlock
from ..ops import geometry
from ..train.swap.student import Recogniser

SIDE = 64  # px, crop side


class SmallStudent(nn.Module):
    """A U-net on blocks of 2 x 2 pixels: targets (N, 3, 64, 64) -1..1, views of the sources for our recogniser
    (N, 3, 112, 112) 0..1 and embeddings (N, Z) -> images (N, 3, 64, 64) -1..1."""

    def __init__(self, identity: int, widths: tuple[int, ...] = (32, 64, 128), blocks: int = 2):
        super().__init__()
        self.stem = nn.Conv2d(24, widths[0], 3, 1, 1)
        self.down = nn.ModuleList(nn.Conv2d(i, o, 4, 2, 1, bias=False) for i, o in pairwise(widths))
        self.inner = nn.ModuleList(AdaINBlock(widths[-1], widths[-1], identity) for _ in range(blocks))
        self.up = nn.ModuleList(AdaINBlock(i + o, o, identity) for i, o in pairwise(widths[::-1]))
        self.rgb = nn.Conv2d(widths[0], 12, 3, 1, 1)

    def forward(self, target: Tensor, view: Tensor, identity: Tensor) -> Tensor:
        z = identity * identity.shape[-1] ** 0.5  # entries of magnitude about 1
        both = torch.cat([target, laid_back(view) * 2 - 1], 1)
        maps = [self.stem(nnf.pixel_unshuffle(both, 2))]
        for layer in self.down:
            maps.append(nnf.leaky_relu(nnf.instance_norm(layer(maps[-1])), 0.2))
        x = maps.pop()
        for block in self.inner:
            x = x + block(x, z)
        for layer in self.up:
            x = nnf.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = layer(torch.cat([x, maps.pop()], 1), z)
        return nnf.pixel_shuffle(self.rgb(x), 2).tanh()


def laid_back(view: Tensor) -> Tensor:
    """Views for a recogniser warped to the alignment of the targets, (N, 3, 112, 112) -> (N, 3, 64, 64)."""
    target, source = geometry.template("ffhq_512", SIDE), geometry.template("arcface_112_v2", view.shape[-1])
    matrix = geometry.similarity(target[None], source[None])
    places = geometry.transform(geometry.pixel_grid(SIDE, SIDE).flatten(0, 1)[None], matrix)
    return geometry.sample(view, places.view(1, SIDE, SIDE, 2).expand(len(view), -1, -1, -1))


@dataclass(frozen=True)
class Remembering(Recogniser):
    """A recogniser that caches embeddings when no gradients are needed, since the same sources come again and again."""

    known: dict[int, Tensor] = field(default_factory=dict)

    def of_view(self, view: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return Recogniser.of_view(self, view)
        keys = [hash(row.numpy().tobytes()) for row in view.contiguous()]
        if new := [row for row, key in enumerate(keys) if key not in self.known]:
            found = Recogniser.of_view(self, view[new])
            self.known.update(zip([keys[row] for row in new], found, strict=True))
        return torch.stack([self.known[key] for key in keys])
