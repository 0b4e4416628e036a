"""Which faces: by what they are, by order within their picture, by number."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..types import FaceSet

ORDERS = ("large-small", "small-large", "left-right", "right-left", "top-bottom", "bottom-top")
GENDERS = ("female", "male")  # FaceSet.gender is a place in this list
_UNKNOWN = "is not known: the bundled detector does not tell it, insightface packs such as buffalo_l do"


@dataclass(frozen=True)
class Selection:
    """What is left of the faces of one or several pictures, and why the rest is not."""

    faces: FaceSet  # those chosen, by frame, in the order of the numbers asked for
    rows: Tensor  # (len(faces),) int64, which of the faces given each of them was
    candidates: FaceSet  # those that passed every filter, by frame, in the order that their numbers count from 0
    skipped: list[str]  # a sentence for each face left out and each number that is not there, by frame


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
    """Faces that pass every filter, then those of them with these numbers, counted from 0 in each frame's order.

    `likeness` (F,) is the cosine of each face and the person meant, kept from the threshold on; `within` (F,) is what
    `share_inside` says, kept from a half on; `smallest` and `largest` are widths in pixels; `gender` is one of GENDERS
    and `age` a range in years, its ends included, and a face of which they are not known is left out; `tracks` are
    people's numbers over time. No indices: all of them.
    """
    if gender not in (None, *GENDERS):
        raise ValueError(f"no gender {gender!r}; there are {', '.join(GENDERS)}")
    rows = _ordered(faces, order)
    faces = faces[rows]
    wide, ages, sexes, track = faces.box[:, 2] - faces.box[:, 0], faces.age, faces.gender, faces.track
    # What leaves a face out, and how to say so of a row.
    rules: list[tuple[Tensor, Callable[[int], str]]] = [
        (wide < smallest, lambda row: f"is narrower than {smallest:g} px"),
        (wide > largest, lambda row: f"is wider than {largest:g} px"),
    ]
    if tracks is not None:
        wanted = torch.isin(track, track.new_tensor(list(tracks)))
        rules += [
            (track < 0, lambda row: "has no track: Track Faces gives one"),
            (~wanted, lambda row: f"track {track[row]} is not among those asked for ({_listed(tracks)})"),
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
        rules.append((white < 0.5, lambda row: f"{white[row]:.0%} of it is white in the mask, at least half must be"))
    if likeness is not None:
        cosine = likeness[rows]
        alike = cosine >= threshold  # not a number is not alike
        rules.append((~alike, lambda row: f"similarity {cosine[row]:.2f} to the reference is below {threshold:.2f}"))
    why = _first(rules, len(faces))
    passed = [row for row in range(len(faces)) if row not in why]
    candidates, rows = faces[passed], rows[passed]
    said = [
        (int(faces.frame[row]), f"face at {describe_place(faces.box[row].tolist())}: {reason}")
        for row, reason in why.items()
    ]
    if indices is None:
        return Selection(candidates, rows, candidates, _in_frames(faces, said))
    said += _unasked(candidates, indices) + _missing(faces, candidates, indices)
    picked = _picked(candidates, list(indices))
    return Selection(candidates[picked], rows[picked], candidates, _in_frames(faces, said))


def order(faces: FaceSet, by: str) -> FaceSet:
    """The faces of each frame in an order of ORDERS, frame after frame; equals keep their places."""
    return faces[_ordered(faces, by)]


def pick(faces: FaceSet, indices: list[int]) -> FaceSet:
    """The faces of each frame with these numbers, in this order, frame after frame; 0 is a frame's first face, -1 its
    last. Numbers that a frame does not have are left out, and a face comes once."""
    return faces[_picked(faces, indices)]


def numbers(faces: FaceSet) -> Tensor:
    """What `pick` calls each face: its place among those of its frame from 0 on, (F,) int64."""
    rows = faces.frame.argsort(stable=True)
    _, run, counts = faces.frame[rows].unique_consecutive(return_inverse=True, return_counts=True)
    place = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[run]
    return torch.empty_like(rows).scatter_(0, rows, place)


def share_inside(faces: FaceSet, limit: Tensor) -> Tensor:
    """How much of each box is white in a limit (B, 1, H, W), 0..1 in pixels of the pictures, as far as it lies there:
    (F,) 0..1, 0 for a box outside. The last limit serves the pictures beyond it."""
    height, width = limit.shape[-2:]
    shares = []
    for frame, box in zip(faces.frame.tolist(), faces.box.round().long().tolist(), strict=True):
        left, top, right, bottom = (max(0, side) for side in box)
        part = limit[min(frame, len(limit) - 1), 0, top : min(bottom, height), left : min(right, width)]
        shares.append(float(part.mean()) if part.numel() else 0.0)
    return faces.score.new_tensor(shares)


def describe_place(box: Sequence[float]) -> str:
    """Where a box is, x1 y1 x2 y2 in pixels, in words: "12,40 (88 px wide)"."""
    left, top, right, _ = box
    return f"{left:.0f},{top:.0f} ({right - left:.0f} px wide)"


def _ordered(faces: FaceSet, by: str) -> Tensor:
    if by not in ORDERS:
        raise ValueError(f"no order {by!r}; there are {', '.join(ORDERS)}")
    x1, y1, x2, y2 = faces.box.unbind(-1)
    keys = {"large": (x1 - x2) * (y2 - y1), "left": x1 + x2, "top": y1 + y2}
    keys |= {"small": -keys["large"], "right": -keys["left"], "bottom": -keys["top"]}
    rows = keys[by.split("-")[0]].argsort(stable=True)
    return rows[faces.frame[rows].argsort(stable=True)]


def _picked(faces: FaceSet, indices: list[int]) -> Tensor:
    rows = faces.frame.argsort(stable=True)
    _, run, counts = faces.frame[rows].unique_consecutive(return_inverse=True, return_counts=True)
    wanted = torch.tensor(indices, dtype=torch.long, device=rows.device)
    wanted = torch.where(wanted < 0, wanted + counts[run][:, None], wanted)  # (F, numbers)
    fits = wanted == numbers(faces)[rows][:, None]
    fits = fits & (fits.cumsum(1) == 1)
    chosen, place = fits.nonzero(as_tuple=True)
    by_place = place.argsort(stable=True)
    return rows[chosen[by_place[run[chosen[by_place]].argsort(stable=True)]]]


def _first(rules: list[tuple[Tensor, Callable[[int], str]]], count: int) -> dict[int, str]:
    """What the first rule that leaves it out says of each row that is left out, by row."""
    fails = [left_out.tolist() for left_out, _ in rules]
    told = {}
    for row in range(count):
        words = (say for fail, (_, say) in zip(fails, rules, strict=True) if fail[row])
        if say := next(words, None):
            told[row] = say(row)
    return told


def _unasked(candidates: FaceSet, indices: Sequence[int]) -> list[tuple[int, str]]:
    asked = set(_picked(candidates, list(indices)).tolist())
    named = zip(candidates.frame.tolist(), numbers(candidates).tolist(), candidates.box.tolist(), strict=True)
    return [
        (frame, f"face at {describe_place(box)}: number {number} is not asked for ({_listed(indices)})")
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


def _in_frames(faces: FaceSet, said: list[tuple[int, str]]) -> list[str]:
    """Sentences by frame, which they name unless the faces are those of one picture."""
    several = bool((faces.frame > 0).any())
    by_frame = sorted(said, key=lambda one: one[0])
    return [f"frame {frame}: {sentence}" if several else sentence for frame, sentence in by_frame]


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
