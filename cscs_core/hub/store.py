"""Where the models of others lie on this machine. A file is told by its sha256, so what another program has downloaded
already is used where it lies."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from ..io.files import BadInput, placed
from .registry import ModelSpec

_log = logging.getLogger(__name__)
_HASHES, _ACCEPTED = "hashes.json", "accepted.json"
_DEEP = 4  # levels of folders that are searched
_BLOCK = 1 << 20  # bytes read at a time while hashing


@dataclass(frozen=True, slots=True)
class Store:
    """Folders with model files: `home` is ours, the others are only read."""

    home: Path
    others: tuple[Path, ...] = ()

    def path(self, file: str) -> Path:
        """Where a file of this name belongs in `home`. Raises BadInput for a name that leads anywhere else."""
        parts = file.split("/")
        plain = not re.search(r"[\\:\x00-\x1f\x7f]", file) and all(part and not part.startswith(".") for part in parts)
        path = self.home.joinpath(*parts) if plain else self.home
        if not plain or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.home)):
            raise BadInput(f"{file!r}: not a name for a file in {self.home}")
        return path


def default_store() -> Store:
    """$CSCS_HOME, or `cscs` in the folder that this system has for caches."""
    if home := os.environ.get("CSCS_HOME"):
        return Store(Path(home).expanduser())
    if sys.platform == "win32":
        caches, usual = os.environ.get("LOCALAPPDATA", ""), "~/AppData/Local"
    elif sys.platform == "darwin":
        caches, usual = "", "~/Library/Caches"
    else:
        caches, usual = os.environ.get("XDG_CACHE_HOME", ""), "~/.cache"
    return Store(Path(caches if os.path.isabs(caches) else usual).expanduser() / "cscs")


def find(store: Store, spec: ModelSpec) -> Path | None:
    """The model's file in one of the folders, home first, by its name or, where its size is known, whatever it is
    called; None if none has its sha256."""
    return next((found for folder in (store.home, *store.others) if (found := _search(store, folder, spec))), None)


def iter_files(store: Store) -> Iterator[Path]:
    """The files of all folders, home first. One walk, nothing is read."""
    return (path for folder in (store.home, *store.others) for path in _files(folder))


def listing(store: Store) -> dict[str, Path]:
    """The files of all folders by name, of each name the first."""
    found: dict[str, Path] = {}
    for path in iter_files(store):
        found.setdefault(path.name, path)
    return found


def lookup(files: dict[str, Path], spec: ModelSpec) -> Path | None:
    """A file that looks like the model, out of a listing: what `cscs convert` made of it, else one of its name."""
    names = (f"{Path(spec.file).stem}.safetensors", Path(spec.file).name, Path(spec.path or spec.file).name)
    return next((files[name] for name in names if name in files), None)


def resolve(store: Store, spec: ModelSpec) -> Path | None:
    """The file to run of a model: what `cscs convert` made of it, else the published one by its sha256. Another file of
    its name is better than none, which the log says."""
    path = lookup(listing(store), spec)
    if path is not None and path.suffix == ".safetensors":
        return path
    if found := find(store, spec):
        return found
    if path is not None:
        _log.warning("%s: is not the published file of %s (another sha256); it may work or not", path, spec.name)
    return path


def import_file(store: Store, spec: ModelSpec, folder: Path) -> Path:
    """The model's file out of a folder of the user's, copied to home unless the store has it already."""
    if there := find(store, spec):
        return there
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    if not (found := _search(store, folder, spec)):
        raise BadInput(f"{folder}: has no {spec.file} (sha256 {spec.sha256}); {manual_hint(store, spec)}")
    target = store.path(spec.file)
    with oserror_as_bad_input(target), placed(target) as beside:
        shutil.copyfile(found, beside)
        if sha256(beside) != spec.sha256:
            raise BadInput(f"{found}: changed while it was copied; try again")
    remember(store, target, spec.sha256)
    return target


def accept(store: Store, spec: ModelSpec) -> None:
    """Notes, once and for all, that the user accepts the terms of a model."""
    if not accepted(store, spec):
        note = {"licence": spec.licence, "date": date.today().isoformat()}
        path = store.home / _ACCEPTED
        with oserror_as_bad_input(path):
            _write(path, _read(path) | {spec.name: note})


def accepted(store: Store, spec: ModelSpec) -> bool:
    """Whether the user has accepted the terms of a model, under the licence that it has today."""
    note = _read(store.home / _ACCEPTED).get(spec.name)
    return isinstance(note, dict) and note.get("licence") == spec.licence


def _search(store: Store, folder: Path, spec: ModelSpec) -> Path | None:
    """The file in a folder that is the model, among those of its name or of its size."""
    name = Path(spec.file).name
    same, alike = [], []
    for path in _files(folder):
        if path.name == name:
            same.append(path)
        elif spec.bytes is not None and size(path) == spec.bytes:
            alike.append(path)
    return next((path for path in same + alike if _remembered(store, path) == spec.sha256), None)


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder and a few levels below, in order, without what is hidden."""
    for here, folders, names in os.walk(folder, followlinks=True):  # people link model folders to other disks
        level = len(Path(here).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if level < _DEEP else []
        yield from (Path(here, name) for name in sorted(names) if not name.startswith("."))


def size(path: Path) -> int:
    """Bytes in a file, 0 if there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _remembered(store: Store, path: Path) -> str | None:
    """A file's sha256, read only when the file has changed since; None if it cannot be read."""
    if not path.is_file():
        return None
    try:
        match _read(store.home / _HASHES).get(os.path.realpath(path)):
            case {"state": state, "sha256": str(digest)} if state == _state(path):
                return digest
        digest = sha256(path)
    except OSError as error:
        _log.warning("%s: cannot be read (%s)", path, error.strerror)
        return None
    remember(store, path, digest)
    return digest


def remember(store: Store, path: Path, digest: str) -> None:
    """Notes a file's sha256. A store that cannot be written just hashes again."""
    notes = store.home / _HASHES
    with suppress(OSError):
        _write(notes, _read(notes) | {os.path.realpath(path): {"state": _state(path), "sha256": digest}})


def _state(path: Path) -> list[int]:
    """What changes when a file does: its size and time."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _read(path: Path) -> dict[str, Any]:
    """A file of notes; damaged or missing it is empty."""
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _write(path: Path, notes: dict[str, Any]) -> None:
    with placed(path) as beside:
        beside.write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")


@contextmanager
def oserror_as_bad_input(path: Path) -> Iterator[None]:
    """Turns what a disk refuses into one line. Errors of the network are others' to explain."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, ConnectionError):
            raise
        raise BadInput(f"{path}: cannot be written ({error.strerror})") from None


def manual_hint(store: Store, spec: ModelSpec) -> str:
    return f"get it from {spec.url} and put it into {store.home}"
