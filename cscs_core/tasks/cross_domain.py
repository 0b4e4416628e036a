"""Swaps between paintings and photographs: finds faces in either, and matches swapped faces to the target's style.

The faces are returned both pasted into the image and as crops with some surroundings, which may be redrawn: pasting the
crops unchanged gives the image, bit for bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as nnf
from torch import Tensor

from ..faces.align import align
from ..faces.detectors.base import Detector, Found
from ..faces.identity import encode
from ..faces.landmarks import locate
from ..faces.paste import paste, paste_mask
from ..faces.swappers.base import largest_size, swap
from ..io.images import clean
from ..ops import colour, geometry, mask, mesh
from ..ops.boxes import iou, suppress
from ..pipeline import Models, PreparedSource, find
from ..types import Crops, FaceSet, join

AGREEMENT = 0.45  # mean score in two versions, see find_painted: false positives in 7 of 100 images without a face
_SURE = 0.5  # score from which a face in the plain image needs no other version
_LONGEST = 1280  # px, longest side for detection
_LEAST = 0.1  # least score of a candidate in one version
_MOST = 1000  # candidates that are compared with each other
_SAME = 0.4  # IoU from which two boxes count as the same face
_SEAM = 0.02  # of the crop side: margin around the swapped face that may be redrawn
_BORDER = 0.04  # of the crop side: never redrawn, because Paste Faces fades there
_SPREAD = (0.8, 1.25)  # limits of the change in contrast and saturation of the skin, factors
_SHARPER = 1.25  # largest gain of detail in eyes, brows and mouth: with more, a brow looks like a stroke of ink
_OUTLIER = 2.5  # deviations: stronger texture of the target is a line of its face, not grain, and is clipped


@dataclass(frozen=True)
class Harmony:
    """How far a swapped face is matched to its target, 0 not at all .. 1 fully. Raises ValueError outside 0..1."""

    colour: float = 0.5  # mean and standard deviation of the skin in CIELAB
    texture: float = 0.7  # energy of the skin's detail in each frequency band

    def __post_init__(self):
        for name, value in {"colour": self.colour, "texture": self.texture}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it must be between 0 and 1")


@dataclass(frozen=True)
class CrossDomainResult:
    """An image with swapped faces, and crops of them that may be redrawn."""

    image: Tensor  # (1, 3, H, W) float32, 0..1: the crops pasted
    mask: Tensor  # (1, 1, H, W) 0..1, how much of each pixel comes from the crops
    crops: Crops  # F faces with their surroundings; the mask shows where they may be redrawn
    after: Tensor  # (F,) cosine of each face to the source
    before: Tensor  # (F,) cosine of each face to the face before the swap


@torch.no_grad()
def find_painted(image: Tensor, models: Models, threshold: float = AGREEMENT) -> FaceSet:
    """The faces in an image (1, 3, H, W) 0..1, also painted or faded ones, best score first.

    If detection in the plain image finds none, five versions are compared: plain, contrast stretched, blurred (against
    canvas texture), mirrored and enlarged. A face's score is the mean of its two best versions and must reach the
    threshold.
    """
    image = clean(image).to(models.device)
    faces = find(image, models, max(threshold, _SURE))
    if len(faces):
        return faces
    box, points, score, look = _candidates(image, models.detector)
    if not len(score):
        return FaceSet.empty(image.device)
    kept = suppress(box, score, torch.zeros_like(look), _SAME)
    same = iou(box[kept][:, None], box[None]) > _SAME  # (K, N)
    by_look = torch.stack([(score * (same & (look == one))).amax(1) for one in range(5)], 1)
    agreed = by_look.sort(1, descending=True).values[:, :2].mean(1)
    found = agreed >= threshold
    kept, agreed = kept[found], agreed[found]
    best = agreed.argsort(descending=True, stable=True)
    if not len(kept):
        return FaceSet.empty(image.device)
    kept, agreed = kept[best], agreed[best]
    frame = torch.zeros_like(kept)
    dense = locate(_stretch_contrast(image), frame, points[kept], models.landmarks)
    return FaceSet(frame, box[kept], mesh.five(dense), dense, agreed, torch.full_like(frame, -1))


def _candidates(image: Tensor, detector: Detector) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes (N, 4), points (N, 5, 2) and scores (N,) in all versions, in image pixels, and the version of each (N,);
    best score first."""
    shrink = min(1.0, _LONGEST / max(image.shape[-2:]))
    size = [max(1, round(side * shrink)) for side in image.shape[-2:]]
    small = image if shrink == 1 else nnf.interpolate(image, size, mode="bilinear", antialias=True)
    large = nnf.interpolate(small, scale_factor=1.5, mode="bilinear")
    mirrored = _mirror_back(detector(small.flip(-1), _LEAST), size[1])
    looks = [detector(seen, _LEAST) for seen in (small, _stretch_contrast(small), colour.gaussian_blur(small, 1.5))]
    looks = [_rescale(found, small, image) for found in (*looks, mirrored)]
    looks.append(_rescale(detector(large, _LEAST), large, image))
    box, points, score = (torch.cat([found[column] for found in looks]) for column in (1, 2, 3))
    look = torch.cat([torch.full_like(found[0], number) for number, found in enumerate(looks)])
    best = score.topk(min(_MOST, len(score))).indices
    return box[best], points[best], score[best], look[best]


