"""Swapping: crops and a person in, crops with that person's face out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from . import mask
from .types import Crops, Identity, join

_CHUNK = 8  # faces that are worked on at once: memory does not grow with the crowd


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


def swap(crops: Crops, person: Any, swapper: Swapper, strength: float = 1.0) -> Crops:
    """Every crop with the face of the person, as encoded by this swapper; its mask says where. Strength 0 changes
    nothing."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; it must be between 0 and 1")
    if not len(crops) or strength == 0:
        return replace(crops, mask=crops.mask * 0)
    if crops.size not in swapper.sizes:
        raise ValueError(f"crops are {crops.size} px; this swapper takes {' or '.join(map(str, swapper.sizes))}")
    starts = range(0, len(crops), _CHUNK)
    return join([swapper(crops[start : start + _CHUNK], person, strength) for start in starts])


def mixed(own: Tensor, other: Tensor, strength: float) -> Tensor:
    """Between two identities, (N, Z), (1, Z) -> (N, Z): the direction mixed and the norm too, so that a half is as
    strong a face as either."""
    norm = torch.lerp(own.norm(dim=-1, keepdim=True), other.norm(dim=-1, keepdim=True), strength)
    return nnf.normalize(torch.lerp(own, other.expand_as(own), strength), dim=-1) * norm


def reach(crops: Crops) -> Tensor:
    """Where a swapper that makes the whole crop may change the picture, (F, 1, S, S): the face with some room for a
    wider one, fading out before hair and background, which the picture itself shows better."""
    size = crops.size
    return mask.feather(mask.grow(mask.hull(crops.mesh, size), 0.04 * size), 0.06 * size)
