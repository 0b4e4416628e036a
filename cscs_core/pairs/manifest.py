"""manifest.jsonl of `cscs pairs`: the first line holds the options, each further line the result for a photograph."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..io.files import BadInput, placed

NORMAL, PROXY = "normal_data", "proxy_data"  # folders of the CSCS release: photographs, and proxies made from them

Line = dict[str, Any]
_KIND, _VERSION = "cscs_pairs", 1  # of the first line


@dataclass(frozen=True)
class Manifest:
    """The file, and the options that pairs are made with."""

    path: Path
    options: Line

    def lines(self) -> list[Line]:
        """The results so far; lines cut off when a run was killed are ignored. Raises BadInput if the file has another
        format, or was made with other options."""
        head, *lines = [_parse(line) for line in self.path.read_bytes().split(b"\n")]
        if head.get(_KIND) != _VERSION:
            raise BadInput(f"{self.path}: was not written by this version of `cscs pairs`; choose another folder")
        for name, value in self.options.items():
            if head.get(name) != value:
                raise BadInput(
                    f"{self.path}: was started with --{name} {head.get(name)}, not {value}; use that value or choose "
                    "another folder"
                )
        return [line for line in lines if "name" in line]

    def write(self, lines: Sequence[Line]) -> None:
        """Replaces the file by the options and these lines."""
        with placed(self.path) as beside:
            beside.write_text("".join(map(_to_line, [{_KIND: _VERSION, **self.options}, *lines])), encoding="utf-8")

    def append(self, line: Line) -> None:
        """Adds a line at the end."""
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(_to_line(line))


def _to_line(line: Line) -> str:
    return json.dumps(line) + "\n"


def _parse(line: bytes) -> Line:
    """A parsed line; empty if it is not complete."""
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}
