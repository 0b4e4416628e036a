from __future__ import annotations

import json
import os
import pickle
import stat
import struct
import tracemalloc
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cscs_core.hub import weights
from cscs_core.io.files import BadInput
from cscs_core.models import (
    ARCHITECTURES,
    AEIConfig,
    DetectorConfig,
    DiscriminatorConfig,
    EncoderConfig,
    FaceDetector,
    FaceMesh,
    FaceMeshConfig,
    FaceRestorerConfig,
    IdAdapterConfig,
    IdentityEncoder,
    IResNetConfig,
    LandmarkConfig,
    RefinerConfig,
    SmallGeneratorConfig,
)
from cscs_core.models.graph import GraphConfig, Node, Port

pytestmark = pytest.mark.usefixtures("narrow")
_PART = LandmarkConfig(size=64, widths=(2, 3, 4, 5, 6), features=8)
SMALL = {
    "face_detector": DetectorConfig(widths=(2, 3, 4, 5, 6), neck=4),
    "face_mesh": FaceMeshConfig(whole=_PART, eye=replace(_PART, points=3), mouth=replace(_PART, points=5)),
    "identity_encoder": EncoderConfig(widths=(2, 3, 4, 5), embedding=8),
    "aei": AEIConfig(identity=8),
    "iresnet": IResNetConfig(depth=18, embedding=8),
    "id_adapter": IdAdapterConfig(depth=18, embedding=8),
    "discriminator": DiscriminatorConfig(size=16, width=8),
    "refiner": RefinerConfig(identity=8, widths=(4, 4), blocks=1),
    "face_restorer": FaceRestorerConfig(widths=(4, 4), blocks=1),
    "small_generator": SmallGeneratorConfig(identity=3, widths=(2, 3), blocks=1),
    "graph": GraphConfig(
        inputs=(Port("x", (None, 3, 64, 64)),),
        outputs=(Port("y", (None, 3, 64, 64)),),
        nodes=(Node("Mul", ("x", "w0"), ("y",), {}),),
        weights={"w0": [1, 3, 1, 1]},
        constants={},
    ),
}


def _model(arch: str) -> nn.Module:
    return ARCHITECTURES[arch][1](cast(Any, SMALL[arch])).eval()


def test_every_architecture_has_a_small_configuration_here():
    assert sorted(set(ARCHITECTURES) - set(SMALL)) == []


def test_a_network_before_its_weights_holds_no_leftovers_of_memory():
    # regression: memory that nobody fills is sometimes NaN, which no weights file may hold
    for value in _model("graph").state_dict().values():
        assert value.eq(0).all()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.safetensors"
    weights.save_model(path, _model("identity_encoder"))
    return path


@pytest.mark.parametrize("arch", SMALL)
def test_models_come_back_as_half_floats_say(arch, tmp_path):
    model = _model(arch)
    weights.save_model(tmp_path / "model.safetensors", model, licence="none")
    loaded = weights.load_any(tmp_path / "model.safetensors")
    assert type(loaded) is type(model)
    assert not loaded.training
    before, after = model.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    for name, value in before.items():
        expected = value.half().float() if value.is_floating_point() else value
        assert torch.equal(after[name], expected), name
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("arch", sorted(set(SMALL) - {"aei"}))  # slow and large, and one like the others
def test_loaded_models_compute(arch, tmp_path):
    model = _model(arch)
    weights.save_model(tmp_path / "model.safetensors", model, torch.float32)
    loaded = weights.load_any(tmp_path / "model.safetensors")
    side = 112 if arch in ("iresnet", "id_adapter") else getattr(SMALL[arch], "size", 64)
    pictures = torch.rand(2, 1, 3, side, side)
    given = {  # what other networks than of one picture look at
        "small_generator": (pictures[0], torch.rand(1, 3)),
        "refiner": (*pictures, pictures[0, :, :1], torch.rand(1, 8)),
    }.get(arch, pictures[:1])
    # A face mesh has three networks, which `locate` runs.
    pairs = zip(loaded.children(), model.children(), strict=True) if arch == "face_mesh" else [(loaded, model)]
    with torch.no_grad():
        for after, before in pairs:
            torch.testing.assert_close(after(*given), before(*given))


