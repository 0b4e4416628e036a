"""Training pairs, from tensors or from folders in the layout of the CSCS release.

    FOLDER/normal_data/*.jpg                         photographs
    FOLDER/proxy_data/NAME/NAME                      a photograph: the correct result of a swap
                          /*_gensrc.jpg              sources: other pictures of the same person
                          /*_gendst.jpg              targets: other people in the same situation
                          /*_facethin.jpg, *_facechubby.jpg   targets with another face shape

All are ffhq_512 crops, square, of any side.
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
_FEWEST = 4  # least number of photographs, or proxies, to train on
_HELD_OUT = 32  # most held-out items of each kind
_READERS = 8  # images decoded at once
_Item = TypeVar("_Item")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pairs:
    """N sources to be swapped onto N targets. Images are (N, 3, S, S) in 0..1."""

    y: Tensor  # the correct result where it is known, a real photograph elsewhere
    x_src: Tensor  # sources: give the identity
    x_tgt: Tensor  # targets: give everything else
    known: Tensor  # (N,) bool, whether the correct result is known

    def __len__(self) -> int:
        return self.y.shape[0]

    def to(self, device: torch.device | str) -> Pairs:
        return Pairs(*(getattr(self, field.name).to(device, non_blocking=True) for field in fields(self)))


class PairSource(Protocol):
    """Anything that makes training pairs."""

    def batch(self, generator: Generator, count: int, share: slice = _ALL) -> Pairs:
        """The rows `share` of a batch of `count` random pairs. Processes with equal generators (on the CPU) and
        different shares get disjoint parts of the same batch. A source that makes its pairs jointly may instead make as
        many as the share has, different for each share."""
        ...


@dataclass(frozen=True)
class Data:
    """Pairs for each part of a preset: for training, and a fixed held-out set."""

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
    """Photographs read from files when indexed."""

    files: Sequence[Path]
    size: int

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, rows: Tensor) -> Tensor:
        return read_pictures([self.files[row] for row in rows.tolist()], self.size)


@dataclass(frozen=True)
class OrdinaryPairs:
    """Pairs of two photographs. In the first half of every batch source and target are the same, so that the result is
    known."""

    pictures: Pictures

    def batch(self, generator: Generator, count: int, share: slice = _ALL) -> Pairs:
        total = len(self.pictures)
        target = torch.randint(total, (count,), generator=generator)
        other = (target + torch.randint(1, total, (count,), generator=generator)) % total
        known = torch.arange(count) < (count + 1) // 2
        return self.pairs(torch.where(known, target, other)[share], target[share])

    def pairs(self, source: Tensor, target: Tensor) -> Pairs:
        """Pairs of these source and target rows, (N,) int64 each."""
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
    bent: tuple[Tensor, ...] = ()  # x_tgt with other face shapes: used instead of x_tgt half of the time

    def __len__(self) -> int:
        return self.y.shape[0]

    def batch(self, generator: Generator, count: int, share: slice = _ALL) -> Pairs:
        chance = torch.rand(count, 3, generator=generator, dtype=torch.float64)[share]
        rows = _to_index(chance[:, 0], len(self))
        shapes = torch.where(chance[:, 1] < 0.5, 1 + _to_index(chance[:, 2], len(self.bent)), 0)
        return self.pairs(rows, shapes if self.bent else torch.zeros_like(rows))

    def pairs(self, rows: Tensor, shapes: Tensor) -> Pairs:
        """The proxies of these rows, (N,) int64, with x_tgt (shape 0) or one of `bent` (1, 2, ...) as target."""
        rows, shapes = rows.to(self.y.device), shapes.to(self.y.device)
        target = self.x_tgt[rows]
        for number, bent in enumerate(self.bent, 1):
            target = torch.where((shapes == number)[:, None, None, None], bent[rows], target)
        return Pairs(unit(self.y[rows]), unit(self.x_src[rows]), unit(target), torch.ones_like(rows, dtype=torch.bool))


@dataclass(frozen=True, slots=True)
class ProxyFiles:
    """The files in one folder of proxy_data."""

    y: Path
    x_src: tuple[Path, ...]
    x_tgt: tuple[Path, ...]
    bent: tuple[Path, ...] = ()


@dataclass(frozen=True)
class FileProxies:
    """Proxies read from files for each batch."""

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
        """All proxies in order, with the first source and the first target of each."""
        y, x_src, x_tgt = (
            read_pictures([path for path in column], self.size)
            for column in zip(*((files.y, files.x_src[0], files.x_tgt[0]) for files in self.files), strict=True)
        )
        return Pairs(y, x_src, x_tgt, torch.ones(len(y), dtype=torch.bool))


def held_out_pairs(pictures: Pictures) -> Pairs:
    """Each photograph paired with itself, then with the next one as source."""
    rows = torch.arange(len(pictures))
    return OrdinaryPairs(pictures).pairs(torch.cat([rows, rows.roll(-1)]), rows.repeat(2))


def folder_data(
    folder: Path, size: int, parts: Sequence[str], made_of: Callable[[Sequence[Path]], PairSource] | None = None
) -> Data:
    """Data from folders in the release's layout, for these parts of a preset. A tenth of the names is held out, at most
    32 for each part, and from all parts. With `made_of` proxies are made from the photographs instead of read. Raises
    BadInput if a folder is missing or holds too few images."""
    photos = _photographs(folder / NORMAL) if "ordinary" in parts or made_of else []
    proxies = _proxies(folder / PROXY) if "proxy" in parts and not made_of else []
    apart = [_choose_held_out(photos), _choose_held_out(proxies)]
    names = {path.name for path in apart[0]} | {files.y.name for files in apart[1]}
    train: dict[str, PairSource] = {}
    held_out: dict[str, Pairs] = {}
    if "ordinary" in parts or made_of:
        left = [path for path in photos if path.name not in names]
        _require_enough(folder / NORMAL, "photographs", len(left))
        train["ordinary"] = OrdinaryPairs(FilePictures(left, size))
        held_out["ordinary"] = held_out_pairs(FilePictures(apart[0], size))
        if made_of:
            train["proxy"] = made_of(left)
            held_out["proxy"] = made_of(apart[0]).batch(Generator().manual_seed(0), len(apart[0]))
    if "proxy" in parts and not made_of:
        left = [files for files in proxies if files.y.name not in names]
        _require_enough(folder / PROXY, "proxies", len(left))
        train["proxy"] = FileProxies(left, size)
        held_out["proxy"] = FileProxies(apart[1], size).pairs()
    return Data(train, held_out)


def read_pictures(paths: Sequence[Path], size: int) -> Tensor:
    """Square images resized to one side, (N, 3, size, size) 0..1, antialiased when they shrink. Raises BadInput for an
    image that is not square, ImageError for one that cannot be read."""

    def read(path: Path) -> Tensor:
        picture = images.read(path)
        if picture.shape[-1] != picture.shape[-2]:
            raise BadInput(f"{path}: is not square; training needs aligned crops, `cscs pairs` makes them")
        if picture.shape[-1] == size:
            return picture
        return nnf.interpolate(picture, (size, size), mode="bilinear", antialias=True)

    with ThreadPoolExecutor(_READERS) as readers:
        return torch.cat(list(readers.map(read, paths)))


def unit(pixels: Tensor) -> Tensor:
    """Images as float 0..1, from uint8 or from 0..1."""
    return pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels.float()


def _photographs(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.suffix.lower() in images.READABLE]


def _proxies(folder: Path) -> list[ProxyFiles]:
    """The folders that have a photograph, a source and a target; logs how many others there are."""
    found, incomplete = [], 0
    for inside in _entries(folder):
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
        _log.warning("%s: %d folders skipped, without photograph, _gensrc or _gendst", folder, incomplete)
    return found


def _entries(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder; training data are {NORMAL} and {PROXY} in one folder")
    return sorted(folder.iterdir())


def _choose_held_out(items: Sequence[_Item]) -> list[_Item]:
    """A tenth of the items, evenly spaced; at least 2 and at most 32."""
    count = min(_HELD_OUT, max(2, len(items) // 10), len(items))
    return [items[row * len(items) // count] for row in range(count)]


def _require_enough(folder: Path, what: str, count: int) -> None:
    if count < _FEWEST:
        raise BadInput(f"{folder}: {count} {what} for training; at least {_FEWEST} are needed besides those held out")


def _to_index(chance: Tensor, count: int) -> Tensor:
    """Indices below `count` from uniform random numbers in 0..1."""
    return (chance * count).long()
