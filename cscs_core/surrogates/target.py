"""Target-creating surrogate: somebody else in the same situation: pose, expression, gaze, light and surroundings stay.

Three ways: the nearest donor's face laid over (`from_donor`), the identity erased in place (`erase_identity`), and any
swapper with a person drawn at random (`from_swapper`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Generator, Tensor

from ..faces.align import align
from ..faces.bend import bend_to_mesh, wavy_outline
from ..faces.identity import Encoder, identify
from ..faces.landmarks import locate
from ..faces.paste import paste
from ..faces.swappers.base import Swapper, swap
from ..faces.swappers.warp import WarpSwapper, openness
from ..models import FaceMesh
from ..ops import colour, head_pose, mask, mesh
from ..ops.geometry import similarity, warp
from ..types import Crops, FaceSet, Identity, join
from .base import Surrogate, changes_per_row, filter_by_likeness
from .face_shape import Shape, reshape_mesh


@dataclass(frozen=True)
class Judge:
    """Who accepts a target surrogate: it must be somebody else, in the same situation."""

    encoder: Encoder | None = None
    most: float = 0.5  # cosine to the photograph
    landmarks: FaceMesh | None = None
    shift: float = 0.05  # mean distance of the points found again, in outer-eye distances
    gap: float = 0.12  # change of the mouth's and the eyes' openings, in mouth and eye widths

    def __call__(self, before: Crops, made: Crops, rows: Tensor, changes: list[dict[str, Any]]) -> Surrogate:
        """Those of the pictures made from the rows that pass."""
        return filter_by_likeness(
            before, made, rows, changes, self.encoder, most=self.most, keep=self.same_pose(before[rows], made)
        )

    def same_pose(self, before: Crops, made: Crops) -> Tensor:
        """Whose points are found again where they should be, row by row, (F,) bool; all without landmarks."""
        if self.landmarks is None:
            return torch.ones_like(made.frame, dtype=torch.bool)
        frame = torch.arange(len(made), device=made.frame.device)
        # Both are found by the same network, so that its habits do not count.
        old, new = (locate(crops.pixels, frame, crops.landmarks, self.landmarks) for crops in (before, made))
        wanted = old + made.mesh - before.mesh
        apart = (new - wanted).norm(dim=-1).mean(-1) / mesh.interocular(wanted).clamp_min(1)
        gaps = torch.stack([(openness(new, part) - openness(wanted, part)).abs() for part in ("mouth", "eyes")])
        return (apart <= self.shift) & (gaps <= self.gap).all(0)


ACCEPT_ALL = Judge()


@dataclass(frozen=True, slots=True)
class DonorOptions:
    """How a donor's face is laid; pairs are the least and the most of what is drawn."""

    shape: tuple[float, float] = (0.3, 1.0)  # how far parts move towards the donor's proportions
    light: tuple[float, float] = (0.06, 0.12)  # how wide is the blur that tells light from detail
    reach: tuple[float, float] = (-0.18, 0.05)  # how much larger than the face the part laid is
    seam: tuple[float, float] = (0.02, 0.10)  # how wide the part's edge fades, in crop sides
    keep_eyes: float = 0.3  # how often the photograph's own eyes stay: gaze
    keep_mouth: float = 0.3  # how often its lips and teeth stay


@dataclass(frozen=True, slots=True)
class _Laying:
    """How a donor is laid on each of F faces, all (F,) on the CPU."""

    seed: Tensor  # int64, of the mask's edge
    donor: Tensor  # int64, its row
    distance: Tensor
    shape: Tensor
    light: Tensor
    reach: Tensor
    seam: Tensor
    keep_eyes: Tensor
    keep_mouth: Tensor


def from_donor(
    crops: Crops,
    donors: Crops,
    generator: Generator,
    options: DonorOptions = DonorOptions(),
    judge: Judge = ACCEPT_ALL,
) -> Surrogate:
    """The face of the donor held and lit most alike, laid over each face by the `warp` swapper within a random mask.

    A donor whose mesh is the face's own is the face itself, and never taken.
    """
    count = len(crops)

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    donor, distance = nearest_donor(crops, donors) if len(donors) else (crops.frame, crops.frame + torch.inf)
    laying = _Laying(
        torch.randint(1, 1 << 62, (count,), generator=generator),
        donor.cpu(),
        distance.cpu(),
        uniform(*options.shape),
        uniform(*options.light),
        uniform(*options.reach),
        uniform(*options.seam),
        uniform() < options.keep_eyes,
        uniform() < options.keep_mouth,
    )
    changes = [{"way": "donor", **what} for what in changes_per_row(laying, {"donor": "seed"})]
    rows = laying.distance.isfinite().nonzero()[:, 0]
    # One by one: each has its own donor and its own options.
    made = [_laid(crops[row : row + 1], donors, laying, row) for row in rows.tolist()]
    return judge(crops, join([*made, crops[[]]]), rows.to(donor), [changes[row] for row in rows.tolist()])


