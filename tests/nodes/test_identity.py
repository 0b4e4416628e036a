"""Face Identity, Blend Identities, Save Identity and Load Identity."""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

EXAMPLES = [f"example person {number}" for number in range(1, 7)]


def pictures(count: int = 1) -> torch.Tensor:
    return torch.rand(count, 32, 48, 3)


@pytest.fixture
def identify(pack: Any, core: Any) -> Any:
    return lambda image, **inputs: pack.nodes["CSCS_FaceIdentity"].execute(image, "large-small", **inputs)


@pytest.fixture
def person(pack: Any) -> Callable[..., Any]:
    """Somebody whose references have these embeddings, crops of one grey with a face's points."""
    types, mesh = pack.module("cscs_core.types"), pack.module("cscs_core.ops.mesh")

    def made(*rows: list[float], grey: float = 0.5) -> Any:
        count = len(rows)
        points = (mesh.mean_face() * 6 + 8).expand(count, 468, 2)
        crops = types.Crops(
            torch.full((count, 3, 16, 16), grey),
            torch.ones(count, 1, 16, 16),
            torch.eye(3)[:2].expand(count, 2, 3),
            mesh.five(points),
            points,
            torch.arange(count),
        )
        return types.Identity(crops, torch.tensor(rows), torch.ones(count))

    return made


@pytest.fixture
def folder(host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The host's models folder."""
    paths = importlib.import_module("folder_paths")
    monkeypatch.setattr(paths, "models_dir", str(tmp_path))
    monkeypatch.setitem(paths.folder_names_and_paths, "cscs", ([str(tmp_path / "cscs")], set()))
    return tmp_path


@pytest.fixture
def save(pack: Any, folder: Path) -> Any:
    node = pack.nodes["CSCS_SaveIdentity"]
    return lambda identity, name="her", overwrite=False: node.execute(identity, name, overwrite)


def face_model(folder: Path) -> None:
    path = folder / "reactor" / "faces" / "him.safetensors"
    path.parent.mkdir(parents=True)
    save_file({"bbox": torch.zeros(4), "kps": torch.zeros(5, 2), "embedding": torch.ones(512)}, path)


# Face Identity


@pytest.mark.parametrize(("text", "weights"), [("", None), (" 1, .5 ", [1, 0.5]), ("2", [2, 2]), ("0,1", [0, 1])])
def test_weights_are_read_as_written_one_for_each_photo_or_one_for_all(
    identify: Any, core: Any, text: str, weights: list[float] | None
) -> None:
    identify(pictures(2), weights=text)
    assert core.options["weights"] == weights


@pytest.mark.parametrize(("text", "numbers"), [("", None), ("1", [1, 1]), ("0, 2", [0, 2])])
def test_face_numbers_are_one_for_each_photo_or_one_for_all(
    identify: Any, core: Any, text: str, numbers: list[int] | None
) -> None:
    identify(pictures(2), faces_index=text)
    assert core.options["numbers"] == numbers


@pytest.mark.parametrize("name", ["weights", "faces_index"])
def test_another_count_than_that_of_the_photos_is_refused(identify: Any, name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} '1, 2, 3': 3 numbers for 2 photos; write one for each"):
        identify(pictures(2), **{name: "1, 2, 3"})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("weights", "-1"),
        ("weights", "1;2"),
        ("weights", "nan"),
        ("weights", "0, 0"),
        ("faces_index", "first"),
        ("faces_index", "1.5"),
        ("faces_index", "1,"),
    ],
)
def test_other_text_is_refused_before_the_graph_runs(pack: Any, name: str, text: str) -> None:
    said = pack.nodes["CSCS_FaceIdentity"].validate_inputs(**{name: text})
    assert said is not True and repr(text) in said
    assert pack.nodes["CSCS_FaceIdentity"].validate_inputs(**{name: None}) is True


def test_a_face_number_that_a_photo_does_not_have_is_told_with_the_photo(
    pack: Any, identify: Any, monkeypatch: Any
) -> None:
    pipeline = pack.module("cscs_core.pipeline")

    def missing(*_: Any) -> None:
        raise pipeline.NoFace(1, 3, 2)

    monkeypatch.setattr(pipeline, "identity_from", missing)
    with pytest.raises(ValueError, match="there is no face 3 in image 1 of image: 2 found, counted from 0"):
        identify(pictures(2), faces_index="3")