def test_every_architecture_is_built_as_it_is_named():
    with torch.device("meta"):
        built = {name: type(_model(name)) for name in SMALL}
    assert built == {name: ARCHITECTURES[name][1] for name in SMALL}


def test_a_loaded_model_can_be_saved_again(file, tmp_path):
    again = tmp_path / "again.safetensors"
    weights.save_model(again, weights.load_any(file))
    first, second = load_file(file), load_file(again)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_file_is_half_the_size(tmp_path):
    model = _model("face_detector")
    for dtype in (torch.float16, torch.float32):
        weights.save_model(tmp_path / str(dtype), model, dtype)
    numbers = sum(value.numel() for value in model.state_dict().values() if value.is_floating_point())
    half, whole = ((tmp_path / str(dtype)).stat().st_size for dtype in (torch.float16, torch.float32))
    assert whole - half == pytest.approx(2 * numbers, abs=500)  # the header writes the numbers out


def test_a_model_of_the_needed_architecture_is_loaded(file):
    assert isinstance(weights.load_model(file, IdentityEncoder), IdentityEncoder)
    assert isinstance(weights.load_model(file, (FaceMesh, IdentityEncoder)), IdentityEncoder)


def test_tensors_and_notes_are_read_as_they_were_written(tmp_path):
    tensors = {
        "half": torch.randn(3, 4).half(),
        "single": torch.randn(2),
        "whole": torch.arange(4),
        "flag": torch.tensor(True),
        "none": torch.zeros(0, 3),
    }
    weights.write(tmp_path / "a.safetensors", tensors, {"licence": "none"})
    read, metadata = weights.read(tmp_path / "a.safetensors")
    assert metadata == {"licence": "none"}
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        assert read[name].dtype == value.dtype
        assert torch.equal(read[name], value)


def test_a_file_may_say_nothing_of_itself(tmp_path):
    weights.write(tmp_path / "a.safetensors", {"a": torch.ones(1)}, {})
    assert weights.read(tmp_path / "a.safetensors")[1] == {}


def test_a_view_is_written_as_it_looks(tmp_path):
    value = torch.randn(4, 6)
    weights.write(tmp_path / "a.safetensors", {"a": value.T, "b": value[1:, ::2]}, {})
    read, _ = weights.read(tmp_path / "a.safetensors")
    assert torch.equal(read["a"], value.T)
    assert torch.equal(read["b"], value[1:, ::2])


def _says(path: Path, *words: str, kinds: type[nn.Module] | tuple[type[nn.Module], ...] = ()) -> None:
    with pytest.raises(BadInput) as caught:
        if kinds:
            weights.load_model(path, kinds)
        else:
            weights.load_any(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ")
    assert len(said.splitlines()) == 1
    for word in words:
        assert word in said


@pytest.mark.parametrize(
    "content", [b"", b"x", b"not safetensors at all", b"\xff" * 64, b"\x89PNG\r\n\x1a\n" + b"\0" * 99]
)
def test_other_files_are_named(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    _says(path, "not a safetensors file", "fetch it again")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_truncated_files_are_named(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    _says(file, "truncated; fetch it again")


def test_a_file_that_goes_on_is_damaged(file):
    file.write_bytes(file.read_bytes() + b"\0")
    _says(file, "damaged", "fetch it again")


def test_a_header_that_is_no_table_is_damaged(tmp_path):
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", 9) + b"{]]]]]]]]" + b"\0" * 99)
    _says(path, "damaged", "fetch it again")


