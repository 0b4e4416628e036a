"""Scenes for training the detector: people pasted onto pictures without faces."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ..ops import geometry, mesh
from ..ops.boxes import inside
from . import augment
from .people import People

SIDE = 320  # px


@dataclass(frozen=True, slots=True)
class Scenes:
    """N scenes and the F faces in them."""

    pixels: Tensor  # (N, 3, 320, 320) 0..1
    frame: Tensor  # (F,) int64, scene of each face
    box: Tensor  # (F, 4) x1 y1 x2 y2, pixels
    points: Tensor  # (F, 5, 2) pixels
    clear: Tensor  # (F,) bool, false for faces too occluded, cut off or small to be required


def head(landmarks: Tensor, generator: Generator, size: tuple[int, int]) -> Tensor:
    """A soft mask around a face, (468, 2) -> (1, H, W) 0..1: an ellipse between the face and the whole head, or a
    box."""
    grid = geometry.pixel_grid(*size)
    x1, y1, x2, y2 = mesh.box(landmarks).tolist()
    wide, tall = (x2 - x1) / 2, (y2 - y1) / 2
    draw = torch.rand(4, generator=generator).tolist()
    grow = 1.02 + 0.55 * draw[0]
    centre = torch.tensor([(x1 + x2) / 2, (y1 + y2) / 2 - 0.25 * (grow - 1) * tall])
    away = (grid - centre).abs() / torch.tensor([wide * grow, tall * grow])
    edge = away.norm(dim=-1) if draw[1] < 0.75 else away.amax(-1) / 0.9
    return torch.sigmoid((1 - edge) * (6 + 50 * draw[2]))[None]


def place(
    scene: Tensor, picture: Tensor, matrix: Tensor, landmarks: Tensor, generator: Generator
) -> tuple[Tensor, tuple[int, int, int, int]] | None:
    """Pastes a person into a scene, in place. Returns the mask (1, h, w) and its rectangle x1 y1 x2 y2; None if it lies
    outside."""
    x1, y1, x2, y2 = mesh.box(landmarks).tolist()
    more = 0.35 * max(x2 - x1, y2 - y1)
    left, top = max(0, math.floor(x1 - more)), max(0, math.floor(y1 - 1.5 * more))
    right, bottom = min(SIDE, math.ceil(x2 + more)), min(SIDE, math.ceil(y2 + more))
    if right - left < 4 or bottom - top < 4:
        return None
    corner = torch.tensor([left, top], dtype=torch.float32)
    shifted = torch.cat([matrix[:, :2], matrix[:, 2:] - corner[:, None]], 1)
    size = (bottom - top, right - left)
    patch = geometry.warp(picture[None].float() / 255, shifted[None], size)[0]
    gain = torch.exp(torch.randn(3, 1, 1, generator=generator) * 0.06 + torch.randn(1, generator=generator) * 0.25)
    mask = head(landmarks - corner, generator, size)
    target = scene[:, top:bottom, left:right]
    target.lerp_((patch * gain).clamp(0, 1), mask.expand_as(patch))
    return mask, (left, top, right, bottom)


def similarity_for(landmarks: Tensor, size: float, centre: Tensor, roll: float) -> Tensor:
    """The matrix that gives a mesh (468, 2) this size (longer side, px), centre (2,) and roll (degrees), (2, 3)."""
    box = mesh.box(landmarks)
    scale = size / float((box[2:] - box[:2]).max())
    angle = math.radians(roll)
    linear = scale * torch.tensor([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    middle = (box[:2] + box[2:]) / 2
    return torch.cat([linear, (centre - linear @ middle)[:, None]], 1)


def background(pictures: Tensor, n: int, generator: Generator) -> Tensor:
    """Random parts of pictures without faces, zoomed and mirrored, (n, 3, 320, 320) 0..1."""
    rows = torch.randint(len(pictures), (n,), generator=generator)
    change = augment.jitter(n, SIDE, 20, 1.0, 0.0, generator)
    change[..., :2] *= augment.uniform(n, 1.0, 2.2, generator).view(n, 1, 1)
    centre = torch.full((2,), (SIDE - 1) / 2)
    shift = (torch.rand(n, 2, generator=generator) - 0.5) * SIDE * 0.5
    change[..., 2] = centre + shift - (change[..., :2] @ centre[:, None])[..., 0]
    out = geometry.warp(pictures[rows].float() / 255, change, SIDE, padding="reflection")
    flip = augment.often(n, 0.5, generator).view(n, 1, 1, 1)
    return torch.where(flip, out.flip(-1), out)


def make(people: People, pictures: Tensor, n: int, generator: Generator, damage: float = 0.6) -> Scenes:
    """n scenes: 15 % without a face, 25 % with one large portrait, the rest with one to nine faces of 12 to 230 px."""
    scenes = background(pictures, n, generator)
    frames, boxes, points, clear = [], [], [], []
    for index in range(n):
        kind, count, crowd = torch.rand(3, generator=generator).tolist()
        faces = 0 if kind < 0.15 else 1 if kind < 0.4 else 1 + int(count**2 * 9)
        if kind < 0.4 and kind >= 0.15:
            sizes = [120 + 190 * crowd]
        elif count > 0.8 and crowd > 0.5:  # a crowd: faces of similar size, close together
            sizes = (torch.rand(faces, generator=generator) * 0.5 + 1).mul(20 + 30 * crowd).tolist()
        else:
            sizes = torch.exp(augment.uniform(faces, math.log(12), math.log(230), generator)).tolist()
        first = len(boxes)
        for size in sorted(sizes, reverse=True):
            if float(torch.rand(1, generator=generator)) < 0.25:  # a distractor without a face, with the same mask
                other = int(torch.randint(len(pictures), (1,), generator=generator))
                spot = torch.rand(2, generator=generator) * SIDE
                fake = people.mesh[int(torch.randint(len(people), (1,), generator=generator))]
                matrix = similarity_for(fake, size, spot, 0.0)
                fake = geometry.transform(fake[None], matrix[None])[0]
                hide(boxes, clear, first, place(scenes[index], pictures[other], matrix, fake, generator))
            row = int(torch.multinomial(people.weight, 1, generator=generator))
            roll = (
                float(augment.uniform(1, -45, 45, generator))
                if float(torch.rand(1, generator=generator)) < 0.5
                else float(torch.randn(1, generator=generator) * 8)
            )
            picture, landmarks = people.pixels[row], people.mesh[row]
            if float(torch.rand(1, generator=generator)) < 0.5:
                picture = picture.flip(-1)
                landmarks = mesh.flipped(landmarks, SIDE)
            margin = -0.15 * size if crowd < 0.2 else 0.5 * size if size < 0.8 * SIDE else 0.4 * size
            centre = margin + torch.rand(2, generator=generator) * (SIDE - 2 * margin)
            matrix = similarity_for(landmarks, size, centre, roll)
            landmarks = geometry.transform(landmarks[None], matrix[None])[0]
            box = mesh.box(landmarks)
            if kind < 0.4:  # the whole portrait is the scene
                scenes[index] = geometry.warp(picture[None].float() / 255, matrix[None], SIDE)[0]
                done = (torch.ones(1, SIDE, SIDE), (0, 0, SIDE, SIDE))
            else:
                if any(float(inside(box, other)) > 0.25 for other in boxes[first:]):
                    continue
                done = place(scenes[index], picture, matrix, landmarks, generator)
                hide(boxes, clear, first, done)
            if done is None:
                continue
            shown = box.clamp(0, SIDE - 1)
            seen = (shown[2:] - shown[:2]).prod() / (box[2:] - box[:2]).prod()
            frames.append(index)
            boxes.append(box)
            points.append(mesh.five(landmarks))
            clear.append(bool(seen > 0.6) and size >= 16)
    pixels = augment.some(scenes, 0.15, generator, augment.occlude, scenes.roll(1, 0))
    pixels = augment.some(pixels, damage, generator, augment.degrade_scene)
    none = torch.zeros(0)
    return Scenes(
        pixels,
        torch.tensor(frames, dtype=torch.long),
        torch.stack(boxes) if boxes else none.view(0, 4),
        torch.stack(points) if points else none.view(0, 5, 2),
        torch.tensor(clear, dtype=torch.bool),
    )


def hide(
    boxes: list[Tensor], clear: list[bool], first: int, laid: tuple[Tensor, tuple[int, int, int, int]] | None
) -> None:
    """Marks faces from row `first` on as not clear, in place, if the pasted mask covers 40 % of their box."""
    if laid is None:
        return
    cover, (left, top, right, bottom) = laid
    x, y = torch.arange(left, right), torch.arange(top, bottom)
    for row in range(first, len(boxes)):
        x1, y1, x2, y2 = boxes[row].tolist()
        hidden = cover[0][(y >= y1) & (y <= y2)][:, (x >= x1) & (x <= x2)].sum()
        clear[row] &= float(hidden) < 0.4 * (x2 - x1) * (y2 - y1)
