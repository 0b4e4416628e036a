"""Swapping: crops and an identity in, crops with that identity out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from .types import Crops, Identity, join
from .warp_swapper import WarpSwapper


class Swapper(Protocol):
    """Anything that puts an identity onto crops of its template."""

    @property
    def template(self) -> str: ...  # the alignment it works in

    @property
    def sizes(self) -> tuple[int, ...]: ...  # crop sides it accepts, pixels

    def __call__(self, crops: Crops, identity: Identity) -> Crops: ...


_CHUNK = 8  # faces that are worked on at once: memory does not grow with the crowd

SWAPPERS: dict[str, Callable[[], Swapper]] = {"warp": WarpSwapper}


def load_swapper(name: str) -> Swapper:
    """The swapper of that name."""
    if name not in SWAPPERS:
        raise ValueError(f"no swapper {name!r}; there are {', '.join(SWAPPERS)}")
    return SWAPPERS[name]()


def swap(crops: Crops, identity: Identity, swapper: Swapper, strength: float = 1.0) -> Crops:
    """Every crop with the identity's face, its mask saying where; strength 0..1 fades the swap in over the target."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength is {strength}; it must be between 0 and 1")
    if not len(crops) or strength == 0:
        return replace(crops, mask=crops.mask * 0)
    if crops.size not in swapper.sizes:
        raise ValueError(f"crops are {crops.size} px; this swapper takes {' or '.join(map(str, swapper.sizes))}")
    starts = range(0, len(crops), _CHUNK)
    swapped = join([swapper(crops[start : start + _CHUNK], identity) for start in starts])
    return swapped if strength == 1 else replace(swapped, mask=swapped.mask * strength)
