from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import pickle
import random
import tarfile
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cscs_core.commands import convert as cmd_convert
from cscs_core.hub import convert, weights
from cscs_core.hub.registry import MODELS
from cscs_core.io.files import BadInput
from cscs_core.models import aei, iresnet
from cscs_core.models.adapter import IdAdapter, IdAdapterConfig
from cscs_core.models.aei import AEIConfig, AEINet
from cscs_core.models.graph import GraphNet
from cscs_core.models.iresnet import IResNet, IResNetConfig

PLAIN = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.tensor([0.5, -2.0])}


@pytest.fixture(autouse=True)
def _narrow(monkeypatch) -> None:
    """Networks of the same build with few channels."""
    monkeypatch.setattr(aei, "DOWN", (4, 4, 4, 4, 4, 4, 4))
    monkeypatch.setattr(aei, "UP", (4, 4, 4, 4, 4, 4))
    monkeypatch.setattr(aei, "ATTRIBUTES", (4, 8, 8, 8, 8, 8, 8, 8))
    monkeypatch.setattr(aei, "WIDTHS", (4, 4, 4, 4, 4, 4, 4, 4, 3))
    monkeypatch.setattr(iresnet, "WIDTHS", (4, 4, 4, 4))


def _options(*files: Path, out: Path, **others: Any) -> argparse.Namespace:
    options = {"adapter": None, "half": False, "licence": None, **others}
    return argparse.Namespace(files=list(files), out=out, **options)


def _saved(path: Path, content: Any, **options: Any) -> Path:
    torch.save(content, path, **options)
    return path


def _generator(identity: int = 512) -> AEINet:
    return AEINet(AEIConfig(identity))


def _adapter(kind: str = "add") -> IdAdapter:
    return IdAdapter(IdAdapterConfig(kind, 18, 512))


def _checkpoint(path: Path, generator: nn.Module, adapter: nn.Module, **options: Any) -> Path:
    """As the authors of CSCS published theirs, and with what a training leaves beside it."""
    more = {"D": {"weight": torch.ones(2)}, "step": 7, "optimiser": {"state": {}, "param_groups": [{"lr": 0.1}]}}
    return _saved(path, {"G": generator.state_dict(), "adapter": adapter.state_dict(), **more}, **options)


def _same(path: Path, model: nn.Module) -> None:
    loaded = weights.load_any(path)
    assert type(loaded) is type(model)
    assert loaded.config == model.config
    state = model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


