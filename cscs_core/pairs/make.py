"""`cscs pairs IN OUT`: a folder of photographs becomes training data in the layout of the CSCS release.

    OUT/normal_data/NAME                               the photograph's largest face, an ffhq_512 crop
    OUT/proxy_data/NAME/NAME                           the same
                       /0_gensrc.jpg ...               the same person otherwise
                       /0_gendst.jpg ...               somebody else in the same place
                       /0_gendst.jpg_facethin.jpg ...  that one with a thinner face, and _facechubby.jpg
    OUT/manifest.jsonl                                 what became of each photograph
    OUT/donors.safetensors                             the faces that may be lent

What a photograph becomes depends on the seed, its name and the donors, who are chosen once, when a folder is begun; not
on the number of processes, nor on what was made before. A name that is done is not looked at again. Pictures made
elsewhere may be added to its folder under such names: training takes all that it finds.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from ..hub.store import oserror_as_bad_input
from ..io import images
from ..io.console import tracked
from ..io.files import BadInput
from .manifest import NORMAL, PROXY, Line, Manifest
from .worker import BESIDE, Photograph, Place, Plan, Tools, lend, make, number_of, read_donors, write_donors

_DONORS = 128  # photographs whose faces may be lent
_LOCK = ".lock"

Map = Callable[[Callable[[Photograph], Any], list[Photograph]], Iterator[Any]]
Track = Callable[[Sequence[str], str], Iterator[str]]  # through names while the user sees how far it is, and of what


def make_pairs(
    photographs: Mapping[str, Photograph],
    out: Path,
    plan: Plan,
    jobs: int = 1,
    tools: Tools | None = None,
    track: Track = tracked,
) -> tuple[list[Line], list[images.ImageError]]:
    """Makes what is missing of photographs, by name, in a folder, begun before or not: what the folder's manifest then
    says, and which pictures cannot be read.

    With tools there is one process, this one. What raises, in them or in `track`, stops the work and leaves nothing
    half-written; the next call goes on. Raises BadInput for a folder of something else or of another plan.
    """
    manifest = Manifest(out / "manifest.jsonl", asdict(plan))
    _check_ours(manifest)
    with _alone(out):
        done = _begun(manifest)
        missing = [name for name in photographs if name not in done]
        unreadable = _make(manifest, plan, photographs, missing, jobs, tools, track) if missing else []
        return manifest.lines(), unreadable


def summary(lines: Sequence[Line]) -> str:
    """What became of the photographs of a manifest, in one line."""
    made, faceless = sum("skipped" not in line for line in lines), sum(not line["face"] for line in lines)
    return (
        f"pairs of {made} of {len(lines)} photographs; {faceless} show no face, what was made "
        f"of {len(lines) - made - faceless} was rejected"
    )


def _check_ours(manifest: Manifest) -> None:
    """Raises BadInput for a folder that holds anything but what was made by these options."""
    folder = manifest.path.parent
    if manifest.path.is_file():
        manifest.lines()
    elif folder.is_dir():
        strange = sorted(path.name for path in folder.iterdir() if not path.name.startswith((BESIDE, _LOCK)))
        if strange:
            raise BadInput(f"{folder}: holds {strange[0]} and no manifest.jsonl; choose an empty folder")


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Nobody else writes to the folder, which is made."""
    lock = FileLock(folder / _LOCK, timeout=0)
    with oserror_as_bad_input(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise BadInput(f"{folder}: another `cscs pairs` is writing to it") from None
    try:
        yield
    finally:
        lock.release()


def _begun(manifest: Manifest) -> set[str]:
    """Makes the folder ready, new or begun before; the names that need nothing any more."""
    folder = manifest.path.parent
    with oserror_as_bad_input(folder):
        if not manifest.path.exists():
            manifest.write([])
        whole = [line for line in manifest.lines() if all(path.is_file() for path in _files(folder, line))]
        manifest.write(whole)
        for inside in (folder / NORMAL, folder / PROXY):
            inside.mkdir(exist_ok=True)
        for left in (*folder.glob(f"{BESIDE}*"), *(folder / NORMAL).glob(f"{BESIDE}*")):
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()
    return {line["name"] for line in whole}


def _files(folder: Path, line: Line) -> list[Path]:
    """What was written of a photograph."""
    name = line["name"]
    files = [folder / NORMAL / name] if line["face"] else []
    if "skipped" not in line:
        made = [*line["sources"], *line["targets"]]
        names = [name, *(one["file"] for one in made), *(bent for one in line["targets"] for bent in one["bent"])]
        files += [folder / PROXY / name / file for file in names]
    return files


def _make(
    manifest: Manifest,
    plan: Plan,
    photographs: Mapping[str, Photograph],
    names: list[str],
    jobs: int,
    tools: Tools | None,
    track: Track,
) -> list[images.ImageError]:
    """Makes what is missing; which pictures could not be read."""
    folder = manifest.path.parent
    donors, unreadable = folder / "donors.safetensors", []
    with nullcontext(map) if tools else _workers(min(jobs, len(names))) as work:
        if not donors.exists():
            chosen = sorted(sorted(photographs, key=lambda name: number_of("donor", plan.seed, name))[:_DONORS])
            found = work(partial(lend, plan.size, tools), [photographs[name] for name in chosen])
            lent = {name: face for name, face in zip(track(chosen, "donors"), found, strict=True) if face is not None}
            write_donors(donors, plan.size, lent)
        place = Place(folder, donors, donors.stat().st_mtime_ns)
        given = read_donors(donors, tools.models.device) if tools else None
        found = work(partial(make, plan, place, tools, given), [photographs[name] for name in names])
        for _, line in zip(track(names, "pairs"), found, strict=True):
            if isinstance(line, images.ImageError):
                unreadable.append(line)
                continue
            with oserror_as_bad_input(manifest.path):
                manifest.append(line)
    return unreadable


@contextmanager
def _workers(jobs: int) -> Iterator[Map]:
    """A `map` by so many processes of one thread each, results in order. On the way out they stop whatever they do."""
    if jobs == 1:
        torch.set_num_threads(1)  # sums depend on their number; raised again it would break the LU of oneMKL
        yield map
        return
    spawn = multiprocessing.get_context("spawn")
    told, telling = spawn.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, spawn, _start, (told,))

    def work(do: Callable[[Photograph], Any], photographs: list[Photograph]) -> Iterator[Any]:
        usual = signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is not for those who start now to hear
        try:
            return pool.map(do, photographs)
        finally:
            signal.signal(signal.SIGINT, usual)

    try:
        yield work
    except BrokenProcessPool:
        raise BadInput(f"--jobs {jobs}: a process died, perhaps for want of memory; fewer of them can go on") from None
    finally:
        telling.close()
        pool.shutdown(cancel_futures=True)
        told.close()


def _start(told: Connection) -> None:
    """What a process does first: it leaves as soon as the one that started it closes the other end, or is no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # not every system hands that down
    torch.set_num_threads(1)
    threading.Thread(target=_leave, args=(told,), daemon=True).start()


def _leave(told: Connection) -> None:
    try:
        told.poll(None)  # nothing is ever sent
    finally:
        os._exit(1)
