"""Tracking: faces of the same person get the same number in all frames of a video."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as nnf
from torch import Tensor

from ..ops.boxes import iou
from ..types import FaceSet

_STEADY = 0.5  # weight of the newest step in a track's moving average of speed


@dataclass(frozen=True)
class _Tracks:
    """T people as they were last seen."""

    box: Tensor  # (T, 4) x1 y1 x2 y2, pixels
    speed: Tensor  # (T, 2) pixels per frame, of the box's centre
    seen: Tensor  # (T,) int64, last frame
    person: Tensor  # (T, E) unit embeddings, moving average

    def at(self, frame: int) -> Tensor:
        """The boxes predicted for a frame, (T, 4)."""
        return self.box + (self.speed * (frame - self.seen)[:, None]).repeat(1, 2)


def track(
    faces: FaceSet,
    embeddings: Tensor | None = None,
    *,
    overlap: float = 0.3,
    likeness: float = 0.5,
    gap: int = 10,
) -> FaceSet:
    """The faces with their track numbers in `track`, counted from 0 in order of appearance. Row order is kept.

    A face joins a track if its IoU with the track's predicted box is at least `overlap`. With embeddings (F, E) it also
    joins if their cosine is at least `likeness`, wherever it is, and never if the cosine is below half of that: the
    same person with the head turned stays above, somebody else in the same place does not. Pairs are matched greedily
    by IoU + 2 cosine, one face per track and frame. A track that was not seen for more than `gap` frames ends.
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
        number[rows] = _match(same, score)
        new = rows[number[rows] < 0]
        number[new] = torch.arange(len(tracks.box), len(tracks.box) + len(new))
        tracks = _update(tracks, frame, box, known, rows, number)
    return replace(faces, track=number.to(faces.track))


def _match(same: Tensor, score: Tensor) -> Tensor:
    """Greedy matching of the allowed pairs, best score first, (T, F) bool, (T, F) -> each face's track (F,), -1
    none."""
    mine = torch.full((same.shape[1],), -1)
    pairs = same.nonzero()
    order = score[same].argsort(descending=True, stable=True)
    taken = set()
    for one, face in pairs[order].tolist():
        if one not in taken and mine[face] < 0:
            mine[face] = one
            taken.add(one)
    return mine


def _update(tracks: _Tracks, frame: int, box: Tensor, known: Tensor, rows: Tensor, number: Tensor) -> _Tracks:
    """The tracks updated by the faces of a frame; new tracks are appended."""
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
