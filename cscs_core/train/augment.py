"""Random augmentations of batches (N, 3, H, W) in 0..1: light, camera and compression, drawn for each image."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as nnf
from torch import Generator, Tensor

from ..ops import camera, geometry


def uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    """Uniform random numbers in low..high, (n,)."""
    return torch.rand(n, generator=generator) * (high - low) + low


def often(n: int, probability: float, generator: Generator) -> Tensor:
    """True with this probability, (n,) bool."""
    return torch.rand(n, generator=generator) < probability


def jitter(n: int, size: int, roll: float, zoom: float, shift: float, generator: Generator) -> Tensor:
    """Random similarities about the crop's centre, with up to 6 % horizontal stretch, (n, 2, 3). At most: roll in
    degrees, zoom as a factor in or out, shift as a fraction of the side."""
    angle = uniform(n, -roll, roll, generator) * math.pi / 180
    scale = torch.exp(uniform(n, -math.log(zoom), math.log(zoom), generator))
    stretch = uniform(n, -0.06, 0.06, generator)
    cos, sin = scale * angle.cos(), scale * angle.sin()
    linear = torch.stack([torch.stack([cos * (1 + stretch), -sin], -1), torch.stack([sin, cos], -1)], -2)
    centre = torch.full((n, 2, 1), (size - 1) / 2)
    moved = centre + (torch.rand(n, 2, 1, generator=generator) * 2 - 1) * shift * size
    return torch.cat([linear, moved - linear @ centre], -1)


def smooth_field(n: int, size: int, amount: float, generator: Generator, cells: int = 5) -> Tensor:
    """Smooth random displacements, (n, 2, size, size) pixels, with a standard deviation of about `amount` * size."""
    coarse = torch.randn(n, 2, cells, cells, generator=generator) * amount * size
    return nnf.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)


def light(x: Tensor, generator: Generator) -> Tensor:
    """Random exposure, gamma, contrast, colour temperature, saturation and light from one side."""
    n, _, height, width = x.shape
    column = (n, 1, 1, 1)
    gamma = torch.exp(uniform(n, -0.45, 0.45, generator)).view(column)
    x = x.clamp(1e-4, 1) ** gamma
    direction = uniform(n, 0, 2 * math.pi, generator)
    grid = geometry.pixel_grid(height, width) / max(height, width) - 0.5
    side = grid[..., 0] * direction.cos().view(n, 1, 1) + grid[..., 1] * direction.sin().view(n, 1, 1)
    lamp = torch.exp(side * uniform(n, -1.4, 1.4, generator).view(n, 1, 1) * often(n, 0.5, generator).view(n, 1, 1))
    x = x * lamp[:, None]
    tint = torch.exp(torch.randn(n, 3, 1, 1, generator=generator) * 0.08)
    gain = torch.exp(uniform(n, -0.35, 0.35, generator)).view(column)
    x = x * tint * gain
    middle = x.mean((1, 2, 3), keepdim=True)
    x = (x - middle) * torch.exp(uniform(n, -0.35, 0.3, generator)).view(column) + middle
    grey = x.mean(1, keepdim=True)
    colour = uniform(n, 0.3, 1.4, generator) * ~often(n, 0.06, generator)
    return (grey + (x - grey) * colour.view(column)).clamp(0, 1)


def blur(x: Tensor, strongest: float, generator: Generator) -> Tensor:
    """Gaussian blur with a standard deviation of 0.05..strongest pixels, half of the time along one axis only (motion
    blur)."""
    n, channels, height, width = x.shape
    reach = math.ceil(2.5 * strongest)
    offset = torch.arange(-reach, reach + 1).float()
    sigma = uniform(n, 0.05, strongest, generator)
    narrow = torch.where(often(n, 0.5, generator), sigma, torch.full((n,), 0.05))
    swap = often(n, 0.5, generator)
    for dim, deviation in ((3, torch.where(swap, sigma, narrow)), (2, torch.where(swap, narrow, sigma))):
        kernel = torch.exp(-0.5 * (offset / deviation[:, None]) ** 2)
        kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
        shape, padding = (
            ((-1, 1, 1, 2 * reach + 1), (reach, reach, 0, 0))
            if dim == 3
            else ((-1, 1, 2 * reach + 1, 1), (0, 0, reach, reach))
        )
        flat = nnf.pad(x.reshape(1, n * channels, height, width), padding, mode="reflect")
        x = nnf.conv2d(flat, kernel.view(shape), groups=n * channels).view(n, channels, height, width)
    return x


def coarse(x: Tensor, smallest: float, generator: Generator) -> Tensor:
    """The whole batch downsampled and enlarged again, by one factor in smallest..1."""
    factor = float(uniform(1, smallest, 1.0, generator))
    # Pass sizes, not the factor: with a factor torch drops the last fraction of a pixel, and the image shifts.
    size = [max(1, round(side * factor)) for side in x.shape[-2:]]
    small = nnf.interpolate(x, size=size, mode="bilinear", antialias=True)
    return nnf.interpolate(small, size=x.shape[-2:], mode="bilinear")


def jpeg(x: Tensor, lowest: int, generator: Generator) -> Tensor:
    """JPEG compression with quality lowest..90, drawn for each image."""
    quality = torch.randint(lowest, 91, (len(x),), generator=generator).to(x)
    return camera.jpeg(x.clamp(0, 1), quality)


def occlude(x: Tensor, others: Tensor, generator: Generator) -> Tensor:
    """An ellipse or a bar over each image, filled with one colour or with the image in the same row of `others`."""
    n, _, height, width = x.shape
    grid = geometry.pixel_grid(height, width)
    side = max(height, width)
    centre = torch.rand(n, 1, 1, 2, generator=generator) * side
    angle = uniform(n, 0, math.pi, generator).view(n, 1, 1)
    radius = torch.exp(uniform(2 * n, math.log(0.05), math.log(0.32), generator)).view(n, 1, 1, 2) * side
    away = grid - centre
    turned = (
        torch.stack(
            [
                away[..., 0] * angle.cos() + away[..., 1] * angle.sin(),
                away[..., 1] * angle.cos() - away[..., 0] * angle.sin(),
            ],
            -1,
        )
        / radius
    )
    ellipse = (turned**2).sum(-1)
    box = turned.abs().amax(-1)
    edge = torch.where(often(n, 0.5, generator).view(n, 1, 1), ellipse, box)
    soft = uniform(n, 2, 20, generator).view(n, 1, 1)
    cover = torch.sigmoid((1 - edge) * soft)[:, None]
    plain = torch.rand(n, 3, 1, 1, generator=generator)
    over = torch.where(often(n, 0.4, generator).view(n, 1, 1, 1), plain, others)
    return x * (1 - cover) + over * cover


def some(x: Tensor, probability: float, generator: Generator, change, *arguments) -> Tensor:
    """Applies `change(x, *arguments, generator)` to each row with this probability; tensors among the arguments are
    indexed by row."""
    chosen = often(len(x), probability, generator).nonzero().flatten()
    if not len(chosen):
        return x
    arguments = tuple(a[chosen] if isinstance(a, Tensor) else a for a in arguments)
    return x.index_copy(0, chosen, change(x[chosen], *arguments, generator))


def degrade(x: Tensor, generator: Generator) -> Tensor:
    """Random light, blur, low resolution, noise and JPEG, for face crops."""
    x = some(x, 0.85, generator, light)
    x = some(x, 0.3, generator, blur, 2.5)
    x = some(x, 0.25, generator, coarse, 0.25)
    noise = torch.randn(x.shape, generator=generator) * uniform(len(x), 0, 0.06, generator).view(-1, 1, 1, 1)
    x = (x + noise * often(len(x), 0.35, generator).view(-1, 1, 1, 1)).clamp(0, 1)
    return some(x, 0.3, generator, jpeg, 25)


def degrade_scene(x: Tensor, generator: Generator) -> Tensor:
    """Random light, blur, low resolution, noise and JPEG, milder than `degrade`, for whole photographs."""
    x = some(x, 0.7, generator, light)
    x = some(x, 0.2, generator, blur, 1.2)
    x = some(x, 0.15, generator, coarse, 0.5)
    noise = torch.randn(x.shape, generator=generator) * uniform(len(x), 0, 0.05, generator).view(-1, 1, 1, 1)
    return some((x + noise).clamp(0, 1), 0.4, generator, jpeg, 30)
