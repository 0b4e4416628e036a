"""Source-creating surrogate: another picture of the same person. Expression, head pose, light, colour, camera,
surroundings and left-right orientation change; the outline and the nose, which carry the identity, do not.

The changes are first drawn at random (`draw_change`) and then applied (`apply_change`), so that a result does not
depend on the other faces in the batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ..faces.identity import Encoder
from ..ops import head_pose
from ..types import Crops
from .base import Surrogate, changes_per_row, filter_by_likeness
from .source_change import Change, apply_change

# Changes that are reported only if the one they depend on was made.
_ONLY_WITH = {"lamp_yaw": "lamp", "lamp_pitch": "lamp", "lamp_warmth": "lamp", "other": "reach"}
_CANDIDATES = 8  # random crops, of which the one with the most similar head pose gives the new surroundings


@dataclass(frozen=True, slots=True)
class Chance:
    """The probability of a change, 0..1, and its largest strength, 0..1."""

    probability: float
    strength: float = 1.0


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """Which changes are made to a photograph, how often and how strongly."""

    expression: Chance = Chance(0.8)  # lids, brows, lips, smile, jaw
    turn: Chance = Chance(0.6)  # of the head; at strength 1 up to 20 degrees of yaw, 14 of pitch
    light: Chance = Chance(0.5)  # a directional lamp
    colour: Chance = Chance(0.7)  # exposure, gamma, temperature, saturation
    blur: Chance = Chance(0.3)
    noise: Chance = Chance(0.3)
    jpeg: Chance = Chance(0.3)
    surroundings: Chance = Chance(0.5)  # hair and background of another person, or smooth noise
    flip: Chance = Chance(0.5)


def source_surrogate(
    crops: Crops,
    generator: Generator,
    options: SourceOptions = SourceOptions(),
    encoder: Encoder | None = None,
    least: float = 0.5,
    others: Crops | None = None,
) -> Surrogate:
    """Another picture of each person. Rows that the encoder does not recognise (cosine below `least`) are dropped.

    `others` are crops whose hair and background may be used, by default the crops themselves.
    """
    others = crops if others is None else others
    change = draw_change(crops, others, generator, options)
    made = apply_change(crops, change.to(crops.pixels.device), others)
    rows = torch.arange(len(crops), device=crops.frame.device)
    return filter_by_likeness(crops, made, rows, changes_per_row(change, _ONLY_WITH), encoder, least)


def draw_change(crops: Crops, others: Crops, generator: Generator, options: SourceOptions) -> Change:
    """Draws the changes of each face, on the CPU."""
    count = len(crops)

    def uniform(low: float = -1.0, high: float = 1.0) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    def peaked() -> Tensor:
        return uniform() * uniform(0, 1)  # -1..1, mostly near 0

    def often(probability: float) -> Tensor:
        return torch.rand(count, generator=generator) < probability

    def amount(chance: Chance) -> Tensor:
        return often(chance.probability) * chance.strength

    face, head, tone = amount(options.expression), amount(options.turn), amount(options.colour)
    smile, brow = uniform(-0.5, 1.0) * often(0.6), uniform()
    lids = uniform(-0.3, 0.5) + 0.5 * often(0.06) + 0.15 * smile.clamp_min(0)
    angle, most = uniform(0, 2 * math.pi), 20 * uniform(0.25, 1.0) * head
    yaw, pitch = _limit_turns(head_pose.fit(crops.mesh.cpu()).degrees, most * angle.cos(), 0.7 * most * angle.sin())
    near = often(0.5)  # replace the hair too, or only the background
    other = _most_similar_pose(crops, others, generator)
    return Change(
        seed=torch.randint(1, 1 << 62, (count,), generator=generator),
        left_lid=(lids + 0.08 * uniform()).clamp(-0.35, 0.95) * face,
        right_lid=(lids + 0.08 * uniform()).clamp(-0.35, 0.95) * face,
        left_brow=(brow + 0.25 * uniform()).clamp(-1, 1) * face,
        right_brow=(brow + 0.25 * uniform()).clamp(-1, 1) * face,
        frown=uniform(0, 1) * often(0.4) * face,
        smile=smile * face,
        pucker=uniform(-1, 0.8) * often(0.4) * face,
        jaw=uniform() * often(0.6) * face,
        yaw=yaw,
        pitch=pitch,
        lamp=uniform(0.2, 1.0) * amount(options.light),
        lamp_yaw=uniform(-75, 75),
        lamp_pitch=uniform(-20, 50),
        lamp_warmth=peaked(),
        exposure=0.5 * peaked() * tone,
        gamma=0.3 * peaked() * tone,
        warmth=peaked() * tone,
        saturation=0.5 * peaked() * tone,
        blur=2.0 * uniform(0.2, 1.0) * amount(options.blur),
        noise=0.05 * uniform(0.1, 1.0) * amount(options.noise),
        jpeg=uniform(0.05, 1.0) * amount(options.jpeg),
        reach=torch.where(near, uniform(0.04, 0.1), uniform(0.15, 0.5)) * (amount(options.surroundings) > 0),
        other=other.where(near | often(0.7), -1),
        flip=amount(options.flip) > 0,
    )


def _most_similar_pose(crops: Crops, others: Crops, generator: Generator) -> Tensor:
    """The row of the crop with the most similar head pose among a random few, (F,) int64 on the CPU; -1 if there is
    none but the face itself."""
    some = torch.randint(0, max(1, len(others)), (len(crops), _CANDIDATES), generator=generator)
    if not len(others):
        return torch.full_like(some[:, 0], -1)
    mine, theirs = crops.mesh.cpu(), others.mesh.cpu()
    apart = (head_pose.fit(theirs).degrees[some] - head_pose.fit(mine).degrees[:, None]).norm(dim=-1)
    itself = (theirs[some] - mine[:, None]).abs().amax((2, 3)) < 1e-3
    distance, best = apart.masked_fill(itself, torch.inf).min(1)
    return some.gather(1, best[:, None])[:, 0].where(distance.isfinite(), -1)


def _limit_turns(degrees: Tensor, yaw: Tensor, pitch: Tensor) -> tuple[Tensor, Tensor]:
    """Limits turns of the head, (F,) degrees each: turning back would show sides that are hidden, and heads already
    turned by 35 degrees are turned no further."""
    known = torch.exp(-(degrees[:, :2] / 15).square())
    on = torch.stack([yaw, pitch], -1)
    left = 1 - (degrees[:, :2] / 35).square().clamp_max(1)
    on = on * torch.where(on * degrees[:, :2] < 0, known, left)
    return on[:, 0], on[:, 1]