def _says(path: Path, *words: str, **options: Any) -> None:
    """The file is refused in one line, and nothing is left behind."""
    out = path.parent / "refused"
    with pytest.raises(BadInput) as caught:
        convert.convert(path, out, **options)
    for word in (str(path), *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not out.exists() or not list(out.iterdir())


# The checkpoint of CSCS


@pytest.mark.parametrize("zipped", (True, False))
def test_a_checkpoint_of_cscs_becomes_two_models(tmp_path, zipped, capsys):
    generator, adapter = _generator(), _adapter()
    path = _checkpoint(tmp_path / "cscs.pth", generator, adapter, _use_new_zipfile_serialization=zipped)
    out = tmp_path / "out"
    assert cmd_convert.run(_options(path, out=out)) == 0
    assert sorted(file.name for file in out.iterdir()) == ["cscs_adapter.safetensors", "cscs_generator.safetensors"]
    _same(out / "cscs_generator.safetensors", generator)
    _same(out / "cscs_adapter.safetensors", adapter)
    assert capsys.readouterr().out.splitlines() == [
        f"{out / 'cscs_generator.safetensors'}: aei, identity 512",
        f"{out / 'cscs_adapter.safetensors'}: id_adapter, kind add, depth 18, embedding 512",
    ]


def test_names_of_data_parallel_are_taken_off(tmp_path):
    generator, adapter = _generator(), _adapter()
    path = _checkpoint(tmp_path / "cscs.pth", nn.DataParallel(generator), nn.DataParallel(adapter))
    made = list(convert.convert(path, tmp_path))
    _same(made[0], generator)
    _same(made[1], adapter)


def test_a_wide_generator_has_a_concatenating_adapter(tmp_path):
    path = _checkpoint(tmp_path / "cscs.pth", _generator(1024), _adapter("concat"))
    made = list(convert.convert(path, tmp_path))
    assert weights.load_model(made[0], AEINet).config == AEIConfig(1024)
    assert weights.load_model(made[1], IdAdapter).config == IdAdapterConfig("concat", 18, 512)


def test_an_adapter_that_does_not_show_its_kind_is_asked_about(tmp_path):
    path = _checkpoint(tmp_path / "cscs.pth", _generator(), _adapter("replace"))
    _says(path, "--adapter concat or --adapter replace")
    made = list(convert.convert(path, tmp_path, adapter="replace"))
    assert weights.load_model(made[1], IdAdapter).config == IdAdapterConfig("replace", 18, 512)


@pytest.mark.parametrize("depth", (18, 34, 50, 100))
def test_an_iresnet_keeps_its_name(depth, tmp_path):
    """Anybody's: the recogniser of another pack must not take the place of the encoder of CSCS."""
    model = IResNet(IResNetConfig(depth, 512))
    assert cmd_convert.run(_options(_saved(tmp_path / "backbone.pth", model.state_dict()), out=tmp_path)) == 0
    _same(tmp_path / "backbone.safetensors", model)


def test_a_file_made_of_another_is_not_overwritten_and_one_made_of_the_same_is(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first, second = (
        _saved(tmp_path / name / "backbone.pth", IResNet(IResNetConfig(18, 8)).state_dict()) for name in ("a", "b")
    )
    (made,) = convert.convert(first, tmp_path / "out")
    assert list(convert.convert(first, tmp_path / "out")) == [made]
    with pytest.raises(BadInput, match=r"backbone.safetensors exists and was made from another file; delete it"):
        convert.convert(second, tmp_path / "out")
    made.write_bytes(b"damaged")
    assert list(convert.convert(second, tmp_path / "out")) == [made]


@pytest.mark.parametrize(("kind", "adapter"), [("add", None), ("concat", "concat"), ("replace", "replace")])
def test_an_adapter_alone(kind, adapter, tmp_path):
    model = _adapter(kind)
    path = _saved(tmp_path / "adapter.pt", model.state_dict())
    assert cmd_convert.run(_options(path, out=tmp_path, adapter=adapter)) == 0
    _same(tmp_path / "cscs_adapter.safetensors", model)


def test_weights_that_do_not_fit_their_network_are_named(tmp_path):
    state = _generator().state_dict()
    del state["encoder.conv1.0.weight"]
    _says(_saved(tmp_path / "model.pth", state), "does not fit aei", "encoder.conv1.0.weight")


def test_a_checkpoint_with_another_generator_is_named(tmp_path):
    _says(_saved(tmp_path / "gan.pth", {"G": PLAIN, "adapter": PLAIN}), "its G is not the CSCS generator")


# Other weights


@pytest.mark.parametrize("name", ("model.pth", "model.pth.tar", "model.pt", "MODEL.CKPT"))
@pytest.mark.parametrize("inside", (None, "params_ema", "params", "state_dict"))
def test_other_weights_keep_their_names(name, inside, tmp_path):
    path = _saved(tmp_path / name, PLAIN if inside is None else {inside: PLAIN, "iteration": 3})
    made = convert.convert(path, tmp_path / "out")
    assert [file.name for file in made] == [f"{name.split('.')[0]}.safetensors"]
    tensors, metadata = weights.read(*made)
    assert tensors.keys() == PLAIN.keys()
    assert all(torch.equal(tensors[key], value) for key, value in PLAIN.items())
    assert "arch" not in metadata


def test_averaged_weights_are_preferred(tmp_path):
    path = _saved(tmp_path / "model.pth", {"params": PLAIN, "params_ema": {"a.bias": torch.ones(2)}})
    assert weights.read(*convert.convert(path, tmp_path))[0].keys() == {"a.bias"}


def test_the_file_says_where_it_came_from(tmp_path):
    path = _saved(tmp_path / "backbone.pth", IResNet(IResNetConfig(18, 8)).state_dict())
    metadata = weights.read(*convert.convert(path, tmp_path, licence="CC0"))[1]
    assert metadata["arch"] == "iresnet"
    assert json.loads(metadata["config"]) == {"depth": 18, "embedding": 8}
    assert metadata["converted_from"] == "backbone.pth"
    assert metadata["converted_from_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert metadata["licence"] == "CC0"


@pytest.mark.parametrize(
    ("name", "file"),
    [("cscs_encoder", "cscs_encoder"), ("w600k_r50", "w600k_r50"), ("simswap_arcface", "simswap_arcface_model")],
)
def test_a_published_file_brings_its_name_and_its_licence(name, file, tmp_path, monkeypatch):
    path = _saved(tmp_path / "renamed.pth", IResNet(IResNetConfig(18, 8)).state_dict())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(MODELS, name, replace(MODELS[name], sha256=digest))
    (made,) = convert.convert(path, tmp_path)
    assert made.name == f"{file}.safetensors"
    assert weights.read(made)[1]["licence"] == MODELS[name].licence


KINDS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


@pytest.mark.parametrize("half", (False, True))
@pytest.mark.parametrize("kind", KINDS)
def test_floating_point_numbers_become_of_one_kind(kind, half, tmp_path):
    state = {
        "weight": torch.tensor([0.5, -2.0, 1000.0], dtype=kind),
        "count": torch.tensor(7),
        "on": torch.tensor([True]),
    }
    assert cmd_convert.run(_options(_saved(tmp_path / "model.pth", state), out=tmp_path, half=half)) == 0
    tensors, _ = weights.read(tmp_path / "model.safetensors")
    assert tensors["weight"].dtype == (torch.float16 if half else torch.float32)
    assert tensors["weight"].tolist() == [0.5, -2.0, 1000.0]
    assert tensors["count"].item() == 7
    assert tensors["on"].tolist() == [True]


@pytest.mark.parametrize("kind", KINDS)
def test_safetensors_are_only_brought_to_float32(kind, tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "model.safetensors"
    save_file({name: value.to(kind) for name, value in PLAIN.items()}, path, {"arch": "something", "config": "{}"})
    tensors, metadata = weights.read(*convert.convert(path, tmp_path))
    assert all(torch.equal(tensors[name], value) for name, value in PLAIN.items())
    assert (metadata["arch"], metadata["converted_from"]) == ("something", "model.safetensors")


def test_safetensors_without_an_architecture_are_recognised(tmp_path):
    model = IResNet(IResNetConfig(18, 8))
    save_file(model.state_dict(), tmp_path / "backbone.safetensors")
    (made,) = convert.convert(tmp_path / "backbone.safetensors", tmp_path / "out")
    _same(made, model)


def test_tensors_that_share_memory_are_written_each(tmp_path):
    whole = torch.arange(12.0)
    state = {"a": whole[:6], "b": whole[6:], "c": whole, "d": whole.reshape(3, 4).T, "e": whole[:3].expand(2, 3)}
    tensors, _ = weights.read(*convert.convert(_saved(tmp_path / "model.pth", state), tmp_path))
    assert all(torch.equal(tensors[name], value) for name, value in state.items())


# Files that are refused


@pytest.mark.parametrize("number", (float("nan"), float("inf"), -float("inf")))
def test_numbers_that_are_none_are_named(number, tmp_path):
    _says(_saved(tmp_path / "model.pth", {**PLAIN, "b": torch.tensor([1.0, number])}), "'b' has NaN or infinite values")


def test_numbers_that_half_floats_cannot_hold_are_named(tmp_path):
    path = _saved(tmp_path / "model.pth", {"b": torch.tensor([1e6])})
    _says(path, "'b' has values too large for --half", dtype=torch.float16)


class _Command:
    def __init__(self, command: str):
        self.command = command

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (self.command,)


@pytest.mark.parametrize("form", ("zip", "old", "pickle", "tar"))
def test_a_pickle_that_runs_a_command_is_refused_and_runs_none(form, tmp_path):
    path, trace = tmp_path / "model.pth", tmp_path / "trace"
    content = {**PLAIN, "b": _Command(f"echo run > {trace}")}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content["b"], protocol=2))
    elif form == "tar":
        (tmp_path / "pickle").write_bytes(pickle.dumps(content["b"], protocol=2))
        with tarfile.open(path, "w") as archive:
            for name in ("sys_info", "pickle", "storages", "tensors"):
                archive.add(tmp_path / "pickle", name)
    else:
        _saved(path, content, _use_new_zipfile_serialization=form == "zip")
    _says(path, "tar archive" if form == "tar" else "system, which is not a tensor and could run code; no code was run")
    assert not trace.exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (argparse.Namespace(lr=1), "refers to argparse.Namespace"),
        (nn.Linear(2, 2), "refers to torch.nn.modules.linear.Linear"),
        ([1, 2], "contains a list"),
        (torch.ones(2), "contains a Tensor"),
        ({}, "contains no state dict (it is empty)"),
        ({"lr": 1, "epoch": 2}, "contains no state dict ('lr', 'epoch')"),
        ({**PLAIN, "lr": 1}, "'lr' in its state dict is a int"),
        ({**PLAIN, 3: torch.ones(1)}, "3 in its state dict is a Tensor"),
        ({"a": torch.ones(2, dtype=torch.complex64)}, "'a' is not a plain tensor"),
        ({"a": torch.eye(3).to_sparse()}, "'a' is not a plain tensor"),
        ({"a": torch.zeros(1).expand(10**6, 10**6)}, "claims far more values"),
    ],
)
def test_checkpoints_without_plain_weights_are_named(content, words, tmp_path):
    _says(_saved(tmp_path / "model.pth", content), words)


