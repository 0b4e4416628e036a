"""How proxy pairs are made from photographs: source and target surrogates with a pool of donors.

Rejected surrogates are drawn again, a few times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor

from ..faces.identity import Encoder
from ..models import FaceMesh
from ..types import Crops
from .attempts import retry_rejected
from .base import Surrogate, unfiltered
from .source import SourceOptions, source_surrogate
from .target import Judge, TargetOptions, target_surrogate, traits

_CHUNK = 64  # faces of 256 px whose traits are computed at once
_BORROWED = 16  # crops offered as sources of hair and background
_NEAREST, _DRAWN = 16, 4  # of the 16 donors nearest to a face 4 are drawn at random; the nearest of these is used


@dataclass(frozen=True)
class Pool:
    """D donor faces, whose hair, background or face may be used."""

    crops: Crops  # D rows; pixels uint8, or float 0..1
    traits: Tensor  # (D, 9), see `target.traits`

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, rows: Tensor) -> Crops:
        """Some of the crops, pixels 0..1; `rows` may be on any device."""
        return _as_float(self.crops[rows.to(self.crops.frame.device)])

    @staticmethod
    def of(crops: Crops) -> Pool:
        """A pool of these crops, with their traits."""
        chunk = max(1, _CHUNK * 256**2 // crops.size**2)
        rows = torch.arange(len(crops), device=crops.frame.device).split(chunk)
        return Pool(crops, torch.cat([traits(_as_float(crops[some])) for some in rows]))

    def sample(self, generator: Generator) -> Tensor:
        """Up to 16 random rows, (N,) int64, for hair and background."""
        return torch.randperm(len(self), generator=generator)[:_BORROWED]

    def nearest(self, crops: Crops, generator: Generator) -> Tensor:
        """Rows of donors for these faces, (N,) int64: a random few of those nearest to each, so that draws differ."""
        exact = "donot_use_mm_for_euclid_dist"
        distance = torch.cdist(traits(crops), self.traits, compute_mode=exact)
        nearest = distance.topk(min(_NEAREST, len(self)), largest=False).indices.cpu()
        drawn = torch.rand(nearest.shape, generator=generator).argsort(1)[:, :_DRAWN]
        return nearest.gather(1, drawn).unique()


def _as_float(crops: Crops) -> Crops:
    pixels = crops.pixels
    return replace(crops, pixels=pixels.float() / 255) if pixels.dtype == torch.uint8 else crops


@dataclass(frozen=True, slots=True)
class Recipe:
    """Options of both surrogates and the networks that judge them, all on one device.

    If a surrogate's options are None, the photograph itself is used.
    """

    encoder: Encoder
    landmarks: FaceMesh
    source: SourceOptions | None = field(default_factory=SourceOptions)
    target: TargetOptions | None = field(default_factory=TargetOptions)
    tries: int = 4  # most attempts per face
    check_cancel: Callable[[], None] = lambda: None  # called before each attempt; may stop the work by raising

    @torch.no_grad()
    def sources(self, crops: Crops, pool: Pool, generator: Generator) -> Surrogate:
        """Another picture of each person; `changes` name rows of the pool."""
        options = self.source
        if options is None:
            return unfiltered(crops, [{} for _ in range(len(crops))])

        def make(some: Crops) -> Surrogate:
            self.check_cancel()
            rows = pool.sample(generator)
            made = source_surrogate(some, generator, options, self.encoder, others=pool[rows])
            return with_pool_rows(made, "other", rows)

        return retry_rejected(make, crops, self.tries)

    @torch.no_grad()
    def targets(self, crops: Crops, pool: Pool, generator: Generator) -> Surrogate:
        """Another person in the same situation as each face; `changes` name rows of the pool."""
        options, judge = self.target, Judge(self.encoder, landmarks=self.landmarks)
        if options is None:
            return unfiltered(crops, [{} for _ in range(len(crops))])

        def make(some: Crops) -> Surrogate:
            self.check_cancel()
            rows = pool.nearest(some, generator)
            return with_pool_rows(target_surrogate(some, pool[rows], generator, options, judge), "donor", rows)

        return retry_rejected(make, crops, self.tries)


def with_pool_rows(made: Surrogate, name: str, rows: Tensor) -> Surrogate:
    """The surrogate whose changes give rows of the pool instead of indices into `rows`; negative ones stay."""
    numbers = rows.tolist()
    changes = [what | {name: numbers[what[name]]} if what.get(name, -1) >= 0 else what for what in made.changes]
    return replace(made, changes=changes)
