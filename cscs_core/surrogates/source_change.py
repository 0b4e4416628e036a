"""Applies a `Change` to faces: expression, head pose, light, surroundings and camera."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as nnf
from torch import Generator, Tensor

from ..faces.bend import (
    bend_to_mesh,
    displacement,
    flipped,
    interpolate_moves,
    plane_to_face,
    resample,
    wavy_outline,
    with_mesh,
)
from ..ops import colour, head_pose, mask, mesh, mesh_warp
from ..ops.camera import jpeg
from ..ops.mesh import NOSE
from ..types import Crops

_LOWER_LIPS = (mesh.LIPS[1:10], mesh.MOUTH[1:10])  # outer and inner edge, starting at the viewer's left corner
_UPPER_LIPS = (mesh.LIPS[:10:-1], mesh.MOUTH[:10:-1])
_STRIP = torch.tensor(
    [(0, 1, 19), (9, 10, 11)]
    + [corner for k in range(1, 9) for corner in ((k, k + 1, 20 - k), (k + 1, 19 - k, 20 - k))]
)  # triangles between the lips, as indices into mesh.MOUTH


@dataclass(frozen=True, slots=True)
class Change:
    """The changes to each of F faces, all (F,); 0 changes nothing."""

    seed: Tensor  # int64, for noise and random outlines
    left_lid: Tensor  # viewer's left; 1 shut, below 0 wider open
    right_lid: Tensor
    left_brow: Tensor  # 1 raised, -1 lowered
    right_brow: Tensor
    frown: Tensor  # 0..1 inner ends of the brows down and together
    smile: Tensor  # 1 corners of the mouth out and up, -1 down
    pucker: Tensor  # 1 rounded lips, -1 wide ones
    jaw: Tensor  # 1 mouth open, -1 shut
    yaw: Tensor  # degrees, added to the head's pose
    pitch: Tensor  # degrees
    lamp: Tensor  # 0..1 the lamp's share of the light
    lamp_yaw: Tensor  # degrees, direction of the lamp, same sign as for heads
    lamp_pitch: Tensor
    lamp_warmth: Tensor  # -1..1 its colour, blue to orange
    exposure: Tensor  # stops
    gamma: Tensor  # natural logarithm of the exponent
    warmth: Tensor  # -1..1 colour temperature, blue to orange
    saturation: Tensor  # natural logarithm of the factor
    blur: Tensor  # standard deviation, pixels at a crop side of 256
    noise: Tensor  # standard deviation, for pixels in 0..1
    jpeg: Tensor  # 0..1: just above 0 quality 95, 1 quality 30
    reach: Tensor  # margin around the face that is kept, relative to the face; 0 keeps all surroundings
    other: Tensor  # int64, row of the crop that gives new surroundings, -1 for smooth noise
    flip: Tensor  # bool

    def __len__(self) -> int:
        return len(self.seed)

    def __getitem__(self, index: Tensor | slice | list[int]) -> Change:
        return Change(*(getattr(self, field.name)[index] for field in fields(self)))

    def to(self, device: torch.device | str) -> Change:
        return Change(*(getattr(self, field.name).to(device) for field in fields(self)))

    @staticmethod
    def none(count: int) -> Change:
        """No change to any of `count` faces."""
        whole, real = torch.zeros(count, dtype=torch.long), torch.zeros(count)
        kinds = {"seed": whole, "other": whole - 1, "flip": whole.bool()}
        return Change(*(kinds.get(field.name, real) for field in fields(Change)))


def apply_change(crops: Crops, change: Change, others: Crops) -> Crops:
    """The crops with the changes applied; crops, change and others must be on one device."""
    if not len(crops):
        return crops
    made = _change_pose(crops, change)
    made = replace(made, pixels=_change_surroundings(made, change, others))
    pixels = relight(made, change)
    pixels = grade_colours(pixels, change)
    pixels = _add_camera_effects(pixels, change)
    return flipped(replace(made, pixels=pixels), change.flip)


def change_expression(points: Tensor, change: Change) -> tuple[Tensor, Tensor]:
    """Meshes with another expression, (F, 468, 2), and meshes for eyeballs and teeth, which do not follow lids and lips
    as these open and close, (F, 468, 2).

    Lids, brows and lips are moved, the outline and the nose are fixed, and points between them follow by a thin plate
    spline.
    """
    mean, affine = mesh.mean_face().to(points), plane_to_face(points)
    features = _feature_moves(mean, change) @ affine.mT
    covers = _opening_moves(mean, change) @ affine.mT + _closing_moves(points, change) + _lid_moves(points, change)
    control = (*mesh.OVAL, *NOSE, *mesh.LEFT_EYE, *mesh.RIGHT_EYE, *mesh.LEFT_BROW, *mesh.RIGHT_BROW)
    whole, still = interpolate_moves(
        torch.cat([features + covers, features]), (*control, *mesh.LIPS, *mesh.MOUTH)
    ).chunk(2)
    return points + whole, points + still


def _feature_moves(mean: Tensor, change: Change) -> Tensor:
    """Moves of lips and brows for smile, pucker, frown and brows, (F, 468, 2) outer-eye distances of the mean face."""
    row = (-1, 1)
    smile, pucker = change.smile.view(row), change.pucker.view(row)
    moves = mean.new_zeros(len(change), mesh.POINTS, 2)
    lips = [*mesh.LIPS, *mesh.MOUTH]
    u, below = mean[lips, 0] / mean[291, 0], mean[lips, 1] - mean[291, 1]
    wide = pucker.clamp_max(0)
    across = u * (0.06 * smile.clamp_min(0) * u.abs() - 0.10 * pucker.clamp_min(0) - 0.06 * wide)
    up = smile.clamp_min(0) * (0.085 * u.abs().pow(1.5) - 0.015) + 0.05 * smile.clamp_max(0) * u.square()
    thick = below * (0.25 * pucker.clamp_min(0) + 0.25 * wide - 0.15 * smile.clamp_min(0))
    moves[:, lips] = torch.stack([across, thick - up], -1)
    frown = change.frown.view(row)
    for brow, raised, side in ((mesh.LEFT_BROW, change.left_brow, -1), (mesh.RIGHT_BROW, change.right_brow, 1)):
        out = mean[list(brow), 0] * side
        inner = 1 - (out - out.amin()) / (out.amax() - out.amin())
        moves[:, list(brow), 0] -= side * 0.03 * frown * inner
        moves[:, list(brow), 1] += 0.05 * frown * inner - 0.07 * raised.view(row)
    return moves


def _opening_moves(mean: Tensor, change: Change) -> Tensor:
    """Moves of the lips when the jaw drops, (F, 468, 2) outer-eye distances: the lower lip moves in an arch."""
    jaw = change.jaw.clamp_min(0).view(-1, 1)
    moves = mean.new_zeros(len(change), mesh.POINTS, 2)
    u = mean[:, 0] / mean[291, 0]
    for lips in map(list, (mesh.LIPS, mesh.MOUTH)):
        moves[:, lips, 0] = -0.03 * jaw * u[lips]
    for lower in map(list, _LOWER_LIPS):
        moves[:, lower, 1] = 0.17 * jaw * (1 - u[lower].square()).clamp_min(0).sqrt()
    return moves


def _lid_moves(points: Tensor, change: Change) -> Tensor:
    """Moves of the lids, (F, 468, 2) pixels; the upper lid moves most."""
    moves = torch.zeros_like(points)
    for eye, shut in ((mesh.LEFT_EYE, change.left_lid), (mesh.RIGHT_EYE, change.right_lid)):
        lower, upper = list(eye[1:8]), list(eye[:8:-1])
        gap = (points[:, lower] - points[:, upper]) * shut.view(-1, 1, 1)
        moves[:, upper], moves[:, lower] = 0.87 * gap, -0.13 * gap
    return moves


def _closing_moves(points: Tensor, change: Change) -> Tensor:
    """Moves of the lips that close the mouth, (F, 468, 2) pixels; the lower lip moves most."""
    moves = torch.zeros_like(points)
    lower, upper = list(_LOWER_LIPS[1]), list(_UPPER_LIPS[1])
    gap = (points[:, lower] - points[:, upper]) * change.jaw.clamp_max(0).view(-1, 1, 1)
    for edge in range(2):
        moves[:, list(_LOWER_LIPS[edge])] += 0.8 * gap
        moves[:, list(_UPPER_LIPS[edge])] -= 0.2 * gap
    return moves


def _change_pose(crops: Crops, change: Change) -> Crops:
    """Crops with another expression and head pose, sampled once."""
    size = crops.size
    expression, still = change_expression(crops.mesh, change)
    points = head_pose.rotate(expression, change.yaw, change.pitch)
    still = points + still - expression
    pixels = resample(crops.pixels, displacement(crops.mesh, points, size))
    behind = resample(crops.pixels, displacement(crops.mesh, still, size))
    # Closing lids slide over the eyeballs; for eyes that open wider, what is behind the lids is unknown.
    for eye, shut in ((mesh.LEFT_EYE, change.left_lid), (mesh.RIGHT_EYE, change.right_lid)):
        cover = mask.polygon(points[:, list(eye)], size) * (shut > 0).view(-1, 1, 1, 1)
        pixels = pixels + (behind - pixels) * cover
    inner = list(mesh.MOUTH)
    teeth = mask.grow(mask.polygon(still[:, inner], size), -0.004 * size)
    inside = mask.polygon(points[:, inner], size)
    drawn = _draw_mouth(pixels, points)
    # An opening mouth keeps its visible teeth and gets a drawn inside; closing lips slide over the teeth.
    opened = drawn + (behind - drawn) * colour.gaussian_blur(teeth, 0.003 * size)
    jaw = change.jaw.view(-1, 1, 1, 1)
    cover = colour.gaussian_blur(inside, 0.002 * size) * (jaw != 0)
    pixels = pixels + (torch.where(jaw < 0, behind, opened) - pixels) * cover
    return with_mesh(crops, pixels, points)


def _draw_mouth(pixels: Tensor, points: Tensor) -> Tensor:
    """A drawn inside of an open mouth, (F, 3, S, S) 0..1: upper teeth, tongue and darkness, as bright as the face."""
    size = pixels.shape[-1]
    width = (points[:, 78] - points[:, 308]).norm(dim=-1).clamp_min(1)
    gap = nnf.pad(_lip_gaps(points) / width[:, None], (1, 1))  # 0 at both corners
    gap = torch.cat([gap, gap[:, 1:-1].flip(1)], 1)
    u = torch.cat([torch.linspace(-1, 1, 11), torch.linspace(1, -1, 11)[1:-1]]).to(gap)
    lower = (torch.arange(20, device=gap.device) < 11).to(gap)
    values = torch.stack([u.expand_as(gap), gap * lower, gap * (1 - lower)], -1)
    spread, _ = mesh_warp.interpolate(values, points[:, list(mesh.MOUTH)], _STRIP.to(points.device), size)
    u, below, above = spread.split(1, 1)  # -1..1 across; distances from the upper and the lower lip, mouth widths
    face = mask.hull(points, size)
    skin = (pixels * face).sum((2, 3), keepdim=True) / face.sum((2, 3), keepdim=True).clamp_min(1)
    light = skin.mean(1, keepdim=True)
    dark, tongue, teeth = (
        light * strength * pixels.new_tensor(tint).view(1, 3, 1, 1)
        for strength, tint in ((0.30, (1.0, 0.45, 0.42)), (0.70, (1.0, 0.55, 0.52)), (0.70, (1.0, 0.96, 0.90)))
    )
    teeth = (teeth + 0.45 * skin).clamp_max(0.85) * (0.5 + 0.5 * (below / 0.05).clamp(0, 1)) * (1 - 0.6 * u.square())
    teeth = teeth * (1 - 0.06 * (4 * math.pi * u).cos().abs().pow(12))  # eight of them
    out = dark + (tongue - dark) * torch.sigmoid((0.05 - above) / 0.02)
    return out + (teeth - out) * torch.sigmoid((0.13 - 0.06 * u.square() - below) / 0.012)


def _lip_gaps(points: Tensor) -> Tensor:
    """Distances between the lips, from one corner to the other, (F, 468, 2) -> (F, 9) pixels."""
    return (points[:, list(_LOWER_LIPS[1])] - points[:, list(_UPPER_LIPS[1])]).norm(dim=-1)


def relight(crops: Crops, change: Change) -> Tensor:
    """Pixels lit by a lamp, (F, 3, S, S) 0..1: shading of the head template, extended to the surroundings."""
    size, pose = crops.size, head_pose.fit(crops.mesh)
    facing = head_pose.normals().to(crops.mesh) @ pose.rotation.mT  # (F, 468, 3)
    angles = torch.deg2rad(torch.stack([change.lamp_yaw, change.lamp_pitch]))
    (side, height), (ahead, level) = angles.sin(), angles.cos()
    lamp = torch.stack([side * level, -height, ahead * level], -1)
    bright = (0.35 + facing @ lamp[..., None]).clamp_min(0) / 1.35
    values, inside = mesh_warp.interpolate(
        bright, crops.mesh, head_pose.triangles_far_to_near().to(bright.device), size
    )
    shown = inside.to(values)
    near, far = (colour.gaussian_blur(torch.cat([values, shown], 1), part * size) for part in (0.02, 0.15))
    spread = (near + 0.02 * far)[:, :1] / (near + 0.02 * far)[:, 1:].clamp_min(1e-5)
    mean = (values.sum((2, 3)) / shown.sum((2, 3)).clamp_min(1)).view(-1, 1, 1, 1).clamp_min(0.05)
    share = (0.8 * change.lamp).view(-1, 1, 1, 1)
    spread = mean + (spread - mean) * (1.5 * far[:, 1:]).clamp(0, 1)  # fades out towards the background
    tint = change.lamp_warmth.view(-1, 1, 1, 1) * crops.pixels.new_tensor([0.15, 0.0, -0.2]).view(1, 3, 1, 1)
    gain = 1 - share + share * spread / mean * tint.exp()
    out = (crops.pixels * gain.clamp_min(0.02).pow(1 / 2.2)).clamp(0, 1)
    return out.where(share > 0, crops.pixels)


def grade_colours(pixels: Tensor, change: Change) -> Tensor:
    """Pixels with another exposure, gamma, colour temperature and saturation, (F, 3, S, S) 0..1 -> (F, 3, S, S)."""
    exposure, gamma, warmth, saturation = (
        value.view(-1, 1, 1, 1) for value in (change.exposure, change.gamma, change.warmth, change.saturation)
    )
    out = pixels.clamp_min(1e-4) ** gamma.exp()
    out = out * (warmth * pixels.new_tensor([0.1, 0.0, -0.12]).view(1, 3, 1, 1) + exposure / 2.2 * math.log(2)).exp()
    grey = out.mean(1, keepdim=True)
    out = (grey + (out - grey) * saturation.exp()).clamp(0, 1)
    same = (exposure == 0) & (gamma == 0) & (warmth == 0) & (saturation == 0)
    return pixels.where(same, out)


def _change_surroundings(crops: Crops, change: Change, others: Crops) -> Tensor:
    """Pixels (F, 3, S, S) with another person's hair and background, or smooth noise, around the face."""
    rows = (change.reach > 0).nonzero()[:, 0]
    if not len(rows):
        return crops.pixels
    size, mine = crops.size, crops[rows]
    reach, other, seeds = change.reach[rows], change.other[rows], change.seed[rows].tolist()
    theirs = others[other.clamp_min(0)] if len(others) else mine
    hair = bend_to_mesh(theirs, mine.mesh).pixels
    hull = mask.hull(mine.mesh, size)
    level = [(pixels * hull).sum((2, 3), keepdim=True) for pixels in (mine.pixels, hair)]
    hair = (hair * (level[0] / level[1].clamp_min(1e-3)).clamp(0.6, 1.7)).clamp(0, 1)  # skin beside skin
    draws = [Generator().manual_seed(seed) for seed in seeds]
    grey, tint, cloud = (
        torch.stack([torch.rand(*shape, generator=one) for one in draws]).to(crops.pixels)
        for shape in ((1, 1, 1), (3, 1, 1), (3, 5, 5))
    )
    cloud = grey + 0.3 * (tint - 0.5) + 0.25 * (cloud - 0.5)
    cloud = nnf.interpolate(cloud, (size, size), mode="bicubic").clamp(0, 1)
    around = torch.where((other < 0).view(-1, 1, 1, 1), cloud, hair)
    own = mask.feather(wavy_outline(mine.mesh, reach, seeds, size), 0.04 * size)
    return crops.pixels.index_copy(0, rows, around + (mine.pixels - around) * own)


def _add_camera_effects(pixels: Tensor, change: Change) -> Tensor:
    """Pixels (F, 3, S, S) with camera effects: blur, noise and JPEG compression, each face by its own amounts."""
    size = pixels.shape[-1]
    out = list(pixels.split(1))
    # One face at a time: each has its own blur and seed.
    for row, (blur, noise, seed) in enumerate(
        zip(change.blur.tolist(), change.noise.tolist(), change.seed.tolist(), strict=True)
    ):
        out[row] = colour.gaussian_blur(out[row], blur * size / 256)
        if noise > 0:
            grain = torch.randn(out[row].shape, generator=Generator().manual_seed(seed + 1)).to(pixels)
            out[row] = (out[row] + noise * grain).clamp(0, 1)
    photographs = torch.cat(out)
    coded = jpeg(photographs, 95 - 65 * change.jpeg)
    return coded.where((change.jpeg > 0).view(-1, 1, 1, 1), photographs)
