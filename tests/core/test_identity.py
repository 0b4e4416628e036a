"""Embeddings of faces."""

import torch

from cscs_core.identity import LiteEncoder
from cscs_core.models import IdentityEncoder


def test_a_face_and_its_mirror_image_are_the_same_person():
    encoder, crops = LiteEncoder(IdentityEncoder().eval()), torch.rand(3, 3, 112, 112)
    with torch.no_grad():
        one, other = encoder(crops), encoder(crops.flip(-1))
    torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    torch.testing.assert_close(one.norm(dim=-1), torch.ones(3))
