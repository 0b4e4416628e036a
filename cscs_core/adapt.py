"""Explicit adaptation: a face made thinner or given glasses, so that a pair says where shape and attributes come from.

What is changed in the target alone has to be learned from the source, and the other way round. Every verb changes all
given faces by the amounts told; `adapted` draws which and how much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import MappingProxyType

import torch
from torch import Generator, Tensor

from . import colour, dense, mask, mesh, turn
from .geometry import similarity, transform
from .surrogate import NOSE, Surrogate, did_rows, followed, in_plane, lay, unjudged
from .types import Crops

Colour = tuple[float, float, float]  # RGB 0..1

_MOST = 0.2  # of a part's width: how much it changes at strength 1
_INNER = (*NOSE, *mesh.LEFT_EYE, *mesh.RIGHT_EYE, *mesh.LEFT_BROW, *mesh.RIGHT_BROW, *mesh.LIPS, *mesh.MOUTH)


@dataclass(frozen=True, slots=True)
class Shape:
    """How the parts of F faces change, each (F,) -1..1: at 1 they are a fifth wider, eyes a fifth further apart."""

    face: Tensor  # cheeks and jaw: -1 thin, 1 chubby
    cheeks: Tensor
    jaw: Tensor
    nose: Tensor
    eyes: Tensor

    @staticmethod
    def of(count: int, **parts: float | Tensor) -> Shape:
        """The given parts of that many faces changed, by one amount or by (F,) of them."""
        zero = torch.zeros(count)
        return Shape(*(zero + parts.get(field.name, 0.0) for field in fields(Shape)))


def reshaped(crops: Crops, shape: Shape) -> Surrogate:
    """Faces of other proportions; what is around them follows, the crop's border stays."""
    points = reproportioned(crops.mesh, shape)
    return unjudged(lay(crops, points), did_rows(shape))


def reproportioned(points: Tensor, shape: Shape) -> Tensor:
    """Meshes of other proportions, (F, 468, 2) -> same: outline, nose, eyes and brows move, the rest follows."""
    face, cheeks, jaw, nose, eyes = (getattr(shape, field.name).to(points)[:, None] for field in fields(shape))
    mean, plane = mesh.mean_face().to(points), in_plane(points)
    own = (points - points.mean(1, keepdim=True)) @ torch.linalg.inv(plane).mT + mean.mean(0)
    y = mean[:, 1]
    across = points.new_zeros(points.shape[:2])
    oval = list(mesh.OVAL)
    wider = face * _rise(y, -0.1, 0.4) + cheeks * torch.exp(-((y - 0.4) / 0.3).square()) + jaw * _rise(y, 0.5, 0.85)
    across[:, oval] = (_MOST * wider.clamp(-1.5, 1.5) * own[..., 0])[:, oval]
    across[:, list(NOSE)] = (_MOST * nose * _rise(y, 0.05, 0.35) * own[..., 0])[:, list(NOSE)]
    for ring, brow in ((mesh.LEFT_EYE, mesh.LEFT_BROW), (mesh.RIGHT_EYE, mesh.RIGHT_BROW)):
        across[:, [*ring, *brow]] = _MOST * eyes * own[:, list(ring), 0].mean(1, keepdim=True)
    moves = torch.stack([across, torch.zeros_like(across)], -1) @ plane.mT
    return points + followed(moves, (*oval, *_INNER))


def _rise(x: Tensor, start: float, end: float) -> Tensor:
    """0 up to the start, 1 from the end, smooth between."""
    t = ((x - start) / (end - start)).clamp(0, 1)
    return t * t * (3 - 2 * t)


@dataclass(frozen=True, slots=True)
class Style:
    """The front of a pair of glasses; lengths in outer-eye distances."""

    width: float  # half of a lens's
    height: float  # half
    power: float  # 2 an ellipse, larger squarer
    rim: float
    lift: float = 0.0  # how much the upper outer corners are drawn up
    droop: float = 0.0  # how much the lower half is longer


