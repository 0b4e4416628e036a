"""The discriminator of StyleGAN2."""

from __future__ import annotations

import pytest
import torch

from cscs_core.models import Discriminator, DiscriminatorConfig
from cscs_core.models.discriminator import EqualConv2d, EqualLinear, blur, variation

SMALL = DiscriminatorConfig(size=16, width=16, group=4)


def test_it_has_the_published_number_of_parameters():
    with torch.device("meta"):
        net = Discriminator()
    assert sum(parameter.numel() for parameter in net.parameters()) == 28_864_129  # config F at 256 px
    assert [net.config.channels(side) for side in (256, 128, 64, 4)] == [128, 256, 512, 512]


def test_the_blur_keeps_the_mean_and_spreads_a_point_binomially():
    point = torch.zeros(1, 2, 9, 9)
    point[0, 1, 4, 4] = 64
    rows = torch.tensor([1.0, 3.0, 3.0, 1.0])
    spread = blur(point, 2)
    assert spread.shape[-1] == 10 and not spread[0, 0].any()
    assert torch.equal(spread[0, 1, 3:7, 3:7], torch.outer(rows, rows))
    assert torch.allclose(blur(torch.ones(1, 1, 8, 8), 2)[0, 0, 2:-2, 2:-2], torch.ones(5, 5))


def test_variation_is_the_mean_deviation_within_each_group():
    x = torch.randn(8, 3, 4, 4)
    expected = torch.stack([x[[0, 2, 4, 6]], x[[1, 3, 5, 7]]]).var(1, unbiased=False).add(1e-8).sqrt().mean((1, 2, 3))
    shown = variation(x, 4)
    assert shown.shape == (8, 1, 4, 4)
    for row in range(8):
        torch.testing.assert_close(shown[row], expected[row % 2].expand(1, 4, 4))
    assert variation(x[:1], 4).allclose(torch.tensor(1e-4))  # one alone does not vary
    with pytest.raises(ValueError, match="a batch of 6 does not divide into groups of 4"):
        variation(x[:6], 4)


def test_equalised_layers_keep_the_variance_and_scale_the_gradient():
    x = torch.randn(256, 64)
    layer = EqualLinear(64, 128)
    assert layer(x).std().item() == pytest.approx(1, abs=0.1)
    assert layer.weight.std().item() == pytest.approx(1, abs=0.1)
    assert EqualConv2d(32, 64, 3)(torch.randn(4, 32, 20, 20))[..., 1:-1, 1:-1].std().item() == pytest.approx(1, abs=0.1)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    torch.testing.assert_close(layer.weight.grad[0], x.sum(0) / 8)


def test_gradients_of_gradients_exist_for_the_r1_penalty():
    net, pictures = Discriminator(SMALL), torch.randn(4, 3, 16, 16, requires_grad=True)
    (slope,) = torch.autograd.grad(net(pictures).sum(), pictures, create_graph=True)
    slope.square().sum((1, 2, 3)).mean().backward()
    grads = {name: parameter.grad for name, parameter in net.named_parameters()}
    for name, grad in grads.items():  # biases after the last ReLU do not bend the slope
        assert grad is not None or name == "out.bias", name
        assert grad is None or grad.isfinite().all()


def test_a_step_against_the_logit_of_a_picture_lowers_it():
    net, picture = Discriminator(SMALL), torch.randn(4, 3, 16, 16, requires_grad=True)
    before = net(picture)
    (slope,) = torch.autograd.grad(before.sum(), picture)
    assert net(picture - 0.01 * slope / slope.norm()).sum() < before.sum()


@pytest.mark.parametrize("size", [4, 24, 0])
def test_sides_that_do_not_halve_to_four_are_refused(size):
    with pytest.raises(ValueError, match="must be a power of two"):
        Discriminator(DiscriminatorConfig(size))
