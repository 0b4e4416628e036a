"""Masks of crops: which pixels are pasted back into the image, with protected parts and the user's own masks."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as nnf
from torch import Tensor

from ..ops import mask
from ..ops.batching import CancelCheck, map_in_chunks, max_batch, never_cancel
from ..ops.colour import gaussian_blur
from ..ops.geometry import invert, transform, warp
from ..types import Crops

KINDS = ("hull", "box", "attention", "whole")
COMBINE = ("multiply", "replace")

_NEAR, _FADE = 0.02, 0.03  # of the crop side: margin around protected eyes and mouth, and the width of its soft edge


@dataclass(frozen=True)
class MaskOptions:
    """How a mask is made; lengths are fractions of the crop side. Raises ValueError for values out of range."""

    kind: str = "hull"  # of KINDS: the face's outline, its bounding box, a swapper's attention, the whole crop
    grow: float = 0.0  # -0.5..0.5, below 0 shrinks
    feather: float = 0.0  # 0..0.5, width of the soft edge, inside the mask
    keep_eyes: bool = False  # masks out the eyes, so that the target's own show
    keep_mouth: bool = False  # masks out lips and teeth, so that the target's own show
    combine: str = "multiply"  # "multiply" with the mask that the crops have, or "replace" it

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"unknown mask {self.kind!r}; choose one of {', '.join(KINDS)}")
        if self.combine not in COMBINE:
            raise ValueError(f"combine is {self.combine!r}; it must be {' or '.join(COMBINE)}")
        if not -0.5 <= self.grow <= 0.5:
            raise ValueError(f"grow is {self.grow}; it must be between -0.5 and 0.5 of the crop side")
        if not 0 <= self.feather <= 0.5:
            raise ValueError(f"feather is {self.feather}; it must be between 0 and 0.5 of the crop side")


KEEP_MASK = MaskOptions("whole")  # keeps the mask that the crops have


def apply_mask(
    crops: Crops,
    options: MaskOptions,
    limit: Tensor | None = None,
    attention: Tensor | None = None,
    check_cancel: CancelCheck = never_cancel,
) -> Crops:
    """The crops with a new mask. `limit` (F or 1, 1, S, S) 0..1 restricts where pixels may change (see `warp_limit`);
    `attention` (F, 1, S, S) 0..1 comes from `swappers.base.attention`. Raises ValueError if the kind is "attention" and
    none is given.

    Attention has no hard edge: in every crop it is stretched so that its 5th percentile becomes 0 and its 95th 1, and
    `feather` blurs it.
    """
    if not len(crops):
        return crops

    def draw(rows: Tensor) -> Tensor:
        here = crops[rows]
        shown = _base_mask(here, options, None if attention is None else attention[rows]) * (
            1 - _protected_parts(here, options)
        )
        if limit is not None:
            shown = shown * (limit if len(limit) == 1 else limit[rows])
        return shown if options.combine == "replace" else here.mask * shown

    device = crops.mask.device
    rows = torch.arange(len(crops), device=device)
    return replace(crops, mask=torch.cat(map_in_chunks(draw, rows, max_batch(device), check_cancel)))


def warp_limit(masks: Tensor, crops: Crops) -> Tensor:
    """Masks of the images, (B, 1, H, W) 0..1, warped to the crops, (F, 1, S, S). The last mask is used for all further
    images. Raises ValueError if a face lies outside its mask, because the mask is smaller than the image."""
    middle = crops.matrix.new_full((len(crops), 1, 2), (crops.size - 1) / 2)
    places = transform(middle, invert(crops.matrix.float()))[:, 0]
    height, width = masks.shape[-2:]
    if (places > places.new_tensor([width, height])).any():
        black = "" if masks.any() else ". It is all black, as from Load Image without a painted mask: disconnect it"
        raise ValueError(
            f"the mask is {width} x {height} and a face lies outside it; use a mask of the same size as the picture "
            f"that the crops were cut from, or connect that picture as image{black}"
        )
    return warp(masks, crops.matrix, crops.size, frame=crops.frame.clamp_max(len(masks) - 1)).clamp(0, 1)


def feather_mask(crops: Crops, feather: float, check_cancel: CancelCheck = never_cancel) -> Crops:
    """The crops with the mask feathered inwards over `feather` of the crop side (0..0.5). It always fades before the
    crop's border, so that no square edge shows."""
    border = mask.feather(torch.ones_like(crops.mask[:1]), 0.03 * crops.size)

    def soften(area: Tensor) -> Tensor:
        return mask.feather(area, feather * crops.size) * border

    return replace(
        crops, mask=torch.cat([border[:0], *map_in_chunks(soften, crops.mask, max_batch(border.device), check_cancel)])
    )


