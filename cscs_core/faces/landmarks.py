"""Dense landmarks from five points: first the whole face, then eyes and mouth in close-up crops."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..models import FaceMesh, LandmarkNet
from ..ops import geometry, mesh
from ..ops.batching import map_in_chunks

TEMPLATE = "dfl_whole_face"
_CHUNK = 64  # faces that go through a network at once
_AGAIN = 0.04  # of the crop side: a face whose landmarks are further off the template than this is aligned again


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the face that is refined in a crop of its own: its mesh points, and crop pixels per outer-eye
    distance."""

    points: tuple[int, ...]
    scale: float

    def matrix(self, points: Tensor, size: int) -> Tensor:
        """Image pixels -> crop pixels: fits the part's points (F, P, 2) to those of the mean face, (F, 2, 3)."""
        mean = mesh.mean_face()[list(self.points)].to(points)
        middle = (mean.amin(0) + mean.amax(0)) / 2
        return geometry.similarity(points, ((mean - middle) * self.scale + (size - 1) / 2)[None])


EYE = Part(mesh.EYE_PART, 84.0)
MOUTH = Part(mesh.MOUTH_PART, 62.0)


def locate(images: Tensor, frame: Tensor, points: Tensor, landmarks: FaceMesh) -> Tensor:
    """Dense landmarks of F faces, (B, 3, H, W) 0..1, frames (F,), five points (F, 5, 2) -> (F, 468, 2) image pixels."""
    rows = torch.arange(len(frame), device=images.device)
    found = map_in_chunks(lambda part: _locate_chunk(images, frame[part], points[part], landmarks), rows, _CHUNK)
    return torch.cat(found) if found else points.new_zeros(0, mesh.POINTS, 2)


def _locate_chunk(images: Tensor, frame: Tensor, points: Tensor, landmarks: FaceMesh) -> Tensor:
    dense = _locate_whole(images, frame, points, landmarks.whole)
    left, mouth = list(EYE.points), list(MOUTH.points)
    right = mesh.mirror()[left].tolist()
    one = points.new_ones(len(frame), 1, 2)
    sign = torch.cat([one, one * points.new_tensor([-1.0, 1.0])])  # the right eye is mirrored for the network
    eyes = torch.cat([dense[:, left], dense[:, right]])
    eyes = _locate_part(images, frame.repeat(2), eyes, EYE, landmarks.eye, sign)
    dense[:, left], dense[:, right] = eyes.chunk(2)
    dense[:, mouth] = _locate_part(images, frame, dense[:, mouth], MOUTH, landmarks.mouth, one)
    return dense


def _locate_whole(images: Tensor, frame: Tensor, points: Tensor, network: LandmarkNet) -> Tensor:
    """The mesh from five points; a face that they align poorly is realigned by its mesh and located again."""
    size = network.config.size
    target = geometry.template(TEMPLATE, size).to(images.device)[None]
    matrix = geometry.similarity(points, target)
    seen = _run(images, frame, matrix, network)
    dense = geometry.transform(seen, geometry.invert(matrix))
    again = ((mesh.five(seen) - target).norm(dim=-1).mean(-1) > _AGAIN * size).nonzero()[:, 0]
    if len(again):
        matrix = geometry.similarity(mesh.five(dense[again]), target)
        seen = _run(images, frame[again], matrix, network)
        dense[again] = geometry.transform(seen, geometry.invert(matrix))
    return dense


def _locate_part(
    images: Tensor, frame: Tensor, points: Tensor, part: Part, network: LandmarkNet, sign: Tensor
) -> Tensor:
    """Refines a part's points, (F, P, 2) -> (F, P, 2) image pixels; sign (F, 1, 2) has x = -1 where the network sees
    the part mirrored."""
    # A similarity cannot mirror: mirror the points about x = 0 first, then include that in the matrix.
    matrix = part.matrix(points * sign, network.config.size)
    matrix = torch.cat([matrix[..., :2] * sign, matrix[..., 2:]], -1)
    return geometry.transform(_run(images, frame, matrix, network), geometry.invert(matrix))


def _run(images: Tensor, frame: Tensor, matrix: Tensor, network: LandmarkNet) -> Tensor:
    crops = geometry.warp(images, matrix, network.config.size, frame=frame)
    return network(crops.contiguous(memory_format=torch.channels_last))
