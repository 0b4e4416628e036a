"""Swappers of one file are fed as their data say, and what they make becomes a picture again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from cscs_core.faces.swappers.base import Swapper, swap
from cscs_core.faces.swappers.cscs import editable_area
from cscs_core.faces.swappers.onnx import OnnxSwapper, load_onnx_swapper
from cscs_core.hub.registry import EMBEDDINGS, MODELS, SwapperSpec
from cscs_core.hub.weights import save_model
from cscs_core.io.files import BadInput
from cscs_core.ops import geometry, mesh
from cscs_core.types import Crops, Identity

from .graphs import load_graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

SIZE = 32
SPECS = {spec.name: spec.swapper for spec in MODELS.values() if spec.swapper and spec.swapper.embedding != "cscs"}
ONE_EACH = {spec: name for name, spec in SPECS.items()}


class Paint(nn.Module):
    """Half the target and a tenth of the source's first three numbers, in the network's own colours."""

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        return target * 0.5 + source[:, :3, None, None] * 0.1


class Turned(nn.Module):
    """The same with its inputs the other way round."""

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        return Paint()(target, source)


class Encode(nn.Module):
    """Colours of 16 parts of a face, mixed."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(48, 512)

    def forward(self, faces: Tensor) -> Tensor:
        return self.dense(nnf.avg_pool2d(faces, 28).flatten(1))


def planes(matrix: np.ndarray, side: int, slope: np.ndarray) -> np.ndarray:
    """A picture whose colours rise evenly, slope (3, 3) of x, y and 1, seen through a matrix (2, 3)."""
    y, x = np.mgrid[:side, :side]
    spots = np.stack([x, y, np.ones_like(x)]).reshape(3, -1).astype(float)
    whole = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    return (slope @ (whole @ spots)).reshape(3, side, side)


