"""What a swapper is asked for, as numbers. Pictures (N, 3, S, S) in [-1, 1], identities unit rows (N, E), logits (N,).

Every term is a mean over rows, so that the mean over processes with as many rows each is the term of all rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """How much each term counts."""

    identity: float
    reconstruction: float  # where the truth is known
    adversary: float


@dataclass(frozen=True, slots=True)
class SwapBatch:
    """A batch as the generator made it, and what was made of it."""

    out: Tensor  # pictures
    truth: Tensor  # pictures: what `out` should be, where that is known
    known: Tensor  # (N,) bool
    source: Tensor  # identities of the sources
    identity: Tensor  # identities of `out`
    logits: Tensor  # of `out`, high where it is taken for a photograph


Loss = Callable[[SwapBatch, Weights], dict[str, Tensor]]  # named terms, to be summed


def released(swapped: SwapBatch, weights: Weights) -> dict[str, Tensor]:
    """The terms of the CSCS release: a third of the mean square, and the logit itself as what the generator gains."""
    return {
        "identity": weights.identity * cosine_distance(swapped.source, swapped.identity),
        "reconstruction": weights.reconstruction * square(swapped.out, swapped.truth, swapped.known) / 3,
        "adversary": weights.adversary * -swapped.logits.mean(),
    }


def robust(swapped: SwapBatch, weights: Weights) -> dict[str, Tensor]:
    """For small networks and short runs: absolute differences, which blur less, and the bounded gain of a generator
    whose critic is fooled already."""
    return {
        "identity": weights.identity * cosine_distance(swapped.source, swapped.identity),
        "reconstruction": weights.reconstruction * absolute(swapped.out, swapped.truth, swapped.known),
        "adversary": weights.adversary * non_saturating(swapped.logits),
    }


def cosine_distance(one: Tensor, other: Tensor) -> Tensor:
    """1 - cosine."""
    return (1 - (one * other).sum(-1)).mean()


def square(out: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean squared difference of the known rows, 0 where there are none."""
    return _mean((out - truth).square().mean((1, 2, 3)), known)


def absolute(out: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean absolute difference of the known rows, 0 where there are none."""
    return _mean((out - truth).abs().mean((1, 2, 3)), known)


def non_saturating(fake: Tensor) -> Tensor:
    """The generator's part of the game (Goodfellow et al. 2014): -log sigmoid."""
    return nnf.softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The critic's part: -log sigmoid(real) - log(1 - sigmoid(fake))."""
    return nnf.softplus(-real).mean() + nnf.softplus(fake).mean()


def r1_penalty(real: Tensor, pictures: Tensor) -> Tensor:
    """Mean squared gradient norm of the logits by their pictures: R1 (Mescheder et al. 2018) without its gamma / 2."""
    (gradient,) = torch.autograd.grad(real.sum(), pictures, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()


def _mean(rows: Tensor, known: Tensor) -> Tensor:
    return (rows * known).sum() / known.sum().clamp_min(1)
