"""Processing in chunks that fit into memory, with a cancel check between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import torch

# torch.OutOfMemoryError exists since torch 2.5.
OutOfMemory: type[Exception] = getattr(torch, "OutOfMemoryError", torch.cuda.OutOfMemoryError)

CancelCheck = Callable[[], None]  # called before each chunk; raises to cancel

_MAX_ROWS = 8  # rows


def never_cancel() -> None:
    """Default cancel check: never cancels."""


def max_batch(device: torch.device) -> int:
    """The batch size in faces: 1 on a CPU, where larger batches fall out of the cache and are slower, 8 elsewhere."""
    return 1 if device.type == "cpu" else _MAX_ROWS


class Rows(Protocol):
    """Anything that can be sliced by row: a tensor, a FaceSet, Crops, a range."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Any: ...


_Chunk = TypeVar("_Chunk", bound=Rows)
_Result = TypeVar("_Result")


def map_in_chunks(
    do: Callable[[_Chunk], _Result], rows: _Chunk, most: int, check_cancel: CancelCheck = never_cancel
) -> list[_Result]:
    """Calls `do` on chunks of at most `most` rows and returns the results in order; [] for no rows.

    A chunk that runs out of memory is split in half and retried; later chunks keep the smaller size. Raises whatever
    `do` and `check_cancel` raise, including OutOfMemory for a single row.
    """
    results: list[_Result] = []
    start = 0
    while start < len(rows):
        check_cancel()
        chunk = rows[start : start + most]
        try:
            results.append(do(chunk))
        except OutOfMemory:
            if len(chunk) == 1:
                raise
            most = len(chunk) // 2
            continue  # leaving the handler frees the tensors that the traceback refers to
        start += len(chunk)
    return results
