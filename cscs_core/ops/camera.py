"""Image degradation by a camera's file format: JPEG compression."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as nnf
from torch import Tensor

# Quantisation tables of luma and chroma at quality 50 (ITU-T T.81, annex K).
_LUMA = """
16 11 10 16 24 40 51 61 12 12 14 19 26 58 60 55 14 13 16 24 40 57 69 56 14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77 24 35 55 64 81 104 113 92 49 64 78 87 103 121 120 101 72 92 95 98 112 100 103 99
"""
_CHROMA = """
17 18 24 47 99 99 99 99 18 21 26 66 99 99 99 99 24 26 56 99 99 99 99 99 47 66 99 99 99 99 99 99
99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99 99
"""
_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))  # JFIF


def jpeg(pixels: Tensor, quality: Tensor) -> Tensor:
    """Images after JPEG compression at qualities (F,) 1..100, (F, 3, H, W) 0..1 -> same.

    Chroma is subsampled 2 x 2 and the 8 x 8 DCT coefficients are rounded (ITU-T T.81).
    """
    height, width = pixels.shape[-2:]
    scale = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality) / 100
    matrix = pixels.new_tensor(_YCC)
    padded = nnf.pad(pixels * 255, (0, -width % 16, 0, -height % 16), mode="replicate")
    ycc = torch.einsum("ij,fjhw->fihw", matrix, padded)
    luma = _quantise(ycc[:, :1] - 128, _LUMA, scale) + 128
    chroma = nnf.interpolate(_quantise(nnf.avg_pool2d(ycc[:, 1:], 2), _CHROMA, scale), scale_factor=2, mode="bilinear")
    rgb = torch.einsum("ij,fjhw->fihw", torch.linalg.inv(matrix), torch.cat([luma, chroma], 1))
    return (rgb[..., :height, :width] / 255).clamp(0, 1)


def _quantise(planes: Tensor, table: str, scale: Tensor) -> Tensor:
    """Rounds the DCT coefficients of 8 x 8 blocks, (F, C, H, W) -> same, sides multiples of 8; scale (F,)."""
    k = torch.arange(8, device=planes.device, dtype=planes.dtype)
    cosines = ((2 * k + 1) * k[:, None] * (math.pi / 16)).cos() * torch.where(k == 0, 0.5**0.5, 1.0)[:, None] / 2
    steps = planes.new_tensor([float(number) for number in table.split()]).view(8, 8)
    steps = (steps * scale.view(-1, 1, 1, 1, 1, 1)).round().clamp(1, 255)  # (F, 1, 1, 1, 8, 8)
    blocks = planes.unflatten(2, (-1, 8)).unflatten(4, (-1, 8)).transpose(3, 4)  # (F, C, h, w, 8, 8)
    rounded = (cosines @ blocks @ cosines.T / steps).round() * steps
    return (cosines.T @ rounded @ cosines).transpose(3, 4).flatten(4, 5).flatten(2, 3)
