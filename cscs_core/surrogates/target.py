"""Target-creating surrogate: another person in the same situation; pose, expression, gaze, light and surroundings stay.

There are three methods: warp the nearest donor's face onto it (`from_donor`), erase the identity in place
(`erase_identity`), or use any swapper with a random person (`from_swapper`).
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
    """Accepts target surrogates that show another person in the same situation."""

    encoder: Encoder | None = None  # None: identity is not checked
    most: float = 0.5  # largest cosine to the photograph
    landmarks: FaceMesh | None = None  # None: pose is not checked
    shift: float = 0.05  # largest mean distance of the landmarks from where they should be, outer-eye distances
    gap: float = 0.12  # largest change of the openings of mouth and eyes, mouth and eye widths

    def __call__(self, before: Crops, made: Crops, rows: Tensor, changes: list[dict[str, Any]]) -> Surrogate:
        """The surrogates made from `rows` of `before` that pass."""
        return filter_by_likeness(
            before, made, rows, changes, self.encoder, most=self.most, keep=self.same_pose(before[rows], made)
        )

    def same_pose(self, before: Crops, made: Crops) -> Tensor:
        """Whether the landmarks are detected where they should be, row by row, (F,) bool; true without landmarks."""
        if self.landmarks is None:
            return torch.ones_like(made.frame, dtype=torch.bool)
        frame = torch.arange(len(made), device=made.frame.device)
        # Both are located by the same network, so that its bias cancels out.
        old, new = (locate(crops.pixels, frame, crops.landmarks, self.landmarks) for crops in (before, made))
        wanted = old + made.mesh - before.mesh
        apart = (new - wanted).norm(dim=-1).mean(-1) / mesh.interocular(wanted).clamp_min(1)
        gaps = torch.stack([(openness(new, part) - openness(wanted, part)).abs() for part in ("mouth", "eyes")])
        return (apart <= self.shift) & (gaps <= self.gap).all(0)


ACCEPT_ALL = Judge()


@dataclass(frozen=True, slots=True)
class DonorOptions:
    """How a donor's face is applied; pairs are the ends of the interval that a value is drawn from."""

    shape: tuple[float, float] = (0.3, 1.0)  # how far parts move towards the donor's proportions
    light: tuple[float, float] = (0.06, 0.12)  # deviation of the blur that separates light from detail, crop sides
    reach: tuple[float, float] = (-0.18, 0.05)  # how much larger than the face's outline the mask is
    seam: tuple[float, float] = (0.02, 0.10)  # width of the mask's soft edge, crop sides
    keep_eyes: float = 0.3  # probability that the photograph's own eyes, and so the gaze, are kept
    keep_mouth: float = 0.3  # probability that its lips and teeth are kept


