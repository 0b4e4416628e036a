"""Faces cut out of pictures, upright and at one size."""

from __future__ import annotations

from torch import Tensor

from .geometry import similarity, transform, warp
from .geometry import template as template_points
from .types import Crops, FaceSet


def align(images: Tensor, faces: FaceSet, template: str = "ffhq_512", size: int = 256) -> Crops:
    """One antialiased warp: the five points of every face go to the template, (B, 3, H, W) -> Crops of side `size`.

    What lies outside the picture repeats its border; the mask is 1 everywhere.
    """
    matrix = similarity(faces.landmarks, template_points(template, size).to(faces.landmarks.device)[None])
    pixels = warp(images, matrix, size, frame=faces.frame).float()
    return Crops(
        pixels=pixels,
        mask=pixels.new_ones(len(faces), 1, size, size),
        matrix=matrix,
        landmarks=transform(faces.landmarks, matrix),
        mesh=transform(faces.mesh, matrix),
        frame=faces.frame,
    )
