"""What became of faces: pose, expression, outline, likeness and the seam, a picture before against the same after.

The bundled landmarks see less of a turn than there is (80 to 87 per cent, and a sixth of a nod) and the bundled encoder
has seen the bundled swappers: good for telling a bad frame from its neighbours, not for publishing. Independent judges
are in `eval`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..faces.identity import embedded_by, encode
from ..ops import boxes, geometry, head_pose, mesh
from ..pipeline import Models, find
from ..types import FaceSet, Identity

_RIGID = (*range(27, 48), 48, 54)  # of the 68: nose, eyes, corners of the mouth; the outline slides when a head turns
_MOVING = (*range(17, 27), *range(36, 68))  # brows, lids, lips
_OUTLINE = tuple(range(17))  # from ear to ear along the jaw
_OUTER_EYES = (36, 45)
_SAME = 0.3  # overlap (IoU) from which a face after is the one before
_STEP = 1 / 255  # the least that a picture of 8 bits can change by
_AROUND = 0.5  # of the face's box on each side: swaps fade out beyond the landmarks


def rotation(points: Tensor) -> Tensor:
    """How heads are turned by their 68 landmarks, (N, 68, 2) -> (N, 3, 3): the mean head in space under the
    weak-perspective camera that explains what of them is rigid best."""
    rigid = list(_RIGID)
    shape = head_pose.template()[list(mesh.IBUG68)][rigid]
    return head_pose.fit(points[:, rigid], shape - shape.mean(0)).rotation


def angle(a: Tensor, b: Tensor) -> Tensor:
    """How far rotations (N, 3, 3) are from others, along the shortest way, (N,) degrees."""
    apart = a.mT.double() @ b.double()
    # The angle from its sine and cosine: the cosine alone cannot tell small angles.
    skew = (apart - apart.mT) / 2
    sine = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], -1).norm(dim=-1)
    cosine = (apart.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2
    return torch.rad2deg(torch.atan2(sine, cosine)).float()


def pose_error(result: Tensor, target: Tensor) -> Tensor:
    """Between heads with landmarks (N, 68, 2) each, (N,) degrees."""
    return angle(rotation(result), rotation(target))


def expression_error(result: Tensor, target: Tensor) -> Tensor:
    """How far brows, lids and lips lie from the target's, laid on these by a similarity, in outer-eye distances of the
    target, (N, 68, 2) twice -> (N,)."""
    return _apart(result, target, _MOVING, _MOVING)


def outline_error(result: Tensor, other: Tensor) -> Tensor:
    """How far the face's outline lies from another face's, eyes, nose and mouth laid on that one's by a similarity, in
    its outer-eye distances, (N, 68, 2) twice -> (N,)."""
    return _apart(result, other, _RIGID, _OUTLINE)


def _apart(result: Tensor, other: Tensor, laid: Sequence[int], measured: Sequence[int]) -> Tensor:
    matrix = geometry.similarity(result[:, list(laid)], other[:, list(laid)])
    shift = geometry.transform(result[:, list(measured)], matrix) - other[:, list(measured)]
    left, right = _OUTER_EYES
    return shift.norm(dim=-1).mean(-1) / (other[:, left] - other[:, right]).norm(dim=-1)


def seam(result: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """How visible the mask's border is, (B, C, H, W) twice and a mask (B, 1, H, W) of what was replaced -> (B,).

    With forward differences d, the mean steepness of a picture P across the border is
    s(P) = sum |dx M dx P + dy M dy P| / sum |dM|, over all pixels and channels: each pixel counts as much as the mask
    changes there, and only what changes in the mask's direction counts. The seam is (s(result) + e) / (s(target) + e)
    with e = 1/255, so that 1.0 is as in the untouched target, more is an edge that was not there before, less is
    smoother than before. NaN where the mask has no border within the picture.
    """
    down, across = _slopes(mask)
    weight = (down.square() + across.square()).sqrt().mean((1, 2, 3))

    def steepness(picture: Tensor) -> Tensor:
        y, x = _slopes(picture)
        return (down * y + across * x).abs().mean((1, 2, 3)) / weight

    return (steepness(result) + _STEP) / (steepness(target) + _STEP)  # 0 / 0 is NaN


def _slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences, downwards and to the right, (B, C, H, W) -> twice (B, C, H - 1, W - 1)."""
    here = picture[..., :-1, :-1]
    return picture[..., 1:, :-1] - here, picture[..., :-1, 1:] - here


@dataclass(frozen=True, slots=True)
class FaceMeasures:
    """One face before and after. None is what cannot be said: the face was not found again, or nothing to compare with
    was given."""

    frame: int
    face: int  # its number among the faces of its frame
    box: tuple[float, float, float, float]  # before: x1 y1 x2 y2, pixels
    changed: bool  # within the box, on average by more than an eighth of a step of 8 bits
    found: bool  # again, at the same place
    similarity_to_source: float | None  # cosine, -1..1
    similarity_to_before: float | None  # cosine with the face that was there
    pose: float | None  # degrees between the two heads
    expression: float | None  # outer-eye distances
    seam: float | None  # see `seam`


