"""Painting make-up on faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..faces.bend import face_plane, plane_to_face
from ..ops import colour, mask, mesh
from ..types import Crops
from .base import Colour, Surrogate, unfiltered


@dataclass(frozen=True, slots=True)
class Makeup:
    """Make-up of a face; amounts 0..1."""

    lips: float = 0.0
    lip_colour: Colour = (0.65, 0.10, 0.18)
    shadow: float = 0.0  # on the upper lids, up to the brows
    shadow_colour: Colour = (0.35, 0.25, 0.45)
    liner: float = 0.0  # along the upper lids
    blush: float = 0.0  # on the cheeks


def draw_makeup(crops: Crops, worn: Sequence[Makeup]) -> Surrogate:
    """Faces wearing make-up, one `Makeup` for each face."""
    names = ("lips", "shadow", "liner", "blush")
    changes = [{"makeup": {name: round(getattr(one, name), 4) for name in names}} for one in worn]
    if not len(crops):
        return unfiltered(crops, changes)
    size, points = crops.size, crops.mesh
    x, y, inside = face_plane(points, size)
    eyes, brows = mask.eyes(points, size), mask.brows(points, size)

    def column(name: str) -> Tensor:
        return crops.pixels.new_tensor([getattr(one, name) for one in worn]).view(len(worn), -1, 1, 1)

    lips = colour.gaussian_blur(mask.lips(points, size), 0.003 * size)
    lids = torch.exp(-((x - 0.36) / 0.16).square() - ((y + 0.09) / 0.06).square()) * inside * (1 - eyes) * (1 - brows)
    cheeks = torch.exp(-((x - 0.48) / 0.14).square() - ((y - 0.40) / 0.12).square()) * inside
    out = _paint(crops.pixels, lips, column("lip_colour"), 0.8 * column("lips"))
    out = _paint(out, colour.gaussian_blur(lids, 0.004 * size), column("shadow_colour"), 0.7 * column("shadow"))
    out = _paint(out, cheeks, out.new_tensor([0.75, 0.35, 0.35]).view(1, 3, 1, 1), 0.35 * column("blush"))
    out = out * (1 - 0.85 * column("liner") * colour.gaussian_blur(_liner(points, size), 0.002 * size))
    return unfiltered(replace(crops, pixels=out.clamp(0, 1)), changes)


def _paint(pixels: Tensor, cover: Tensor, paint: Tensor, amount: Tensor) -> Tensor:
    """Pixels that take on the hue of a paint and part of its lightness, so that the skin's texture shows through."""
    lab, goal = colour.to_lab(pixels), colour.to_lab(paint.expand_as(pixels[..., :1, :1]))
    share = cover * amount
    mean = (lab * cover).sum((2, 3), keepdim=True) / cover.sum((2, 3), keepdim=True).clamp_min(1e-3)
    lightness = 0.6 * (goal[:, :1] - mean[:, :1])
    painted = torch.cat([lab[:, :1] + lightness * share, lab[:, 1:] + (goal[:, 1:] - lab[:, 1:]) * share], 1)
    return torch.where(share > 0, colour.from_lab(painted), pixels)


def _liner(points: Tensor, size: int) -> Tensor:
    """A line along both upper lids, thicker outwards, (F, 1, S, S)."""
    up = -plane_to_face(points)[:, None, :, 1]  # (F, 1, 2) pixels, one outer-eye distance upwards
    covers = []
    for ring in (mesh.LEFT_EYE, mesh.RIGHT_EYE):
        edge = points[:, [ring[0], *ring[:8:-1], ring[8]]]  # from the outer corner to the inner
        thick = torch.linspace(0.035, 0.008, edge.shape[1], device=points.device)[None, :, None]
        covers.append(mask.polygon(torch.cat([edge, (edge + thick * up).flip(1)], 1), size))
    return torch.maximum(*covers)
