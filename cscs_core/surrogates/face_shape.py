"""Changing the proportions of faces: thinner, chubbier, with a wider jaw or nose, eyes further apart."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from ..faces.bend import bend_to_mesh, interpolate_moves, plane_to_face
from ..ops import mesh
from ..ops.mask import smoothstep
from ..ops.mesh import NOSE
from ..types import Crops
from .base import Surrogate, changes_per_row, unfiltered

_MOST = 0.2  # of a part's width: its change at amount 1
_INNER = (*NOSE, *mesh.LEFT_EYE, *mesh.RIGHT_EYE, *mesh.LEFT_BROW, *mesh.RIGHT_BROW, *mesh.LIPS, *mesh.MOUTH)


@dataclass(frozen=True, slots=True)
class Shape:
    """Changes of the parts of F faces, each (F,) -1..1: at 1 a part is 20 % wider, the eyes 20 % further apart."""

    face: Tensor  # cheeks and jaw: -1 thin, 1 chubby
    cheeks: Tensor
    jaw: Tensor
    nose: Tensor
    eyes: Tensor

    @staticmethod
    def of(count: int, **parts: float | Tensor) -> Shape:
        """Changes of `count` faces: the given parts by one amount or by (F,) amounts, the others by 0."""
        zero = torch.zeros(count)
        return Shape(*(zero + parts.get(field.name, 0.0) for field in fields(Shape)))


def reshape_faces(crops: Crops, shape: Shape) -> Surrogate:
    """Faces with changed proportions; the surroundings follow smoothly, the crop's border stays."""
    points = reshape_mesh(crops.mesh, shape)
    return unfiltered(bend_to_mesh(crops, points), changes_per_row(shape))


def reshape_mesh(points: Tensor, shape: Shape) -> Tensor:
    """Meshes with changed proportions, (F, 468, 2) -> (F, 468, 2): outline, nose, eyes and brows move, the rest
    follows."""
    face, cheeks, jaw, nose, eyes = (getattr(shape, field.name).to(points)[:, None] for field in fields(shape))
    mean, plane = mesh.mean_face().to(points), plane_to_face(points)
    own = (points - points.mean(1, keepdim=True)) @ torch.linalg.inv(plane).mT + mean.mean(0)
    y = mean[:, 1]
    across = points.new_zeros(points.shape[:2])
    oval = list(mesh.OVAL)
    wider = (
        face * smoothstep(y, -0.1, 0.4)
        + cheeks * torch.exp(-((y - 0.4) / 0.3).square())
        + jaw * smoothstep(y, 0.5, 0.85)
    )
    across[:, oval] = (_MOST * wider.clamp(-1.5, 1.5) * own[..., 0])[:, oval]
    across[:, list(NOSE)] = (_MOST * nose * smoothstep(y, 0.05, 0.35) * own[..., 0])[:, list(NOSE)]
    for ring, brow in ((mesh.LEFT_EYE, mesh.LEFT_BROW), (mesh.RIGHT_EYE, mesh.RIGHT_BROW)):
        across[:, [*ring, *brow]] = _MOST * eyes * own[:, list(ring), 0].mean(1, keepdim=True)
    moves = torch.stack([across, torch.zeros_like(across)], -1) @ plane.mT
    return points + interpolate_moves(moves, (*oval, *_INNER))
