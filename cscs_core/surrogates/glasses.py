"""Drawing glasses on faces: a rigid front and arms in 3D, turned with the head."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..ops import colour, head_pose, mask
from ..ops.geometry import similarity, transform
from ..types import Crops
from .base import Colour, Surrogate, unfiltered

_BRIDGE = 0.10  # outer-eye distances, half of the gap between the lenses
_OUTLINE = 48  # points of a lens's outline


@dataclass(frozen=True, slots=True)
class Style:
    """The front of a pair of glasses; lengths in outer-eye distances."""

    width: float  # half the width of a lens
    height: float  # half its height
    power: float  # exponent of the superellipse: 2 is an ellipse, larger is squarer
    rim: float
    lift: float = 0.0  # how far the upper outer corners are raised
    droop: float = 0.0  # how much longer the lower half is


STYLES = {
    "round": Style(0.235, 0.215, 2.0, 0.014),
    "square": Style(0.265, 0.175, 5.0, 0.030),
    "wire": Style(0.250, 0.165, 3.0, 0.009),
    "cat_eye": Style(0.265, 0.170, 2.8, 0.026, lift=0.13),
    "aviator": Style(0.265, 0.185, 2.6, 0.011, droop=0.45),
}


@dataclass(frozen=True, slots=True)
class Glasses:
    """A pair of glasses."""

    style: str = "round"  # of STYLES
    frame: Colour = (0.08, 0.07, 0.07)
    lens: Colour = (0.25, 0.22, 0.20)
    tint: float = 0.0  # 0 clear .. 1 almost opaque


def draw_glasses(crops: Crops, worn: Sequence[Glasses]) -> Surrogate:
    """Faces wearing glasses, one pair for each face, turned with the head."""
    changes = [{"glasses": one.style, "tint": round(one.tint, 4)} for one in worn]
    if not len(crops):
        return unfiltered(crops, changes)
    size, pixels = crops.size, crops.pixels
    fit = _Fit(crops.mesh)
    styles = [STYLES[one.style] for one in worn]

    def column(values: Sequence[float | Colour]) -> Tensor:
        return pixels.new_tensor(values).view(len(values), -1, 1, 1)

    inner, outer = (
        [fit.project(_lens_outline(styles, side, grown).to(pixels)) for side in (-1, 1)] for grown in (False, True)
    )
    bridge = fit.project(_bridge_outline(styles).to(pixels))
    lenses = torch.maximum(*(mask.polygon(points, size) for points in inner))
    front = torch.maximum(*(mask.polygon(points, size) for points in outer))
    frame = torch.maximum((front - lenses).clamp_min(0), mask.polygon(bridge, size))
    arms = [fit.arm(styles, side, size) for side in (-1, 1)]
    frame = torch.maximum(frame, torch.maximum(*arms))

    shade = colour.gaussian_blur(_shift_down(frame, 0.015 * size), 0.008 * size) * mask.hull(crops.mesh, size)
    out = pixels * (1 - 0.35 * shade)
    tint = column([one.tint for one in worn])
    through = 1 - (1 - column([one.lens for one in worn])) * (0.04 + 0.9 * tint)
    glare = _glare(lenses, size) * (0.05 + 0.13 * tint)
    behind = out * through * (1 - 0.45 * tint) + glare
    out = out + (behind - out) * lenses
    edge = (frame - _shift_down(frame, 0.006 * size)).clamp_min(0)  # the upper edge, lit from above
    rims = column([one.frame for one in worn]) + 0.25 * colour.gaussian_blur(edge, 0.002 * size)
    out = out + (rims - out) * frame
    return unfiltered(replace(crops, pixels=out.clamp(0, 1)), changes)


class _Fit:
    """Projects the head template's space onto each face: its pose, corrected to fit the eyes and the nose root."""

    def __init__(self, points: Tensor):
        self.pose = head_pose.fit(points)
        anchors = [33, 133, 362, 263, 168]
        self.shape = head_pose.template().to(points)
        seen = self.pose.project(self.shape[None, anchors])
        self.correction = similarity(seen, points[:, anchors])

    def project(self, points: Tensor) -> Tensor:
        """(F, P, 3) in outer-eye distances from the midpoint of the eyes -> (F, P, 2) pixels."""
        middle = self.shape[[33, 263]].mean(0)
        return transform(self.pose.project(points + middle), self.correction)

    def arm(self, styles: Sequence[Style], side: int, size: int) -> Tensor:
        """The visible part of the arm on one side (-1 or 1), (F, 1, S, S) 0..1; empty if the head hides it."""
        ear = self.shape[127 if side < 0 else 356] - self.shape[[33, 263]].mean(0)
        hinge = self.shape.new_tensor([[side * (_BRIDGE + 2 * one.width), -0.4 * one.height, 0.0] for one in styles])
        hinge[:, 2] = _front_depth(hinge[:, :2])
        half = self.shape.new_tensor([[0.0, 0.4 * one.rim + 0.008, 0.0] for one in styles])
        end = hinge + 1.15 * (ear + self.shape.new_tensor([side * 0.03, 0.0, 0.0]) - hinge) * self.shape.new_tensor(
            [1.0, 0.3, 1.0]
        )
        corners = self.project(torch.stack([hinge - half, end - half, end + half, hinge + half], 1))
        outward = (corners[:, 1, 0] - corners[:, 0, 0]) * side / self.pose.scale
        return mask.polygon(corners, size) * (outward / 0.05).clamp(0, 1).view(-1, 1, 1, 1)


