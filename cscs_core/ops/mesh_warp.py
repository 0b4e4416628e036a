"""Dense warps: piecewise-affine on the mesh triangles, thin-plate splines through control points.

Both map source points to target points, batched, and are differentiable in the values and in both point sets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_EDGE = 1e-3  # pixels by which triangles overlap, so that no gap is left between neighbours
_AREA = 1e-6  # pixels^2, a triangle with less than half of this area is ignored
_CHUNK = 1 << 22  # pixels per chunk
_KERNEL = 1 << 18  # kernel values per chunk


def triangle_map(target: Tensor, triangles: Tensor, size: int) -> Tensor:
    """Index of the triangle that covers each pixel, (F, P, 2), (T, 3) -> (F, S, S) int64.

    -1 outside; where triangles overlap, the last one wins; triangles with NaN or no area cover nothing. All triangles
    are split into pixel rows and all rows into pixels at once, so that the work is the covered area, without a loop.
    """
    corners = target.detach().float()[:, triangles].flatten(0, 1)  # (F T, 3, 2)
    a, b, c = corners.unbind(1)
    area = _cross(b - a, c - a)
    # A pixel p is inside if cross(edge, p - start) >= -_EDGE |edge| for all three edges.
    edges = torch.stack([b - a, c - b, a - c], 1) * area.sign()[:, None, None]
    sides = torch.cat([corners, edges, -_EDGE * edges.norm(dim=-1, keepdim=True)], -1)  # (F T, 3, 5)
    top = corners[..., 1].amin(1).nan_to_num().sub(_EDGE).ceil().clamp(0, size).long()
    bottom = corners[..., 1].amax(1).nan_to_num().add(_EDGE).floor().clamp(-1, size - 1).long()
    usable = (area.abs() > _AREA) & area.isfinite()
    number, y = _expand_runs((bottom - top + 1).clamp_min(0) * usable, top)  # one entry per row of a triangle
    x0, y0, dx, dy, least = sides[number].unbind(-1)  # each (rows, 3)
    slack = dx * (y[:, None] - y0) - least  # inside: dy (x - x0) <= slack
    bound = x0 + slack / dy
    left = bound.where(dy < 0, -torch.inf).amax(1).clamp(0, size).ceil().long()
    right = bound.where(dy > 0, torch.inf).amin(1).clamp(-1, size - 1).floor().long()
    level = ((dy != 0) | (slack >= 0)).all(1)
    owner = target.new_full((target.shape[0] * size * size,), -1, dtype=torch.long)
    start = (number.div(max(1, len(triangles)), rounding_mode="floor") * size + y) * size + left
    counts, number = (right - left + 1).clamp_min(0) * level, number % max(1, len(triangles))
    for rows in torch.arange(len(counts), device=counts.device).split(
        max(1, _CHUNK // size)
    ):  # in case triangles are huge
        row, place = _expand_runs(counts[rows], start[rows])
        owner.scatter_reduce_(0, place, number[rows][row], "amax")
    return owner.view(-1, size, size)


def interpolate(values: Tensor, target: Tensor, triangles: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Interpolates point values over the triangles, (F, P, K), (F, P, 2), (T, 3) -> (F, K, S, S), (F, 1, S, S) bool.

    Linear within each triangle, 0 outside; the second result is True inside.
    """
    owner = triangle_map(target, triangles, size)
    place = (owner.flatten() >= 0).nonzero()[:, 0]  # (N,) covered pixels of all faces
    face, pixel = place.div(size * size, rounding_mode="floor"), place % (size * size)
    row = owner.flatten()[place] + face * len(triangles)
    # Barycentric coordinates are set up per triangle; the pixels only look them up.
    a, b, c = target.float()[:, triangles].flatten(0, 1).unbind(1)
    area = _cross(b - a, c - a)
    area = area.where(area.abs() > _AREA, 1)[:, None]
    second, third = _quarter_turn(c - a) / -area, _quarter_turn(b - a) / area
    x, y = torch.stack([pixel % size, pixel.div(size, rounding_mode="floor")]) - a.index_select(0, row).T
    second, third = second.index_select(0, row).T, third.index_select(0, row).T
    second, third = second[0] * x + second[1] * y, third[0] * x + third[1] * y
    share = torch.stack([1 - second - third, second, third]).clamp_min(0)
    share = share / share.sum(0)
    of_triangle = values[:, triangles].flatten(0, 1).flatten(1).index_select(0, row).view(-1, 3, values.shape[-1])
    mixed = (of_triangle * share.T[..., None]).sum(1).to(values.dtype)
    out = values.new_zeros(owner.numel(), values.shape[-1]).index_copy(0, place, mixed)
    return out.view(*owner.shape, values.shape[-1]).movedim(-1, 1), (owner >= 0)[:, None]


