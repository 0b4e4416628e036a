"""Swapping: crops and a person in, crops with that person's face out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ...ops import mask
from ...ops.batching import CancelCheck, map_in_chunks, max_batch, never_cancel
from ...types import Crops, Identity, join
from ..align import is_aligned_to


class Swapper(Protocol):
    """Anything that puts a person onto crops of its template."""

    @property
    def template(self) -> str: ...  # the alignment it works in

    @property
    def sizes(self) -> tuple[int, ...]: ...  # crop sides it accepts, pixels, the best last

    @property
    def networks(self) -> tuple[nn.Module, ...]: ...  # what a host may move between devices

    def encode(self, identity: Identity) -> Any:
        """Whatever depends on the person alone, computed once."""
        ...

    def __call__(self, crops: Crops, person: Any, strength: float, /) -> Crops:
        """Crops with the face of an encoded person, their mask saying where; strength 0..1, less keeps more of the
        target."""
        ...


@runtime_checkable
class Attentive(Protocol):
    """A swapper that can show where the person counts in what it makes."""

    def attention(self, crops: Crops, person: Any, /) -> Tensor:
        """Crops as they were before the swap -> (F, 1, S, S), 0 all the target's .. 1 all the person's."""
        ...


class NoAttention(ValueError):
    """Attention was asked of a swapper that has none."""

    def __init__(self):
        super().__init__(
            "this swapper has no attention to show: cscs has, and generators of its kind trained with `cscs train`; "
            "connect one of them, or choose another kind of mask"
        )


def check_fits(crops: Crops, swapper: Swapper, of_any_size: bool = False) -> None:
    """Raises ValueError, saying what to choose in Align Faces, for crops that are not as the swapper takes them."""
    if not len(crops):
        return
    wrong = []
    if crops.size not in swapper.sizes and not of_any_size:
        wrong.append(f"resolution {' or '.join(map(str, swapper.sizes))} (the crops have {crops.size})")
    if not is_aligned_to(crops, swapper.template):
        wrong.append(f"template {swapper.template} (the crops lie in another)")
    if wrong:
        raise ValueError(f"this swapper does not fit the crops: choose {' and '.join(wrong)} in Align Faces")


def swap(
    crops: Crops, person: Any, swapper: Swapper, strength: float = 1.0, check_cancel: CancelCheck = never_cancel
) -> Crops:
    """Every crop with the face of the person, as encoded by this swapper; its mask says where. Strength 0 changes
    nothing."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; it must be between 0 and 1")
    if not len(crops) or strength == 0:
        return replace(crops, mask=crops.mask * 0)
    if crops.size not in swapper.sizes:
        raise ValueError(f"crops are {crops.size} px; this swapper takes {' or '.join(map(str, swapper.sizes))}")
    return join(
        map_in_chunks(lambda part: swapper(part, person, strength), crops, max_batch(crops.pixels.device), check_cancel)
    )


def attention(crops: Crops, person: Any, swapper: Swapper, check_cancel: CancelCheck = never_cancel) -> Tensor:
    """Where the person, as encoded by this swapper, counts in the crops, (F, 1, S, S) 0..1. Raises NoAttention for a
    swapper that cannot say."""
    if not isinstance(swapper, Attentive):
        raise NoAttention
    if not len(crops):
        return crops.mask
    most = max_batch(crops.pixels.device)
    return torch.cat(map_in_chunks(lambda part: swapper.attention(part, person), crops, most, check_cancel))


def blend_identity(own: Tensor, other: Tensor, strength: float) -> Tensor:
    """Between two identities, (N, Z), (1, Z) -> (N, Z): the direction mixed and the norm too, so that a half is as
    strong a face as either."""
    norm = torch.lerp(own.norm(dim=-1, keepdim=True), other.norm(dim=-1, keepdim=True), strength)
    return nnf.normalize(torch.lerp(own, other.expand_as(own), strength), dim=-1) * norm


def editable_area(crops: Crops, check_cancel: CancelCheck = never_cancel) -> Tensor:
    """Where a swapper that makes the whole crop may change the picture, (F, 1, S, S): the face with some room for a
    wider one, fading out before hair and background, which the picture itself shows better."""
    size = crops.size

    def draw(mesh: Tensor) -> Tensor:
        return mask.feather(mask.grow(mask.hull(mesh, size), 0.04 * size), 0.06 * size)

    return torch.cat([crops.mask[:0], *map_in_chunks(draw, crops.mesh, max_batch(crops.mesh.device), check_cancel)])


def largest_size(swapper: Swapper, most: int) -> int:
    """The largest side of a crop that a swapper takes and that is at most so many pixels; its smallest, if none is."""
    return max((side for side in swapper.sizes if side <= most), default=min(swapper.sizes))
