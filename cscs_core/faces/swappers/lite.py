"""The bundled `lite` swapper: the `warp` swapper, and a small network that refines its result.

The refiner sees a crop of 256 px and predicts what to add; larger crops keep the detail of the warped face.
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
LEFT, TOP, SIDE = 32, 58, 192  # px, the window of the crop that it sees: few faces extend beyond it


@dataclass(frozen=True)
class LitePerson:
    """An identity as encoded for `warp` and for the refiner."""

    photos: Identity  # one of them is warped
    z: Tensor  # (1, 128) unit embedding


@dataclass(frozen=True)
class LiteSwapper:
    """`warp`, followed by the refiner."""

    refiner: Refiner
    encoder: LiteEncoder
    warp: WarpSwapper = field(default_factory=lambda: WarpSwapper(light=0.12, seam=0.015))
    template: str = "ffhq_512"
    sizes: tuple[int, ...] = (256, 512)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (self.refiner, *self.encoder.networks)

    def encode(self, identity: Identity) -> LitePerson:
        """The reference crops, and an embedding from the refiner's own encoder, whatever encoder the identity has."""
        photos = self.warp.encode(identity)
        return LitePerson(photos, photos.average(embed_crops(photos.crops, self.encoder))[None])

    def __call__(self, crops: Crops, person: LitePerson, strength: float = 1.0) -> Crops:
        """The crops with the person's face; the mask says where, and is scaled by the strength 0..1."""
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
        # Full mask except where the change has almost faded out.
        covered = torch.maximum(laid.mask, crops.mask * (3 * taken).clamp(0, 1))
        return replace(crops, pixels=(laid.pixels + change).clamp(0, 1), mask=covered * strength)


def refiner_window(pictures: Tensor) -> Tensor:
    """The refiner's window of the crops, (F, C, 256, 256) -> (F, C, 192, 192)."""
    return pictures[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE]


def change_weight(crops: Crops) -> Tensor:
    """The weight of the refiner's change, (F, 1, S, S): 1 within the face, 0 at its outline, where the refiner tends to
    paint artefacts that please a recogniser, above all along the hair."""
    return mask.feather(mask.hull(crops.mesh, crops.size), 0.06 * crops.size)


def window_mask(pictures: Tensor) -> Tensor:
    """1 inside the refiner's window, 0 elsewhere, with a soft edge, (F, C, 256, 256) -> (1, 1, 256, 256)."""
    frame = pictures.new_zeros(1, 1, SIZE, SIZE)
    refiner_window(frame).fill_(1.0)
    return mask.feather(frame, 6.0)


def load_lite(device: torch.device | str = "cpu") -> LiteSwapper:
    """The swapper with the bundled weights, on the device."""
    refiner = weights.load_model(weights.LITE / "refiner.safetensors", Refiner, device)
    encoder = weights.load_model(weights.LITE / "encoder.safetensors", IdentityEncoder, device)
    return LiteSwapper(for_inference(refiner), LiteEncoder(for_inference(encoder)))