@pytest.mark.parametrize("zipped", (True, False))
@pytest.mark.parametrize("share", (0, 0.001, 0.1, 0.5, 0.99))
def test_truncated_pickles_are_named(share, zipped, tmp_path):
    path = _saved(tmp_path / "model.pth", {"a": torch.ones(300)}, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    _says(path, "is damaged, truncated or not a pickle of tensors")


@pytest.mark.parametrize("content", (b"hello", b"\x89PNG\r\n\x1a\n" + bytes(99), b"\x80", b"\x80\x02" + bytes(99)))
@pytest.mark.parametrize("name", ("model.pth", "model.safetensors"))
def test_other_files_are_named(name, content, tmp_path):
    path = tmp_path / name
    path.write_bytes(content)
    _says(path, "is damaged")


@pytest.mark.parametrize("zipped", (True, False))
def test_random_damage_ends_in_one_line(zipped, tmp_path):
    path = _saved(
        tmp_path / "model.pth", {"G": {"a": torch.ones(9)}, "n": [1, {"b": 2.5}]}, _use_new_zipfile_serialization=zipped
    )
    content, rng = path.read_bytes(), random.Random(0)
    for _ in range(200):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            convert.read_networks(path)
        except BadInput as error:
            assert "\n" not in str(error)


def test_programs_and_other_archives_are_named(tmp_path):
    program = tmp_path / "program.pt"
    with zipfile.ZipFile(program, "w") as archive:
        archive.writestr("program/constants.pkl", b"")
        archive.writestr("program/data.pkl", b"")
    _says(program, "is a TorchScript program")
    other = tmp_path / "other.pt"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("readme.txt", b"")
    _says(other, "is damaged, truncated or not a pickle of tensors")


def test_a_compressed_archive_is_refused_before_it_is_unpacked(tmp_path):
    """A few kilobytes of it may be gigabytes of zeros."""
    path = _saved(tmp_path / "model.pth", PLAIN)
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    _says(path, "is a compressed archive, not weights")


@pytest.mark.parametrize("name", ("none.pth", "none.onnx", "none.safetensors"))
def test_a_missing_file_is_named(name, tmp_path):
    _says(tmp_path / name, "cannot be read (No such file or directory)")


def test_a_folder_is_named(tmp_path):
    (tmp_path / "model.pth").mkdir()
    _says(tmp_path / "model.pth", "cannot be read (Is a directory)")


def test_another_kind_of_file_is_named(tmp_path):
    path = tmp_path / "model.h5"
    path.write_bytes(b"")
    _says(path, "has none of the suffixes .pth.tar, .pth, .pt, .ckpt, .onnx, .safetensors")


# Several files, and the folder


def test_one_bad_file_does_not_keep_the_others_from_it(tmp_path, capsys):
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"hello")
    good = _saved(tmp_path / "good.pth", PLAIN)
    assert cmd_convert.run(_options(bad, good, out=tmp_path / "out")) == 2
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["good.safetensors"]
    told = capsys.readouterr()
    assert told.err.splitlines() == [
        line for line in told.err.splitlines() if line.startswith(f"cscs: {bad}: is damaged")
    ]
    assert len(told.err.splitlines()) == len(told.out.splitlines()) == 1


