"""Training pairs of the example people, on disk: what is there, what is said of it, and how it is gone on with."""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from PIL import Image
from torch import Generator, Tensor

from cscs_core.commands import pairs as cmd_pairs
from cscs_core.faces.align import align, realign
from cscs_core.faces.select import order
from cscs_core.io import images, provenance
from cscs_core.io.files import BadInput
from cscs_core.pairs import make as pairs
from cscs_core.pairs.manifest import Manifest
from cscs_core.pairs.worker import PhotographInMemory, Plan, Tools, number_of
from cscs_core.pipeline import Models, find, load_models
from cscs_core.surrogates.attempts import retry_rejected
from cscs_core.surrogates.base import Surrogate, unfiltered
from cscs_core.surrogates.recipe import Pool
from cscs_core.tasks.example_people import EXAMPLES
from cscs_core.train.swap.data import FileProxies, folder_data
from cscs_core.types import Crops, join

ROOT = Path(__file__).parents[2]
PEOPLE = sorted(EXAMPLES.glob("*.jpg"))
SIZE = 128
COUPLE, VIEW = "couple.png.jpg", "wide view.png.jpg"  # as they are called in the end


def options(photos: Path, out: Path, **others: Any) -> argparse.Namespace:
    return argparse.Namespace(
        **{"photos": photos, "out": out, "size": SIZE, "seed": 1, "count": 1, "jobs": 1, **others}
    )


def files(folder: Path) -> dict[str, bytes]:
    """All that is in a folder, but the lock."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.name != ".lock"}
    return {name: path.read_bytes() for name, path in found.items() if path.is_file()}


def manifest(folder: Path) -> dict[str, dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]
    return {line["name"]: line for line in lines[1:]}


def view(path: Path) -> None:
    """A picture without a face."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 120), torch.linspace(0, 1, 160), indexing="ij")
    images.write(path, torch.stack([x, y, 1 - y]))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The six people, two of them together (the first one larger), and nobody."""
    folder = tmp_path_factory.mktemp("photos")
    for person in PEOPLE:
        shutil.copy(person, folder)
    first, second = (Image.open(file) for file in PEOPLE[:2])
    sheet = Image.new("RGB", (600, 360), "grey")
    sheet.paste(second.resize((240, 240)), (0, 60))
    sheet.paste(first.resize((360, 360)), (240, 0))
    sheet.save(folder / "couple.png")
    view(folder / "wide view.png")
    return folder


@pytest.fixture(scope="module")
def made(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of them."""
    out = tmp_path_factory.mktemp("made") / "data"
    assert cmd_pairs.run(options(photos, out)) == 0
    return out


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


def crop(path: Path, models: Models, size: int = SIZE) -> Crops:
    image = images.read(path)
    return align(image, order(find(image, models), "large-small")[:1], size=size)


def likeness(a: Crops, b: Crops, models: Models) -> float:
    encoder = models.encoder
    first, second = (encoder(realign(crops, encoder.template, encoder.size)) for crops in (a, b))
    return float((first * second).sum())


# What is there


def test_every_photograph_is_told_of_with_all_that_was_made_of_it(made: Path, photos: Path):
    told = manifest(made)
    assert set(told) == {*(path.name for path in PEOPLE), COUPLE, VIEW}
    expected = {"manifest.jsonl", "donors.safetensors"}
    for name, line in told.items():
        content = (photos / line["source"]).read_bytes()
        assert line["sha256"] == hashlib.sha256(content).hexdigest()
        if line["face"]:
            expected.add(f"normal_data/{name}")
        if "skipped" not in line:
            made_files = [one["file"] for one in line["sources"] + line["targets"]]
            bent = [file for one in line["targets"] for file in one["bent"]]
            expected |= {f"proxy_data/{name}/{file}" for file in [name, *made_files, *bent]}
    assert set(files(made)) == expected
    assert told[VIEW]["skipped"] == "no face"
    assert sum("skipped" not in line for line in told.values()) >= 6


