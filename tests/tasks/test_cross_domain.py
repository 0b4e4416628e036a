"""Paintings: faces found where the plain look finds none, and faces that take on a picture's colours and texture."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
import torch
import torch.nn.functional as nnf

from cscs_core.faces.detectors.base import Found
from cscs_core.faces.identity import LiteEncoder
from cscs_core.faces.mask import feather_mask
from cscs_core.faces.paste import paste
from cscs_core.faces.swappers.warp import WarpSwapper
from cscs_core.io import images
from cscs_core.models import FaceMesh, IdentityEncoder
from cscs_core.ops import colour, geometry, mask
from cscs_core.ops import mesh as meshes
from cscs_core.pipeline import Models, NoFace, PreparedSource, find, identity_from, load_models, prepare_source
from cscs_core.tasks import cross_domain
from cscs_core.tasks.cross_domain import AGREEMENT, Harmony, find_painted, harmonise, swap_across_domains
from cscs_core.tasks.example_people import EXAMPLES
from cscs_core.types import Crops, FaceSet, Identity, join

PEOPLE = sorted(EXAMPLES.glob("*.jpg"))


def photo(number: int) -> torch.Tensor:
    """An example person, (1, 3, 320, 320)."""
    return nnf.interpolate(images.read(PEOPLE[number]), (320, 320), mode="bilinear", antialias=True)


def painted(picture: torch.Tensor) -> torch.Tensor:
    """What a camera sees of an old painting: few tones, a woven canvas, brown varnish."""
    side = torch.arange(picture.shape[-1])
    canvas = 0.04 * ((side * 1.3).sin()[None] + (side * 1.3).sin()[:, None])
    flat = (colour.gaussian_blur(picture, 1.0) * 8).round() / 8
    return ((flat + canvas) * torch.tensor([0.75, 0.6, 0.4]).view(1, 3, 1, 1) + 0.08).clamp(0, 1)


def faded(picture: torch.Tensor) -> torch.Tensor:
    """A tenth of the contrast."""
    return picture * 0.1 + 0.45


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


@pytest.fixture(scope="module")
def person(models: Models) -> PreparedSource:
    return prepare_source(known([photo(0)], models), WarpSwapper(), models)


@pytest.fixture(scope="module")
def faces(models: Models) -> FaceSet:
    return find(painted(photo(3)), models)


def known(pictures: list[torch.Tensor], models: Models) -> Identity:
    """The person of paintings or photographs."""
    return identity_from(pictures, models, threshold=AGREEMENT, look=find_painted)


def apart(one: FaceSet, other: FaceSet) -> float:
    """Mean distance of the five points in eye distances."""
    eyes = (other.landmarks[0, 0] - other.landmarks[0, 1]).norm()
    return float((one.landmarks[0] - other.landmarks[0]).norm(dim=-1).mean() / eyes)


def test_where_the_plain_look_finds_a_face_that_is_the_answer(models):
    plain, found = find(photo(1), models), find_painted(photo(1), models)
    assert found.mesh.equal(plain.mesh) and found.score.equal(plain.score)


@pytest.mark.parametrize("number", [1, 3, 4])
def test_a_face_that_has_all_but_faded_is_found_in_its_place(models, number):
    assert not len(find(faded(photo(number)), models))
    found = find_painted(faded(photo(number)), models)
    assert len(found) == 1
    assert apart(found, find(photo(number), models)) < 0.06


def test_a_face_in_a_large_picture_is_found_in_its_place(models):
    large = nnf.interpolate(faded(photo(3)), (1350, 1300), mode="bilinear")
    ratio = torch.tensor([1300 / 320, 1350 / 320])
    found, plain = find_painted(large, models), find(photo(3), models)
    assert torch.allclose(((found.landmarks + 0.5) / ratio - 0.5), plain.landmarks, atol=3)


def test_neither_noise_nor_grey_is_a_face(models):
    noise = torch.rand(1, 3, 200, 240)
    assert [len(find_painted(picture, models)) for picture in (noise, noise * 0 + 0.5)] == [0, 0]


def test_the_picture_without_a_face_is_named(models):
    with pytest.raises(NoFace, match="photograph 1"):
        known([photo(0), torch.zeros(1, 3, 64, 64)], models)


def test_a_person_is_known_from_a_painting(models):
    person = known([photo(2), painted(photo(2))], models)
    other = known([photo(4)], models)
    assert float(person.embedding[0] @ person.embedding[1]) > 0.5 > float(person.mean @ other.mean)


@pytest.mark.parametrize("context", [1.0, 2.5])
def test_the_crops_as_they_are_are_the_picture(models, person, faces, context):
    picture = painted(photo(3))
    done = swap_across_domains(picture, faces, person, models, context=context, resolution=256)
    assert paste(picture, done.crops).equal(done.image)
    # Paste Faces fades the border of every crop.
    assert torch.allclose(paste(picture, feather_mask(done.crops, 0.0)), done.image, atol=1e-5)
    assert (done.image - picture).abs().max() > 0.1
    assert (done.image - picture).where(done.mask == 0, 0).abs().max() == 0


def test_two_faces_that_touch_are_the_picture_too(models, person, faces):
    shifted = FaceSet(
        faces.frame,
        faces.box + 40,
        faces.landmarks + 40,
        faces.mesh + 40,
        faces.score,
        faces.track,
    )
    picture = painted(photo(3))
    done = swap_across_domains(picture, join([faces, shifted]), person, models, resolution=256)
    assert len(done.crops) == 2
    assert paste(picture, done.crops).equal(done.image)


def test_without_a_face_or_without_strength_nothing_changes(models, person, faces):
    picture = painted(photo(3))
    for done in (
        swap_across_domains(picture, faces[:0], person, models),
        swap_across_domains(picture, faces, person, models, strength=0.0),
    ):
        assert done.image.equal(picture) and not done.mask.any()


def test_more_context_shows_more(models, person, faces):
    near, far = (
        swap_across_domains(photo(3), faces, person, models, context=c, resolution=256).crops for c in (1.0, 2.0)
    )
    wide = [float((crops.landmarks[0, 0] - crops.landmarks[0, 1]).norm()) for crops in (near, far)]
    assert wide[0] == pytest.approx(2 * wide[1], rel=1e-3)
    with pytest.raises(ValueError, match=r"context is 0\.5"):
        swap_across_domains(photo(3), faces, person, models, context=0.5)


def test_the_person_comes_through(models, person, faces):
    done = swap_across_domains(painted(photo(3)), faces, person, models, resolution=512)
    assert float(done.after) > float(done.before)


def crops(models: Models):
    """A face, a painting of it, its mesh and skin, in crop pixels."""
    source = prepare_source(known([photo(3)], models), WarpSwapper(), models)
    done = swap_across_domains(
        photo(3), find(photo(3), models), source, models, context=1.0, resolution=256, strength=0.0
    )
    skin = mask.hull(done.crops.mesh, 256) * (1 - mask.features(done.crops.mesh, 256))
    return done.crops.pixels, painted(done.crops.pixels), done.crops.mesh, skin


def test_all_of_the_colour_is_the_targets_mean_colour(models):
    pixels, target, dense, skin = crops(models)
    done = harmonise(pixels, target, dense, Harmony(1.0, 0.0))
    means = [(colour.to_lab(x) * skin).sum((2, 3)) / skin.sum((2, 3)) for x in (pixels, done, target)]
    assert (means[1] - means[2]).abs().max() < 1.5 < (means[0] - means[2]).abs().max()


def roughness(pixels: torch.Tensor, skin: torch.Tensor) -> float:
    fine = pixels - colour.gaussian_blur(pixels, 2.0)
    return float(((fine.square() * skin).sum() / skin.sum()).sqrt())


def test_texture_goes_both_ways(models):
    """A photo in a painting becomes rougher, a painting in a photo smoother."""
    pixels, target, dense, skin = crops(models)
    smooth, rough = roughness(pixels, skin), roughness(target, skin)
    assert rough > 1.5 * smooth
    laid = roughness(harmonise(pixels, target, dense, Harmony(0.0, 1.0)), skin)
    softer = roughness(harmonise(target, pixels, dense, Harmony(0.0, 1.0)), skin)
    assert laid == pytest.approx(rough, rel=0.15) and softer == pytest.approx(smooth, rel=0.15)


def test_no_harmony_changes_nothing(models):
    pixels, target, dense, _ = crops(models)
    assert harmonise(pixels, target, dense, Harmony(0.0, 0.0)).equal(pixels)


def test_harmony_is_a_share():
    with pytest.raises(ValueError, match=r"texture is 1\.5"):
        Harmony(texture=1.5)


class Glances:
    """A detector that finds one face, surely or not, in each of five looks: mirrored, plain, stretched, softened and
    enlarged."""

    networks = ()

    def __init__(self, *scores: float):
        self.scores = list(scores)

    def __call__(self, images: torch.Tensor, threshold: float) -> Found:
        score, wide = self.scores.pop(0), images.shape[-1]
        corners = torch.tensor([[20.0, 30], [60, 70]])
        points = torch.tensor([[30.0, 40], [50, 40], [40, 50], [32, 60], [48, 60]])
        if wide == 150:  # enlarged
            corners, points = ((one + 0.5) * 1.5 - 0.5 for one in (corners, points))
        elif len(self.scores) == 4:
            corners = torch.stack([99 - corners[:, 0].flip(0), corners[:, 1]], -1)
            points = torch.stack([99 - points[:, 0], points[:, 1]], -1)[[1, 0, 2, 4, 3]]
        found = torch.tensor([score])[torch.tensor([score]) > threshold]
        count = len(found)
        return (
            torch.zeros(count, dtype=torch.long),
            corners.view(1, 4).expand(count, -1),
            points.expand(count, -1, -1),
            found,
        )


def glanced(monkeypatch: pytest.MonkeyPatch, *scores: float) -> FaceSet:
    seen: list[torch.Tensor] = []
    monkeypatch.setattr(cross_domain, "find", lambda *_: FaceSet.empty())

    def locate(images: torch.Tensor, frame: torch.Tensor, points: torch.Tensor, landmarks: FaceMesh) -> torch.Tensor:
        seen.append(points)
        return points.new_zeros(len(frame), 468, 2)

    monkeypatch.setattr(cross_domain, "locate", locate)
    network = torch.nn.Linear(1, 1)
    models = Models(Glances(*scores), cast(FaceMesh, network), cast(LiteEncoder, None))
    found = find_painted(torch.rand(1, 3, 100, 100), models)
    return replace(found, landmarks=seen[0]) if seen else found


def test_a_face_seen_in_one_look_alone_is_none(monkeypatch):
    assert len(glanced(monkeypatch, 0.0, 0.85, 0.0, 0.0, 0.0)) == 0


@pytest.mark.parametrize("looks", [(0, 1), (2, 3), (1, 4), (0, 4), (4, 1)])
def test_a_face_seen_in_two_looks_has_their_mean_score_and_one_place(monkeypatch, looks):
    scores = [0.6 if number == looks[0] else 0.4 if number == looks[1] else 0.11 for number in range(5)]
    found = glanced(monkeypatch, *scores)
    assert found.score.tolist() == pytest.approx([0.5])
    torch.testing.assert_close(found.box, torch.tensor([[20.0, 30, 60, 70]]), atol=1e-4, rtol=0)
    expected = torch.tensor([[30.0, 40], [50, 40], [40, 50], [32, 60], [48, 60]])
    torch.testing.assert_close(found.landmarks[0], expected, atol=1e-4, rtol=0)


def waves(contrast: float) -> torch.Tensor:
    """A grey picture of 128 px whose lightness rises and falls by so much."""
    line = (torch.arange(128.0) / 5).sin() * contrast + 0.5
    return line.expand(1, 3, 128, 128).contiguous()


@pytest.mark.parametrize(("own", "other", "factor"), [(0.04, 0.3, 1.25), (0.3, 0.04, 0.8), (0.1, 0.11, 1.1)])
def test_contrast_changes_by_a_quarter_at_most(own, other, factor):
    dense = (meshes.mean_face() * 48 + torch.tensor([63.5, 58.0]))[None]
    done = harmonise(waves(own), waves(other), dense, Harmony(1.0, 0.0))
    skin = mask.hull(dense, 128) * (1 - mask.features(dense, 128)) > 0.9
    before, after = (colour.to_lab(one)[:, :1][skin].std() for one in (waves(own), done))
    assert float(after / before) == pytest.approx(factor, rel=0.03)


@pytest.mark.parametrize(("threshold", "asked"), [(AGREEMENT, 0.5), (0.7, 0.7)])
def test_one_look_is_enough_for_a_face_with_a_score_of_a_half(monkeypatch, threshold, asked):
    scores = []
    monkeypatch.setattr(cross_domain, "find", lambda image, models, score: scores.append(score) or FaceSet.empty())
    models = Models(Glances(0.0, 0.0, 0.0, 0.0, 0.0), cast(FaceMesh, torch.nn.Linear(1, 1)), cast(LiteEncoder, None))
    find_painted(torch.rand(1, 3, 100, 100), models, threshold)
    assert scores == [asked]


def head() -> torch.Tensor:
    """The mean face in a crop of 128 px, (1, 468, 2)."""
    return (meshes.mean_face() * 48 + torch.tensor([63.5, 58.0]))[None]


def test_half_of_the_colour_is_halfway():
    none, half, whole = (harmonise(waves(0.1), waves(0.1) * 0.8, head(), Harmony(share, 0.0)) for share in (0, 0.5, 1))
    assert (whole - none).abs().max() > 0.05
    torch.testing.assert_close(half, (none + whole) / 2)


def test_a_line_of_the_target_is_no_grain():
    target = 0.5 + 0.01 * (torch.rand(1, 3, 128, 128) - 0.5)
    target[..., 80:82, 80:82] = 1.0  # a cheek
    done = harmonise(torch.full_like(target, 0.5), target, head(), Harmony(0.0, 1.0))
    assert 0.01 < (done - 0.5)[..., 80:82, 80:82].abs().max() < 0.12


def test_eyes_and_mouth_become_a_quarter_sharper_at_most():
    noise = torch.rand(1, 3, 128, 128) - 0.5
    own, target = 0.5 + 0.05 * noise, 0.5 + 0.6 * noise.roll(3, -1)
    done = harmonise(own, target, head(), Harmony(0.0, 1.0))
    parts = (mask.features(head(), 128) > 0.99).expand(-1, 3, -1, -1)
    fine = [(one - colour.gaussian_blur(one, 1.0))[parts].std() for one in (own, done)]
    assert float(fine[1] / fine[0]) == pytest.approx(1.25, abs=0.05)


class White:
    """A swapper that paints its whole crop white, up to the border."""

    template, sizes, networks = "ffhq_512", (64,), ()

    def encode(self, identity: Identity) -> str:
        return "somebody"

    def __call__(self, crops: Crops, person: str, strength: float) -> Crops:
        return replace(crops, pixels=torch.ones_like(crops.pixels))


def white_swap(
    monkeypatch: pytest.MonkeyPatch, picture: torch.Tensor, *places: tuple[float, float], context: float = 2.0
):
    """Mean faces at these places swapped for white squares without networks, in crops of 128 px that show so many times
    as much."""
    monkeypatch.setattr(cross_domain, "encode", lambda images, some, encoder: torch.ones(len(some), 2))
    points = torch.stack([meshes.mean_face() * 24 + torch.tensor(place) for place in places])
    one = torch.ones(len(places))
    faces = FaceSet(one.long() * 0, meshes.box(points), meshes.five(points), points, one, -one.long())
    source = PreparedSource(Identity(cast(Crops, None), torch.eye(2)[:1], one[:1]), White(), "somebody")
    network = torch.nn.Linear(1, 1)
    models = Models(Glances(), cast(FaceMesh, network), LiteEncoder(cast(IdentityEncoder, network)))
    return swap_across_domains(
        picture, faces, source, models, harmony=Harmony(0.0, 0.0), context=context, resolution=128
    )


def test_nothing_is_swapped_beyond_the_swappers_own_crop(monkeypatch):
    done = white_swap(monkeypatch, torch.rand(1, 3, 160, 170) * 0.5, (80.0, 70.0))
    # The swapper's crop is the middle half of the one that shows twice as much.
    assert done.crops.mask[..., 36:92, 36:92].min() > 0.9
    outside = torch.ones(128, 128, dtype=torch.bool)
    outside[28:100, 28:100] = False
    assert not done.crops.mask[0, 0][outside].any()


def test_the_crop_of_a_later_face_shows_the_earlier_one_swapped(monkeypatch):
    picture = torch.rand(1, 3, 160, 200) * 0.5
    done = white_swap(monkeypatch, picture, (60.0, 70.0), (112.0, 70.0))
    places = torch.tensor([[[58.0, 70.0]]])  # of the first face alone
    x, y = geometry.transform(places, done.crops.matrix[1:])[0, 0].round().long().tolist()
    assert done.crops.pixels[1, :, y, x].min() > 0.99 and done.crops.mask[1, 0, y, x] == 0
    assert paste(picture, done.crops).equal(done.image)


def test_crops_may_be_redrawn_a_little_around_the_swapped_face_and_never_at_their_border(monkeypatch):
    picture = torch.rand(1, 3, 160, 170) * 0.5
    around = white_swap(monkeypatch, picture, (80.0, 70.0)).crops.mask[0, 0]  # the swapper's crop ends at 32 and 96
    assert not around[64, :28].any() and around[64, 34] == 1
    assert ((around > 0.05) & (around < 0.95)).any()  # the edge is soft
    whole = white_swap(monkeypatch, picture, (80.0, 70.0), context=1.0).crops.mask
    assert not whole[..., :6].any() and not whole[..., -6:, :].any() and whole[..., 6:10].any()
