"""Explicit adaptation: faces made thinner or given glasses, so that pairs teach where shape and attributes come from.

A change to the target alone must be undone by what the source shows; a change to the source alone must not be copied.
`adapt_all` changes all faces by given amounts, `adapt_randomly` draws which faces are changed and how much.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

import torch
from torch import Generator, Tensor

from ..types import Crops
from .base import Surrogate, unfiltered
from .beard import draw_beard
from .face_shape import Shape, reshape_faces
from .glasses import STYLES, Glasses, draw_glasses
from .makeup import Makeup, draw_makeup


def adapt_all(
    crops: Crops,
    generator: Generator,
    parts: Mapping[str, float] = MappingProxyType({}),
    hair: float = 0.0,
    paint: Makeup | None = None,
    pair: Glasses | None = None,
) -> Surrogate:
    """Changes all faces in the same way: parts of `Shape` by name, -1..1, a beard, -1 (shaved)..1, make-up, glasses."""
    count = len(crops)
    seeds = torch.randint(1, 1 << 62, (count,), generator=generator).tolist()
    made = unfiltered(crops, [{} for _ in range(count)])
    if any(parts.values()):
        made = reshape_faces(made.crops, Shape.of(count, **parts)).after(made)
    if hair:
        made = draw_beard(made.crops, torch.full((count,), hair), seeds).after(made)
    if paint:
        made = draw_makeup(made.crops, [paint] * count).after(made)
    if pair:
        made = draw_glasses(made.crops, [pair] * count).after(made)
    return made


@dataclass(frozen=True, slots=True)
class AdaptOptions:
    """The probability of each adaptation, 0..1, and the largest strength of changes of shape, 0..1."""

    face: float = 0.5  # thinner or chubbier
    parts: float = 0.0  # cheeks, jaw, nose and eyes, each by its own amount
    strength: float = 1.0
    glasses: float = 0.0
    beard: float = 0.0  # drawn on
    shave: float = 0.0  # an existing beard blurred away
    makeup: float = 0.0


def adapt_randomly(crops: Crops, generator: Generator, options: AdaptOptions) -> Surrogate:
    """Changes a random part of the faces, with the probabilities of the options; the other rows stay as they are."""
    count = len(crops)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    def often(probability: float) -> Tensor:
        return torch.rand(count, generator=generator) < probability

    def way() -> Tensor:
        return (1 - 2 * often(0.5).float()) * uniform(0.3, 1.0) * options.strength

    parts = often(options.parts)
    shape = Shape(way() * often(options.face), *(way() * parts for _ in range(4)))
    # Everything is drawn, used or not, so that changing one probability does not affect the other draws.
    drawn, shaved = often(options.beard), often(options.shave)
    amounts = torch.where(drawn, uniform(0.4, 1.0), -uniform(0.7, 1.0))
    seeds = torch.randint(1, 1 << 62, (count,), generator=generator).tolist()
    pairs = [_random_glasses(generator) for _ in range(count)]
    paints = [_random_makeup(generator) for _ in range(count)]
    steps: list[tuple[Tensor, Callable[[Crops, list[int]], Surrogate]]] = [
        (
            torch.stack([getattr(shape, field.name) for field in fields(shape)]).any(0),
            lambda some, rows: reshape_faces(
                some, Shape(*(getattr(shape, field.name)[rows] for field in fields(shape)))
            ),
        ),
        (drawn | shaved, lambda some, rows: draw_beard(some, amounts[rows], [seeds[row] for row in rows])),
        (often(options.makeup), lambda some, rows: draw_makeup(some, [paints[row] for row in rows])),
        (often(options.glasses), lambda some, rows: draw_glasses(some, [pairs[row] for row in rows])),
    ]
    made, changes = crops, [{} for _ in range(count)]
    for chosen, verb in steps:
        rows = chosen.nonzero()[:, 0].tolist()
        if not rows:
            continue
        one = verb(made[rows], rows)
        made = replace_rows(made, rows, one.crops)
        for row, what in zip(rows, one.changes, strict=True):
            changes[row] = changes[row] | what
    return unfiltered(made, changes)


def replace_rows(crops: Crops, rows: list[int], made: Crops) -> Crops:
    """The crops with the given rows replaced by those of `made`."""
    index = torch.tensor(rows, device=crops.frame.device)
    return Crops(
        *(getattr(crops, field.name).index_copy(0, index, getattr(made, field.name)) for field in fields(crops))
    )


def _random_glasses(generator: Generator) -> Glasses:
    style, dark, tint, *shades = torch.rand(9, generator=generator).tolist()
    name = list(STYLES)[int(style * len(STYLES))]
    frame = (0.05 + 0.4 * shades[0] * dark, 0.05 + 0.3 * shades[1] * dark, 0.05 + 0.3 * shades[2] * dark)
    lens = (0.1 + 0.4 * shades[3], 0.1 + 0.3 * shades[4], 0.1 + 0.3 * shades[5])
    return Glasses(name, frame, lens, 0.0 if tint < 0.65 else 0.3 + 1.8 * (tint - 0.65))


def _random_makeup(generator: Generator) -> Makeup:
    lips, shadow, liner, blush, *shades = torch.rand(10, generator=generator).tolist()
    red = (0.45 + 0.4 * shades[0], 0.08 + 0.25 * shades[1], 0.12 + 0.3 * shades[2])
    lid = (0.2 + 0.4 * shades[3], 0.15 + 0.35 * shades[4], 0.2 + 0.5 * shades[5])
    return Makeup(0.4 + 0.6 * lips, red, 0.2 + 0.7 * shadow, lid, liner, 0.8 * blush)
