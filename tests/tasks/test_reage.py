"""Re-aging: the reference's person is found in the picture, and as much of the reference is taken as was asked for."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
import torch
import torch.nn.functional as nnf

from cscs_core.faces.align import align
from cscs_core.faces.swappers.base import swap
from cscs_core.faces.swappers.warp import WarpSwapper
from cscs_core.io import images
from cscs_core.ops import colour, mask, mesh
from cscs_core.pipeline import Models, PreparedSource, find, identity_from, load_models, prepare_source
from cscs_core.tasks.example_people import EXAMPLES
from cscs_core.tasks.reage import reage, taken
from cscs_core.types import Crops, FaceSet, Identity

PEOPLE = sorted(EXAMPLES.glob("*.jpg"))


def photo(number: int) -> torch.Tensor:
    """An example person, (1, 3, 320, 320)."""
    return nnf.interpolate(images.read(PEOPLE[number]), (320, 320), mode="bilinear", antialias=True)


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


@pytest.fixture(scope="module")
def reference(models: Models) -> PreparedSource:
    """The second person, mirrored and in other light: another photo of the same one."""
    return prepare_source(identity_from([photo(1).flip(-1) * 0.8 + 0.1], models), WarpSwapper(), models)


@pytest.fixture(scope="module")
def crops(models: Models, reference: PreparedSource) -> tuple[Crops, Crops]:
    """The third person, and with the face of the second."""
    target = align(photo(2), find(photo(2), models), size=256)
    return target, swap(target, reference.person, reference.swapper)


def test_of_two_people_the_same_one_is_taken_whichever_is_larger(models, reference):
    for picture, left in ((torch.cat([photo(1), photo(2)], -1), True), (torch.cat([photo(2), photo(1)], -1), False)):
        done = reage(picture, reference, models, size=256)
        assert len(done.faces) == 1 and (float(done.faces.box[0, 0]) < 320) == left
        assert float(done.before) > 0.6
        other = (slice(None), slice(None), slice(None), slice(320, None) if left else slice(None, 320))
        assert done.image[other].equal(picture[other])


def test_a_number_overrules_the_likeness(models, reference):
    done = reage(torch.cat([photo(1), photo(2)], -1), reference, models, order="left-right", indices=[1], size=256)
    assert float(done.faces.box[0, 0]) > 320 and float(done.before) < 0.35 < float(done.after)


def test_another_person_is_left_alone_if_asked_for_and_the_reason_told(models, reference):
    done = reage(photo(2), reference, models, only_same=True, size=256)
    assert done.image.equal(photo(2)) and not done.mask.any() and not len(done.faces)
    assert "to the reference is below 0.35" in done.skipped[0]


def test_a_picture_without_a_face_stays_as_it_is(models, reference):
    picture = torch.rand(1, 3, 64, 80)
    for indices in (None, [0]):
        done = reage(picture, reference, models, indices=indices)
        assert done.image.equal(picture) and done.skipped == ["no face found"]


def test_skin_keeps_eyes_and_mouth_bit_for_bit_and_nothing_else(crops):
    target, swapped = crops
    part = taken(target, swapped, "skin")
    parts = mask.eyes(target.mesh, 256) + mask.lips(target.mesh, 256) + mask.mouth(target.mesh, 256)
    assert part.mask.where(parts > 0.5, 0).max() == 0
    far = mask.features(target.mesh, 256) == 0
    assert part.mask.where(far, 0).equal(swapped.mask.where(far, 0)) and part.mask.where(far, 0).max() > 0.99
    assert part.pixels.equal(swapped.pixels)


def test_fine_detail_keeps_the_targets_colours_and_takes_the_references_detail(crops):
    target, swapped = crops
    part = taken(target, swapped, "fine detail")
    inside = mask.grow(mask.hull(target.mesh, 256), -20) > 0
    slow = [colour.gaussian_blur(one.pixels, 8).where(inside, 0) for one in (target, swapped, part)]
    fast = [(one.pixels - colour.gaussian_blur(one.pixels, 1.5)).where(inside, 0) for one in (target, swapped, part)]
    assert (slow[2] - slow[0]).abs().mean() < 0.2 * (slow[1] - slow[0]).abs().mean()
    assert (fast[2] - fast[1]).abs().mean() < 0.3 * (fast[0] - fast[1]).abs().mean()


def test_less_is_taken_from_whole_face_to_skin_to_fine_detail(models, reference):
    picture = photo(2)
    whole, skin, fine = (
        float(reage(picture, reference, models, take=take, size=256).after)
        for take in ("whole face", "skin", "fine detail")
    )
    assert whole > skin > fine


def test_strength_nothing_changes_nothing(models, reference):
    assert reage(photo(2), reference, models, strength=0.0, size=256).image.equal(photo(2))


def test_an_unknown_take_names_those_there_are(models, reference):
    with pytest.raises(ValueError, match="whole face, skin, fine detail"):
        reage(photo(2), reference, models, take="hair")


class White:
    """A swapper that paints the whole crop white."""

    template, sizes, networks = "ffhq_512", (64, 128), ()

    def encode(self, identity: Identity) -> str:
        return "somebody"

    def __call__(self, crops: Crops, person: str, strength: float) -> Crops:
        return replace(crops, pixels=torch.ones_like(crops.pixels), mask=crops.mask * strength)


@pytest.fixture
def scores() -> list[float]:
    """The scores that faces were asked for from."""
    return []


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, faces, scores: list[float]):
    """A face without networks, so much like the reference, and exactly like it once it is white."""

    def run(alike: float, **options):
        face = faces([(0, 60.0, 50.0, 30.0)])

        def find(image: torch.Tensor, models: Models, threshold: float = 0.5):
            scores.append(threshold)
            return face

        def encode(image: torch.Tensor, some: FaceSet, encoder: object) -> torch.Tensor:
            cosine = 1.0 if image.max() > 0.99 else alike
            return torch.tensor([[cosine, (1 - cosine**2) ** 0.5]]).expand(len(some), -1)

        monkeypatch.setattr("cscs_core.tasks.reage.find", find)
        monkeypatch.setattr("cscs_core.tasks.reage.encode", encode)
        source = PreparedSource(Identity(cast(Crops, None), torch.eye(2)[:1], torch.ones(1)), White(), "somebody")
        return reage(
            torch.full((1, 3, 120, 130), 0.3),
            source,
            cast(Models, SimpleNamespace(device="cpu", encoder=None)),
            **options,
        )

    return run


@pytest.mark.parametrize(("alike", "count"), [(0.34, 0), (0.36, 1)])
def test_a_likeness_of_0_35_is_the_same_person(told, alike, count):
    assert len(told(alike, only_same=True).faces) == count
    assert len(told(alike).faces) == 1


def test_likeness_before_and_after_is_that_of_the_picture_before_and_after(told):
    done = told(0.4)
    assert (float(done.before), float(done.after)) == pytest.approx((0.4, 1.0))


def test_less_strength_takes_as_much_less(told):
    assert float(told(0.4, strength=0.5).mask.max()) == pytest.approx(0.5, abs=0.01)


def test_faces_are_found_from_the_score_asked_for_on(told, scores):
    told(0.4, detection=0.2)
    assert scores == [0.2]


def test_what_is_wider_than_a_tenth_of_the_crop_is_no_fine_detail(faces):
    size = 256
    points = mesh.mean_face()[None] * 96 + torch.tensor([127.5, 116.0])
    flat = Crops(
        torch.full((1, 3, size, size), 0.5),
        torch.ones(1, 1, size, size),
        torch.eye(2, 3)[None],
        mesh.five(points),
        points,
        torch.zeros(1, dtype=torch.long),
    )
    line = 2 * torch.pi * torch.arange(float(size))
    shares = []
    for period in (8, 32):  # pores, and the light on a cheek
        wave = (0.5 + 0.2 * (line / period).sin()).expand_as(flat.pixels)
        left = taken(flat, replace(flat, pixels=wave), "fine detail").pixels - 0.5
        shares.append(float(left[..., 64:192].std() / (wave - 0.5)[..., 64:192].std()))
    assert shares[0] > 0.9 and shares[1] < 0.2


def test_skin_is_taken_only_where_the_swapper_put_it(crops):
    target, swapped = crops
    for take in ("skin", "fine detail"):
        assert (taken(target, swapped, take).mask <= swapped.mask).all()
