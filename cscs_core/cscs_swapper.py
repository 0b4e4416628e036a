"""The `cscs` swapper: the published networks, with the inference of the release.

z = n(encoder(source)) + n(adapter(source)), picture = generator(target, z) (CSCS, ACM TOG 2024).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from .align import QUAD, realign, resize
from .models import AEIIdentity, FusedAEINet, IdAdapter, IResNet
from .swap import mixed, reach
from .types import Crops, Identity, join

SIZE = 256  # px, side of the generator's pictures
_FACE = 112  # px, side of the encoders' pictures


@dataclass(frozen=True)
class CSCSPerson:
    """A person as the generator knows them."""

    z: Tensor  # (1, Z)
    prepared: AEIIdentity  # z at full strength


@dataclass(frozen=True)
class CSCSSwapper:
    """The three networks, and how their parts count. Weights of the two identity parts beyond 1 exaggerate."""

    generator: FusedAEINet
    encoder: IResNet
    adapter: IdAdapter
    encoder_weight: float = 1.0
    adapter_weight: float = 1.0
    template: str = "ffhq_512"  # or QUAD, the alignment of the release
    sizes: tuple[int, ...] = (SIZE,)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (self.generator, self.encoder, self.adapter)

    def encode(self, identity: Identity) -> CSCSPerson:
        """Each part averaged over the photos on the sphere, then joined: encoder and adapter of one photo belong
        together no more than those of two."""
        crops = identity.crops
        pictures = realign(crops, QUAD, SIZE) if self.template == QUAD else resize(crops, SIZE).pixels
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
            prepared = self.generator.prepare(mixed(own, person.z, strength))
        swapped = self.generator(crops.pixels * 2 - 1, prepared)
        return replace(crops, pixels=(swapped * 0.5 + 0.5).clamp(0, 1), mask=crops.mask * reach(crops))

    def parts(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """What encoder and adapter say of pictures (N, 3, 256, 256) in 0..1: (N, 512) each, not normalised."""
        # Not antialiased, as the release; its networks have learned from such pictures.
        faces = nnf.interpolate(pictures * 2 - 1, (_FACE, _FACE), mode="bilinear", align_corners=False)
        faces = faces.contiguous(memory_format=torch.channels_last)
        return self.encoder(faces), self.adapter(faces)

    def joined(self, encoded: Tensor, adapted: Tensor) -> Tensor:
        """z of unit parts (N, 512), as the kind of adapter says: (N, Z). A sum is never normalised again."""
        encoded, adapted = encoded * self.encoder_weight, adapted * self.adapter_weight
        if self.adapter.config.kind == "concat":
            return torch.cat([encoded, adapted], -1)
        return adapted if self.adapter.config.kind == "replace" else encoded + adapted