def test_what_was_given_or_just_made_is_not_overwritten(tmp_path, capsys):
    first = _saved(tmp_path / "model.pth", PLAIN)
    second = _saved(tmp_path / "model.pt", {"b": torch.ones(1)})
    assert cmd_convert.run(_options(first, second, out=tmp_path)) == 2
    assert weights.read(tmp_path / "model.safetensors")[0].keys() == PLAIN.keys()
    before = (tmp_path / "model.safetensors").read_bytes()
    assert cmd_convert.run(_options(tmp_path / "model.safetensors", out=tmp_path)) == 2
    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert capsys.readouterr().err.count("choose another folder") == 2


def test_a_folder_that_cannot_be_is_named(tmp_path):
    path = _saved(tmp_path / "model.pth", PLAIN)
    with pytest.raises(BadInput, match="is not a folder"):
        convert.convert(path, path)


def test_nothing_is_half_written(tmp_path, monkeypatch):
    path = _saved(tmp_path / "model.pth", PLAIN)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(weights, "save_file", full)
    with pytest.raises(BadInput, match=r"cannot be written .*No space left"):
        convert.convert(path, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


# ONNX


def _exported(model: nn.Module, path: Path) -> Path:
    """Legacy export, where equal weights are stored once."""
    pytest.importorskip("onnx")
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        preserve = torch.onnx.TrainingMode.PRESERVE
        torch.onnx.export(model.eval(), (torch.zeros(1, 3, 112, 112),), path, dynamo=False, training=preserve)
    return path


@pytest.mark.parametrize(
    ("model", "adapter", "config"),
    [
        (IResNet, None, IResNetConfig(18, 8)),
        (IResNet, "concat", IdAdapterConfig("concat", 18, 8)),
        (IdAdapter, None, IdAdapterConfig("add", 18, 8)),
    ],
)
def test_onnx_files_become_models(model, adapter, config, tmp_path):
    source = model(IResNetConfig(18, 8) if model is IResNet else config)
    path = _exported(source, tmp_path / "any.onnx")
    (made,) = convert.convert(path, tmp_path, adapter)
    assert made.name == ("any.safetensors" if isinstance(config, IResNetConfig) else "cscs_adapter.safetensors")
    loaded = weights.load_any(made)
    assert loaded.config == config
    state = source.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in loaded.state_dict().items())


