"""Where the faces are: boxes, five points and the dense mesh."""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor

from . import mesh
from .boxes import suppress
from .locate import locate
from .models import FaceDetector, FaceMesh
from .types import FaceSet

_LONGEST = 1280  # px: larger pictures are searched at this size
_LOOKS = (1.0, 2.5, 6.25)  # how many times smaller each look is: large faces are found in the smaller ones
_CHUNK = 8  # pictures that go through the network at once
_NESTED = 0.55  # of a box: a part of a large face, found as a face of its own in a sharper look, is none
_MOST = 4000  # best proposals of a chunk that are compared with each other: every pair takes memory


def detect(
    images: Tensor, detector: FaceDetector, landmarks: FaceMesh, *, threshold: float = 0.5, overlap: float = 0.4
) -> FaceSet:
    """Every face of every image, (B, 3, H, W) in 0..1, best score first within its frame."""
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must be (B, 3, H, W), not {tuple(images.shape)}")
    found = [propose(chunk, detector, threshold, overlap) for chunk in images.split(_CHUNK)]
    if not sum(len(score) for _, _, _, score in found):
        return FaceSet.empty(images.device)
    frame = torch.cat([rows + index * _CHUNK for index, (rows, *_) in enumerate(found)])
    box, points, score = (torch.cat([part[k] for part in found]) for k in (1, 2, 3))
    dense = locate(images, frame, points, landmarks)
    return FaceSet(frame, box, mesh.five(dense), dense, score, torch.full_like(frame, -1))


def propose(
    images: Tensor, detector: FaceDetector, threshold: float, overlap: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Frames (F,), boxes (F, 4), five points (F, 5, 2) and scores (F,) from three looks, duplicates suppressed."""
    height, width = images.shape[-2:]
    first = max(1.0, max(height, width) / _LONGEST)
    looks = [_look(images, detector, first * shrink, threshold) for shrink in _LOOKS]
    frame, box, points, score = (torch.cat(parts) for parts in zip(*looks, strict=True))
    best = score.topk(min(_MOST, len(score))).indices
    kept = best[suppress(box[best], score[best], frame[best], overlap, _NESTED)]
    kept = kept[frame[kept].argsort(stable=True)]
    return frame[kept], box[kept], points[kept], score[kept]


def _look(
    images: Tensor, detector: FaceDetector, shrink: float, threshold: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    height, width = (max(1, round(side / shrink)) for side in images.shape[-2:])
    small = images if shrink == 1 else nnf.interpolate(images, (height, width), mode="bilinear", antialias=True)
    scores, boxes, points, _ = detector(_padded(small))
    frame, place = (scores.sigmoid() > threshold).nonzero(as_tuple=True)
    # Pixel centres: what lies at x in the small picture lies at (x + 0.5) * ratio - 0.5 in the whole one.
    ratio = images.new_tensor([images.shape[-1] / width, images.shape[-2] / height])
    points = (points[frame, place] + 0.5) * ratio - 0.5
    boxes = (boxes[frame, place].unflatten(-1, (2, 2)) + 0.5) * ratio - 0.5
    return frame, boxes.flatten(-2), points, scores[frame, place].sigmoid()


def _padded(images: Tensor) -> Tensor:
    """Sides made multiples of 32 by repeating the last row and column; channels last, in the one copy there is."""
    height, width = images.shape[-2:]
    size = (*images.shape[:2], height + -height % 32, width + -width % 32)
    out = torch.empty(size, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)
    out[..., :height, :width] = images
    out[..., height:, :width] = images[..., -1:, :]
    out[..., width:] = out[..., width - 1 : width]
    return out
