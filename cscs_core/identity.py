"""Who it is: embeddings and identities."""

from __future__ import annotations

import torch
import torch.nn.functional as nnf
from torch import Tensor

from .align import align
from .models import IdentityEncoder
from .types import FaceSet, Identity

ENCODER_TEMPLATE = "arcface_112_v2"


def encode(images: Tensor, faces: FaceSet, encoder: IdentityEncoder) -> Tensor:
    """Unit embeddings of the faces, (F, 128). Their dot product is the cosine similarity of two faces."""
    if not len(faces):
        return images.new_zeros(0, encoder.config.embedding, dtype=torch.float32)
    return embed(torch.nan_to_num(align(images, faces, ENCODER_TEMPLATE, encoder.config.size).pixels), encoder)


def embed(crops: Tensor, encoder: IdentityEncoder) -> Tensor:
    """Unit embeddings of aligned crops, (F, 3, 112, 112) -> (F, 128): each crop and its mirror image, averaged."""
    both = torch.cat([crops, crops.flip(-1)]).contiguous(memory_format=torch.channels_last)
    return nnf.normalize(torch.stack(encoder(both).chunk(2)).sum(0), dim=-1)


def identify(images: Tensor, faces: FaceSet, encoder: IdentityEncoder, size: int = 512) -> Identity:
    """One person from all the given faces: their ffhq_512 crops and embeddings."""
    if not len(faces):
        raise ValueError("an identity needs at least one face")
    return Identity(align(images, faces, "ffhq_512", size), encode(images, faces, encoder))
