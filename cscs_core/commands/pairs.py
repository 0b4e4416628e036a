"""`cscs pairs IN OUT`: makes training data from a folder of photos."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..io import images
from ..io.console import complain, say
from ..io.files import BadInput
from ..pairs.make import make_pairs, summary
from ..pairs.worker import Photograph, PhotographFile, Plan


def run(options: argparse.Namespace) -> int:
    """0, or 2 if some pictures cannot be read. Raises BadInput if the options are wrong."""
    plan = Plan(options.size, options.seed, options.count)
    jobs = _cores() if options.jobs is None else options.jobs
    for name, value, least, most in (
        ("size", plan.size, 64, 1024),
        ("count", plan.count, 1, 64),
        ("jobs", jobs, 1, 512),
    ):
        if not least <= value <= most:
            raise BadInput(f"--{name} {value}: must be {least}..{most}")
    photographs = _photographs(options.photos)
    _check_apart(options.photos, options.out)
    lines, unreadable = make_pairs(photographs, options.out, plan, jobs)
    for error in unreadable:
        complain(str(error))
    say(f"{options.out}: {summary(lines)}")
    return 2 if unreadable else 0


def _photographs(folder: Path) -> dict[str, Photograph]:
    """The pictures directly in a folder, by the names of their outputs. Raises BadInput if two names collide."""
    if not folder.is_dir():
        raise BadInput(f"{folder}: {'is a file, not a folder' if folder.exists() else 'no such folder'} of photographs")
    try:
        files = images.picture_files([folder])
    except OSError as error:
        raise BadInput(f"{folder}: cannot be read ({error.strerror})") from None
    named: dict[str, Photograph] = {}
    for file in map(PhotographFile, files):
        if (other := named.setdefault(file.name, file)) != file:
            raise BadInput(f"{file.path}: would get the same name as {other.source}; rename one of them")
    return named


def _check_apart(photographs: Path, out: Path) -> None:
    """Raises BadInput if one folder is inside the other, since outputs would then be read or overwrite inputs."""
    given, written = (Path(os.path.realpath(path)) for path in (photographs, out))
    if written.is_relative_to(given) or given.is_relative_to(written):
        raise BadInput(f"{out}: must be a folder outside {photographs}, and not contain it")


def _cores() -> int:
    """The number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