def laid(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity that lays points (5, 2) on others, by plain least squares, (2, 3)."""
    rows, right = [], []
    for (x, y), (u, v) in zip(points, target, strict=True):
        rows += [[x, -y, 1, 0], [y, x, 0, 1]]
        right += [u, v]
    a, b, right_by, down_by = np.linalg.lstsq(np.array(rows), np.array(right), rcond=None)[0]
    return np.array([[a, -b, right_by], [b, a, down_by]])


class Scene:
    """Faces of made-up landmarks in pictures of evenly rising colours, cut out by any template."""

    def __init__(self, count: int, seed: int):
        chance = np.random.default_rng(seed)
        mean = mesh.mean_face().numpy()
        turn = chance.uniform(-0.3, 0.3, count)
        rotation = np.stack([np.cos(turn), -np.sin(turn), np.sin(turn), np.cos(turn)], -1).reshape(-1, 2, 2)
        self.mesh = 80 * (mean @ rotation.transpose(0, 2, 1)) + 400 + chance.normal(0, 3, (count, *mean.shape))
        self.five = mesh.five(torch.from_numpy(self.mesh)).numpy()
        self.slope = chance.uniform(-1, 1, (count, 3, 3)) * [3e-4, 3e-4, 0.02] + [0, 0, 0.5]

    def pixels(self, template: str, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Crops (F, 3, S, S) computed from the slopes, and their matrices."""
        target = geometry.template(template, size).numpy()
        matrices = np.stack([laid(points, target) for points in self.five])
        return np.stack([planes(m, size, s) for m, s in zip(matrices, self.slope, strict=True)]), matrices

    def crops(self, template: str, size: int) -> Crops:
        pixels, matrices = self.pixels(template, size)
        matrix = torch.from_numpy(matrices).float()
        count = len(matrices)
        return Crops(
            torch.from_numpy(pixels).float(),
            torch.full((count, 1, size, size), 0.9),
            matrix,
            geometry.transform(torch.from_numpy(self.five).float(), matrix),
            geometry.transform(torch.from_numpy(self.mesh).float(), matrix),
            torch.zeros(count, dtype=torch.long),
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, export: Callable[..., Path]) -> dict[str, Path]:
    """Look-alikes of each kind of network, one row at a time as most published ones are."""
    folder = tmp_path_factory.mktemp("files")
    torch.manual_seed(4)
    target, source = torch.rand(1, 3, SIZE, SIZE), torch.rand(1, 512)
    made = {
        "paint": export(folder / "paint.onnx", Paint(), target, source, names=("target", "source")),
        "turned": export(folder / "turned.onnx", Turned(), source, target, names=("a", "b")),
        "encoder": export(folder / "encoder.onnx", Encode(), torch.rand(1, 3, 112, 112)),
        "converter": export(folder / "converter.onnx", nn.Linear(512, 512), source),
    }
    emap = np.linalg.qr(np.random.default_rng(1).normal(size=(512, 512)))[0].astype(np.float32)
    emap *= np.linspace(0.5, 2, 512, dtype=np.float32)
    for name in ("paint", "turned"):
        model = onnx.load(str(made[name]))
        model.graph.initializer.append(onnx.numpy_helper.from_array(emap, "emap"))
        onnx.save(model, str(made[name]))
    return made


def weights_of(path: Path) -> list[np.ndarray]:
    return [onnx.numpy_helper.to_array(entry) for entry in onnx.load(str(path)).graph.initializer]


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def encoded(scene: Scene, files: dict[str, Path]) -> np.ndarray:
    """What the look-alike encoder says of faces cut out of their pictures by its own template."""
    faces = (scene.pixels("arcface_112_v2", 112)[0] - 0.5) / 0.5
    weight, bias = weights_of(files["encoder"])
    parts = faces.reshape(len(faces), 3, 4, 28, 4, 28).mean((3, 5)).reshape(len(faces), -1)
    return parts @ (weight.T if weight.shape == (512, 48) else weight) + bias


def fed(rows: np.ndarray, kind: str, files: dict[str, Path]) -> np.ndarray:
    """What a swapper of a kind is given of embeddings."""
    if kind.startswith("crossface"):
        weight, bias = weights_of(files["converter"])
        return unit(rows @ weight.T + bias)
    if kind == "emap":
        return unit(unit(rows) @ weights_of(files["paint"])[-1])
    return unit(rows) if kind == "arcface_l2" else rows


def small(name: str) -> SwapperSpec:
    """A swapper of the registry, but for crops that test fast."""
    return replace(SPECS[name], size=SIZE)


def load(files: dict[str, Path], spec: SwapperSpec, kind: str = "paint") -> OnnxSwapper:
    names = ["encoder", "converter"][: len(EMBEDDINGS[spec.embedding])]
    return load_onnx_swapper(files[kind], spec, [files[name] for name in names])


def person(scene: Scene, *weight: float) -> Identity:
    crops = scene.crops("ffhq_512", 512)
    return Identity(crops, torch.zeros(len(crops), 128), torch.tensor(weight or [1.0] * len(crops)))


@pytest.mark.parametrize("kind", ["paint", "turned"])
@pytest.mark.parametrize("name", ONE_EACH.values())
def test_a_swapper_of_the_registry_is_fed_and_read_as_it_says(files, name, kind):
    spec, source, target = small(name), Scene(1, 0), Scene(3, 1)
    swapper = load(files, spec, kind)
    protocol: Swapper = swapper
    assert (protocol.template, protocol.sizes) == (spec.template, (SIZE,))
    crops = target.crops(spec.template, SIZE)
    done = swap(crops, swapper.encode(person(source)), swapper)
    latent = fed(encoded(source, files), spec.embedding, files)[:, :3]
    mean, std = (np.array(colour)[:, None, None] for colour in (spec.mean, spec.std))
    shown = (target.pixels(spec.template, SIZE)[0] - mean) / std  # RGB
    black, white = spec.output
    expected = (shown * 0.5 + latent[:, :, None, None] * 0.1 - black) / (white - black)
    assert 0 < expected.mean() < 1 and np.ptp(expected) > 0.01
    torch.testing.assert_close(done.pixels, torch.from_numpy(expected.clip(0, 1)).float(), atol=2e-4, rtol=0)
    torch.testing.assert_close(done.mask, 0.9 * editable_area(crops))


@pytest.mark.parametrize("name", ONE_EACH.values())
def test_photos_are_averaged_on_the_sphere_before_anything_else(files, name):
    spec, source = small(name), Scene(3, 2)
    rows, weight = encoded(source, files), np.array([1.0, 0.5, 2.0])
    length = (weight * np.linalg.norm(rows, axis=-1)).sum() / weight.sum()
    mean = unit((weight[:, None] * unit(rows)).sum(0, keepdims=True)) * length
    made = load(files, spec).encode(person(source, 1.0, 0.5, 2.0))
    torch.testing.assert_close(made, torch.from_numpy(fed(mean, spec.embedding, files)).float(), atol=3e-4, rtol=1e-3)


class Spy:
    """A runner that can be watched."""

    def __init__(self, runner):
        self.inputs, self.runner = runner.inputs, runner

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        return self.runner(*inputs)


@pytest.mark.parametrize("name", ONE_EACH.values())
def test_less_strength_turns_the_targets_own_embedding(files, name):
    spec, source, target = small(name), Scene(1, 0), Scene(2, 1)
    swapper, crops = load(files, spec), target.crops(spec.template, 128)
    # The swapper's own crop may be small: the target's embedding is compared at a size that shows as much.
    own = torch.from_numpy(fed(encoded(target, files), spec.embedding, files)).float()
    torch.testing.assert_close(swapper.prepared(swapper.embed(crops)), own, atol=3e-3, rtol=2e-2)

    seen = []

    class Watching(Spy):
        def __call__(self, *inputs: Tensor) -> list[Tensor]:
            seen.append(inputs[1])
            return super().__call__(*inputs)

    crops, who = target.crops(spec.template, SIZE), swapper.encode(person(source))
    watched = replace(swapper, runner=Watching(swapper.runner))
    for strength in (1.0, 0.5, 1e-6):
        watched(crops, who, strength)
    own = swapper.prepared(swapper.embed(crops))
    full, half, none = (rows.expand(2, -1) for rows in seen)
    torch.testing.assert_close(full, who.expand(2, -1))
    torch.testing.assert_close(none, own, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(half.norm(dim=-1), (own.norm(dim=-1) + who.norm(dim=-1)) / 2)
    torch.testing.assert_close(nnf.normalize(half, dim=-1), nnf.normalize(own + who, dim=-1), atol=1e-5, rtol=0)


def test_a_converted_swapper_makes_the_same_picture(tmp_path, nets, export):
    swapping = export(tmp_path / "s.onnx", nets.swapping(), torch.rand(1, 3, SIZE, SIZE), torch.rand(1, 512))
    model = onnx.load(str(swapping))
    emap = np.random.default_rng(1).normal(size=(512, 512)).astype(np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(emap, "emap"))
    onnx.save(model, str(swapping))
    encoder = export(tmp_path / "e.onnx", Encode(), torch.rand(1, 3, 112, 112))
    for path in (swapping, encoder):
        save_model(path.with_suffix(".safetensors"), load_graph(path), torch.float32)
    spec, crops = small("inswapper_128"), Scene(2, 1).crops("arcface_128", SIZE)
    made = []
    for kind in (".onnx", ".safetensors"):
        swapper = load_onnx_swapper(swapping.with_suffix(kind), spec, [encoder.with_suffix(kind)])
        assert len(swapper.networks) == (2 if kind == ".safetensors" else 0)
        made.append(swapper(crops, swapper.encode(person(Scene(2, 0))), 0.7).pixels)
    torch.testing.assert_close(*made, atol=1e-4, rtol=0)
    assert made[0].std() > 0.001


def test_the_crops_given_are_not_changed(files):
    swapper, crops = load(files, small("inswapper_128")), Scene(2, 1).crops("arcface_128", SIZE)
    kept = replace(crops, pixels=crops.pixels.clone(), mask=crops.mask.clone())
    swap(crops, swapper.encode(person(Scene(1, 0))), swapper, 0.5)
    assert torch.equal(crops.pixels, kept.pixels) and torch.equal(crops.mask, kept.mask)


def test_files_that_are_something_else_are_named(tmp_path, files, export):
    spec, encoder = small("inswapper_128"), [files["encoder"]]
    with pytest.raises(
        BadInput, match=r"paint\.onnx: is not a swapper of 128 px: its inputs are 1 x 3 x 32 x 32 and 1 x"
    ):
        load_onnx_swapper(files["paint"], replace(spec, size=128), encoder)
    with pytest.raises(
        BadInput, match=r"encoder\.onnx: is not a swapper of 32 px: .*, not N x 3 x 32 x 32 and N x 512$"
    ):
        load_onnx_swapper(files["encoder"], spec, encoder)
    with pytest.raises(
        BadInput, match=r"paint\.onnx: is not an encoder of faces: its inputs are .*, not N x 3 x 112 x"
    ):
        load_onnx_swapper(files["paint"], spec, [files["paint"]])
    with pytest.raises(BadInput, match=r"encoder\.onnx: is not a converter of embeddings"):
        load_onnx_swapper(files["paint"], small("hififace"), [files["encoder"], files["encoder"]])
    plain = export(tmp_path / "plain.onnx", Paint(), torch.rand(1, 3, SIZE, SIZE), torch.rand(1, 512))
    with pytest.raises(BadInput, match=r"plain\.onnx: has no weights"):
        load_onnx_swapper(plain, spec, encoder)
    model = onnx.load(str(plain))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones((3, 4), np.float32), "emap"))
    onnx.save(model, str(plain))
    with pytest.raises(BadInput, match=r"plain\.onnx: its last weight is 3 x 4, not the 512 x 512"):
        load_onnx_swapper(plain, spec, encoder)
    with pytest.raises(BadInput, match=r"paint\.onnx: embeddings of kind cscs"):
        load_onnx_swapper(files["paint"], replace(spec, embedding="cscs"), encoder)
