"""Atomic file writes, and the error for files and options that cannot be used."""

from __future__ import annotations

import json
import os
import secrets
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class BadInput(ValueError):
    """Invalid user input; the message is one line that names the file or option."""


@contextmanager
def placed(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, moved into place at the end or deleted if the block raises. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".cscs-{secrets.token_hex(4)}")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: object) -> None:
    """Writes a JSON file. Raises BadInput if that fails."""
    try:
        with placed(path) as temporary:
            temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror})") from None


def one_line(error: BaseException | str, most: int = 200) -> str:
    """The error's message on one line, cut to `most` characters."""
    return textwrap.shorten(str(error), most, placeholder=" ...")


def check_writable(path: Path) -> None:
    """Raises BadInput if no file can be written at this path. Creates nothing."""
    if path.is_dir():
        raise BadInput(f"{path}: cannot be written (is a folder)")
    above = path.parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not above.is_dir():
        raise BadInput(f"{path}: cannot be written ({above} is not a folder)")
    if not os.access(above, os.W_OK | os.X_OK):
        raise BadInput(f"{path}: cannot be written (no permission in {above})")
