"""Surrogates made again until they are accepted.

`best_of_tries` takes one face at a time, each with a seed of its own, and keeps and marks the best attempt if none is
accepted. `retry_rejected` works in batches and leaves out what was rejected every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Generator, Tensor

from ..faces.identity import Encoder
from ..types import Crops, join
from .base import Surrogate, cosine, unfiltered

Make = Callable[[Crops, Generator], Surrogate]  # one face -> one unfiltered surrogate, or none
Accepts = Callable[[Crops, Crops, float], bool]  # (face, its surrogate, their cosine) -> accepted


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results for F faces, one row each."""

    crops: Crops
    similarity: Tensor  # (F,) cosine of each surrogate to its original
    accepted: Tensor  # (F,) bool
    tries: list[int]  # number of attempts for each face, 0 if none was possible
    changes: list[dict[str, Any]]  # what was changed, for JSON


def accept_all(before: Crops, made: Crops, similarity: float) -> bool:
    """Accepts every surrogate."""
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
    """Makes each face's surrogate in at most `tries` attempts; a result does not depend on the other faces.

    If no attempt is accepted, the most similar one is kept, or the least similar one with `alike=False`; if none is
    possible, the face itself. The work is done on `device`, the outcome is on the device of the crops. `faces` iterates
    over the rows (for progress), `check_cancel` is called before each attempt; either may stop the work by raising.
    """
    seeds = torch.randint(1, 1 << 62, (len(crops),), generator=Generator().manual_seed(seed)).tolist()
    kept: list[_Attempt] = []
    for row in faces(range(len(crops))):
        one, generator = crops[[row]].to(device), Generator().manual_seed(seeds[row])
        drawn: list[_Attempt] = []
        while len(drawn) < tries and not (drawn and drawn[-1].accepted):
            check_cancel()
            made = make(one, generator)
            if not len(made):
                break
            similarity = float(cosine(one, made.crops, encoder))
            accepted = accepts(one, made.crops, similarity)
            drawn.append(_Attempt(made.crops, similarity, accepted, made.changes[0]))
        sign = 1 if alike else -1
        best = max(drawn, key=lambda new: (new.accepted, sign * new.similarity), default=_Attempt(one))
        kept.append(replace(best, crops=best.crops.to(crops.frame.device), tries=len(drawn)))
    return Outcome(
        join([*(one.crops for one in kept), crops[[]]]),
        torch.tensor([one.similarity for one in kept]),
        torch.tensor([one.accepted for one in kept], dtype=torch.bool),
        [one.tries for one in kept],
        [one.changes for one in kept],
    )


@dataclass(frozen=True, slots=True)
class _Attempt:
    crops: Crops  # one row
    similarity: float = 1.0
    accepted: bool = False
    changes: dict[str, Any] = field(default_factory=dict)
    tries: int = 0


def retry_rejected(make: Callable[[Crops], Surrogate], crops: Crops, tries: int) -> Surrogate:
    """One surrogate of each row; rejected rows are made again, at most `tries` times, and left out after that.
    `changes` give the attempt that passed as "try", from 1."""
    left = torch.arange(len(crops), device=crops.frame.device)
    parts: list[Surrogate] = []
    for number in range(1, tries + 1):
        if not len(left):
            break
        made = make(crops[left])
        changes: list[dict[str, Any]] = [{"try": number, **what} for what in made.changes]
        parts.append(replace(made, rows=left[made.rows], changes=changes))
        missing = torch.ones_like(left, dtype=torch.bool)
        missing[made.rows] = False
        left = left[missing]
    if not parts:
        return unfiltered(crops, [])
    similarity = [part.similarity for part in parts if part.similarity is not None]
    whole = Surrogate(
        join([part.crops for part in parts]),
        torch.cat([part.rows for part in parts]),
        [what for part in parts for what in part.changes],
        torch.cat(similarity) if len(similarity) == len(parts) else None,
    )
    return whole[whole.rows.argsort()]
