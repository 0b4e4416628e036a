"""Re-aging by reference: a photo of the same person at another age is swapped onto the person (CSCS, section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..faces.align import align
from ..faces.identity import encode
from ..faces.paste import paste, paste_mask
from ..faces.select import choose
from ..faces.swappers.base import swap
from ..io.images import clean
from ..ops import mask
from ..ops.colour import gaussian_blur
from ..pipeline import Models, PreparedSource, find
from ..types import Crops, FaceSet

TAKES = ("whole face", "skin", "fine detail")
SAME_PERSON = 0.35  # cosine of the bundled encoder that 1 in 100 pairs of different generated people reaches
_FINE = 0.012  # of the crop side, deviation of a blur that removes pores and wrinkles but not shading


@dataclass(frozen=True)
class ReAged:
    """An image with a person at another age."""

    image: Tensor  # (1, 3, H, W) float32, 0..1
    mask: Tensor  # (1, 1, H, W) how much of each pixel was replaced, 0..1
    faces: FaceSet  # the F faces that were re-aged
    before: Tensor  # (F,) cosine of each original face to the reference
    after: Tensor  # (F,) cosine of each result to the reference
    skipped: list[str]  # why faces or the whole image were left unchanged, a sentence each


@torch.no_grad()
def reage(
    image: Tensor,
    reference: PreparedSource,
    models: Models,
    *,
    take: str = TAKES[0],
    strength: float = 1.0,
    order: str = "large-small",
    indices: Sequence[int] | None = None,
    threshold: float = SAME_PERSON,
    only_same: bool = False,
    size: int | None = None,
    detection: float = 0.5,
) -> ReAged:
    """Re-ages the person in an image (1, 3, H, W) 0..1 to the age shown in the reference photos.

    Changes the face most similar to the reference, or those selected by `order` and `indices`. With `only_same` faces
    whose cosine is below `threshold` are left unchanged; with `strength` 0 all are. `take` is one of TAKES: "skin"
    keeps the target's own eyes, brows and mouth, "fine detail" also its shapes and colours. `size` is the crop side in
    pixels, by default the swapper's best. Raises ValueError for an unknown `take`.
    """
    if take not in TAKES:
        raise ValueError(f"take is {take!r}; it must be one of {', '.join(TAKES)}")
    image = clean(image).to(models.device)
    person = reference.identity.mean
    found = find(image, models, detection)
    alike = encode(image, found, models.encoder) @ person
    if indices is None and len(found):
        best = alike.argmax().view(1)
        found, alike = found[best], alike[best]
    chosen = choose(found, order=order, indices=indices, likeness=alike if only_same else None, threshold=threshold)
    faces, skipped = chosen.faces, chosen.skipped if len(found) else ["no face found"]
    if strength == 0 and len(faces):
        faces, skipped = faces[:0], [*skipped, "strength is 0"]
    alike = encode(image, faces, models.encoder) @ person
    if not len(faces):
        return ReAged(image, image.new_zeros(1, 1, *image.shape[-2:]), faces, alike, alike, skipped)
    swapper = reference.swapper
    crops = align(image, faces, swapper.template, size or swapper.sizes[-1])
    crops = taken(crops, swap(crops, reference.person, swapper, strength), take)
    result = paste(image, crops)
    after = encode(result, faces, models.encoder) @ person
    return ReAged(result, paste_mask(image, crops), faces, alike, after, skipped)


def taken(target: Crops, swapped: Crops, take: str) -> Crops:
    """The swapped crops with the parts that `take`, one of TAKES, leaves to the target."""
    if take == "whole face":
        return swapped
    skin = 1 - mask.features(target.mesh, target.size)
    pixels = swapped.pixels
    if take == "fine detail":
        coarse = gaussian_blur(target.pixels - pixels, _FINE * target.size)
        pixels = (pixels + coarse).clamp(0, 1)
    return replace(swapped, pixels=pixels, mask=swapped.mask * skin)
