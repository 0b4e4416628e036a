"""Embeddings, and identities made of them."""

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

_CHUNK = 64  # faces that are cropped and encoded at once, so that memory does not grow with their number


class Encoder(Protocol):
    """A face recogniser: aligned crops in, embeddings out."""

    @property
    def name(self) -> str: ...

    @property
    def template(self) -> str: ...  # the alignment of its crops

    @property
    def size(self) -> int: ...  # crop side, pixels

    @property
    def width(self) -> int: ...  # length of an embedding

    @property
    def networks(self) -> tuple[nn.Module, ...]: ...  # which a host may move between devices

    def __call__(self, crops: Tensor) -> Tensor:
        """Unit embeddings, (F, 3, size, size) in 0..1 -> (F, width). Their dot product is the cosine similarity."""
        ...


@dataclass(frozen=True)
class LiteEncoder:
    """The bundled encoder, averaged over each crop and its mirror image."""

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
    """Unit embeddings of the faces, (B, 3, H, W) 0..1 -> (F, E). Their dot product is the cosine similarity."""
    if not len(faces):
        return images.new_zeros(0, encoder.width, dtype=torch.float32)

    def see(part: FaceSet) -> Tensor:
        return encoder(clean(align(images, part, encoder.template, encoder.size).pixels))

    return torch.cat(map_in_chunks(see, faces, _CHUNK))


def identify(images: Tensor, faces: FaceSet, encoder: Encoder, size: int = 512) -> Identity:
    """One identity from all given faces, (B, 3, H, W) 0..1: their ffhq_512 crops of side `size` and their embeddings,
    equally weighted. Raises ValueError if there are no faces."""
    if not len(faces):
        raise ValueError("an identity needs at least one face")
    embedding = encode(images, faces, encoder)
    weight = torch.ones_like(embedding[:, 0])
    return Identity(align(images, faces, "ffhq_512", size), embedding, weight, encoder.name)


def embedded_by(identity: Identity, encoder: Encoder) -> Identity:
    """The identity with embeddings from this encoder, recomputed from the reference crops if another encoder made them.

    Raises BadInput if the crops are needed but missing.
    """
    if identity.encoder == encoder.name:
        return identity
    crops = require_photos(identity).crops
    return replace(identity, embedding=embed_crops(crops, encoder), encoder=encoder.name)


def require_photos(identity: Identity) -> Identity:
    """The identity unchanged. Raises BadInput if it has no reference crops, as in a face model saved by ReActor."""
    if not len(identity.crops):
        raise BadInput(
            "this identity was saved by ReActor and holds no photo: it can only be used to match faces, with the "
            f"detector {identity.encoder}; for anything else make an identity from a photo"
        )
    return identity


def embed_crops(crops: Crops, encoder: Encoder) -> Tensor:
    """Unit embeddings of crops, (F, E)."""
    return encoder(realign(crops, encoder.template, encoder.size))


@dataclass(frozen=True)
class Agreement:
    """Whether the references of an identity show the same person."""

    identity: Identity  # with the references that were kept
    kept: Tensor  # (R,) bool, which of the given references were kept
    similarity: Tensor  # (R,) cosine of each given reference to the mean of the other kept ones, NaN if there are none
    said: list[str]  # one sentence for each reference dropped, or why none could be


def drop_outliers(identity: Identity, threshold: float) -> Agreement:
    """The identity without the references that show somebody else: their cosine to the mean of the others is below the
    threshold. The least similar is dropped first, then the rest are compared again.

    At least two references with more than half of the total weight are kept: when only two disagree, there is no
    telling which is wrong. If some of those kept are still below the threshold there is no majority, and none is
    dropped.
    """
    unit, weight = nnf.normalize(identity.embedding.float(), dim=-1), identity.weight.float()
    counted, kept = weight > 0, torch.ones_like(weight, dtype=torch.bool)
    while (doubtful := kept & (_cosine_to_others(unit, weight * kept) < threshold)).any():
        enough = (weight * kept).sum() - weight > weight.sum() / 2
        several = (kept & counted).sum() - counted.long() >= 2
        if not (free := doubtful & enough & several).any():
            return _no_majority(identity, _cosine_to_others(unit, weight), threshold)
        kept = kept.clone()
        kept[_cosine_to_others(unit, weight * kept).where(free, math.inf).argmin()] = False
    similarity = _cosine_to_others(unit, weight * kept)
    said = [
        f"photo {row} is left out: its similarity to the others, {similarity[row]:.2f}, is below {threshold:.2f}"
        for row in (~kept).nonzero()[:, 0].tolist()
    ]
    return Agreement(keep_photos(identity, kept), kept, similarity, said)


def _no_majority(identity: Identity, similarity: Tensor, threshold: float) -> Agreement:
    rows = ", ".join(str(row) for row in (similarity < threshold).nonzero()[:, 0].tolist())
    said = f"no photo is left out: the similarity of photo {rows} is below {threshold:.2f}, but no majority agrees"
    return Agreement(identity, torch.ones_like(similarity, dtype=torch.bool), similarity, [said])


def _cosine_to_others(unit: Tensor, weight: Tensor) -> Tensor:
    """Cosine of each row to the weighted mean of the others, (R, E), (R,) -> (R,); NaN where the others weigh 0."""
    own = weight[:, None] * unit
    cosine = (nnf.normalize(own.sum(0) - own, dim=-1) * unit).sum(-1)
    others = (weight > 0).sum() - (weight > 0).long()
    return cosine.where(others > 0, math.nan)


def keep_photos(identity: Identity, kept: Tensor) -> Identity:
    """The identity with only the references where `kept` (R,) bool is true."""
    crops = identity.crops[kept] if len(identity.crops) else identity.crops
    return replace(identity, crops=crops, embedding=identity.embedding[kept], weight=identity.weight[kept])