def _mirror_back(found: Found, width: int) -> Found:
    """Detections in a mirrored image of this width, mirrored back."""
    frame, box, points, score = found
    points = torch.stack([width - 1 - points[..., 0], points[..., 1]], -1)[:, [1, 0, 2, 4, 3]]
    x1, y1, x2, y2 = box.unbind(-1)
    return frame, torch.stack([width - 1 - x2, y1, width - 1 - x1, y2], -1), points, score


def _rescale(found: Found, seen: Tensor, image: Tensor) -> Found:
    """Detections in a resized image, in pixels of the original."""
    frame, box, points, score = found
    ratio = box.new_tensor([image.shape[-1] / seen.shape[-1], image.shape[-2] / seen.shape[-2]])
    return frame, (box + 0.5) * ratio.repeat(2) - 0.5, (points + 0.5) * ratio - 0.5, score


def _stretch_contrast(image: Tensor) -> Tensor:
    """Each channel stretched from its 1st..99th percentile to 0..1, (1, 3, H, W)."""
    few = nnf.interpolate(image, (128, 128), mode="area").flatten(2)
    low, high = (few.quantile(share, -1)[..., None, None] for share in (0.01, 0.99))
    return ((image - low) / (high - low).clamp_min(0.05)).clamp(0, 1)


@torch.no_grad()
def swap_across_domains(
    image: Tensor,
    faces: FaceSet,
    source: PreparedSource,
    models: Models,
    *,
    harmony: Harmony | None = None,
    strength: float = 1.0,
    context: float = 1.5,
    resolution: int = 512,
) -> CrossDomainResult:
    """Swaps all given faces of an image (1, 3, H, W) 0..1, matched to its colours and texture.

    The crops are aligned, `resolution` px a side, and `context` (1..4) times as wide as the FFHQ crop. Later faces
    cover earlier ones. Raises ValueError for a context out of range.
    """
    if not 1 <= context <= 4:
        raise ValueError(f"context is {context}; it must be between 1 and 4")
    harmony = harmony or Harmony()
    image = clean(image).to(models.device)
    result, parts = image, [_align_with_context(image, faces[:0], context, resolution)]
    for row in range(len(faces)):
        crops = _swap_one(result, faces[[row]], source, harmony, strength, context, resolution)
        parts.append(crops)
        result = paste(result, crops)
    crops = join(parts)
    after, before = encode(result, faces, models.encoder), encode(image, faces, models.encoder)
    likeness = after @ source.identity.mean
    return CrossDomainResult(result, paste_mask(image, crops), crops, likeness, (after * before).sum(-1))


def _swap_one(
    image: Tensor,
    face: FaceSet,
    source: PreparedSource,
    harmony: Harmony,
    strength: float,
    context: float,
    resolution: int,
) -> Crops:
    swapper = source.swapper
    size = largest_size(swapper, resolution)
    narrow = swap(align(image, face, swapper.template, size), source.person, swapper, strength)
    wide = _align_with_context(image, face, context, resolution)
    across = geometry.compose(geometry.invert(narrow.matrix), wide.matrix)
    swapped = geometry.warp(narrow.pixels, across, resolution)
    cover = geometry.warp(narrow.mask, across, resolution, padding="zeros")
    swapped = harmonise(swapped, wide.pixels, wide.mesh, harmony)
    return replace(wide, pixels=torch.lerp(wide.pixels, swapped, cover), mask=_redraw_mask(cover))


def _align_with_context(image: Tensor, faces: FaceSet, context: float, size: int) -> Crops:
    """Aligned crops of an image, `context` times as wide as those of ffhq_512."""
    middle = (size - 1) / 2
    points = (geometry.template("ffhq_512", size).to(faces.landmarks) - middle) / context + middle
    matrix = geometry.similarity(faces.landmarks, points[None])
    pixels = geometry.warp(image, matrix, size, frame=faces.frame).float()
    landmarks, dense = (geometry.transform(part, matrix) for part in (faces.landmarks, faces.mesh))
    return Crops(pixels, torch.ones_like(pixels[:, :1]), matrix, landmarks, dense, faces.frame)


