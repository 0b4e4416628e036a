"""Surrogates and adaptation of the example people, with the bundled networks, on the small host."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

SIZE = 64
NODES = ["CSCS_SourceSurrogate", "CSCS_TargetSurrogate", "CSCS_ExplicitAdaptation"]


@pytest.fixture(scope="module")
def loaded(pack: Any) -> Any:
    return pack.module("cscs_core.pipeline").load_models()


@pytest.fixture(scope="module")
def everyone(pack: Any, loaded: Any) -> Any:
    """The six example people, cut out small; they belong to three images."""
    people = pack.module("cscs_core.tasks.example_people").example_crops(loaded, SIZE)
    return dataclasses.replace(people, frame=torch.tensor([0, 0, 1, 1, 2, 2]))


@pytest.fixture
def run(
    pack: Any, host: Any, loaded: Any, everyone: Any, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Any]]:
    """A node with its defaults but for what is given, as the host runs it. Networks are loaded and example people
    found once, for speed."""
    monkeypatch.setattr(pack.module("cscs_core.pipeline"), "load_models", lambda *_, **__: loaded)
    monkeypatch.setattr(pack.module("nodes.surrogate"), "example_crops", lambda *_: everyone)

    def execute(name: str, crops: Any, **inputs: Any) -> Any:
        node = pack.nodes[name]
        widgets = {part.id: part.default for part in node.GET_SCHEMA().inputs if hasattr(part, "default")}
        return node.execute(**{"crops": crops, **widgets, **inputs})

    with torch.inference_mode():
        yield execute


def same(a: Any, b: Any) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in type(a).__slots__)


def likeness(pack: Any, a: Any, b: Any) -> Tensor:
    return pack.module("cscs_core.surrogates.base").cosine(
        a, b, pack.module("cscs_core.pipeline").load_models().encoder
    )


@pytest.mark.parametrize("name", NODES)
def test_the_same_seed_makes_the_same_and_leaves_the_random_numbers_of_others_alone(
    run: Any, everyone: Any, name: str
) -> None:
    options = {"surprise": True} if name == NODES[2] else {}
    before = type(everyone)(*(getattr(everyone, part).clone() for part in type(everyone).__slots__))
    state = torch.random.get_rng_state()
    once, again = (run(name, everyone[[1, 4]], **options).result for _ in range(2))
    assert same(once[0], again[0]) and once[3] == again[3]
    assert not torch.equal(once[0].pixels, run(name, everyone[[1, 4]], seed=1, **options).result[0].pixels)
    assert same(once[0][:1], run(name, everyone[[1]], **options).result[0])  # whoever follows
    assert torch.equal(torch.random.get_rng_state(), state)
    assert same(everyone, before)


@pytest.mark.parametrize("name", NODES)
def test_image_and_mask_are_those_of_the_crops_in_the_format_of_the_host(
    run: Any, host: Any, everyone: Any, name: str
) -> None:
    host.intermediate = torch.float16
    crops, image, mask, report = run(name, everyone[[2, 5]]).result
    assert crops.pixels.dtype == torch.float32 and image.dtype == mask.dtype == torch.float16
    assert torch.equal(image, crops.pixels.movedim(1, -1).half())
    assert torch.equal(mask, crops.mask[:, 0].half())
    assert crops.frame.tolist() == [1, 2]
    assert [line.split(":")[0] for line in report.splitlines()] == ["face 0 of image 1", "face 1 of image 2"]


@pytest.mark.parametrize("name", NODES)
def test_no_face_is_no_work_and_no_error(run: Any, host: Any, everyone: Any, name: str) -> None:
    done = run(name, everyone[[]])
    crops, image, mask, report = done.result
    assert len(crops) == 0 and image.shape == (0, SIZE, SIZE, 3) and mask.shape == (0, SIZE, SIZE)
    assert report == "no faces received"
    assert done.ui == {"cscs_badge": ["no face"]}
    assert not host.loads


@pytest.mark.parametrize("name", NODES)
def test_cancel_is_obeyed(run: Any, host: Any, everyone: Any, name: str) -> None:
    host.interrupt = True
    management = importlib.import_module("comfy.model_management")
    with pytest.raises(management.InterruptProcessingException):
        run(name, everyone)


@pytest.mark.parametrize("name", NODES)
def test_what_is_no_crops_is_refused(run: Any, name: str) -> None:
    with pytest.raises(ValueError, match="crops holds a dict; connect it to an output of a CSCS node"):
        run(name, {"crops": []})


# Source Surrogate


def test_without_strength_only_the_seed_is_left_and_nothing_changes(run: Any, everyone: Any) -> None:
    crops, _, _, report = run(
        NODES[0], everyone[[0]], expression=0.0, pose=0.0, light=0.0, damage=0.0, surroundings=False
    ).result
    torch.testing.assert_close(crops.pixels, everyone[[0]].pixels, rtol=0, atol=1e-5)
    assert report == "face 0 of image 0: similarity 1.00, accepted at try 1; nothing changed"


def test_what_is_accepted_is_as_alike_as_asked(run: Any, pack: Any, everyone: Any) -> None:
    crops, _, _, report = run(NODES[0], everyone[:3], least_likeness=0.6).result
    accepted = ["rejected" not in line for line in report.splitlines()]
    assert ((likeness(pack, everyone[:3], crops) >= 0.6) == torch.tensor(accepted)).all() and any(accepted)


def test_what_is_rejected_stays_and_the_report_says_so(run: Any, pack: Any, everyone: Any) -> None:
    done = run(NODES[0], everyone[[0, 1]], least_likeness=1.0, tries=2)
    crops, _, _, report = done.result
    cosines = likeness(pack, everyone[[0, 1]], crops).tolist()
    assert len(crops) == 2
    for line, cosine in zip(report.splitlines(), cosines, strict=True):
        assert f"similarity {cosine:.2f}, rejected 2 times (similarity must be at least 1.00); " in line
    assert done.ui == {"cscs_badge": ["2 faces, 0 accepted"]}


def test_surroundings_are_lent_by_others_of_any_size(run: Any, pack: Any, everyone: Any) -> None:
    lender = pack.module("cscs_core.faces.align").resize(everyone[[3]], 96)
    still = {"expression": 0.0, "pose": 0.0, "light": 0.0, "damage": 0.0, "least_likeness": -1.0}
    found = set()
    for seed in range(4):
        crops, _, _, report = run(NODES[0], everyone[[5]], others=lender, seed=seed, **still).result
        changed = (crops.pixels - everyone[[5]].pixels).abs().amax(1)[0] > 0.02
        assert changed[:8].float().mean() > 0.5  # above the head
        assert not changed[36:44, 28:36].any()  # nose
        found.add(report.rpartition(", ")[2])
    assert "other 0" in found


def test_a_mirrored_picture_lies_mirrored_in_its_image(run: Any, everyone: Any) -> None:
    still = {"expression": 0.0, "pose": 0.0, "light": 0.0, "damage": 0.0, "surroundings": False}
    crops = run(NODES[0], everyone[[2]], mirror=True, **still).result[0]
    torch.testing.assert_close(crops.pixels, everyone[[2]].pixels.flip(-1), rtol=0, atol=1e-5)


# Target Surrogate


@pytest.mark.parametrize("kind", ["donor", "swapper", "erase"])
def test_somebody_else_is_in_the_same_place(run: Any, pack: Any, everyone: Any, kind: str) -> None:
    faces = everyone[[1, 3]]
    crops, _, _, report = run(NODES[1], faces, kind=kind, donors=everyone, tries=6, most_likeness=0.5).result
    assert "rejected" not in report
    assert (likeness(pack, faces, crops) <= (0.6 if kind == "erase" else 0.5)).all()
    assert ((crops.pixels - faces.pixels)[..., 30:50, 24:40].abs().amax((1, 2, 3)) > 0.1).all()
    assert torch.equal(crops.pixels[..., :1, :], faces.pixels[..., :1, :])  # above the head
    assert torch.equal(crops.frame, faces.frame) and torch.equal(crops.matrix, faces.matrix)


def test_the_person_connected_is_put_in(run: Any, pack: Any, loaded: Any, everyone: Any) -> None:
    faces, donor = everyone[[1]], everyone[[3]]
    [person] = pack.module("cscs_core.surrogates.target").identities_of(donor, loaded.encoder)
    crops, _, _, report = run(NODES[1], faces, kind="swapper", identity=person, tries=1, most_likeness=1.0).result
    assert float(likeness(pack, crops, donor)) > float(likeness(pack, faces, donor)) + 0.2
    assert "way swapper, person 0" in report


def test_a_face_is_never_its_own_donor(run: Any, everyone: Any) -> None:
    crops, _, _, report = run(NODES[1], everyone[[0]], donors=everyone[[0]]).result
    assert same(crops, everyone[[0]])
    assert report == "face 0 of image 0: unchanged, rejected: no donor is another person"


def test_nor_is_another_crop_of_it(run: Any, pack: Any, loaded: Any, everyone: Any) -> None:
    people = pack.module("cscs_core.tasks.example_people")
    image = pack.module("cscs_core.io.images").read(people.EXAMPLES / "person_1.jpg")
    faces = pack.module("cscs_core.pipeline").find(image, loaded)
    crops = pack.module("cscs_core.faces.align").align(image, faces, "arcface_112_v2", SIZE)
    done, _, _, report = run(NODES[1], crops, donors=everyone[[0]]).result
    assert same(done, crops) and "no donor is another person" in report
    report = run(NODES[1], crops, donors=everyone[[0, 0, 2]]).result[3]
    assert "donor 2, " in report and "rejected" not in report


def test_the_report_names_the_donor_by_its_row(run: Any, everyone: Any) -> None:
    report = run(NODES[1], everyone[[0]], donors=everyone[[0, 0, 0, 0, 0, 4]], most_likeness=1.0, tries=9).result[3]
    assert "donor 5, " in report


def test_donors_without_a_face_are_refused(run: Any, everyone: Any) -> None:
    with pytest.raises(ValueError, match="donors has no faces; connect Align Faces of photos with people, or discon"):
        run(NODES[1], everyone, donors=everyone[[]])


# Explicit Adaptation


def test_with_everything_at_0_not_a_bit_changes(run: Any, everyone: Any) -> None:
    crops, _, _, report = run(NODES[2], everyone[[0, 5]]).result
    assert same(crops, everyone[[0, 5]])
    assert report.splitlines()[1] == "face 1 of image 2: similarity 1.00, nothing changed"


def test_what_is_told_is_done(run: Any, pack: Any, everyone: Any) -> None:
    faces = everyone[[1]]
    thin, wide = (run(NODES[2], faces, face=value).result[0] for value in (-0.8, 0.8))
    width = [float(one.mesh[0, 397, 0] - one.mesh[0, 172, 0]) for one in (thin, faces, wide)]  # of the jaw
    assert width[0] < width[1] - 1 and width[1] + 1 < width[2]
    eyes = pack.module("cscs_core.ops.mask").eyes(faces.mesh, SIZE)

    def light(crops: Any) -> float:
        return float((crops.pixels * eyes).sum() / eyes.sum())

    clear, dark = (run(NODES[2], faces, glasses="round", tint=tint).result for tint in (0.0, 1.0))
    assert light(dark[0]) < 0.6 * light(clear[0])
    assert "glasses round, tint 1" in dark[3]
    assert "makeup (lips 0.5, shadow 0.4, liner 0.5, blush 0.4)" in run(NODES[2], faces, makeup=0.5).result[3]


def test_a_surprise_differs_from_face_to_face_and_ignores_what_is_set(run: Any, everyone: Any) -> None:
    report = run(NODES[2], everyone, surprise=True, seed=3).result[3]
    assert len({line.partition(":")[2] for line in report.splitlines()}) == 6
    assert run(NODES[2], everyone, surprise=True, seed=3, face=1.0, glasses="wire", beard=1.0).result[3] == report
