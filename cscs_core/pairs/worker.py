"""Makes the pairs of one photograph, in any process. Donors and models not given are loaded once per process."""

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

BESIDE = ".cscs-"  # prefix of unfinished files
_OURS = re.compile(r"\d+_(gensrc|gendst)\.jpg(_face(thin|chubby)\.jpg)?")
_DONOR_TENSORS: tuple[str, ...] = ("pixels", "landmarks", "mesh")  # tensors stored for each donor
Donors = tuple[list[str], Pool]  # names of the donors' photographs, and their faces
_SAME, _OTHER = "the person of a photograph", "somebody else in the place of a photograph's person"


@dataclass(frozen=True, slots=True)
class Plan:
    """The options that all pairs of a folder share."""

    size: int  # px, crop side
    seed: int
    count: int  # source surrogates per photograph, and target surrogates


@dataclass(frozen=True, slots=True)
class Place:
    """The output folder and the donors."""

    folder: Path
    donors: Path
    stamp: int  # modification time of the donors' file, which detects that it was replaced


class Photograph(Protocol):
    """A photograph to make pairs from."""

    @property
    def name(self) -> str: ...  # file name in the training data; ends in .jpg

    @property
    def source(self) -> str: ...  # original name

    def read(self) -> Tensor:
        """(1, 3, H, W) float32 RGB 0..1. Raises ImageError if it cannot be read."""
        ...

    def sha256(self) -> str:
        """Hexadecimal hash of the file, or of the pixels."""
        ...


@dataclass(frozen=True, slots=True)
class PhotographFile:
    """A photograph on disk."""

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
    """A photograph in memory, (1, 3, H, W) RGB 0..1, named by the hash of its pixels."""

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
    """The models, and a cancel check."""

    models: Models
    check_cancel: Callable[[], None] = lambda: None  # called between steps; may stop the work by raising


def number_of(*parts: object) -> int:
    """A seed below 2^48, a hash of the parts; seeds of different parts are independent."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode("utf-8", "surrogateescape")).digest()
    return int.from_bytes(digest[:6], "big")


def lend(size: int, tools: Tools | None, photograph: Photograph) -> tuple[np.ndarray, ...] | None:
    """The largest face of a photograph as a donor: pixels (1, 3, S, S) uint8, landmarks (1, 5, 2), mesh (1, 468, 2);
    None without a face."""
    try:
        crop = _crop_largest_face(photograph.read(), size, tools or _default_tools()).to("cpu")
    except images.ImageError:
        return None  # reported when its pairs are made
    pixels = crop.pixels.mul(255).round().to(torch.uint8)
    return tuple(column.numpy() for column in (pixels, crop.landmarks, crop.mesh)) if len(crop) else None


def write_donors(path: Path, size: int, lent: dict[str, tuple[np.ndarray, ...]]) -> None:
    """Writes the donors' faces, given by name. Raises BadInput if the file cannot be written."""
    none = (np.zeros((0, 3, size, size), np.uint8), np.zeros((0, 5, 2), np.float32), np.zeros((0, 468, 2), np.float32))
    columns = [torch.from_numpy(np.concatenate(column)) for column in zip(none, *lent.values(), strict=True)]
    with oserror_as_bad_input(path):
        weights.write(path, dict(zip(_DONOR_TENSORS, columns, strict=True)), {"names": json.dumps(list(lent))})


def make(
    plan: Plan, place: Place, tools: Tools | None, donors: Donors | None, photograph: Photograph
) -> Line | images.ImageError:
    """Writes all files of a photograph and returns its line for the manifest, or the error if it cannot be read.
    Without tools and donors the process loads its own, on the CPU."""
    try:
        image = photograph.read()
    except images.ImageError as error:
        return error
    tools = tools or _default_tools()
    name = photograph.name
    crop = _crop_largest_face(image, plan.size, tools)
    line = {"name": name, "source": photograph.source, "sha256": photograph.sha256(), "face": len(crop) > 0}
    if not len(crop):
        return line | {"skipped": "no face"}
    images.write(place.folder / NORMAL / name, crop.pixels[0])
    models = tools.models
    recipe = Recipe(models.encoder, models.landmarks, check_cancel=tools.check_cancel)
    names, pool = donors or _cached_donors(place.donors, place.stamp)

    def several(make: Callable[[Crops, Pool, Generator], Surrogate], kind: str) -> dict[int, Surrogate]:
        """The accepted surrogates, by the seed of their generator."""
        seeds = [number_of(plan.seed, name, kind, number) for number in range(plan.count)]
        made = {seed: make(crop, pool, Generator().manual_seed(seed)) for seed in seeds}
        return {seed: one for seed, one in made.items() if len(one)}

    sources = several(recipe.sources, "source")
    if not sources:
        return line | {"skipped": f"rejected: no picture of the same person in {recipe.tries} tries"}
    targets = several(recipe.targets, "target")
    if not targets:
        return line | {"skipped": f"rejected: no picture of somebody else in {recipe.tries} tries"}
    with _replacing_folder(place.folder, PROXY, name) as beside:
        images.write(beside / name, crop.pixels[0])
        line["sources"] = _write_surrogates(beside, sources, "gensrc", _SAME, names)
        line["targets"] = _write_surrogates(beside, targets, "gendst", _OTHER, names)
        for target, one in zip(targets.values(), line["targets"], strict=True):
            one["bent"] = _write_bent(beside, target.crops, one["file"], Generator().manual_seed(one["seed"] + 1))
    return line


@cache
def _default_tools() -> Tools:
    return Tools(load_models())


@lru_cache(maxsize=1)
def _cached_donors(path: Path, stamp: int) -> Donors:
    return read_donors(path, torch.device("cpu"))


def read_donors(path: Path, device: torch.device) -> Donors:
    """The names and faces written by `write_donors`, on a device. Raises BadInput if the file cannot be read."""
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
def _crop_largest_face(image: Tensor, size: int, tools: Tools) -> Crops:
    """The crop of the largest face in an image (1, 3, H, W); no rows without a face."""
    tools.check_cancel()
    image = image.to(tools.models.device)
    return align(image, order(find(image, tools.models), "large-small")[:1], size=size)


@contextmanager
def _replacing_folder(folder: Path, *parts: str) -> Iterator[Path]:
    """A temporary folder to write to, which replaces the final one at the end."""
    path, beside = folder.joinpath(*parts), folder / f"{BESIDE}{secrets.token_hex(4)}"
    with oserror_as_bad_input(path):
        beside.mkdir()
        try:
            yield beside
            for other in sorted(path.iterdir()) if path.is_dir() else []:
                if not _OURS.fullmatch(other.name) and not (beside / other.name).exists():
                    shutil.copy2(other, beside)  # a file made elsewhere is kept
            shutil.rmtree(path, ignore_errors=True)
            os.replace(beside, path)
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _write_surrogates(folder: Path, made: dict[int, Surrogate], kind: str, what: str, names: list[str]) -> list[Line]:
    """Writes each surrogate; returns their entries for the manifest: seed, changes, donors, and cosine to the
    photograph."""
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


def _write_bent(folder: Path, target: Crops, name: str, generator: Generator) -> dict[str, float]:
    """Writes a target with a thinner and with a chubbier face; returns the amounts by file name."""
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
