"""Measures of a swap: pose, expression, outline, likeness and seam, from an image before and after.

The bundled landmarks underestimate pose (80 to 87 % of the yaw, a sixth of the pitch), and the bundled swappers were
trained with the bundled encoder. So the measures can tell a bad frame from its neighbours, but are not for publication.
Independent judges are in `eval`.
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

_RIGID = (*range(27, 48), 48, 54)  # of the 68: nose, eyes, mouth corners; the outline slides when a head turns
_MOVING = (*range(17, 27), *range(36, 68))  # brows, lids, lips
_OUTLINE = tuple(range(17))  # from ear to ear along the jaw
_OUTER_EYES = (36, 45)
_SAME = 0.3  # IoU from which a face after is matched to one before
_STEP = 1 / 255  # smallest change of an 8-bit image
_AROUND = 0.5  # of the face's box, margin on each side: swaps fade out beyond the landmarks


def rotation(points: Tensor) -> Tensor:
    """Head rotations from 68 landmarks, (N, 68, 2) -> (N, 3, 3): the 3D mean head fitted to the rigid ones under a
    weak-perspective camera."""
    rigid = list(_RIGID)
    shape = head_pose.template()[list(mesh.IBUG68)][rigid]
    return head_pose.fit(points[:, rigid], shape - shape.mean(0)).rotation


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Angles between rotations, (N, 3, 3) twice -> (N,) degrees."""
    apart = a.mT.double() @ b.double()
    # From both sine and cosine, because the cosine alone is inaccurate at small angles.
    skew = (apart - apart.mT) / 2
    sine = torch.stack([skew[:, 2, 1], skew[:, 0, 2], skew[:, 1, 0]], -1).norm(dim=-1)
    cosine = (apart.diagonal(dim1=1, dim2=2).sum(-1) - 1) / 2
    return torch.rad2deg(torch.atan2(sine, cosine)).float()


def pose_error(result: Tensor, target: Tensor) -> Tensor:
    """Angle between the head poses, 68 landmarks (N, 68, 2) twice -> (N,) degrees."""
    return angle(rotation(result), rotation(target))


def expression_error(result: Tensor, target: Tensor) -> Tensor:
    """Mean distance of brows, lids and lips from the target's, after fitting them by a similarity, (N, 68, 2) twice ->
    (N,) in outer-eye distances of the target."""
    return _mean_distance(result, target, _MOVING, _MOVING)


def outline_error(result: Tensor, other: Tensor) -> Tensor:
    """Mean distance of the face's outline from another face's, after fitting eyes, nose and mouth by a similarity,
    (N, 68, 2) twice -> (N,) in outer-eye distances of the other."""
    return _mean_distance(result, other, _RIGID, _OUTLINE)


def _mean_distance(result: Tensor, other: Tensor, laid: Sequence[int], measured: Sequence[int]) -> Tensor:
    matrix = geometry.similarity(result[:, list(laid)], other[:, list(laid)])
    shift = geometry.transform(result[:, list(measured)], matrix) - other[:, list(measured)]
    left, right = _OUTER_EYES
    return shift.norm(dim=-1).mean(-1) / (other[:, left] - other[:, right]).norm(dim=-1)


def seam(result: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """How visible the mask's border is, images (B, C, H, W) twice and the mask (B, 1, H, W) of what was replaced ->
    (B,).

    With forward differences d, the mean steepness of an image P across the border of the mask M is
    s(P) = sum |dx M dx P + dy M dy P| / sum |dM|, over all pixels and channels: pixels are weighted by the mask's
    gradient, and only changes along that gradient count. The seam is (s(result) + e) / (s(target) + e) with e = 1/255:
    1 means as in the original target, more a new edge, less smoother than before. NaN if the mask has no border within
    the image.
    """
    down, across = _slopes(mask)
    weight = (down.square() + across.square()).sqrt().mean((1, 2, 3))

    def steepness(picture: Tensor) -> Tensor:
        y, x = _slopes(picture)
        return (down * y + across * x).abs().mean((1, 2, 3)) / weight

    return (steepness(result) + _STEP) / (steepness(target) + _STEP)  # 0 / 0 is NaN


def _slopes(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Forward differences down and to the right, (B, C, H, W) -> (B, C, H - 1, W - 1) twice."""
    here = picture[..., :-1, :-1]
    return picture[..., 1:, :-1] - here, picture[..., :-1, 1:] - here


@dataclass(frozen=True, slots=True)
class FaceMeasures:
    """One face before and after. None means unknown: the face was not found afterwards, or there was nothing to compare
    with."""

    frame: int
    face: int  # number within its frame, from 0
    box: tuple[float, float, float, float]  # before: x1 y1 x2 y2, pixels
    changed: bool  # mean absolute difference within the box above 1/8 of an 8-bit step
    found: bool  # found again at the same place
    similarity_to_source: float | None  # cosine, -1..1
    similarity_to_before: float | None  # cosine to the face before
    pose: float | None  # degrees between the two heads
    expression: float | None  # outer-eye distances
    seam: float | None  # see `seam`


def sentences(row: FaceMeasures) -> list[str]:
    """The measures of a face in words, at most four lines."""
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
    """Matches F faces to G found ones by IoU within their frame, greedily and one to one -> indices into `found`,
    (F,) int64, -1 for none."""
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
    """Measures each of the F faces of the images `before` (B, 3, H, W) 0..1 in the same images `after`.

    `identity` is the person they should look like; `mask` (B, 1, H, W) 0..1 is where pixels were replaced, for the
    seam. Raises ValueError if the shapes of the images differ.
    """
    if before.shape != after.shape:
        raise ValueError(
            f"before is {_size_text(before)} and after is {_size_text(after)}: they must have the same size"
        )
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
    listed = [[None] * len(old) if column is None else map(_finite_or_none, column.tolist()) for column in columns]
    figures = iter(zip(*listed, strict=True))
    rows = []
    for face, (frame, box, again) in enumerate(
        zip(faces.frame.tolist(), faces.box.tolist(), there.tolist(), strict=True)
    ):
        source, same, pose, expression = next(figures) if again else (None,) * 4
        y, x = _box_slices(box, before, 0)
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
    """The seam around one face; None if the mask has no border there."""
    y, x = _box_slices(box, before, _AROUND)
    one = slice(frame, frame + 1)
    return _finite_or_none(float(seam(after[one, :, y, x], before[one, :, y, x], mask[one, :, y, x])))


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _box_slices(box: list[float], picture: Tensor, more: float) -> tuple[slice, slice]:
    """Rows and columns of a box, enlarged by `more` times its sides on each side and clipped to the image."""
    left, top, right, bottom = box
    wide, tall = more * (right - left), more * (bottom - top)
    return (
        slice(max(0, round(top - tall)), min(picture.shape[-2], max(0, round(bottom + tall)))),
        slice(max(0, round(left - wide)), min(picture.shape[-1], max(0, round(right + wide)))),
    )


def _size_text(images: Tensor) -> str:
    count, _, height, width = images.shape
    return f"{count} x {width} x {height}"
