"""Swappers and detectors by name, from a folder of files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from cscs_core.faces.detectors import catalogue as detectors
from cscs_core.faces.detectors.catalogue import load_detector
from cscs_core.faces.identity import LiteEncoder
from cscs_core.faces.swappers.base import Swapper, swap
from cscs_core.faces.swappers.catalogue import SWAPPERS, available, load_swapper
from cscs_core.faces.swappers.cscs import CSCSSwapper
from cscs_core.faces.swappers.lite import LiteSwapper
from cscs_core.faces.swappers.onnx import OnnxSwapper
from cscs_core.faces.swappers.warp import WarpSwapper
from cscs_core.hub import weights
from cscs_core.hub.onnx.runner import Runner
from cscs_core.hub.registry import MODELS
from cscs_core.hub.store import Store
from cscs_core.io.files import BadInput
from cscs_core.models import (
    AEIConfig,
    AEINet,
    EncoderConfig,
    FusedAEINet,
    IdAdapter,
    IdAdapterConfig,
    IdentityEncoder,
    IResNet,
    IResNetConfig,
    Refiner,
    RefinerConfig,
    SmallGenerator,
    SmallGeneratorConfig,
)
from cscs_core.models.graph import Port
from cscs_core.ops import geometry, mesh
from cscs_core.types import Crops, Identity


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home", (tmp_path / "reactor",))


def put_cscs(store: Store, kind: str = "add", identity: int = 512) -> None:
    for name, model in (
        ("cscs_generator", AEINet(AEIConfig(identity))),
        ("cscs_encoder", IResNet(IResNetConfig(18))),
        ("cscs_adapter", IdAdapter(IdAdapterConfig(kind, 18))),
    ):
        weights.save_model(store.home / f"{name}.safetensors", model)


def test_without_files_there_are_the_bundled_ones(store):
    assert available(store) == ["lite", "warp"]
    assert isinstance(load_swapper("lite", store), LiteSwapper)
    assert isinstance(load_swapper("warp", store), WarpSwapper)


def test_cscs_is_there_with_its_three_files(store, narrow):
    put_cscs(store)
    assert available(store) == ["lite", "warp", "cscs"]
    swapper = load_swapper("cscs", store)
    assert isinstance(swapper, CSCSSwapper) and isinstance(swapper.generator, FusedAEINet)
    assert (swapper.template, swapper.sizes) == ("ffhq_512", (256,))
    (store.home / "cscs_encoder.safetensors").unlink()
    assert available(store) == ["lite", "warp"]
    with pytest.raises(BadInput, match=r"cscs_encoder.safetensors not found in .*`cscs fetch cscs`"):
        load_swapper("cscs", store)


def test_a_generator_for_another_kind_of_adapter_is_refused(store, narrow):
    put_cscs(store, "concat", identity=512)
    with pytest.raises(BadInput, match=r"does not fit .*an adapter of kind concat"):
        load_swapper("cscs", store)
    put_cscs(store, "concat", identity=1024)
    assert isinstance(load_swapper("cscs", store), CSCSSwapper)


def test_a_file_of_another_network_is_named(store, narrow):
    put_cscs(store)
    weights.save_model(store.home / "cscs_adapter.safetensors", IResNet(IResNetConfig(18)))
    with pytest.raises(
        BadInput, match=r"cscs_adapter.safetensors: is of the architecture iresnet; needed here is id_adapter"
    ):
        load_swapper("cscs", store)


def test_a_swapper_of_others_is_listed_when_it_and_its_encoder_are_there(store):
    folder = store.others[0] / "swap"
    folder.mkdir(parents=True)
    (folder / "inswapper_128.onnx").touch()
    assert available(store) == ["lite", "warp"]
    with pytest.raises(BadInput, match=r"swapper inswapper_128: w600k_r50.onnx not installed; `cscs models` shows"):
        load_swapper("inswapper_128", store)
    store.home.mkdir(exist_ok=True)
    (store.home / "w600k_r50.safetensors").touch()  # converted
    assert available(store) == ["lite", "warp", "inswapper_128"]


def test_an_unknown_swapper_is_named_with_those_there_are(store):
    with pytest.raises(BadInput, match="unknown swapper 'magic'; choose one of lite, warp, cscs, inswapper_128"):
        load_swapper("magic", store)


def test_swappers_are_those_of_the_registry():
    assert set(SWAPPERS) == {"lite", "warp", "cscs", *(name for name, spec in MODELS.items() if spec.swapper)} - {
        "cscs_generator"
    }


def test_packs_are_named_even_where_they_are_missing(store):
    assert detectors.detectors(store) == ["lite", "buffalo_l", "antelopev2"]
    with pytest.raises(
        BadInput, match=r"detector buffalo_l: put its .onnx files into .*; the detector lite needs neither"
    ):
        load_detector("buffalo_l", store)


def test_a_pack_and_a_detector_in_the_folders_are_listed(store):
    for file in ("models/mine/det.onnx", "det_10g.onnx"):
        path = store.others[0] / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert detectors.detectors(store) == ["lite", "scrfd_10g", "buffalo_l", "antelopev2", "mine"]


def test_a_missing_or_unknown_detector_says_what_to_do(store):
    with pytest.raises(BadInput, match=r"detector scrfd_10g: det_10g.onnx is not installed; `cscs models`"):
        load_detector("scrfd_10g", store)
    with pytest.raises(BadInput, match="unknown detector 'dlib'; choose one of lite"):
        load_detector("dlib", store)


class Paint(nn.Module):
    """A generator that paints every pixel white."""

    def prepare(self, z: Tensor) -> Tensor:
        return z

    def forward(self, target: Tensor, z: Tensor) -> Tensor:
        return torch.ones_like(target)


class Runs:
    """A network of somebody else's file: a white picture of two inputs, ones of one."""

    networks, inputs = (), (Port("target", (1, 3, None, None)), Port("source", (1, 512)))

    def __call__(self, first: Tensor, *second: Tensor) -> list[Tensor]:
        return [torch.ones_like(first) if second else torch.ones(len(first), 512)]


