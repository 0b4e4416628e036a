"""What the presets say, and what their networks are made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from cscs_core.io.files import BadInput
from cscs_core.models import AEINet, Discriminator, SmallGenerator, SmallGeneratorConfig
from cscs_core.train.swap import losses
from cscs_core.train.swap.losses import Weights
from cscs_core.train.swap.presets import PRESETS, find_preset


def size(network: nn.Module) -> int:
    return sum(value.numel() for value in network.parameters())


def test_cscs_256_is_the_release():
    preset = find_preset("cscs-256")
    assert [(part.pairs, part.batch) for part in preset.parts] == [("ordinary", 8), ("proxy", 8)]
    assert [part.weights for part in preset.parts] == [Weights(1, 10, 1), Weights(1, 20, 1)]
    assert preset.loss is losses.released
    assert (preset.rate, preset.critic_rate, preset.betas) == (4e-4, 4e-4, (0.9, 0.999))
    assert (preset.clip, preset.r1, preset.r1_every, preset.steps) == (2.0, 10.0, 16, 1_600_000)
    assert preset.pace(1, 0.0) == preset.pace(10**6, 0.9) == 1.0
    with torch.device("meta"):
        generator, critic = preset.generator(512), preset.critic()
    assert isinstance(generator, AEINet)
    assert isinstance(critic, Discriminator)
    assert (size(generator), size(critic)) == (184_343_381, 28_864_129)


@pytest.mark.parametrize("name", PRESETS)
def test_the_generator_of_a_preset_gives_pictures_of_its_size(name):
    preset = PRESETS[name]
    with torch.device("meta"):
        out = preset.generator(128)(torch.zeros(2, 3, preset.size, preset.size), torch.zeros(2, 128))
        logits = preset.critic()(out)
    assert out.shape == (2, 3, preset.size, preset.size)
    assert logits.shape == (2,)


def test_a_wrong_name_is_answered_with_the_right_ones():
    with pytest.raises(BadInput, match=r"^cscs-512: no such preset; choose one of cscs-256, small-128, toy$"):
        find_preset("cscs-512")


def test_the_former_name_of_a_preset_still_finds_it():
    assert find_preset("lite-128") is PRESETS["small-128"]


def test_a_run_is_over_by_steps_or_by_minutes():
    by_steps, by_minutes = replace(PRESETS["cscs-256"], steps=200), PRESETS["toy"]
    assert (by_steps.share(50, 1e9), by_steps.share(300, 0)) == (0.25, 1.0)
    assert by_minutes.share(10**9, 1.5) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="either steps or minutes"):
        replace(by_steps, minutes=3.0)
    with pytest.raises(ValueError, match="must be a multiple"):
        replace(by_steps, log_every=300)
    assert by_steps.share(0, 0) == 0
    assert replace(by_steps, steps=0).share(0, 0) == 1  # nothing to do


def test_rates_warm_up_and_end_at_nothing():
    toy = PRESETS["toy"]
    assert toy.pace(10, 0.0) == pytest.approx(0.2)
    assert toy.pace(1000, 0.5) == pytest.approx(0.5)
    assert toy.pace(1000, 1.0) == pytest.approx(0.0)


def test_the_small_generator_looks_at_the_identity_and_at_the_target():
    generator = SmallGenerator(SmallGeneratorConfig(6, (4, 4, 8), 1))
    target, z = torch.randn(2, 3, 16, 16), nn.functional.normalize(torch.randn(2, 6), dim=-1)
    out = generator(target, z)
    assert out.abs().max() <= 1
    assert (generator(target, z.flip(0)) - out).abs().mean() > 1e-3
    assert (generator(target.flip(0), z) - out).abs().mean() > 1e-3
    assert torch.allclose(generator(target[1:], z[1:]), out[1:], atol=1e-5)  # rows do not see each other