STYLES = {
    "round": Style(0.235, 0.215, 2.0, 0.014),
    "square": Style(0.265, 0.175, 5.0, 0.030),
    "wire": Style(0.250, 0.165, 3.0, 0.009),
    "cat_eye": Style(0.265, 0.170, 2.8, 0.026, lift=0.13),
    "aviator": Style(0.265, 0.185, 2.6, 0.011, droop=0.45),
}
_BRIDGE = 0.10  # half of the gap between the lenses
_OUTLINE = 48  # points of a lens


@dataclass(frozen=True, slots=True)
class Glasses:
    """A pair of glasses."""

    style: str = "round"
    frame: Colour = (0.08, 0.07, 0.07)
    lens: Colour = (0.25, 0.22, 0.20)
    tint: float = 0.0  # 0 clear .. 1 hardly anything is seen through


def glasses(crops: Crops, worn: Sequence[Glasses]) -> Surrogate:
    """Faces with glasses on, one pair for each: a rigid front on the head's template, turned with the head."""
    did = [{"glasses": one.style, "tint": round(one.tint, 4)} for one in worn]
    if not len(crops):
        return unjudged(crops, did)
    size, pixels = crops.size, crops.pixels
    fit = _Fitted(crops.mesh)
    styles = [STYLES[one.style] for one in worn]

    def column(values: Sequence[float | Colour]) -> Tensor:
        return pixels.new_tensor(values).view(len(values), -1, 1, 1)

    inner, outer = ([fit.project(_lens(styles, side, grown).to(pixels)) for side in (-1, 1)] for grown in (False, True))
    bridge = fit.project(_bridge(styles).to(pixels))
    lenses = torch.maximum(*(mask.polygon(points, size) for points in inner))
    front = torch.maximum(*(mask.polygon(points, size) for points in outer))
    frame = torch.maximum((front - lenses).clamp_min(0), mask.polygon(bridge, size))
    arms = [fit.arm(styles, side, size) for side in (-1, 1)]
    frame = torch.maximum(frame, torch.maximum(*arms))

    shade = colour.gaussian_blur(_shifted(frame, 0.015 * size), 0.008 * size) * mask.hull(crops.mesh, size)
    out = pixels * (1 - 0.35 * shade)
    tint = column([one.tint for one in worn])
    through = 1 - (1 - column([one.lens for one in worn])) * (0.04 + 0.9 * tint)
    glare = _glare(lenses, size) * (0.05 + 0.13 * tint)
    behind = out * through * (1 - 0.45 * tint) + glare
    out = out + (behind - out) * lenses
    edge = (frame - _shifted(frame, 0.006 * size)).clamp_min(0)  # light falls on it from above
    rims = column([one.frame for one in worn]) + 0.25 * colour.gaussian_blur(edge, 0.002 * size)
    out = out + (rims - out) * frame
    return unjudged(replace(crops, pixels=out.clamp(0, 1)), did)


class _Fitted:
    """The template's space on each face: its pose, laid on the eyes and the root of the nose."""

    def __init__(self, points: Tensor):
        self.pose = turn.fit(points)
        anchors = [33, 133, 362, 263, 168]
        self.shape = turn.template().to(points)
        seen = self.pose.project(self.shape[None, anchors])
        self.correction = similarity(seen, points[:, anchors])

    def project(self, points: Tensor) -> Tensor:
        """(F, P, 3) outer-eye distances from the point between the eyes -> (F, P, 2) pixels."""
        middle = self.shape[[33, 263]].mean(0)
        return transform(self.pose.project(points + middle), self.correction)

    def arm(self, styles: Sequence[Style], side: int, size: int) -> Tensor:
        """What is seen of the arm that goes to an ear, (F, 1, S, S): nothing where the head hides it."""
        ear = self.shape[127 if side < 0 else 356] - self.shape[[33, 263]].mean(0)
        hinge = self.shape.new_tensor([[side * (_BRIDGE + 2 * one.width), -0.4 * one.height, 0.0] for one in styles])
        hinge[:, 2] = _front(hinge[:, :2])
        half = self.shape.new_tensor([[0.0, 0.4 * one.rim + 0.008, 0.0] for one in styles])
        end = hinge + 1.15 * (ear + self.shape.new_tensor([side * 0.03, 0.0, 0.0]) - hinge) * self.shape.new_tensor(
            [1.0, 0.3, 1.0]
        )
        corners = self.project(torch.stack([hinge - half, end - half, end + half, hinge + half], 1))
        outward = (corners[:, 1, 0] - corners[:, 0, 0]) * side / self.pose.scale
        return mask.polygon(corners, size) * (outward / 0.05).clamp(0, 1).view(-1, 1, 1, 1)