def _laid(one: Crops, donors: Crops, laying: _Laying, row: int) -> Crops:
    swapper = WarpSwapper(
        shape=float(laying.shape[row]),
        light=float(laying.light[row]),
        keep_eyes=bool(laying.keep_eyes[row]),
        keep_mouth=bool(laying.keep_mouth[row]),
    )
    donor = donors[[int(laying.donor[row])]]
    done = swapper(one, Identity(donor, one.pixels.new_zeros(1, 1), one.pixels.new_ones(1)))
    part = wavy_outline(one.mesh, laying.reach[row, None].to(one.mesh), [int(laying.seed[row])], one.size)
    cover = mask.feather(part, float(laying.seam[row]) * one.size)
    return replace(one, pixels=one.pixels + (done.pixels - one.pixels) * cover)


def nearest_donor(crops: Crops, donors: Crops) -> tuple[Tensor, Tensor]:
    """For each face the donor held, lit and expressing most alike: its row (F,) int64 and how far it is (F,).

    Distances count pose by 10 degrees, mouth and eyes by a tenth of their widths, gaze by an eighth of an eye's width,
    tone by 12 steps of lightness or colour. Infinitely far is the face itself.
    """
    exact = "donot_use_mm_for_euclid_dist"
    same = torch.cdist(crops.mesh.flatten(1), donors.mesh.flatten(1), compute_mode=exact) < 0.05  # pixels
    distance, row = torch.cdist(traits(crops), traits(donors)).masked_fill(same, torch.inf).min(1)
    return row, distance


