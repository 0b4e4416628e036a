"""Faces warped to other mesh points, piecewise affine inside and by a thin plate spline outside; and mirrored faces."""

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

_COARSE = 4  # pixels between the grid points at which the spline outside the face is evaluated
_SMOOTH = 0.004  # of the crop side: deviation of the blur that smooths the displacement field
_RIM = 0.05  # of the crop side: width of the border over which the displacement fades to 0


def flipped(crops: Crops, which: Tensor | None = None) -> Crops:
    """Crops mirrored left to right: all rows, or only those where `which` (F,) bool is true."""
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
    """Rows of `a` where `which` (F,) bool is true, rows of `b` elsewhere."""
    index = torch.arange(len(which), device=which.device) + len(which) * ~which
    return join([a, b])[index]


def displacement(source: Tensor, target: Tensor, size: int) -> Tensor:
    """Backward displacement field, (F, 468, 2) mesh points twice -> (F, S, S, 2) pixels: output pixel p reads the
    source at p + displacement.

    Piecewise affine inside the face, a thin plate spline outside, 0 at the crop's border.
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
    # Where a face folds over itself the field jumps; a slight blur turns the jagged edge into a clean line.
    whole = colour.gaussian_blur(inner.where(inside, plate), _SMOOTH * size)
    return (whole * border_fade(size, target.device)).movedim(1, -1)


def plane_to_face(points: Tensor) -> Tensor:
    """Least-squares linear map from the mean face's plane to each face's pixels, with its foreshortening, (F, 468, 2)
    -> (F, 2, 2)."""
    mean = mesh.mean_face().to(points)
    centred = mean - mean.mean(0)
    return (points - points.mean(1, keepdim=True)).mT @ centred @ torch.linalg.inv(centred.T @ centred)


def interpolate_moves(moves: Tensor, control: Sequence[int]) -> Tensor:
    """Spreads the moves of the control points to all points by a thin plate spline, (F, 468, 2) -> (F, 468, 2)."""
    mean = mesh.mean_face().to(moves)
    places = mean[list(control)].expand(len(moves), -1, -1)
    return mesh_warp.thin_plate(places, moves[:, list(control)])(mean.expand(len(moves), -1, -1))


def wavy_outline(points: Tensor, reach: Tensor, seeds: Sequence[int], size: int) -> Tensor:
    """Masks of the faces' outlines, scaled about their centres by 1 + reach (F,), with a wavy edge drawn from the
    seeds, (F, 468, 2) -> (F, 1, S, S) 0..1."""
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
    """Weights that rise smoothly from 0 at the border of a crop to 1 at 5 % of its side, (S, S)."""
    line = torch.arange(size, device=device)
    line = (torch.minimum(line, size - 1 - line) / (_RIM * size)).clamp(0, 1)
    line = line * line * (3 - 2 * line)
    return line[:, None] * line


def _anchors(size: int) -> Tensor:
    """Fixed points along the crop's border, (1, 24, 2)."""
    line = torch.linspace(0, size - 1.0, 7)[:-1]
    zero, last = torch.zeros(6), torch.full((6,), size - 1.0)
    sides = [(line, zero), (last, line), (last - line, last), (zero, last - line)]
    return torch.cat([torch.stack(side, -1) for side in sides])[None]


def resample(pixels: Tensor, shift: Tensor) -> Tensor:
    """Images sampled at each pixel plus its displacement, (F, C, S, S), (F, S, S, 2) pixels -> (F, C, S, S). Rows whose
    displacement is 0 throughout stay bit-identical."""
    height, width = shift.shape[1:3]
    out = sample(pixels, pixel_grid(height, width, shift.device) + shift)
    return out.where(shift.flatten(1).any(-1)[:, None, None, None], pixels)


def with_mesh(crops: Crops, pixels: Tensor, points: Tensor) -> Crops:
    """The crops with new pixels (F, 3, S, S) and mesh points (F, 468, 2); the five landmarks move along."""
    return replace(
        crops, pixels=pixels, mesh=points, landmarks=crops.landmarks + mesh.five(points) - mesh.five(crops.mesh)
    )


def bend_to_mesh(crops: Crops, points: Tensor) -> Crops:
    """The crops with their faces warped to other mesh points (F, 468, 2); the surroundings follow smoothly."""
    return with_mesh(crops, resample(crops.pixels, displacement(crops.mesh, points, crops.size)), points)


def face_plane(points: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Each pixel's position in the mean face, (F, 468, 2) -> |x|, y and a 0/1 mask of the face, (F, 1, S, S) each."""
    values = mesh.mean_face().to(points).expand(len(points), -1, -1)
    spread, inside = mesh_warp.interpolate(values, points, head_pose.triangles_far_to_near().to(points.device), size)
    return spread[:, :1].abs(), spread[:, 1:], inside.to(points)
