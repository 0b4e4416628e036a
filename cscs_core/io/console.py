"""Terminal output of the commands: results, errors and progress."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")


class _Bar(tqdm):
    """A progress bar on stderr, cleared at the end; hidden if stderr is not a terminal."""

    def __init__(self, items: Sequence | None, doing: str, shown: bool = True, **options):
        super().__init__(items, doing, leave=False, disable=None if shown else True, **options)


_Bar.set_lock(RLock())  # tqdm's own lock is shared between processes and may start a tracker process


def say(text: str) -> None:
    """Prints a line of output on stdout."""
    _Bar.write(text, sys.stdout)
    sys.stdout.flush()


def complain(text: str) -> None:
    """Prints an error message on stderr."""
    _Bar.write(f"cscs: {text}", sys.stderr)


def tracked(items: Sequence[_Item], doing: str) -> Iterator[_Item]:
    """Iterates over the items, with a progress bar if there are several and stderr is a terminal."""
    with _Bar(items, doing, len(items) > 1) as bar:
        yield from bar


@contextmanager
def tracked_bytes(doing: str) -> Iterator[Callable[[int, int], None]]:
    """A callback (bytes done, bytes in total) that moves a progress bar like that of `tracked`."""
    with _Bar(None, doing, unit="B", unit_scale=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
