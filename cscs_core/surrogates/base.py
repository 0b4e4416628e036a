"""Surrogates: made-up inputs whose right output is a real photograph, and what making them has in common.

From a photograph y a source-creating surrogate makes another picture of the same person, a target-creating one another
person in the same situation; a swapper that puts the first into the second should give y.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..faces.identity import Encoder, embed_crops
from ..types import Crops

Colour = tuple[float, float, float]  # RGB 0..1


@dataclass(frozen=True, slots=True)
class Surrogate:
    """Pictures made from others; rows that were rejected are missing."""

    crops: Crops  # F pictures with the points of their faces
    rows: Tensor  # (F,) int64, which picture each was made from
    changes: list[dict[str, Any]]  # F times what was done, for JSON; what was not done is missing
    similarity: Tensor | None  # (F,) cosine of each and the picture it was made from; None if nobody was asked

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: Tensor) -> Surrogate:
        """Rows by mask or indices."""
        chosen = torch.arange(len(self), device=self.rows.device)[index]
        similarity = None if self.similarity is None else self.similarity[chosen]
        return Surrogate(self.crops[chosen], self.rows[chosen], [self.changes[i] for i in chosen.tolist()], similarity)

    def after(self, first: Surrogate) -> Surrogate:
        """This one, made from the pictures of another, counted from that one's beginning."""
        rows = self.rows.tolist()
        changes = [{**first.changes[row], **changes} for row, changes in zip(rows, self.changes, strict=True)]
        return replace(self, rows=first.rows[self.rows], changes=changes)


def filter_by_likeness(
    before: Crops,
    made: Crops,
    rows: Tensor,
    changes: list[dict[str, Any]],
    encoder: Encoder | None,
    least: float = -1.0,
    most: float = 1.0,
    keep: Tensor | None = None,
) -> Surrogate:
    """Made from rows of the crops before: those left whose cosine to theirs is within least and most, and that are to
    be kept (F,) bool."""
    similarity = None if encoder is None else cosine(before[rows], made, encoder)
    keep = torch.ones_like(rows, dtype=torch.bool) if keep is None else keep
    if similarity is not None:
        keep = keep & (similarity >= least) & (similarity <= most)
    return Surrogate(made, rows, changes, similarity)[keep]


def unfiltered(made: Crops, changes: list[dict[str, Any]]) -> Surrogate:
    """One picture of each, nobody asked."""
    return Surrogate(made, torch.arange(len(made), device=made.frame.device), changes, None)


def cosine(a: Crops, b: Crops, encoder: Encoder) -> Tensor:
    """How alike faces are, row by row, (F,)."""
    if not len(a):
        return a.pixels.new_zeros(0)
    first, second = (embed_crops(crops, encoder) for crops in (a, b))
    return (first * second).sum(-1)


def changes_per_row(values: object, only: Mapping[str, str] = MappingProxyType({})) -> list[dict[str, Any]]:
    """A dataclass of columns (F,) as F rows for JSON, without what is 0; some names only where another's is not 0."""
    columns = {field.name: getattr(values, field.name).tolist() for field in fields(values)}  # pyright: ignore
    count = len(next(iter(columns.values())))
    rows = [{name: column[row] for name, column in columns.items()} for row in range(count)]
    return [
        {
            name: round(value, 4) if isinstance(value, float) else value
            for name, value in row.items()
            if (row[only[name]] if name in only else value)
        }
        for row in rows
    ]
