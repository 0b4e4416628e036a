"""The swapper of CSCS, with the networks that were published or with some that were trained here.

z = n(encoder(source)) + n(adapter(source)), picture = generator(target, z) (CSCS, ACM TOG 2024).
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

SIZE = 256  # px, side of the published generator's pictures
_FACE = 112  # px, side of ArcFace's pictures


@dataclass(frozen=True)
class CSCSPerson:
    """A person as the generator knows them."""

    z: Tensor  # (1, Z)
    prepared: AEIIdentity | Tensor  # z at full strength


@dataclass(frozen=True)
class CSCSSwapper:
    """The networks, and how their parts count. Weights of the two identity parts beyond 1 exaggerate."""

    generator: FusedAEINet | SmallGenerator
    encoder: IResNet | IdentityEncoder
    adapter: IResNet | IdentityEncoder
    encoder_weight: float = 1.0
    adapter_weight: float = 1.0
    template: str = "ffhq_512"  # or QUAD, the alignment of the release
    sizes: tuple[int, ...] = (SIZE,)
    gate: nn.Linear | None = None  # joins an adapter that is no IdAdapter, which says itself how it is joined

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (self.generator, self.encoder, self.adapter, *([self.gate] if self.gate else []))

    def encode(self, identity: Identity) -> CSCSPerson:
        """Each part averaged over the photos on the sphere, then joined: encoder and adapter of one photo belong
        together no more than those of two."""
        crops, size = identity.crops, self.sizes[-1]
        pictures = realign(crops, QUAD, size) if self.template == QUAD else resize(crops, size).pixels
        parts = self.parts(pictures)
        z = self.joined(*(identity.average(part)[None] for part in parts))
        return CSCSPerson(z, self.generator.prepare(z))

    def __call__(self, crops: Crops, person: CSCSPerson, strength: float = 1.0) -> Crops:
        """The crops with the person's face. With less strength z turns from the person's towards the target's own."""
        if crops.pixels.device.type == "cpu" and len(crops) > 1:
            # Measured: four at once take a quarter to a half longer each than one whose maps stay in the cache.
            return join([self(crops[row : row + 1], person, strength) for row in range(len(crops))])
        prepared = person.prepared
        if strength < 1:
            own = self.joined(*(nnf.normalize(part, dim=-1) for part in self.parts(crops.pixels)))
            prepared = self.generator.prepare(blend_identity(own, person.z, strength))
        swapped = self.generator(crops.pixels * 2 - 1, prepared)
        return replace(crops, pixels=(swapped * 0.5 + 0.5).clamp(0, 1), mask=crops.mask * editable_area(crops))

    def attention(self, crops: Crops, person: CSCSPerson) -> Tensor:
        """Where the generator would show the person rather than the target in these crops, of any size,
        (F, 1, S, S) 0..1: `models.aei.attention`. Raises NoAttention for a generator of another kind."""
        if not isinstance(self.generator, FusedAEINet):
            raise NoAttention
        masks: list[list[Tensor]] = []
        self.generator(resize(crops, SIZE).pixels * 2 - 1, person.prepared, masks)
        return attention(masks, crops.size)

    def parts(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """What encoder and adapter say of pictures (N, 3, S, S) in 0..1: (N, E) each, not normalised."""
        seen = face_view(self.encoder, pictures * 2 - 1).contiguous(memory_format=torch.channels_last)
        return self.encoder(seen), self.adapter(seen)

    def joined(self, encoded: Tensor, adapted: Tensor) -> Tensor:
        """z of unit parts (N, E): (N, Z)."""
        kind = self.adapter.config.kind if isinstance(self.adapter, IdAdapter) else "gated"
        return join_embeddings(kind, encoded * self.encoder_weight, adapted * self.adapter_weight, self.gate)


def face_view(encoder: nn.Module, pictures: Tensor) -> Tensor:
    """Pictures (N, 3, S, S) in [-1, 1], ffhq_512 crops of any side, as an encoder of that kind wants them: ours aligned
    and in 0..1, an IResNet the whole crop."""
    if isinstance(encoder, IdentityEncoder):
        return _aligned(pictures, encoder.config.size) * 0.5 + 0.5
    # Not antialiased, as the release; its networks have learned from such pictures.
    return nnf.interpolate(pictures, (_FACE, _FACE), mode="bilinear", align_corners=False)


def join_embeddings(kind: str, encoded: Tensor, adapted: Tensor, gate: nn.Linear | None = None) -> Tensor:
    """z of encoder and adapter, unit rows (N, E): (N, E), or (N, 2 E) for `concat`.

    `add`, `concat` and `replace` are those of the release, whose sum is never normalised again. `gated` is
    n(encoded + gate adapted), the gate being a matrix that is learned from 0: training starts from the encoder alone,
    and nothing has to pass through the direction of a vector of length 0. A number in place of the matrix would stay 0:
    as long as the adapter says what the encoder does, no amount of it turns z.
    """
    if gate is not None:
        return nnf.normalize(encoded + gate(adapted).float(), dim=-1)
    if kind == "concat":
        return torch.cat([encoded, adapted], -1)
    return adapted if kind == "replace" else encoded + adapted


def _aligned(pictures: Tensor, side: int) -> Tensor:
    """The arcface_112_v2 crops of ffhq_512 crops, (N, 3, S, S) -> (N, 3, side, side): geometry.warp by one matrix that
    is known beforehand, so that a GPU is not waited for."""
    source, target = geometry.template("ffhq_512", pictures.shape[-1]), geometry.template("arcface_112_v2", side)
    matrix = geometry.similarity(source[None], target[None])
    samples = max(1, math.ceil(0.75 / float(geometry.scale_of(matrix))))
    grid = geometry.pixel_grid(side, side, pictures.device, samples).flatten(0, 1)[None]
    places = geometry.transform(grid, geometry.invert(matrix).to(pictures.device))
    places = places.view(1, side * samples, side * samples, 2).expand(len(pictures), -1, -1, -1)
    return nnf.avg_pool2d(geometry.sample(pictures, places), samples)