def traits(crops: Crops) -> Tensor:
    """What a donor must share, in units that count alike, (F, 9): yaw, pitch, mouth, eyes, gaze, tone."""
    degrees = head_pose.fit(crops.mesh).degrees[:, :2]
    gaps = torch.stack([openness(crops.mesh, part) for part in ("mouth", "eyes")], -1)
    side = max(1, crops.size // 4)  # tone needs no detail
    face = mask.hull((crops.mesh + 0.5) * (side / crops.size) - 0.5, side)
    small = nnf.interpolate(crops.pixels, (side, side), mode="area") if len(crops) else crops.pixels[..., :side, :side]
    tone = (colour.to_lab(small) * face).sum((2, 3)) / face.sum((2, 3)).clamp_min(1)
    return torch.cat([degrees / 10, gaps / 0.1, gaze(crops) / 0.125, tone / 12], -1)


def gaze(crops: Crops) -> Tensor:
    """Where the dark of the eyes lies off their middle, mean of both eyes, (F, 2) eye widths: right and down."""
    width, height = 24, 12
    looks = []
    for corners in ((33, 133), (362, 263)):
        target = crops.mesh.new_tensor([[[1.5, 5.5], [width - 2.5, 5.5]]])
        eye = warp(crops.pixels, similarity(crops.mesh[:, list(corners)], target), (height, width)).mean(1)
        eye = eye[:, 2:-2]  # between the lids
        low, high = eye.amin((1, 2), keepdim=True), eye.amax((1, 2), keepdim=True)
        dark = ((low + 0.35 * (high - low) - eye) / (high - low).clamp_min(0.02)).clamp_min(0)
        x = torch.linspace(-0.5, 0.5, eye.shape[2], device=eye.device)
        y = torch.arange(eye.shape[1], device=eye.device) / eye.shape[2] - eye.shape[1] / eye.shape[2] / 2
        total = dark.sum((1, 2)).clamp_min(1e-4)
        looks.append(torch.stack([(dark.sum(1) * x).sum(1), (dark.sum(2) * y).sum(1)], -1) / total[:, None])
    return torch.stack(looks).mean(0)


def erase_identity(
    crops: Crops,
    generator: Generator,
    least: float = 8.0,
    most: float = 16.0,
    strength: float = 1.0,
    judge: Judge = ACCEPT_ALL,
) -> Surrogate:
    """Faces without identity: jaw, eye distance and nose changed by up to a fifth, and within the feathered outline
    only `least` to `most` pixels across left of them."""
    count, size = len(crops), crops.size

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    if not count:
        return judge(crops, crops, crops.frame, [])
    parts = {name: strength * uniform(-1.0, 1.0) for name in ("jaw", "nose", "eyes")}
    across = uniform(least, most)
    shape = Shape.of(count, **parts)
    bent = bend_to_mesh(crops, reshape_mesh(crops.mesh, shape))
    width = (bent.mesh.amax(1) - bent.mesh.amin(1))[:, 0]
    coarse = []
    # One by one: each has a size of its own.
    for pixels, wide, many in zip(bent.pixels.split(1), width.tolist(), across.tolist(), strict=True):
        side = max(2, round(size * many / max(wide, 1.0)))
        small = nnf.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
        coarse.append(nnf.interpolate(small, (size, size), mode="bicubic", antialias=False).clamp(0, 1))
    blurred = torch.cat(coarse)
    cover = mask.feather(mask.hull(bent.mesh, size), 0.06 * size)
    made = replace(bent, pixels=bent.pixels + (blurred - bent.pixels) * cover)
    changes = [
        {"way": "erased", "pixels": round(many, 2), **one}
        for many, one in zip(across.tolist(), changes_per_row(shape), strict=True)
    ]
    return judge(crops, made, torch.arange(count, device=crops.frame.device), changes)


def from_swapper(
    crops: Crops,
    swapper: Swapper,
    people: Sequence[Any],
    generator: Generator,
    strength: float = 1.0,
    judge: Judge = ACCEPT_ALL,
) -> Surrogate:
    """Each face swapped for a person drawn from those that the swapper has encoded."""
    count = len(crops)
    chosen = torch.randint(0, max(1, len(people)), (count,), generator=generator)
    if not count or not people:
        return judge(crops, crops[[]], crops.frame[:0], [])
    pixels, faces = crops.pixels.clone(), as_pictures(crops)
    size = min(swapper.sizes, key=lambda side: abs(side - crops.size))
    # One person at a time, that is how swappers are called; the crops are the pictures that it works on.
    for number in chosen.unique().tolist():
        rows = (chosen == number).to(crops.frame.device).nonzero()[:, 0]
        cut = align(pixels, faces[rows], swapper.template, size)
        pixels = paste(pixels, swap(cut, people[number], swapper, strength))
    made = replace(crops, pixels=pixels)
    changes = [{"way": "swapper", "person": number} for number in chosen.tolist()]
    return judge(crops, made, torch.arange(count, device=crops.frame.device), changes)


def identities_of(crops: Crops, encoder: Encoder) -> list[Identity]:
    """Each face as a person, F of them."""
    faces = as_pictures(crops)
    return [identify(crops.pixels, faces[[row]], encoder, crops.size) for row in range(len(crops))]


def as_pictures(crops: Crops) -> FaceSet:
    """The faces of crops that are looked at as pictures, one in each."""
    return FaceSet(
        torch.arange(len(crops), device=crops.frame.device),
        mesh.box(crops.mesh),
        crops.landmarks,
        crops.mesh,
        torch.ones_like(crops.mesh[:, 0, 0]),
        torch.full_like(crops.frame, -1),
    )


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """How often each way is taken, relative to the others; a way that lacks its donors or people is left out."""

    donor: float = 0.75
    erased: float = 0.25
    swapper: float = 0.0
    laying: DonorOptions = DonorOptions()
    blurred_most: float = 0.6  # cosine to the photograph that an erased face may have: encoders read blurred ones, too


def target_surrogate(
    crops: Crops,
    donors: Crops,
    generator: Generator,
    options: TargetOptions = TargetOptions(),
    judge: Judge = ACCEPT_ALL,
    swapper: Swapper | None = None,
    people: Sequence[Any] = (),
) -> Surrogate:
    """Somebody else in each person's situation, in a way drawn for each face."""
    usable = (len(donors) > 1, True, swapper is not None and len(people) > 0)
    weights = torch.tensor([options.donor, options.erased, options.swapper]) * torch.tensor(usable)
    if not len(crops) or not weights.any():
        return judge(crops, crops[[]], crops.frame[:0], [])
    way = torch.multinomial(weights, len(crops), True, generator=generator).to(crops.frame.device)
    parts = []
    for number in range(3):
        rows = (way == number).nonzero()[:, 0]
        some = crops[rows]
        if number == 0:
            part = from_donor(some, donors, generator, options.laying, judge)
        elif number == 1:
            blurred = replace(judge, most=options.blurred_most, landmarks=None)  # no points are found in a blur
            part = erase_identity(some, generator, judge=blurred)
        elif swapper is not None:
            part = from_swapper(some, swapper, people, generator, judge=judge)
        else:
            continue
        parts.append(replace(part, rows=rows[part.rows]))
    similarity = None if judge.encoder is None else torch.cat([one.similarity for one in parts])
    whole = Surrogate(
        join([one.crops for one in parts]),
        torch.cat([one.rows for one in parts]),
        [what for one in parts for what in one.changes],
        similarity,
    )
    return whole[whole.rows.argsort()]
