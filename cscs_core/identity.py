"""Who it is: embeddings and identities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from .align import align, realign
from .models import IdentityEncoder
from .types import Crops, FaceSet, Identity


class Encoder(Protocol):
    """Anything that tells people apart by aligned crops."""

    @property
    def name(self) -> str: ...

    @property
    def template(self) -> str: ...  # the alignment it works in

    @property
    def size(self) -> int: ...  # crop side, pixels

    @property
    def width(self) -> int: ...  # of an embedding

    @property
    def networks(self) -> tuple[nn.Module, ...]: ...  # what a host may move between devices

    def __call__(self, crops: Tensor) -> Tensor:
        """Unit embeddings, (F, 3, size, size) in 0..1 -> (F, width). Their product is the cosine of two faces."""
        ...


@dataclass(frozen=True)
class LiteEncoder:
    """The bundled encoder: each crop and its mirror image, averaged."""

    network: IdentityEncoder
    name: str = "lite"
    template: str = "arcface_112_v2"

    @property
    def size(self) -> int:
        return self.network.config.size

    @property
    def width(self) -> int:
        return self.network.config.embedding

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (self.network,)

    def __call__(self, crops: Tensor) -> Tensor:
        both = torch.cat([crops, crops.flip(-1)]).contiguous(memory_format=torch.channels_last)
        return nnf.normalize(torch.stack(self.network(both).chunk(2)).sum(0), dim=-1)


def encode(images: Tensor, faces: FaceSet, encoder: Encoder) -> Tensor:
    """Unit embeddings of the faces, (F, E). Their dot product is the cosine similarity of two faces."""
    if not len(faces):
        return images.new_zeros(0, encoder.width, dtype=torch.float32)
    return encoder(torch.nan_to_num(align(images, faces, encoder.template, encoder.size).pixels))


def identify(images: Tensor, faces: FaceSet, encoder: Encoder, size: int = 512) -> Identity:
    """One person from all the given faces: their ffhq_512 crops and embeddings, each counting alike."""
    if not len(faces):
        raise ValueError("an identity needs at least one face")
    embedding = encode(images, faces, encoder)
    weight = torch.ones_like(embedding[:, 0])
    return Identity(align(images, faces, "ffhq_512", size), embedding, weight, encoder.name)


def known_by(identity: Identity, encoder: Encoder) -> Identity:
    """The person with embeddings of this encoder, made of the reference crops if another one had made them."""
    if identity.encoder == encoder.name:
        return identity
    return replace(identity, embedding=embedded(identity.crops, encoder), encoder=encoder.name)


def embedded(crops: Crops, encoder: Encoder) -> Tensor:
    """Unit embeddings of faces cut out already, (F, E)."""
    return encoder(realign(crops, encoder.template, encoder.size))
