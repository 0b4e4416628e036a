"""Boxes x1 y1 x2 y2 in pixels: overlap and non-maximum suppression."""

from __future__ import annotations

import torch
from torch import Tensor


def _areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Areas of the intersection and of the union, (..., 4), (..., 4) -> (...) twice."""
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    return inner, (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inner


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, 0..1, (..., 4), (..., 4) -> (...), broadcast; 0 for empty boxes."""
    inner, union = _areas(a, b)
    return inner / union.clamp_min(1e-9)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU, -1..1 (Rezatofighi et al. 2019), (..., 4), (..., 4) -> (...), broadcast."""
    inner, union = _areas(a, b)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1).clamp_min(1e-9)
    return inner / union.clamp_min(1e-9) - (hull - union) / hull


def inside(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over the smaller area, 0..1, (..., 4), (..., 4) -> (...); 1 where one box contains the other."""
    inner, _ = _areas(a, b)
    smaller = torch.minimum((a[..., 2:] - a[..., :2]).prod(-1), (b[..., 2:] - b[..., :2]).prod(-1))
    return inner / smaller.clamp_min(1e-9)


def suppress(box: Tensor, score: Tensor, frame: Tensor, threshold: float, nested: float = 1.0) -> Tensor:
    """Non-maximum suppression per frame: indices of the kept rows, best first, (N, 4), (N,), (N,) -> (K,) int64.

    A box is suppressed if a better *kept* box of its frame overlaps it with an IoU above `threshold`, or if more than
    the share `nested` of the smaller box lies inside the other. The greedy rule is iterated to its fixed point on the
    matrix of all pairs. It takes one step per box in the longest chain of suppressions, not one per box.
    """
    order = score.argsort(descending=True, stable=True)
    box, frame = box[order], frame[order]
    rivals = (iou(box[:, None], box[None]) > threshold) | (inside(box[:, None], box[None]) > nested)
    rivals &= frame[:, None] == frame[None]
    rivals = rivals.tril(-1)  # row i marks the better boxes that overlap box i
    kept = torch.ones(len(order), dtype=torch.bool, device=box.device)
    while True:
        now = ~(rivals & kept).any(1)
        if torch.equal(now, kept):
            return order[kept]
        kept = now