def _front(places: Tensor) -> Tensor:
    """How far the front stands out at (..., 2) x y: curved around the face, its lower edge nearer to the cheeks."""
    return 0.33 - 0.35 * places[..., 0].square() - 0.15 * places[..., 1]


def _lens(styles: Sequence[Style], side: int, grown: bool) -> Tensor:
    """A lens's edge, or its rim's, (F, 48, 3) from the point between the eyes."""
    angle = torch.arange(_OUTLINE) * (2 * math.pi / _OUTLINE)
    outlines = []
    for style in styles:
        x, y = (part.sign() * part.abs().pow(2 / style.power) for part in (angle.cos(), angle.sin()))
        more = style.rim if grown else 0.0
        y = y * (1 + style.droop * (y > 0) * (1 - 0.6 * x))
        y = y - style.lift / style.height * x.clamp_min(0).square() * (0.6 - 0.4 * y)
        places = torch.stack([x * (style.width + more) + _BRIDGE + style.width, y * (style.height + more)], -1)
        places = (places + torch.tensor([0.0, 0.03])) * torch.tensor([side, 1.0])
        outlines.append(torch.cat([places, _front(places)[:, None]], -1))
    return torch.stack(outlines)


def _bridge(styles: Sequence[Style]) -> Tensor:
    """The piece over the nose, an arch, (F, 16, 3)."""
    x = torch.linspace(-1, 1, 8)
    outlines = []
    for style in styles:
        y = -0.35 * style.height - 0.03 * (1 - x.square())
        thick = 0.8 * style.rim + 0.006
        rows = [torch.stack([x * (_BRIDGE + 0.02), y + sign * thick], -1) for sign in (-1, 1)]
        places = torch.cat([rows[0], rows[1].flip(0)])
        outlines.append(torch.cat([places, _front(places)[:, None]], -1))
    return torch.stack(outlines)


def _shifted(cover: Tensor, down: float) -> Tensor:
    """A mask moved down by so many whole pixels."""
    rows = max(1, round(down))
    return torch.nn.functional.pad(cover, (0, 0, rows, 0))[..., :-rows, :]


def _glare(lenses: Tensor, size: int) -> Tensor:
    """Light that a lens throws back, mostly from above on one side, (F, 1, S, S)."""
    line = torch.linspace(0, 1, size, device=lenses.device)
    slope = torch.sin(14 * (line[:, None] + 0.6 * line)).clamp_min(0).square()
    return lenses * slope


