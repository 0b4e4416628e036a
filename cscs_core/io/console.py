"""The one place that writes to the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import RLock
from typing import TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")


class _Bar(tqdm):
    """A progress bar on stderr that goes away at the end; without a terminal there is none."""

    def __init__(self, items: Sequence | None, doing: str, shown: bool = True, **options):
        super().__init__(items, doing, leave=False, disable=None if shown else True, **options)


_Bar.set_lock(RLock())  # tqdm's own is one between processes, which may start another to watch over it


def say(text: str) -> None:
    """A line of the answer, on stdout."""
    _Bar.write(text, sys.stdout)
    sys.stdout.flush()


def complain(text: str) -> None:
    """A line about what went wrong, on stderr."""
    _Bar.write(f"cscs: {text}", sys.stderr)


def tracked(items: Sequence[_Item], doing: str) -> Iterator[_Item]:
    """The items, one after another, with a progress bar on stderr if that is a terminal and there are several."""
    with _Bar(items, doing, len(items) > 1) as bar:
        yield from bar


@contextmanager
def tracked_bytes(doing: str) -> Iterator[Callable[[int, int], None]]:
    """How to say how many bytes are done, of how many, to a progress bar as that of `tracked`."""
    with _Bar(None, doing, unit="B", unit_scale=True) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