def test_training_reads_what_is_there(made: Path):
    data = folder_data(made, 64, ["ordinary", "proxy"])
    proxies = data.train["proxy"]
    assert isinstance(proxies, FileProxies)
    assert all(len(one.x_src) == len(one.x_tgt) == 1 and len(one.bent) == 2 for one in proxies.files)
    batch = proxies.batch(Generator().manual_seed(0), 16)
    assert batch.y.shape == (16, 3, 64, 64) and batch.known.all()
    for other in (batch.x_src, batch.x_tgt):
        assert ((batch.y - other).abs().amax((1, 2, 3)) > 0.1).all()
    assert len(data.held_out["ordinary"]) == 4
    assert len(data.train["ordinary"].batch(Generator().manual_seed(0), 3)) == 3


def test_similarities_are_those_of_the_pictures(made: Path, models: Models, photos: Path):
    checked = 0
    for name, line in manifest(made).items():
        if "skipped" in line:
            continue
        y = crop(photos / line["source"], models)
        folder = made / "proxy_data" / name
        [source], [target] = line["sources"], line["targets"]
        assert likeness(y, crop(folder / source["file"], models), models) == pytest.approx(
            source["similarity"], abs=0.1
        )
        assert source["similarity"] >= 0.5
        if target["did"]["way"] == "donor":  # whose points stay where they were
            laid = replace(y, pixels=images.read(folder / target["file"]))
            assert likeness(y, laid, models) == pytest.approx(target["similarity"], abs=0.02)
            assert target["similarity"] <= 0.5
            assert target["did"]["donor"] in manifest(made)
            assert target["did"]["donor"] != name
            checked += 1
    assert checked >= 2


def test_the_largest_face_is_the_photograph(made: Path, models: Models):
    couple, first, second = (
        crop(made / "normal_data" / name, models) for name in (COUPLE, *(p.name for p in PEOPLE[:2]))
    )
    assert likeness(couple, first, models) > 0.8 > 0.5 > likeness(couple, second, models)


def test_bent_faces_are_thinner_and_chubbier(made: Path, models: Models):
    line = next(
        line for line in manifest(made).values() if line.get("targets", [{}])[0].get("did", {}).get("way") == "donor"
    )
    [target] = line["targets"]
    thin, chubby = target["bent"].items()
    assert thin[0].endswith("_gendst.jpg_facethin.jpg") and -1 <= thin[1] <= -0.3
    assert chubby[0].endswith("_gendst.jpg_facechubby.jpg") and 0.3 <= chubby[1] <= 1
    folder = made / "proxy_data" / line["name"]
    widths = [
        float(points[454, 0] - points[234, 0])
        for points in (crop(folder / file, models).mesh[0] for file in (thin[0], target["file"], chubby[0]))
    ]
    assert widths[0] < widths[1] < widths[2]


def test_made_pictures_say_so_and_photographs_do_not(made: Path):
    folder = next(path for path in sorted((made / "proxy_data").iterdir()))
    notes = {path.name: provenance.read(path) for path in folder.iterdir()}
    assert not notes.pop(folder.name)
    assert len(notes) == 4
    for note in notes.values():
        assert note["Software"] == "cscs-face-swap" and note["DigitalSourceType"] == provenance.EDITED
        assert note["Description"].startswith("Synthetic picture, made by software (cscs-face-swap) to train on: ")
    assert not provenance.read(made / "normal_data" / folder.name)


# How it is gone on with


def test_after_a_kill_two_processes_have_left_what_one_goes_on_with(photos: Path, made: Path, tmp_path: Path):
    """And they leave when the one that started them is no more: they hold its stdout open."""
    out = tmp_path / "data"
    code = (
        "import argparse, sys; from pathlib import Path; from cscs_core.commands.pairs import run;"
        f"run(argparse.Namespace(photos=Path(sys.argv[1]), out=Path(sys.argv[2]), size={SIZE}, seed=1, count=1,"
        "jobs=2))"
    )
    first = subprocess.Popen([sys.executable, "-c", code, str(photos), str(out)], cwd=ROOT, stdout=subprocess.PIPE)
    told, end = out / "manifest.jsonl", time.monotonic() + 600
    while not told.exists() or told.read_bytes().count(b"\n") < 3:
        assert first.poll() is None and time.monotonic() < end
        time.sleep(0.02)
    first.kill()
    first.communicate(timeout=300)
    assert told.read_bytes().count(b"\n") < 9
    assert cmd_pairs.run(options(photos, out)) == 0
    assert files(out) == files(made)


