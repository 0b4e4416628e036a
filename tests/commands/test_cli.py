"""The command line: exit codes, reports, files and folders."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from cscs_core import cli
from cscs_core.cli import main
from cscs_core.commands import detect as cmd_detect
from cscs_core.commands import swap as cmd_swap
from cscs_core.hub.weights import LITE
from cscs_core.io import images
from cscs_core.models import SmallGenerator, SmallGeneratorConfig
from cscs_core.tasks.example_people import EXAMPLES
from cscs_core.train.swap.student import load_recogniser, new_student, save_student

MISSING = [name for name in ("detector", "landmarks", "encoder") if not (LITE / f"{name}.safetensors").exists()]
PEOPLE = sorted(EXAMPLES.glob("*.jpg"))
needs_people = pytest.mark.skipif(
    bool(MISSING) or len(PEOPLE) < 3, reason=f"bundled files are missing: {', '.join(MISSING) or EXAMPLES.name}"
)
PLAIN = ["--device", "cpu"]


@pytest.fixture(scope="module", autouse=True)
def _networks_are_loaded_once() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        load = functools.cache(cmd_swap.load_models)
        for command in (cmd_swap, cmd_detect):
            patch.setattr(command, "load_models", load)
        yield


@pytest.fixture(scope="module")
def swapped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The first person's face on the second's picture, and the report."""
    output, report = (tmp_path_factory.mktemp("swapped") / name for name in ("größe out.png", "report.json"))
    assert swap(PEOPLE[0], PEOPLE[1], output, "--json", str(report)) == 0
    return output, report


@pytest.fixture
def landscape(tmp_path: Path) -> Path:
    """A picture without a face."""
    y, x = np.mgrid[:120, :160]
    path = tmp_path / "land scape.png"
    Image.fromarray(np.stack([x, y, 255 - y], -1).astype(np.uint8)).save(path)
    return path


@pytest.fixture
def couple(tmp_path: Path) -> Path:
    """Two of the example people, the first one larger and on the right."""
    first, second = (Image.open(file) for file in PEOPLE[:2])
    sheet = Image.new("RGB", (600, 360), "grey")
    sheet.paste(second.resize((240, 240)), (0, 60))
    sheet.paste(first.resize((360, 360)), (240, 0))
    path = tmp_path / "couple.png"
    sheet.save(path)
    return path


def swap(source: Path, target: Path, output: Path, *more: str) -> int:
    paths = ["--source", str(source), "--target", str(target), "--output", str(output)]
    return main(["swap", *paths, *PLAIN, "--size", "256", *more])


def changed(before: Path, after: Path) -> np.ndarray:
    """Where two pictures differ, (H, W) bool."""
    a, b = (np.asarray(Image.open(path).convert("RGB")) for path in (before, after))
    assert a.shape == b.shape
    return (a != b).any(-1)


# What goes wrong before any network is needed


@pytest.mark.parametrize("option", [["--balance", "1", "0.5"], ["--quad"]])
def test_options_of_cscs_are_refused_with_another_swapper(
    landscape: Path, tmp_path: Path, option: list[str], capsys: pytest.CaptureFixture[str]
):
    assert swap(landscape, landscape, tmp_path / "out.png", *option) == 2
    assert "need the swapper cscs or a trained one, not " in capsys.readouterr().err


@pytest.mark.parametrize("weights", [["1", "1"], ["-1"], ["0"], ["inf"], ["nan"]])
def test_weights_that_do_not_fit_are_said(
    landscape: Path, tmp_path: Path, weights: list[str], capsys: pytest.CaptureFixture[str]
):
    assert swap(landscape, landscape, tmp_path / "out.png", "--weights", *weights) == 2
    assert "--weights: needs one number per source photo (1)" in capsys.readouterr().err


def test_bad_options_exit_with_2(tmp_path: Path, landscape: Path):
    for line in (["swap"], ["detect"], ["dance"], [], ["detect", str(landscape), "--detection", "1.5"]):
        with pytest.raises(SystemExit) as caught:
            main(line)
        assert caught.value.code == 2


