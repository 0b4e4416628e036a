"""Colour and frequency: CIELAB, colour matching, Gaussian blur, multi-band blend. Images are (F, 3, H, W) sRGB 0..1."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as nnf
from torch import Tensor

# sRGB primaries to XYZ and the D65 white of the 2 degree observer (IEC 61966-2-1, CIE 15), as scikit-image rounds them.
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.95047, 1.0, 1.08883)


def to_lab(rgb: Tensor) -> Tensor:
    """sRGB 0..1 to CIELAB, (F, 3, H, W): L 0..100, a and b about -128..127. Differentiable, also at black."""
    # Clamped first: the unused branch of `where` would otherwise give infinite gradients.
    linear = ((rgb.clamp_min(0.04045) + 0.055) / 1.055).pow(2.4).where(rgb > 0.04045, rgb / 12.92)
    matrix = rgb.new_tensor(_XYZ) / rgb.new_tensor(_WHITE)[:, None]
    xyz = torch.einsum("ij,fjhw->fihw", matrix, linear)
    curved = xyz.clamp_min(0.008856).pow(1 / 3).where(xyz > 0.008856, 7.787 * xyz + 16 / 116)
    x, y, z = curved.unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def from_lab(lab: Tensor) -> Tensor:
    """CIELAB to sRGB, (F, 3, H, W); colours outside the sRGB gamut give values outside 0..1."""
    lightness, a, b = lab.unbind(1)
    y = (lightness + 16) / 116
    curved = torch.stack([y + a / 500, y, y - b / 200], 1)
    xyz = curved.pow(3).where(curved > 0.2068966, (curved - 16 / 116) / 7.787)
    matrix = (
        lab.new_tensor(_XYZ, dtype=torch.float64) / lab.new_tensor(_WHITE, dtype=torch.float64)[:, None]
    ).inverse()
    linear = torch.einsum("ij,fjhw->fihw", matrix.to(lab.dtype), xyz)
    return (1.055 * linear.clamp_min(0.0031308).pow(1 / 2.4) - 0.055).where(linear > 0.0031308, 12.92 * linear)


def match_statistics(pixels: Tensor, reference: Tensor, mask: Tensor, reference_mask: Tensor | None = None) -> Tensor:
    """Matches the colour of images to references, (F, 3, H, W) 0..1 twice -> same (as Reinhard et al. 2001).

    The CIELAB mean and standard deviation inside `mask` become those of the reference inside `reference_mask`, both
    (F, 1, H, W) 0..1. The whole image changes; an image with an empty mask stays as it is.
    """
    reference_mask = mask if reference_mask is None else reference_mask
    lab = to_lab(pixels)
    mean, deviation = _statistics(lab, mask)
    goal, spread = _statistics(to_lab(reference), reference_mask)
    matched = from_lab((lab - mean) / deviation * spread + goal).clamp(0, 1)
    usable = (mask.sum((1, 2, 3)) > 0) & (reference_mask.sum((1, 2, 3)) > 0)
    return matched.where(usable[:, None, None, None], pixels)


def gaussian_blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, (F, C, H, W) -> same; sigma in pixels, kernel cut off at 4 sigma, borders mirrored.

    Each direction is one product with an H x H (or W x W) matrix that includes the border rule. The time does not
    depend on sigma, and images may be smaller than the kernel.
    """
    if sigma <= 0:
        return x
    height, width = x.shape[-2:]
    return _blur_matrix(height, sigma, x) @ x @ _blur_matrix(width, sigma, x).T


def laplacian_blend(a: Tensor, b: Tensor, mask: Tensor, levels: int) -> Tensor:
    """Multi-band blend (Burt and Adelson 1983), (F, C, H, W) twice, mask (F, 1, H, W) 0..1 -> (F, C, H, W).

    a where the mask is 1, b where it is 0, with a wider transition for lower bands. `levels` is the number of bands; 1
    is a plain alpha blend. Pixels that only b reaches stay bit for bit.
    """
    # The pyramid is linear, so decomposing a - b is enough and b stays exact.
    band = a - b
    levels = max(1, min(levels, 1 + int(math.log2(max(1, min(a.shape[-2:]))))))
    parts = []
    for _ in range(levels - 1):
        lower = _downsample(band)
        parts.append((band - _upsample(lower, band)) * mask)
        band, mask = lower, _downsample(mask)
    out = band * mask
    for part in reversed(parts):
        out = _upsample(out, part) + part
    return b + out


def _statistics(lab: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and standard deviation of each channel, (F, 3, H, W), (F, 1, H, W) -> (F, 3, 1, 1) twice."""
    weight = mask / mask.sum((2, 3), keepdim=True).clamp_min(1e-6)
    mean = (lab * weight).sum((2, 3), keepdim=True)
    variance = ((lab - mean).square() * weight).sum((2, 3), keepdim=True)
    return mean, variance.clamp_min(1e-6).sqrt()


def _blur_matrix(side: int, sigma: float, like: Tensor) -> Tensor:
    """The 1-D blur as a matrix, (side, side), rows sum to 1."""
    return _blur_matrix_float32(side, sigma, like.device).to(like.dtype)


@lru_cache(maxsize=64)
def _blur_matrix_float32(side: int, sigma: float, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # cached outside inference mode, so that later callers can backpropagate
        reach = int(4 * sigma + 0.5)
        taps = torch.arange(-reach, reach + 1, device=device)
        weights = (-0.5 * (taps.double() / sigma).square()).exp()
        weights = weights / weights.sum()
        position = torch.arange(side, device=device)[:, None] + taps
        period = max(1, 2 * (side - 1))
        position = position % period
        position = torch.minimum(position, period - position) if side > 1 else position * 0
        whole = torch.zeros(side, side, device=device)
        return whole.scatter_add_(1, position, weights.float().expand(side, -1))


def _downsample(x: Tensor) -> Tensor:
    size = [(side + 1) // 2 for side in x.shape[-2:]]
    return nnf.interpolate(x, size, mode="bilinear", antialias=True)


def _upsample(x: Tensor, like: Tensor) -> Tensor:
    return nnf.interpolate(x, like.shape[-2:], mode="bilinear")
