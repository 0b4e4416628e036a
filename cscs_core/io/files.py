"""Files that are whole or not there, and what is wrong with those that the user names."""

from __future__ import annotations

import json
import os
import secrets
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BadInput(ValueError):
    """What the user gave cannot be worked with; the message is one line and names the file or option."""


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """A name in the same folder to write to: moved into place at the end, removed if anything fails before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".cscs-{secrets.token_hex(4)}")
    try:
        yield beside
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """A report as a JSON file. Raises BadInput if it cannot be written."""
    try:
        with placed(path) as beside:
            beside.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror})") from None


def one_line(error: Exception | str, most: int = 200) -> str:
    """What an error says, on one line of at most so many characters."""
    return textwrap.shorten(str(error), most, placeholder=" ...")


def check_writable(path: Path) -> None:
    """Raises BadInput if a file of this name cannot be made; makes nothing."""
    if path.is_dir():
        raise BadInput(f"{path}: cannot be written (is a folder)")
    above = path.parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise BadInput(f"{path}: cannot be written ({above} is not a folder)")
    if not os.access(above, os.W_OK | os.X_OK):
        raise BadInput(f"{path}: cannot be written (no permission in {above})")
