"""Surrogates face by face: each from a seed of its own, made anew until it is accepted; one that never is stays, and is
told apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Generator, Tensor

from ..faces.identity import Encoder
from ..types import Crops, join
from .base import Surrogate, cosine

Make = Callable[[Crops, Generator], Surrogate]  # of one face a picture, or none; nobody asked
Accepts = Callable[[Crops, Crops, float], bool]  # the face, the picture made of it, and their cosine


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of F faces, a row of each."""

    crops: Crops
    similarity: Tensor  # (F,) cosine of each picture and the one it was made from
    accepted: Tensor  # (F,) bool
    tries: list[int]  # how many pictures were made of each, 0 where none could be
    changes: list[dict[str, Any]]  # what was done, for JSON


def accept_all(before: Crops, made: Crops, similarity: float) -> bool:
    """Accepts all."""
    return True


def best_of_tries(
    crops: Crops,
    seed: int,
    make: Make,
    encoder: Encoder,
    accepts: Accepts = accept_all,
    tries: int = 1,
    alike: bool = True,
    device: torch.device | str = "cpu",
    faces: Callable[[range], Iterator[int]] = iter,
    check_cancel: Callable[[], None] = lambda: None,
) -> Outcome:
    """Each face as `make` makes it, at most so many times; what becomes of it does not depend on those beside it.

    Of pictures that are not accepted the most (`alike`) or the least similar one stays; a face of which nothing can be
    made stays itself. Work is done on the device, the outcome is where the crops were. `faces` goes through the rows,
    `check_cancel` is called before each try; either may stop the work by raising.
    """
    seeds = torch.randint(1, 1 << 62, (len(crops),), generator=Generator().manual_seed(seed)).tolist()
    kept: list[_Try] = []
    for row in faces(range(len(crops))):
        one, generator = crops[[row]].to(device), Generator().manual_seed(seeds[row])
        drawn: list[_Try] = []
        while len(drawn) < tries and not (drawn and drawn[-1].accepted):
            check_cancel()
            made = make(one, generator)
            if not len(made):
                break
            similarity = float(cosine(one, made.crops, encoder))
            accepted = accepts(one, made.crops, similarity)
            drawn.append(_Try(made.crops, similarity, accepted, made.changes[0]))
        sign = 1 if alike else -1
        best = max(drawn, key=lambda new: (new.accepted, sign * new.similarity), default=_Try(one))
        kept.append(replace(best, crops=best.crops.to(crops.frame.device), tries=len(drawn)))
    return Outcome(
        join([*(one.crops for one in kept), crops[[]]]),
        torch.tensor([one.similarity for one in kept]),
        torch.tensor([one.accepted for one in kept], dtype=torch.bool),
        [one.tries for one in kept],
        [one.changes for one in kept],
    )


@dataclass(frozen=True, slots=True)
class _Try:
    crops: Crops  # one picture
    similarity: float = 1.0
    accepted: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    tries: int = 0
