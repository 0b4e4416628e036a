"""The ONNX operator Resize."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor

# Modes that torch has itself, several times faster.
_SAME: dict[tuple[str, str, str], dict[str, Any]] = {
    ("linear", "half_pixel", ""): {"mode": "bilinear", "align_corners": False},
    ("linear", "align_corners", ""): {"mode": "bilinear", "align_corners": True},
    ("nearest", "asymmetric", "floor"): {"mode": "nearest"},
}
ROUND = {
    "round_prefer_floor": lambda place: (place - 0.5).ceil(),
    "round_prefer_ceil": lambda place: (place + 0.5).floor(),
    "floor": torch.floor,
    "ceil": torch.ceil,
}


def resize(
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    axes: list[int] | None = None,
) -> Tensor:
    size, factor = list(x.shape), [1.0] * x.dim()
    for position, axis in enumerate(range(x.dim()) if axes is None else axes):
        if sizes is not None:
            size[axis] = int(sizes[position])
            factor[axis] = size[axis] / x.shape[axis]
        elif scales is not None:
            factor[axis] = float(scales[position])
            size[axis] = math.floor(x.shape[axis] * factor[axis])
    where = coordinate_transformation_mode
    if where == "pytorch_half_pixel" and 1 not in size[2:]:
        where = "half_pixel"
    same = _SAME.get((mode, where, nearest_mode if mode == "nearest" else ""))
    whole = all(new == old * ratio for new, old, ratio in zip(size, x.shape, factor, strict=True))
    if same and whole and x.dim() == 4 and size[:2] == list(x.shape[:2]):
        return nnf.interpolate(x, size[2:], **same)
    for axis, ratio in enumerate(factor):
        if size[axis] == x.shape[axis] and ratio == 1:
            continue
        place = torch.arange(size[axis], device=x.device, dtype=torch.float32)
        if where == "align_corners":
            place = place * ((x.shape[axis] - 1) / max(size[axis] - 1, 1))
        elif where == "asymmetric":
            place = place / ratio
        elif where == "pytorch_half_pixel" and size[axis] == 1:
            place = place * 0
        else:
            place = (place + 0.5) / ratio - 0.5
        x = _sample_axis(x, axis, place, nearest_mode if mode == "nearest" else None)
    return x


def _sample_axis(x: Tensor, axis: int, place: Tensor, nearest: str | None) -> Tensor:
    """Values at fractional positions along an axis: the nearest ones, or linear interpolation."""
    end = x.shape[axis] - 1
    if nearest:
        return x.index_select(axis, ROUND[nearest](place).clamp(0, end).long())
    place = place.clamp(0, end)
    low = place.long()
    share = (place - low).view(-1, *[1] * (x.dim() - 1 - axis))
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, (low + 1).clamp_max(end)), share)
