"""The published networks compute what the release computes, and their fast form the same."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from cscs_core.models import (
    AEIConfig,
    AEINet,
    FusedAEINet,
    IdAdapter,
    IdAdapterConfig,
    IResNet,
    IResNetConfig,
    aei_fused,
    for_inference,
)
from cscs_core.models.aei import AADLayer


def regulariser(masks: list[list[Tensor]]) -> Tensor:
    """The scalar that the released generator returns beside the picture, (N,): how little the identity counts in the
    last blocks, the sum of mean(1 - M)."""
    last = [mask for block in masks[-3:] for mask in block]
    return torch.stack([(1 - mask).mean((1, 2, 3)) for mask in last]).sum(0)


@pytest.fixture(scope="module", autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def aei(golden: Any) -> AEINet:
    return golden.filled(AEINet, AEIConfig(identity=512))


@pytest.fixture(scope="module")
def pair(golden: Any) -> tuple[Tensor, Tensor]:
    """Two target pictures and two identities, as the golden numbers had them."""
    return golden.image(256, 2), golden.vector(512, 2) * 1.4


@pytest.fixture(scope="module")
def seen(aei: AEINet, pair: tuple[Tensor, Tensor]) -> tuple[Tensor, list[list[Tensor]]]:
    """What AEI-Net makes of them, and its masks."""
    masks: list[list[Tensor]] = []
    return aei(*pair, masks), masks


def test_the_names_and_shapes_are_the_released_ones(golden):
    with torch.device("meta"):
        networks = {"aei_512": AEINet(), "iresnet100": IResNet()}
    for name, net in networks.items():
        shapes = {key: str(tuple(value.shape)) for key, value in net.state_dict().items()}
        assert list(shapes.items()) == list(golden.keys(name).items())


def test_the_adapter_has_what_the_encoder_has_and_one_block_more(golden):
    with torch.device("meta"):
        state = {kind: IdAdapter(IdAdapterConfig(kind)).state_dict() for kind in ("add", "concat", "replace")}
    extra = golden.numbers()["adapter_add_extra_keys"]
    assert {key: list(value.shape) for key, value in state["add"].items() if key in extra} == extra
    assert list(state["concat"]) == list(state["replace"]) == list(golden.keys("iresnet100"))
    assert state["add"].keys() - state["concat"].keys() == extra.keys()


def test_aei_net_gives_the_golden_pictures(golden, seen):
    golden.check(seen[0], golden.numbers()["aei_512"]["output"], golden.PICTURES)


def test_the_attribute_maps_are_the_golden_ones(golden, aei, pair):
    expected = golden.numbers()["aei_512"]["attributes"]
    for attributes, numbers in zip(aei.encoder(pair[0]), expected, strict=True):
        golden.check(attributes, numbers)


def test_the_regulariser_is_the_golden_one(golden, seen):
    torch.testing.assert_close(regulariser(seen[1]), torch.tensor(golden.numbers()["aei_512"]["m"]), rtol=1e-5, atol=0)


def test_aei_net_for_a_wide_identity_gives_the_golden_pictures(golden):
    net = golden.filled(AEINet, AEIConfig(identity=1024))
    masks: list[list[Tensor]] = []
    made = net(golden.image(256, 2), golden.vector(1024, 2) * 1.4, masks)
    expected = golden.numbers()["aei_1024"]
    golden.check(made, expected["output"], golden.PICTURES)
    torch.testing.assert_close(regulariser(masks), torch.tensor(expected["m"]), rtol=1e-5, atol=0)


@pytest.mark.parametrize(("build", "name"), [(IResNet, "iresnet100"), (IdAdapter, "iresnet100_adapter_add")])
def test_the_encoders_give_the_golden_vectors(golden, build, name):
    net = golden.filled(build, IResNetConfig(100) if build is IResNet else IdAdapterConfig("add"))
    faces = golden.image(112, 2)
    plain = net(faces)
    golden.check(plain, golden.numbers()[name]["output"])
    scale = plain.abs().max()
    assert (net(faces[1:]) - plain[1:]).abs().max() <= 1e-4 * scale  # alone as in a batch
    fast = for_inference(net)(faces.contiguous(memory_format=torch.channels_last))
    assert (fast - plain).abs().max() <= 1e-4 * scale
    norms = sum(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in net.modules())
    assert norms == 3 + 13 + 30 + 3  # those before a padded convolution


def test_a_picture_alone_is_as_in_a_batch(golden, narrow_aei):
    target, z = golden.image(256, 2).double(), golden.vector(20, 2).double() * 1.4
    together = narrow_aei(target, z)
    for row in range(2):
        alone = narrow_aei(target[row : row + 1], z[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], atol=1e-9, rtol=0)


def test_there_is_a_mask_for_each_layer_of_each_block(seen):
    _, masks = seen
    assert [len(block) for block in masks] == [2, 2, 2, 3, 3, 3, 3, 3]
    for size, block in zip((2, 4, 8, 16, 32, 64, 128, 256), masks, strict=True):
        for mask in block:
            assert mask.shape == (2, 1, size, size)
            assert mask.min() >= 0 and mask.max() <= 1 and mask.std() > 0


def test_a_mask_of_zero_shows_no_identity_and_of_one_no_attributes():
    layer = AADLayer(4, 3, 5)
    h, attributes, z = torch.randn(2, 4, 6, 6), torch.randn(2, 3, 6, 6), torch.randn(2, 5)
    normal = nn.functional.instance_norm(h)
    a = layer.conv1(attributes) * normal + layer.conv2(attributes)
    i = layer.fc1(z)[..., None, None] * normal + layer.fc2(z)[..., None, None]
    nn.init.zeros_(layer.conv_h.weight)
    for bias, expected in ((-100.0, a), (100.0, i), (0.0, (a + i) / 2)):
        nn.init.constant_(cast(Tensor, layer.conv_h.bias), bias)
        torch.testing.assert_close(layer(h, attributes, z, []), expected)


@pytest.mark.parametrize("by_products", [False, True])
def test_the_fast_form_makes_the_same_pictures_and_masks(golden, narrow_aei, monkeypatch, by_products):
    """Also where small maps take their other way, as matrix products, which only wide networks do by themselves."""
    monkeypatch.setattr(aei_fused, "_small", lambda x: by_products and len(x) * x[0, 0].numel() <= 256)
    target, z = golden.image(256, 2).double(), golden.vector(20, 2).double() * 1.4
    fast = for_inference(narrow_aei)
    assert isinstance(fast, FusedAEINet)
    masks: list[list[Tensor]] = []
    expected: list[list[Tensor]] = []
    picture = narrow_aei(target, z, expected)
    torch.testing.assert_close(fast(target, fast.prepare(z), masks), picture, atol=1e-9, rtol=0)
    for plain, fused in zip(expected, masks, strict=True):
        for one, other in zip(plain, fused, strict=True):
            torch.testing.assert_close(other.expand_as(one), one, atol=1e-9, rtol=0)


def test_the_fast_form_of_the_published_network_makes_much_the_same(fast, pair, seen):
    """In single precision, in which the plain form itself lies up to 3e-4 from double precision: instance norms of tiny
    maps blow rounding up, each processor's in its own way. A fault is a hundred times as large."""
    target, z = pair
    masks: list[list[Tensor]] = []
    made = fast(target, fast.prepare(z), masks)
    every = zip(chain.from_iterable(masks), chain.from_iterable(seen[1]), strict=True)
    for one, other in ((made, seen[0]), *every):
        apart = (one - other).abs().flatten()
        assert apart.mean() < 1e-4 and apart.max() < 2e-3


