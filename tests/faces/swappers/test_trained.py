"""The folder of a training run is a swapper, of the networks that were trained and of no others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from cscs_core.faces.swappers.base import swap
from cscs_core.faces.swappers.catalogue import load_swapper, public
from cscs_core.faces.swappers.cscs import CSCSSwapper, join_embeddings
from cscs_core.hub import weights
from cscs_core.hub.store import Store
from cscs_core.io.files import BadInput
from cscs_core.models import (
    DetectorConfig,
    EncoderConfig,
    FaceDetector,
    IdAdapter,
    IdAdapterConfig,
    IdentityEncoder,
    IResNet,
    IResNetConfig,
    SmallGenerator,
    SmallGeneratorConfig,
)
from cscs_core.ops import geometry, mesh
from cscs_core.train.swap.student import Recogniser, Student, load_recogniser, new_student, save_student
from cscs_core.types import Crops, Identity

SIZE, WIDTH = 32, 8
pytestmark = pytest.mark.usefixtures("narrow")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "home")


def encoder(seed: int = 0) -> IdentityEncoder:
    """It tells noise apart: its batch norms have seen some."""
    torch.manual_seed(seed)
    network = IdentityEncoder(EncoderConfig(32, (4, 8), (0, 0), WIDTH))
    nn.init.zeros_(network.head.bias)
    with torch.no_grad():
        for _ in range(40):
            network(torch.rand(32, 3, 32, 32))
    return network.eval()


def generator(identity: int) -> SmallGenerator:
    return SmallGenerator(SmallGeneratorConfig(identity, (6, 8), 1))


def put_run(folder: Path, network: nn.Module | None = None, adapter: IdAdapter | None = None) -> tuple[Student, Path]:
    """A run that is over, its gate and adapter moved from where they start, and the file of its encoder."""
    place = folder.parent / "own.safetensors"
    weights.save_model(place, network or encoder())
    recogniser = load_recogniser(place)
    if adapter is None:
        student = new_student(generator(WIDTH), recogniser)
        with torch.no_grad():
            for value in student.adapter.parameters():
                value.mul_(1.2)
            assert student.gate
            student.gate.weight.copy_(torch.randn(WIDTH, WIDTH))
    else:
        kind = adapter.config.kind
        student = Student(generator(2 * WIDTH if kind == "concat" else WIDTH), adapter, WIDTH, kind)
    save_student(folder, student.eval(), recogniser, SIZE, step="7")
    (folder / "config.json").write_text(json.dumps({"encoder": str(place)}))
    return student, place


def crops_of(pixels: Tensor) -> Crops:
    """Crops whose five points are those of the template, as in training."""
    count, size = len(pixels), pixels.shape[-1]
    five = geometry.template("ffhq_512", size).expand(count, -1, -1)
    points = (mesh.mean_face() * 0.36 * size + torch.tensor([0.5, 0.47]) * size).expand(count, -1, -1)
    return Crops(pixels, torch.ones_like(pixels[:, :1]), torch.eye(2, 3)[None], five, points, torch.arange(count))


def person_of(pixels: Tensor) -> Identity:
    return Identity(crops_of(pixels), torch.ones(len(pixels), 1), torch.ones(len(pixels)))


def smooth(count: int) -> Tensor:
    return nnf.interpolate(torch.rand(count, 3, 5, 5), (SIZE, SIZE), mode="bilinear")


def taught(student: Student, recogniser: Recogniser, source: Tensor, target: Tensor) -> Tensor:
    """What training makes of pictures."""
    seen = recogniser.view(source * 2 - 1)
    return student(target * 2 - 1, seen, recogniser.of_view(seen)) * 0.5 + 0.5


@pytest.mark.parametrize("kind", ["gated", "add", "concat", "replace"])
@torch.inference_mode()
def test_a_run_swaps_as_it_was_trained(tmp_path, store, kind):
    if kind == "gated":
        student, place = put_run(tmp_path / "run")
    else:
        with torch.inference_mode(False):
            adapter = IdAdapter(IdAdapterConfig(kind, 18, WIDTH))
            if kind == "add":
                nn.init.normal_(adapter.adapter_block.weight)
            student, place = put_run(tmp_path / "run", IResNet(IResNetConfig(18, WIDTH)), adapter)
    swapper = load_swapper(str(tmp_path / "run"), store)
    assert isinstance(swapper, CSCSSwapper)
    assert (swapper.template, swapper.sizes) == ("ffhq_512", (SIZE,))
    source, targets = smooth(1), smooth(2)
    wanted = taught(student, load_recogniser(place), source.expand(2, -1, -1, -1), targets)
    done = swap(crops_of(targets), swapper.encode(person_of(source)), swapper)
    torch.testing.assert_close(done.pixels, wanted, atol=4e-3, rtol=0)  # its files are half floats
    other = swap(crops_of(targets), swapper.encode(person_of(smooth(1))), swapper)
    assert (other.pixels - done.pixels).abs().mean() > 4e-3


@torch.inference_mode()
def test_large_references_are_seen_as_small_as_in_training(tmp_path, store):
    put_run(tmp_path / "run")
    swapper = load_swapper(str(tmp_path / "run"), store)
    source = smooth(1)
    large = nnf.interpolate(source, (4 * SIZE, 4 * SIZE), mode="nearest")
    one, other = (swapper.encode(person_of(pixels)).z for pixels in (source, large))
    assert nnf.cosine_similarity(one, other) > 0.99


def test_a_gate_turns_z_and_keeps_its_length():
    encoded, adapted = nnf.normalize(torch.randn(2, 3, WIDTH), dim=-1)
    gate = nn.Linear(WIDTH, WIDTH, bias=False)
    expected = nnf.normalize(encoded + adapted @ gate.weight.T, dim=-1)
    torch.testing.assert_close(join_embeddings("gated", encoded, adapted, gate), expected)


def test_everything_that_a_host_moves_is_named(tmp_path, store):
    put_run(tmp_path / "run")
    swapper = load_swapper(str(tmp_path / "run"), store)
    assert [type(network).__name__ for network in swapper.networks] == [
        "SmallGenerator",
        "IdentityEncoder",
        "IdentityEncoder",
        "Linear",
    ]
    assert not any(value.requires_grad for network in swapper.networks for value in network.parameters())


def test_the_encoder_is_known_wherever_it_lies_and_however_it_is_stored(tmp_path, store):
    run = tmp_path / "run"
    _, place = put_run(run)
    load_swapper(str(run), store)  # where it was when the run began
    (run / "config.json").unlink()
    for folder in (store.home, run):
        weights.save_model(folder / place.name, weights.load_any(place), torch.float32)
        load_swapper(str(run), store)
        (folder / place.name).unlink()


def test_a_run_without_its_encoder_is_refused(tmp_path, store):
    run = tmp_path / "run"
    _, place = put_run(run)
    place.unlink()
    line = r"trained with the encoder own.safetensors; that file was not found; put the encoder into this folder$"
    with pytest.raises(BadInput, match=line):
        load_swapper(str(run), store)
    weights.save_model(store.home / place.name, encoder(1))
    line = r"own.safetensors; .*home/own.safetensors has other weights; put the encoder into this folder$"
    with pytest.raises(BadInput, match=line):
        load_swapper(str(run), store)


def test_the_encoder_of_a_run_is_a_file_beside_others_whatever_the_run_says(tmp_path, store):
    run = tmp_path / "run"
    put_run(run)
    (run / "config.json").write_text("[" * 100_000)
    tensors, notes = weights.read(run / "generator.safetensors")
    weights.write(run / "generator.safetensors", tensors, notes | {"encoder": "../own.safetensors"})
    with pytest.raises(BadInput, match=r"was trained with the encoder own.safetensors; that file was not found"):
        load_swapper(str(run), store)


def _forget(run: Path) -> None:
    tensors, notes = weights.read(run / "generator.safetensors")
    del notes["encoder_sha256"]
    weights.write(run / "generator.safetensors", tensors, notes)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (
            lambda run: (run / "generator.safetensors").unlink(),
            r"run: has no generator.safetensors; it is not a run of",
        ),
        (lambda run: (run / "adapter.safetensors").unlink(), r"adapter.safetensors: no such file$"),
        (lambda run: (run / "gate.safetensors").unlink(), r"gate.safetensors: no such file$"),
        (
            lambda run: weights.write(run / "gate.safetensors", {"weight": torch.eye(5)}, {"step": "7"}),
            r"gate.safetensors: is not a gate; it must hold a matrix named weight, 8 x 8$",
        ),
        (
            lambda run: weights.write(run / "gate.safetensors", {"weight": torch.eye(8)}, {"step": "9"}),
            r"run: its files are from different steps, because the run was killed while writing",
        ),
        (
            lambda run: weights.save_model(run / "generator.safetensors", generator(16), step="7"),
            r"generator.safetensors: takes identity vectors of length 16, but encoder and adapter give 8$",
        ),
        (
            lambda run: weights.save_model(run / "generator.safetensors", encoder()),
            r"generator.safetensors: is of the architecture identity_encoder; needed here is aei or small_generator$",
        ),
        (
            lambda run: weights.save_model(run / "adapter.safetensors", FaceDetector(DetectorConfig())),
            r"adapter.safetensors: is of the architecture face_detector; needed here is identity_encoder or iresnet",
        ),
        (_forget, r"generator.safetensors: its metadata do not name the encoder it was trained with"),
    ],
)
def test_a_run_that_is_not_whole_is_refused(tmp_path, store, damage, line):
    put_run(tmp_path / "run")
    damage(tmp_path / "run")
    with pytest.raises(BadInput, match=line) as caught:
        load_swapper(str(tmp_path / "run"), store)
    assert "\n" not in str(caught.value)


def test_a_name_goes_before_a_folder_and_a_folder_stays_private(tmp_path, store, monkeypatch):
    monkeypatch.chdir(tmp_path)
    put_run(tmp_path / "warp")
    assert not isinstance(load_swapper("warp", store), CSCSSwapper)
    assert isinstance(load_swapper("./warp", store), CSCSSwapper)
    assert (public("warp"), public("./warp")) == ("warp", "trained")
    with pytest.raises(BadInput, match=r"^unknown swapper 'magic'; .*warp, .*, or the folder of a training run$"):
        load_swapper("magic", store)