@dataclass(frozen=True, slots=True)
class ThinPlate:
    """Thin-plate spline through control points (Bookstein 1989); called with points (F, Q, 2) -> (F, Q, 2) pixels."""

    centre: Tensor  # (F, 1, 2) pixels; thin_plate makes all four in float64
    scale: Tensor  # (F, 1, 1) pixels per unit
    control: Tensor  # (F, P, 2) units, relative to the centre
    weights: Tensor  # (F, P + 3, 2) pixels: one row per control point, then 1, x, y

    def __call__(self, points: Tensor) -> Tensor:
        count = max(1, _KERNEL // max(1, self.control.shape[0] * self.control.shape[1]))
        parts = points.split(count, 1)  # the pixels of an image against all control points would not fit into memory
        return torch.cat([self._at(part) for part in parts], 1).float()

    def _at(self, points: Tensor) -> Tensor:
        points = (points.to(self.centre.dtype) - self.centre) / self.scale
        kernel = _kernel(points, self.control)
        affine = self.weights[:, -3:-2] + points @ self.weights[:, -2:]
        return affine + kernel @ self.weights[:, :-3]


def thin_plate(source: Tensor, target: Tensor, regularisation: float = 0.0) -> ThinPlate:
    """The thin-plate spline from source to target points, (F, P, 2), (F, P, 2) pixels.

    `regularisation` is in pixels^2; 0 interpolates exactly. Solved in float64. Coincident source points are allowed and
    map to the mean of their targets.
    """
    centre = source.double().mean(1, keepdim=True)
    control = source.double() - centre
    scale = control.square().sum(-1).mean(1).clamp_min(1).sqrt()[:, None, None]
    control = control / scale
    ones = torch.ones_like(control[..., :1])
    plane = torch.cat([ones, control], -1)
    identity = torch.eye(control.shape[1], dtype=torch.float64, device=source.device)
    # Wahba 1990, equation 1: [K + r I, P; P', 0], with a small diagonal so that no set of points is singular.
    upper = _kernel(control, control) + identity * (regularisation / scale.square() + 1e-11)
    corner = torch.eye(3, dtype=torch.float64, device=source.device).mul(-1e-11).expand(len(source), 3, 3)
    system = torch.cat([torch.cat([upper, plane], -1), torch.cat([plane.mT, corner], -1)], 1)
    goal = torch.cat([target.double(), target.new_zeros(len(source), 3, 2, dtype=torch.float64)], 1)
    return ThinPlate(centre, scale, control, torch.linalg.solve(system, goal))


def _expand_runs(counts: Tensor, start: Tensor) -> tuple[Tensor, Tensor]:
    """Expands runs of start, start + 1, ..., (N,), (N,) -> (sum of counts,) twice: index of the run, number."""
    run = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    offset = start - (counts.cumsum(0) - counts)
    return run, torch.arange(len(run), device=counts.device) + offset[run]


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _quarter_turn(a: Tensor) -> Tensor:
    """Rotates by a quarter turn: cross(a, b) is the dot product of the rotated a and b."""
    return torch.stack([-a[..., 1], a[..., 0]], -1)


def _kernel(points: Tensor, control: Tensor) -> Tensor:
    """The thin-plate kernel r^2 log r, (F, Q, 2), (F, P, 2) -> (F, Q, P)."""
    x = points[..., None, 0] - control[..., None, :, 0]
    y = points[..., None, 1] - control[..., None, :, 1]
    square = x * x + y * y
    return 0.5 * square * square.clamp_min(1e-24).log()
