"""The bundled detector: three looks at a picture, each 2.5 times smaller than the one before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ...models import FaceDetector
from ...ops.boxes import suppress
from .base import Found

_LONGEST = 1280  # px: larger pictures are searched at this size
_LOOKS = (1.0, 2.5, 6.25)  # how many times smaller each look is: large faces are found in the smaller ones
_NESTED = 0.55  # of a box: a part of a large face, found as a face of its own in a sharper look, is none
_MOST = 4000  # best proposals of a chunk that are compared with each other: every pair takes memory


@dataclass(frozen=True)
class LiteDetector:
    """The bundled detector: three looks, each 2.5 times smaller than the one before, duplicates suppressed."""

    network: FaceDetector
    overlap: float = 0.4  # IoU from which two boxes are one face

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (self.network,)

    def __call__(self, images: Tensor, threshold: float) -> Found:
        first = max(1.0, max(images.shape[-2:]) / _LONGEST)
        looks = [_look(images, self.network, first * shrink, threshold) for shrink in _LOOKS]
        frame, box, points, score = (torch.cat(parts) for parts in zip(*looks, strict=True))
        best = score.topk(min(_MOST, len(score))).indices
        kept = best[suppress(box[best], score[best], frame[best], self.overlap, _NESTED)]
        kept = kept[frame[kept].argsort(stable=True)]
        return frame[kept], box[kept], points[kept], score[kept]


def _look(images: Tensor, network: FaceDetector, shrink: float, threshold: float) -> Found:
    height, width = (max(1, round(side / shrink)) for side in images.shape[-2:])
    small = images if shrink == 1 else nnf.interpolate(images, (height, width), mode="bilinear", antialias=True)
    scores, boxes, points, _ = network(_padded(small))
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
