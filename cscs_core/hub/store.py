"""Third-party model files on this machine. A file is identified by its sha256, so that files which another program has
downloaded are used in place."""

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

from ..io.files import BadInput, placed, write_json
from .registry import ModelSpec

_log = logging.getLogger(__name__)
_HASHES, _ACCEPTED = "hashes.json", "accepted.json"
_MAX_DEPTH = 4  # levels of subfolders searched
_BLOCK = 1 << 20  # bytes read at a time for hashing


@dataclass(frozen=True, slots=True)
class Store:
    """Folders with model files: `home` is written to, the others are only read."""

    home: Path
    others: tuple[Path, ...] = ()

    def path(self, file: str) -> Path:
        """The path of a file in `home`. Raises BadInput for names that lead out of it."""
        parts = file.split("/")
        plain = not re.search(r"[\\:\x00-\x1f\x7f]", file) and all(part and not part.startswith(".") for part in parts)
        path = self.home.joinpath(*parts) if plain else self.home
        if not plain or not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(self.home)):
            raise BadInput(f"{file!r}: not a valid name for a file in {self.home}")
        return path


def default_store() -> Store:
    """$CSCS_HOME, or else `cscs` in the system's cache folder."""
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
    """The file with the model's sha256, home first, or None. Candidates are files of its name and, where its size is
    known, of its size."""
    return next((found for folder in (store.home, *store.others) if (found := _search(store, folder, spec))), None)


def iter_files(store: Store) -> Iterator[Path]:
    """All files of all folders, home first. Reads no contents."""
    return (path for folder in (store.home, *store.others) for path in _files(folder))


def listing(store: Store) -> dict[str, Path]:
    """The files of all folders by name; the first of each name wins."""
    found: dict[str, Path] = {}
    for path in iter_files(store):
        found.setdefault(path.name, path)
    return found


def lookup(files: dict[str, Path], spec: ModelSpec) -> Path | None:
    """The file of a listing that looks like the model: what `cscs convert` made of it, else one of its name."""
    names = (f"{Path(spec.file).stem}.safetensors", Path(spec.file).name, Path(spec.path or spec.file).name)
    return next((files[name] for name in names if name in files), None)


def resolve(store: Store, spec: ModelSpec) -> Path | None:
    """The file to load for a model: what `cscs convert` made of it, else the published one by its sha256, else any file
    of its name, with a warning in the log."""
    path = lookup(listing(store), spec)
    if path is not None and path.suffix == ".safetensors":
        return path
    if found := find(store, spec):
        return found
    if path is not None:
        _log.warning("%s: is not the published file of %s (different sha256); it may not work", path, spec.name)
    return path


def import_file(store: Store, spec: ModelSpec, folder: Path) -> Path:
    """Copies the model's file from a folder to home, unless the store has it. Raises BadInput if it is missing there or
    cannot be copied."""
    if there := find(store, spec):
        return there
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    if not (found := _search(store, folder, spec)):
        raise BadInput(f"{folder}: does not contain {spec.file} (sha256 {spec.sha256}); {manual_hint(store, spec)}")
    target = store.path(spec.file)
    with oserror_as_bad_input(target), placed(target) as temporary:
        shutil.copyfile(found, temporary)
        if sha256(temporary) != spec.sha256:
            raise BadInput(f"{found}: changed while it was being copied; try again")
    remember(store, target, spec.sha256)
    return target


def accept(store: Store, spec: ModelSpec) -> None:
    """Records that the user accepts the licence terms of a model. Raises BadInput if that cannot be written."""
    if not accepted(store, spec):
        note = {"licence": spec.licence, "date": date.today().isoformat()}
        path = store.home / _ACCEPTED
        write_json(path, _read(path) | {spec.name: note})


def accepted(store: Store, spec: ModelSpec) -> bool:
    """Whether the user has accepted the model's terms under its current licence."""
    note = _read(store.home / _ACCEPTED).get(spec.name)
    return isinstance(note, dict) and note.get("licence") == spec.licence


def _search(store: Store, folder: Path, spec: ModelSpec) -> Path | None:
    """The model's file in a folder, among those of its name or size."""
    name = Path(spec.file).name
    same, alike = [], []
    for path in _files(folder):
        if path.name == name:
            same.append(path)
        elif spec.bytes is not None and size(path) == spec.bytes:
            alike.append(path)
    return next((path for path in same + alike if _cached_sha256(store, path) == spec.sha256), None)


def _files(folder: Path) -> Iterator[Path]:
    """The files in a folder and _MAX_DEPTH levels below it, sorted, without hidden ones."""
    for here, folders, names in os.walk(folder, followlinks=True):  # model folders are often links to other disks
        level = len(Path(here).relative_to(folder).parts)
        folders[:] = sorted(name for name in folders if not name.startswith(".")) if level < _MAX_DEPTH else []
        yield from (Path(here, name) for name in sorted(names) if not name.startswith("."))


def size(path: Path) -> int:
    """Size of a file in bytes, 0 if there is none."""
    try:
        found = path.stat()
    except OSError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def sha256(path: Path) -> str:
    """The file's sha256 as 64 hex digits. Raises OSError."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _cached_sha256(store: Store, path: Path) -> str | None:
    """The file's sha256, cached until the file changes; None if it cannot be read."""
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
    """Caches a file's sha256. If home is not writable, files are hashed again next time."""
    notes = store.home / _HASHES
    with suppress(OSError, BadInput):
        write_json(notes, _read(notes) | {os.path.realpath(path): {"state": _state(path), "sha256": digest}})


def _state(path: Path) -> list[int]:
    """Size and modification time, by which a change of the file is noticed."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _read(path: Path) -> dict[str, Any]:
    """A JSON object from a file; {} if it is missing or damaged."""
    try:
        notes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return notes if isinstance(notes, dict) else {}


@contextmanager
def oserror_as_bad_input(path: Path) -> Iterator[None]:
    """Turns an OSError of the disk into BadInput; connection errors pass through."""
    try:
        yield
    except OSError as error:
        if error.errno is None or isinstance(error, ConnectionError):
            raise
        raise BadInput(f"{path}: cannot be written ({error.strerror})") from None


def manual_hint(store: Store, spec: ModelSpec) -> str:
    """What to do to add a model by hand, as part of a message."""
    return f"download it from {spec.url} and put it into {store.home}"
