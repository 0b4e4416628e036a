"""The one place that writes to the terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

_Item = TypeVar("_Item")
_WIDTH = 24  # characters of bar


def say(text: str) -> None:
    """A line of the answer, on stdout."""
    _bar("")
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def complain(text: str) -> None:
    """A line about what went wrong, on stderr."""
    _bar("")
    sys.stderr.write(f"cscs: {text}\n")


def tracked(items: Sequence[_Item], doing: str) -> Iterator[_Item]:
    """The items, one after another, with a progress bar on stderr if that is a terminal and there are several."""
    for index, item in enumerate(items):
        if len(items) > 1:
            full = _WIDTH * index // len(items)
            _bar(f"{doing} [{'#' * full}{'.' * (_WIDTH - full)}] {index}/{len(items)}")
        yield item
    _bar("")


def _bar(text: str) -> None:
    """Text in place of what stands on the terminal's last line."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()
