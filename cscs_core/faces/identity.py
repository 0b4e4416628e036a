"""Who it is: embeddings and identities."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Protocol

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ..io.files import BadInput
from ..io.images import clean
from ..models import IdentityEncoder
from ..ops.batching import map_in_chunks
from ..types import Crops, FaceSet, Identity
from .align import align, realign

_CHUNK = 64  # faces that are cut out and seen at once: memory does not grow with the crowd


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

    def see(part: FaceSet) -> Tensor:
        return encoder(clean(align(images, part, encoder.template, encoder.size).pixels))

    return torch.cat(map_in_chunks(see, faces, _CHUNK))


def identify(images: Tensor, faces: FaceSet, encoder: Encoder, size: int = 512) -> Identity:
    """One person from all the given faces: their ffhq_512 crops and embeddings, each counting alike."""
    if not len(faces):
        raise ValueError("an identity needs at least one face")
    embedding = encode(images, faces, encoder)
    weight = torch.ones_like(embedding[:, 0])
    return Identity(align(images, faces, "ffhq_512", size), embedding, weight, encoder.name)


def embedded_by(identity: Identity, encoder: Encoder) -> Identity:
    """The person with embeddings of this encoder, made of the reference crops if another one had made them.

    Raises BadInput if they are needed and not there.
    """
    if identity.encoder == encoder.name:
        return identity
    crops = require_photos(identity).crops
    return replace(identity, embedding=embed_crops(crops, encoder), encoder=encoder.name)


def require_photos(identity: Identity) -> Identity:
    """The same person; raises BadInput if only the embedding is known, as in a face model of ReActor."""
    if not len(identity.crops):
        raise BadInput(
            "this identity was saved without its photograph, by ReActor: it can only be matched, with the detector "
            f"{identity.encoder}; for anything else read the person from a photo once more"
        )
    return identity


def embed_crops(crops: Crops, encoder: Encoder) -> Tensor:
    """Unit embeddings of faces cut out already, (F, E)."""
    return encoder(realign(crops, encoder.template, encoder.size))


@dataclass(frozen=True)
class Agreement:
    """How far the references of an identity show one person."""

    identity: Identity  # of the references that stay
    kept: Tensor  # (R,) bool, which of those given
    similarity: Tensor  # (R,) cosine of each one given to the mean of the others that stay, NaN where there are none
    said: list[str]  # what was left out, or could not be, a sentence each


def drop_outliers(identity: Identity, threshold: float) -> Agreement:
    """The person without the references that show somebody else: whose cosine to the others is below the threshold,
    the least alike first, each time seen against those still there.

    Those that stay always have more than half of the weight, and are two or more: one photograph has nobody to
    disagree with, and of two nobody knows which is wrong. Where that leaves somebody below the threshold no majority
    agrees, and nothing is left out.
    """
    unit, weight = nnf.normalize(identity.embedding.float(), dim=-1), identity.weight.float()
    counted, kept = weight > 0, torch.ones_like(weight, dtype=torch.bool)
    while (doubtful := kept & (_to_others(unit, weight * kept) < threshold)).any():
        enough = (weight * kept).sum() - weight > weight.sum() / 2
        several = (kept & counted).sum() - counted.long() >= 2
        if not (free := doubtful & enough & several).any():
            return _undecided(identity, _to_others(unit, weight), threshold)
        kept = kept.clone()
        kept[_to_others(unit, weight * kept).where(free, math.inf).argmin()] = False
    similarity = _to_others(unit, weight * kept)
    said = [
        f"photo {row} is left out: its similarity to the others, {similarity[row]:.2f}, is below {threshold:.2f}"
        for row in (~kept).nonzero()[:, 0].tolist()
    ]
    return Agreement(keep_photos(identity, kept), kept, similarity, said)


def _undecided(identity: Identity, similarity: Tensor, threshold: float) -> Agreement:
    rows = ", ".join(str(row) for row in (similarity < threshold).nonzero()[:, 0].tolist())
    said = f"none is left out: no majority agrees, though photo {rows} is less like the others than {threshold:.2f}"
    return Agreement(identity, torch.ones_like(similarity, dtype=torch.bool), similarity, [said])


def _to_others(unit: Tensor, weight: Tensor) -> Tensor:
    """Cosine of each row to the weighted mean of the others, (R, E), (R,) -> (R,), NaN where these weigh nothing."""
    own = weight[:, None] * unit
    cosine = (nnf.normalize(own.sum(0) - own, dim=-1) * unit).sum(-1)
    others = (weight > 0).sum() - (weight > 0).long()
    return cosine.where(others > 0, math.nan)


def keep_photos(identity: Identity, kept: Tensor) -> Identity:
    """The person without some of the references, (R,) bool says which stay."""
    crops = identity.crops[kept] if len(identity.crops) else identity.crops
    return replace(identity, crops=crops, embedding=identity.embedding[kept], weight=identity.weight[kept])