@pytest.fixture(scope="module")
def fast(aei: AEINet) -> FusedAEINet:
    net = for_inference(aei)
    assert isinstance(net, FusedAEINet)
    return net


def test_one_identity_serves_several_pictures(golden, narrow_aei):
    net = for_inference(narrow_aei)
    assert isinstance(net, FusedAEINet)
    target, z = golden.image(256, 2).double(), golden.vector(20).double() * 1.4
    once = net(target, net.prepare(z))
    twice = net(target, net.prepare(z.expand(2, -1)))
    torch.testing.assert_close(once, twice, atol=1e-9, rtol=0)
    assert once[0].sub(once[1]).abs().max() > 0.1  # of pictures that differ


def test_the_fast_form_has_no_batch_norm_left(fast):
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.modules())


@pytest.mark.parametrize(("depth", "blocks"), [(18, 8), (34, 16), (50, 24), (100, 49)])
def test_the_depth_is_the_number_of_convolutions_on_the_way(depth, blocks):
    with torch.device("meta"):
        net = IResNet(IResNetConfig(depth))
    assert sum(len(layer) for layer in (net.layer1, net.layer2, net.layer3, net.layer4)) == blocks
    assert 2 * blocks + 2 == depth  # two a block, the first convolution, the last layer


@pytest.mark.parametrize("make", [lambda: IResNetConfig(101), lambda: IdAdapterConfig("multiply")])
def test_a_network_that_does_not_exist_is_refused(make):
    with pytest.raises(ValueError, match="choose one of"):
        make()


def test_a_new_adapter_adds_nothing():
    net = IdAdapter(IdAdapterConfig("add", depth=18)).eval()
    assert not net(torch.rand(2, 3, 112, 112)).any()
