"""What becomes of one photograph, in whichever process; donors and models that are not given are loaded once in
each."""

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
from typing import Protocol, cast

import numpy as np
import torch
from torch import Generator, Tensor

from ..faces.align import align
from ..faces.select import order
from ..hub import weights
from ..hub.store import oserror_as_bad_input
from ..io import images, provenance
from ..pipeline import Models, find, load_models
from ..surrogates.base import Surrogate
from ..surrogates.face_shape import Shape, reshape_faces
from ..surrogates.recipe import Pool, Recipe
from ..types import Crops
from .manifest import NORMAL, PROXY, Line

BESIDE = ".cscs-"  # how names of what is not finished begin
_OURS = re.compile(r"\d+_(gensrc|gendst)\.jpg(_face(thin|chubby)\.jpg)?")
_LENT: tuple[str, ...] = ("pixels", "landmarks", "mesh")  # what there is of a donor
Donors = tuple[list[str], Pool]  # whose faces may be lent, and these
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


class Photograph(Protocol):
    """A picture to make pairs of."""

    @property
    def name(self) -> str: ...  # among the training data; ends in .jpg

    @property
    def source(self) -> str: ...  # where it was found

    def read(self) -> Tensor:
        """(1, 3, H, W) float32 RGB 0..1. Raises ImageError if it cannot be read."""
        ...

    def sha256(self) -> str:
        """Of what it is stored as, hexadecimal."""
        ...


@dataclass(frozen=True, slots=True)
class PhotographFile:
    """A picture on disk."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name if self.path.suffix == ".jpg" else f"{self.path.name}.jpg"

    @property
    def source(self) -> str:
        return self.path.name

    def read(self) -> Tensor:
        return images.read(self.path)

    def sha256(self) -> str:
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class PhotographInMemory:
    """A picture without a file, (1, 3, H, W) RGB 0..1, known by its pixels: the same ones have the same name."""

    pixels: Tensor
    source: str

    @property
    def name(self) -> str:
        return f"{self.sha256()[:16]}.jpg"

    def read(self) -> Tensor:
        return self.pixels

    def sha256(self) -> str:
        return hashlib.sha256(images.to_pil(self.pixels[0]).tobytes()).hexdigest()


@dataclass(frozen=True)
class Tools:
    """What pairs are made with."""

    models: Models
    check_cancel: Callable[[], None] = lambda: None  # called now and then; may stop the work by raising


def number_of(*parts: object) -> int:
    """A number below 2^48 that depends on these things alone: others know nothing about it."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big")


def lend(size: int, tools: Tools | None, photograph: Photograph) -> tuple[np.ndarray, ...] | None:
    """A photograph's face as bytes, its five points and its mesh; None if there is none."""
    try:
        crop = _cut(photograph.read(), size, tools or _tools()).to("cpu")
    except images.ImageError:
        return None  # which is said when it is this picture's turn
    pixels = crop.pixels.mul(255).round().to(torch.uint8)
    return tuple(column.numpy() for column in (pixels, crop.landmarks, crop.mesh)) if len(crop) else None


def write_donors(path: Path, size: int, lent: dict[str, tuple[np.ndarray, ...]]) -> None:
    """What was lent, by name."""
    none = (np.zeros((0, 3, size, size), np.uint8), np.zeros((0, 5, 2), np.float32), np.zeros((0, 468, 2), np.float32))
    columns = [torch.from_numpy(np.concatenate(column)) for column in zip(none, *lent.values(), strict=True)]
    with oserror_as_bad_input(path):
        weights.write(path, dict(zip(_LENT, columns, strict=True)), {"names": json.dumps(list(lent))})


def make(
    plan: Plan, place: Place, tools: Tools | None, donors: Donors | None, photograph: Photograph
) -> Line | images.ImageError:
    """Writes all that a photograph becomes; what the manifest says of it, or why it cannot be read. Without tools and
    donors the process has its own, on the processor."""
    try:
        image = photograph.read()
    except images.ImageError as error:
        return error
    tools = tools or _tools()
    name = photograph.name
    crop = _cut(image, plan.size, tools)
    line = {"name": name, "source": photograph.source, "sha256": photograph.sha256(), "face": len(crop) > 0}
    if not len(crop):
        return line | {"skipped": "no face"}
    images.write(place.folder / NORMAL / name, crop.pixels[0])
    models = tools.models
    recipe = Recipe(models.encoder, models.landmarks, check_cancel=tools.check_cancel)
    names, pool = donors or _donors(place.donors, place.stamp)

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
def _tools() -> Tools:
    return Tools(load_models())


@lru_cache(maxsize=1)
def _donors(path: Path, stamp: int) -> Donors:
    return read_donors(path, torch.device("cpu"))


def read_donors(path: Path, device: torch.device) -> Donors:
    """What `write_donors` wrote, on a device."""
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
    return json.loads(notes["names"]), Pool.of(crops.to(device))


@torch.no_grad()
def _cut(image: Tensor, size: int, tools: Tools) -> Crops:
    """The largest face of a picture (1, 3, H, W), or none."""
    tools.check_cancel()
    image = image.to(tools.models.device)
    return align(image, order(find(image, tools.models), "large-small")[:1], size=size)


@contextmanager
def _placed(folder: Path, *parts: str) -> Iterator[Path]:
    """A folder to write to: moved to its place, and instead of what was there, at the end."""
    path, beside = folder.joinpath(*parts), folder / f"{BESIDE}{secrets.token_hex(4)}"
    with oserror_as_bad_input(path):
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
        images.write(folder / file, one.crops.pixels[0], _note(what))
        changes = one.changes[0] | {
            key: names[one.changes[0][key]] for key in ("donor", "other") if one.changes[0].get(key, -1) >= 0
        }
        similarity = float(cast(Tensor, one.similarity))  # the recipe has an encoder
        lines.append({"file": file, "seed": seed, "similarity": round(similarity, 4), "did": changes})
    return lines


def _bent(folder: Path, target: Crops, name: str, generator: Generator) -> dict[str, float]:
    """Writes a target with a thinner and with a chubbier face; by how much, by file."""
    amounts: dict[str, float] = {}
    for kind, way in (("thin", -1), ("chubby", 1)):
        amount = way * (0.3 + 0.7 * torch.rand(1, generator=generator))
        bent = reshape_faces(target, Shape.of(1, face=amount))
        file = f"{name}_face{kind}.jpg"
        images.write(folder / file, bent.crops.pixels[0], _note(_OTHER))
        amounts[file] = bent.changes[0]["face"]
    return amounts


def _note(what: str) -> dict[str, str]:
    said = f"Synthetic picture, made by software (cscs-face-swap) to train on: {what}."
    return provenance.synthetic("") | {"Description": said}