def test_the_odd_photo_is_left_out_dark_in_the_preview_and_named(
    pack: Any, identify: Any, person: Any, monkeypatch: Any
) -> None:
    rows = [[1.0, 0.0], [0.0, 1.0], [0.8, 0.6], [0.8, -0.6]]
    monkeypatch.setattr(pack.module("cscs_core.pipeline"), "identity_from", lambda *_: person(*rows))
    identity, preview, report = (out := identify(pictures(4), outlier_threshold=0.3)).result
    torch.testing.assert_close(identity.embedding, torch.tensor(rows)[[0, 2, 3]])
    assert preview[:, 0, 0, 0].tolist() == [0.5, 0.125, 0.5, 0.5]
    assert report.splitlines() == [
        "photo 0: similarity to the others 1.00",
        "photo 2: similarity to the others 0.57",
        "photo 3: similarity to the others 0.57",
        "photo 1 is left out: its similarity to the others, 0.00, is below 0.30",
    ]
    assert out.ui == {"cscs_badge": ["4 photos, 1 left out"]}


def test_nobody_is_left_out_unless_asked(pack: Any, identify: Any, person: Any, monkeypatch: Any) -> None:
    rows = [[1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]]
    monkeypatch.setattr(pack.module("cscs_core.pipeline"), "identity_from", lambda *_: person(*rows))
    assert len(identify(pictures(3)).result[0].embedding) == 3


def test_one_photo_needs_no_agreement(identify: Any) -> None:
    assert identify(pictures(), outlier_threshold=0.9).result[2] == "photo 0: the only photo"


def test_the_photos_are_read_one_by_one_until_cancelled(identify: Any, core: Any, host: Any) -> None:
    identify(pictures(3))
    bar = importlib.import_module("comfy.utils").ProgressBar.last
    assert (bar.total, bar.current, len(core.photos)) == (3, 3, 3)
    host.interrupt = True
    with pytest.raises(importlib.import_module("comfy.model_management").InterruptProcessingException):
        identify(pictures(3))
    assert len(core.photos) == 3


def test_a_connected_detector_wins(pack: Any, identify: Any, core: Any, monkeypatch: Any) -> None:
    asked = []
    models = pack.module("nodes.loaded")
    ready = models.ready
    monkeypatch.setattr(models, "ready", lambda image, detector: asked.append(detector) or ready(image))
    choice = models.Choice("detector", "buffalo_l")
    identify(pictures(), detector="lite", detector_model=choice)
    identify(pictures(), detector="antelopev2")
    assert asked == [choice, "antelopev2"]


# Blend Identities


class Encoder:
    """Sees how bright the crops are: black and white are a right angle apart."""

    name, template, size, width = "lite", "arcface_112_v2", 8, 2

    def __call__(self, crops: torch.Tensor) -> torch.Tensor:
        angle = crops.mean((1, 2, 3)) * math.pi / 2
        return torch.stack([angle.cos(), angle.sin()], -1)


