"""Who is who over the frames of a video: faces that are one person get one number."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as nnf
from torch import Tensor

from ..ops.boxes import iou
from ..types import FaceSet

_STEADY = 0.5  # share of the newest step in a track's speed


@dataclass(frozen=True)
class _Tracks:
    """T people as they were last seen."""

    box: Tensor  # (T, 4)
    speed: Tensor  # (T, 2) pixels a frame, of the box's centre
    seen: Tensor  # (T,) int64, frame
    person: Tensor  # (T, E) unit embeddings, averaged over time

    def at(self, frame: int) -> Tensor:
        """Where the boxes should be by now, (T, 4)."""
        return self.box + (self.speed * (frame - self.seen)[:, None]).repeat(1, 2)


def track(
    faces: FaceSet,
    embeddings: Tensor | None = None,
    *,
    overlap: float = 0.3,
    likeness: float = 0.5,
    gap: int = 10,
) -> FaceSet:
    """The faces with the numbers of their people in `track`: from 0 on, in the order in which they appear.

    A face goes on with a track whose box, moved on at its speed, it overlaps by an IoU of at least `overlap`. With
    unit embeddings (F, E) it also does where their cosine is at least `likeness`, wherever it is, and never where the
    cosine is less than half of that: a turned head is still half like itself, somebody else in the same place is not.
    The best pairs come first, likeness counting twice, and a track has one face in a frame. A person who was away for
    more than `gap` frames is a new one. Rows stay in their order.
    """
    known = faces.box.new_zeros(len(faces), 0) if embeddings is None else nnf.normalize(embeddings.float(), dim=-1)
    box, known, number = faces.box.float().cpu(), known.cpu(), torch.full((len(faces),), -1)
    whole = torch.zeros(0, dtype=torch.long)
    tracks = _Tracks(box[:0], box[:0, :2], whole, known[:0])
    for frame in faces.frame.unique().tolist():  # sorted
        rows = (faces.frame == frame).nonzero()[:, 0].cpu()
        near = iou(tracks.at(frame)[:, None], box[rows][None])  # (T, faces)
        same, score = near >= overlap, near
        if embeddings is not None:
            cosine = tracks.person @ known[rows].T
            same = (cosine >= likeness) | same & (cosine >= likeness / 2)
            score = near + 2 * cosine
        same &= (frame - tracks.seen <= gap + 1)[:, None]
        number[rows] = _matched(same, score)
        new = rows[number[rows] < 0]
        number[new] = torch.arange(len(tracks.box), len(tracks.box) + len(new))
        tracks = _after(tracks, frame, box, known, rows, number)
    return replace(faces, track=number.to(faces.track))


def _matched(same: Tensor, score: Tensor) -> Tensor:
    """Which track each face goes on with, best scores of pairs that may be the same first, (T, F) -> (F,); -1 none."""
    mine = torch.full((same.shape[1],), -1)
    pairs = same.nonzero()
    order = score[same].argsort(descending=True, stable=True)
    taken = set()
    for one, face in pairs[order].tolist():
        if one not in taken and mine[face] < 0:
            mine[face] = one
            taken.add(one)
    return mine


def _after(tracks: _Tracks, frame: int, box: Tensor, known: Tensor, rows: Tensor, number: Tensor) -> _Tracks:
    """The tracks as the faces of a frame leave them: those seen again moved on, new ones at the end."""
    again = rows[number[rows] < len(tracks.box)]
    new = rows[number[rows] >= len(tracks.box)]
    mine = number[again]
    step = _centre(box[again]) - _centre(tracks.box[mine])
    step = step / (frame - tracks.seen[mine])[:, None]
    speed = tracks.speed.index_copy(0, mine, tracks.speed[mine].lerp(step, _STEADY))
    person = nnf.normalize(tracks.person[mine].lerp(known[again], 0.25), dim=-1)
    here = torch.full_like(rows, frame)
    return _Tracks(
        torch.cat([tracks.box.index_copy(0, mine, box[again]), box[new]]),
        torch.cat([speed, torch.zeros_like(box[new, :2])]),
        torch.cat([tracks.seen.index_copy(0, mine, here[: len(mine)]), here[: len(new)]]),
        torch.cat([tracks.person.index_copy(0, mine, person), known[new]]),
    )


def _centre(box: Tensor) -> Tensor:
    return (box[:, :2] + box[:, 2:]) / 2