@dataclass(frozen=True, slots=True)
class _DonorDraws:
    """The options drawn for each of F faces, all (F,) on the CPU."""

    seed: Tensor  # int64, for the mask's edge
    donor: Tensor  # int64, row of the donor
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
    """Puts the face of the nearest donor onto each face, with the `warp` swapper and a random mask.

    A donor with the same mesh is the face itself and is never used.
    """
    count = len(crops)

    def uniform(low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(count, generator=generator) * (high - low) + low

    donor, distance = nearest_donor(crops, donors) if len(donors) else (crops.frame, crops.frame + torch.inf)
    laying = _DonorDraws(
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
    # One face at a time: each has its own donor and options.
    made = [_apply_donor(crops[row : row + 1], donors, laying, row) for row in rows.tolist()]
    return judge(crops, join([*made, crops[[]]]), rows.to(donor), [changes[row] for row in rows.tolist()])


def _apply_donor(one: Crops, donors: Crops, laying: _DonorDraws, row: int) -> Crops:
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
    """The donor whose pose, light and expression are most similar to each face: its row (F,) int64 and its distance
    (F,), see `traits`. The distance to the face itself is infinite.

    One unit of distance is 10 degrees of pose, 0.1 of the width of mouth or eyes in opening, 0.125 eye widths of gaze,
    or 12 CIELAB units of mean colour.
    """
    exact = "donot_use_mm_for_euclid_dist"
    same = torch.cdist(crops.mesh.flatten(1), donors.mesh.flatten(1), compute_mode=exact) < 0.05  # pixels
    distance, row = torch.cdist(traits(crops), traits(donors)).masked_fill(same, torch.inf).min(1)
    return row, distance


def traits(crops: Crops) -> Tensor:
    """The properties that a donor must share, scaled to comparable units, (F, 9): yaw, pitch, opening of mouth and
    eyes, gaze (2), mean CIELAB colour (3)."""
    degrees = head_pose.fit(crops.mesh).degrees[:, :2]
    gaps = torch.stack([openness(crops.mesh, part) for part in ("mouth", "eyes")], -1)
    side = max(1, crops.size // 4)  # the mean colour needs no detail
    face = mask.hull((crops.mesh + 0.5) * (side / crops.size) - 0.5, side)
    small = nnf.interpolate(crops.pixels, (side, side), mode="area") if len(crops) else crops.pixels[..., :side, :side]
    tone = (colour.to_lab(small) * face).sum((2, 3)) / face.sum((2, 3)).clamp_min(1)
    return torch.cat([degrees / 10, gaps / 0.1, gaze(crops) / 0.125, tone / 12], -1)


def gaze(crops: Crops) -> Tensor:
    """Offset of the iris from the centre of the eye, averaged over both eyes, (F, 2) eye widths, right and down."""
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
    """Faces without identity: jaw, eye distance and nose change by up to 20 %, then the face is reduced to `least` to
    `most` pixels across and enlarged again, within its feathered outline."""
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
    # One face at a time: each is reduced to its own size.
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
    """Swaps each face for a random one of the people, as encoded by the swapper."""
    count = len(crops)
    chosen = torch.randint(0, max(1, len(people)), (count,), generator=generator)
    if not count or not people:
        return judge(crops, crops[[]], crops.frame[:0], [])
    pixels, faces = crops.pixels.clone(), as_pictures(crops)
    size = min(swapper.sizes, key=lambda side: abs(side - crops.size))
    # One person at a time, as swappers take one; the crops serve as images.
    for number in chosen.unique().tolist():
        rows = (chosen == number).to(crops.frame.device).nonzero()[:, 0]
        cut = align(pixels, faces[rows], swapper.template, size)
        pixels = paste(pixels, swap(cut, people[number], swapper, strength))
    made = replace(crops, pixels=pixels)
    changes = [{"way": "swapper", "person": number} for number in chosen.tolist()]
    return judge(crops, made, torch.arange(count, device=crops.frame.device), changes)


def identities_of(crops: Crops, encoder: Encoder) -> list[Identity]:
    """An identity from each of the F faces."""
    faces = as_pictures(crops)
    return [identify(crops.pixels, faces[[row]], encoder, crops.size) for row in range(len(crops))]


def as_pictures(crops: Crops) -> FaceSet:
    """The faces of crops treated as images, one face in each."""
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
    """Relative weights of the methods; one without donors or people is not used."""

    donor: float = 0.75
    erased: float = 0.25
    swapper: float = 0.0
    laying: DonorOptions = DonorOptions()
    blurred_most: float = 0.6  # largest cosine of an erased face to the photograph: encoders recognise blurred faces


def target_surrogate(
    crops: Crops,
    donors: Crops,
    generator: Generator,
    options: TargetOptions = TargetOptions(),
    judge: Judge = ACCEPT_ALL,
    swapper: Swapper | None = None,
    people: Sequence[Any] = (),
) -> Surrogate:
    """Another person in the same situation as each face, by a method drawn for each face."""
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
            blurred = replace(judge, most=options.blurred_most, landmarks=None)  # landmarks fail on blurred faces
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
