"""Re-Age and Cross-Domain with the bundled networks on the example people."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

PEOPLE = Path(__file__).parents[2] / "cscs_core" / "examples"
AGE = {
    "take": "whole face",
    "strength": 1.0,
    "faces_order": "left-right",
    "faces_index": "",
    "same_person_threshold": 0.35,
    "same_person_only": False,
    "resolution": "256",
    "detection_threshold": 0.5,
}
CROSS = {
    "faces_order": "left-right",
    "faces_index": "",
    "strength": 1.0,
    "colour": 0.5,
    "texture": 0.7,
    "context": 1.5,
    "resolution": "512",
    "detection_threshold": 0.5,
}


def person(number: int) -> Tensor:
    """An example person as an IMAGE, (1, 256, 256, 3)."""
    picture = Image.open(PEOPLE / f"person_{number}.jpg").convert("RGB").resize((256, 256))
    return torch.from_numpy(np.array(picture))[None].float() / 255


def nobody() -> Tensor:
    y, x = torch.meshgrid(torch.arange(256) / 41, torch.arange(256) / 29, indexing="ij")
    return torch.stack([x.sin() * y.cos(), x.cos(), y.cos()], -1)[None] * 0.3 + 0.5


@pytest.fixture
def run(pack: Any, host: Any) -> Any:
    """A node by the last part of its id."""
    return lambda name, *args, **inputs: pack.nodes[f"CSCS_{name}"].execute(*args, **inputs)


def test_the_same_person_is_re_aged_and_the_frame_without_a_face_is_untouched(run: Any) -> None:
    pair = torch.cat([person(3), person(2)], 2)
    image = torch.cat([pair, torch.cat([nobody(), nobody()], 2)])
    done = run("ReAge", image, person(2).flip(2), **AGE)
    result, mask, similarity, report = done.result
    assert torch.equal(result[1], image[1]) and not mask[1].any()
    assert torch.equal(result[0, :, :256], image[0, :, :256]) and mask[0, :, 256:].max() > 0.9
    assert similarity > 0.6
    assert "frame 0: 1 face re-aged" in report and "two different people" not in report
    assert "frame 1 is unchanged: no face found" in report
    assert done.ui["cscs_badge"] == [f"1 face, similarity before {similarity:.2f}"]
    assert len(done.ui["cscs_compare"]) == 2


def test_another_person_is_told_or_left_alone(run: Any) -> None:
    told = run("ReAge", person(3), person(2), **AGE)
    assert "may show two different people" in told.result[3] and not torch.equal(told.result[0], person(3))
    left = run("ReAge", person(3), person(2), **{**AGE, "same_person_only": True})
    assert torch.equal(left.result[0], person(3)) and left.result[2] == 0
    assert "below 0.35" in left.result[3] and left.ui["cscs_badge"] == ["no face re-aged"]


def test_at_strength_0_nothing_is_said_to_be_done(run: Any) -> None:
    aged = run("ReAge", person(3), person(2), **{**AGE, "strength": 0.0})
    assert torch.equal(aged.result[0], person(3)) and aged.ui["cscs_badge"] == ["no face re-aged"]
    assert aged.result[3] == "frame 0 is unchanged: strength is 0"
    crossed = run("CrossDomain", person(3), **{**CROSS, "strength": 0.0}, source=person(1))
    assert torch.equal(crossed.result[0], person(3)) and crossed.ui["cscs_badge"] == ["no face swapped"]
    assert len(crossed.result[4]) == 0 and crossed.result[5] == "frame 0 is unchanged: strength is 0"


def test_the_photos_of_a_source_move_the_progress_bar(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bars, progress = [], importlib.import_module("comfy.utils")
    bar = progress.ProgressBar
    monkeypatch.setattr(progress, "ProgressBar", lambda total: bars.append(total) or bar(total))
    run("CrossDomain", nobody(), **CROSS, source=torch.cat([person(1), person(1)]))
    assert bars == [2, 1]


def test_a_reference_without_a_face_is_refused_by_its_name(run: Any) -> None:
    with pytest.raises(ValueError, match="no face found in reference"):
        run("ReAge", person(3), nobody(), **AGE)


def test_paste_faces_makes_of_the_crops_what_the_node_shows(run: Any) -> None:
    target = torch.cat([nobody(), person(3)])
    done = run("CrossDomain", target, **CROSS, source=person(1))
    image, mask, images, masks, crops, report = done.result
    assert crops.frame.tolist() == [1] and images.shape == (1, 512, 512, 3) and masks.shape == (1, 512, 512)
    pasted = run("PasteFaces", target, crops, 0.0, 0.0).result
    torch.testing.assert_close(pasted[0], image, atol=1e-5, rtol=0)
    torch.testing.assert_close(pasted[1], mask, atol=1e-5, rtol=0)
    edited = run("PasteFaces", target, crops, 0.0, 0.0, faces_image=images).result[0]
    torch.testing.assert_close(edited, image, atol=1e-5, rtol=0)
    assert torch.equal(image[0], target[0]) and (image[1] - target[1]).abs().max() > 0.1
    assert "frame 0 is unchanged: no face found; a lower detection_threshold" in report
    assert done.ui["cscs_badge"][0].startswith("1 face, similarity 0.") and len(done.ui["cscs_compare"]) == 2


def test_faces_that_were_not_asked_for_stay(run: Any) -> None:
    target = torch.cat([person(3), person(4)], 2)
    image, _, _, _, crops, report = run("CrossDomain", target, **{**CROSS, "faces_index": "1"}, source=person(1)).result
    assert len(crops) == 1 and torch.equal(image[:, :, :200], target[:, :, :200])
    assert "skipped: face at" in report and "number 0 was not requested" in report


def test_without_any_face_there_are_no_crops(run: Any) -> None:
    image, mask, images, masks, crops, _ = run("CrossDomain", nobody(), **CROSS, source=person(1)).result
    assert torch.equal(image, nobody()) and not mask.any()
    assert len(crops) == 0 and images.shape == (0, 512, 512, 3) and masks.shape == (0, 512, 512)


def test_an_identity_takes_the_place_of_a_source(run: Any) -> None:
    identity = run("FaceIdentity", person(1), "large-small").result[0]
    by_photo = run("CrossDomain", person(3), **CROSS, source=person(1)).result[0]
    assert torch.equal(run("CrossDomain", person(3), **CROSS, source=person(5), identity=identity).result[0], by_photo)


def test_a_person_is_asked_for(run: Any) -> None:
    with pytest.raises(ValueError, match="connect source"):
        run("CrossDomain", person(3), **CROSS)
    with pytest.raises(ValueError, match="no face found in source"):
        run("CrossDomain", person(3), **CROSS, source=nobody())


@pytest.mark.parametrize("name", ["ReAge", "CrossDomain"])
def test_cancel_is_obeyed_before_a_frame(run: Any, host: Any, name: str) -> None:
    host.interrupt = True
    inputs = {**AGE, "reference": person(2)} if name == "ReAge" else {**CROSS, "source": person(2)}
    with pytest.raises(importlib.import_module("comfy.model_management").InterruptProcessingException):
        run(name, person(3), **inputs)


@pytest.mark.parametrize("name", ["ReAge", "CrossDomain"])
def test_other_text_than_numbers_is_refused_before_the_graph_runs(pack: Any, name: str) -> None:
    node = pack.nodes[f"CSCS_{name}"]
    assert "write numbers" in node.validate_inputs("first")
    assert node.validate_inputs(None) is True and node.validate_inputs("0, 2") is True
