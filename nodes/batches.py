"""A batch frame by frame, each with the faces found in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from ..cscs_core.types import Crops, FaceSet
from . import host

_Rows = TypeVar("_Rows", FaceSet, Crops)


def take_frame(rows: _Rows, index: int) -> _Rows:
    """The rows of one frame, renumbered to frame 0, as for a batch that holds this frame alone."""
    here = rows[rows.frame == index]
    return replace(here, frame=torch.zeros_like(here.frame))


def put_frame(rows: _Rows, index: int) -> _Rows:
    """The rows of a single frame, renumbered to its place in the batch, on the CPU."""
    return replace(rows, frame=rows.frame + index).to("cpu")


def with_faces(image: Tensor, faces: FaceSet, device: torch.device) -> Iterator[tuple[Tensor, Tensor, FaceSet]]:
    """For each frame that has faces: which rows these are, (F,) bool; the frame, (1, 3, H, W); and its faces,
    renumbered to frame 0. Frame and faces are on the device. Between frames the progress bar moves and Cancel is
    checked."""
    for index in host.with_progress(faces.frame.unique().tolist()):
        yield faces.frame == index, host.photo(image, index, device), take_frame(faces, index).to(device)
