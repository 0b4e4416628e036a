"""Embeddings of faces."""

import torch

from cscs_core.identity import LiteEncoder, encode, identify, known_by
from cscs_core.models import IdentityEncoder


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
        again = known_by(person, second)
        expected = encode(picture, found, second)
    assert known_by(person, first) is person
    assert (again.encoder, again.crops, again.weight) == ("other", person.crops, person.weight)
    assert (again.embedding * expected).sum(-1).min() > 0.999  # cut out of the crop instead of the picture
