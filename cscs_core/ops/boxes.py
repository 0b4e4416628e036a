"""Rectangles x1 y1 x2 y2: overlap and suppression."""

from __future__ import annotations

import torch
from torch import Tensor


def _areas(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    inner = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp_min(0).prod(-1)
    return inner, (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - inner


def iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union, (..., 4), (..., 4) -> (...), broadcast; 0 for empty boxes."""
    inner, union = _areas(a, b)
    return inner / union.clamp_min(1e-9)


def generalised_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU less the empty share of the hull, -1..1 (Rezatofighi et al. 2019), (..., 4), (..., 4) -> (...)."""
    inner, union = _areas(a, b)
    hull = (torch.maximum(a[..., 2:], b[..., 2:]) - torch.minimum(a[..., :2], b[..., :2])).prod(-1).clamp_min(1e-9)
    return inner / union.clamp_min(1e-9) - (hull - union) / hull


def inside(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over the smaller area, 1 where one box lies within the other, (..., 4), (..., 4) -> (...)."""
    inner, _ = _areas(a, b)
    smaller = torch.minimum((a[..., 2:] - a[..., :2]).prod(-1), (b[..., 2:] - b[..., :2]).prod(-1))
    return inner / smaller.clamp_min(1e-9)


def suppress(box: Tensor, score: Tensor, frame: Tensor, threshold: float, nested: float = 1.0) -> Tensor:
    """Non-maximum suppression in every frame at once: rows kept, best first, (N, 4), (N,), (N,) -> (K,) int64.

    A box falls when a better *kept* box of its frame overlaps it by more than `threshold`, or when more than `nested`
    of the smaller of the two lies within the other. The greedy rule is iterated to its fixed point on the whole matrix
    of pairs, which takes as many steps as the longest chain of boxes that suppress each other, not one per box.
    """
    order = score.argsort(descending=True, stable=True)
    box, frame = box[order], frame[order]
    rivals = (iou(box[:, None], box[None]) > threshold) | (inside(box[:, None], box[None]) > nested)
    rivals &= frame[:, None] == frame[None]
    rivals = rivals.tril(-1)  # row i: the better boxes that overlap box i
    kept = torch.ones(len(order), dtype=torch.bool, device=box.device)
    while True:
        now = ~(rivals & kept).any(1)
        if torch.equal(now, kept):
            return order[kept]
        kept = now