@pytest.mark.parametrize("claim", [99_000_000, 101_000_000, 2**40, 2**64 - 1])
def test_a_header_that_claims_to_be_huge_takes_no_memory(tmp_path, claim):
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", claim) + b'{"a":')
    tracemalloc.start()
    _says(path, "fetch it again")
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


class _Bomb:
    def __reduce__(self):
        return pytest.fail, ("was unpickled",)


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.CKPT", "model.safetensors", "model"])
@pytest.mark.parametrize("kind", ["zip", "legacy", "plain", "script"])
def test_pickles_are_sent_to_be_converted_and_never_run(tmp_path, name, kind):
    path = tmp_path / name
    if kind == "plain":
        path.write_bytes(pickle.dumps(_Bomb()))
    elif kind == "script":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("model/data/0", bytes(16))  # what TorchScript files begin with
            archive.writestr("model/data.pkl", pickle.dumps(_Bomb()))
    else:
        torch.save({"a": torch.zeros(2), "b": _Bomb()}, path, _use_new_zipfile_serialization=kind == "zip")
    _says(path, "is a pickle", f"convert it first: cscs convert {path}")


def test_a_zip_bomb_is_refused_by_its_first_bytes(tmp_path):
    path = tmp_path / "model.safetensors"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("model.safetensors", "w", force_zip64=True) as inside,
    ):
        for _ in range(4):
            inside.write(bytes(2**24))  # 64 MiB in all
    tracemalloc.start()
    _says(path, "is a zip archive", "unpack it")
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()


def test_an_onnx_file_is_sent_to_be_converted(tmp_path):
    # ir_version 8, producer_name "pytorch": fields 1 and 2 of the protobuf message.
    content = b"\x08\x08\x12\x07pytorch" + bytes(50)
    for name in ("model.onnx", "model.safetensors"):
        (tmp_path / name).write_bytes(content)
        _says(tmp_path / name, "is an ONNX file", f"cscs convert {tmp_path / name}")


def test_a_folder_is_named(tmp_path):
    _says(tmp_path, "is a folder, not a safetensors file")


def test_a_device_is_named():
    if not Path("/dev/zero").exists():
        pytest.skip("this system has no /dev/zero")
    _says(Path("/dev/zero"), "is a device, not a safetensors file")


def test_a_missing_file_is_named(tmp_path):
    _says(tmp_path / "none.safetensors", "no such file")


@pytest.mark.skipif(os.name == "nt", reason="Windows says it otherwise")
def test_a_file_that_cannot_be_opened_says_why(tmp_path):
    _says(tmp_path / ("x" * 300), "cannot be read (File name too long)")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_weights_that_are_not_finite_are_named(tmp_path, bad, dtype):
    path = tmp_path / "model.safetensors"
    values = torch.randn(1000).to(dtype)
    values[777] = bad
    weights.write(path, {"fine": torch.ones(3), "layer.weight": values}, {})
    _says(path, "'layer.weight' holds NaN or infinite weights")


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_numbers_of_another_width_are_named(tmp_path, dtype):
    path = tmp_path / "model.safetensors"
    weights.write(path, {"fine": torch.ones(3), "layer.weight": torch.ones(2, dtype=getattr(torch, dtype))}, {})
    _says(path, f"'layer.weight' is {dtype}", f"convert it to float32: cscs convert {path}")


@pytest.mark.parametrize("dtype", [torch.int8, torch.uint8, torch.int64, torch.bool])
def test_whole_numbers_in_place_of_weights_are_named(tmp_path, dtype):
    path = tmp_path / "model.safetensors"
    _write(path, {**_model("identity_encoder").state_dict(), "head.bias": torch.ones(8).to(dtype)})
    name = str(dtype).removeprefix("torch.")
    _says(path, f"'head.bias' is {name} instead of float32; convert it to float32: cscs convert {path}")


def _write(path: Path, state: dict[str, torch.Tensor], arch: str = "identity_encoder") -> None:
    weights.write(path, state, {"arch": arch, "config": json.dumps(asdict(cast(Any, SMALL[arch])))})


