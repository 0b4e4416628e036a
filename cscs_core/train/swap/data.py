"""Where training pairs come from: tensors, or the folders of the CSCS release.

    FOLDER/normal_data/*.jpg                         photographs
    FOLDER/proxy_data/NAME/NAME                      a photograph: what a swap should give
                          /*_gensrc.jpg              the same person otherwise: sources
                          /*_gendst.jpg              somebody else in the same place: targets
                          /*_facethin.jpg, *_facechubby.jpg   targets with another shape of face

All are upright ffhq_512 crops, square, of any side.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol, TypeVar

import torch
import torch.nn.functional as nnf
from torch import Generator, Tensor

from ...io import images
from ...io.files import BadInput
from ...pairs.manifest import NORMAL, PROXY

_ALL = slice(None)
_FEWEST = 4  # photographs, or proxies, to train with
_HELD_OUT = 32  # at most, of each
_READERS = 8  # pictures decoded at once
_Item = TypeVar("_Item")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pairs:
    """N faces to be put onto N others. Pictures are (N, 3, S, S) in 0..1."""

    y: Tensor  # what should come out where it is known, and a photograph everywhere
    x_src: Tensor  # shows the person
    x_tgt: Tensor  # shows everything else
    known: Tensor  # (N,) bool

    def __len__(self) -> int:
        return self.y.shape[0]

    def to(self, device: torch.device | str) -> Pairs:
        return Pairs(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


class PairSource(Protocol):
    """Anything that makes training pairs."""

    def batch(self, generator: Generator, count: int, share: slice = _ALL) -> Pairs:
        """Of `count` pairs that the generator (on the CPU) chooses, those of `share`, each as it would be among all:
        several processes with equal generators share a batch. A source that makes its pairs together may instead make
        as many as there are in the share, differently for each share."""
        ...


@dataclass(frozen=True)
class Data:
    """Pairs by part of a preset: to learn from, and others, always the same, to measure on."""

    train: Mapping[str, PairSource]
    held_out: Mapping[str, Pairs]


class Pictures(Protocol):
    """Photographs by row number."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Tensor, /) -> Tensor:
        """(N,) int64 -> (N, 3, S, S) in 0..1."""
        ...


@dataclass(frozen=True)
class MemoryPictures:
    """Photographs held as a tensor, (N, 3, S, S), uint8 or in 0..1, on any device."""

    pixels: Tensor

    def __len__(self) -> int:
        return self.pixels.shape[0]

    def __getitem__(self, rows: Tensor) -> Tensor:
        return unit(self.pixels[rows.to(self.pixels.device)])


@dataclass(frozen=True)
class FilePictures:
    """Photographs read when asked for."""

    files: Sequence[Path]
    size: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return read_pictures([self.files[row] for row in rows.tolist()], self.size)


@dataclass(frozen=True)
class OrdinaryPairs:
    """Photographs of two people each; in the first half of every batch twice the same one, whose result is known."""

    pictures: Pictures

    def batch(self, generator: Generator, count: int, share: slice = _ALL) -> Pairs:
        total = len(self.pictures)
        target = torch.randint(total, (count,), generator=generator)
        other = (target + torch.randint(1, total, (count,), generator=generator)) % total
        known = torch.arange(count) < (count + 1) // 2
        return self.pairs(torch.where(known, target, other)[share], target[share])

    def pairs(self, source: Tensor, target: Tensor) -> Pairs:
        """The faces of the source rows onto the target rows."""
        rows, back = torch.cat([source, target]).unique(return_inverse=True)
        pictures = self.pictures[rows]
        back = back.to(pictures.device)
        y = pictures[back[len(source) :]]
        return Pairs(y, pictures[back[: len(source)]], y, (source == target).to(pictures.device))


@dataclass(frozen=True)
class MemoryProxies:
    """Proxies held as tensors (N, 3, S, S), uint8 or in 0..1, on any device."""

    y: Tensor
    x_src: Tensor
    x_tgt: Tensor
    bent: tuple[Tensor, ...] = ()  # x_tgt with other shapes of face: one of them takes its place half of the time

    def __len__(self) -> int:
        return self.y.shape[0]

    def batch(self, generator: Generator, count: int, share: slice = _ALL) -> Pairs:
        chance = torch.rand(count, 3, generator=generator, dtype=torch.float64)[share]
        rows = _pick(chance[:, 0], len(self))
        shapes = torch.where(chance[:, 1] < 0.5, 1 + _pick(chance[:, 2], len(self.bent)), 0)
        return self.pairs(rows, shapes if self.bent else torch.zeros_like(rows))

    def pairs(self, rows: Tensor, shapes: Tensor) -> Pairs:
        """The proxies of these rows, with x_tgt (0) or one of the bent ones (1, 2 ...) as their target."""
        rows, shapes = rows.to(self.y.device), shapes.to(self.y.device)
        target = self.x_tgt[rows]
        for number, bent in enumerate(self.bent, 1):
            target = torch.where((shapes == number)[:, None, None, None], bent[rows], target)
        return Pairs(unit(self.y[rows]), unit(self.x_src[rows]), unit(target), torch.ones_like(rows, dtype=torch.bool))


@dataclass(frozen=True, slots=True)
class ProxyFiles:
    """One folder of proxy_data."""

    y: Path
    x_src: tuple[Path, ...]
    x_tgt: tuple[Path, ...]
    bent: tuple[Path, ...] = ()


