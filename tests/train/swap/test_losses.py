"""Each loss against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cscs_core.train.swap import losses
from cscs_core.train.swap.losses import SwapBatch, Weights


def swapped(known: list[bool]) -> SwapBatch:
    """Two pictures that are off by 0.5 and by 1 everywhere, faces at cosines 0.6 and -0.28, logits 2 and -1."""
    truth = torch.zeros(2, 3, 4, 4)
    off = torch.tensor([0.5, 1.0])[:, None, None, None]
    return SwapBatch(
        out=truth + off,
        truth=truth,
        known=torch.tensor(known),
        source=torch.tensor([[1.0, 0.0], [0.6, 0.8]]),
        identity=torch.tensor([[0.6, 0.8], [0.6, -0.8]]),
        logits=torch.tensor([2.0, -1.0]),
    )


def numbers(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in terms.items()}


def test_the_released_terms_are_those_of_the_release():
    found = numbers(losses.released(swapped([True, True]), Weights(1, 20, 1)))
    identity = ((1 - 0.6) + (1 + 0.28)) / 2
    assert found == pytest.approx({"identity": identity, "reconstruction": 20 * 0.625 / 3, "adversary": -0.5})


def test_only_rows_with_a_known_truth_are_reconstructed():
    first = numbers(losses.released(swapped([True, False]), Weights(1, 10, 1)))
    assert first["reconstruction"] == pytest.approx(10 * 0.25 / 3)
    assert first["identity"] == pytest.approx(0.84)  # of all rows
    assert float(losses.released(swapped([False, False]), Weights(1, 10, 1))["reconstruction"]) == 0


def test_the_robust_terms_are_absolute_and_bounded():
    found = numbers(losses.robust(swapped([False, True]), Weights(2, 10, 0.5)))
    fooled = (math.log1p(math.exp(-2)) + math.log1p(math.exp(1))) / 2
    assert found == pytest.approx({"identity": 1.68, "reconstruction": 10.0, "adversary": 0.5 * fooled}, rel=1e-5)


def test_the_critic_is_asked_for_a_logistic_decision():
    found = float(losses.discriminator_loss(torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 3.0])))
    real = (math.log1p(math.exp(-2)) + math.log(2)) / 2
    fake = (math.log1p(math.exp(-1)) + math.log1p(math.exp(3))) / 2
    assert found == pytest.approx(real + fake, rel=1e-6)


def test_steepness_is_the_mean_squared_gradient_norm():
    pictures = torch.randn(3, 3, 5, 5, requires_grad=True)
    scale = torch.tensor([2.0], requires_grad=True)
    found = losses.r1_penalty(scale * pictures.square().sum((1, 2, 3)) / 2, pictures)  # the gradient is 2 * pictures
    norms = (4 * pictures.detach().square()).sum((1, 2, 3))
    assert float(found.detach()) == pytest.approx(float(norms.mean()), rel=1e-5)
    found.backward()  # by the critic's own parameters: d/ds s^2 |x|^2 = 2 s |x|^2
    assert scale.grad is not None
    assert float(scale.grad) == pytest.approx(float(norms.mean()), rel=1e-5)


def test_means_over_equal_shares_average_to_the_mean_of_all():
    generator = torch.Generator().manual_seed(1)
    rows = SwapBatch(
        out=torch.rand(8, 3, 4, 4, generator=generator),
        truth=torch.rand(8, 3, 4, 4, generator=generator),
        known=torch.arange(8) < 4,
        source=torch.randn(8, 5, generator=generator),
        identity=torch.randn(8, 5, generator=generator),
        logits=torch.randn(8, generator=generator),
    )
    shares = [SwapBatch(*(getattr(rows, name)[rank::2] for name in SwapBatch.__slots__)) for rank in (0, 1)]
    for loss in (losses.released, losses.robust):
        whole = numbers(loss(rows, Weights(1, 1, 1)))
        halves = [numbers(loss(share, Weights(1, 1, 1))) for share in shares]
        assert whole == pytest.approx({name: (halves[0][name] + halves[1][name]) / 2 for name in whole}, rel=1e-5)
