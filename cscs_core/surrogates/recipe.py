"""How proxies are made of photographs: other pictures of each person, and somebody else in each person's place.

What is rejected is drawn again, a few times.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Generator, Tensor

from ..faces.identity import Encoder
from ..models import FaceMesh
from ..types import Crops, join
from .base import Surrogate, unfiltered
from .source import SourceOptions, source_surrogate
from .target import Judge, TargetOptions, target_surrogate, traits

_CHUNK = 64  # faces of 256 px whose traits are looked at together
_BORROWED = 16  # pictures of which hair and background are borrowed
_NEAREST, _DRAWN = 16, 4  # of so many donors most like a face so many are drawn, of whom the nearest gives its face


@dataclass(frozen=True)
class Pool:
    """Faces that lend hair, background or themselves."""

    crops: Crops  # D; pixels uint8, or 0..1
    traits: Tensor  # (D, 9)

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, rows: Tensor) -> Crops:
        """Some of them, pixels in 0..1; rows on any device."""
        return _unit(self.crops[rows.to(self.crops.frame.device)])

    @staticmethod
    def of(crops: Crops) -> Pool:
        chunk = max(1, _CHUNK * 256**2 // crops.size**2)
        rows = torch.arange(len(crops), device=crops.frame.device).split(chunk)
        return Pool(crops, torch.cat([traits(_unit(crops[some])) for some in rows]))

    def sample(self, generator: Generator) -> Tensor:
        """Rows drawn at random."""
        return torch.randperm(len(self), generator=generator)[:_BORROWED]

    def nearest(self, crops: Crops, generator: Generator) -> Tensor:
        """Rows of donors for these faces: a few of those nearest to each, so that not every draw gives the same."""
        exact = "donot_use_mm_for_euclid_dist"
        distance = torch.cdist(traits(crops), self.traits, compute_mode=exact)
        nearest = distance.topk(min(_NEAREST, len(self)), largest=False).indices.cpu()
        drawn = torch.rand(nearest.shape, generator=generator).argsort(1)[:, :_DRAWN]
        return nearest.gather(1, drawn).unique()


def _unit(crops: Crops) -> Crops:
    pixels = crops.pixels
    return replace(crops, pixels=pixels.float() / 255) if pixels.dtype == torch.uint8 else crops


@dataclass(frozen=True, slots=True)
class Recipe:
    """What is made of photographs, and who judges it; all on one device. Without a surrogate's options the photograph
    takes its place."""

    encoder: Encoder
    landmarks: FaceMesh
    source: SourceOptions | None = field(default_factory=SourceOptions)
    target: TargetOptions | None = field(default_factory=TargetOptions)
    tries: int = 4  # draws of a face until one is accepted
    check_cancel: Callable[[], None] = lambda: None  # called before each draw; may stop the work by raising

    @torch.no_grad()
    def sources(self, crops: Crops, pool: Pool, generator: Generator) -> Surrogate:
        """Another picture of each person; what was done tells rows of the pool."""
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
        """Somebody else in each person's situation; what was done tells rows of the pool."""
        options, judge = self.target, Judge(self.encoder, landmarks=self.landmarks)
        if options is None:
            return unfiltered(crops, [{} for _ in range(len(crops))])

        def make(some: Crops) -> Surrogate:
            self.check_cancel()
            rows = pool.nearest(some, generator)
            return with_pool_rows(target_surrogate(some, pool[rows], generator, options, judge), "donor", rows)

        return retry_rejected(make, crops, self.tries)


def with_pool_rows(made: Surrogate, name: str, rows: Tensor) -> Surrogate:
    """The surrogate with a row of all in place of a row of the some that it was given; below 0 it is none."""
    numbers = rows.tolist()
    changes = [what | {name: numbers[what[name]]} if what.get(name, -1) >= 0 else what for what in made.changes]
    return replace(made, changes=changes)


def retry_rejected(make: Callable[[Crops], Surrogate], crops: Crops, tries: int) -> Surrogate:
    """One surrogate of each row, made anew of those that were rejected; rows rejected every time are missing. What was
    done tells the try that passed."""
    left = torch.arange(len(crops), device=crops.frame.device)
    parts: list[Surrogate] = []
    for number in range(1, tries + 1):
        if not len(left):
            break
        made = make(crops[left])
        changes: list[dict[str, Any]] = [{"try": number, **what} for what in made.changes]
        parts.append(replace(made, rows=left[made.rows], changes=changes))
        missing = torch.ones_like(left, dtype=torch.bool)
        missing[made.rows] = False
        left = left[missing]
    if not parts:
        return unfiltered(crops, [])
    similarity = [part.similarity for part in parts if part.similarity is not None]
    whole = Surrogate(
        join([part.crops for part in parts]),
        torch.cat([part.rows for part in parts]),
        [what for part in parts for what in part.changes],
        torch.cat(similarity) if len(similarity) == len(parts) else None,
    )
    return whole[whole.rows.argsort()]
