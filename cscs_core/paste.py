"""Crops laid back into their pictures."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .geometry import invert, transform, warp
from .types import Crops


def paste(images: Tensor, crops: Crops) -> Tensor:
    """New pictures with the crops laid over in order, as much as their masks say, (B, C, H, W) -> (B, C, H, W).

    A face touches only its own rectangle, and where its mask is 0 not a bit changes.
    """
    out = images.clone()
    back = invert(crops.matrix.float())
    boxes = _boxes(back, crops.size, images.shape[-2], images.shape[-1])
    # One face at a time: the rectangles differ in size, at 1080p each is some 30 times less work than the whole
    # frame, and a later face lies over an earlier one.
    for face, (frame, (x1, y1, x2, y2)) in enumerate(zip(crops.frame.tolist(), boxes, strict=True)):
        if x1 >= x2 or y1 >= y2:
            continue
        shift = back.new_tensor([[0, 0, -x1], [0, 0, -y1]])
        matrix, size = back[face : face + 1] + shift, (y2 - y1, x2 - x1)
        pixels = warp(crops.pixels[face : face + 1], matrix, size)[0]
        mask = warp(crops.mask[face : face + 1], matrix, size, padding="zeros")[0]
        under = out[frame, :, y1:y2, x1:x2]
        mixed = torch.lerp(under.float(), pixels.float(), mask.float()).to(out.dtype)
        out[frame, :, y1:y2, x1:x2] = mixed.where(mask > 0, under)
    return out


def paste_mask(images: Tensor, crops: Crops) -> Tensor:
    """How much of each picture `paste` replaces, (B, 1, H, W) 0..1; masks that overlap add up as veils do."""
    nothing = images.new_zeros(images.shape[0], 1, *images.shape[-2:])
    return paste(nothing, replace(crops, pixels=torch.ones_like(crops.mask)))


def _boxes(back: Tensor, size: int, height: int, width: int) -> list[list[int]]:
    """The rectangle of whole pixels that each crop can touch, x1 y1 x2 y2, cut at the frame; of NaN an empty one."""
    low, high = -1.0, float(size)  # a pixel beyond the outermost centres: bilinear weights end there
    corners = back.new_tensor([[low, low], [high, low], [high, high], [low, high]])
    corners = transform(corners.expand(len(back), 4, 2), back)
    corners = corners.where(corners.isfinite().all(-1).all(-1)[:, None, None], -2)
    limit = back.new_tensor([width, height])
    first = corners.amin(1).floor().clamp_min(0).minimum(limit)
    last = (corners.amax(1).ceil() + 1).clamp_min(0).minimum(limit)
    return torch.cat([first, last], 1).long().tolist()