def sentences(row: FaceMeasures) -> list[str]:
    """What there is to say of a face, a line each, at most four."""
    lines = [f"frame {row.frame}, face {row.face}" + ("" if row.changed else ": unchanged")]
    if not row.found:
        lines.append("no face was found here afterwards")
    if row.similarity_to_before is not None:
        to_source = "" if row.similarity_to_source is None else f"the source {row.similarity_to_source:.2f}, to "
        lines.append(f"likeness to {to_source}the face before {row.similarity_to_before:.2f}")
    if row.pose is not None and row.expression is not None:
        lines.append(f"pose {row.pose:.1f} degrees off, expression {row.expression:.3f} eye distances")
    if row.seam is not None:
        lines.append(f"seam {row.seam:.2f} (1 is as before)")
    return lines


def match_faces(faces: FaceSet, found: FaceSet) -> Tensor:
    """Which of the faces found (G,) each face (F,) is, by overlap within its frame, (F,) int64, -1 none. Each is used
    once, the best pair first."""
    overlap = boxes.iou(faces.box[:, None], found.box[None])
    overlap = overlap.where(faces.frame[:, None] == found.frame[None], 0)
    which = torch.full_like(faces.frame, -1)
    for _ in range(min(overlap.shape)):
        best = int(overlap.argmax())
        row, column = divmod(best, overlap.shape[1])
        if overlap[row, column] < _SAME:
            break
        which[row] = column
        overlap[row], overlap[:, column] = 0, 0
    return which


@torch.no_grad()
def report(
    before: Tensor,
    after: Tensor,
    faces: FaceSet,
    models: Models,
    identity: Identity | None = None,
    mask: Tensor | None = None,
    detection: float = 0.5,
) -> list[FaceMeasures]:
    """What became of each of the F faces of the pictures (B, 3, H, W) before, in the same pictures after.

    `identity` is who they should look like; `mask` (B, 1, H, W) is where pixels were replaced, for the seam.
    """
    if before.shape != after.shape:
        raise ValueError(f"before is {_size(before)} and after is {_size(after)}: they must be the same pictures")
    if not len(faces):
        return []
    found = find(after, models, detection)
    which = match_faces(faces, found)
    there = which >= 0
    old, new = faces[there], found[which[there]]
    was, now = encode(before, old, models.encoder), encode(after, new, models.encoder)
    to_before = (was * now).sum(-1)
    to_source = None if identity is None else now @ embedded_by(identity.to(now.device), models.encoder).mean
    points, others = new.mesh[:, list(mesh.IBUG68)], old.mesh[:, list(mesh.IBUG68)]
    columns = (to_source, to_before, pose_error(points, others), expression_error(points, others))
    listed = [[None] * len(old) if column is None else map(_known, column.tolist()) for column in columns]
    figures = iter(zip(*listed, strict=True))
    rows = []
    for face, (frame, box, again) in enumerate(
        zip(faces.frame.tolist(), faces.box.tolist(), there.tolist(), strict=True)
    ):
        source, same, pose, expression = next(figures) if again else (None,) * 4
        y, x = _within(box, before, 0)
        change = (after[frame, :, y, x] - before[frame, :, y, x]).abs()
        rows.append(
            FaceMeasures(
                frame=frame,
                face=int((faces.frame[:face] == frame).sum()),
                box=tuple(box),
                changed=bool(change.numel()) and float(change.mean()) > _STEP / 8,
                found=again,
                similarity_to_source=source,
                similarity_to_before=same,
                pose=pose,
                expression=expression,
                seam=None if mask is None else _seam_of(box, before, after, mask, frame),
            )
        )
    return rows


def _seam_of(box: list[float], before: Tensor, after: Tensor, mask: Tensor, frame: int) -> float | None:
    """The seam around one face, None without a border there."""
    y, x = _within(box, before, _AROUND)
    one = slice(frame, frame + 1)
    return _known(float(seam(after[one, :, y, x], before[one, :, y, x], mask[one, :, y, x])))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _within(box: list[float], picture: Tensor, more: float) -> tuple[slice, slice]:
    """Rows and columns of a box, larger by a share of its sides on each side, that lie in the picture."""
    left, top, right, bottom = box
    wide, tall = more * (right - left), more * (bottom - top)
    return (
        slice(max(0, round(top - tall)), min(picture.shape[-2], max(0, round(bottom + tall)))),
        slice(max(0, round(left - wide)), min(picture.shape[-1], max(0, round(right + wide)))),
    )


def _size(images: Tensor) -> str:
    count, _, height, width = images.shape
    return f"{count} x {width} x {height}"