@dataclass(frozen=True)
class FileProxies:
    """Proxies read when asked for."""

    files: Sequence[ProxyFiles]
    size: int

    def __len__(self) -> int:
        return len(self.files)

    def batch(self, generator: Generator, count: int, share: slice = _ALL) -> Pairs:
        chance = torch.rand(count, 4, generator=generator, dtype=torch.float64)[share]
        paths: list[Path] = []
        for row, source, coin, target in chance.tolist():
            files = self.files[int(row * len(self))]
            targets = files.bent if files.bent and coin < 0.5 else files.x_tgt
            paths += (files.y, files.x_src[int(source * len(files.x_src))], targets[int(target * len(targets))])
        y, x_src, x_tgt = read_pictures(paths, self.size).view(-1, 3, 3, self.size, self.size).unbind(1)
        return Pairs(y, x_src, x_tgt, torch.ones(len(y), dtype=torch.bool))

    def pairs(self) -> Pairs:
        """All of them in order, the first source and the first target of each."""
        y, x_src, x_tgt = (
            read_pictures([path for path in column], self.size)
            for column in zip(*((files.y, files.x_src[0], files.x_tgt[0]) for files in self.files), strict=True)
        )
        return Pairs(y, x_src, x_tgt, torch.ones(len(y), dtype=torch.bool))


def held_out_pairs(pictures: Pictures) -> Pairs:
    """Every photograph onto itself, and the next one's face onto it."""
    rows = torch.arange(len(pictures))
    return OrdinaryPairs(pictures).pairs(torch.cat([rows, rows.roll(-1)]), rows.repeat(2))


def folder_data(
    folder: Path, size: int, parts: Sequence[str], made_of: Callable[[Sequence[Path]], PairSource] | None = None
) -> Data:
    """The folders of a release, for these parts of a preset. A tenth of the names is held out, at most 32 of each part;
    who is held out of one part is not learned from in another. With `made_of` proxies are made of the photographs and
    not read."""
    photos = _photographs(folder / NORMAL) if "ordinary" in parts or made_of else []
    proxies = _proxies(folder / PROXY) if "proxy" in parts and not made_of else []
    apart = [_spread(photos), _spread(proxies)]
    names = {path.name for path in apart[0]} | {files.y.name for files in apart[1]}
    train: dict[str, PairSource] = {}
    held_out: dict[str, Pairs] = {}
    if "ordinary" in parts or made_of:
        left = [path for path in photos if path.name not in names]
        _enough(folder / NORMAL, "photographs", len(left))
        train["ordinary"] = OrdinaryPairs(FilePictures(left, size))
        held_out["ordinary"] = held_out_pairs(FilePictures(apart[0], size))
        if made_of:
            train["proxy"] = made_of(left)
            held_out["proxy"] = made_of(apart[0]).batch(Generator().manual_seed(0), len(apart[0]))
    if "proxy" in parts and not made_of:
        left = [files for files in proxies if files.y.name not in names]
        _enough(folder / PROXY, "proxies", len(left))
        train["proxy"] = FileProxies(left, size)
        held_out["proxy"] = FileProxies(apart[1], size).pairs()
    return Data(train, held_out)


def read_pictures(paths: Sequence[Path], size: int) -> Tensor:
    """Square pictures at one side, (N, 3, size, size) in 0..1, antialiased where they shrink."""

    def read(path: Path) -> Tensor:
        picture = images.read(path)
        if picture.shape[-1] != picture.shape[-2]:
            raise BadInput(f"{path}: is not square; training takes aligned face crops")
        if picture.shape[-1] == size:
            return picture
        return nnf.interpolate(picture, (size, size), mode="bilinear", antialias=True)

    with ThreadPoolExecutor(_READERS) as readers:
        return torch.cat(list(readers.map(read, paths)))


def unit(pixels: Tensor) -> Tensor:
    """Pictures in 0..1, whether they are bytes or in 0..1 already."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def _photographs(folder: Path) -> list[Path]:
    return [path for path in _inside(folder) if path.suffix.lower() in images.READABLE]


def _proxies(folder: Path) -> list[ProxyFiles]:
    """Every folder that has a photograph, a source and a target."""
    found, incomplete = [], 0
    for inside in _inside(folder):
        if not inside.is_dir():
            continue
        names = sorted(os.listdir(inside))
        sources, targets, *bent = (
            tuple(inside / name for name in names if name.endswith(f"_{kind}.jpg"))
            for kind in ("gensrc", "gendst", "facethin", "facechubby")
        )
        if inside.name in names and sources and targets:
            found.append(ProxyFiles(inside / inside.name, sources, targets, bent[0] + bent[1]))
        else:
            incomplete += 1
    if incomplete:
        _log.warning("%s: %d folders lack their photograph, a _gensrc or a _gendst", folder, incomplete)
    return found


def _inside(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; training data are {NORMAL} and {PROXY} in one folder")
    return sorted(folder.iterdir())


def _spread(items: Sequence[_Item]) -> list[_Item]:
    """A tenth of the items, evenly apart, at least two."""
    count = min(_HELD_OUT, max(2, len(items) // 10), len(items))
    return [items[row * len(items) // count] for row in range(count)]


def _enough(folder: Path, what: str, count: int) -> None:
    if count < _FEWEST:
        raise BadInput(f"{folder}: {count} {what} to learn from; there must be {_FEWEST} beside those held out")


def _pick(chance: Tensor, count: int) -> Tensor:
    """Which of `count` things a chance in 0..1 means."""
    return (chance * count).long()
