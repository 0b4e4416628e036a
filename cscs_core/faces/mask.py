"""Which pixels of a crop are laid back into the picture: masks of the face, its parts kept, a user's own."""

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

_NEAR, _FADE = 0.02, 0.03  # of the crop side: how far around eyes and mouth all is kept, and how softly that ends


@dataclass(frozen=True)
class MaskOptions:
    """What a mask shows; lengths are fractions of the crop side."""

    kind: str = "hull"  # of KINDS: the face's outline, the rectangle around it, where a swapper looks, the whole crop
    grow: float = 0.0  # -0.5..0.5, less than 0 shrinks
    feather: float = 0.0  # 0..0.5, how far inside its edge the mask reaches 1
    keep_eyes: bool = False  # black: the picture's own eyes show
    keep_mouth: bool = False  # black: the picture's own lips and teeth show
    combine: str = "multiply"  # with the mask that the crops have, or "replace" it

    def __post_init__(self):
        if self.kind not in KINDS:
            raise ValueError(f"no mask {self.kind!r}; there are {', '.join(KINDS)}")
        if self.combine not in COMBINE:
            raise ValueError(f"masks are combined by {' or '.join(COMBINE)}, not by {self.combine!r}")
        if not -0.5 <= self.grow <= 0.5:
            raise ValueError(f"grow is {self.grow}; it must be between -0.5 and 0.5 of the crop's side")
        if not 0 <= self.feather <= 0.5:
            raise ValueError(f"feather is {self.feather}; it must be between 0 and 0.5 of the crop's side")


KEEP_MASK = MaskOptions("whole")  # leaves the mask that the crops have


def apply_mask(
    crops: Crops,
    options: MaskOptions,
    limit: Tensor | None = None,
    attention: Tensor | None = None,
    check_cancel: CancelCheck = never_cancel,
) -> Crops:
    """The crops with another mask. `limit` (F or 1, 1, S, S) is where pixels may change at all, in crop pixels (see
    `warp_limit`); `attention` (F, 1, S, S) 0..1 is what `swap.attention` says, for the kind of that name.

    Attention is a matter of degree: it is stretched, so that in every crop the least (5 %) counts as 0 and the most
    (5 %) as 1, and the feather blurs it.
    """
    if not len(crops):
        return crops

    def draw(rows: Tensor) -> Tensor:
        here = crops[rows]
        shown = _shown(here, options, None if attention is None else attention[rows]) * (1 - _kept(here, options))
        if limit is not None:
            shown = shown * (limit if len(limit) == 1 else limit[rows])
        return shown if options.combine == "replace" else here.mask * shown

    device = crops.mask.device
    rows = torch.arange(len(crops), device=device)
    return replace(crops, mask=torch.cat(map_in_chunks(draw, rows, max_batch(device), check_cancel)))


def warp_limit(masks: Tensor, crops: Crops) -> Tensor:
    """Masks of the pictures, (B, 1, H, W), as the crops see them, (F, 1, S, S). The last one serves the pictures beyond
    it. Raises ValueError if they are not as large as the pictures: then a face lies outside."""
    middle = crops.matrix.new_full((len(crops), 1, 2), (crops.size - 1) / 2)
    places = transform(middle, invert(crops.matrix.float()))[:, 0]
    height, width = masks.shape[-2:]
    if (places > places.new_tensor([width, height])).any():
        black = "" if masks.any() else ". It is black, as Load Image gives it where nothing was painted: disconnect it"
        raise ValueError(
            f"the mask is {width} x {height}, and a face lies outside of it; give it the size of the picture that the "
            f"crops were cut out of, or connect that picture as image{black}"
        )
    return warp(masks, crops.matrix, crops.size, frame=crops.frame.clamp_max(len(masks) - 1)).clamp(0, 1)


def feather_mask(crops: Crops, feather: float, check_cancel: CancelCheck = never_cancel) -> Crops:
    """The crops with a mask that fades inside its own edge, over `feather` of the crop side, and always before the
    crop's border, so that no square shows."""
    border = mask.feather(torch.ones_like(crops.mask[:1]), 0.03 * crops.size)

    def soften(area: Tensor) -> Tensor:
        return mask.feather(area, feather * crops.size) * border

    return replace(
        crops, mask=torch.cat([border[:0], *map_in_chunks(soften, crops.mask, max_batch(border.device), check_cancel)])
    )


def _shown(crops: Crops, options: MaskOptions, attention: Tensor | None) -> Tensor:
    size = crops.size
    grow, feather = options.grow * size, options.feather * size
    if options.kind == "attention":
        if attention is None:
            raise ValueError("the mask attention needs to know who is put in: give it a swapper and a person")
        blurred = gaussian_blur(mask.grow(_stretched(attention), grow), feather / 2)
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


def _kept(crops: Crops, options: MaskOptions) -> Tensor:
    """The parts that stay the picture's own, (F, 1, S, S) with soft edges around them."""
    parts = torch.zeros_like(crops.mask)
    if options.keep_eyes:
        parts = mask.eyes(crops.mesh, crops.size)
    if options.keep_mouth:
        lips = mask.lips(crops.mesh, crops.size) + mask.mouth(crops.mesh, crops.size)
        parts = torch.maximum(parts, lips.clamp_max(1))
    if not (options.keep_eyes or options.keep_mouth):
        return parts
    near = mask.grow(parts.gt(0).to(parts), (_NEAR + _FADE) * crops.size)
    edge = math.ceil(_FADE * crops.size) + 1  # a feather ends at the crop's border, and a part may go on beyond it
    soft = mask.feather(nnf.pad(near, (edge,) * 4, mode="replicate"), _FADE * crops.size)[..., edge:-edge, edge:-edge]
    return (soft * 1.001).clamp_max(1)  # a blur of ones is not always one, and what is kept is kept bit for bit


def _rectangle(low: Tensor, high: Tensor, size: int) -> Tensor:
    """(F, 2), (F, 2) x y -> (F, 1, S, S), empty where low is beyond high."""
    low, high = low.minimum((low + high) / 2), high.maximum((low + high) / 2)
    (left, top), (right, bottom) = low.unbind(-1), high.unbind(-1)
    corners = [torch.stack(corner, -1) for corner in ((left, top), (right, top), (right, bottom), (left, bottom))]
    return mask.polygon(torch.stack(corners, 1), size)


def _stretched(attention: Tensor) -> Tensor:
    """Each crop's least 0 and its most 1; what is the same everywhere is 1."""
    rows = attention.flatten(1).float()
    low, high = (rows.quantile(share, dim=1)[:, None, None, None] for share in (0.05, 0.95))
    flat = high - low < 1e-3
    return torch.where(flat, 1.0, (attention - low) / (high - low).where(~flat, 1)).clamp(0, 1)
