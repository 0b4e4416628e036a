"""Marks on pictures, for people to look at."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .types import FaceSet

COLOURS = ((255, 214, 10), (48, 209, 88), (100, 210, 255), (255, 105, 97), (191, 90, 242), (255, 159, 10))


def boxes(images: Tensor, faces: FaceSet) -> Tensor:
    """Images (B, 3, H, W) with every face's box, five points and number; numbers start at 0 in each image, in the
    order of the rows. Pixels without a mark keep their value bit for bit."""
    faces = faces.to("cpu")
    out = images.clone()
    for index in faces.frame.unique().tolist():
        colour, cover = _marks(faces[faces.frame == index], *images.shape[-2:])
        mark = cover.to(images.device)[None]
        out[index] = torch.where(mark > 0, images[index].lerp(colour.to(images), mark.to(images)), images[index])
    return out


def _marks(faces: FaceSet, height: int, width: int) -> tuple[Tensor, Tensor]:
    """What to draw over one image: colour (3, H, W) and cover (H, W), both 0..1."""
    sheet = Image.new("RGBA", (width, height))
    pen = ImageDraw.Draw(sheet)
    line = max(1, round(max(height, width) / 500))
    for number, (box, points) in enumerate(zip(faces.box.tolist(), faces.landmarks.tolist(), strict=True)):
        colour = COLOURS[number % len(COLOURS)]
        left, top, right, bottom = box
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=line)
        dot = max(1.0, (right - left) / 50)
        for x, y in points:
            pen.ellipse((x - dot, y - dot, x + dot, y + dot), fill=colour)
        _label(pen, str(number), left, top, min(max((right - left) / 4, 10), 20 * line), colour, (height, width))
    pixels = torch.from_numpy(np.asarray(sheet).astype(np.float32) / 255).permute(2, 0, 1)
    return pixels[:3], pixels[3]


def _label(
    pen: ImageDraw.ImageDraw,
    text: str,
    x: float,
    y: float,
    size: float,
    colour: tuple[int, int, int],
    limits: tuple[int, int],
) -> None:
    """A number on a filled plate above (x, y), moved so that it stays inside the image (height, width)."""
    font = ImageFont.load_default(size)
    _, _, wide, tall = pen.textbbox((0, 0), text, font=font)
    margin = size / 6
    left = min(max(x, 0), max(0, limits[1] - wide - 2 * margin))
    top = min(max(y - tall - 2 * margin, 0), max(0, limits[0] - tall - 2 * margin))
    pen.rectangle((left, top, left + wide + 2 * margin, top + tall + 2 * margin), fill=colour)
    pen.text((left + margin, top + margin), text, font=font, fill=(0, 0, 0))
