"""Boxes, landmarks and numbers drawn on images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..types import FaceSet

COLOURS = ((255, 214, 10), (48, 209, 88), (100, 210, 255), (255, 105, 97), (191, 90, 242), (255, 159, 10))
GREY = (150, 150, 150)


def boxes(
    images: Tensor,
    faces: FaceSet,
    *,
    numbers: Tensor | None = None,
    chosen: Tensor | None = None,
    points: bool = True,
    dense: bool = False,
) -> Tensor:
    """Draws every face's box, landmarks and number, (B, 3, H, W) 0..1 -> (B, 3, H, W). Unmarked pixels stay
    bit-identical.

    Without `numbers` the faces of each image are numbered from 0, in row order; with `numbers` (F,) int64, negative
    ones are not written. The colour depends on the number. With `chosen` (F,) bool all other faces are thin and grey.
    `points` turns on the five landmarks, `dense` the dense mesh.
    """
    out = images.clone()
    for index in faces.frame.unique().tolist():
        rows = faces.frame == index
        few = faces[rows].to("cpu")
        shown = range(len(few)) if numbers is None else numbers[rows].tolist()
        bright = [True] * len(few) if chosen is None else chosen[rows].tolist()
        sheet = _sheet(few, shown, bright, points, dense, *images.shape[-2:])
        y, x, colour, cover = _marks(sheet)
        before = images[index][:, y, x]
        out[index][:, y, x] = before.lerp(colour.to(images), cover.to(images))
    return out


def _sheet(
    faces: FaceSet, numbers: Sequence[int], bright: list[bool], points: bool, dense: bool, height: int, width: int
) -> Image.Image:
    """A transparent overlay for one image; chosen faces are drawn last, on top."""
    sheet = Image.new("RGBA", (width, height))
    pen = ImageDraw.Draw(sheet)
    line = max(1, round(max(height, width) / 500))
    rows = list(zip(faces.box.tolist(), faces.landmarks.tolist(), faces.mesh.tolist(), numbers, bright, strict=True))
    for (left, top, right, bottom), five, many, number, on in sorted(rows, key=lambda row: row[-1]):
        colour = COLOURS[number % len(COLOURS)] if on and number >= 0 else GREY
        thick = line if on else max(1, line // 2)
        pen.rectangle((left, top, max(left, right), max(top, bottom)), outline=colour, width=thick)
        if dense:
            fleck = (right - left) / 300
            for x, y in many:
                pen.ellipse((x - fleck, y - fleck, x + fleck, y + fleck), fill=colour)
        if points:
            dot = max(1.0, (right - left) / 50)
            for x, y in five:
                pen.ellipse((x - dot, y - dot, x + dot, y + dot), fill=colour)
        if number >= 0:
            size = min(max((right - left) / 4, 10), 20 * line)
            _label(pen, str(number), left, top, size, colour, (height, width))
    return sheet


def _marks(sheet: Image.Image) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The marked pixels of an overlay: rows (N,), columns (N,), colour (3, N) and opacity (N,), both 0..1."""
    pixels = torch.from_numpy(np.asarray(sheet).copy())
    y, x = pixels[..., 3].nonzero(as_tuple=True)
    marks = (pixels[y, x].float() / 255).T
    return y, x, marks[:3], marks[3]


def _label(
    pen: ImageDraw.ImageDraw,
    text: str,
    x: float,
    y: float,
    size: float,
    colour: tuple[int, int, int],
    limits: tuple[int, int],
) -> None:
    """Draws a number on a filled plate above (x, y), moved so that it stays inside `limits` (height, width)."""
    font = ImageFont.load_default(size)
    _, _, wide, tall = pen.textbbox((0, 0), text, font=font)
    margin = size / 6
    left = min(max(x, 0), max(0, limits[1] - wide - 2 * margin))
    top = min(max(y - tall - 2 * margin, 0), max(0, limits[0] - tall - 2 * margin))
    pen.rectangle((left, top, left + wide + 2 * margin, top + tall + 2 * margin), fill=colour)
    pen.text((left + margin, top + margin), text, font=font, fill=(0, 0, 0))
