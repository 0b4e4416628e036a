"""Face Report on the bundled networks and the example people."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from cscs_core.io import images
from cscs_core.tasks.example_people import EXAMPLES

PEOPLE = sorted(EXAMPLES.glob("*.jpg"))
KEYS = (
    "frame face box changed found similarity_to_source similarity_to_before pose expression seam".split()
)  # as in web/docs


def photo(number: int) -> Tensor:
    """An example person as an IMAGE (1, 256, 256, 3)."""
    return nnf.avg_pool2d(images.read(PEOPLE[number]), 2).movedim(1, -1)


@pytest.fixture
def nodes(pack: Any, host: Any) -> Any:
    def run(node: str, **inputs: Any) -> Any:
        defaults = {
            part.id: part.default for part in pack.nodes[node].GET_SCHEMA().inputs if getattr(part, "default", None)
        }
        with torch.inference_mode():
            return pack.nodes[node].execute(**{**defaults, **inputs})

    return run


def swapped(nodes: Any, target: Tensor) -> tuple[Tensor, Tensor]:
    done = nodes("CSCS_FaceSwap", target=target, source=photo(0), swapper="warp", faces_index="")
    return done[0], done[1]


def test_a_swap_is_told_in_words_numbers_and_a_picture(nodes):
    target = photo(1)
    result, mask = swapped(nodes, target)
    person = nodes("CSCS_FaceIdentity", image=photo(0))[0]
    report, said, similarity, picture = nodes(
        "CSCS_FaceReport", target=target, result=result, identity=person, mask=mask
    ).args
    (row,) = json.loads(said)
    assert list(row) == KEYS
    assert (row["frame"], row["face"], row["changed"], row["found"]) == (0, 0, True, True)
    assert row["similarity_to_source"] > row["similarity_to_before"] and 0.5 < row["seam"] < 2
    assert similarity == pytest.approx(row["similarity_to_source"], abs=1e-4)
    assert f"likeness to the source {similarity:.2f}" in report
    assert picture.shape[0] == 1 and float(picture.max()) <= 1
    before, after = picture[0, 8:328, 8:328], picture[0, 8:328, 336:656]
    assert float((before - after).abs().mean()) > 0.005 and float(before.std()) > 0.1


def test_without_identity_and_mask_that_is_unknown(nodes):
    target = photo(1)
    done = nodes("CSCS_FaceReport", target=target, result=swapped(nodes, target)[0])
    (row,) = json.loads(done[1])
    assert row["similarity_to_source"] is None and row["seam"] is None
    assert done[2] == pytest.approx(row["similarity_to_before"], abs=1e-4)


def test_the_lowest_of_the_frames_that_changed_counts_and_a_lost_face_counts_nothing(nodes):
    target = torch.cat([photo(1), photo(1), photo(1)])
    result = target.clone()
    result[1] = swapped(nodes, photo(1))[0][0]
    first = nodes("CSCS_FaceReport", target=target, result=result)
    rows = json.loads(first[1])
    assert [row["frame"] for row in rows] == [0, 1, 2] and [row["changed"] for row in rows] == [False, True, False]
    assert first[2] == pytest.approx(rows[1]["similarity_to_before"], abs=1e-4)
    result[2] = 0.5
    second = nodes("CSCS_FaceReport", target=target, result=result)
    assert second[2] == 0 and "1 not found again" in second[0]
    assert json.loads(second[1])[2]["pose"] is None


def test_nothing_changed_is_said_so(nodes):
    done = nodes("CSCS_FaceReport", target=photo(1), result=photo(1))
    assert done[0].startswith("1 face, 0 changed") and "unchanged" in done[0] and done[2] == 0


def test_no_face_is_said_so_and_the_picture_is_there_all_the_same(nodes):
    done = nodes("CSCS_FaceReport", target=torch.zeros(2, 64, 64, 3), result=torch.zeros(2, 64, 64, 3))
    assert done[0].splitlines() == ["no face found", "frame 0: no face found", "frame 1: no face found"]
    assert json.loads(done[1]) == [] and done[2] == 0 and done[3].shape[0] == 1
    assert done.ui["cscs_badge"] == ["no face found"]


def test_only_the_faces_that_are_given_are_told(nodes):
    target = torch.cat([photo(1), photo(2)])
    faces = nodes("CSCS_DetectFaces", image=target)[0]
    done = nodes("CSCS_FaceReport", target=target, result=target, faces=faces[faces.frame == 1])
    assert [(row["frame"], row["face"]) for row in json.loads(done[1])] == [(1, 0)]
    with pytest.raises(ValueError, match="faces come from a batch"):
        nodes("CSCS_FaceReport", target=target[:1], result=target[:1], faces=faces)


def test_a_person_of_another_detector_is_read_once_for_all_frames(nodes, pack, monkeypatch):
    person = nodes("CSCS_FaceIdentity", image=photo(0))[0]
    identity, crops = pack.module("cscs_core.faces.identity"), []
    embedded = identity.embed_crops
    monkeypatch.setattr(identity, "embed_crops", lambda some, *rest: crops.append(some) or embedded(some, *rest))
    target = torch.cat([photo(1)] * 3)
    done = nodes("CSCS_FaceReport", target=target, result=target, identity=replace(person, encoder="buffalo_l"))
    same = nodes("CSCS_FaceReport", target=target, result=target, identity=person)
    assert len(crops) == 1
    for row, expected in zip(json.loads(done[1]), json.loads(same[1]), strict=True):
        assert row["similarity_to_source"] == pytest.approx(expected["similarity_to_source"], abs=2e-3)


def test_what_it_shows(nodes):
    done = nodes("CSCS_FaceReport", target=photo(1), result=photo(1))
    assert set(done.ui) == {"cscs_compare", "text", "cscs_badge"}
    assert done.ui["text"] == [done[0]] and done.ui["cscs_badge"] == [done[0].splitlines()[0]]


@pytest.mark.parametrize("shape", [(2, 256, 256, 3), (1, 256, 250, 3)])
def test_other_pictures_are_refused(nodes, shape):
    with pytest.raises(ValueError, match="the same images before and after"):
        nodes("CSCS_FaceReport", target=photo(1), result=torch.zeros(shape))


def test_cancel_is_obeyed(nodes, host):
    host.interrupt = True
    with pytest.raises(importlib.import_module("comfy.model_management").InterruptProcessingException):
        nodes("CSCS_FaceReport", target=photo(1), result=photo(1))


def test_neither_names_nor_paths_nor_embeddings_are_told(nodes):
    person = nodes("CSCS_FaceIdentity", image=photo(0))[0]
    said = nodes("CSCS_FaceReport", target=photo(1), result=photo(1), identity=person)[1]
    numbers = [value for row in json.loads(said) for value in row.values() if isinstance(value, list)]
    assert [len(value) for value in numbers] == [4] and "person" not in said and "/" not in said