@pytest.fixture
def asked(pack: Any, core: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Which detectors were asked for; whatever they are, `Encoder` measures."""
    models, detectors = pack.module("nodes.loaded"), []
    loaded = models.ready(pictures())
    loaded.encoder = Encoder()
    monkeypatch.setattr(models, "ready", lambda image, detector: detectors.append(detector) or loaded)
    return detectors


@pytest.fixture
def blend(pack: Any, asked: Any) -> Any:
    return lambda *people, **more: pack.nodes["CSCS_BlendIdentities"].execute(*people, **more)


def test_two_people_are_mixed_by_share(blend: Any, person: Any) -> None:
    a, b = person([1.0, 0.0], grey=0.0), person([0.0, 1.0], grey=1.0)
    identity, preview, report = (out := blend(a, b, 0.25)).result
    torch.testing.assert_close(preview, torch.full((1, 16, 16, 3), 0.25))
    torch.testing.assert_close(identity.crops.pixels, torch.full((1, 3, 16, 16), 0.25))
    assert report.splitlines() == [
        "identity_a: share 0.75, similarity to the blend 0.92",
        "identity_b: share 0.25, similarity to the blend 0.38",
    ]
    assert out.ui == {"cscs_badge": ["2 people"]}


@pytest.mark.parametrize(("share", "grey"), [(0.0, 0.2), (1.0, 0.8)])
def test_at_the_ends_it_is_the_person_with_every_photo(blend: Any, person: Any, share: float, grey: float) -> None:
    rows = [[1.0, 0.0], [0.6, 0.8]]
    identity = blend(person(*rows, grey=0.2), person(*rows, grey=0.8), share).result[0]
    assert (identity.crops.pixels == grey).all()
    assert identity.embedding.tolist() == torch.tensor(rows).tolist()


def test_a_third_and_a_fourth_take_their_share_and_the_others_divide_the_rest(blend: Any, person: Any) -> None:
    black, white = person([1.0, 0.0], grey=0.0), person([1.0, 0.0], grey=1.0)

    def white_in(number: int, **more: Any) -> float:
        people = [white if row == number else black for row in range(4)]
        if "share_c" not in more:
            return float(blend(*people[:2], 0.5, identity_d=people[3], **more).result[1].mean())
        return float(blend(*people[:2], 0.5, identity_c=people[2], identity_d=people[3], **more).result[1].mean())

    assert [white_in(row, share_c=0.2, share_d=0.5) for row in range(4)] == pytest.approx([0.2, 0.2, 0.1, 0.5])
    assert [white_in(row, share_d=0.5) for row in (0, 1, 3)] == pytest.approx([0.25, 0.25, 0.5])


def test_people_of_different_detectors_are_measured_again(blend: Any, person: Any, asked: list[Any]) -> None:
    a, b = person([1.0, 0.0], grey=0.0), replace(person([1.0, 0.0, 0.0], grey=1.0), encoder="buffalo_l")
    identity = blend(a, b, 1.0, detector="some").result[0]
    assert (identity.encoder, asked) == ("lite", ["some"])
    torch.testing.assert_close(identity.embedding, torch.tensor([[0.0, 1.0]]), atol=1e-6, rtol=0)


def test_whoever_has_no_photograph_is_named_by_the_input(pack: Any, blend: Any, person: Any, folder: Path) -> None:
    face_model(folder)
    her = pack.nodes["CSCS_LoadIdentity"].execute("him (ReActor, to match only)").result[0]
    with pytest.raises(ValueError, match="identity_b: this identity was saved by ReActor and holds no photo"):
        blend(person([1.0, 0.0]), her, 0.5)


# Save Identity and Load Identity


def test_nothing_is_written_until_the_node_runs(pack: Any, folder: Path, person: Any) -> None:
    node = pack.nodes["CSCS_SaveIdentity"]
    node.GET_SCHEMA()
    assert node.validate_inputs("her") is True
    pack.nodes["CSCS_LoadIdentity"].GET_SCHEMA()
    assert list(folder.rglob("*.safetensors")) == [] and not (folder / "cscs").exists()


def test_a_saved_person_is_listed_and_comes_back(pack: Any, save: Any, person: Any, folder: Path) -> None:
    whole = person([1.0, 0.0], [0.0, 1.0])
    out = save(whole)
    assert [str(path.relative_to(folder)) for path in folder.rglob("*.*")] == [
        os.path.join("cscs", "identities", "her.safetensors")
    ]
    assert out.result[0].startswith("2 faces, 0.0 MB, saved to ") and out.ui["cscs_badge"] == ["saved her"]
    load = pack.nodes["CSCS_LoadIdentity"]
    assert load.GET_SCHEMA().inputs[0].options == ["her", *EXAMPLES]
    identity, preview, report = load.execute("her").result
    assert torch.equal(identity.embedding, whole.embedding)
    assert preview.shape == (2, 16, 16, 3)
    assert report == "her: 2 faces; embedded by lite"


def test_a_person_is_overwritten_only_when_asked(save: Any, person: Any) -> None:
    save(person([1.0, 0.0]))
    with pytest.raises(ValueError, match=r"her\.safetensors: already exists"):
        save(person([1.0, 0.0]))
    assert save(person([1.0, 0.0], [1.0, 0.0]), overwrite=True).result[0].startswith("2 faces")


@pytest.mark.parametrize("name", ["", "../her", "a/b", "her.safetensors", "C:her"])
def test_only_a_name_is_a_name(pack: Any, save: Any, person: Any, name: str) -> None:
    with pytest.raises(ValueError, match="cannot be used as a file name"):
        save(person([1.0, 0.0]), name)
    assert "cannot be used as a file name" in pack.nodes["CSCS_SaveIdentity"].validate_inputs(name)
    assert pack.nodes["CSCS_SaveIdentity"].validate_inputs(None) is True


def test_what_no_node_of_ours_made_is_not_saved(save: Any, folder: Path) -> None:
    with pytest.raises(ValueError, match="identity holds a str"):
        save("her")
    assert list(folder.rglob("*.safetensors")) == []


def test_a_face_model_of_reactor_is_marked_and_has_a_grey_preview(pack: Any, folder: Path) -> None:
    face_model(folder)
    load = pack.nodes["CSCS_LoadIdentity"]
    assert load.GET_SCHEMA().inputs[0].options == ["him (ReActor, to match only)", *EXAMPLES]
    identity, preview, report = (out := load.execute("him (ReActor, to match only)")).result
    assert len(identity.crops) == 0 and identity.encoder == "buffalo_l"
    assert preview.shape == (1, 512, 512, 3) and (preview == 0.5).all()
    assert "it can be matched, not swapped in" in report and out.ui["cscs_badge"] == ["to match only"]


def test_a_face_model_of_reactor_is_not_swapped_in(pack: Any, core: Any, folder: Path) -> None:
    face_model(folder)
    him = pack.nodes["CSCS_LoadIdentity"].execute("him (ReActor, to match only)").result[0]
    swap = pack.nodes["CSCS_FaceSwap"]
    inputs = {part.id: part.default for part in swap.GET_SCHEMA().inputs if hasattr(part, "default")}
    with pytest.raises(ValueError, match="saved by ReActor and holds no photo"):
        swap.execute(target=pictures(), identity=him, **inputs)


@pytest.mark.parametrize("choice", ["gone", "../../secret", "him (ReActor, to match only)", "a/b", ""])
def test_a_file_that_is_not_there_is_told_before_the_graph_runs(pack: Any, folder: Path, choice: str) -> None:
    (folder / "cscs" / "identities").mkdir(parents=True)
    (folder / "secret.safetensors").touch()
    load = pack.nodes["CSCS_LoadIdentity"]
    assert "refresh the lists" in load.validate_inputs(choice)
    assert load.fingerprint_inputs(choice) == "gone"
    with pytest.raises(ValueError, match=r"no such file|lies outside"):
        load.execute(choice)


def test_a_file_that_has_changed_is_read_again(pack: Any, save: Any, person: Any, folder: Path) -> None:
    load, path = pack.nodes["CSCS_LoadIdentity"], folder / "cscs" / "identities" / "her.safetensors"
    save(person([1.0, 0.0]))
    assert load.validate_inputs("her") is True
    os.utime(path, ns=(1, 1))
    before = load.fingerprint_inputs("her")
    assert load.fingerprint_inputs("her") == before
    save(person([1.0, 0.0]), overwrite=True)
    assert load.fingerprint_inputs("her") != before


def test_without_files_the_first_example_person_is_loaded(pack: Any, core: Any, folder: Path) -> None:
    load, images = pack.nodes["CSCS_LoadIdentity"], pack.module("cscs_core.io.images")
    assert load.GET_SCHEMA().inputs[0].options == EXAMPLES
    assert load.validate_inputs(EXAMPLES[0]) is True and load.fingerprint_inputs(EXAMPLES[0]) != "gone"
    report = (out := load.execute("example person 2")).result[2]
    expected = images.read(pack.module("cscs_core.tasks.example_people").EXAMPLES / "person_2.jpg")
    assert len(core.photos) == 1 and torch.equal(core.photos[0], expected)
    assert report == "example person 2: 1 face; embedded by lite" and out.ui == {"cscs_badge": ["1 face"]}


def test_a_file_with_the_name_of_an_example_person_is_the_file(
    pack: Any, save: Any, person: Any, core: Any, folder: Path
) -> None:
    save(person([1.0, 0.0], [0.0, 1.0]), "example person 2")
    load = pack.nodes["CSCS_LoadIdentity"]
    assert sorted(load.GET_SCHEMA().inputs[0].options) == EXAMPLES
    assert len(load.execute("example person 2").result[0].embedding) == 2 and not core.photos
