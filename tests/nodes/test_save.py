"""Save Image with Provenance: what lies in the output folder afterwards."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from cscs_core.io import images
from cscs_core.io.provenance import read, synthetic

PROMPT = {"1": {"class_type": "LoadImage", "inputs": {"image": "f\u00e4ce.png"}}}
WORKFLOW = {"nodes": [], "version": 0.4}


@pytest.fixture
def save(pack: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Saves as the node does with its defaults, in a run of PROMPT and WORKFLOW."""
    node = pack.nodes["CSCS_SaveImage"]
    io = importlib.import_module("comfy_api.latest").io
    holder = io.HiddenHolder(unique_id="1", prompt=PROMPT, extra_pnginfo={"workflow": WORKFLOW})
    monkeypatch.setattr(node, "hidden", holder)
    defaults = {part.id: part.default for part in node.GET_SCHEMA().inputs if hasattr(part, "default")}
    return lambda image, **options: node.execute(image, **{**defaults, **options})


@pytest.fixture
def folder(save: Any, tmp_path: Path) -> Path:
    return tmp_path / "output"


def batch(count: int = 1, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, 48, 64, channels, generator=torch.Generator().manual_seed(count))


def test_a_batch_becomes_a_file_each_and_the_images_go_on(save, folder):
    image = batch(3)
    done = save(image)
    names = [f"CSCS_0000{number}_.png" for number in (1, 2, 3)]
    assert sorted(file.name for file in folder.iterdir()) == names
    assert done.ui["images"] == [{"filename": name, "subfolder": "", "type": "output"} for name in names]
    assert done[0] is image
    for name, picture in zip(names, image, strict=True):
        assert torch.allclose(images.read(folder / name)[0].movedim(0, -1), picture, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("format", ["png", "jpg", "webp"])
def test_every_format_says_what_it_is_unless_told_not_to(save, folder, format):
    for provenance in (True, False):
        save(batch(), format=format, provenance=provenance)
    assert read(folder / f"CSCS_00001_.{format}") == synthetic()
    assert read(folder / f"CSCS_00002_.{format}") == {}


def test_the_workflow_is_where_comfyui_looks_for_it(save, folder):
    save(batch())
    save(batch(), format="webp")
    with Image.open(folder / "CSCS_00001_.png") as picture:
        assert json.loads(picture.info["prompt"]) == PROMPT and json.loads(picture.info["workflow"]) == WORKFLOW
    with Image.open(folder / "CSCS_00002_.webp") as picture:
        exif = picture.getexif()
    assert json.loads(exif[0x0110].removeprefix("prompt:")) == PROMPT
    assert json.loads(exif[0x010F].removeprefix("workflow:")) == WORKFLOW


@pytest.mark.parametrize("by", ["the switch", "the command line"])
def test_the_workflow_can_be_left_out_and_the_note_stays(save, folder, monkeypatch, by):
    monkeypatch.setattr(importlib.import_module("comfy.cli_args").args, "disable_metadata", by == "the command line")
    save(batch(), workflow=by != "the switch")
    with Image.open(folder / "CSCS_00001_.png") as picture:
        assert not {"prompt", "workflow"} & set(picture.info)
    assert read(folder / "CSCS_00001_.png") == synthetic()


def test_the_plate_is_in_the_file_and_not_in_the_output(save, folder):
    image = torch.full((1, 200, 300, 3), 0.5)
    done = save(image, visible_label=True)
    corner = images.read(folder / "CSCS_00001_.png")[0, :, -10:, -40:]
    assert float(corner.max()) > 0.9 and bool((done[0] == 0.5).all())


def test_alpha_is_kept_in_png(save, folder):
    image = batch(1, 4)
    save(image, visible_label=True)
    with Image.open(folder / "CSCS_00001_.png") as picture:
        assert picture.mode == "RGBA" and picture.getpixel((63, 47))[3] == 255  # type: ignore[index]
        assert picture.getpixel((0, 0))[3] == round(float(image[0, 0, 0, 3]) * 255)  # type: ignore[index]


def test_files_that_are_there_stay(save, folder):
    for _ in range(2):
        save(batch(2), filename_prefix="a_%batch_num%")  # the host counts such names from 1 every time
    save(batch(), filename_prefix="a_0", format="jpg")
    names = ["a_0_00001_.png", "a_0_00002_.png", "a_0_00003_.jpg", "a_1_00002_.png", "a_1_00003_.png"]
    assert sorted(file.name for file in folder.iterdir()) == names


def test_a_prefix_may_name_a_subfolder_and_hold_any_letters(save, folder):
    done = save(batch(), filename_prefix="people/gr\u00f6\u00dfe \u9762/%width%x%height%")
    assert done.ui["images"][0] == {
        "filename": "64x48_00001_.png",
        "subfolder": "people/gr\u00f6\u00dfe \u9762",
        "type": "output",
    }
    assert (folder / "people" / "gr\u00f6\u00dfe \u9762" / "64x48_00001_.png").is_file()


@pytest.mark.parametrize("prefix", ["../a", "x/../../a", "{elsewhere}/a"])
def test_other_folders_are_refused(save, folder, prefix):
    elsewhere = folder.parent / "elsewhere"
    with pytest.raises(Exception, match="outside the output folder"):
        save(batch(), filename_prefix=prefix.format(elsewhere=elsewhere))
    assert not list(folder.iterdir()) and not list(folder.parent.glob("a*")) and not elsewhere.exists()


def test_half_floats_are_saved_as_they_look(save, folder):
    image = batch()
    save(image.half())
    assert torch.allclose(images.read(folder / "CSCS_00001_.png")[0].movedim(0, -1), image, atol=1.1 / 255)


def test_cancel_is_obeyed_before_a_file_is_written(save, folder, host):
    management = importlib.import_module("comfy.model_management")
    host.interrupt = True
    with pytest.raises(management.InterruptProcessingException):
        save(batch(2))
    assert not list(folder.iterdir())


def test_no_image_is_no_file(save, folder):
    assert save(torch.zeros(0, 8, 8, 3)).ui["images"] == [] and not list(folder.iterdir())


def test_a_failed_write_leaves_nothing(save, folder, monkeypatch):
    def full(self: Image.Image, file: Path, *_: object, **__: object) -> None:
        Path(file).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(ValueError, match="No space left"):
        save(batch())
    assert not list(folder.iterdir())
