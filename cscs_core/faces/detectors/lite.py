"""The bundled detector: runs on the image at three scales, each 2.5 times smaller than the one before."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ...models import FaceDetector
from ...ops.boxes import suppress
from .base import Found

_LONGEST = 1280  # px: larger images are reduced to this size
_LOOKS = (1.0, 2.5, 6.25)  # reduction of each scale: large faces are found at the smaller ones
_NESTED = 0.55  # of a box: how much of it may lie in a larger face before it is taken for a part of that
_MOST = 4000  # best proposals of a chunk that enter non-maximum suppression: memory grows with the square


@dataclass(frozen=True)
class LiteDetector:
    """The bundled detector: three scales, each 2.5 times smaller than the one before, with non-maximum suppression."""

    network: FaceDetector
    overlap: float = 0.4  # IoU from which two boxes count as the same face

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (self.network,)

    def __call__(self, images: Tensor, threshold: float) -> Found:
        first = max(1.0, max(images.shape[-2:]) / _LONGEST)
        looks = [_detect_at_scale(images, self.network, first * shrink, threshold) for shrink in _LOOKS]
        frame, box, points, score = (torch.cat(parts) for parts in zip(*looks, strict=True))
        best = score.topk(min(_MOST, len(score))).indices
        kept = best[suppress(box[best], score[best], frame[best], self.overlap, _NESTED)]
        kept = kept[frame[kept].argsort(stable=True)]
        return frame[kept], box[kept], points[kept], score[kept]


def _detect_at_scale(images: Tensor, network: FaceDetector, shrink: float, threshold: float) -> Found:
    height, width = (max(1, round(side / shrink)) for side in images.shape[-2:])
    small = images if shrink == 1 else nnf.interpolate(images, (height, width), mode="bilinear", antialias=True)
    scores, boxes, points, _ = network(_padded(small))
    frame, place = (scores.sigmoid() > threshold).nonzero(as_tuple=True)
    # Pixel centres: x in the small image is (x + 0.5) * ratio - 0.5 in the original.
    ratio = images.new_tensor([images.shape[-1] / width, images.shape[-2] / height])
    points = (points[frame, place] + 0.5) * ratio - 0.5
    boxes = (boxes[frame, place].unflatten(-1, (2, 2)) + 0.5) * ratio - 0.5
    return frame, boxes.flatten(-2), points, scores[frame, place].sigmoid()


def _padded(images: Tensor) -> Tensor:
    """Images padded to multiples of 32 by repeating the last row and column, and made channels-last, in one copy."""
    height, width = images.shape[-2:]
    size = (*images.shape[:2], height + -height % 32, width + -width % 32)
    out = torch.empty(size, dtype=images.dtype, device=images.device, memory_format=torch.channels_last)
    out[..., :height, :width] = images
    out[..., height:, :width] = images[..., -1:, :]
    out[..., width:] = out[..., width - 1 : width]
    return out
