"""Faces bent to other mesh points: inside piecewise affine, outside as smooth as a thin plate; and mirrored faces."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as nnf
from torch import Tensor

from ..ops import colour, head_pose, mask, mesh, mesh_warp
from ..ops.geometry import compose, pixel_grid, sample
from ..types import Crops, join

_COARSE = 4  # pixels between the places where the thin plate outside the face is computed
_SMOOTH = 0.004  # of the crop side: deviation by which a field of displacements is smoothed
_RIM = 0.05  # of the crop side: how far inside its border a picture moves as told


def flipped(crops: Crops, which: Tensor | None = None) -> Crops:
    """Mirror images, of all rows or of those chosen (F,) bool."""
    side = crops.size - 1.0
    mirror = crops.matrix.new_tensor([[-1.0, 0.0, side], [0.0, 1.0, 0.0]])
    landmarks = crops.landmarks[:, [1, 0, 2, 4, 3]] * crops.landmarks.new_tensor([-1.0, 1.0])
    other = Crops(
        crops.pixels.flip(-1),
        crops.mask.flip(-1),
        compose(crops.matrix, mirror),
        landmarks + landmarks.new_tensor([side, 0.0]),
        mesh.flipped(crops.mesh, crops.size),
        crops.frame,
    )
    return other if which is None else select_rows(which, other, crops)


def select_rows(which: Tensor, a: Crops, b: Crops) -> Crops:
    """Rows of a where chosen (F,) bool, of b elsewhere."""
    index = torch.arange(len(which), device=which.device) + len(which) * ~which
    return join([a, b])[index]


def displacement(source: Tensor, target: Tensor, size: int) -> Tensor:
    """How far from each pixel of the warped picture the original is read, (F, 468, 2) twice -> (F, S, S, 2).

    Piecewise affine inside the face; outside as smooth as a thin plate, and nothing at the crop's border.
    """
    shift = source - target
    inner, inside = mesh_warp.interpolate(shift, target, head_pose.triangles_far_to_near().to(target.device), size)
    oval = list(mesh.OVAL)
    anchors = _anchors(size).to(target).expand(len(target), -1, -1)
    still = torch.zeros_like(anchors)
    spline = mesh_warp.thin_plate(torch.cat([target[:, oval], anchors], 1), torch.cat([shift[:, oval], still], 1))
    spline = mesh_warp.ThinPlate(
        spline.centre.float(), spline.scale.float(), spline.control.float(), spline.weights.float()
    )
    cells = max(1, size // _COARSE)
    coarse = (pixel_grid(cells, cells, target.device) + 0.5) * (size / cells) - 0.5
    plate = spline(coarse.reshape(1, -1, 2).expand(len(target), -1, -1)).movedim(-1, 1).unflatten(-1, (cells, cells))
    plate = nnf.interpolate(plate, (size, size), mode="bicubic") if len(target) else inner
    # Where a face folds over itself the field jumps; a pixel's blur makes a line of that, and no stairs.
    whole = colour.gaussian_blur(inner.where(inside, plate), _SMOOTH * size)
    return (whole * border_fade(size, target.device)).movedim(1, -1)


def plane_to_face(points: Tensor) -> Tensor:
    """What lengths in the mean face's plane become on each face, foreshortened as it is, (F, 468, 2) -> (F, 2, 2)."""
    mean = mesh.mean_face().to(points)
    centred = mean - mean.mean(0)
    return (points - points.mean(1, keepdim=True)).mT @ centred @ torch.linalg.inv(centred.T @ centred)


def interpolate_moves(moves: Tensor, control: Sequence[int]) -> Tensor:
    """All points' moves where those of some are given, (F, 468, 2) -> same: the others follow as a thin plate."""
    mean = mesh.mean_face().to(moves)
    places = mean[list(control)].expand(len(moves), -1, -1)
    return mesh_warp.thin_plate(places, moves[:, list(control)])(mean.expand(len(moves), -1, -1))


def wavy_outline(points: Tensor, reach: Tensor, seeds: Sequence[int], size: int) -> Tensor:
    """The inside of faces' outlines, grown about their middles by a factor 1 + reach (F,), with an edge that waves as
    the seeds say, (F, 468, 2) -> (F, 1, S, S) 0..1."""
    outline = points[:, list(mesh.OVAL)]
    waves = torch.zeros(len(points), 3, 2)
    for row, seed in enumerate(seeds):
        waves[row] = torch.randn(3, 2, generator=torch.Generator().manual_seed(seed))
    count = len(mesh.OVAL)
    angle = torch.arange(count) * (2 * math.pi / count) * torch.arange(1, 4)[:, None]
    edge = 0.1 * (waves[..., :1] * angle.cos() + waves[..., 1:] * angle.sin()).sum(1).to(points)
    middle = outline.mean(1, keepdim=True)
    factor = 1 + reach[:, None] + edge * reach[:, None].abs()
    return mask.polygon(middle + (outline - middle) * factor[..., None], size)


def border_fade(size: int, device: torch.device | str = "cpu") -> Tensor:
    """0 at the border of a crop and 1 a little inside, (S, S)."""
    line = torch.arange(size, device=device)
    line = (torch.minimum(line, size - 1 - line) / (_RIM * size)).clamp(0, 1)
    line = line * line * (3 - 2 * line)
    return line[:, None] * line


def _anchors(size: int) -> Tensor:
    """Places along a crop's border that do not move, (1, 24, 2)."""
    line = torch.linspace(0, size - 1.0, 7)[:-1]
    zero, last = torch.zeros(6), torch.full((6,), size - 1.0)
    sides = [(line, zero), (last, line), (last - line, last), (zero, last - line)]
    return torch.cat([torch.stack(side, -1) for side in sides])[None]


def resample(pixels: Tensor, shift: Tensor) -> Tensor:
    """Pictures read so far from each pixel, (F, C, S, S), (F, S, S, 2); one that is read in place stays bit by bit."""
    height, width = shift.shape[1:3]
    out = sample(pixels, pixel_grid(height, width, shift.device) + shift)
    return out.where(shift.flatten(1).any(-1)[:, None, None, None], pixels)


def with_mesh(crops: Crops, pixels: Tensor, points: Tensor) -> Crops:
    """The crops with other pixels and the mesh moved; the five points move along."""
    return replace(
        crops, pixels=pixels, mesh=points, landmarks=crops.landmarks + mesh.five(points) - mesh.five(crops.mesh)
    )


def bend_to_mesh(crops: Crops, points: Tensor) -> Crops:
    """The crops with their faces bent to other mesh points (F, 468, 2), the surroundings following smoothly."""
    return with_mesh(crops, resample(crops.pixels, displacement(crops.mesh, points, crops.size)), points)


def face_plane(points: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where in the mean face each pixel lies: |x| and y, and inside or not, (F, 1, S, S) each."""
    values = mesh.mean_face().to(points).expand(len(points), -1, -1)
    spread, inside = mesh_warp.interpolate(values, points, head_pose.triangles_far_to_near().to(points.device), size)
    return spread[:, :1].abs(), spread[:, 1:], inside.to(points)