def _front_depth(places: Tensor) -> Tensor:
    """Depth of the front at (..., 2) x y -> (...): curved around the face, with the lower edge closer to the cheeks."""
    return 0.33 - 0.35 * places[..., 0].square() - 0.15 * places[..., 1]


def _lens_outline(styles: Sequence[Style], side: int, grown: bool) -> Tensor:
    """Outline of a lens, or of its rim if `grown`, (F, 48, 3) in outer-eye distances from the midpoint of the eyes."""
    angle = torch.arange(_OUTLINE) * (2 * math.pi / _OUTLINE)
    outlines = []
    for style in styles:
        x, y = (part.sign() * part.abs().pow(2 / style.power) for part in (angle.cos(), angle.sin()))
        more = style.rim if grown else 0.0
        y = y * (1 + style.droop * (y > 0) * (1 - 0.6 * x))
        y = y - style.lift / style.height * x.clamp_min(0).square() * (0.6 - 0.4 * y)
        places = torch.stack([x * (style.width + more) + _BRIDGE + style.width, y * (style.height + more)], -1)
        places = (places + torch.tensor([0.0, 0.03])) * torch.tensor([side, 1.0])
        outlines.append(torch.cat([places, _front_depth(places)[:, None]], -1))
    return torch.stack(outlines)


def _bridge_outline(styles: Sequence[Style]) -> Tensor:
    """Outline of the arched bridge over the nose, (F, 16, 3)."""
    x = torch.linspace(-1, 1, 8)
    outlines = []
    for style in styles:
        y = -0.35 * style.height - 0.03 * (1 - x.square())
        thick = 0.8 * style.rim + 0.006
        rows = [torch.stack([x * (_BRIDGE + 0.02), y + sign * thick], -1) for sign in (-1, 1)]
        places = torch.cat([rows[0], rows[1].flip(0)])
        outlines.append(torch.cat([places, _front_depth(places)[:, None]], -1))
    return torch.stack(outlines)


def _shift_down(cover: Tensor, down: float) -> Tensor:
    """A mask (F, 1, S, S) shifted down by at least one whole pixel."""
    rows = max(1, round(down))
    return torch.nn.functional.pad(cover, (0, 0, rows, 0))[..., :-rows, :]


def _glare(lenses: Tensor, size: int) -> Tensor:
    """Reflections on the lenses, diagonal stripes, (F, 1, S, S) 0..1."""
    line = torch.linspace(0, 1, size, device=lenses.device)
    slope = torch.sin(14 * (line[:, None] + 0.6 * line)).clamp_min(0).square()
    return lenses * slope
