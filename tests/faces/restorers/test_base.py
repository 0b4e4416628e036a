from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cscs_core.faces.align import align, resize
from cscs_core.faces.paste import paste, paste_mask
from cscs_core.faces.restorers.base import NetworkRestorer, load_restorer_file, restore
from cscs_core.hub import weights
from cscs_core.io.files import BadInput
from cscs_core.ops import geometry, mask
from cscs_core.ops.batching import OutOfMemory
from cscs_core.types import Crops, FaceSet


@dataclass(frozen=True)
class Inverts:
    """A restorer that turns pictures into their negatives and remembers what it was asked."""

    template: str = "ffhq_512"
    size: int = 96
    asked: list[tuple[tuple[int, ...], float]] = field(default_factory=list)

    def __call__(self, pixels: Tensor, weight: float) -> Tensor:
        self.asked.append((tuple(pixels.shape), weight))
        return 1 - pixels


@pytest.fixture
def crops(faces, smooth) -> Crops:
    cut = align(smooth(1, 120, 120), faces([(0, 60, 50, 30)] * 6), size=64)
    return replace(cut, mask=mask.feather(mask.hull(cut.mesh, 64), 6))


@pytest.mark.parametrize("blend", [0.25, 0.8, 1.0])
def test_blend_is_the_share_of_the_restored_picture(crops, blend):
    large = resize(crops, 96)
    done = restore(crops, Inverts(), blend)
    torch.testing.assert_close(done.pixels, large.pixels * (1 - blend) + (1 - large.pixels) * blend)


def test_everything_but_the_pixels_is_that_of_the_resized_crops(crops):
    done, large = restore(crops, Inverts()), resize(crops, 96)
    for name in ("mask", "matrix", "landmarks", "mesh", "frame"):
        assert torch.equal(getattr(done, name), getattr(large, name)), name


def test_without_blend_nothing_is_done(crops):
    restorer = Inverts()
    assert restore(crops, restorer, blend=0) is crops
    assert restorer.asked == []


def test_a_restorer_sees_a_few_faces_of_its_size_at_a_time_and_the_weight(crops):
    restorer = Inverts()
    restore(crops, restorer, weight=0.7)
    assert restorer.asked == [((4, 3, 96, 96), 0.7), ((2, 3, 96, 96), 0.7)]


def test_the_weight_is_half_unless_said(crops):
    restorer = Inverts()
    restore(crops[:1], restorer)
    assert restorer.asked == [((1, 3, 96, 96), 0.5)]


def test_a_restored_crop_is_pasted_where_the_crop_was(crops, smooth):
    images, one = smooth(1, 120, 120), crops[:1]
    expected = paste(images, replace(one, pixels=1 - one.pixels))
    done = restore(one, Inverts(), blend=1)
    assert (paste(images, done) - expected).abs().max() < 0.05
    assert (paste_mask(images, done) - paste_mask(images, one)).abs().max() < 0.05


def test_no_faces_flow_through():
    none = align(torch.rand(1, 3, 20, 30), FaceSet.empty(), size=64)
    restorer = Inverts()
    assert len(restore(none, restorer)) == 0
    assert restorer.asked == []


@pytest.mark.parametrize("name", ["blend", "weight"])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_shares_lie_between_0_and_1(crops, name, value):
    with pytest.raises(ValueError, match=f"{name} is {value}; it must be between 0 and 1"):
        restore(crops, Inverts(), **{name: value})


class Records(nn.Module):
    """Gives back half of what it gets, plus something, and remembers what that was."""

    def __init__(self, plus: float | Tensor = 0.0):
        super().__init__()
        self.plus, self.got = plus, {}

    def forward(self, pixels: Tensor, **options: Any) -> tuple[Tensor, None]:
        self.got = {"range": (pixels.min().item(), pixels.max().item()), **options}
        return pixels / 2 + self.plus, None


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("GFPGAN", {"randomize_noise": False, "return_rgb": False}),
        ("RestoreFormer", {}),
        ("CodeFormer", {"weight": 0.3}),
    ],
)
def test_networks_see_and_give_minus_one_to_one(architecture, options):
    network = Records()
    pixels = torch.linspace(0, 1, 48).view(1, 3, 4, 4)
    restored = NetworkRestorer(architecture, network)(pixels, 0.3)
    assert network.got == {"range": (-1, 1), **options}
    torch.testing.assert_close(restored, pixels / 2 + 0.25)


@pytest.mark.parametrize(("plus", "value"), [(3.0, 1.0), (-3.0, 0.0)])
def test_networks_that_exceed_their_range_are_cut(plus, value):
    restored = NetworkRestorer("RestoreFormer", Records(plus))(torch.rand(1, 3, 4, 4), 0.5)
    assert torch.equal(restored, torch.full((1, 3, 4, 4), value))


def test_restoring_keeps_no_graph():
    network = Records(torch.zeros((), requires_grad=True))
    assert not NetworkRestorer("RestoreFormer", network)(torch.rand(1, 3, 4, 4), 0.5).requires_grad


