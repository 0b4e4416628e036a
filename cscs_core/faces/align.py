"""Aligned crops: faces cut out of images, upright and all of one size."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as nnf
from torch import Tensor

from ..ops.batching import CancelCheck, map_in_chunks, max_batch, never_cancel
from ..ops.geometry import compose, ffhq_quad, similarity, transform, warp
from ..ops.geometry import template as template_points
from ..ops.mesh import IBUG68
from ..types import Crops, FaceSet

QUAD = "ffhq_quad"  # aligns by 68 points; the templates in geometry.TEMPLATES align by five


def align(
    images: Tensor,
    faces: FaceSet,
    template: str = "ffhq_512",
    size: int = 256,
    check_cancel: CancelCheck = never_cancel,
) -> Crops:
    """Cuts out every face with one antialiased warp, (B, 3, H, W) 0..1 -> F Crops of side `size`.

    `template` is one of geometry.TEMPLATES, fitted to five landmarks, or "ffhq_quad", fitted to 68. Outside the image
    its border is repeated; the mask is 1 everywhere. `check_cancel` is called between chunks and may stop the work by
    raising. Raises ValueError for an unknown template.
    """
    matrix = _matrix(faces.landmarks, faces.mesh, template, size)

    def cut(rows: Tensor) -> Tensor:
        return warp(images, matrix[rows], size, frame=faces.frame[rows]).float()

    none = images.new_zeros(0, images.shape[1], size, size, dtype=torch.float32)
    rows = torch.arange(len(faces), device=images.device)
    pixels = torch.cat([none, *map_in_chunks(cut, rows, max_batch(images.device), check_cancel)])
    return Crops(
        pixels=pixels,
        mask=pixels.new_ones(len(faces), 1, size, size),
        matrix=matrix,
        landmarks=transform(faces.landmarks, matrix),
        mesh=transform(faces.mesh, matrix),
        frame=faces.frame,
    )


def realign(crops: Crops, template: str, size: int) -> Tensor:
    """The pixels of crops warped to another template, (F, 3, S, S) -> (F, 3, size, size). The crops must cover the
    area of that template: ffhq_512 covers all but styleganex_384."""
    return warp(crops.pixels, _matrix(crops.landmarks, crops.mesh, template, size), size)


def is_aligned_to(crops: Crops, template: str) -> bool:
    """Whether crops are aligned to this template: aligning them again would move no corner by more than 1 % of the
    crop side."""
    corners = crops.matrix.new_tensor([[0, 0], [1, 0], [0, 1]]).expand(len(crops), 3, 2) * crops.size
    moved = transform(corners, _matrix(crops.landmarks, crops.mesh, template, crops.size)) - corners
    return not (moved.norm(dim=-1) > 0.01 * crops.size).any()


def _matrix(landmarks: Tensor, mesh: Tensor, template: str, size: int) -> Tensor:
    if template == QUAD:
        return ffhq_quad(mesh[:, list(IBUG68)], size)
    return similarity(landmarks, template_points(template, size).to(landmarks)[None])


def resize(crops: Crops, size: int) -> Crops:
    """The same crops at another side in pixels, antialiased when they shrink; `paste` puts them in the same place."""
    if size == crops.size:
        return crops
    ratio = size / crops.size
    shift = (ratio - 1) / 2  # x -> (x + 0.5) * ratio - 0.5
    scaling = crops.matrix.new_tensor([[ratio, 0, shift], [0, ratio, shift]]).expand_as(crops.matrix)
    return replace(
        crops,
        pixels=nnf.interpolate(crops.pixels, size=(size, size), mode="bilinear", antialias=True),
        mask=nnf.interpolate(crops.mask, size=(size, size), mode="bilinear", antialias=True),
        matrix=compose(crops.matrix, scaling),
        landmarks=transform(crops.landmarks, scaling),
        mesh=transform(crops.mesh, scaling),
    )