def _base_mask(crops: Crops, options: MaskOptions, attention: Tensor | None) -> Tensor:
    size = crops.size
    grow, feather = options.grow * size, options.feather * size
    if options.kind == "attention":
        if attention is None:
            raise ValueError("the attention mask depends on the person: connect a swapper and an identity")
        blurred = gaussian_blur(mask.grow(_stretch(attention), grow), feather / 2)
        return blurred * mask.feather(torch.ones_like(blurred[:1]), feather)
    if options.kind == "hull":
        area = mask.grow(mask.hull(crops.mesh, size), grow)
    elif options.kind == "box":
        area = _rectangle(crops.mesh.amin(1) - grow, crops.mesh.amax(1) + grow, size)
    elif grow >= 0:
        area = torch.ones_like(crops.mask)
    else:
        corner = crops.mesh.new_full((len(crops), 2), -0.5 - grow)
        area = _rectangle(corner, size - 1 - corner, size)
    return mask.feather(area, feather)


def _protected_parts(crops: Crops, options: MaskOptions) -> Tensor:
    """The protected parts, (F, 1, S, S) 0..1 with a soft edge."""
    parts = torch.zeros_like(crops.mask)
    if options.keep_eyes:
        parts = mask.eyes(crops.mesh, crops.size)
    if options.keep_mouth:
        lips = mask.lips(crops.mesh, crops.size) + mask.mouth(crops.mesh, crops.size)
        parts = torch.maximum(parts, lips.clamp_max(1))
    if not (options.keep_eyes or options.keep_mouth):
        return parts
    near = mask.grow(parts.gt(0).to(parts), (_NEAR + _FADE) * crops.size)
    edge = math.ceil(_FADE * crops.size) + 1  # feathering fades at the crop's border, but a part may go on beyond it
    soft = mask.feather(nnf.pad(near, (edge,) * 4, mode="replicate"), _FADE * crops.size)[..., edge:-edge, edge:-edge]
    return (soft * 1.001).clamp_max(1)  # a blur of ones may be slightly less than 1; protected pixels need exactly 1


def _rectangle(low: Tensor, high: Tensor, size: int) -> Tensor:
    """Filled rectangles from corners (F, 2), (F, 2) x y -> (F, 1, S, S), empty where low is beyond high."""
    low, high = low.minimum((low + high) / 2), high.maximum((low + high) / 2)
    (left, top), (right, bottom) = low.unbind(-1), high.unbind(-1)
    corners = [torch.stack(corner, -1) for corner in ((left, top), (right, top), (right, bottom), (left, bottom))]
    return mask.polygon(torch.stack(corners, 1), size)


def _stretch(attention: Tensor) -> Tensor:
    """Each crop's attention stretched from its 5th..95th percentile to 0..1; a flat one becomes 1."""
    rows = attention.flatten(1).float()
    low, high = (rows.quantile(share, dim=1)[:, None, None, None] for share in (0.05, 0.95))
    flat = high - low < 1e-3
    return torch.where(flat, 1.0, (attention - low) / (high - low).where(~flat, 1)).clamp(0, 1)
