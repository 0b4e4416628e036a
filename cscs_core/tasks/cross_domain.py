"""From paintings to photographs and back: faces found in either, and a swapped face that looks made as its picture is.

The faces come back laid into their picture and, with some of the picture around each, as crops to be redrawn: `paste`
of the crops as they are is the picture, bit for bit.
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

AGREEMENT = 0.45  # mean score of two looks, see find_painted: finds a face in 7 of 100 pictures that show none
_SURE = 0.5  # faces that the plain look finds with this score need no other look
_LONGEST = 1280  # px, of the pictures that are looked at
_LEAST = 0.1  # score of a face in one look that is counted at all
_MOST = 1000  # such faces that are compared with each other
_SAME = 0.4  # IoU from which two boxes are one face
_SEAM = 0.02  # of the crop side: how far around the swapped face a redrawn one may differ
_BORDER = 0.04  # of the crop side, where nothing is laid back: Paste Faces fades there
_SPREAD = (0.8, 1.25)  # how far contrast and colourfulness of the skin may be changed, as factors
_SHARPER = 1.25  # how much more detail eyes, brows and mouth may get: more makes a brow a stroke of ink
_OUTLIER = 2.5  # deviations: what of the target's texture is stronger is a line of its face, no grain


@dataclass(frozen=True)
class Harmony:
    """How much a swapped face takes on of the picture it is laid into; 0 nothing .. 1 all of it."""

    colour: float = 0.5  # mean and deviation of the skin in CIELAB
    texture: float = 0.7  # strength of the skin's detail, band by band

    def __post_init__(self):
        for name, value in {"colour": self.colour, "texture": self.texture}.items():
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; it must be between 0 and 1")


@dataclass(frozen=True)
class CrossDomainResult:
    """A picture with swapped faces, and each of them to be redrawn."""

    image: Tensor  # (1, 3, H, W) float32, 0..1: `paste` of the crops
    mask: Tensor  # (1, 1, H, W) how much of each pixel is the crops', 0..1
    crops: Crops  # F faces with their surroundings; the mask is where they may be redrawn
    after: Tensor  # (F,) cosine of each face and the source
    before: Tensor  # (F,) cosine of each face and the one that was there


@torch.no_grad()
def find_painted(image: Tensor, models: Models, threshold: float = AGREEMENT) -> FaceSet:
    """The faces of a picture (1, 3, H, W), painted or faded too, best score first.

    Where the plain look finds none, five are compared: as it is, mirrored, with its contrast stretched, softened (no
    canvas then) and enlarged. The score is the mean of a face's two best looks, and must reach the threshold.
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
    dense = locate(_stretched(image), frame, points[kept], models.landmarks)
    return FaceSet(frame, box[kept], mesh.five(dense), dense, agreed, torch.full_like(frame, -1))


