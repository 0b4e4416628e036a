"""Antialiased masks of a face from its mesh in crop pixels, (F, 1, S, S) 0..1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as nnf
from torch import Tensor

from .mesh import LEFT_BROW, LEFT_EYE, LIPS, MOUTH, OVAL, RIGHT_BROW, RIGHT_EYE

_LINES = 4  # scan lines per pixel row
_SUBPIXELS = 256  # subdivisions of a pixel along a scan line


def polygon(points: Tensor, size: int) -> Tensor:
    """Coverage of closed polygons by the even-odd rule, (F, P, 2) -> (F, 1, S, S) 0..1; a polygon with NaN is empty.

    Each scan line is intersected with all edges; the sorted intersections enter and leave the polygon in turn. Each
    one adds its share to its pixel and the rest to the next, so that a cumulative sum along the line is the coverage.
    """
    finite = points.isfinite().all(-1).all(-1)
    start = points.detach().float().nan_to_num()
    delta = start.roll(-1, 1) - start
    line = (torch.arange(size * _LINES, device=points.device) + 0.5)[:, None] / _LINES - 0.5  # y
    below = start[:, None, :, 1] <= line
    cut = below != below.roll(-1, -1)
    x = start[:, None, :, 0] + delta[:, None, :, 0] / delta[:, None, :, 1] * (line - start[:, None, :, 1])
    x = (x.where(cut, size) + 0.5).clamp(0, size).sort(-1).values  # (F, lines, P) from the left edge of the image
    column = x.floor()
    # Integers in float32 add up exactly, so that the coverage outside is exactly 0.
    share = ((column + 1 - x) * _SUBPIXELS).round()
    sign = 1 - 2 * (torch.arange(x.shape[-1], device=x.device) % 2)
    ends = x.new_zeros(len(x), size, size + 2)
    for value, shift in ((share, 0), (_SUBPIXELS - share, 1)):
        where, value = column.long() + shift, value * sign
        ends.scatter_add_(
            2, where.unflatten(1, (size, _LINES)).flatten(2), value.unflatten(1, (size, _LINES)).flatten(2)
        )
    covered = ends[..., :size].cumsum(-1) / (_SUBPIXELS * _LINES)
    return (covered * finite[:, None, None])[:, None]


def hull(mesh: Tensor, size: int) -> Tensor:
    """The face oval from forehead to chin, (F, 468, 2) -> (F, 1, S, S)."""
    return _ring_mask(mesh, OVAL, size)


def eyes(mesh: Tensor, size: int) -> Tensor:
    """Both eyes between the lids, (F, 468, 2) -> (F, 1, S, S)."""
    return torch.maximum(_ring_mask(mesh, LEFT_EYE, size), _ring_mask(mesh, RIGHT_EYE, size))


def brows(mesh: Tensor, size: int) -> Tensor:
    """Both eyebrows, (F, 468, 2) -> (F, 1, S, S)."""
    return torch.maximum(_ring_mask(mesh, LEFT_BROW, size), _ring_mask(mesh, RIGHT_BROW, size))


def mouth(mesh: Tensor, size: int) -> Tensor:
    """Between the lips, empty when they are closed, (F, 468, 2) -> (F, 1, S, S)."""
    return _ring_mask(mesh, MOUTH, size)


def lips(mesh: Tensor, size: int) -> Tensor:
    """The lips without the opening between them, (F, 468, 2) -> (F, 1, S, S)."""
    return (_ring_mask(mesh, LIPS, size) - mouth(mesh, size)).clamp_min(0)


def features(mesh: Tensor, size: int) -> Tensor:
    """Eyes, brows and the whole mouth with some skin around them, feathered, (F, 468, 2) -> (F, 1, S, S)."""
    parts = eyes(mesh, size) + brows(mesh, size) + _ring_mask(mesh, LIPS, size)
    soft = feather(grow(parts.clamp(0, 1), 0.03 * size), 0.02 * size)
    return (soft * 1.001).clamp_max(1)  # rounding can leave the blur of ones just below 1


def feather(mask: Tensor, radius: float) -> Tensor:
    """Feathers a mask inwards, (F, 1, H, W) -> same: 0 at its edge and at the border, full `radius` pixels further in.

    The mask never grows, so that neither a seam nor the crop's square outline shows.
    """
    if radius <= 0:
        return mask
    height, width = mask.shape[-2:]
    blurred = _blur_matrix(height, radius, mask) @ mask @ _blur_matrix(width, radius, mask).T
    inside = (2 * blurred - 1).clamp(0, 1)  # the blur is 0.5 on a straight edge
    return torch.minimum(inside * inside * (3 - 2 * inside), mask)


def _blur_matrix(side: int, radius: float, like: Tensor) -> Tensor:
    """1-D blur with a raised-cosine kernel of that radius as a matrix (side, side). Border pixels, and all beyond them,
    count as 0. The matrix product is several times faster than a convolution."""
    reach = math.ceil(radius)
    taps = torch.arange(-reach, reach + 1, device=like.device, dtype=like.dtype)
    taps = (taps * (math.pi / 2 / (radius + 1))).cos().square()
    place = torch.arange(side, device=like.device)
    away = place - place[:, None] + reach
    matrix = (taps / taps.sum())[away.clamp(0, 2 * reach)].where((away >= 0) & (away <= 2 * reach), 0)
    matrix[:, [0, -1]] = 0
    return matrix


def grow(mask: Tensor, pixels: float) -> Tensor:
    """Dilates a mask by a disc of a whole number of pixels, or erodes it if negative, (F, 1, H, W) -> same.

    Pixels beyond the border are ignored.
    """
    radius = round(abs(pixels))
    if radius == 0:
        return mask
    if pixels < 0:
        return -grow(-mask, radius)
    height, width = mask.shape[-2:]
    padded = nnf.pad(mask, (radius,) * 4, value=-torch.inf)
    wide, out = padded[..., radius : radius + width], mask
    # A disc is one run of pixels per row. The runs widen by a pixel per iteration, one iteration per pixel of radius.
    for half in range(radius + 1):
        for shift in (radius - half, radius + half):
            wide = torch.maximum(wide, padded[..., shift : shift + width])
        for row in range(radius + 1):
            if math.isqrt(radius * radius - row * row) == half:
                for shift in (radius - row, radius + row):
                    out = torch.maximum(out, wide[..., shift : shift + height, :])
    return out


def _ring_mask(mesh: Tensor, ring: Sequence[int], size: int) -> Tensor:
    return polygon(mesh[:, list(ring)], size)


def smoothstep(x: Tensor, start: float, end: float) -> Tensor:
    """Cubic step: 0 up to `start`, 1 from `end`, smooth between; any shape -> same."""
    t = ((x - start) / (end - start)).clamp(0, 1)
    return t * t * (3 - 2 * t)