def test_what_is_torn_or_gone_is_made_again_and_nothing_else(photos: Path, made: Path, tmp_path: Path):
    out = tmp_path / "data"
    shutil.copytree(made, out)
    names = [name for name, line in manifest(out).items() if "skipped" not in line]
    (out / "proxy_data" / names[0] / "0_gensrc.jpg").unlink()
    (out / ".cscs-1234").mkdir()
    (out / "normal_data" / ".cscs-5678").touch()
    lines = (out / "manifest.jsonl").read_bytes()
    torn = lines.index(b'{"name": "%s"' % names[-1].encode())
    rest = lines[torn:].split(b"\n", 1)
    (out / "manifest.jsonl").write_bytes(lines[:torn] + rest[1] + rest[0][:40])
    elsewhere = out / "proxy_data" / names[0] / "elsewhere_gensrc.jpg"
    shutil.copy(PEOPLE[0], elsewhere)
    kept = out / "proxy_data" / names[1] / "0_gensrc.jpg"
    before = kept.stat().st_mtime_ns
    assert cmd_pairs.run(options(photos, out)) == 0
    assert manifest(out) == manifest(made)
    assert elsewhere.read_bytes() == PEOPLE[0].read_bytes()  # what others added to the folder stays
    elsewhere.unlink()
    left, wanted = files(out), files(made)
    del left["manifest.jsonl"], wanted["manifest.jsonl"]  # in another order
    assert left == wanted
    assert not (out / ".cscs-1234").exists()
    assert kept.stat().st_mtime_ns == before


def test_new_photographs_change_nothing_for_those_before(made: Path, photos: Path, tmp_path: Path):
    shutil.copytree(photos, tmp_path / "in")
    shutil.copytree(made, tmp_path / "out")
    shutil.copy(PEOPLE[0], tmp_path / "in" / "new.jpg")
    assert cmd_pairs.run(options(tmp_path / "in", tmp_path / "out")) == 0
    now, before = files(tmp_path / "out"), files(made)
    assert {name for name in before if before[name] != now[name]} == {"manifest.jsonl"}
    assert "normal_data/new.jpg" in now


