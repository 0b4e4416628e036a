"""The whole job, with a stand-in for detection: one face wherever a picture has a bright square."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor

from cscs_core import pipeline
from cscs_core.faces.detectors.lite import LiteDetector
from cscs_core.faces.identity import LiteEncoder, encode
from cscs_core.faces.mask import MaskOptions
from cscs_core.faces.restorers.base import Restoration
from cscs_core.faces.swappers.warp import WarpSwapper
from cscs_core.models import FaceDetector, FaceMesh, IdentityEncoder
from cscs_core.ops import mesh
from cscs_core.pipeline import (
    FaceFilter,
    Models,
    NoFace,
    PostProcess,
    PreparedSource,
    identity_from,
    likeness,
    prepare_source,
    swap_faces,
)
from cscs_core.types import Crops, FaceSet, Identity

SIDE = 64  # px, of a stand-in face


def bright_squares(images: Tensor, *_: object, threshold: float = 0.5) -> FaceSet:
    """A mean face in every tile of SIDE px whose mean is above the threshold, tile by tile."""
    tiles = torch.nn.functional.avg_pool2d(images.mean(1, keepdim=True), SIDE)[:, 0]
    frame, row, column = (tiles > threshold).nonzero(as_tuple=True)
    if not len(frame):
        return FaceSet.empty(images.device)
    corner = torch.stack([column, row], -1).float() * SIDE
    face = mesh.mean_face() * 24 + torch.tensor([SIDE / 2, SIDE / 3])
    points = face + corner[:, None]
    return FaceSet(
        frame, mesh.box(points), mesh.five(points), points, torch.ones(len(frame)), torch.full_like(frame, -1)
    )


def picture(*bright: tuple[int, int], seed: int = 0, size: tuple[int, int] = (128, 192)) -> Tensor:
    """(1, 3, H, W), dark noise with bright tiles (row, column)."""
    noise = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(seed)) * 0.4
    for row, column in bright:
        noise[..., row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE] += 0.5
    return noise


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Models:
    monkeypatch.setattr(pipeline, "detect", bright_squares)
    torch.manual_seed(0)
    return Models(LiteDetector(FaceDetector().eval()), FaceMesh().eval(), LiteEncoder(IdentityEncoder().eval()))


@pytest.fixture
def person(models: Models) -> PreparedSource:
    return prepare_source(identity_from([picture((0, 0), seed=1)], models), WarpSwapper(), models)


def touched(before: Tensor, after: Tensor) -> set[tuple[int, int]]:
    """Tiles (row, column) of one picture in which a pixel changed."""
    differs = torch.nn.functional.max_pool2d((before != after).any(1, keepdim=True).float(), SIDE)[0, 0]
    return {(row, column) for row, column in differs.nonzero().tolist()}


def test_every_face_changes_and_nothing_else(models: Models, person: PreparedSource):
    image = picture((0, 1), (1, 2))
    done = swap_faces(image, person, models, size=256)
    assert touched(image, done.images) == {(0, 1), (1, 2)} and len(done.faces) == 2 and done.skipped == []
    assert torch.equal(done.images[done.mask.expand_as(image) == 0], image[done.mask.expand_as(image) == 0])
    assert done.similarity_to_source.shape == done.similarity_to_target.shape == (2,)


def test_the_input_is_not_modified(models: Models, person: PreparedSource):
    image = picture((0, 1))
    kept = image.clone()
    swap_faces(image, person, models, size=256)
    assert torch.equal(image, kept)


def test_a_picture_without_a_face_comes_back_bit_for_bit(models: Models, person: PreparedSource):
    image = picture()
    done = swap_faces(image, person, models, size=256)
    assert torch.equal(done.images, image) and done.skipped == ["no face found"] and not done.mask.any()


def test_a_batch_of_nothing_is_nothing(models: Models, person: PreparedSource):
    done = swap_faces(torch.zeros(0, 3, 10, 20), person, models, size=256)
    assert done.images.shape == (0, 3, 10, 20) and done.mask.shape == (0, 1, 10, 20) and len(done.faces) == 0


def test_a_batch_is_its_pictures_one_by_one(models: Models, person: PreparedSource):
    frames = [picture((0, 0)), picture(), picture((0, 1), (1, 0), seed=2)]
    whole = swap_faces(torch.cat(frames), person, models, size=256)
    alone = [swap_faces(frame, person, models, size=256) for frame in frames]
    # A batch may be summed up in another order than a picture alone; another picture's face would show by tenths.
    torch.testing.assert_close(whole.images, torch.cat([one.images for one in alone]), atol=1e-3, rtol=0)
    assert whole.faces.frame.tolist() == [0, 2, 2] and whole.skipped == ["picture 1: no face found"]


def test_a_black_limit_changes_nothing_bit_for_bit(models: Models, person: PreparedSource):
    image = picture((0, 1))
    done = swap_faces(image, person, models, size=256, limit=torch.zeros(1, 1, 128, 192))
    assert torch.equal(done.images, image)


def test_strength_zero_changes_nothing_bit_for_bit(models: Models, person: PreparedSource):
    image = picture((0, 1))
    done = swap_faces(image, person, models, size=256, strength=0.0)
    assert torch.equal(done.images, image) and not done.mask.any()
    assert (len(done.faces), len(done.candidates), done.skipped) == (0, 1, ["strength is 0"])
    assert swap_faces(picture(), person, models, size=256, strength=0.0).skipped == ["no face found"]


@pytest.mark.parametrize(
    ("indices", "tiles"),
    [([0], {(0, 0)}), ([-1], {(1, 2)}), ([1, 0], {(0, 0), (0, 1)}), ([], set()), ([0, 0], {(0, 0)})],
)
def test_numbers_count_in_the_order_given(
    models: Models, person: PreparedSource, indices: list[int], tiles: set[tuple[int, int]]
):
    image = picture((1, 2), (0, 1), (0, 0))
    done = swap_faces(image, person, models, size=256, face_filter=FaceFilter("left-right", indices))
    assert touched(image, done.images) == tiles
    assert len(done.skipped) == 3 - len(tiles) and all("was not requested" in reason for reason in done.skipped)


def test_a_number_that_is_not_there_is_said(models: Models, person: PreparedSource):
    done = swap_faces(picture((0, 0)), person, models, size=256, face_filter=FaceFilter(indices=[0, 3]))
    assert len(done.faces) == 1 and done.skipped == ["there is no face 3: 1 found, counted from 0"]


def test_numbers_count_the_faces_that_a_reference_keeps(models: Models, person: PreparedSource):
    image = picture((0, 0), (1, 1))
    image[..., 64:, 64:128] = image[..., 64:, 64:128].flip(1) * torch.tensor([1.0, 0.2, 0.6]).view(3, 1, 1) + 0.3
    known = identity_from([picture((0, 0))], models)
    for number, tiles in ((0, {(0, 0)}), (1, set())):
        face_filter = FaceFilter("right-left", [number], known, 0.99999)
        done = swap_faces(image, person, models, size=256, face_filter=face_filter)
        assert touched(image, done.images) == tiles
    assert done.skipped[-1] == "there is no face 1: 1 left of 2, counted from 0"


def test_a_reference_keeps_only_its_person(models: Models, person: PreparedSource):
    image = picture((0, 0), (1, 1))
    image[..., 64:, 64:128] = image[..., 64:, 64:128].flip(1) * torch.tensor([1.0, 0.2, 0.6]).view(3, 1, 1) + 0.3
    known = identity_from([picture((0, 0))], models)
    done = swap_faces(image, person, models, size=256, face_filter=FaceFilter(reference=known, threshold=0.99999))
    assert touched(image, done.images) == {(0, 0)}
    assert len(done.skipped) == 1 and "to the reference is below" in done.skipped[0]


@pytest.mark.parametrize("referred", [True, False])
def test_a_target_face_is_embedded_once_and_its_result_once(models: Models, person: PreparedSource, referred: bool):
    image, seen = picture((0, 0), (1, 1), (1, 2)), []
    known = identity_from([picture((0, 0))], models) if referred else None

    class Counting(LiteEncoder):
        def __call__(self, crops: Tensor) -> Tensor:
            seen.append(len(crops))
            return super().__call__(crops)

    counting = replace(models, encoder=Counting(cast(LiteEncoder, models.encoder).network))
    swap_faces(image, person, counting, size=256, face_filter=FaceFilter(reference=known, threshold=-1.0))
    assert sum(seen) == 3 + 3


class Colours(LiteEncoder):
    """Tells faces apart by what they look like in 8 x 8 pixels."""

    def __call__(self, crops: Tensor) -> Tensor:
        small = torch.nn.functional.adaptive_avg_pool2d(crops, 8).flatten(1)
        return torch.nn.functional.normalize(small - small.mean(1, keepdim=True), dim=1)


def test_the_similarity_to_a_target_is_that_of_the_same_face_with_a_reference(models: Models):
    models = replace(models, encoder=Colours(cast(LiteEncoder, models.encoder).network))
    person = prepare_source(identity_from([picture((0, 0), seed=1)], models), WarpSwapper(), models)
    image = picture((0, 0), (1, 1), (1, 2))
    known = identity_from([picture((0, 0))], models)
    chosen = FaceFilter("right-left", [2, 0])
    plain = swap_faces(image, person, models, size=256, face_filter=chosen)
    referred = swap_faces(image, person, models, size=256, face_filter=replace(chosen, reference=known, threshold=-1.0))
    assert plain.similarity_to_target.diff().abs() > 1e-2
    torch.testing.assert_close(referred.similarity_to_target, plain.similarity_to_target, atol=1e-6, rtol=0)


def test_not_a_number_in_the_picture_stays_out_of_the_result(models: Models, person: PreparedSource):
    image = picture((0, 1))
    image[0, :, 20:30, 90:100] = float("nan")
    assert swap_faces(image, person, models, size=256).images.isfinite().all()


def test_the_photo_without_a_face_is_named(models: Models):
    with pytest.raises(NoFace) as caught:
        identity_from([picture((0, 0)), picture(size=(64, 64))], models)
    assert caught.value.index == 1


def test_photos_of_any_size_make_one_person(models: Models):
    one, other = picture((0, 0)), picture((0, 0), size=(64, 70), seed=3)
    both = identity_from([one, other], models)
    assert both.embedding.shape == (2, 128) and both.crops.frame.tolist() == [0, 1]
    expected = identity_from([one], models).mean + identity_from([other], models).mean
    assert torch.allclose(both.mean, torch.nn.functional.normalize(expected, dim=0), atol=1e-5)


def test_the_face_of_its_number_is_taken_from_each_photo(models: Models):
    photos = [picture((0, 0), (0, 1), seed=seed) for seed in (1, 2)]
    alone = [identity_from([picture(tile, seed=seed)], models) for tile, seed in (((0, 1), 1), ((0, 0), 2))]
    both = identity_from(photos, models, order="left-right", numbers=[1, 0])
    for row, one in enumerate(alone):
        assert torch.equal(both.crops.matrix[row], one.crops.matrix[0])
    with pytest.raises(NoFace, match="no face 2 in photograph 1: 2 found, counted from 0"):
        identity_from(photos, models, numbers=[0, 2])
    with pytest.raises(ValueError, match="1 face numbers for 2"):
        identity_from(photos, models, numbers=[0])


@pytest.mark.parametrize("weight", [float("nan"), float("inf"), -1.0])
def test_a_photo_cannot_count_beyond_numbers(models: Models, weight: float):
    with pytest.raises(ValueError, match="weights of photographs"):
        identity_from([picture((0, 0))] * 2, models, weights=[1.0, weight])


def test_photos_count_by_their_weights(models: Models):
    photos = [picture((0, 0), seed=seed) for seed in (1, 2)]
    one, other = (identity_from([photo], models).mean for photo in photos)
    both = identity_from(photos, models, weights=[1, 3]).mean
    torch.testing.assert_close(both, torch.nn.functional.normalize(one + 3 * other, dim=0), atol=1e-5, rtol=0)
    assert torch.allclose(identity_from(photos, models, weights=[0, 2]).mean, other, atol=1e-5)
    assert identity_from(photos, models, weights=[1, 2]).weight.dtype == torch.float32
    for weights, words in (([1.0], "1 weights for 2"), ([0.0, 0.0], "not all of them 0"), ([2.0, -1.0], "negative")):
        with pytest.raises(ValueError, match=words):
            identity_from(photos, models, weights=weights)


def test_a_size_that_the_swapper_does_not_take_is_said(models: Models, person: PreparedSource):
    with pytest.raises(ValueError, match="not at 100"):
        swap_faces(picture(), person, models, size=100)


def test_results_come_back_to_the_device_of_the_pictures(models: Models, person: PreparedSource):
    if not torch.cuda.is_available():
        pytest.skip("needs a second device")
    there = replace(models, landmarks=models.landmarks.cuda())
    for network in there.networks:
        network.cuda()
    person = prepare_source(person.identity, person.swapper, there)
    done = swap_faces(picture((0, 1)), person, there, size=256)
    assert done.images.device.type == done.faces.box.device.type == "cpu"


def test_nan_in_a_source_photo_does_not_spoil_the_swap(models: Models):
    photo = picture((0, 0), seed=1)
    photo[..., 20:23, 20:23] = float("nan")
    assert identity_from([photo], models).crops.pixels.isfinite().all()


def test_infinite_pixels_become_white_and_black(models: Models, person: PreparedSource):
    image = picture()
    image[0, 0, 5, 5], image[0, 0, 6, 6] = float("inf"), float("-inf")
    done = swap_faces(image, person, models).images
    assert (done[0, 0, 5, 5], done[0, 0, 6, 6]) == (1, 0)


def test_nobody_is_on_no_photos(models: Models):
    with pytest.raises(ValueError, match="at least one photograph"):
        identity_from([], models)


def test_whole_numbers_are_no_picture(models: Models, person: PreparedSource):
    with pytest.raises(ValueError, match="floating-point"):
        swap_faces((picture((0, 1)) * 255).byte(), person, models, size=256)


class Brighten:
    """A restorer that makes every pixel white, and keeps what it was given."""

    size = 256

    def __init__(self, template: str):
        self.template, self.seen = template, []

    def __call__(self, pixels: Tensor, weight: float) -> Tensor:
        self.seen.append(pixels)
        return torch.ones_like(pixels)


def test_swapped_faces_are_restored_on_the_same_crop(models: Models, person: PreparedSource):
    image, restorer = picture((0, 1)), Brighten("ffhq_512")
    done = swap_faces(
        image, person, models, size=256, post_process=PostProcess(restoration=Restoration(restorer, blend=1.0))
    )
    assert restorer.seen[0].shape == (1, 3, 256, 256) and done.mask.max() == 1
    torch.testing.assert_close(done.images, torch.lerp(image, torch.ones(()), done.mask))


def test_a_restorer_of_another_alignment_gets_crops_of_its_own(models: Models, person: PreparedSource):
    image, restorer = picture((0, 1)), Brighten("arcface_112_v2")
    plain = swap_faces(image, person, models, size=256)
    done = swap_faces(
        image, person, models, size=256, post_process=PostProcess(restoration=Restoration(restorer, blend=1.0))
    )
    assert torch.equal(done.mask, plain.mask)
    inside, outside = (part.expand_as(image) for part in (plain.mask > 0.99, plain.mask == 0))
    assert done.images[inside].mean() > 0.98
    assert ((done.images - image)[outside].abs() > 0).float().mean() < 0.01  # the second cut blends at the rim


def test_what_is_kept_of_a_face_is_kept_bit_for_bit(models: Models, person: PreparedSource):
    image = picture((0, 1), (1, 2))
    plain, kept = (
        swap_faces(
            image,
            person,
            models,
            size=256,
            post_process=PostProcess(MaskOptions("whole", keep_eyes=keep, keep_mouth=keep)),
        )
        for keep in (False, True)
    )
    assert torch.equal(plain.images, swap_faces(image, person, models, size=256).images)
    for x, y in kept.faces.landmarks[:, [0, 1, 3, 4]].flatten(0, 1).round().long().tolist():
        assert torch.equal(kept.images[..., y, x], image[..., y, x])
        assert not torch.equal(plain.images[..., y, x], image[..., y, x])
    assert len(kept.faces) == 2


def test_a_softer_edge_and_other_colours_stay_within_the_face(models: Models, person: PreparedSource):
    image = picture((0, 1))
    plain = swap_faces(image, person, models, size=256)
    soft = swap_faces(image, person, models, size=256, post_process=PostProcess(feather=0.1))
    assert (soft.mask <= plain.mask + 1e-6).all() and soft.mask.sum() < 0.85 * plain.mask.sum()
    matched = swap_faces(image, person, models, size=256, post_process=PostProcess(colour_match=1.0))
    assert torch.equal(matched.mask, plain.mask) and touched(plain.images, matched.images) == {(0, 1)}


def test_numbers_count_the_faces_that_look_so(models: Models, person: PreparedSource, monkeypatch: pytest.MonkeyPatch):
    def told(*args: object, **options: object) -> FaceSet:
        faces = bright_squares(*args, **options)  # pyright: ignore[reportArgumentType]
        return replace(faces, gender=torch.arange(len(faces)) % 2)

    monkeypatch.setattr(pipeline, "detect", told)
    image = picture((0, 0), (0, 1), (1, 2))  # female, male, female from left to right
    done = swap_faces(image, person, models, size=256, face_filter=FaceFilter("left-right", [1], gender="female"))
    assert touched(image, done.images) == {(1, 2)}
    assert len(done.candidates) == 2 and len(done.faces) == 1
    assert any("looks male, not female" in reason for reason in done.skipped)


def test_a_crowd_in_one_picture_can_be_stopped_between_its_faces(models: Models, person: PreparedSource):
    asked = []
    done = swap_faces(picture((0, 1)), person, models, size=256, check_cancel=lambda: asked.append(1))
    alone = len(asked)
    twice = torch.cat([picture((0, 1)), picture((0, 1))], -1)
    both = swap_faces(twice, person, models, size=256, check_cancel=lambda: asked.append(1))
    assert len(both.faces) == 2 * len(done.faces) == 2
    assert len(asked) - alone >= 2 * alone > 4


class Halve(Brighten):
    """A restorer that halves every pixel: twice is a quarter."""

    def __call__(self, pixels: Tensor, weight: float) -> Tensor:
        self.seen.append(pixels)
        return pixels / 2


@pytest.mark.parametrize("template", ["ffhq_512", "arcface_112_v2"])
def test_a_face_is_restored_once_whatever_the_restorers_alignment(
    models: Models, person: PreparedSource, template: str
):
    image, restorer = picture((0, 1)), Halve(template)
    plain = swap_faces(image, person, models, size=256)
    done = swap_faces(
        image, person, models, size=256, post_process=PostProcess(restoration=Restoration(restorer, blend=1.0))
    )
    inside = (plain.mask > 0.99).expand_as(image)
    assert len(restorer.seen) == 1
    assert float(done.images[inside].mean() / plain.images[inside].mean()) == pytest.approx(0.5, abs=0.02)


def test_each_picture_has_its_own_limit_and_the_last_one_serves_the_rest(models: Models, person: PreparedSource):
    images = picture((0, 1)).expand(3, -1, -1, -1)
    limits = torch.stack([torch.zeros(1, 128, 192), torch.ones(1, 128, 192)])
    done = swap_faces(images, person, models, size=256, limit=limits)
    assert done.mask.amax((1, 2, 3)).tolist() == [0, 1, 1]
    assert torch.equal(done.images[0], images[0]) and not torch.equal(done.images[1], images[1])


def test_less_strength_shows_as_much_less_of_the_face(models: Models, person: PreparedSource):
    image = picture((0, 1))
    whole, half = (swap_faces(image, person, models, size=256, strength=strength) for strength in (1.0, 0.5))
    torch.testing.assert_close(half.mask, whole.mask / 2)


def test_half_a_colour_match_is_halfway(models: Models, person: PreparedSource):
    image = picture((0, 1)) * torch.tensor([1.0, 0.5, 0.7]).view(3, 1, 1)
    none, half, whole = (
        swap_faces(image, person, models, size=256, post_process=PostProcess(colour_match=share)).images
        for share in (0.0, 0.5, 1.0)
    )
    assert (whole - none).abs().max() > 0.005
    torch.testing.assert_close(half, (none + whole) / 2, atol=1e-4, rtol=0)


def test_a_face_is_one_from_the_score_asked_for_on(models: Models, person: PreparedSource):
    image = picture((0, 1))  # its mean is 0.7
    found = [
        len(swap_faces(image, person, models, face_filter=FaceFilter(detection=score)).faces) for score in (0.6, 0.8)
    ]
    assert found == [1, 0]


def test_likeness_is_that_of_the_result_and_the_face_that_was_there(models: Models, person: PreparedSource):
    image = picture((0, 1))
    done = swap_faces(image, person, models, size=256)
    torch.testing.assert_close(done.similarity_to_source, likeness(done.images, done.faces, person.identity, models))
    before, after = (encode(pixels, done.faces, models.encoder) for pixels in (image, done.images))
    torch.testing.assert_close(done.similarity_to_target, (before * after).sum(-1))
    assert (done.similarity_to_target < 1 - 1e-6).all()
    assert not torch.allclose(
        done.similarity_to_source, likeness(image, done.faces, person.identity, models), atol=1e-7
    )


class Noting(WarpSwapper):
    """A `warp` that notes the crops' sides."""

    def __call__(self, crops: Crops, identity: Identity, strength: float = 1.0) -> Crops:
        SIDES.append(crops.size)
        return replace(crops, mask=crops.mask * 0)


