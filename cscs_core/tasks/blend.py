"""Blended identities, made as photographs: faces are warped to the mean of their meshes and their pixels averaged. So
every swapper can use the blend, also one that warps a photograph."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..faces.align import resize
from ..faces.bend import displacement, resample, with_mesh
from ..faces.identity import Encoder, embed_crops, keep_photos, require_photos
from ..faces.swappers.warp import nearest_pose
from ..ops.batching import map_in_chunks
from ..types import Identity

_AT_ONCE = 4  # photographs of each person


def blend(identities: Sequence[Identity], shares: Sequence[float], encoder: Encoder) -> Identity:
    """One identity from several, mixed by their shares (any scale); all must be on the encoder's device.

    The blend has as many photographs, with the same weights, as the identity that has most of them (the first of
    several); every other identity contributes to each the photograph with the nearest pose. Crops are resized to the
    largest, and embeddings are recomputed. Photographs of weight 0 and identities of share 0 are left out; if only one
    has a share it is returned unchanged. Raises ValueError for unsuitable shares, BadInput for an identity without
    photographs.
    """
    if len(identities) != len(shares):
        raise ValueError(f"there are {len(shares)} shares for {len(identities)} people; give one for each")
    if not all(0 <= share < math.inf for share in shares) or not any(shares):
        raise ValueError("shares must not be negative, infinite, or all 0")
    people = [require_photos(one) for one, share in zip(identities, shares, strict=True) if share]
    if len(people) == 1:
        return people[0]
    people = [keep_photos(one, one.weight > 0) for one in people]
    most = max(people, key=lambda one: len(one.weight))
    size = max(one.crops.size for one in people)
    crops = resize(most.crops, size)
    lent = [
        (crops.pixels, crops.mesh) if one is most else nearest_pose(crops.mesh, resize(one.crops, size))
        for one in people
    ]
    part = crops.mesh.new_tensor([share for share in shares if share]) / sum(shares)
    points = torch.einsum("i,i...->...", part, torch.stack([own for _, own in lent]))

    def mixed(rows: Tensor) -> Tensor:
        bent = [resample(pixels[rows], displacement(own[rows], points[rows], size)) for pixels, own in lent]
        return torch.einsum("i,i...->...", part, torch.stack(bent))

    numbers = torch.arange(len(crops), device=points.device)
    pixels = torch.cat(map_in_chunks(mixed, numbers, _AT_ONCE)).clamp(0, 1)
    crops = replace(with_mesh(crops, pixels, points), frame=numbers)
    return Identity(crops, embed_crops(crops, encoder), most.weight, encoder.name)
