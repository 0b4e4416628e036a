"""The border with ComfyUI: pictures, values of sockets, progress. Inside, frames are (1, 3, H, W) float32 RGB 0..1."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import comfy.model_management as mm
import comfy.utils
import torch
import torch.nn.functional as nnf
from einops import rearrange
from torch import Tensor

from ..cscs_core.types import Crops, FaceSet, Identity

_Value = TypeVar("_Value", FaceSet, Crops, Identity)
_Item = TypeVar("_Item")

BLACK = "the mask is black here, so nothing may change; white is what may"


def photo(image: Tensor, index: int, device: torch.device | None = None) -> Tensor:
    """One picture of an IMAGE (B, H, W, C), on the device that computes: (1, 3, H, W) float32. Alpha is dropped; NaN
    becomes black, infinities white and black."""
    pixels = rearrange(image[index : index + 1, ..., :3], "b h w c -> b c h w")
    pixels = pixels.expand(-1, 3, -1, -1).to(device or mm.get_torch_device(), torch.float32)
    return pixels.nan_to_num(0.0, 1.0, 0.0)


def photos(image: Tensor) -> list[Tensor]:
    """Every picture of an IMAGE, as `photo` but on the processor: who uses them moves one at a time."""
    return [photo(image, index, torch.device("cpu")) for index in range(image.shape[0])]


def frames(image: Tensor, device: torch.device | None = None) -> Iterator[tuple[int, Tensor]]:
    """The pictures of an IMAGE one by one, as `photo`; between them the progress bar moves and Cancel is obeyed."""
    for index in with_progress(range(image.shape[0])):
        yield index, photo(image, index, device)


def with_progress(items: Sequence[_Item]) -> Iterator[_Item]:
    """The items one by one; between them the progress bar moves and Cancel is obeyed."""
    bar = comfy.utils.ProgressBar(len(items))
    for item in items:
        raise_if_cancelled()
        yield item
        bar.update(1)


def raise_if_cancelled() -> None:
    """Raises what the host wants to see when the user has pressed Cancel."""
    mm.throw_exception_if_processing_interrupted()


def blank(image: Tensor, channels: int = 3) -> Tensor:
    """Room for an output IMAGE as long and large as another, filled frame by frame: no frame is held twice."""
    dtype = mm.intermediate_dtype() if hasattr(mm, "intermediate_dtype") else torch.float32  # since ComfyUI 0.17
    return torch.zeros(*image.shape[:3], channels, device=mm.intermediate_device(), dtype=dtype)


def pixels(images: Tensor) -> Tensor:
    """(B, C, H, W) -> IMAGE (B, H, W, C) on the host's device and in its number format."""
    layout = rearrange(images, "b c h w -> b h w c")
    return blank(layout, layout.shape[-1]).copy_(layout)


def masks(masks: Tensor) -> Tensor:
    """(B, 1, H, W) -> MASK (B, H, W) on the host's device and in its number format."""
    return pixels(masks)[..., 0]


def mask_of_frame(mask: Tensor | None, index: int, like: Tensor) -> Tensor | None:
    """The MASK (B, h, w) or (h, w) of one frame, (1, 1, h, w) where and as precise as another tensor; the last one
    serves the frames beyond it."""
    if mask is None or not mask.numel():
        return None
    mask = mask.reshape(-1, 1, *mask.shape[-2:])
    return mask[min(index, mask.shape[0] - 1)][None].to(like).nan_to_num(0.0, 1.0, 0.0)


def limit(mask: Tensor | None, index: int, frame: Tensor) -> Tensor | None:
    """The MASK of one frame as `mask_of_frame`, in the frame's size, (1, 1, H, W)."""
    mask = mask_of_frame(mask, index, frame)
    if mask is None:
        return None
    return nnf.interpolate(mask, frame.shape[-2:], mode="bilinear", antialias=True).clamp(0, 1)


def rebuild(value: object, kind: type[_Value], name: str) -> _Value:
    """What came through a socket, as a value of this pack: a second copy of the pack has classes of its own, and
    another pack may give its sockets the same names. What an older copy does not know keeps its default. `name` is what
    the user calls the input."""
    names = [field.name for field in fields(kind) if hasattr(value, field.name) or field.default is MISSING]
    parts = {part: getattr(value, part, None) for part in names}
    lengths = {_length(column) for part, column in parts.items() if part not in ("crops", "encoder")}
    if len(lengths) != 1 or None in lengths:
        what = type(value).__name__
        raise ValueError(f"{name} holds a {what}, not what the nodes of CSCS make; connect it to one of them")
    return kind(**{part: _own(column, part, name) for part, column in parts.items()})


def _length(column: object) -> int | None:
    return len(column) if isinstance(column, Tensor) and column.ndim else None


def _own(part: Any, field: str, name: str) -> Any:
    return rebuild(part, Crops, name) if field == "crops" else part


def check_frames(image: Tensor, rows: FaceSet | Crops, name: str) -> None:
    """Raises ValueError unless every row belongs to an image of the batch."""
    if len(rows) and int(rows.frame.max()) >= image.shape[0]:
        raise ValueError(
            f"{name} are of a batch of at least {int(rows.frame.max()) + 1} images, but image has {image.shape[0]}; "
            "connect the image in which they were found"
        )


def numbers(text: str, name: str) -> list[int] | None:
    """Numbers as a user writes them into the widget of that name: "" -> None (all), "0, 2" -> [0, 2]."""
    if not text.strip():
        return None
    if not re.fullmatch(r"\s*\d{1,4}\s*(,\s*\d{1,4}\s*)*", text):
        raise ValueError(f"{name} {text!r}: write numbers from 0 to 9999 with commas, as 0 or 0,2; empty means all")
    return [int(number) for number in text.split(",")]


def checked(**texts: str | None) -> bool | str:
    """What validate_inputs says of `numbers` in these widgets: True, or what is wrong. A text is None while another
    node still has to make it."""
    try:
        for name, text in texts.items():
            numbers(text or "", name)
    except ValueError as error:
        return str(error)
    return True
