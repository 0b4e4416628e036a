"""Faces cut out of pictures, upright and at one size."""

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

QUAD = "ffhq_quad"  # the alignment by 68 points, a template beside those of five


def align(
    images: Tensor,
    faces: FaceSet,
    template: str = "ffhq_512",
    size: int = 256,
    check_cancel: CancelCheck = never_cancel,
) -> Crops:
    """One antialiased warp: the points of every face go to the template, (B, 3, H, W) -> Crops of side `size`.

    What lies outside the picture repeats its border; the mask is 1 everywhere. `template` is one of
    geometry.TEMPLATES, laid on by five points, or "ffhq_quad", by 68.
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
    """The pixels of crops cut out once more in another template, (F, 3, S, S) -> (F, 3, size, size). The crops must
    reach as far as that template does: ffhq_512 reaches further than all but styleganex_384."""
    return warp(crops.pixels, _matrix(crops.landmarks, crops.mesh, template, size), size)


def is_aligned_to(crops: Crops, template: str) -> bool:
    """Whether crops were cut out in this template: laying them on it once more would not move them, by as much as a
    hundredth of their side."""
    corners = crops.matrix.new_tensor([[0, 0], [1, 0], [0, 1]]).expand(len(crops), 3, 2) * crops.size
    moved = transform(corners, _matrix(crops.landmarks, crops.mesh, template, crops.size)) - corners
    return not (moved.norm(dim=-1) > 0.01 * crops.size).any()


def _matrix(landmarks: Tensor, mesh: Tensor, template: str, size: int) -> Tensor:
    if template == QUAD:
        return ffhq_quad(mesh[:, list(IBUG68)], size)
    return similarity(landmarks, template_points(template, size).to(landmarks)[None])


def resize(crops: Crops, size: int) -> Crops:
    """The same faces at another crop side: antialiased where they shrink; paste lays them in the same place."""
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