def test_a_file_of_no_architecture_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    weights.write(path, {"a": torch.zeros(1)}, {})
    _says(path, "names no architecture", f"known are {', '.join(ARCHITECTURES)}", f"cscs convert {path}")
    _says(path, "names no architecture", "needed here is face_mesh", kinds=FaceMesh)


def test_an_unknown_architecture_is_named(tmp_path):
    path = tmp_path / "model.safetensors"
    weights.write(path, {"a": torch.zeros(1)}, {"arch": "colour", "config": "{}"})
    _says(path, "names an unknown architecture, 'colour'", f"known are {', '.join(ARCHITECTURES)}")
    _says(path, "names an unknown architecture, 'colour'", "needed here is face_mesh", kinds=FaceMesh)


def test_a_model_of_another_kind_is_named(file):
    _says(file, "is of the architecture identity_encoder; needed here is face_detector", kinds=FaceDetector)
    _says(file, "needed here is face_detector or face_mesh", kinds=(FaceDetector, FaceMesh))


@pytest.mark.parametrize(
    "config",
    [
        None,
        "not json",
        "[]",
        "7",
        '{"colour": "red"}',
        '{"widths": 7}',
        '{"widths": []}',
        '{"widths": "abcd"}',
        '{"widths": [1, 2, 3, -4]}',
        '{"widths": [1.5, 2, 3, 4]}',
        '{"size": "large"}',
        '{"embedding": null}',
        "[" * 100_000,
    ],
)
def test_a_configuration_that_does_not_fit_is_named(tmp_path, config):
    path = tmp_path / "model.safetensors"
    notes = {} if config is None else {"config": config}
    weights.write(path, {"a": torch.zeros(1)}, {"arch": "identity_encoder", **notes})
    _says(path, "has no valid configuration of identity_encoder")


def test_tensors_that_do_not_fit_are_named_together(tmp_path):
    path = tmp_path / "model.safetensors"
    state = _model("identity_encoder").state_dict()
    del state["head.bias"]
    _write(path, {**state, "extra.weight": torch.zeros(1), "head.weight": torch.zeros(5, 8)})
    _says(
        path,
        "does not fit identity_encoder: it lacks 'head.bias'; it has the unknown 'extra.weight'; "
        "of the wrong shape 'head.weight' 5 x 8 instead of 8 x 5",
    )


def test_three_names_stand_for_many(tmp_path):
    path = tmp_path / "model.safetensors"
    state = _model("identity_encoder").state_dict()
    _write(path, {f"odd{index}": torch.zeros(1) for index in range(5)})
    first, second, third = list(state)[:3]
    _says(
        path,
        f"it lacks '{first}', '{second}', '{third}' and {len(state) - 3} more; "
        "it has the unknown 'odd0', 'odd1', 'odd2' and 2 more",
    )


def test_nothing_is_half_written(file, monkeypatch):
    before = file.read_bytes()

    def full(tensors: dict, path: Path, metadata: dict) -> None:
        with open(path, "wb") as out:
            out.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        weights.save_model(file, _model("identity_encoder"))
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_files_may_be_read_by_those_who_may_read_others(file):
    other = file.with_name("other")
    other.touch()
    assert stat.S_IMODE(file.stat().st_mode) == stat.S_IMODE(other.stat().st_mode)


def test_a_model_we_do_not_know_is_not_written(tmp_path):
    with pytest.raises(ValueError, match="Linear is not an architecture for weights files"):
        weights.save_model(tmp_path / "model.safetensors", nn.Linear(2, 2))
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made(tmp_path):
    weights.save_model(tmp_path / "a" / "b" / "model.safetensors", IdentityEncoder(SMALL["identity_encoder"]))
    assert isinstance(weights.load_any(tmp_path / "a" / "b" / "model.safetensors"), IdentityEncoder)
    assert not isinstance(_model("identity_encoder"), FaceDetector)