def _redraw_mask(cover: Tensor) -> Tensor:
    """A mask that is 1 wherever the swap covers anything, with a margin and a soft edge, (F, 1, S, S) 0..1."""
    size = cover.shape[-1]
    seam, border = max(2, round(_SEAM * size)), math.ceil(_BORDER * size)
    around = mask.grow(cover.gt(0.004).to(cover), seam)
    inner = torch.zeros_like(around)
    inner[..., border:-border, border:-border] = around[..., border:-border, border:-border]
    return mask.feather(inner, seam)


def harmonise(pixels: Tensor, target: Tensor, dense: Tensor, harmony: Harmony) -> Tensor:
    """Faces matched to the colours and texture of the target at the same place, (F, 3, S, S) 0..1 twice, mesh
    (F, 468, 2) in crop pixels -> (F, 3, S, S)."""
    size = pixels.shape[-1]
    parts = mask.features(dense, size)
    skin = mask.feather(mask.hull(dense, size), 0.04 * size) * (1 - parts)
    if harmony.colour:
        pixels = torch.lerp(pixels, _match_colour(pixels, target, skin), harmony.colour)
    if harmony.texture:
        pixels = _match_texture(pixels, target, skin, parts, harmony.texture)
    return pixels


def _match_colour(pixels: Tensor, target: Tensor, skin: Tensor) -> Tensor:
    """Pixels whose skin has the target's CIELAB mean, and its deviation within _SPREAD. Unlike
    `colour.match_statistics` this never raises the contrast of a flat face to that of a strongly lit one."""
    lab, goal = colour.to_lab(pixels), colour.to_lab(target)
    weight = skin / skin.sum((2, 3), keepdim=True).clamp_min(1e-6)
    mean, wanted = ((x * weight).sum((2, 3), keepdim=True) for x in (lab, goal))
    spread, wide = (
        ((x - middle).square() * weight).sum((2, 3), keepdim=True).clamp_min(1e-3).sqrt()
        for x, middle in ((lab, mean), (goal, wanted))
    )
    matched = colour.from_lab((lab - mean) * (wide / spread).clamp(*_SPREAD) + wanted).clamp(0, 1)
    return matched.where(skin.sum((1, 2, 3), keepdim=True) > 0, pixels)


def _match_texture(pixels: Tensor, target: Tensor, skin: Tensor, parts: Tensor, amount: float) -> Tensor:
    """Pixels whose frequency bands have the target's energy on the skin and on the features, matched separately.

    Where the target is smoother the band is attenuated. Where it is rougher, the target's own band is added on the
    skin, so much that the energies match if the two are independent, and the features' band is amplified by up to 25 %.
    """
    own, goal = _bands(pixels), _bands(target)
    out = own.pop()
    goal.pop()
    for band, wanted in zip(own, goal, strict=True):
        level, wish = _rms(band, skin), _rms(wanted, skin)
        gain = (wish / level).clamp_max(1)
        sharper = (_rms(wanted, parts) / _rms(band, parts)).clamp_max(_SHARPER)
        grain = wanted.clamp(-_OUTLIER * wish, _OUTLIER * wish) * (1 - (level / wish).square()).clamp_min(0).sqrt()
        matched = band * torch.lerp(gain.expand_as(parts), sharper.expand_as(parts), parts) + grain * (1 - parts)
        out = out + torch.lerp(band, matched, amount)
    return out.clamp(0, 1)


def _bands(pixels: Tensor) -> list[Tensor]:
    """Frequency bands, each a difference of two blurs an octave apart, then the remainder; their sum is the image."""
    bands, sigma = [], 1.0
    while sigma <= pixels.shape[-1] / 64:
        coarse = colour.gaussian_blur(pixels, sigma)
        bands.append(pixels - coarse)
        pixels, sigma = coarse, 2 * sigma
    return [*bands, pixels]


def _rms(band: Tensor, area: Tensor) -> Tensor:
    """Root mean square over a mask, (F, 3, S, S), (F, 1, S, S) -> (F, 1, 1, 1), at least 0.1 / 255."""
    energy = (band.square().mean(1, keepdim=True) * area).sum((2, 3), keepdim=True)
    return (energy / area.sum((2, 3), keepdim=True).clamp_min(1)).sqrt().clamp_min(0.1 / 255)