SIDES: list[int] = []


def test_faces_are_worked_on_at_the_swappers_best_size_unless_said(models: Models, person: PreparedSource):
    SIDES.clear()
    noting = replace(person, swapper=Noting())
    for size in (None, 256):
        swap_faces(picture((0, 1)), noting, models, size=size)
    assert SIDES == [512, 256]


def test_the_first_face_of_a_photo_is_that_of_the_order(models: Models):
    photo = picture((0, 0), (0, 1))
    last, alone = (identity_from([photo], models, order="right-left"), identity_from([picture((0, 1))], models))
    assert torch.equal(last.crops.matrix, alone.crops.matrix)


def test_a_person_from_another_recogniser_is_read_anew(models: Models):
    image, known = picture((0, 0)), identity_from([picture((0, 0), seed=1), picture((0, 0), seed=2)], models)
    other = replace(known, embedding=torch.eye(7)[:2], encoder="another")
    again = prepare_source(other, WarpSwapper(), models).identity
    assert again.encoder == models.encoder.name
    torch.testing.assert_close(again.embedding, known.embedding, atol=2e-3, rtol=0)
    found = bright_squares(image)
    expected = likeness(image, found, known, models)
    torch.testing.assert_close(likeness(image, found, other, models), expected, atol=2e-3, rtol=0)
    torch.testing.assert_close(expected, encode(image, found, models.encoder) @ known.mean)
    person = prepare_source(known, Noting(), models)
    done = swap_faces(image, person, models, face_filter=FaceFilter(reference=other, threshold=float(expected) - 0.01))
    assert len(done.faces) == 1