def test_interrupted_in_the_middle_of_a_folder_it_leaves_nothing_half(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shutil.copytree(photos, tmp_path / "in", ignore=lambda _, names: set(names) - {PEOPLE[0].name})
    write = images.write

    def stop(path: Path, picture: Tensor, *note: Mapping[str, str]) -> None:
        if path.name.endswith("_gendst.jpg"):
            raise KeyboardInterrupt
        write(path, picture, *note)

    monkeypatch.setattr(images, "write", stop)
    with pytest.raises(KeyboardInterrupt):
        cmd_pairs.run(options(tmp_path / "in", tmp_path / "out"))
    assert set(files(tmp_path / "out")) == {"manifest.jsonl", "donors.safetensors", f"normal_data/{PEOPLE[0].name}"}
    assert not list((tmp_path / "out").glob(".cscs*")) and not list((tmp_path / "out" / "proxy_data").iterdir())


@pytest.mark.parametrize(("name", "value"), [("size", 64), ("seed", 2), ("count", 2)])
def test_other_options_are_refused(made: Path, photos: Path, name: str, value: int):
    before = files(made)
    with pytest.raises(BadInput, match=rf"manifest.jsonl: was started with --{name} \d+, not {value}; use that"):
        cmd_pairs.run(options(photos, made, **{name: value}))
    assert files(made) == before


def test_seeds_and_names_make_the_numbers():
    assert number_of(0, "a.jpg") == number_of(0, "a.jpg") < 1 << 48
    assert len({number_of(seed, name) for seed in (0, 1) for name in ("a.jpg", "b.jpg")}) == 4


# Pictures without files


def in_memory(people: list[Path]) -> dict[str, PhotographInMemory]:
    photographs = [PhotographInMemory(images.read(path), path.stem) for path in people]
    return {one.name: one for one in photographs}


def test_pictures_in_memory_become_what_files_of_their_names_become(tmp_path: Path, models: Models):
    photographs = in_memory(PEOPLE[1:3])
    (tmp_path / "in").mkdir()
    for name, path in zip(photographs, PEOPLE[1:3], strict=True):
        shutil.copy(path, tmp_path / "in" / name)
    assert cmd_pairs.run(options(tmp_path / "in", tmp_path / "files", size=64, seed=0)) == 0
    with torch.inference_mode():
        lines, unreadable = pairs.make_pairs(photographs, tmp_path / "memory", Plan(64, 0, 1), tools=Tools(models))
    assert [line["source"] for line in lines] == ["person_2", "person_3"] and not unreadable
    ours, theirs = files(tmp_path / "memory"), files(tmp_path / "files")
    del ours["manifest.jsonl"], theirs["manifest.jsonl"]  # which say where pictures were found
    assert ours == theirs


def test_the_same_pixels_have_the_same_name():
    first, again, other = (PhotographInMemory(torch.full((1, 3, 4, 4), level), "") for level in (0.5, 0.5, 0.6))
    assert first.name == again.name != other.name and first.name.endswith(".jpg")


def test_tools_may_stop_the_work_anywhere_and_it_goes_on_to_the_same_files(tmp_path: Path, models: Models):
    photographs, plan = in_memory(PEOPLE[1:3]), Plan(64, 0, 1)
    pauses = 0

    def check_cancel() -> None:
        nonlocal pauses
        pauses += 1
        if pauses in stops:
            raise KeyboardInterrupt

    stops: set[int] = set()
    tools = Tools(models, check_cancel)
    pairs.make_pairs(photographs, tmp_path / "whole", plan, tools=tools)
    stops, pauses = {1, 3, 6, 9}, 0
    stopped = 0
    for _ in range(6):
        try:
            pairs.make_pairs(photographs, tmp_path / "stopped", plan, tools=tools)
        except KeyboardInterrupt:
            stopped += 1
            assert not list((tmp_path / "stopped").rglob(".cscs*"))
            done = {path.name for path in (tmp_path / "stopped" / "proxy_data").iterdir()}
            assert done == set(manifest(tmp_path / "stopped"))
    assert stopped == 4
    assert files(tmp_path / "stopped") == files(tmp_path / "whole")


# What is wrong with what was given


def test_pictures_that_cannot_be_read_are_said_and_nobody_else_is_needed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.jpg").write_bytes(PEOPLE[0].read_bytes()[:3000])
    shutil.copy(PEOPLE[2], tmp_path / "in")
    for _ in range(2):
        assert cmd_pairs.run(options(tmp_path / "in", tmp_path / "out", seed=3)) == 2
        assert "broken.jpg: the image is truncated or damaged" in capsys.readouterr().err
    [line] = manifest(tmp_path / "out").values()
    [target] = line["targets"]
    assert target["did"]["way"] == "erased"  # there is no donor
    assert line["sources"][0]["did"].get("other", -1) == -1


def test_nobody_at_all_is_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "in").mkdir()
    view(tmp_path / "in" / "a.png")
    assert cmd_pairs.run(options(tmp_path / "in", tmp_path / "out")) == 0
    assert "pairs made from 0 of 1 photographs; 1 without a face" in capsys.readouterr().out


