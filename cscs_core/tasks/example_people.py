"""The bundled example people, used where no others are given."""

from __future__ import annotations

from pathlib import Path

import torch

from ..faces.align import align
from ..faces.select import order
from ..io import images
from ..pipeline import Models, find
from ..types import Crops, join

EXAMPLES = Path(__file__).parents[1] / "examples"
GROWN = 5  # adults, who come first; the last person is a child, whose face fits no other head


@torch.no_grad()
def example_crops(models: Models, size: int) -> Crops:
    """One ffhq_512 crop of each example person, at this size in pixels, on the device of the models. Raises
    FileNotFoundError if the pictures are missing."""
    pictures = [images.read(file).to(models.device) for file in sorted(EXAMPLES.glob("*.jpg"))]
    if not pictures:
        raise FileNotFoundError(f"{EXAMPLES}: the example people are missing from this installation")
    faces = [order(find(picture, models), "large-small")[:1] for picture in pictures]
    return join([align(picture, face, size=size) for picture, face in zip(pictures, faces, strict=True)])
