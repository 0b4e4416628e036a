"""Crops pasted back into their images."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from ..ops import colour
from ..ops.batching import CancelCheck, map_in_chunks, max_batch, never_cancel
from ..ops.geometry import invert, transform, warp
from ..types import Crops

_BAND = 1 << 18  # image pixels that are pasted at once


def paste(images: Tensor, crops: Crops, check_cancel: CancelCheck = never_cancel) -> Tensor:
    """New images with the crops blended in by their masks, in row order, (B, C, H, W) -> (B, C, H, W).

    Pixels where a crop's mask is 0 stay bit-identical. `check_cancel` is called between bands of pixels and may stop
    the work by raising.
    """
    out = images.clone()
    boxes = _touched_boxes(crops, images.shape[-2], images.shape[-1])
    # One face at a time: the rectangles differ in size, each is some 30 times less work than a whole 1080p frame, and
    # later faces must cover earlier ones.
    for face, (frame, (x1, y1, x2, y2)) in enumerate(zip(crops.frame.tolist(), boxes, strict=True)):
        if x1 >= x2:
            continue
        lay = partial(_blend_lines, out[frame, :, :, x1:x2], crops[face : face + 1], x1)
        map_in_chunks(lay, range(y1, y2), max(1, _BAND // (x2 - x1)), check_cancel)
    return out


def paste_mask(images: Tensor, crops: Crops, check_cancel: CancelCheck = never_cancel) -> Tensor:
    """How much of each pixel `paste` replaces, (B, C, H, W) -> (B, 1, H, W) 0..1. Overlapping masks a and b combine to
    1 - (1 - a) (1 - b)."""
    nothing = images.new_zeros(images.shape[0], 1, *images.shape[-2:])
    return paste(nothing, replace(crops, pixels=torch.ones_like(crops.mask)), check_cancel)


def match_colour(
    images: Tensor, crops: Crops, strength: float = 1.0, check_cancel: CancelCheck = never_cancel
) -> Crops:
    """Matches the crops' colours to the images (B, 3, H, W) 0..1 below them: CIELAB mean and standard deviation within
    the masks, blended by `strength` 0..1; 0 returns the crops unchanged. Raises ValueError for a strength outside."""
    if not 0 <= strength <= 1:
        raise ValueError(f"the strength of the colour match is {strength}; it must be between 0 and 1")
    if not len(crops) or strength == 0:
        return crops

    def match(here: Crops) -> Tensor:
        under = warp(images, here.matrix, here.size, frame=here.frame).float()
        return torch.lerp(here.pixels, colour.match_statistics(here.pixels, under, here.mask), strength)

    return replace(crops, pixels=torch.cat(map_in_chunks(match, crops, max_batch(images.device), check_cancel)))


def _blend_lines(strip: Tensor, crop: Crops, left: int, lines: range) -> None:
    """Blends one crop into some lines of a vertical strip of its image, (C, H, w), in place; the strip begins at
    column `left`."""
    under = strip[:, lines.start : lines.stop]
    matrix = invert(crop.matrix.float())
    matrix = matrix - matrix.new_tensor([[0, 0, left], [0, 0, lines.start]])
    size = (len(lines), strip.shape[-1])
    pixels, mask = warp(crop.pixels, matrix, size)[0], warp(crop.mask, matrix, size, padding="zeros")[0]
    mixed = torch.lerp(under.float(), pixels.float(), mask.float()).to(under.dtype)
    under.copy_(mixed.where(mask > 0, under))


def _touched_boxes(crops: Crops, height: int, width: int) -> list[list[int]]:
    """The rectangle of whole pixels that each crop's mask can touch, x1 y1 x2 y2, clipped to the image; empty for a
    black mask or a matrix with NaN."""
    white = crops.mask[:, 0] > 0
    sides = torch.stack([white.any(1), white.any(2)], 1).long()  # (F, 2, S): columns and rows with any mask
    low = sides.argmax(2) - 1  # one pixel beyond the outermost centres, where bilinear weights end
    high = crops.size - sides.flip(2).argmax(2)
    (left, top), (right, bottom) = low.T, high.T
    corners = torch.stack([left, top, right, top, right, bottom, left, bottom], 1).unflatten(1, (4, 2)).float()
    corners = transform(corners, invert(crops.matrix.float()))
    some = corners.isfinite().flatten(1).all(1) & sides.flatten(1).any(1)
    corners = corners.where(some[:, None, None], -2)
    limit = corners.new_tensor([width, height])
    first = corners.amin(1).floor().clamp_min(0).minimum(limit)
    last = (corners.amax(1).ceil() + 1).clamp_min(0).minimum(limit)
    return torch.cat([first, last], 1).long().tolist()