def test_the_module_is_the_program_and_does_not_load_what_only_training_needs():
    code = (
        "import runpy, sys\n"
        "sys.argv = ['cscs', 'detect', 'no such.png']\n"
        "try:\n"
        "    runpy.run_module('cscs_core.cli', run_name='__main__')\n"
        "finally:\n"
        "    assert not {'accelerate', 'scipy'} & set(sys.modules)\n"
    )
    root = Path(cli.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == "" and done.stderr == "cscs: no such.png: no such file\n"


@pytest.mark.parametrize("role", ["--source", "--target", "--reference"])
def test_a_missing_file_is_named_before_work_begins(
    tmp_path: Path, landscape: Path, capsys: pytest.CaptureFixture[str], role: str
):
    extra = [] if role != "--reference" else ["--reference", str(tmp_path / "gone.png")]
    paths = {"--source": landscape, "--target": landscape, role: tmp_path / "gone.png"}
    assert swap(paths["--source"], paths["--target"], tmp_path / "out.png", *extra) == 2
    assert f"{tmp_path / 'gone.png'}: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


@pytest.mark.parametrize("output", ["land scape.png/out.png", "out.txt", "out", "land scape.png"])
def test_an_output_that_cannot_be_is_refused_before_work_begins(
    tmp_path: Path, landscape: Path, monkeypatch: pytest.MonkeyPatch, output: str
):
    monkeypatch.setattr(cmd_swap, "load_models", lambda device: pytest.fail("work has begun"))
    before = landscape.read_bytes()
    assert swap(landscape, landscape, tmp_path / output) == 2
    assert landscape.read_bytes() == before and os.listdir(tmp_path) == [landscape.name]


def test_an_unwritable_report_is_refused_before_work_begins(
    tmp_path: Path, landscape: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cmd_swap, "load_models", lambda device: pytest.fail("work has begun"))
    for report in (tmp_path, landscape / "report.json", landscape):
        assert swap(landscape, landscape, tmp_path / "out.png", "--json", str(report)) == 2
        assert main(["detect", str(landscape), "--json", str(report)]) == 2
    assert main(["demo", "--out", str(landscape / "demo.png")]) == 2


def test_the_output_may_not_be_the_target_by_another_name(tmp_path: Path, landscape: Path):
    (tmp_path / "link.png").symlink_to(landscape)
    assert swap(landscape, tmp_path / "link.png", landscape) == 2
    assert swap(landscape, tmp_path, tmp_path) == 2


def test_a_folder_needs_a_folder_and_pictures(tmp_path: Path, landscape: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    assert swap(landscape, tmp_path / "empty", tmp_path / "out") == 2
    assert "no pictures in this folder" in capsys.readouterr().err
    assert swap(landscape, tmp_path, tmp_path / "file") == 2
    assert "must be a folder" in capsys.readouterr().err


def test_an_unknown_device_is_bad_input(landscape: Path, capsys: pytest.CaptureFixture[str]):
    for name in ["toaster"] if torch.cuda.is_available() else ["toaster", "cuda"]:
        assert main(["detect", str(landscape), "--device", name]) == 2
        assert f"--device {name}: " in capsys.readouterr().err


def test_a_size_the_swapper_does_not_have_is_bad_input(
    tmp_path: Path, landscape: Path, capsys: pytest.CaptureFixture[str]
):
    assert swap(landscape, landscape, tmp_path / "out.png", "--size", "300") == 2
    assert "--size 300: lite supports" in capsys.readouterr().err


def test_a_fault_of_ours_is_not_called_bad_input(landscape: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_: object) -> None:
        raise ValueError("weights are damaged")

    monkeypatch.setattr(cmd_detect, "load_models", fail)
    with pytest.raises(ValueError, match="weights are damaged"):  # python itself exits with 1
        main(["detect", str(landscape)])


def test_an_unknown_swapper_is_answered_with_those_there_are(
    tmp_path: Path, landscape: Path, capsys: pytest.CaptureFixture[str]
):
    assert swap(landscape, landscape, tmp_path / "out.png", "--swapper", "magic") == 2
    said = capsys.readouterr().err
    assert said.startswith("cscs: unknown swapper 'magic'; ") and " warp, " in said and said.count("\n") == 1
    assert "or the folder of a training run" in said


def test_an_unknown_restorer_is_answered_with_those_there_are(
    tmp_path: Path, landscape: Path, capsys: pytest.CaptureFixture[str]
):
    assert swap(landscape, landscape, tmp_path / "out.png", "--restore", "magic") == 2
    assert "unknown restorer 'magic'; choose one of lite, " in capsys.readouterr().err
    assert swap(landscape, landscape, tmp_path / "out.png", "--restore", str(tmp_path / "gone.safetensors")) == 2
    assert f"{tmp_path / 'gone.safetensors'}: no such file" in capsys.readouterr().err


# Detect


@needs_people
def test_detect_reports_boxes_points_and_landmarks(tmp_path: Path, landscape: Path):
    report = tmp_path / "new" / "report.json"
    assert main(["detect", str(PEOPLE[0]), str(landscape), "--json", str(report), *PLAIN]) == 0
    person, nobody = json.loads(report.read_text())
    assert person["image"] == str(PEOPLE[0]) and nobody == {"image": str(landscape), "faces": []}
    (face,) = person["faces"]
    assert sorted(face) == ["box", "landmarks", "points", "score"]
    x1, y1, x2, y2 = face["box"]
    assert np.shape(face["points"]) == (5, 2) and np.shape(face["landmarks"]) == (68, 2) and 0.5 <= face["score"] <= 1
    x, y = np.transpose(face["points"])
    assert (x1 < x).all() and (x < x2).all() and (y1 < y).all() and (y < y2).all()


@needs_people
def test_detect_goes_on_after_a_broken_picture_and_says_so(
    tmp_path: Path, landscape: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "broken.jpg").write_bytes(PEOPLE[0].read_bytes()[:500])
    report = tmp_path / "report.json"
    assert main(["detect", str(tmp_path), "--json", str(report), *PLAIN]) == 2
    assert [entry["image"] for entry in json.loads(report.read_text())] == [str(landscape)]
    assert "broken.jpg" in capsys.readouterr().err
    report.unlink()
    assert main(["detect", str(tmp_path / "broken.jpg"), "--json", str(report), *PLAIN]) == 2
    assert not report.exists()


@needs_people
def test_faces_are_numbered_by_the_order(tmp_path: Path, couple: Path):
    lefts = {}
    for order in ("large-small", "left-right"):
        assert main(["detect", str(couple), "--order", order, "--json", str(tmp_path / "r.json"), *PLAIN]) == 0
        lefts[order] = [face["box"][0] for face in json.loads((tmp_path / "r.json").read_text())[0]["faces"]]
    assert len(lefts["left-right"]) == 2 and lefts["left-right"] == sorted(lefts["left-right"])
    assert lefts["large-small"] == lefts["left-right"][::-1]


# Swap


@needs_people
def test_swap_brings_the_target_nearer_to_the_source(swapped: tuple[Path, Path]):
    output, report = swapped
    said = json.loads(report.read_text())
    (face,) = said["faces"]
    assert face["similarity_to_source"] > face["similarity_to_target"] and len(face["box"]) == 4
    assert said["images"] == [{"target": str(PEOPLE[1]), "output": str(output), "swapped": 1, "notes": []}]
    assert 0.01 < changed(PEOPLE[1], output).mean() < 0.7


@needs_people
def test_the_result_says_that_it_is_synthetic_unless_asked_not_to(tmp_path: Path, swapped: tuple[Path, Path]):
    assert swap(PEOPLE[0], PEOPLE[1], tmp_path / "b.png", "--no-provenance") == 0
    with Image.open(swapped[0]) as noted, Image.open(tmp_path / "b.png") as plain:
        assert "Synthetic" in noted.info["Description"] and not plain.info


@needs_people
def test_the_folder_of_a_training_run_is_a_swapper_and_stays_out_of_the_picture(tmp_path: Path):
    recogniser = load_recogniser(LITE / "encoder.safetensors")
    student = new_student(SmallGenerator(SmallGeneratorConfig(128, (4, 8), 1)), recogniser)
    save_student(tmp_path / "my run", student, recogniser, 64)
    run, out = str(tmp_path / "my run"), tmp_path / "out.png"
    assert swap(PEOPLE[0], PEOPLE[1], out, "--swapper", run, "--size", "64") == 0
    assert 0.01 < changed(PEOPLE[1], out).mean() < 0.7
    with Image.open(out) as noted:
        assert "swapper trained" in noted.info["Description"] and "my run" not in str(noted.info)


@needs_people
def test_a_source_without_a_face_writes_nothing(tmp_path: Path, landscape: Path, capsys: pytest.CaptureFixture[str]):
    report = tmp_path / "report.json"
    assert swap(landscape, PEOPLE[0], tmp_path / "out" / "a.png", "--json", str(report)) == 2
    assert f"{landscape}: no face found" in capsys.readouterr().err
    assert os.listdir(tmp_path) == [landscape.name]


@needs_people
@pytest.mark.parametrize("name", ["copy.png", "copy.webp"])
def test_a_target_without_a_face_is_passed_on_unchanged(
    tmp_path: Path, landscape: Path, capsys: pytest.CaptureFixture[str], name: str
):
    assert swap(PEOPLE[0], landscape, tmp_path / name, "--json", str(tmp_path / "r.json")) == 0
    assert "no face found" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["faces"] == []
    if name.endswith(".png"):
        assert (tmp_path / name).read_bytes() == landscape.read_bytes()
    else:
        assert images.read(tmp_path / name).shape == images.read(landscape).shape


@needs_people
def test_folders_go_in_and_out(tmp_path: Path, landscape: Path, capsys: pytest.CaptureFixture[str]):
    folder = tmp_path / "in"
    folder.mkdir()
    Image.open(PEOPLE[1]).resize((200, 200)).save(folder / "p.bmp")
    (folder / "l.png").write_bytes(landscape.read_bytes())
    (folder / "x.jpg").write_text("no picture")
    (folder / "notes.txt").touch()
    report = tmp_path / "r.json"
    assert swap(PEOPLE[0], folder, tmp_path / "out", "--json", str(report)) == 2
    assert sorted(os.listdir(tmp_path / "out")) == ["l.png", "p.bmp.png"]
    assert "x.jpg" in capsys.readouterr().err
    said = json.loads(report.read_text())
    assert [entry["swapped"] for entry in said["images"]] == [0, 1] and len(said["faces"]) == 1


@needs_people
@pytest.mark.parametrize(
    ("choice", "sides"),
    [
        ([], {"left", "right"}),
        (["--face", "0"], {"right"}),
        (["--face", "0", "--order", "left-right"], {"left"}),
        (["--face", "0", "1"], {"left", "right"}),
        (["--reference", "PERSON"], {"right"}),
    ],
)
def test_only_the_chosen_faces_change(tmp_path: Path, couple: Path, choice: list[str], sides: set[str]):
    choice = [str(PEOPLE[0]) if word == "PERSON" else word for word in choice]
    assert swap(PEOPLE[2], couple, tmp_path / "out.png", *choice) == 0
    where = changed(couple, tmp_path / "out.png")
    assert {name for name, half in (("left", where[:, :240]), ("right", where[:, 240:])) if half.any()} == sides


@needs_people
def test_a_face_that_is_not_there_is_said(tmp_path: Path, couple: Path, capsys: pytest.CaptureFixture[str]):
    assert swap(PEOPLE[2], couple, tmp_path / "out.png", "--face", "7") == 0
    assert "there is no face 7: 2 found" in capsys.readouterr().out
    assert (tmp_path / "out.png").read_bytes() == couple.read_bytes()


@needs_people
def test_several_source_photos_are_one_person(tmp_path: Path, swapped: tuple[Path, Path]):
    (tmp_path / "person").mkdir()
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / "person" / name).write_bytes(PEOPLE[0].read_bytes())
    assert swap(tmp_path / "person", PEOPLE[1], tmp_path / "twice.png") == 0
    once, twice = (images.read(path) for path in (swapped[0], tmp_path / "twice.png"))
    assert float((once - twice).abs().max()) < 1.5 / 255  # two rows may round to another step than one


@needs_people
def test_the_demo_shows_rows_and_says_likeness(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["demo", "--out", str(tmp_path / "out" / "demo.png"), *PLAIN]) == 0
    assert capsys.readouterr().out.count("before") >= 3
    assert images.read(tmp_path / "out" / "demo.png").shape[-1] > 900


@needs_people
def test_the_bundled_restorer_changes_the_swapped_face_alone(tmp_path: Path, swapped: tuple[Path, Path]):
    plain, restored = swapped[0], tmp_path / "restored.png"
    assert swap(PEOPLE[0], PEOPLE[1], restored, "--restore", "lite", "--restore-blend", "1") == 0
    again, before = changed(plain, restored), changed(PEOPLE[1], plain)
    assert again.mean() > 0.02
    assert (again & ~before).mean() < 0.005  # some pixels at the rim are swapped by less than a bit
