"""Losses of a swapper. Images are (N, 3, S, S) in -1..1, identities unit rows (N, E), logits (N,).

Every term is a mean over rows, so that the mean over processes with equal batches is the term of the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of the loss terms."""

    identity: float
    reconstruction: float  # where the truth is known
    adversary: float


@dataclass(frozen=True, slots=True)
class SwapBatch:
    """A batch of results and what the losses need of them."""

    out: Tensor  # images made by the generator
    truth: Tensor  # images: what `out` should be, where that is known
    known: Tensor  # (N,) bool
    source: Tensor  # identities of the sources
    identity: Tensor  # identities of `out`
    logits: Tensor  # the critic's for `out`, high if it takes them for photographs


Loss = Callable[[SwapBatch, Weights], dict[str, Tensor]]  # named terms, to be summed


def released(swapped: SwapBatch, weights: Weights) -> dict[str, Tensor]:
    """The terms of the CSCS release: a third of the mean squared error, and the negative logit as adversarial term."""
    return {
        "identity": weights.identity * cosine_distance(swapped.source, swapped.identity),
        "reconstruction": weights.reconstruction * square(swapped.out, swapped.truth, swapped.known) / 3,
        "adversary": weights.adversary * -swapped.logits.mean(),
    }


def robust(swapped: SwapBatch, weights: Weights) -> dict[str, Tensor]:
    """Terms for small networks and short runs: absolute error, which blurs less, and the non-saturating adversarial
    term, whose gradient vanishes once the critic is fooled."""
    return {
        "identity": weights.identity * cosine_distance(swapped.source, swapped.identity),
        "reconstruction": weights.reconstruction * absolute(swapped.out, swapped.truth, swapped.known),
        "adversary": weights.adversary * non_saturating(swapped.logits),
    }


def cosine_distance(one: Tensor, other: Tensor) -> Tensor:
    """Mean of 1 - cosine, unit rows (N, E) twice."""
    return (1 - (one * other).sum(-1)).mean()


def square(out: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean squared difference over the known rows; 0 if there are none."""
    return _mean((out - truth).square().mean((1, 2, 3)), known)


def absolute(out: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Mean absolute difference over the known rows; 0 if there are none."""
    return _mean((out - truth).abs().mean((1, 2, 3)), known)


def non_saturating(fake: Tensor) -> Tensor:
    """The generator's non-saturating loss, -log sigmoid(fake) (Goodfellow et al. 2014)."""
    return nnf.softplus(-fake).mean()


def discriminator_loss(real: Tensor, fake: Tensor) -> Tensor:
    """The critic's loss, -log sigmoid(real) - log(1 - sigmoid(fake)) (Goodfellow et al. 2014)."""
    return nnf.softplus(-real).mean() + nnf.softplus(fake).mean()


def r1_penalty(real: Tensor, pictures: Tensor) -> Tensor:
    """Mean squared norm of the logits' gradient by the images: R1 (Mescheder et al. 2018) without gamma / 2."""
    (gradient,) = torch.autograd.grad(real.sum(), pictures, create_graph=True)
    return gradient.float().square().sum((1, 2, 3)).mean()


def _mean(rows: Tensor, known: Tensor) -> Tensor:
    return (rows * known).sum() / known.sum().clamp_min(1)
