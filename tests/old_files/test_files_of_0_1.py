"""Files that version 0.1 wrote are read, swapped with and continued by this one; the numbers are what 0.1 computed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from cscs_core import pipeline
from cscs_core.cli import main
from cscs_core.faces.identity_file import load_identity
from cscs_core.faces.swappers.catalogue import load_swapper
from cscs_core.hub.store import Store
from cscs_core.io import images
from cscs_core.tasks.example_people import EXAMPLES
from cscs_core.train.swap import presets

OLD = Path(__file__).parent / "0.1"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of everything, which may be written to."""
    return Path(shutil.copytree(OLD, tmp_path / "old"))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_an_identity_file_holds_the_same_person():
    person = load_identity(OLD / "person.safetensors")
    expected = torch.tensor([-0.045842, 0.002152, 0.050165, -0.031221])
    torch.testing.assert_close(person.embedding[0, :4], expected, atol=1e-6, rtol=0)
    assert (person.encoder, person.weight.tolist(), person.crops.size) == ("lite", [1.0], 64)
    assert float(person.crops.pixels.mean()) == pytest.approx(0.450908, abs=1e-6)


def test_a_run_swaps_as_it_did(tmp_path: Path):
    models = pipeline.load_models()
    swapper = load_swapper(str(OLD / "run"), Store(tmp_path))
    source = pipeline.prepare_source(load_identity(OLD / "person.safetensors"), swapper, models)
    target = images.read(EXAMPLES / "person_2.jpg")
    done = pipeline.swap_faces(target, source, models)
    assert float(done.mask.mean()) == pytest.approx(0.327299, abs=2e-4)
    assert float((done.images - target).abs().mean()) == pytest.approx(0.021940, abs=2e-4)
    pixel = torch.tensor([0.721470, 0.420201, 0.449246])
    torch.testing.assert_close(done.images[0, :, 300, 230], pixel, atol=5e-3, rtol=0)


def test_a_run_goes_on_where_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch):
    state = pytest.importorskip("accelerate").state
    state.AcceleratorState._reset_state(True)  # of a test before this one in the same process
    small = replace(
        presets.PRESETS["toy"],
        generator=partial(presets._small, widths=(4, 4, 8, 8), blocks=1),
        critic=partial(presets._critic, 64, 4),
        check_every=2,
        log_every=2,
    )
    monkeypatch.setitem(presets.PRESETS, "toy", small)
    run, before = folder / "run", (OLD / "run" / "log.jsonl").read_text("utf-8")
    options = ["--data", str(folder / "pairs"), "--encoder", str(run / "encoder.safetensors"), "--device", "cpu"]
    assert main(["train", "toy", *options, "--out", str(run), "--batch", "2", "--steps", "6"]) == 0
    log = (run / "log.jsonl").read_text("utf-8")
    assert log.startswith(before)
    assert {json.loads(line)["step"] for line in log.removeprefix(before).splitlines()} == {6}


def test_finished_pairs_are_left_as_they_are(folder: Path):
    before = contents(folder / "pairs")
    assert main(["pairs", str(EXAMPLES), str(folder / "pairs"), "--size", "64", "--jobs", "1"]) == 0
    after = contents(folder / "pairs")
    after.pop(".lock", None)
    assert after == before
