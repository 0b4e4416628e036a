"""Dense landmarks from five points: the whole face, then eyes and mouth from closer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import geometry, mesh
from .models import FaceMesh, LandmarkNet

TEMPLATE = "dfl_whole_face"
_CHUNK = 64  # faces that go through a network at once
_AGAIN = 0.04  # of the crop side: a face that lay further off in its crop than this is looked at again


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the face that is found again: its mesh points, and crop pixels for one outer-eye distance."""

    points: tuple[int, ...]
    scale: float

    def matrix(self, points: Tensor, size: int) -> Tensor:
        """Image pixels -> crop pixels that lay the part's points (F, P, 2) on the mean face's, (F, 2, 3)."""
        mean = mesh.mean_face()[list(self.points)].to(points)
        middle = (mean.amin(0) + mean.amax(0)) / 2
        return geometry.similarity(points, ((mean - middle) * self.scale + (size - 1) / 2)[None])


EYE = Part(mesh.EYE_PART, 84.0)
MOUTH = Part(mesh.MOUTH_PART, 62.0)


def locate(images: Tensor, frame: Tensor, points: Tensor, landmarks: FaceMesh) -> Tensor:
    """Dense landmarks from five points each, (F,), (F, 5, 2) -> (F, 468, 2) image pixels."""
    found = points.new_zeros(len(frame), mesh.POINTS, 2)
    for rows in torch.arange(len(frame), device=images.device).split(_CHUNK):
        dense = _whole(images, frame[rows], points[rows], landmarks.whole)
        flip = mesh.mirror().to(images.device)[list(EYE.points)].tolist()
        for part, network, ids, mirrored in (
            (EYE, landmarks.eye, list(EYE.points), False),
            (EYE, landmarks.eye, flip, True),
            (MOUTH, landmarks.mouth, list(MOUTH.points), False),
        ):
            dense[:, ids] = _part(images, frame[rows], dense[:, ids], part, network, mirrored)
        found[rows] = dense
    return found


def _whole(images: Tensor, frame: Tensor, points: Tensor, network: LandmarkNet) -> Tensor:
    """The mesh from five points; a face that was turned or off its place is looked at once more."""
    size = network.config.size
    target = geometry.template(TEMPLATE, size).to(images.device)[None]
    matrix = geometry.similarity(points, target)
    seen = _see(images, frame, matrix, network)
    dense = geometry.transform(seen, geometry.invert(matrix))
    again = ((mesh.five(seen) - target).norm(dim=-1).mean(-1) > _AGAIN * size).nonzero()[:, 0]
    if len(again):
        matrix = geometry.similarity(mesh.five(dense[again]), target)
        seen = _see(images, frame[again], matrix, network)
        dense[again] = geometry.transform(seen, geometry.invert(matrix))
    return dense


def _part(images: Tensor, frame: Tensor, points: Tensor, part: Part, network: LandmarkNet, mirrored: bool) -> Tensor:
    """A part's points found again from where they were, (F, P, 2) -> (F, P, 2); mirrored for the right eye."""
    size = network.config.size
    sign = points.new_tensor([-1.0 if mirrored else 1.0, 1.0])
    # A similarity does not mirror: the points are mirrored about x = 0 first, and the matrix takes that back.
    matrix = part.matrix(points * sign, size)
    matrix = torch.cat([matrix[..., :2] * sign, matrix[..., 2:]], -1)
    return geometry.transform(_see(images, frame, matrix, network), geometry.invert(matrix))


def _see(images: Tensor, frame: Tensor, matrix: Tensor, network: LandmarkNet) -> Tensor:
    crops = geometry.warp(images, matrix, network.config.size, frame=frame)
    return network(crops.contiguous(memory_format=torch.channels_last))
