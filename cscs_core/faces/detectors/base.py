"""Face detection: boxes, five points and the dense mesh."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from ...models import FaceMesh
from ...ops import mesh
from ...ops.batching import map_in_chunks
from ...types import FaceSet
from ..landmarks import locate

_CHUNK = 8  # images that go through the network at once


Found = tuple[Tensor, Tensor, Tensor, Tensor]  # frames (F,), boxes (F, 4), five points (F, 5, 2), scores (F,) 0..1


class Detector(Protocol):
    """Anything that finds faces and their five points."""

    @property
    def networks(self) -> tuple[nn.Module, ...]: ...  # which a host may move between devices

    def __call__(self, images: Tensor, threshold: float) -> Found:
        """Faces in images (B, 3, H, W) 0..1 that score above the threshold, sorted by frame, then by score."""
        ...


@runtime_checkable
class Attributes(Protocol):
    """A detector that also estimates age and gender."""

    def attributes(self, images: Tensor, frame: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        """Ages and genders of F faces, as the columns of a FaceSet, (B, 3, H, W), (F,), (F, 4) -> (F,), (F,)."""
        ...


def detect(images: Tensor, detector: Detector, landmarks: FaceMesh, *, threshold: float = 0.5) -> FaceSet:
    """All faces in images (B, 3, H, W) 0..1, best score first within each frame. Raises ValueError for other shapes."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (B, 3, H, W), not {tuple(images.shape)}")

    def look(rows: range) -> Found:
        frame, box, points, score = detector(images[rows.start : rows.stop], threshold)
        return frame + rows.start, box, points, score

    found = map_in_chunks(look, range(len(images)), _CHUNK)
    if not sum(len(score) for *_, score in found):
        return FaceSet.empty(images.device)
    frame, box, points, score = (torch.cat(column) for column in zip(*found, strict=True))
    dense = locate(images, frame, points, landmarks)
    faces = FaceSet(frame, box, mesh.five(dense), dense, score, torch.full_like(frame, -1))
    if not isinstance(detector, Attributes):
        return faces
    age, gender = detector.attributes(images, frame, box)
    return replace(faces, age=age, gender=gender)