def test_other_networks_become_graphs(tmp_path, capsys):
    source = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU())
    path = _exported(source, tmp_path / "model.onnx")
    assert cmd_convert.run(_options(path, out=tmp_path)) == 0
    assert "model.safetensors: graph, an unknown network (3x112x112 -> 5x110x110)" in capsys.readouterr().out
    picture = torch.rand(1, 3, 112, 112)
    (made,) = weights.load_model(tmp_path / "model.safetensors", GraphNet)(picture)
    with torch.no_grad():
        torch.testing.assert_close(made, source(picture))


def test_what_cannot_even_be_a_graph_is_named(tmp_path):
    onnx = pytest.importorskip("onnx")
    path = _exported(nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU()), tmp_path / "model.onnx")
    model = onnx.load(path)
    model.graph.node[1].op_type = "Hardmax"
    onnx.save(model, path)
    _says(path, "Hardmax", "it looks like an unknown network (3x112x112 -> 5x110x110)")


def test_a_published_graph_is_found_under_the_name_of_its_file(tmp_path, monkeypatch):
    path = _exported(nn.Conv2d(3, 5, 3), tmp_path / "renamed.onnx")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setitem(MODELS, "scrfd_10g", replace(MODELS["scrfd_10g"], sha256=digest))
    (made,) = convert.convert(path, tmp_path)
    assert made.name == "det_10g.safetensors"
