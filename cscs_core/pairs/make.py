"""`cscs pairs IN OUT`: a folder of photographs becomes training data in the layout of the CSCS release.

    OUT/normal_data/NAME                               the photograph's largest face, an ffhq_512 crop
    OUT/proxy_data/NAME/NAME                           the same crop
                       /0_gensrc.jpg ...               source surrogates: other pictures of the same person
                       /0_gendst.jpg ...               target surrogates: other people in the same situation
                       /0_gendst.jpg_facethin.jpg ...  the target with a thinner face, and _facechubby.jpg
    OUT/manifest.jsonl                                 the result for each photograph
    OUT/donors.safetensors                             the donor faces

The result for a photograph depends on the seed, its name and the donors, which are chosen once, when the folder is
created; not on the number of processes, nor on earlier results. A finished name is not processed again. Pictures made
elsewhere may be added to its folder under such names: training uses all files that it finds.
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

_DONORS = 128  # photographs from which donors are taken
_LOCK = ".lock"

Map = Callable[[Callable[[Photograph], Any], list[Photograph]], Iterator[Any]]
Track = Callable[[Sequence[str], str], Iterator[str]]  # (names, title): iterates over names and shows progress


def make_pairs(
    photographs: Mapping[str, Photograph],
    out: Path,
    plan: Plan,
    jobs: int = 1,
    tools: Tools | None = None,
    track: Track = tracked,
) -> tuple[list[Line], list[images.ImageError]]:
    """Makes the missing pairs of the photographs, by name, in a new or existing folder. Returns the lines of its
    manifest, and the errors of images that cannot be read.

    With `tools` all work is done in this process, otherwise in `jobs` processes. An exception, from the tools or from
    `track`, stops the work without leaving half-written files; the next call resumes it. Raises BadInput if the folder
    contains something else or was made with another plan.
    """
    manifest = Manifest(out / "manifest.jsonl", asdict(plan))
    _check_folder(manifest)
    with _locked(out):
        done = _prepare_folder(manifest)
        missing = [name for name in photographs if name not in done]
        unreadable = _make_missing(manifest, plan, photographs, missing, jobs, tools, track) if missing else []
        return manifest.lines(), unreadable


def summary(lines: Sequence[Line]) -> str:
    """The results in a manifest, in one line of text."""
    made, faceless = sum("skipped" not in line for line in lines), sum(not line["face"] for line in lines)
    return (
        f"pairs made from {made} of {len(lines)} photographs; {faceless} without a face, "
        f"{len(lines) - made - faceless} rejected"
    )


def _check_folder(manifest: Manifest) -> None:
    """Raises BadInput if the folder contains other files, or pairs made with other options."""
    folder = manifest.path.parent
    if manifest.path.is_file():
        manifest.lines()
    elif folder.is_dir():
        strange = sorted(path.name for path in folder.iterdir() if not path.name.startswith((BESIDE, _LOCK)))
        if strange:
            raise BadInput(f"{folder}: contains {strange[0]} but no manifest.jsonl; choose an empty folder")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Creates the folder and locks it against other processes. Raises BadInput if it is locked."""
    lock = FileLock(folder / _LOCK, timeout=0)
    with oserror_as_bad_input(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            raise BadInput(f"{folder}: another `cscs pairs` is writing to it; wait for it or choose another") from None
    try:
        yield
    finally:
        lock.release()


def _prepare_folder(manifest: Manifest) -> set[str]:
    """Prepares a new or existing folder, removes unfinished files, and returns the names that are complete."""
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
    """The files that a line of the manifest lists."""
    name = line["name"]
    files = [folder / NORMAL / name] if line["face"] else []
    if "skipped" not in line:
        made = [*line["sources"], *line["targets"]]
        names = [name, *(one["file"] for one in made), *(bent for one in line["targets"] for bent in one["bent"])]
        files += [folder / PROXY / name / file for file in names]
    return files


def _make_missing(
    manifest: Manifest,
    plan: Plan,
    photographs: Mapping[str, Photograph],
    names: list[str],
    jobs: int,
    tools: Tools | None,
    track: Track,
) -> list[images.ImageError]:
    """Makes the pairs of these names; returns the errors of images that could not be read."""
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
    """A `map` over `jobs` processes of one thread each, with results in order. On exit they stop at once."""
    if jobs == 1:
        # Sums depend on the number of threads. It is not raised again, which would break oneMKL's LU.
        torch.set_num_threads(1)
        yield map
        return
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    pool = ProcessPoolExecutor(jobs, spawn, _start_worker, (receiver,))

    def work(do: Callable[[Photograph], Any], photographs: list[Photograph]) -> Iterator[Any]:
        usual = signal.signal(signal.SIGINT, signal.SIG_IGN)  # workers started now inherit this and ignore Ctrl-C
        try:
            return pool.map(do, photographs)
        finally:
            signal.signal(signal.SIGINT, usual)

    try:
        yield work
    except BrokenProcessPool:
        raise BadInput(f"--jobs {jobs}: a process died, perhaps out of memory; resume with fewer jobs") from None
    finally:
        sender.close()
        pool.shutdown(cancel_futures=True)
        receiver.close()


def _start_worker(receiver: Connection) -> None:
    """Starts a worker, which exits as soon as its parent closes the other end of the pipe or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # not inherited on every system
    torch.set_num_threads(1)
    threading.Thread(target=_exit_with_parent, args=(receiver,), daemon=True).start()


def _exit_with_parent(receiver: Connection) -> None:
    try:
        receiver.poll(None)  # nothing is ever sent: returns or raises when the other end is closed
    finally:
        os._exit(1)
