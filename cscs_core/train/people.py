"""The training people: pictures with dense landmarks and teacher embeddings, held as uint8 tensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ..ops import mesh
from ..types import Crops

Split = Literal["train", "validation", "test"]
PICTURE, CROP = 320, 256  # px, sides of every picture and of the ffhq_512 crop in its centre


@dataclass(frozen=True, slots=True)
class People:
    """N pictures with one face each."""

    pixels: Tensor  # (N, 3, 320, 320) uint8
    points: Tensor  # (N, 5, 2) picture pixels, from the detector
    mesh: Tensor  # (N, 468, 2) picture pixels
    embedding: Tensor  # (N, 128) unit rows, from recogniser A
    weight: Tensor  # (N,) relative probability of drawing the row

    def __len__(self) -> int:
        return self.pixels.shape[0]


def split_rows(folder: Path, names: np.ndarray, sources: np.ndarray, split: Split) -> np.ndarray:
    """Row numbers of a split, (M,): split by row, or by person where one person has several rows."""
    key = np.arange(len(names))
    if folder.name == "omi_edits":
        key = np.array([int(str(source).split("_")[0]) for source in sources])
    digit = key % 10
    chosen = {"test": digit == 0, "validation": digit == 1, "train": digit > 1}[split]
    return np.flatnonzero(chosen)


def load_people(data: Path, split: Split, folders: tuple[str, ...] = ("omi", "fake", "gen", "omi_edits")) -> People:
    """All people of a split whose landmarks are reliable (confidence >= 10)."""
    weights = {"omi": 1.0, "fake": 1.0, "gen": 0.45, "omi_edits": 0.35}
    pixels, rows = [], []
    for name in folders:
        folder = data / "faces" / name
        table = np.load(data / "faces" / f"{name}.npz")
        keep = split_rows(folder, table["name"], table["source"], split)
        keep = keep[table["confidence"][keep] >= 10]
        for file in table["name"][keep]:
            with Image.open(folder / str(file)) as picture:
                pixels.append(torch.from_numpy(np.array(picture.convert("RGB"))).movedim(-1, 0))
        columns = [torch.from_numpy(table[key][keep]).float() for key in ("points5", "mesh468", "embedding_a")]
        rows.append((*columns, torch.full((len(keep),), weights[name])))
    return People(torch.stack(pixels), *(torch.cat(column) for column in zip(*rows, strict=True)))


def load_pictures(files: list[Path], side: int) -> Tensor:
    """Pictures resized to fit the short side and cropped at the centre, (N, 3, side, side) uint8."""
    out = []
    for file in files:
        with Image.open(file) as opened:
            picture = opened.convert("RGB")
        scale = side / min(picture.size)
        size = (max(side, round(picture.width * scale)), max(side, round(picture.height * scale)))
        picture = picture.resize(size, Image.Resampling.LANCZOS)
        left, top = (size[0] - side) // 2, (size[1] - side) // 2
        picture = picture.crop((left, top, left + side, top + side))
        out.append(torch.from_numpy(np.array(picture)).movedim(-1, 0))
    return torch.stack(out)


def crops_of(people: People) -> Crops:
    """The ffhq_512 crops of all people, 256 px, pixels uint8."""
    margin = (PICTURE - CROP) // 2
    count, inside = len(people), slice(margin, margin + CROP)
    points = people.mesh - margin
    return Crops(
        people.pixels[..., inside, inside],
        torch.ones(1, 1, CROP, CROP).expand(count, -1, -1, -1),
        torch.eye(2, 3).expand(count, -1, -1),
        mesh.five(points),
        points,
        torch.arange(count),
    )
