"""The `lite` swapper, the bundled one: the face that `warp` lays on, and a small network that makes it belong there.

The network sees the face in a crop of 256 px and says what to add; larger crops keep the detail of the face laid on.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ...hub import weights
from ...models import IdentityEncoder, Refiner, for_inference
from ...ops import mask
from ...types import Crops, Identity
from ..align import resize
from ..identity import LiteEncoder, embed_crops
from .base import editable_area
from .warp import WarpSwapper

SIZE = 256  # px, side of the crops that the refiner works on
LEFT, TOP, SIDE = 32, 58, 192  # px, the part of these that it sees: few faces reach further


@dataclass(frozen=True)
class LitePerson:
    """A person as both halves know them."""

    photos: Identity  # one is laid on
    z: Tensor  # (1, 128) unit


@dataclass(frozen=True)
class LiteSwapper:
    """`warp`, and the refiner over what it makes."""

    refiner: Refiner
    encoder: LiteEncoder
    warp: WarpSwapper = field(default_factory=lambda: WarpSwapper(light=0.12, seam=0.015))
    template: str = "ffhq_512"
    sizes: tuple[int, ...] = (256, 512)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (self.refiner, *self.encoder.networks)

    def encode(self, identity: Identity) -> LitePerson:
        """The embedding is the refiner's own encoder's, whichever the identity came with."""
        photos = self.warp.encode(identity)
        return LitePerson(photos, photos.average(embed_crops(photos.crops, self.encoder))[None])

    def __call__(self, crops: Crops, person: LitePerson, strength: float = 1.0) -> Crops:
        """The crops with the person's face; their mask says where, and fades with the strength."""
        if not len(crops):
            return crops
        laid = self.warp(crops, person.photos)
        before, after = resize(crops, SIZE), resize(laid, SIZE)
        region = editable_area(before) * window_mask(before.pixels)
        z = person.z.expand(len(crops), -1)
        change = self.refiner(*(refiner_window(x) for x in (before.pixels, after.pixels, region)), z)
        taken = change_weight(before)
        change = nnf.pad(change, (LEFT, SIZE - SIDE - LEFT, TOP, SIZE - SIDE - TOP)) * taken
        size = (crops.size, crops.size)
        if crops.size != SIZE:
            change, taken = (nnf.interpolate(x, size, mode="bicubic", align_corners=False) for x in (change, taken))
        covered = torch.maximum(laid.mask, crops.mask * (3 * taken).clamp(0, 1))  # all but the last of its fading
        return replace(crops, pixels=(laid.pixels + change).clamp(0, 1), mask=covered * strength)


def refiner_window(pictures: Tensor) -> Tensor:
    """What the refiner sees of crops, (F, C, 256, 256) -> (F, C, 192, 192)."""
    return pictures[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE]


def change_weight(crops: Crops) -> Tensor:
    """How much of the change is taken, (F, 1, S, S): all of it within the face, none at its outline. There the refiner
    may paint what pleases a recogniser, above all along the hair."""
    return mask.feather(mask.hull(crops.mesh, crops.size), 0.06 * crops.size)


def window_mask(pictures: Tensor) -> Tensor:
    """1 where the refiner sees the crops, 0 elsewhere, with a soft edge, (F, C, 256, 256) -> (1, 1, 256, 256)."""
    frame = pictures.new_zeros(1, 1, SIZE, SIZE)
    refiner_window(frame).fill_(1.0)
    return mask.feather(frame, 6.0)


def load_lite(device: torch.device | str = "cpu") -> LiteSwapper:
    """The bundled networks."""
    refiner = weights.load_model(weights.LITE / "refiner.safetensors", Refiner, device)
    encoder = weights.load_model(weights.LITE / "encoder.safetensors", IdentityEncoder, device)
    return LiteSwapper(for_inference(refiner), LiteEncoder(for_inference(encoder)))
