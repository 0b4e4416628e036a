"""Work in parts that fit into memory, and that can be stopped between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

# The class of its own came with torch 2.5.
OutOfMemory: type[Exception] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)

CancelCheck = Callable[[], None]  # called before each part of the work; may stop it by raising

_MOST = 8  # rows


def never_cancel() -> None:
    """The pause of whoever does not want to be asked."""


def max_batch(device: torch.device) -> int:
    """How many faces are worked on together: one on a processor, which is slower with what its cache does not hold."""
    return 1 if device.type == "cpu" else _MOST


class Rows(Protocol):
    """A tensor, a FaceSet, Crops, a range: anything of rows."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Any: ...


_Part = TypeVar("_Part", bound=Rows)
_Result = TypeVar("_Result")


def map_in_chunks(
    do: Callable[[_Part], _Result], rows: _Part, most: int, check_cancel: CancelCheck = never_cancel
) -> list[_Result]:
    """What `do` makes of the rows, at most so many at a time: the results in order, none for no rows.

    A part that does not fit into the device's memory is tried again at half its length, and those after it keep that
    length. Raises what `do` raises, also for a single row that does not fit.
    """
    results: list[_Result] = []
    start = 0
    while start < len(rows):
        check_cancel()
        part = rows[start : start + most]
        try:
            results.append(do(part))
        except OutOfMemory:
            if len(part) == 1:
                raise
            most = len(part) // 2
            continue  # the error holds what the failed try had made; it is gone before the next one
        start += len(part)
    return results
