"""Surrogates: synthetic inputs whose correct output is a real photograph, and helpers for making them.

From a photograph y, a source-creating surrogate makes another picture of the same person and a target-creating one
another person in the same situation. A swapper that puts the first into the second should give y (CSCS, ACM TOG 2024).
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
    """Crops made from other crops, without those that were rejected."""

    crops: Crops  # F crops with their landmarks
    rows: Tensor  # (F,) int64, the row each was made from
    changes: list[dict[str, Any]]  # what was changed in each of the F crops, for JSON; nothing else is listed
    similarity: Tensor | None  # (F,) cosine of each to its original; None if it was not measured

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, index: Tensor) -> Surrogate:
        """Rows by mask or indices."""
        chosen = torch.arange(len(self), device=self.rows.device)[index]
        similarity = None if self.similarity is None else self.similarity[chosen]
        return Surrogate(self.crops[chosen], self.rows[chosen], [self.changes[i] for i in chosen.tolist()], similarity)

    def after(self, first: Surrogate) -> Surrogate:
        """This surrogate of the crops of `first`, with rows and changes counted from the originals of `first`."""
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
    """The surrogates `made` from `rows` of the crops `before` that pass: their cosine to the original lies between
    `least` and `most`, and `keep` (F,) bool is true. Without an encoder the cosine is not measured."""
    similarity = None if encoder is None else cosine(before[rows], made, encoder)
    keep = torch.ones_like(rows, dtype=torch.bool) if keep is None else keep
    if similarity is not None:
        keep = keep & (similarity >= least) & (similarity <= most)
    return Surrogate(made, rows, changes, similarity)[keep]


def unfiltered(made: Crops, changes: list[dict[str, Any]]) -> Surrogate:
    """A surrogate of every row, without a check of similarity."""
    return Surrogate(made, torch.arange(len(made), device=made.frame.device), changes, None)


def cosine(a: Crops, b: Crops, encoder: Encoder) -> Tensor:
    """Cosine similarity of two sets of faces, row by row, (F,) -1..1."""
    if not len(a):
        return a.pixels.new_zeros(0)
    first, second = (embed_crops(crops, encoder) for crops in (a, b))
    return (first * second).sum(-1)


def changes_per_row(values: object, only: Mapping[str, str] = MappingProxyType({})) -> list[dict[str, Any]]:
    """A dataclass of columns (F,) as F dicts for JSON, without zeros; names in `only` are listed only where the column
    that they map to is not 0."""
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
