"""A batch picture by picture, each with the faces found in it."""

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
    """The rows of one picture of a batch, as those of a batch of this picture alone."""
    here = rows[rows.frame == index]
    return replace(here, frame=torch.zeros_like(here.frame))


def put_frame(rows: _Rows, index: int) -> _Rows:
    """The rows of a picture that was alone, as those of its place in a batch, on the processor."""
    return replace(rows, frame=rows.frame + index).to("cpu")


def with_faces(image: Tensor, faces: FaceSet, device: torch.device) -> Iterator[tuple[Tensor, Tensor, FaceSet]]:
    """Of every picture that has faces: which rows they are (F,) bool, the picture (1, 3, H, W) and its faces, of frame
    0, on the device. Between pictures the progress bar moves and Cancel is obeyed."""
    for index in host.with_progress(faces.frame.unique().tolist()):
        yield faces.frame == index, host.photo(image, index, device), take_frame(faces, index).to(device)
