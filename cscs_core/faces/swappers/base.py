"""Swapping: crops and an encoded identity in, crops with that person's face out."""

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
    """Anything that puts a person's face onto crops of its template."""

    @property
    def template(self) -> str: ...  # the alignment of its crops

    @property
    def sizes(self) -> tuple[int, ...]: ...  # crop sides it accepts, pixels, the best last

    @property
    def networks(self) -> tuple[nn.Module, ...]: ...  # which a host may move between devices

    def encode(self, identity: Identity) -> Any:
        """Everything that depends on the identity alone, computed once."""
        ...

    def __call__(self, crops: Crops, person: Any, strength: float, /) -> Crops:
        """Crops with the face of an encoded identity, masked where they changed; strength 0..1, lower keeps more of the
        target."""
        ...


@runtime_checkable
class Attentive(Protocol):
    """A swapper with attention masks: where its output comes from the identity."""

    def attention(self, crops: Crops, person: Any, /) -> Tensor:
        """Crops before the swap -> (F, 1, S, S), from 0 (all target) to 1 (all identity)."""
        ...


class NoAttention(ValueError):
    """The swapper has no attention masks."""

    def __init__(self):
        super().__init__(
            "this swapper has no attention mask; only cscs and AEI generators trained with `cscs train` have one: "
            "connect one of these, or choose another kind of mask"
        )


def check_fits(crops: Crops, swapper: Swapper, of_any_size: bool = False) -> None:
    """Raises ValueError, saying what to choose in Align Faces, if the crops' size or template does not fit."""
    if not len(crops):
        return
    wrong = []
    if crops.size not in swapper.sizes and not of_any_size:
        wrong.append(f"resolution {' or '.join(map(str, swapper.sizes))} (the crops have {crops.size})")
    if not is_aligned_to(crops, swapper.template):
        wrong.append(f"template {swapper.template} (the crops use another)")
    if wrong:
        raise ValueError(f"this swapper does not fit the crops: choose {' and '.join(wrong)} in Align Faces")


def swap(
    crops: Crops, person: Any, swapper: Swapper, strength: float = 1.0, check_cancel: CancelCheck = never_cancel
) -> Crops:
    """Crops with the face of an identity encoded by this swapper, masked where they changed. Strength 0..1; 0 changes
    nothing. Raises ValueError for a strength out of range or a crop size that the swapper does not take."""
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
    """Where the swapped crops would come from the encoded identity, (F, 1, S, S) 0..1. Raises NoAttention if the
    swapper has no attention masks."""
    if not isinstance(swapper, Attentive):
        raise NoAttention
    if not len(crops):
        return crops.mask
    most = max_batch(crops.pixels.device)
    return torch.cat(map_in_chunks(lambda part: swapper.attention(part, person), crops, most, check_cancel))


def blend_identity(own: Tensor, other: Tensor, strength: float) -> Tensor:
    """Interpolates between identity vectors, (N, Z), (1, Z) -> (N, Z): directions and norms separately, so that vectors
    in between are not shorter."""
    norm = torch.lerp(own.norm(dim=-1, keepdim=True), other.norm(dim=-1, keepdim=True), strength)
    return nnf.normalize(torch.lerp(own, other.expand_as(own), strength), dim=-1) * norm


def editable_area(crops: Crops, check_cancel: CancelCheck = never_cancel) -> Tensor:
    """Where a swapper that generates the whole crop may change the image, (F, 1, S, S) 0..1: the face with a margin for
    a wider one, faded out towards hair and background, which stay the target's."""
    size = crops.size

    def draw(mesh: Tensor) -> Tensor:
        return mask.feather(mask.grow(mask.hull(mesh, size), 0.04 * size), 0.06 * size)

    return torch.cat([crops.mask[:0], *map_in_chunks(draw, crops.mesh, max_batch(crops.mesh.device), check_cancel)])


def largest_size(swapper: Swapper, most: int) -> int:
    """The largest crop side of a swapper that is at most `most` pixels; its smallest if there is none."""
    return max((side for side in swapper.sizes if side <= most), default=min(swapper.sizes))
