"""The CSCS swapper, with the published networks or with ones trained by `cscs train`.

z = n(encoder(source)) + n(adapter(source)), image = generator(target, z), n normalises (CSCS, ACM TOG 2024).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ...models import AEIIdentity, FusedAEINet, IdAdapter, IdentityEncoder, IResNet, SmallGenerator
from ...models.aei import attention
from ...ops import geometry
from ...types import Crops, Identity, join
from ..align import QUAD, realign, resize
from .base import NoAttention, blend_identity, editable_area

SIZE = 256  # px, crop side of the published generator
_FACE = 112  # px, crop side of ArcFace


@dataclass(frozen=True)
class CSCSPerson:
    """An identity as encoded for the generator."""

    z: Tensor  # (1, Z)
    prepared: AEIIdentity | Tensor  # z at full strength, prepared by the generator


@dataclass(frozen=True)
class CSCSSwapper:
    """The networks, and the weights of the two parts of the identity; weights above 1 exaggerate it."""

    generator: FusedAEINet | SmallGenerator
    encoder: IResNet | IdentityEncoder
    adapter: IResNet | IdentityEncoder
    encoder_weight: float = 1.0
    adapter_weight: float = 1.0
    template: str = "ffhq_512"  # or QUAD, the alignment of the release
    sizes: tuple[int, ...] = (SIZE,)
    gate: nn.Linear | None = None  # joins encoder and adapter, unless the adapter is an IdAdapter with its own rule

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (self.generator, self.encoder, self.adapter, *([self.gate] if self.gate else []))

    def encode(self, identity: Identity) -> CSCSPerson:
        """Averages each part over the photos on the unit sphere, then joins the two averages into z."""
        crops, size = identity.crops, self.sizes[-1]
        pictures = realign(crops, QUAD, size) if self.template == QUAD else resize(crops, size).pixels
        parts = self.parts(pictures)
        z = self.joined(*(identity.average(part)[None] for part in parts))
        return CSCSPerson(z, self.generator.prepare(z))

    def __call__(self, crops: Crops, person: CSCSPerson, strength: float = 1.0) -> Crops:
        """The crops with the person's face. With a strength below 1, z is interpolated towards the target's own."""
        if crops.pixels.device.type == "cpu" and len(crops) > 1:
            # Measured on CPUs: in a batch of four each takes 25 to 50 % longer than alone, where its feature maps stay
            # in the cache.
            return join([self(crops[row : row + 1], person, strength) for row in range(len(crops))])
        prepared = person.prepared
        if strength < 1:
            own = self.joined(*(nnf.normalize(part, dim=-1) for part in self.parts(crops.pixels)))
            prepared = self.generator.prepare(blend_identity(own, person.z, strength))
        swapped = self.generator(crops.pixels * 2 - 1, prepared)
        return replace(crops, pixels=(swapped * 0.5 + 0.5).clamp(0, 1), mask=crops.mask * editable_area(crops))

    def attention(self, crops: Crops, person: CSCSPerson) -> Tensor:
        """Where the generator uses the identity rather than the target in crops of any size, (F, 1, S, S) 0..1, see
        `models.aei.attention`. Raises NoAttention for a generator that is not an AEINet."""
        if not isinstance(self.generator, FusedAEINet):
            raise NoAttention
        masks: list[list[Tensor]] = []
        self.generator(resize(crops, SIZE).pixels * 2 - 1, person.prepared, masks)
        return attention(masks, crops.size)

    def parts(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Outputs of encoder and adapter for images (N, 3, S, S) 0..1: (N, E) each, not normalised."""
        seen = face_view(self.encoder, pictures * 2 - 1).contiguous(memory_format=torch.channels_last)
        return self.encoder(seen), self.adapter(seen)

    def joined(self, encoded: Tensor, adapted: Tensor) -> Tensor:
        """z from unit vectors of encoder and adapter, (N, E) twice -> (N, Z)."""
        kind = self.adapter.config.kind if isinstance(self.adapter, IdAdapter) else "gated"
        return join_embeddings(kind, encoded * self.encoder_weight, adapted * self.adapter_weight, self.gate)


def face_view(encoder: nn.Module, pictures: Tensor) -> Tensor:
    """Input of an encoder from ffhq_512 crops of any side, (N, 3, S, S) -1..1: aligned and in 0..1 for our encoder, the
    whole crop for an IResNet."""
    if isinstance(encoder, IdentityEncoder):
        return _realign_to_arcface(pictures, encoder.config.size) * 0.5 + 0.5
    # Not antialiased, as in the release, whose networks were trained on such images.
    return nnf.interpolate(pictures, (_FACE, _FACE), mode="bilinear", align_corners=False)


def join_embeddings(kind: str, encoded: Tensor, adapted: Tensor, gate: nn.Linear | None = None) -> Tensor:
    """z from encoder and adapter, unit rows (N, E) twice -> (N, E), or (N, 2 E) for `concat`.

    `add`, `concat` and `replace` are the kinds of the release, which does not normalise the sum. `gated` is
    n(encoded + gate adapted) with a matrix `gate` learned from 0, so that training starts from the encoder alone and no
    gradient passes through the normalisation of a zero vector. A scalar gate would stay 0: as long as the adapter
    outputs the same as the encoder, adding any amount of it does not change the direction of z.
    """
    if gate is not None:
        return nnf.normalize(encoded + gate(adapted).float(), dim=-1)
    if kind == "concat":
        return torch.cat([encoded, adapted], -1)
    return adapted if kind == "replace" else encoded + adapted


def _realign_to_arcface(pictures: Tensor, side: int) -> Tensor:
    """arcface_112_v2 crops from ffhq_512 crops, (N, 3, S, S) -> (N, 3, side, side): like geometry.warp, but with one
    matrix computed on the CPU, so that no GPU synchronisation is needed."""
    source, target = geometry.template("ffhq_512", pictures.shape[-1]), geometry.template("arcface_112_v2", side)
    matrix = geometry.similarity(source[None], target[None])
    samples = max(1, math.ceil(0.75 / float(geometry.scale_of(matrix))))
    grid = geometry.pixel_grid(side, side, pictures.device, samples).flatten(0, 1)[None]
    places = geometry.transform(grid, geometry.invert(matrix).to(pictures.device))
    places = places.view(1, side * samples, side * samples, 2).expand(len(pictures), -1, -1, -1)
    return nnf.avg_pool2d(geometry.sample(pictures, places), samples)
