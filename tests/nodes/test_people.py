"""Detect, select, track and preview on tiny pictures: what goes in, what comes out, what the user reads."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

SELECT = {
    "faces_order": "left-right",
    "faces_index": "",
    "gender": "any",
    "reference_threshold": 0.5,
    "tracks": "",
    "smallest_face": 0,
    "largest_face": 16384,
    "age_from": 0,
    "age_to": 120,
}
TRACK = {"overlap": 0.3, "likeness": 0.5, "gap": 12, "by_look": False}
PREVIEW = {"numbers": "faces", "landmarks": True, "dense_mesh": False}


def pictures(count: int = 1, channels: int = 3) -> torch.Tensor:
    return torch.rand(count, 64, 96, channels, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def crowd(pack: Any) -> Any:
    """Squares as (frame, x, y, side)."""

    def make(*places: tuple[int, float, float, float]) -> Any:
        frame, x, y, side = torch.tensor(places).view(-1, 4).float().unbind(-1)
        box = torch.stack([x, y, x + side, y + side], -1)
        points = box[:, None, :2] + 2
        five, dense = points.expand(-1, 5, 2), points.expand(-1, 468, 2)
        frame = frame.long()
        return pack.module("cscs_core.types").FaceSet(
            frame, box, five, dense, torch.ones(len(box)), torch.full_like(frame, -1)
        )

    return make


@pytest.fixture
def select(pack: Any, core: Any) -> Any:
    return lambda image, faces, **inputs: pack.nodes["CSCS_SelectFaces"].execute(image, faces, **{**SELECT, **inputs})


@pytest.fixture
def track(pack: Any, core: Any) -> Any:
    return lambda image, faces, **inputs: pack.nodes["CSCS_TrackFaces"].execute(image, faces, **{**TRACK, **inputs})


@pytest.fixture
def preview(pack: Any, host: Any) -> Any:
    return lambda image, faces, **inputs: pack.nodes["CSCS_PreviewFaces"].execute(image, faces, **{**PREVIEW, **inputs})


@pytest.fixture
def looks(pack: Any, core: Any, monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """An encoder of two numbers, who of a face is where its box begins: 0 or elsewhere. Keeps what it was shown."""
    seen: list[torch.Tensor] = []

    def encode(images: torch.Tensor, faces: Any, encoder: Any) -> torch.Tensor:
        assert not faces.frame.any() and images.shape[0] == 1
        seen.append(images)
        return torch.eye(2)[(faces.box[:, 0] > 0).long()]

    monkeypatch.setattr(pack.module("cscs_core.pipeline"), "encode", encode)
    monkeypatch.setattr(pack.module("nodes.track"), "encode", encode)
    models = SimpleNamespace(device=torch.device("cpu"), encoder=SimpleNamespace(name="lite", width=2))
    monkeypatch.setattr(pack.module("nodes.loaded"), "ready", lambda image, detector=None: models)
    return seen


# Detect Faces


def test_the_badge_counts_and_the_model_from_load_model_wins(pack: Any, core: Any, monkeypatch: Any) -> None:
    asked = []
    ready = pack.module("nodes.loaded").ready
    monkeypatch.setattr(pack.module("nodes.loaded"), "ready", lambda image, name: asked.append(name) or ready(image))
    choice = pack.module("nodes.loaded").Choice("detector", "buffalo_l")
    node = pack.nodes["CSCS_DetectFaces"]
    shown = node.execute(pictures(2), "large-small", 0.5, "lite", choice).ui
    node.execute(pictures(2), "large-small", 0.5, "lite")
    assert shown == {"cscs_badge": ["4 faces"]}
    assert asked == [choice, "lite"]


def test_age_and_gender_are_told_where_they_are_known(pack: Any, core: Any, crowd: Any, monkeypatch: Any) -> None:
    two = crowd((0, 0, 0, 20), (0, 30, 0, 10))
    told = replace(two, age=torch.tensor([31.4, torch.nan]), gender=torch.tensor([0, -1]))
    monkeypatch.setattr(pack.module("cscs_core.pipeline"), "find", lambda *_, **__: told)
    report = pack.nodes["CSCS_DetectFaces"].execute(pictures(), "large-small", 0.5).result[3]
    assert report.splitlines()[1:] == [
        "  face 0: 20 x 20 px at 0, 0; score 1.00; female; about 31",
        "  face 1: 10 x 10 px at 30, 0; score 1.00",
    ]


# Select Faces


def test_numbers_count_what_the_filters_left_and_all_others_have_a_line(select: Any, crowd: Any) -> None:
    faces = crowd((0, 0, 0, 8), (0, 20, 0, 20), (0, 50, 0, 30), (1, 5, 5, 20))
    chosen, count, skipped = select(pictures(2), faces, faces_index="0", smallest_face=10).result
    assert chosen.box[:, 0].tolist() == [20, 5] and count == 2
    assert skipped.splitlines() == [
        "frame 0: face at 0,0 (8 px wide): is narrower than 10 px",
        "frame 0: face at 50,0 (30 px wide): number 1 was not requested (0)",
    ]


def test_the_picker_shows_the_numbers_that_may_be_chosen(select: Any, crowd: Any) -> None:
    faces = crowd((0, 0, 0, 8), (0, 50, 0, 30), (0, 20, 0, 20))
    ui = select(pictures(), faces, faces_index="1", smallest_face=10).ui
    assert ui["cscs_badge"] == ["1 of 3 faces"]
    marks = [(face["number"], face["box"][0], face["chosen"]) for face in ui["cscs_picker"][0]["faces"]]
    assert marks == [(0, 20, False), (1, 50, True)]


def test_a_mask_of_another_size_is_stretched_and_keeps_the_faces_in_white(select: Any, crowd: Any) -> None:
    faces = crowd((0, 0, 0, 30), (0, 60, 0, 30), (1, 0, 0, 30), (1, 60, 0, 30))
    mask = torch.zeros(1, 8, 12)
    mask[..., :6] = 1  # the left half
    chosen, _, skipped = select(pictures(2), faces, mask=mask).result
    assert chosen.box[:, 0].tolist() == [0, 0] and chosen.frame.tolist() == [0, 1]
    assert skipped.splitlines()[0] == (
        "frame 0: face at 60,0 (30 px wide): only 0% of it lies in the mask, at least half must"
    )


def test_a_reference_keeps_its_person_in_every_frame(select: Any, crowd: Any, looks: Any, pack: Any) -> None:
    types = pack.module("cscs_core.types")
    none = torch.zeros(0)
    crops = types.Crops(none, none, none, none, none, none)
    person = types.Identity(crops, torch.eye(2)[:1], torch.ones(1))
    faces = crowd((0, 30, 0, 20), (2, 0, 9, 20), (2, 40, 0, 20))
    chosen, _, skipped = select(pictures(3), faces, reference=person).result
    assert chosen.box.tolist() == [[0, 9, 20, 29]]
    assert "frame 0: face at 30,0 (20 px wide): similarity 0.00 to the reference is below 0.50" in skipped
    assert len(looks) == 2 and torch.equal(looks[1], pictures(3)[2:].movedim(-1, 1))  # frame 1 has no faces


def test_gender_is_filtered_and_unknown_gender_says_what_to_do(select: Any, crowd: Any) -> None:
    faces = replace(crowd((0, 0, 0, 9), (0, 20, 0, 9), (0, 40, 0, 9)), gender=torch.tensor([1, -1, 0]))
    chosen, _, skipped = select(pictures(), faces, gender="male").result
    assert chosen.box[:, 0].tolist() == [0]
    assert "insightface packs such as buffalo_l do" in skipped and "looks female, not male" in skipped


def test_people_are_kept_by_their_tracks(select: Any, crowd: Any) -> None:
    faces = replace(crowd((0, 0, 0, 9), (0, 20, 0, 9), (1, 40, 0, 9)), track=torch.tensor([0, 1, 0]))
    assert select(pictures(2), faces, tracks="0").result[0].box[:, 0].tolist() == [0, 40]


def test_no_faces_no_images_and_all_faces_are_said(select: Any, crowd: Any, pack: Any) -> None:
    none = pack.module("cscs_core.types").FaceSet.empty()
    for image in (pictures(), pictures(0)):
        chosen, count, skipped = select(image, none, faces_index="0", mask=torch.ones(1, 4, 4)).result
        assert len(chosen) == count == 0 and skipped == "no faces received"
    assert select(pictures(), crowd((0, 0, 0, 9))).result[2] == "no face was left out"


@pytest.mark.parametrize("name", ["faces_index", "tracks"])
def test_what_is_no_number_is_said_before_the_run(pack: Any, name: str) -> None:
    check = pack.nodes["CSCS_SelectFaces"].validate_inputs
    words = {"faces_index": "", "tracks": ""}
    assert check(**words) is True and check(None, None) is True
    assert check(**{**words, name: "first"}).startswith(f"{name} 'first': write numbers from 0 to 9999")


@pytest.mark.parametrize("node", ["CSCS_SelectFaces", "CSCS_TrackFaces", "CSCS_PreviewFaces"])
def test_faces_of_other_images_or_other_packs_are_refused(pack: Any, core: Any, crowd: Any, node: str) -> None:
    widgets = {"CSCS_SelectFaces": SELECT, "CSCS_TrackFaces": TRACK, "CSCS_PreviewFaces": PREVIEW}[node]
    with pytest.raises(ValueError, match="connect the image in which they were found"):
        pack.nodes[node].execute(pictures(2), crowd((2, 0, 0, 9)), **widgets)
    with pytest.raises(ValueError, match="faces holds a dict"):
        pack.nodes[node].execute(pictures(2), {"boxes": []}, **widgets)


# Track Faces


def test_people_get_a_number_and_a_line_each(track: Any, crowd: Any) -> None:
    faces = crowd((0, 60, 4, 20), (1, 0, 0, 20), (1, 61, 4, 20), (2, 1, 0, 20))
    tracked, count, report = (done := track(pictures(3), faces)).result
    assert tracked.track.tolist() == [0, 1, 0, 1] and count == 2
    assert report.splitlines() == [
        "person 0: 2 frames from 0 to 1, first seen at 60,4 (20 px wide)",
        "person 1: 2 frames from 1 to 2, first seen at 0,0 (20 px wide)",
    ]
    assert done.ui == {"cscs_badge": ["2 people"]}


def test_looks_are_seen_frame_by_frame_with_progress(track: Any, crowd: Any, looks: Any) -> None:
    faces = crowd((0, 0, 0, 20), (2, 30, 40, 20), (2, 0, 40, 20))  # by their places nobody goes on
    assert track(pictures(3), faces, by_look=True).result[0].track.tolist() == [0, 1, 0]
    assert track(pictures(3), faces).result[1] == 3
    assert len(looks) == 2
    bar = importlib.import_module("comfy.utils").ProgressBar.last
    assert (bar.current, bar.total) == (2, 2)


def test_cancel_stops_before_the_next_frame(track: Any, crowd: Any, looks: Any, host: Any) -> None:
    host.interrupt = True
    with pytest.raises(importlib.import_module("comfy.model_management").InterruptProcessingException):
        track(pictures(2), crowd((0, 0, 0, 20), (1, 0, 0, 20)), by_look=True)
    assert looks == []


def test_nobody_is_no_person(track: Any, pack: Any) -> None:
    tracked, count, report = track(pictures(), pack.module("cscs_core.types").FaceSet.empty(), by_look=True).result
    assert len(tracked) == count == 0 and report == "no faces received"


# Preview Faces


def test_marks_are_drawn_on_their_images_shown_and_passed_on(preview: Any, crowd: Any) -> None:
    image = pictures(3)
    before = image.clone()
    done = preview(image, crowd((1, 20, 30, 20)))
    drawn = done.result[0]
    assert torch.equal(image, before) and torch.equal(drawn[[0, 2]], image[[0, 2]])
    assert (drawn[1, 50, 20:40] != image[1, 50, 20:40]).any(-1).all()
    assert torch.equal(drawn[1, 55:], image[1, 55:])
    assert done.ui["cscs_badge"] == ["1 face in 3 images"]
    folder = Path(importlib.import_module("folder_paths").get_temp_directory())
    assert len(done.ui["images"]) == 3
    assert all((folder / place["subfolder"] / place["filename"]).is_file() for place in done.ui["images"])


def test_what_is_drawn_follows_the_widgets(preview: Any, crowd: Any, pack: Any) -> None:
    image = torch.zeros(1, 64, 96, 3)
    faces = replace(crowd((0, 20, 30, 20), (0, 60, 30, 20)), track=torch.tensor([4, 2]))
    colours = torch.tensor(pack.module("cscs_core.faces.draw").COLOURS) / 255
    by_face, by_person = preview(image, faces).result[0], preview(image, faces, numbers="tracks").result[0]
    assert torch.equal(by_face[0, 50, [30, 70]], colours[:2])
    assert torch.equal(by_person[0, 50, [30, 70]], colours[[4, 2]])
    bare = preview(image, faces, numbers="none", landmarks=False).result[0]
    assert not bare[0, :30].any() and not bare[0, 31:50, 21:40].any()
    assert preview(image, faces, numbers="none", landmarks=False, dense_mesh=True).result[0][0, 32, 22].any()


def test_faces_that_are_not_chosen_are_grey(preview: Any, crowd: Any) -> None:
    faces = crowd((0, 20, 30, 20), (0, 60, 30, 20), (1, 20, 30, 20))
    drawn = preview(torch.zeros(2, 64, 96, 3), faces, chosen=faces[1:2]).result[0]
    grey = [bool(drawn[frame, 50, x].unique().numel() == 1) for frame, x in ((0, 30), (0, 70), (1, 30))]
    assert grey == [True, False, True]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_and_transparent_pictures_are_drawn_on_in_colour(preview: Any, crowd: Any, channels: int) -> None:
    assert preview(pictures(1, channels), crowd((0, 20, 30, 20))).result[0].shape == (1, 64, 96, 3)
