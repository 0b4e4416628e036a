"""The border with ComfyUI: images, socket values, progress. Inside, a frame is (1, 3, H, W) float32 RGB 0..1."""

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

from ..cscs_core.io.images import clean
from ..cscs_core.types import Crops, FaceSet, Identity

_Value = TypeVar("_Value", FaceSet, Crops, Identity)
_Item = TypeVar("_Item")

BLACK = "the mask is black here; paint white over the areas that may change"


def photo(image: Tensor, index: int, device: torch.device | None = None) -> Tensor:
    """One frame of an IMAGE (B, H, W, C) on the compute device: (1, 3, H, W) float32. Alpha is dropped; NaN and -inf
    become black, inf becomes white."""
    pixels = rearrange(image[index : index + 1, ..., :3], "b h w c -> b c h w")
    pixels = pixels.expand(-1, 3, -1, -1).to(device or mm.get_torch_device(), torch.float32)
    return clean(pixels)


def photos(image: Tensor) -> list[Tensor]:
    """All frames of an IMAGE, as `photo` but on the CPU; callers move one frame at a time."""
    return [photo(image, index, torch.device("cpu")) for index in range(image.shape[0])]


def frames(image: Tensor, device: torch.device | None = None) -> Iterator[tuple[int, Tensor]]:
    """Index and `photo` of each frame of an IMAGE; between frames the progress bar moves and Cancel is checked."""
    for index in with_progress(range(image.shape[0])):
        yield index, photo(image, index, device)


def with_progress(items: Sequence[_Item]) -> Iterator[_Item]:
    """The items one by one; between them the progress bar moves and Cancel is checked."""
    bar = comfy.utils.ProgressBar(len(items))
    for item in items:
        raise_if_cancelled()
        yield item
        bar.update(1)


def raise_if_cancelled() -> None:
    """Raises ComfyUI's interrupt exception if the user pressed Cancel."""
    mm.throw_exception_if_processing_interrupted()


def blank(image: Tensor, channels: int = 3) -> Tensor:
    """An output IMAGE with the frame count and size of another, to be filled frame by frame: no frame is held twice."""
    dtype = mm.intermediate_dtype() if hasattr(mm, "intermediate_dtype") else torch.float32  # since ComfyUI 0.17
    return torch.zeros(*image.shape[:3], channels, device=mm.intermediate_device(), dtype=dtype)


def pixels(images: Tensor) -> Tensor:
    """(B, C, H, W) -> IMAGE (B, H, W, C) on the host's device, in its dtype."""
    layout = rearrange(images, "b c h w -> b h w c")
    return blank(layout, layout.shape[-1]).copy_(layout)


def masks(masks: Tensor) -> Tensor:
    """(B, 1, H, W) -> MASK (B, H, W) on the host's device, in its dtype."""
    return pixels(masks)[..., 0]


def mask_of_frame(mask: Tensor | None, index: int, like: Tensor) -> Tensor | None:
    """One frame of a MASK (B, h, w) or (h, w): (1, 1, h, w), on the device and in the dtype of `like`. If the MASK has
    fewer frames, its last one is used."""
    if mask is None or not mask.numel():
        return None
    mask = mask.reshape(-1, 1, *mask.shape[-2:])
    return mask[min(index, mask.shape[0] - 1)][None].to(like).nan_to_num(0.0, 1.0, 0.0)


def limit(mask: Tensor | None, index: int, frame: Tensor) -> Tensor | None:
    """The MASK of one frame, resized to the frame: (1, 1, H, W)."""
    mask = mask_of_frame(mask, index, frame)
    if mask is None:
        return None
    return nnf.interpolate(mask, frame.shape[-2:], mode="bilinear", antialias=True).clamp(0, 1)


def rebuild(value: object, kind: type[_Value], name: str) -> _Value:
    """A value from a socket as a value of this pack. A second copy of the pack has classes of its own, and another pack
    may use the same socket names. Fields that an older copy lacks get their defaults. `name` is the input's name."""
    names = [field.name for field in fields(kind) if hasattr(value, field.name) or field.default is MISSING]
    parts = {part: getattr(value, part, None) for part in names}
    lengths = {_length(column) for part, column in parts.items() if part not in ("crops", "encoder")}
    if len(lengths) != 1 or None in lengths:
        what = type(value).__name__
        raise ValueError(f"{name} holds a {what}; connect it to an output of a CSCS node")
    return kind(**{part: _own(column, part, name) for part, column in parts.items()})


def _length(column: object) -> int | None:
    return len(column) if isinstance(column, Tensor) and column.ndim else None


def _own(part: Any, field: str, name: str) -> Any:
    return rebuild(part, Crops, name) if field == "crops" else part


def check_frames(image: Tensor, rows: FaceSet | Crops, name: str) -> None:
    """Raises ValueError unless every row belongs to a frame of the batch."""
    if len(rows) and int(rows.frame.max()) >= image.shape[0]:
        raise ValueError(
            f"{name} come from a batch of at least {int(rows.frame.max()) + 1} images, but image has {image.shape[0]}; "
            "connect the image in which they were found"
        )


def numbers(text: str, name: str) -> list[int] | None:
    """The numbers in the text of a widget: "" -> None (all), "0, 2" -> [0, 2]. `name` is the widget's name."""
    if not text.strip():
        return None
    if not re.fullmatch(r"\s*\d{1,4}\s*(,\s*\d{1,4}\s*)*", text):
        raise ValueError(
            f"{name} {text!r}: write numbers from 0 to 9999 separated by commas, such as 0 or 0,2; empty means all"
        )
    return [int(number) for number in text.split(",")]


def validate_numbers(**texts: str | None) -> bool | str:
    """The answer of validate_inputs for the `numbers` in these widgets: True, or what is wrong. A text is None if it
    comes from another node that has not run yet."""
    try:
        for name, text in texts.items():
            numbers(text or "", name)
    except ValueError as error:
        return str(error)
    return True
