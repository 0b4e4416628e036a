"""Proxy Pairs of the example people, at 64 px, with the bundled networks, on the small host."""

from __future__ import annotations

import gc
import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

FOLDER = "mine_64px_1x_seed0"


@pytest.fixture(scope="module")
def loaded(pack: Any) -> Any:
    return pack.module("cscs_core.pipeline").load_models()


@pytest.fixture(scope="module")
def photographs(pack: Any) -> Tensor:
    """Two people and nobody, IMAGE."""
    people = pack.module("cscs_core.tasks.example_people")
    files = [people.EXAMPLES / f"person_{number}.jpg" for number in (1, 5)]
    pixels = torch.cat([pack.module("cscs_core.io.images").read(file) for file in files])
    return torch.cat([pixels, torch.full_like(pixels[:1], 0.5)]).movedim(1, -1)


@pytest.fixture
def run(pack: Any, host: Any, loaded: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    monkeypatch.setattr(pack.module("cscs_core.pipeline"), "load_models", lambda *_, **__: loaded)
    node = pack.nodes["CSCS_ProxyPairs"]
    with torch.inference_mode():
        yield lambda image, prefix="mine": node.execute(image, prefix, 0, 1, 64)


@pytest.fixture
def output(host: Any) -> Path:
    return Path(importlib.import_module("folder_paths").get_output_directory())


def files(folder: Path) -> dict[str, bytes]:
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def test_photographs_become_the_layout_of_the_release(run: Any, output: Path, photographs: Tensor) -> None:
    done = run(photographs)
    preview, report, folder = done.result
    assert folder == FOLDER and [path.name for path in output.iterdir()] == [FOLDER]
    lines = [json.loads(line) for line in (output / FOLDER / "manifest.jsonl").read_text().splitlines()][1:]
    assert [line["source"] for line in lines] == ["image 0", "image 1", "image 2"]
    made = [line["name"] for line in lines if "skipped" not in line]
    assert len(made) == 2
    for name in made:
        files = {"0_gensrc.jpg", "0_gendst.jpg", "0_gendst.jpg_facethin.jpg", "0_gendst.jpg_facechubby.jpg"}
        assert {path.name for path in (output / FOLDER / "proxy_data" / name).iterdir()} == {name, *files}
        assert (output / FOLDER / "normal_data" / name).is_file()
    assert f"{FOLDER}: pairs made from {len(made)} of 3 photographs; 1 without a face" in report
    assert "image 2: no face" in report and "there are only 2 faces to borrow hair" in report
    assert preview.shape == (1, 192 * len(made), 5 * 192, 3)
    assert done.ui["cscs_badge"] == [f"pairs from {len(made)} of 3 photos"]
    assert len(done.ui["images"]) == 1


def test_the_sheet_shows_photograph_source_target_thin_and_chubby(
    run: Any, output: Path, photographs: Tensor, pack: Any
) -> None:
    [sheet] = run(photographs[:2]).result[0]
    [first, *_] = [json.loads(line) for line in (output / FOLDER / "manifest.jsonl").read_text().splitlines()][1:]
    folder = output / FOLDER / "proxy_data" / first["name"]
    names = [first["name"], "0_gensrc.jpg", "0_gendst.jpg", "0_gendst.jpg_facethin.jpg", "0_gendst.jpg_facechubby.jpg"]
    for column, name in enumerate(names):
        picture = pack.module("cscs_core.io.images").read(folder / name)
        cell = sheet[:192, 192 * column : 192 * (column + 1)].movedim(-1, 0)[None]
        small = torch.nn.functional.interpolate(cell, (64, 64), mode="area")
        assert (small - picture).abs().mean() < 0.02


def test_cancelled_it_leaves_nothing_half_and_goes_on_to_the_same_files(
    run: Any, output: Path, photographs: Tensor, host: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(photographs, "whole")
    management = importlib.import_module("comfy.model_management")
    asked = 0

    def cancel() -> None:
        nonlocal asked
        asked += 1
        if asked == 9:
            raise management.InterruptProcessingException

    with monkeypatch.context() as patch:
        patch.setattr(management, "throw_exception_if_processing_interrupted", cancel)
        with pytest.raises(management.InterruptProcessingException):
            run(photographs)
    assert not list(output.rglob(".cscs*"))
    lines = (output / FOLDER / "manifest.jsonl").read_text().splitlines()[1:]
    assert {path.name for path in (output / FOLDER / "proxy_data").iterdir()} <= {
        json.loads(line)["name"] for line in lines
    }
    run(photographs)
    assert files(output / FOLDER) == files(output / "whole_64px_1x_seed0")


def test_nobody_who_lent_a_face_is_kept_when_the_work_is_done(run: Any, photographs: Tensor, pack: Any) -> None:
    run(photographs)
    gc.collect()
    pool = pack.module("cscs_core.surrogates.recipe").Pool
    assert not [one for one in gc.get_objects() if type(one) is pool]


def test_the_seed_stays_as_it_is_between_runs(pack: Any) -> None:
    (seed,) = (part for part in pack.nodes["CSCS_ProxyPairs"].GET_SCHEMA().inputs if part.id == "seed")
    assert seed.control_after_generate is False  # None would do for the page what True does


def test_no_image_is_no_folder(run: Any, output: Path) -> None:
    preview, report, folder = run(torch.zeros(0, 32, 32, 3)).result
    assert preview.shape[0] == 0 and report == "no images received" and folder == FOLDER
    assert not list(output.iterdir())


def test_a_folder_of_something_else_is_left_alone(run: Any, output: Path, photographs: Tensor) -> None:
    (output / FOLDER).mkdir()
    (output / FOLDER / "holiday.jpg").touch()
    with pytest.raises(ValueError, match=r"contains holiday\.jpg but no manifest\.jsonl; choose an empty folder"):
        run(photographs)
    assert [path.name for path in (output / FOLDER).iterdir()] == ["holiday.jpg"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("cscs/pairs", "cscs/pairs"),
        ("../../etc/x", "etc/x"),
        ("/etc/x", "etc/x"),
        ("C:\\new\\..\\x. ", "C_/new/x"),
        ('a<b>|"c?*\n', "a_b___c___"),
        ("Menschen/Zoe \u00e9", "Menschen/Zoe \u00e9"),
    ],
)
def test_names_stay_below_the_output_folder(pack: Any, tmp_path: Path, name: str, path: str) -> None:
    assert pack.module("nodes.pairs").inside(tmp_path, name).as_posix() == path


def test_a_link_out_of_the_output_folder_is_refused(pack: Any, tmp_path: Path) -> None:
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "away").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="leads out of the output folder; choose another"):
        pack.module("nodes.pairs").inside(tmp_path / "output", "away/x")
