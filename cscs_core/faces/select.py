"""Selecting faces: filters, order within their image, and numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..types import FaceSet

ORDERS = ("large-small", "small-large", "left-right", "right-left", "top-bottom", "bottom-top")
GENDERS = ("female", "male")  # FaceSet.gender is an index into this tuple
_UNKNOWN = "is unknown: the bundled detector does not estimate it, insightface packs such as buffalo_l do"


@dataclass(frozen=True)
class Selection:
    """The faces selected in one or several images, and why the others were not."""

    faces: FaceSet  # the selected ones, by frame, in the order of the requested numbers
    rows: Tensor  # (len(faces),) int64, the row of each among the given faces
    candidates: FaceSet  # those that passed every filter, by frame; numbered from 0 in this order
    skipped: list[str]  # a sentence for each face left out and each number that does not exist, by frame


def choose(
    faces: FaceSet,
    *,
    order: str = ORDERS[0],
    indices: Sequence[int] | None = None,
    likeness: Tensor | None = None,
    threshold: float = 0.5,
    within: Tensor | None = None,
    smallest: float = 0.0,
    largest: float = math.inf,
    gender: str | None = None,
    age: tuple[float, float] | None = None,
    tracks: Sequence[int] | None = None,
) -> Selection:
    """The faces that pass every filter and have one of these numbers, counted from 0 in each frame by `order`.

    `likeness` (F,) is each face's cosine to a reference, which must reach `threshold`; `within` (F,) 0..1 comes from
    `share_inside` and must reach 0.5; `smallest` and `largest` are box widths in pixels; `gender` is one of GENDERS and
    `age` an inclusive range in years, which leave out faces whose gender or age is unknown; `tracks` are track numbers.
    Without `indices` all that pass are selected. Raises ValueError for an unknown gender or order.
    """
    if gender not in (None, *GENDERS):
        raise ValueError(f"unknown gender {gender!r}; choose one of {', '.join(GENDERS)}")
    rows = _order_rows(faces, order)
    faces = faces[rows]
    wide, ages, sexes, track = faces.box[:, 2] - faces.box[:, 0], faces.age, faces.gender, faces.track
    # Which rows each rule leaves out, and the reason to report.
    rules: list[tuple[Tensor, Callable[[int], str]]] = [
        (wide < smallest, lambda row: f"is narrower than {smallest:g} px"),
        (wide > largest, lambda row: f"is wider than {largest:g} px"),
    ]
    if tracks is not None:
        wanted = torch.isin(track, track.new_tensor(list(tracks)))
        rules += [
            (track < 0, lambda row: "has no track: connect Track Faces before this"),
            (~wanted, lambda row: f"track {track[row]} was not requested ({_list(tracks)})"),
        ]
    if gender is not None:
        rules += [
            (sexes < 0, lambda row: f"its gender {_UNKNOWN}"),
            (sexes != GENDERS.index(gender), lambda row: f"looks {GENDERS[int(sexes[row])]}, not {gender}"),
        ]
    if age is not None:
        youngest, oldest = age
        rules += [
            (ages.isnan(), lambda row: f"its age {_UNKNOWN}"),
            ((ages < youngest) | (ages > oldest), lambda row: f"looks {ages[row]:.0f}, not {youngest:g} to {oldest:g}"),
        ]
    if within is not None:
        white = within[rows]
        rules.append((white < 0.5, lambda row: f"only {white[row]:.0%} of it lies in the mask, at least half must"))
    if likeness is not None:
        cosine = likeness[rows]
        alike = cosine >= threshold  # false for NaN
        rules.append((~alike, lambda row: f"similarity {cosine[row]:.2f} to the reference is below {threshold:.2f}"))
    why = _first_reasons(rules, len(faces))
    passed = [row for row in range(len(faces)) if row not in why]
    candidates, rows = faces[passed], rows[passed]
    said = [
        (int(faces.frame[row]), f"face at {describe_place(faces.box[row].tolist())}: {reason}")
        for row, reason in why.items()
    ]
    if indices is None:
        return Selection(candidates, rows, candidates, _by_frame(faces, said))
    said += _not_requested(candidates, indices) + _missing(faces, candidates, indices)
    picked = _pick_rows(candidates, list(indices))
    return Selection(candidates[picked], rows[picked], candidates, _by_frame(faces, said))


def order(faces: FaceSet, by: str) -> FaceSet:
    """The faces sorted by frame, then by one of ORDERS; the sort is stable. Raises ValueError for an unknown order."""
    return faces[_order_rows(faces, by)]


def pick(faces: FaceSet, indices: list[int]) -> FaceSet:
    """The faces of each frame with these numbers, in the given order, frame by frame; 0 is a frame's first face, -1 its
    last. Numbers that a frame does not have are ignored, and no face is repeated."""
    return faces[_pick_rows(faces, indices)]


def numbers(faces: FaceSet) -> Tensor:
    """The number by which `pick` selects each face: its position within its frame, from 0, (F,) int64."""
    rows = faces.frame.argsort(stable=True)
    _, run, counts = faces.frame[rows].unique_consecutive(return_inverse=True, return_counts=True)
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[run]
    return torch.empty_like(rows).scatter_(0, rows, place)


def share_inside(faces: FaceSet, limit: Tensor) -> Tensor:
    """The mean of a mask (B, 1, H, W) 0..1 over the part of each box that lies in the image: (F,) 0..1, 0 for a box
    outside. The last mask is used for all further images."""
    height, width = limit.shape[-2:]
    shares = []
    for frame, box in zip(faces.frame.tolist(), faces.box.round().long().tolist(), strict=True):
        left, top, right, bottom = (max(0, side) for side in box)
        part = limit[min(frame, len(limit) - 1), 0, top : min(bottom, height), left : min(right, width)]
        shares.append(float(part.mean()) if part.numel() else 0.0)
    return faces.score.new_tensor(shares)


def describe_place(box: Sequence[float]) -> str:
    """A box x1 y1 x2 y2 in pixels as text: "12,40 (88 px wide)"."""
    left, top, right, _ = box
    return f"{left:.0f},{top:.0f} ({right - left:.0f} px wide)"


def _order_rows(faces: FaceSet, by: str) -> Tensor:
    if by not in ORDERS:
        raise ValueError(f"unknown order {by!r}; choose one of {', '.join(ORDERS)}")
    x1, y1, x2, y2 = faces.box.unbind(-1)
    keys = {"large": (x1 - x2) * (y2 - y1), "left": x1 + x2, "top": y1 + y2}
    keys |= {"small": -keys["large"], "right": -keys["left"], "bottom": -keys["top"]}
    rows = keys[by.split("-")[0]].argsort(stable=True)
    return rows[faces.frame[rows].argsort(stable=True)]


def _pick_rows(faces: FaceSet, indices: list[int]) -> Tensor:
    rows = faces.frame.argsort(stable=True)
    _, run, counts = faces.frame[rows].unique_consecutive(return_inverse=True, return_counts=True)
    wanted = torch.tensor(indices, dtype=torch.long, device=rows.device)
    wanted = torch.where(wanted < 0, wanted + counts[run][:, None], wanted)  # (F, numbers)
    fits = wanted == numbers(faces)[rows][:, None]
    fits = fits & (fits.cumsum(1) == 1)
    chosen, place = fits.nonzero(as_tuple=True)
    by_place = place.argsort(stable=True)
    return rows[chosen[by_place[run[chosen[by_place]].argsort(stable=True)]]]


def _first_reasons(rules: list[tuple[Tensor, Callable[[int], str]]], count: int) -> dict[int, str]:
    """For each row left out, the reason given by the first rule that rejects it."""
    fails = [left_out.tolist() for left_out, _ in rules]
    reasons = {}
    for row in range(count):
        words = (say for fail, (_, say) in zip(fails, rules, strict=True) if fail[row])
        if say := next(words, None):
            reasons[row] = say(row)
    return reasons


def _not_requested(candidates: FaceSet, indices: Sequence[int]) -> list[tuple[int, str]]:
    asked = set(_pick_rows(candidates, list(indices)).tolist())
    named = zip(candidates.frame.tolist(), numbers(candidates).tolist(), candidates.box.tolist(), strict=True)
    return [
        (frame, f"face at {describe_place(box)}: number {number} was not requested ({_list(indices)})")
        for row, (frame, number, box) in enumerate(named)
        if row not in asked
    ]


def _missing(faces: FaceSet, candidates: FaceSet, indices: Sequence[int]) -> list[tuple[int, str]]:
    said = []
    for frame in faces.frame.unique().tolist():
        found, left = int((faces.frame == frame).sum()), int((candidates.frame == frame).sum())
        count = f"{found} found" if found == left else f"{left} left of {found}"
        absent = sorted({number for number in indices if not -left <= number < left})
        said += [(frame, f"there is no face {number}: {count}, counted from 0") for number in absent]
    return said


def _by_frame(faces: FaceSet, said: list[tuple[int, str]]) -> list[str]:
    """The sentences sorted by frame, and prefixed with its number if there are several."""
    several = bool((faces.frame > 0).any())
    by_frame = sorted(said, key=lambda one: one[0])
    return [f"frame {frame}: {sentence}" if several else sentence for frame, sentence in by_frame]


def _list(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
