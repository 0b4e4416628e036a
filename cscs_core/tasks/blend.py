"""Somebody between several people, as photographs: their faces are bent to the mean of their meshes and the pixels
averaged. So every swapper can read the blend, also one that lays on a photograph."""

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
    """One person from several, each as much of every photograph as its share says; all on the encoder's device.

    There are as many photographs, and they count, as those of whoever has most (the first of several); everybody else
    lends to each the one turned most like it. They become as large as the largest, and the encoder reads them anew.
    Photographs without weight and people without a share are left out; who alone has one comes back untouched. Raises
    BadInput for a person without photographs.
    """
    if len(identities) != len(shares):
        raise ValueError(f"there are {len(shares)} shares for {len(identities)} people")
    if not all(0 <= share < math.inf for share in shares) or not any(shares):
        raise ValueError("shares must be numbers from 0 on, and not all of them 0")
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