def test_folders_that_will_not_do_are_one_line(tmp_path: Path):
    given = tmp_path / "in"
    given.mkdir()

    def refused(match: str, **others: Any) -> None:
        with pytest.raises(BadInput, match=match) as caught:
            cmd_pairs.run(options(**{"photos": given, "out": tmp_path / "out", **others}))
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "out").exists()

    refused(r"nowhere: no such folder of photographs", photos=tmp_path / "nowhere")
    refused(r"in: no pictures in this folder")
    view(given / "a.png")
    refused(r"a.png: is a file, not a folder of photographs", photos=given / "a.png")
    refused(r"pairs: must be a folder outside .*in", out=given / "pairs")
    refused(r"must be a folder outside", out=tmp_path)
    refused(r"a.png: cannot be written|must be a folder outside", out=given / "a.png")
    (tmp_path / "file").touch()
    refused(r"file: cannot be written", out=tmp_path / "file")
    refused(r"--count 0: must be 1\.\.64", count=0)
    refused(r"--size 32: must be 64\.\.1024", size=32)
    refused(r"--jobs 0: must be 1\.\.512", jobs=0)
    shutil.copy(given / "a.png", given / "a.png.jpg")
    refused(r"a.png.jpg: would get the same name as a.png; rename one of them")


def test_folders_of_others_are_not_written_to(tmp_path: Path):
    (tmp_path / "in").mkdir()
    view(tmp_path / "in" / "a.png")
    out = tmp_path / "out"
    (out / "normal_data").mkdir(parents=True)
    with pytest.raises(BadInput, match=r"out: contains normal_data but no manifest.jsonl; choose an empty folder"):
        cmd_pairs.run(options(tmp_path / "in", out))
    assert [path.name for path in out.iterdir()] == ["normal_data"]
    (out / "manifest.jsonl").write_text("{}\n")
    with pytest.raises(BadInput, match=r"manifest.jsonl: was not written by this version of `cscs pairs`"):
        cmd_pairs.run(options(tmp_path / "in", out))
    Manifest(out / "manifest.jsonl", {"size": SIZE, "seed": 1, "count": 1}).write([])
    with FileLock(out / ".lock"), pytest.raises(BadInput, match=r"out: another `cscs pairs` is writing to it"):
        cmd_pairs.run(options(tmp_path / "in", out))


def test_a_torn_line_counts_for_nothing(tmp_path: Path):
    told = Manifest(tmp_path / "manifest.jsonl", {"seed": 1})
    told.write([])
    told.append({"name": "a.jpg"})
    with open(told.path, "a") as file:
        file.write('{"name": "b.j')
    assert told.lines() == [{"name": "a.jpg"}]


# How proxies are drawn


def rows(count: int) -> Crops:
    zero = torch.zeros(count, 3, 4, 4) + torch.arange(count)[:, None, None, None]
    points = torch.zeros(count, 468, 2)
    return Crops(zero, zero[:, :1], torch.zeros(count, 2, 3), points[:, :5], points, torch.arange(count))


def test_what_is_rejected_is_drawn_again_and_rows_stay_in_order():
    asked: list[list[int]] = []

    def make(some: Crops) -> Surrogate:
        """Lets the first of the even ones pass, or the first."""
        asked.append(some.frame.tolist())
        even = (some.frame % 2 == 0).nonzero()[:1, 0]
        return unfiltered(some, [{"was": row} for row in some.frame.tolist()])[even]

    whole = retry_rejected(make, rows(6), tries=2)
    assert asked == [[0, 1, 2, 3, 4, 5], [1, 2, 3, 4, 5]]
    assert whole.rows.tolist() == [0, 2]
    assert whole.changes == [{"try": 1, "was": 0}, {"try": 2, "was": 2}]
    assert whole.crops.frame.tolist() == [0, 2]
    assert len(retry_rejected(make, rows(0), tries=2)) == 0


def test_donors_are_drawn_from_the_nearest(models: Models):
    faces = join([crop(path, models, 64) for path in PEOPLE])
    many = faces[[0] * 20 + [1] * 20 + [2] * 20]
    pool = Pool.of(replace(many, pixels=many.pixels.mul(255).round().byte()))
    drawn = pool.nearest(faces[[1]], Generator().manual_seed(0))
    assert len(drawn) == 4 and ((drawn >= 20) & (drawn < 40)).all()
    assert drawn.tolist() != pool.nearest(faces[[1]], Generator().manual_seed(1)).tolist()
    torch.testing.assert_close(pool[drawn].pixels, faces[[1] * 4].pixels, rtol=0, atol=0.003)
    empty = Pool.of(faces[[]])
    assert len(empty.nearest(faces, Generator())) == len(empty.sample(Generator())) == 0
