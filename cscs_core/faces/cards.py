"""Comparison cards: a face before and after, side by side, with text below."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..io.images import clean
from ..types import FaceSet
from .align import align

SIDE, LINES = 320, 4  # px, side of a face; lines of text that fit
_LINE, _GAP = 22, 8  # px
WIDTH, HEIGHT = 2 * SIDE + 3 * _GAP, SIDE + 2 * _GAP + LINES * _LINE + _GAP


def card(before: Tensor, after: Tensor, face: FaceSet, lines: Sequence[str]) -> Tensor:
    """One face in two images of the same size, (1, 3, H, W) twice, both cropped where the face was before, with up to
    LINES lines of text -> (3, HEIGHT, WIDTH) 0..1 on the CPU."""
    cut = torch.cat([align(picture, face[:1], size=SIDE).pixels for picture in (before, after)]).cpu()
    sheet = blank(lines)
    for number, pixels in enumerate(clean(cut).clamp(0, 1)):
        left = _GAP + number * (SIDE + _GAP)
        sheet[:, _GAP : _GAP + SIDE, left : left + SIDE] = pixels
    return sheet


def blank(lines: Sequence[str]) -> Tensor:
    """A card with text only, (3, HEIGHT, WIDTH) 0..1."""
    sheet = Image.new("RGB", (WIDTH, HEIGHT), (24, 24, 24))
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(16)
    for number, line in enumerate(lines[:LINES]):
        pen.text((_GAP, SIDE + 2 * _GAP + number * _LINE), line, (235, 235, 235), font)
    return torch.from_numpy(np.array(sheet)).movedim(-1, 0).float() / 255  # HWC -> CHW
