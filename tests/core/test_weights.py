from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from cscs_core import weights
from cscs_core.models import (
    ARCHITECTURES,
    DetectorConfig,
    EncoderConfig,
    FaceDetector,
    FaceMeshConfig,
    IdentityEncoder,
    LandmarkConfig,
)

_PART = LandmarkConfig(size=64, widths=(2, 3, 4, 5, 6), features=8)
SMALL = {
    "face_detector": DetectorConfig(widths=(2, 3, 4, 5, 6), neck=4),
    "face_mesh": FaceMeshConfig(whole=_PART, eye=replace(_PART, points=3), mouth=replace(_PART, points=5)),
    "identity_encoder": EncoderConfig(widths=(2, 3, 4, 5), embedding=8),
}


def _model(arch: str) -> nn.Module:
    return ARCHITECTURES[arch][1](cast(Any, SMALL[arch]))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "encoder.safetensors"
    weights.save_model(path, _model("identity_encoder"))
    return path


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_models_come_back_as_half_floats_say(arch, tmp_path):
    model = _model(arch)
    weights.save_model(tmp_path / "model.safetensors", model, licence="none")
    loaded = weights.load_model(tmp_path / "model.safetensors")
    assert type(loaded) is type(model)
    assert not loaded.training
    before, after = model.state_dict(), loaded.state_dict()
    assert list(before) == list(after)
    for name, value in before.items():
        expected = value.half().float() if value.is_floating_point() else value
        assert torch.equal(after[name], expected), name
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_loaded_models_compute(arch, tmp_path):
    model = _model(arch).eval()
    weights.save_model(tmp_path / "model.safetensors", model, torch.float32)
    loaded = weights.load_model(tmp_path / "model.safetensors")
    side = getattr(SMALL[arch], "size", 64)
    pictures = torch.rand(1, 3, side, side)
    # A face mesh has three networks, which `locate` runs.
    pairs = zip(loaded.children(), model.children(), strict=True) if arch == "face_mesh" else [(loaded, model)]
    with torch.no_grad():
        for after, before in pairs:
            torch.testing.assert_close(after(pictures), before(pictures))


def test_every_architecture_is_built_as_it_is_named():
    assert {name: type(_model(name)) for name in ARCHITECTURES} == {
        name: build for name, (_, build) in ARCHITECTURES.items()
    }


def test_a_loaded_model_can_be_saved_again(file, tmp_path):
    again = tmp_path / "again.safetensors"
    weights.save_model(again, weights.load_model(file))
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


def _says(path: Path, *words: str) -> None:
    with pytest.raises(ValueError) as caught:
        weights.load_model(path)
    for word in (str(path), *words):
        assert word in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64, b"\x89PNG\r\n\x1a\n" + b"\0" * 99])
def test_other_files_are_named(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    _says(path, "not a safetensors file")


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.999])
def test_truncated_files_are_named(file, share):
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    _says(file, "not a safetensors file")


def test_a_folder_is_named(tmp_path):
    _says(tmp_path, "not a safetensors file")


def test_a_missing_file_is_named(tmp_path):
    _says(tmp_path / "none.safetensors", "no such file")


@pytest.mark.parametrize("metadata", [{}, {"arch": "inswapper", "config": "{}"}])
def test_an_unknown_architecture_is_named(tmp_path, metadata):
    path = tmp_path / "model.safetensors"
    weights.write(path, {"a": torch.zeros(1)}, metadata)
    _says(path, f"arch={metadata.get('arch')!r}", "known are face_detector, face_mesh, identity_encoder")


@pytest.mark.parametrize("config", [None, "not json", "[]", "7", '{"colour": "red"}'])
def test_a_configuration_that_does_not_fit_is_named(tmp_path, config):
    path = tmp_path / "model.safetensors"
    notes = {} if config is None else {"config": config}
    weights.write(path, {"a": torch.zeros(1)}, {"arch": "identity_encoder", **notes})
    _says(path, "holds no configuration of identity_encoder")


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_tensors_that_do_not_fit_are_named(tmp_path, change):
    state = _model("identity_encoder").state_dict()
    if change == "missing":
        del state["head.weight"]
    else:
        state["extra.weight" if change == "extra" else "head.weight"] = torch.zeros(1)
    path = tmp_path / "model.safetensors"
    config = json.dumps(asdict(SMALL["identity_encoder"]))
    weights.write(path, state, {"arch": "identity_encoder", "config": config})
    _says(path, "does not fit identity_encoder", "extra.weight" if change == "extra" else "head.weight")


def test_nothing_is_half_written(file, monkeypatch):
    before = file.read_bytes()

    def full(path: Path, content: bytes) -> None:
        with open(path, "wb") as out:
            out.write(content[:100])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        weights.save_model(file, _model("identity_encoder"))
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]


def test_a_model_we_do_not_know_is_not_written(tmp_path):
    with pytest.raises((StopIteration, ValueError)):
        weights.save_model(tmp_path / "model.safetensors", nn.Linear(2, 2))
    assert list(tmp_path.iterdir()) == []


def test_folders_are_made(tmp_path):
    weights.save_model(tmp_path / "a" / "b" / "model.safetensors", IdentityEncoder(SMALL["identity_encoder"]))
    assert isinstance(weights.load_model(tmp_path / "a" / "b" / "model.safetensors"), IdentityEncoder)
    assert not isinstance(_model("identity_encoder"), FaceDetector)
