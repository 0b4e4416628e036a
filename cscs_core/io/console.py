"""Terminal output of the commands: results, errors and progress."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")
_WIDTH = 24  # characters, width of the progress bar


def say(text: str) -> None:
    """Prints a line of output on stdout."""
    _bar("")
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """Prints an error message on stderr."""
    _bar("")
    sys.stderr.write(f"cscs: {text}\n")


def tracked(items: Sequence[_Item], doing: str) -> Iterator[_Item]:
    """Iterates over the items, with a progress bar if there are several and stderr is a terminal."""
    for index, item in enumerate(items):
        if len(items) > 1:
            full = _WIDTH * index // len(items)
            _bar(f"{doing} [{'#' * full}{'.' * (_WIDTH - full)}] {index}/{len(items)}")
        yield item
    _bar("")


def _bar(text: str) -> None:
    """Replaces the last line of the terminal."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