def stand_in(name: str) -> Swapper:
    """The swapper of that name with made-up networks, "trained" for one of a training run."""
    encoder = IdentityEncoder(EncoderConfig(widths=(4, 4, 4, 4), depths=(0, 0, 0, 0))).eval()
    if name == "lite":
        return LiteSwapper(Refiner(RefinerConfig(widths=(4, 6, 8), blocks=1)), LiteEncoder(encoder))
    if name == "warp":
        return WarpSwapper()
    if name == "trained":
        small = SmallGenerator(SmallGeneratorConfig(widths=(4, 4), blocks=0))
        return CSCSSwapper(small, encoder, encoder, gate=nn.Linear(128, 128, bias=False))
    if name == "cscs":
        return CSCSSwapper(cast(FusedAEINet, Paint()), encoder, encoder, gate=nn.Linear(128, 128, bias=False))
    spec = MODELS[name].swapper
    assert spec is not None
    return OnnxSwapper(cast(Runner, Runs()), spec, cast(Runner, Runs()))


@pytest.mark.parametrize("name", [*SWAPPERS, "trained"])
@torch.no_grad()
def test_where_a_mask_lets_nothing_change_no_swapper_does(name):
    # Face Mask may come before Swap Faces.
    swapper = stand_in(name)
    size = swapper.sizes[0]
    points = mesh.mean_face()[None]
    laid = geometry.similarity(mesh.five(points), geometry.template(swapper.template, size)[None])
    points = geometry.transform(points, laid)
    crops = Crops(
        torch.rand(1, 3, size, size),
        torch.ones(1, 1, size, size),
        torch.eye(2, 3)[None],
        mesh.five(points),
        points,
        torch.zeros(1, dtype=torch.long),
    )
    known = Identity(crops, torch.ones(1, 128), torch.ones(1))
    person = swapper.encode(known)
    left = crops.mask.clone()
    left[..., size // 2 :] = 0
    for strength in (1.0, 0.5):
        whole, done, none = (
            swap(replace(crops, mask=area), person, swapper, strength) for area in (crops.mask, left, left * 0)
        )
        assert not none.mask.any()
        assert torch.equal(done.mask, whole.mask * left) and done.mask.max() > 0.4
