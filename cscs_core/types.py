"""The three values that all functions share: FaceSet, Crops, Identity. B frames, F faces, P points, S crop side.

Points are (x, y) in pixels; the centre of the top-left pixel is (0, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar, cast

import torch
from torch import Tensor

_Rows = TypeVar("_Rows", "FaceSet", "Crops")
_UNKNOWN = cast(Tensor, None)  # placeholder, replaced in __post_init__ by a column of unknown values


def _select(rows: _Rows, index: Tensor | slice | list[int]) -> _Rows:
    if isinstance(index, list):
        index = torch.tensor(index, dtype=torch.long, device=rows.frame.device)
    return type(rows)(*(getattr(rows, field.name)[index] for field in fields(rows)))


def _move(rows: _Rows, device: torch.device | str) -> _Rows:
    return type(rows)(*(getattr(rows, field.name).to(device) for field in fields(rows)))


def join(parts: Sequence[_Rows]) -> _Rows:
    """Concatenates the rows of one or more sets, (F1, ...), (F2, ...) -> (F1 + F2, ...)."""
    names = [field.name for field in fields(parts[0])]
    return type(parts[0])(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True, slots=True)
class FaceSet:
    """F faces found in a batch of images, one row per face."""

    frame: Tensor  # (F,) int64, which image of the batch
    box: Tensor  # (F, 4) x1 y1 x2 y2, pixels
    landmarks: Tensor  # (F, 5, 2) x y, pixels: eyes, nose, mouth corners; the one on the viewer's left first
    mesh: Tensor  # (F, 468, 2) x y, pixels, face-mesh order; iBUG-68 is a subset of it
    score: Tensor  # (F,) 0..1
    track: Tensor  # (F,) int64, same person over time, -1 unknown
    age: Tensor = _UNKNOWN  # (F,) years, NaN unknown
    gender: Tensor = _UNKNOWN  # (F,) int64, 0 female, 1 male, -1 unknown

    def __post_init__(self):
        if self.age is None:
            object.__setattr__(self, "age", torch.full_like(self.frame, torch.nan, dtype=torch.float32))
        if self.gender is None:
            object.__setattr__(self, "gender", torch.full_like(self.frame, -1))

    def __len__(self) -> int:
        return self.frame.shape[0]

    def __getitem__(self, index: Tensor | slice | list[int]) -> FaceSet:
        """Rows by mask, indices or slice."""
        return _select(self, index)

    def to(self, device: torch.device | str) -> FaceSet:
        return _move(self, device)

    @staticmethod
    def empty(device: torch.device | str = "cpu") -> FaceSet:
        """A set of no faces."""
        whole = torch.zeros(0, dtype=torch.long, device=device)
        real = torch.zeros(0, device=device)
        return FaceSet(
            whole,
            real.view(0, 4),
            real.view(0, 1, 2).expand(0, 5, 2),
            real.view(0, 1, 2).expand(0, 468, 2),
            real,
            whole,
        )


@dataclass(frozen=True, slots=True)
class Crops:
    """Aligned crops of the faces in a batch of images, with what paste needs to put them back."""

    pixels: Tensor  # (F, 3, S, S) float32, 0..1 RGB
    mask: Tensor  # (F, 1, S, S) how much of each pixel paste may change, 0..1
    matrix: Tensor  # (F, 2, 3) image pixels -> crop pixels
    landmarks: Tensor  # (F, 5, 2) crop pixels
    mesh: Tensor  # (F, 468, 2) crop pixels
    frame: Tensor  # (F,) int64, which image of the batch

    def __len__(self) -> int:
        return self.frame.shape[0]

    def __getitem__(self, index: Tensor | slice | list[int]) -> Crops:
        """Rows by mask, indices or slice."""
        return _select(self, index)

    def to(self, device: torch.device | str) -> Crops:
        return _move(self, device)

    @property
    def size(self) -> int:
        """Side of the crops in pixels."""
        return self.pixels.shape[-1]


@dataclass(frozen=True, slots=True)
class Identity:
    """One person: R reference crops and their embeddings. The crops are kept so that a swapper with another encoder can
    encode them again."""

    crops: Crops  # R reference faces in the ffhq_512 template
    embedding: Tensor  # (R, E) unit rows, from the encoder that compares faces
    weight: Tensor  # (R,) weight of each reference, not negative
    encoder: str = "lite"  # name of the encoder; embeddings of different encoders cannot be compared

    def to(self, device: torch.device | str) -> Identity:
        return replace(
            self, crops=self.crops.to(device), embedding=self.embedding.to(device), weight=self.weight.to(device)
        )

    @property
    def mean(self) -> Tensor:
        """The person's embedding, (E,): the weighted mean of the references, a unit vector."""
        return self.average(self.embedding)

    def average(self, rows: Tensor) -> Tensor:
        """Weighted mean of the directions of one vector per reference, (R, Z) -> (Z,) of length 1."""
        unit = torch.nn.functional.normalize(rows, dim=-1)
        return torch.nn.functional.normalize(self.weight.to(unit) @ unit, dim=0)
