"""manifest.jsonl of `cscs pairs`: its first line says how pictures are made, each further one what became of one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..io.files import BadInput, placed

NORMAL, PROXY = "normal_data", "proxy_data"  # folders of the CSCS release: photographs, and what is made of them

Line = dict[str, Any]
_KIND, _VERSION = "cscs_pairs", 1  # of the first line


@dataclass(frozen=True)
class Manifest:
    """The file, and the options by which pictures are made."""

    path: Path
    options: Line

    def lines(self) -> list[Line]:
        """What became of pictures so far; a line that a kill has torn counts for nothing. Raises BadInput if they were
        made in another way."""
        head, *lines = [_parsed(line) for line in self.path.read_bytes().split(b"\n")]
        if head.get(_KIND) != _VERSION:
            raise BadInput(f"{self.path}: is not what this version of `cscs pairs` writes; choose another folder")
        for name, value in self.options.items():
            if head.get(name) != value:
                raise BadInput(
                    f"{self.path}: was begun with --{name} {head.get(name)}, not {value}; choose another folder"
                )
        return [line for line in lines if "name" in line]

    def write(self, lines: Sequence[Line]) -> None:
        """The options and these lines alone."""
        with placed(self.path) as beside:
            beside.write_text("".join(map(_text, [{_KIND: _VERSION, **self.options}, *lines])), encoding="utf-8")

    def append(self, line: Line) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(_text(line))


def _text(line: Line) -> str:
    return json.dumps(line) + "\n"


def _parsed(line: bytes) -> Line:
    """A line; empty if it is not whole."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