def _candidates(image: Tensor, detector: Detector) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Boxes, points and scores of all looks in pixels of the picture, and which look each is from, best score first."""
    shrink = min(1.0, _LONGEST / max(image.shape[-2:]))
    size = [max(1, round(side * shrink)) for side in image.shape[-2:]]
    small = image if shrink == 1 else nnf.interpolate(image, size, mode="bilinear", antialias=True)
    large = nnf.interpolate(small, scale_factor=1.5, mode="bilinear")
    mirrored = _mirrored(detector(small.flip(-1), _LEAST), size[1])
    looks = [detector(seen, _LEAST) for seen in (small, _stretched(small), colour.gaussian_blur(small, 1.5))]
    looks = [_scaled(found, small, image) for found in (*looks, mirrored)]
    looks.append(_scaled(detector(large, _LEAST), large, image))
    box, points, score = (torch.cat([found[column] for found in looks]) for column in (1, 2, 3))
    look = torch.cat([torch.full_like(found[0], number) for number, found in enumerate(looks)])
    best = score.topk(min(_MOST, len(score))).indices
    return box[best], points[best], score[best], look[best]


def _mirrored(found: Found, width: int) -> Found:
    """What was found in a mirrored picture, as it lies in the picture."""
    frame, box, points, score = found
    points = torch.stack([width - 1 - points[..., 0], points[..., 1]], -1)[:, [1, 0, 2, 4, 3]]
    x1, y1, x2, y2 = box.unbind(-1)
    return frame, torch.stack([width - 1 - x2, y1, width - 1 - x1, y2], -1), points, score


def _scaled(found: Found, seen: Tensor, image: Tensor) -> Found:
    """What was found in a picture of another size, in pixels of the picture."""
    frame, box, points, score = found
    ratio = box.new_tensor([image.shape[-1] / seen.shape[-1], image.shape[-2] / seen.shape[-2]])
    return frame, (box + 0.5) * ratio.repeat(2) - 0.5, (points + 0.5) * ratio - 0.5, score


def _stretched(image: Tensor) -> Tensor:
    """Each channel stretched so that all but its darkest and brightest hundredth fill 0..1, (1, 3, H, W)."""
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
    """The person on all given faces of a picture (1, 3, H, W), in its colours and texture.

    The crops are upright, `resolution` px a side, and show `context` times as much as the FFHQ crop of a face. A later
    face lies over an earlier one, in the picture and in the crop of the later one.
    """
    if not 1 <= context <= 4:
        raise ValueError(f"context is {context}; it must be between 1 and 4")
    harmony = harmony or Harmony()
    image = clean(image).to(models.device)
    result, parts = image, [_cut(image, faces[:0], context, resolution)]
    for row in range(len(faces)):
        crops = _cross_one(result, faces[[row]], source, harmony, strength, context, resolution)
        parts.append(crops)
        result = paste(result, crops)
    crops = join(parts)
    after, before = encode(result, faces, models.encoder), encode(image, faces, models.encoder)
    likeness = after @ source.identity.mean
    return CrossDomainResult(result, paste_mask(image, crops), crops, likeness, (after * before).sum(-1))


def _cross_one(
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
    wide = _cut(image, face, context, resolution)
    across = geometry.compose(geometry.invert(narrow.matrix), wide.matrix)
    swapped = geometry.warp(narrow.pixels, across, resolution)
    cover = geometry.warp(narrow.mask, across, resolution, padding="zeros")
    swapped = harmonise(swapped, wide.pixels, wide.mesh, harmony)
    return replace(wide, pixels=torch.lerp(wide.pixels, swapped, cover), mask=_around(cover))


def _cut(image: Tensor, faces: FaceSet, context: float, size: int) -> Crops:
    """Faces upright with their surroundings, as `align` would cut them with a template of its own."""
    middle = (size - 1) / 2
    points = (geometry.template("ffhq_512", size).to(faces.landmarks) - middle) / context + middle
    matrix = geometry.similarity(faces.landmarks, points[None])
    pixels = geometry.warp(image, matrix, size, frame=faces.frame).float()
    landmarks, dense = (geometry.transform(part, matrix) for part in (faces.landmarks, faces.mesh))
    return Crops(pixels, torch.ones_like(pixels[:, :1]), matrix, landmarks, dense, faces.frame)


def _around(cover: Tensor) -> Tensor:
    """1 wherever there is any cover, and a soft edge around it, (F, 1, S, S)."""
    size = cover.shape[-1]
    seam, border = max(2, round(_SEAM * size)), math.ceil(_BORDER * size)
    around = mask.grow(cover.gt(0.004).to(cover), seam)
    inner = torch.zeros_like(around)
    inner[..., border:-border, border:-border] = around[..., border:-border, border:-border]
    return mask.feather(inner, seam)


def harmonise(pixels: Tensor, target: Tensor, dense: Tensor, harmony: Harmony) -> Tensor:
    """Faces in the colours and with the texture of others that lie in the same place, (F, 3, S, S) twice, mesh (F, 468,
    2) in their pixels -> (F, 3, S, S)."""
    size = pixels.shape[-1]
    parts = mask.features(dense, size)
    skin = mask.feather(mask.hull(dense, size), 0.04 * size) * (1 - parts)
    if harmony.colour:
        pixels = torch.lerp(pixels, _recoloured(pixels, target, skin), harmony.colour)
    if harmony.texture:
        pixels = _textured(pixels, target, skin, parts, harmony.texture)
    return pixels


def _recoloured(pixels: Tensor, target: Tensor, skin: Tensor) -> Tensor:
    """Pictures whose skin has the target's mean CIELAB colour, and its deviation as far as _SPREAD allows. Unlike
    `colour.match_statistics` it never blows up the contrast of a flat face to that of a strongly lit one."""
    lab, goal = colour.to_lab(pixels), colour.to_lab(target)
    weight = skin / skin.sum((2, 3), keepdim=True).clamp_min(1e-6)
    mean, wanted = ((x * weight).sum((2, 3), keepdim=True) for x in (lab, goal))
    spread, wide = (
        ((x - middle).square() * weight).sum((2, 3), keepdim=True).clamp_min(1e-3).sqrt()
        for x, middle in ((lab, mean), (goal, wanted))
    )
    matched = colour.from_lab((lab - mean) * (wide / spread).clamp(*_SPREAD) + wanted).clamp(0, 1)
    return matched.where(skin.sum((1, 2, 3), keepdim=True) > 0, pixels)


def _textured(pixels: Tensor, target: Tensor, skin: Tensor, parts: Tensor, amount: float) -> Tensor:
    """Pictures whose bands are as strong as the target's on skin and on the features, each by itself.

    Where the target is smoother, the band is weakened; where it is rougher, its own band is laid on the skin, as much
    as makes up the energy if the two are independent, and the features' band is amplified by up to a quarter.
    """
    own, goal = _bands(pixels), _bands(target)
    out = own.pop()
    goal.pop()
    for band, wanted in zip(own, goal, strict=True):
        level, wish = _strength(band, skin), _strength(wanted, skin)
        gain = (wish / level).clamp_max(1)
        sharper = (_strength(wanted, parts) / _strength(band, parts)).clamp_max(_SHARPER)
        grain = wanted.clamp(-_OUTLIER * wish, _OUTLIER * wish) * (1 - (level / wish).square()).clamp_min(0).sqrt()
        matched = band * torch.lerp(gain.expand_as(parts), sharper.expand_as(parts), parts) + grain * (1 - parts)
        out = out + torch.lerp(band, matched, amount)
    return out.clamp(0, 1)


def _bands(pixels: Tensor) -> list[Tensor]:
    """Differences of ever wider blurs, an octave each, and what remains; their sum is the picture."""
    bands, sigma = [], 1.0
    while sigma <= pixels.shape[-1] / 64:
        coarse = colour.gaussian_blur(pixels, sigma)
        bands.append(pixels - coarse)
        pixels, sigma = coarse, 2 * sigma
    return [*bands, pixels]


def _strength(band: Tensor, area: Tensor) -> Tensor:
    """Root mean square in an area, (F, 3, S, S), (F, 1, S, S) -> (F, 1, 1, 1), never 0."""
    energy = (band.square().mean(1, keepdim=True) * area).sum((2, 3), keepdim=True)
    return (energy / area.sum((2, 3), keepdim=True).clamp_min(1)).sqrt().clamp_min(0.1 / 255)
