"""Drawing beards on faces, and blurring them away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from ..faces.bend import face_plane
from ..ops import colour, mask
from ..ops.mask import smoothstep
from ..types import Crops
from .base import Surrogate, unfiltered


def draw_beard(crops: Crops, amount: Tensor, seeds: Sequence[int]) -> Surrogate:
    """Faces with stubble drawn on (amount (F,) above 0, up to 1) or their beard blurred away (below 0, down to -1). The
    F seeds determine the hairs."""
    changes = [{"beard": round(value, 4)} for value in amount.tolist()]
    if not len(crops):
        return unfiltered(crops, changes)
    size, pixels = crops.size, crops.pixels
    x, y, inside = face_plane(crops.mesh, size)
    cheek = torch.sigmoid((y - 0.80 + 1.4 * (x - 0.33)) / 0.04) * smoothstep(x, 0.27, 0.36)
    moustache = torch.sigmoid((y - 0.57) / 0.02) * torch.sigmoid((0.72 - y) / 0.02) * smoothstep(0.42 - x, 0.0, 0.1)
    chin = torch.sigmoid((y - 0.90) / 0.03) * smoothstep(0.45 - x, 0.0, 0.1)
    lips = mask.grow((mask.lips(crops.mesh, size) + mask.mouth(crops.mesh, size)).clamp(0, 1), 0.004 * size)
    region = torch.maximum(torch.maximum(cheek, moustache), chin) * inside * (1 - lips)
    region = colour.gaussian_blur(region, 0.012 * size) * (1 - colour.gaussian_blur(lips, 0.004 * size))

    strength = amount.to(pixels).view(-1, 1, 1, 1)
    grown = _stubble(pixels, seeds) * strength.clamp_min(0)
    dark = pixels * (1 - region * grown * pixels.new_tensor([0.75, 0.80, 0.84]).view(1, 3, 1, 1))
    shaved, hair = _shave(pixels, region, inside * (1 - lips))
    out = torch.where(strength > 0, dark, pixels + (shaved - pixels) * region * hair * strength.clamp_max(0).abs())
    return unfiltered(replace(crops, pixels=out.where(strength != 0, pixels)), changes)


def _stubble(pixels: Tensor, seeds: Sequence[int]) -> Tensor:
    """A texture of short, mostly vertical hairs, (F, 1, S, S) 0..1."""
    size = pixels.shape[-1]
    noise = torch.zeros(len(pixels), 1, size, size)
    for row, seed in enumerate(seeds):
        noise[row] = torch.randn(1, size, size, generator=Generator().manual_seed(seed))
    noise = colour.gaussian_blur(noise.to(pixels), 0.0015 * size)
    noise = (noise + noise.roll(1, -2) + noise.roll(2, -2)) / 3  # down the cheek
    return (0.66 + 0.14 * noise / noise.std((1, 2, 3), keepdim=True).clamp_min(1e-6)).clamp(0, 1)


def _shave(pixels: Tensor, region: Tensor, skin: Tensor) -> tuple[Tensor, Tensor]:
    """The pixels, with the region given the colour and smoothness of the surrounding skin, (F, 3, S, S), and the
    likelihood of hair there, (F, 1, S, S) 0..1: it is darker or rougher than that skin."""
    size = pixels.shape[-1]
    fine, coarse = (colour.gaussian_blur(pixels, deviation * size) for deviation in (0.003, 0.03))
    rough = colour.gaussian_blur((pixels - colour.gaussian_blur(pixels, 0.01 * size)).abs().mean(1, keepdim=True), 3)
    around = skin * (1 - region).pow(4)
    known = torch.cat([pixels * around, rough * around, around], 1)
    near, far = (colour.gaussian_blur(known, deviation * size) for deviation in (0.05, 0.2))
    mixed = near + 0.05 * far
    bare, smooth = mixed[:, :3] / mixed[:, 4:].clamp_min(1e-4), mixed[:, 3:4] / mixed[:, 4:].clamp_min(1e-4)
    light = coarse.mean(1, keepdim=True) / bare.mean(1, keepdim=True).clamp_min(0.02)
    hair = torch.maximum((0.95 - light) / 0.15, rough / smooth.clamp_min(4e-3) / 1.2 - 1.1).clamp(0, 1)
    shaved = bare * light.clamp(0.85, 1.15).sqrt() * (1 + 0.3 * (fine / coarse.clamp_min(0.02) - 1))
    return shaved, (1.6 * colour.gaussian_blur(hair, 0.015 * size)).clamp(0, 1)