def _face_plane(points: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Where in the mean face each pixel lies: |x| and y, and inside or not, (F, 1, S, S) each."""
    values = mesh.mean_face().to(points).expand(len(points), -1, -1)
    spread, inside = dense.interpolate(values, points, turn.near_last().to(points.device), size)
    return spread[:, :1].abs(), spread[:, 1:], inside.to(points)


def beard(crops: Crops, amount: Tensor, seeds: Sequence[int]) -> Surrogate:
    """Faces with a beard's shade drawn on, amount (F,) up to 1, or with what they have of one blurred away, down to
    -1. The seeds (F) are those of the hairs."""
    did = [{"beard": round(value, 4)} for value in amount.tolist()]
    if not len(crops):
        return unjudged(crops, did)
    size, pixels = crops.size, crops.pixels
    x, y, inside = _face_plane(crops.mesh, size)
    cheek = torch.sigmoid((y - 0.80 + 1.4 * (x - 0.33)) / 0.04) * _rise(x, 0.27, 0.36)
    moustache = torch.sigmoid((y - 0.57) / 0.02) * torch.sigmoid((0.72 - y) / 0.02) * _rise(0.42 - x, 0.0, 0.1)
    chin = torch.sigmoid((y - 0.90) / 0.03) * _rise(0.45 - x, 0.0, 0.1)
    lips = mask.grow((mask.lips(crops.mesh, size) + mask.mouth(crops.mesh, size)).clamp(0, 1), 0.004 * size)
    region = torch.maximum(torch.maximum(cheek, moustache), chin) * inside * (1 - lips)
    region = colour.gaussian_blur(region, 0.012 * size) * (1 - colour.gaussian_blur(lips, 0.004 * size))

    strength = amount.to(pixels).view(-1, 1, 1, 1)
    grown = _stubble(pixels, seeds) * strength.clamp_min(0)
    dark = pixels * (1 - region * grown * pixels.new_tensor([0.75, 0.80, 0.84]).view(1, 3, 1, 1))
    shaved, hair = _shaved(pixels, region, inside * (1 - lips))
    out = torch.where(strength > 0, dark, pixels + (shaved - pixels) * region * hair * strength.clamp_max(0).abs())
    return unjudged(replace(crops, pixels=out.where(strength != 0, pixels)), did)


def _stubble(pixels: Tensor, seeds: Sequence[int]) -> Tensor:
    """Short hairs, mostly upright, (F, 1, S, S) 0..1."""
    size = pixels.shape[-1]
    noise = torch.zeros(len(pixels), 1, size, size)
    for row, seed in enumerate(seeds):
        noise[row] = torch.randn(1, size, size, generator=Generator().manual_seed(seed))
    noise = colour.gaussian_blur(noise.to(pixels), 0.0015 * size)
    noise = (noise + noise.roll(1, -2) + noise.roll(2, -2)) / 3  # down the cheek
    return (0.66 + 0.14 * noise / noise.std((1, 2, 3), keepdim=True).clamp_min(1e-6)).clamp(0, 1)


def _shaved(pixels: Tensor, region: Tensor, skin: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures whose region has the colour and smoothness of the skin around it, (F, 3, S, S), and how surely there
    was hair, (F, 1, S, S): darker or rougher than that skin."""
    size = pixels.shape[-1]
    fine, coarse = (colour.gaussian_blur(pixels, deviation * size) for deviation in (0.003, 0.03))
    rough = colour.gaussian_blur((pixels - colour.gaussian_blur(pixels, 0.01 * size)).abs().mean(1, keepdim=True), 3)
    around = skin * (1 - region).pow(4)
    known = torch.cat([pixels * around, rough * around, around], 1)
    near, far = (colour.gaussian_blur(known, deviation * size) for deviation in (0.05, 0.2))
    mixed = near + 0.05 * far
    bare, smooth = mixed[:, :3] / mixed[:, 4:].clamp_min(1e-4), mixed[:, 3:4] / mixed[:, 4:].clamp_min(1e-4)
    light = coarse.mean(1, keepdim=True) / bare.mean(1, keepdim=True).clamp_min(0.02)
    hair = torch.maximum((0.95 - light) / 0.15, rough / smooth.clamp_min(4e-3) / 1.2 - 1.1).clamp(0, 1)
    shaved = bare * light.clamp(0.85, 1.15).sqrt() * (1 + 0.3 * (fine / coarse.clamp_min(0.02) - 1))
    return shaved, (1.6 * colour.gaussian_blur(hair, 0.015 * size)).clamp(0, 1)


@dataclass(frozen=True, slots=True)
class Makeup:
    """Paint on a face; amounts 0..1."""

    lips: float = 0.0
    lip_colour: Colour = (0.65, 0.10, 0.18)
    shadow: float = 0.0  # on the upper lids, up to the brows
    shadow_colour: Colour = (0.35, 0.25, 0.45)
    liner: float = 0.0  # along the upper lids
    blush: float = 0.0  # on the cheeks


def makeup(crops: Crops, worn: Sequence[Makeup]) -> Surrogate:
    """Faces with make-up on, one for each."""
    names = ("lips", "shadow", "liner", "blush")
    did = [{"makeup": {name: round(getattr(one, name), 4) for name in names}} for one in worn]
    if not len(crops):
        return unjudged(crops, did)
    size, points = crops.size, crops.mesh
    x, y, inside = _face_plane(points, size)
    eyes, brows = mask.eyes(points, size), mask.brows(points, size)

    def column(name: str) -> Tensor:
        return crops.pixels.new_tensor([getattr(one, name) for one in worn]).view(len(worn), -1, 1, 1)

    lips = colour.gaussian_blur(mask.lips(points, size), 0.003 * size)
    lids = torch.exp(-((x - 0.36) / 0.16).square() - ((y + 0.09) / 0.06).square()) * inside * (1 - eyes) * (1 - brows)
    cheeks = torch.exp(-((x - 0.48) / 0.14).square() - ((y - 0.40) / 0.12).square()) * inside
    out = _painted(crops.pixels, lips, column("lip_colour"), 0.8 * column("lips"))
    out = _painted(out, colour.gaussian_blur(lids, 0.004 * size), column("shadow_colour"), 0.7 * column("shadow"))
    out = _painted(out, cheeks, out.new_tensor([0.75, 0.35, 0.35]).view(1, 3, 1, 1), 0.35 * column("blush"))
    out = out * (1 - 0.85 * column("liner") * colour.gaussian_blur(_liner(points, size), 0.002 * size))
    return unjudged(replace(crops, pixels=out.clamp(0, 1)), did)


def _painted(pixels: Tensor, cover: Tensor, paint: Tensor, amount: Tensor) -> Tensor:
    """Pixels with the hue of a paint and part of its lightness: skin shows through."""
    lab, goal = colour.to_lab(pixels), colour.to_lab(paint.expand_as(pixels[..., :1, :1]))
    share = cover * amount
    mean = (lab * cover).sum((2, 3), keepdim=True) / cover.sum((2, 3), keepdim=True).clamp_min(1e-3)
    lightness = 0.6 * (goal[:, :1] - mean[:, :1])
    painted = torch.cat([lab[:, :1] + lightness * share, lab[:, 1:] + (goal[:, 1:] - lab[:, 1:]) * share], 1)
    return torch.where(share > 0, colour.from_lab(painted), pixels)


def _liner(points: Tensor, size: int) -> Tensor:
    """A line along both upper lids, thicker outwards, (F, 1, S, S)."""
    up = -in_plane(points)[:, None, :, 1]  # (F, 1, 2) pixels of one outer-eye distance upwards
    covers = []
    for ring in (mesh.LEFT_EYE, mesh.RIGHT_EYE):
        edge = points[:, [ring[0], *ring[:8:-1], ring[8]]]  # from the outer corner to the inner
        thick = torch.linspace(0.035, 0.008, edge.shape[1], device=points.device)[None, :, None]
        covers.append(mask.polygon(torch.cat([edge, (edge + thick * up).flip(1)], 1), size))
    return torch.maximum(*covers)


def told(
    crops: Crops,
    generator: Generator,
    parts: Mapping[str, float] = MappingProxyType({}),
    hair: float = 0.0,
    paint: Makeup | None = None,
    pair: Glasses | None = None,
) -> Surrogate:
    """All faces changed alike: parts of `Shape` by their names, a beard of an amount -1..1, make-up, glasses."""
    count = len(crops)
    seeds = torch.randint(1, 1 << 62, (count,), generator=generator).tolist()
    made = unjudged(crops, [{} for _ in range(count)])
    if any(parts.values()):
        made = reshaped(made.crops, Shape.of(count, **parts)).after(made)
    if hair:
        made = beard(made.crops, torch.full((count,), hair), seeds).after(made)
    if paint:
        made = makeup(made.crops, [paint] * count).after(made)
    if pair:
        made = glasses(made.crops, [pair] * count).after(made)
    return made


@dataclass(frozen=True, slots=True)
class AdaptOptions:
    """How often each adaptation is made, 0..1, and how strong the shape's is at most, 0..1."""

    face: float = 0.5  # thin or chubby
    parts: float = 0.0  # cheeks, jaw, nose and eyes, each by its own amount
    strength: float = 1.0
    glasses: float = 0.0
    beard: float = 0.0  # drawn
    shave: float = 0.0  # blurred away
    makeup: float = 0.0


def adapted(crops: Crops, generator: Generator, options: AdaptOptions) -> Surrogate:
    """Some of the faces changed, as the options' chances fall."""
    count = len(crops)

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    def often(probability: float) -> Tensor:
        return torch.rand(count, generator=generator) < probability

    def way() -> Tensor:
        return (1 - 2 * often(0.5).float()) * uniform(0.3, 1.0) * options.strength

    parts = often(options.parts)
    shape = Shape(way() * often(options.face), *(way() * parts for _ in range(4)))
    # Everything is drawn, whether it is used or not, so that one chance does not change another's.
    drawn, shaved = often(options.beard), often(options.shave)
    amounts = torch.where(drawn, uniform(0.4, 1.0), -uniform(0.7, 1.0))
    seeds = torch.randint(1, 1 << 62, (count,), generator=generator).tolist()
    pairs = [_some_glasses(generator) for _ in range(count)]
    paints = [_some_makeup(generator) for _ in range(count)]
    steps: list[tuple[Tensor, Callable[[Crops, list[int]], Surrogate]]] = [
        (
            torch.stack([getattr(shape, field.name) for field in fields(shape)]).any(0),
            lambda some, rows: reshaped(some, Shape(*(getattr(shape, field.name)[rows] for field in fields(shape)))),
        ),
        (drawn | shaved, lambda some, rows: beard(some, amounts[rows], [seeds[row] for row in rows])),
        (often(options.makeup), lambda some, rows: makeup(some, [paints[row] for row in rows])),
        (often(options.glasses), lambda some, rows: glasses(some, [pairs[row] for row in rows])),
    ]
    made, did = crops, [{} for _ in range(count)]
    for chosen, verb in steps:
        rows = chosen.nonzero()[:, 0].tolist()
        if not rows:
            continue
        one = verb(made[rows], rows)
        made = replaced(made, rows, one.crops)
        for row, what in zip(rows, one.did, strict=True):
            did[row] = did[row] | what
    return unjudged(made, did)


def replaced(crops: Crops, rows: list[int], made: Crops) -> Crops:
    """Crops with other ones in the given rows."""
    index = torch.tensor(rows, device=crops.frame.device)
    return Crops(
        *(getattr(crops, field.name).index_copy(0, index, getattr(made, field.name)) for field in fields(crops))
    )


def _some_glasses(generator: Generator) -> Glasses:
    style, dark, tint, *shades = torch.rand(9, generator=generator).tolist()
    name = list(STYLES)[int(style * len(STYLES))]
    frame = (0.05 + 0.4 * shades[0] * dark, 0.05 + 0.3 * shades[1] * dark, 0.05 + 0.3 * shades[2] * dark)
    lens = (0.1 + 0.4 * shades[3], 0.1 + 0.3 * shades[4], 0.1 + 0.3 * shades[5])
    return Glasses(name, frame, lens, 0.0 if tint < 0.65 else 0.3 + 1.8 * (tint - 0.65))


def _some_makeup(generator: Generator) -> Makeup:
    lips, shadow, liner, blush, *shades = torch.rand(10, generator=generator).tolist()
    red = (0.45 + 0.4 * shades[0], 0.08 + 0.25 * shades[1], 0.12 + 0.3 * shades[2])
    lid = (0.2 + 0.4 * shades[3], 0.15 + 0.35 * shades[4], 0.2 + 0.5 * shades[5])
    return Makeup(0.4 + 0.6 * lips, red, 0.2 + 0.7 * shadow, lid, liner, 0.8 * blush)
