"""What becomes of one photograph, in whichever process; models and donors are loaded once in each."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Generator, Tensor

from . import images, provenance, weights
from .adapt import Shape, reshaped
from .align import align
from .pair_manifest import Line
from .pair_recipe import Pool, Recipe
from .pipeline import Models, find, load_models
from .select import order
from .store import writing
from .surrogate import Surrogate
from .train.swap_data import NORMAL, PROXY
from .types import Crops

BESIDE = ".cscs-"  # how names of what is not finished begin
_OURS = re.compile(r"\d+_(gensrc|gendst)\.jpg(_face(thin|chubby)\.jpg)?")
_LENT: tuple[str, ...] = ("pixels", "landmarks", "mesh")  # what there is of a donor
_SAME, _OTHER = "the person of a photograph", "somebody else in the place of a photograph's person"


@dataclass(frozen=True, slots=True)
class Plan:
    """What all pictures of a folder have in common."""

    size: int  # px, side of a crop
    seed: int
    count: int  # sources of each photograph, and targets


@dataclass(frozen=True, slots=True)
class Place:
    """Where pictures go, and who lends."""

    folder: Path
    donors: Path
    stamp: int  # tells the donors from others whose file had this name


def name_of(photograph: Path) -> str:
    """What a photograph is called among the training data."""
    return photograph.name if photograph.suffix == ".jpg" else f"{photograph.name}.jpg"


def number_of(*parts: object) -> int:
    """A number below 2^48 that depends on these things alone: others know nothing about it."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big")


def lend(size: int, photograph: Path) -> tuple[np.ndarray, ...] | None:
    """A photograph's face as bytes, its five points and its mesh; None if there is none."""
    try:
        crop = _cut(images.read(photograph), size)
    except images.ImageError:
        return None  # which is said when it is this picture's turn
    pixels = crop.pixels.mul(255).round().to(torch.uint8)
    return tuple(column.numpy() for column in (pixels, crop.landmarks, crop.mesh)) if len(crop) else None


def write_donors(path: Path, size: int, lent: dict[str, tuple[np.ndarray, ...]]) -> None:
    """What was lent, by name."""
    none = (np.zeros((0, 3, size, size), np.uint8), np.zeros((0, 5, 2), np.float32), np.zeros((0, 468, 2), np.float32))
    columns = [torch.from_numpy(np.concatenate(column)) for column in zip(none, *lent.values(), strict=True)]
    with writing(path):
        weights.write(path, dict(zip(_LENT, columns, strict=True)), {"names": json.dumps(list(lent))})


def make(plan: Plan, place: Place, photograph: Path) -> Line | images.ImageError:
    """Writes all that a photograph becomes; what the manifest says of it, or why it cannot be read."""
    try:
        image = images.read(photograph)
    except images.ImageError as error:
        return error
    name = name_of(photograph)
    content = hashlib.sha256(photograph.read_bytes()).hexdigest()
    crop = _cut(image, plan.size)
    line = {"name": name, "source": photograph.name, "sha256": content, "face": len(crop) > 0}
    if not len(crop):
        return line | {"skipped": "no face"}
    images.write(place.folder / NORMAL / name, crop.pixels[0])
    models = _models()
    recipe = Recipe(models.encoder, models.landmarks)
    names, pool = _donors(place.donors, place.stamp)

    def several(make: Callable[[Crops, Pool, Generator], Surrogate], kind: str) -> dict[int, Surrogate]:
        """What passed, by the seed of its generator."""
        seeds = [number_of(plan.seed, name, kind, number) for number in range(plan.count)]
        made = {seed: make(crop, pool, Generator().manual_seed(seed)) for seed in seeds}
        return {seed: one for seed, one in made.items() if len(one)}

    sources = several(recipe.sources, "source")
    if not sources:
        return line | {"skipped": f"rejected: no picture of the same person in {recipe.tries} tries"}
    targets = several(recipe.targets, "target")
    if not targets:
        return line | {"skipped": f"rejected: no picture of somebody else in {recipe.tries} tries"}
    with _placed(place.folder, PROXY, name) as beside:
        images.write(beside / name, crop.pixels[0])
        line["sources"] = _written(beside, sources, "gensrc", _SAME, names)
        line["targets"] = _written(beside, targets, "gendst", _OTHER, names)
        for target, one in zip(targets.values(), line["targets"], strict=True):
            one["bent"] = _bent(beside, target.crops, one["file"], Generator().manual_seed(one["seed"] + 1))
    return line


@cache
def _models() -> Models:
    return load_models()


@lru_cache(maxsize=1)
def _donors(path: Path, stamp: int) -> tuple[list[str], Pool]:
    """Whose faces may be lent, and these."""
    tensors, notes = weights.read(path)
    count, size = len(tensors["pixels"]), tensors["pixels"].shape[-1]
    crops = Crops(
        tensors["pixels"],
        torch.ones(1, 1, size, size).expand(count, -1, -1, -1),
        torch.eye(2, 3).expand(count, -1, -1),
        tensors["landmarks"],
        tensors["mesh"],
        torch.arange(count),
    )
    return json.loads(notes["names"]), Pool.of(crops)


@torch.no_grad()
def _cut(image: Tensor, size: int) -> Crops:
    """The largest face of a picture (1, 3, H, W), or none."""
    return align(image, order(find(image, _models()), "large-small")[:1], size=size)


@contextmanager
def _placed(folder: Path, *parts: str) -> Iterator[Path]:
    """A folder to write to: moved to its place, and instead of what was there, at the end."""
    path, beside = folder.joinpath(*parts), folder / f"{BESIDE}{secrets.token_hex(4)}"
    with writing(path):
        beside.mkdir()
        try:
            yield beside
            for other in sorted(path.iterdir()) if path.is_dir() else []:
                if not _OURS.fullmatch(other.name) and not (beside / other.name).exists():
                    shutil.copy2(other, beside)  # made elsewhere
            shutil.rmtree(path, ignore_errors=True)
            os.replace(beside, path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _written(folder: Path, made: dict[int, Surrogate], kind: str, what: str, names: list[str]) -> list[Line]:
    """Writes each; what was done with the help of whom, and how alike it is to the photograph."""
    lines: list[Line] = []
    for number, (seed, one) in enumerate(made.items()):
        file = f"{number}_{kind}.jpg"
        images.write(folder / file, one.crops.pixels[0], **_note(what))
        did = one.did[0] | {key: names[one.did[0][key]] for key in ("donor", "other") if one.did[0].get(key, -1) >= 0}
        similarity = float(cast(Tensor, one.similarity))  # the recipe has an encoder
        lines.append({"file": file, "seed": seed, "similarity": round(similarity, 4), "did": did})
    return lines


def _bent(folder: Path, target: Crops, name: str, generator: Generator) -> dict[str, float]:
    """Writes a target with a thinner and with a chubbier face; by how much, by file."""
    amounts: dict[str, float] = {}
    for kind, way in (("thin", -1), ("chubby", 1)):
        amount = way * (0.3 + 0.7 * torch.rand(1, generator=generator))
        bent = reshaped(target, Shape.of(1, face=amount))
        file = f"{name}_face{kind}.jpg"
        images.write(folder / file, bent.crops.pixels[0], **_note(_OTHER))
        amounts[file] = bent.did[0]["face"]
    return amounts


def _note(what: str) -> dict[str, str]:
    said = f"Synthetic picture, made by software (cscs-face-swap) to train on: {what}."
    return provenance.synthetic("") | {"Description": said}
