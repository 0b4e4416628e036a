"""Embeddings of faces, people with odd photographs."""

import pytest
import torch

from cscs_core.faces.identity import LiteEncoder, drop_outliers, embedded_by, encode, identify
from cscs_core.models import IdentityEncoder
from cscs_core.types import Crops, Identity


def test_a_face_and_its_mirror_image_are_the_same_person():
    encoder, crops = LiteEncoder(IdentityEncoder().eval()), torch.rand(3, 3, 112, 112)
    with torch.no_grad():
        one, other = encoder(crops), encoder(crops.flip(-1))
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    torch.testing.assert_close(one.norm(dim=-1), torch.ones(3))


def test_a_person_is_encoded_again_for_another_encoder_and_only_for_another(faces, smooth):
    found, picture = faces([(0, 60.0, 50.0, 30.0), (0, 150.0, 60.0, 36.0)]), smooth(1, 128, 220)
    first, second = (LiteEncoder(IdentityEncoder().eval(), name) for name in ("lite", "other"))
    with torch.no_grad():
        person = identify(picture, found, first)
        again = embedded_by(person, second)
        expected = encode(picture, found, second)
    assert embedded_by(person, first) is person
    assert (again.encoder, again.crops, again.weight) == ("other", person.crops, person.weight)
    assert (again.embedding * expected).sum(-1).min() > 0.999  # cut out of the crop instead of the picture


def person(*angles: float, weight: list[float] | None = None, encoder: str = "lite", size: int = 8) -> Identity:
    """References whose embeddings lie at these angles in a plane, degrees, each crop of its own grey."""
    count, radians = len(angles), torch.tensor(angles).deg2rad()
    points = torch.rand(count, 468, 2) * size
    crops = Crops(
        torch.arange(count).view(-1, 1, 1, 1).expand(-1, 3, size, size) / 10,
        torch.ones(count, 1, size, size),
        torch.eye(3)[:2].expand(count, 2, 3),
        points[:, :5],
        points,
        torch.arange(count),
    )
    return Identity(
        crops, torch.stack([radians.cos(), radians.sin()], -1), torch.tensor(weight or [1.0] * count), encoder
    )


def test_similarity_is_measured_against_the_mean_of_the_others():
    found = drop_outliers(person(0, 20, 60), -1.0)
    others = torch.tensor([40.0, 30.0, 10.0])  # the bisectors
    torch.testing.assert_close(found.similarity, (others - torch.tensor([0.0, 20.0, 60.0])).deg2rad().cos())
    assert found.kept.all() and not found.said


def test_who_shows_somebody_else_is_left_out_with_a_sentence():
    whole = person(0, 10, 90, -5)
    found = drop_outliers(whole, 0.5)
    assert found.kept.tolist() == [True, True, False, True]
    assert torch.equal(found.identity.embedding, whole.embedding[[0, 1, 3]])
    assert torch.equal(found.identity.crops.pixels, whole.crops.pixels[[0, 1, 3]])
    assert found.said == ["photo 2 is left out: its similarity to the others, 0.03, is below 0.50"]


def test_two_wrong_ones_among_five_do_not_speak_for_each_other():
    assert drop_outliers(person(0, 5, 100, -5, 110), 0.5).kept.tolist() == [True, True, False, True, False]


@pytest.mark.parametrize("angles", [(0,), (0, 90), (0, 5, 100, 105), (0, 90, 180), (0, 90, 180, 270)])
def test_without_a_majority_nobody_is_left_out(angles: tuple[float, ...]):
    whole = person(*angles)
    found = drop_outliers(whole, 0.5)
    assert torch.equal(found.identity.embedding, whole.embedding) and found.kept.all()
    assert ("no majority agrees" in "".join(found.said)) == (len(angles) > 1)


def test_one_photograph_has_no_others():
    assert drop_outliers(person(30), 0.9).similarity.isnan().all()


@pytest.mark.parametrize(("weight", "kept"), [([1, 1, 1], [0, 1]), ([1, 1, 9], [0, 1, 2]), ([9, 1, 1], [0, 1])])
def test_the_majority_is_counted_by_weight(weight: list[float], kept: list[int]):
    """Where the heaviest is the odd one, nobody can outvote it."""
    assert drop_outliers(person(0, 10, 90, weight=weight), 0.5).kept.nonzero()[:, 0].tolist() == kept


def test_a_photograph_that_does_not_count_has_no_voice():
    found = drop_outliers(person(0, 90, 10, weight=[1, 0, 1]), 0.5)
    torch.testing.assert_close(found.similarity[[0, 2]], torch.tensor([10.0, 10.0]).deg2rad().cos())


def test_a_face_with_not_a_number_in_it_has_an_embedding(faces, smooth):
    picture = smooth(1, 128, 120)
    picture[..., 40:60, 50:70] = torch.nan
    with torch.no_grad():
        rows = encode(picture, faces([(0, 60.0, 50.0, 30.0)]), LiteEncoder(IdentityEncoder().eval()))
    torch.testing.assert_close(rows.norm(dim=-1), torch.ones(1))


def test_odd_ones_are_left_out_of_a_person_without_photographs_too():
    whole = person(0, 10, 90, -5)
    bare = Identity(whole.crops[[]], whole.embedding, whole.weight, "buffalo_l")
    found = drop_outliers(bare, 0.5)
    assert found.kept.tolist() == [True, True, False, True]
    assert len(found.identity.crops) == 0 and torch.equal(found.identity.embedding, whole.embedding[[0, 1, 3]])