def test_restorers_work_on_512_px_of_their_template():
    restorer = NetworkRestorer("GFPGAN", nn.Identity())
    assert restorer.template in geometry.TEMPLATES
    assert restorer.size == 512


def _refused(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        load_restorer_file(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert len(said.splitlines()) == 1
    return said


def test_a_pickle_is_sent_to_be_converted(tmp_path):
    torch.save({"params_ema": {"a": torch.zeros(2)}}, tmp_path / "gfpgan.pth")
    assert f"convert it first: cscs convert {tmp_path / 'gfpgan.pth'}" in _refused(tmp_path / "gfpgan.pth")


@pytest.mark.parametrize(
    "error", [ImportError("No module named 'torchvision'"), RuntimeError("no operator nms\nfound")]
)
def test_without_spandrel_it_says_what_to_install(tmp_path, monkeypatch, error):
    class Fails:
        def find_spec(self, name: str, path: object, target: object = None) -> None:
            if name == "spandrel":
                raise error

    for name in [name for name in sys.modules if name.split(".")[0] == "spandrel"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Fails(), *sys.meta_path])
    weights.write(tmp_path / "a.safetensors", {"a": torch.zeros(2)}, {})
    said = _refused(tmp_path / "a.safetensors")
    assert "restorers need spandrel: pip install spandrel" in said
    assert str(error).splitlines()[0] in said


@pytest.fixture
def spandrel() -> ModuleType:
    try:
        import spandrel  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"spandrel cannot be imported: {error}")
    return spandrel


@pytest.fixture
def restoreformer(spandrel) -> dict[str, Tensor]:
    """The state of a small RestoreFormer."""
    from spandrel.architectures.RestoreFormer import RestoreFormer  # pyright: ignore[reportMissingImports]

    return RestoreFormer(
        ch=32, ch_mult=(1,) * 6, num_res_blocks=1, n_embed=16, embed_dim=32, z_channels=32
    ).state_dict()


@torch.no_grad()
def test_a_restoreformer_computes_what_spandrel_says(spandrel, restoreformer, tmp_path):
    weights.write(tmp_path / "a.safetensors", restoreformer, {})
    restorer = load_restorer_file(tmp_path / "a.safetensors")
    assert restorer.architecture == "RestoreFormer"
    assert not any(parameter.requires_grad for parameter in restorer.network.parameters())
    pixels = torch.rand(2, 3, 128, 128)  # smaller than it works on, and faster
    whole = spandrel.ModelLoader().load_from_state_dict(restoreformer)
    torch.testing.assert_close(restorer(pixels, 0.5), whole(pixels), atol=1e-5, rtol=0)


def test_half_floats_are_widened(restoreformer, tmp_path):
    halves = {name: value.half() for name, value in restoreformer.items()}
    weights.write(tmp_path / "a.safetensors", halves, {})
    restored = load_restorer_file(tmp_path / "a.safetensors")(torch.rand(1, 3, 128, 128), 0.5)
    assert restored.dtype == torch.float32
    assert 0 <= restored.min() < restored.max() <= 1


def test_an_upscaler_is_named(spandrel, tmp_path):
    from spandrel.architectures.ESRGAN import ESRGAN  # pyright: ignore[reportMissingImports]

    weights.write(tmp_path / "a.safetensors", ESRGAN(num_filters=8, num_blocks=1).state_dict(), {})
    assert "is ESRGAN (SR), not a face restorer; supported are GFPGAN" in _refused(tmp_path / "a.safetensors")


@pytest.mark.usefixtures("spandrel")
def test_what_spandrel_does_not_know_is_refused(tmp_path):
    weights.write(tmp_path / "a.safetensors", {"a": torch.zeros(2)}, {})
    assert "is not a face restorer; supported are GFPGAN" in _refused(tmp_path / "a.safetensors")


@pytest.mark.parametrize("change", ["missing", "shape"])
def test_a_restorer_that_is_not_whole_is_refused(restoreformer, tmp_path, change):
    if change == "missing":
        del restoreformer["encoder.down.3.block.0.conv2.weight"]
    else:
        restoreformer["encoder.mid.block_1.conv1.weight"] = torch.zeros(3)
    weights.write(tmp_path / "a.safetensors", restoreformer, {})
    assert "does not match the architecture that spandrel recognised" in _refused(tmp_path / "a.safetensors")


def test_a_restorer_of_whole_numbers_is_refused(restoreformer, tmp_path):
    name = "encoder.conv_in.weight"
    weights.write(tmp_path / "a.safetensors", {**restoreformer, name: restoreformer[name].to(torch.int8)}, {})
    assert f"'{name}' is int8; convert it to float32" in _refused(tmp_path / "a.safetensors")


def test_faces_that_do_not_fit_into_memory_together_are_restored_in_smaller_parts(crops):
    class Large(Inverts):
        def __call__(self, pixels: Tensor, weight: float) -> Tensor:
            if len(pixels) > 1:
                raise OutOfMemory("no room")
            return super().__call__(pixels, weight)

    expected = restore(crops, Inverts(), blend=1.0)
    torch.testing.assert_close(restore(crops, Large(), blend=1.0).pixels, expected.pixels)
