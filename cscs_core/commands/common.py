"""Helpers that several commands share: device, output paths, reports."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..io import images
from ..io.files import BadInput, check_writable, write_json


def select_device(name: str) -> torch.device:
    """The device of that name; "auto" is CUDA if available, else the CPU. Raises BadInput if it cannot be used."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA raises AssertionError
        raise BadInput(f"--device {name}: {str(error).splitlines()[0]}") from None
    return device


def outputs(targets: list[Path], output: Path, several: bool) -> list[Path]:
    """The output path of each target: `output` itself for a single one, otherwise a file in the folder `output`.

    Raises BadInput if `output` has an unknown suffix or is a file for several targets, or if two outputs would collide.
    """
    if not several and not output.is_dir():
        images.format_of(output)
        return [output]
    if output.exists() and not output.is_dir():
        raise BadInput(f"{output}: must be a folder, since there are several targets")
    # Formats that we do not write keep their suffix before .png, so that a.bmp and a.png get different names.
    names = [file.name if file.suffix.lower() in images.FORMATS else f"{file.name}.png" for file in targets]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"{output / twice}: two targets would be written to this file; rename one of them")
    return [output / name for name in names]


def check_apart(written: list[Path], given: list[Path]) -> None:
    """Raises BadInput if an output would overwrite an input."""
    taken = {os.path.realpath(file) for file in given}
    for path in written:
        if os.path.realpath(path) in taken:
            raise BadInput(f"{path}: would overwrite an input; choose another output")


def check_report(path: Path | None, others: list[Path]) -> None:
    """Raises BadInput if the report cannot be written or would overwrite one of the other files."""
    if path is not None:
        check_writable(path)
        check_apart([path], others)


def finish_report(path: Path | None, report: object, done: int, asked: int) -> int:
    """Writes the report unless every picture failed; returns the exit code: 0 if all were done, else 2."""
    if path is not None and done:
        write_json(path, report)
    return 0 if done == asked else 2


def faces_text(faces: int) -> str:
    """A count for people: "no faces", "1 face", "2 faces"."""
    return "1 face" if faces == 1 else f"{faces or 'no'} faces"


def rounded(pixels: list[float]) -> list[float]:
    """Coordinates rounded to hundredths of a pixel."""
    return [round(value, 2) for value in pixels]
