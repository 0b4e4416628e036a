"""Proxies made during training, from photographs held on the training device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Generator

from ...faces.align import align, resize
from ...faces.select import order
from ...io import images
from ...io.files import BadInput
from ...pipeline import find, load_models
from ...surrogates.adapt import AdaptOptions, adapt_randomly
from ...surrogates.recipe import Pool, Recipe
from ...types import Crops, join
from .data import Pairs

SIDE = 256  # px, side of the crops that surrogates are made from
_MAX_ROUNDS = 8  # rounds without an accepted pair before giving up


def surrogate_pairs(files: Sequence[Path], size: int, device: torch.device | str = "cpu") -> SurrogatePairs:
    """A source of proxies made from the largest face of each photograph. Raises BadInput if fewer than two photographs
    show a face."""
    models = load_models(device)
    crops = []
    for file in files:
        image = images.read(file).to(device)
        face = order(find(image, models), "large-small")[:1]
        cut = align(image, face, size=SIDE)
        crops.append(replace(cut, pixels=cut.pixels.mul(255).round().byte()))
    everyone = join(crops)
    if len(everyone) < 2:
        raise BadInput(
            f"{files[0].parent}: {len(everyone)} of {len(files)} photographs show a face; surrogates need at least two"
        )
    return SurrogatePairs(Pool.of(everyone), Recipe(models.encoder, models.landmarks), size)


@dataclass(frozen=True)
class SurrogatePairs:
    """Proxies of photographs drawn from a pool, whose faces also serve as donors."""

    photographs: Pool
    recipe: Recipe  # without options for a surrogate the photograph itself is the source, or the target
    size: int  # px, crop side of the pairs
    adapt: AdaptOptions | None = field(default_factory=AdaptOptions)  # for targets: half become thinner or chubbier

    @torch.no_grad()
    def batch(self, generator: Generator, count: int, share: slice = slice(None)) -> Pairs:
        """As many pairs as the share has, different for each share. Raises BadInput if every surrogate is rejected."""
        wanted, number = len(range(count)[share]), int(torch.randint(1 << 62, (), generator=generator))
        own = Generator().manual_seed(number + (share.start or 0))
        parts, missing, fruitless = [self._make(0, own)], wanted, 0
        while missing:
            parts.append(self._make(missing, own))
            missing -= len(parts[-1][0])
            fruitless = 0 if len(parts[-1][0]) else fruitless + 1
            if fruitless == _MAX_ROUNDS:
                raise BadInput(
                    f"all surrogates were rejected in {_MAX_ROUNDS} rounds; check that the photographs show clear faces"
                )
        y, x_src, x_tgt = (resize(join(list(column)), self.size).pixels for column in zip(*parts, strict=True))
        return Pairs(y, x_src, x_tgt, torch.ones(wanted, dtype=torch.bool, device=y.device))

    def _make(self, count: int, generator: Generator) -> tuple[Crops, Crops, Crops]:
        """Up to `count` photographs with their sources and targets; rejected ones are left out."""
        y = self.photographs[torch.randint(len(self.photographs), (count,), generator=generator)]
        sources = self.recipe.sources(y, self.photographs, generator)
        targets = self.recipe.targets(y[sources.rows], self.photographs, generator)
        bent = targets if self.adapt is None else adapt_randomly(targets.crops, generator, self.adapt)
        rows = sources.rows[targets.rows]
        return y[rows], sources.crops[targets.rows], bent.crops
