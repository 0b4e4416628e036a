"""Head pose: fits the mean face with depth to a mesh under a weak-perspective camera.

x points right, y down, z towards the viewer; the template's unit is the distance of the outer eye corners. Angles are
in degrees: positive yaw turns the nose to the right of the image, positive pitch raises it, positive roll tilts the
head clockwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as nnf
from safetensors.torch import load_file
from torch import Tensor

from . import mesh
from .geometry import similarity, transform


@cache
@torch.inference_mode(False)  # cached outside inference mode, so that later callers can backpropagate
def template() -> Tensor:
    """The mean face with depth, (468, 3), centred at 0; `cscs_core/train/depth.py` makes the depth."""
    depth = load_file(Path(__file__).parents[1] / "lite" / "depth.safetensors")["depth"]
    shape = torch.cat([mesh.mean_face(), depth[:, None]], -1)
    return shape - shape.mean(0)


@cache
@torch.inference_mode(False)
def triangles_far_to_near() -> Tensor:
    """Triangles of the mesh, (T, 3) int64, farthest first, so that mesh_warp shows the nearest where they overlap."""
    triangles = mesh.triangles()
    return triangles[template()[triangles, 2].mean(-1).argsort()]


@cache
@torch.inference_mode(False)
def normals() -> Tensor:
    """Outward normals of the template at each point, (468, 3) unit rows."""
    shape, triangles = template(), mesh.triangles()
    a, b, c = shape[triangles].unbind(1)
    across = torch.linalg.cross(b - a, c - a)
    # Away from a vertical axis inside the head.
    outward = (a + b + c) / 3 * across.new_tensor([1.0, 0.0, 1.0]) + across.new_tensor([0.0, 0.0, 0.9])
    across = across * (across * outward).sum(-1, keepdim=True).sign()
    total = torch.zeros_like(shape).index_add(0, triangles.flatten(), across.repeat_interleave(3, 0))
    return nnf.normalize(total, dim=-1)


@dataclass(frozen=True, slots=True)
class Pose:
    """Poses of F heads: pixels = scale * (rotation @ template)[:2] + shift."""

    rotation: Tensor  # (F, 3, 3)
    scale: Tensor  # (F,) pixels per unit of the template
    shift: Tensor  # (F, 2) pixels

    @property
    def degrees(self) -> Tensor:
        """Yaw, pitch and roll in degrees, (F, 3)."""
        r = self.rotation
        yaw = torch.atan2(-r[:, 2, 0], r[:, 2, 2])
        pitch = torch.asin(r[:, 2, 1].clamp(-1, 1))
        roll = torch.atan2(-r[:, 0, 1], r[:, 1, 1])
        return torch.rad2deg(torch.stack([yaw, pitch, roll], -1))

    def project(self, points: Tensor) -> Tensor:
        """Projects points in template units, (F|1, P, 3) -> (F, P, 2) pixels."""
        return (points @ self.rotation.mT)[..., :2] * self.scale[:, None, None] + self.shift[:, None]


def rotation(degrees: Tensor) -> Tensor:
    """Rotation matrices from yaw, pitch and roll in degrees, applied in that order, (F, 3) -> (F, 3, 3)."""
    sin, cos = torch.deg2rad(degrees).sin(), torch.deg2rad(degrees).cos()
    (sa, sb, sc), (ca, cb, cc) = sin.unbind(-1), cos.unbind(-1)
    one, zero = torch.ones_like(sa), torch.zeros_like(sa)

    def matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        return torch.stack([torch.stack(row, -1) for row in rows], -2)

    yaw = matrix((ca, zero, sa), (zero, one, zero), (-sa, zero, ca))
    pitch = matrix((one, zero, zero), (zero, cb, -sb), (zero, sb, cb))
    roll = matrix((cc, -sc, zero), (sc, cc, zero), (zero, zero, one))
    return roll @ pitch @ yaw


def fit(points: Tensor, shape: Tensor | None = None) -> Pose:
    """The pose of the template, or of another shape (468, 3), that fits each mesh best, (F, 468, 2) -> Pose.

    A least-squares affine camera whose two axes the polar decomposition makes perpendicular and equally long.
    """
    shape = (template() if shape is None else shape).to(points)
    middle = points.mean(1)
    affine = (points - middle[:, None]).mT @ shape @ torch.linalg.inv(shape.T @ shape)  # (F, 2, 3)
    left, _, right = torch.linalg.svd(affine, full_matrices=False)
    axes = left @ right
    turned = torch.cat([axes, torch.linalg.cross(axes[:, 0], axes[:, 1])[:, None]], 1)
    seen = shape @ axes.mT
    scale = ((points - middle[:, None]) * seen).sum((1, 2)) / seen.square().sum((1, 2))
    return Pose(turned, scale, middle)


def rotate(points: Tensor, yaw: Tensor, pitch: Tensor) -> Tensor:
    """Meshes of the same heads turned further by degrees of yaw and pitch, (F, 468, 2), (F,), (F,) -> (F, 468, 2).

    Depth comes from the template; the face's own shape in the image plane turns with it. A similarity then brings the
    five landmarks back to where they were as closely as it can, as in an aligned crop of the turned head.
    """
    pose = fit(points)
    depth = template().to(points) @ pose.rotation[:, 2, :, None]  # (F, 468, 1)
    seen = torch.cat([(points - pose.shift[:, None]) / pose.scale[:, None, None], depth], -1)
    own = seen @ pose.rotation  # the inverse rotation of every row
    on = torch.stack([yaw, pitch, torch.zeros_like(yaw)], -1)
    moved = Pose(rotation(pose.degrees + on), pose.scale, pose.shift).project(own)
    moved = transform(moved, similarity(mesh.five(moved), mesh.five(points)))
    return moved.where(on.any(-1)[:, None, None], points)
