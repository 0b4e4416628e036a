"""Load Model: what it lists, says and gives away."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

ROLES = ("detector", "swapper", "restorer")


@pytest.fixture
def folder(pack: Any, host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """models/cscs, empty; nothing else is on this machine."""
    paths = importlib.import_module("folder_paths")
    (tmp_path / "cscs").mkdir()
    monkeypatch.setitem(paths.folder_names_and_paths, "cscs", ([str(tmp_path / "cscs")], set()))
    monkeypatch.setattr(paths, "models_dir", str(tmp_path / "models"))
    monkeypatch.setenv("CSCS_HOME", str(tmp_path / "home"))
    return tmp_path / "cscs"


@pytest.fixture
def load(pack: Any, folder: Path) -> Any:
    return pack.nodes["CSCS_LoadModel"]


def combos(load: Any) -> dict[str, Any]:
    return {part.id: part for part in load.GET_SCHEMA().inputs}


def test_without_files_the_bundled_ones_are_listed(load: Any) -> None:
    lists = combos(load)
    assert [lists[role].options for role in ROLES] == [["lite"], ["lite", "warp"], ["lite"]]
    assert [lists[role].default for role in ROLES] == ["lite"] * 3


def test_what_is_there_is_listed_with_its_licence_and_state(load: Any, folder: Path, monkeypatch: Any) -> None:
    for name in ("inswapper_128.onnx", "w600k_r50.onnx", "codeformer.safetensors", "det_10g.safetensors"):
        (folder / name).touch()
    module = importlib.import_module(load.__module__)
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    lists = combos(load)
    assert lists["swapper"].options == ["lite", "warp", "inswapper_128"]
    assert lists["restorer"].options == ["lite", "codeformer"]
    assert lists["detector"].options == ["lite", "scrfd_10g"]
    said = {role: lists[role].tooltip.splitlines() for role in ROLES}
    assert said["swapper"][1] == "lite: bundled; research, non-commercial"
    assert "non-commercial" in said["swapper"][3]
    assert said["swapper"][3].endswith("inswapper_128.onnx, needs onnxruntime: pip install onnxruntime")
    assert said["restorer"][2] == (
        "codeformer: S-Lab-1.0, non-commercial; codeformer.safetensors, needs spandrel: pip install spandrel"
    )
    assert said["detector"][2].endswith("det_10g.safetensors, runs in torch")


def test_a_pack_of_insightface_is_listed_where_it_is(load: Any, folder: Path) -> None:
    (folder / "models" / "buffalo_l").mkdir(parents=True)
    (folder / "models" / "buffalo_l" / "det_10g.onnx").touch()
    assert "buffalo_l" in combos(load)["detector"].options
    assert "antelopev2" not in combos(load)["detector"].options


def test_choices_carry_role_name_and_device_and_info_a_line_of_each(load: Any, pack: Any) -> None:
    *choices, info = load.execute("lite", "warp", "lite", "cpu").result
    Choice = pack.module("nodes.loaded").Choice
    assert choices == [
        Choice("detector", "lite", "cpu"),
        Choice("swapper", "warp", "cpu"),
        Choice("restorer", "lite", "cpu"),
    ]
    assert [line.split(":")[0] for line in info.splitlines()] == ["detector lite", "swapper warp", "restorer lite"]


def test_a_file_that_went_is_named_before_and_when_the_graph_runs(load: Any, folder: Path) -> None:
    for name in ("inswapper_128.onnx", "w600k_r50.onnx"):
        (folder / name).touch()
    assert load.validate_inputs("lite", "inswapper_128", "lite") is True
    (folder / "w600k_r50.onnx").unlink()
    said = load.validate_inputs("lite", "inswapper_128", "lite")
    assert said.startswith("swapper inswapper_128: its files are missing") and str(folder) in said
    assert said.endswith("or choose lite or warp")
    with pytest.raises(ValueError, match="swapper inswapper_128: its files are missing"):
        load.execute("lite", "inswapper_128", "lite")


def test_names_still_to_come_from_other_nodes_are_accepted(load: Any) -> None:
    assert load.validate_inputs(None, None, None) is True


def test_the_fingerprint_changes_with_the_files_alone(load: Any, folder: Path) -> None:
    def fingerprint() -> str:
        return load.fingerprint_inputs(detector="lite", swapper="lite", restorer="lite", device="auto")

    empty = fingerprint()
    assert fingerprint() == empty
    (folder / "inswapper_128.onnx").write_bytes(b"1")
    first = fingerprint()
    (folder / "inswapper_128.onnx").write_bytes(b"22")
    second = fingerprint()
    (folder / "inswapper_128.onnx").unlink()
    assert len({empty, first, second}) == 3 and fingerprint() == empty
