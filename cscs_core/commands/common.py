"""What several commands share: the device, where results go, and reports."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from ..io import images
from ..io.files import BadInput, check_writable, write_json


def select_device(name: str) -> torch.device:
    """The device asked for, tried once; "auto" is CUDA where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
        raise BadInput(f"--device {name}: {str(error).splitlines()[0]}") from None
    return device


def outputs(targets: list[Path], output: Path, several: bool) -> list[Path]:
    """Where each target goes: a single one may name its file, several need a folder, which is made when needed."""
    if not several and not output.is_dir():
        images.format_of(output)
        return [output]
    if output.exists() and not output.is_dir():
        raise BadInput(f"{output}: must be a folder, as there are several targets")
    # A kind that we do not write keeps its whole name, so that a.bmp and a.png do not meet in a.png.
    names = [file.name if file.suffix.lower() in images.FORMATS else f"{file.name}.png" for file in targets]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise BadInput(f"{output / twice}: two targets would have this name")
    return [output / name for name in names]


def check_apart(written: list[Path], given: list[Path]) -> None:
    """Raises BadInput if something written would overwrite something given."""
    taken = {os.path.realpath(file) for file in given}
    for path in written:
        if os.path.realpath(path) in taken:
            raise BadInput(f"{path}: would overwrite a picture that was given; choose another output")


def check_report(path: Path | None, others: list[Path]) -> None:
    if path is not None:
        check_writable(path)
        check_apart([path], others)


def finish_report(path: Path | None, report: object, done: int, asked: int) -> int:
    """Writes the report unless every picture failed, and says how it went as an exit code."""
    if path is not None and done:
        write_json(path, report)
    return 0 if done == asked else 2


def faces_text(faces: int) -> str:
    return "1 face" if faces == 1 else f"{faces or 'no'} faces"


def rounded(pixels: list[float]) -> list[float]:
    return [round(value, 2) for value in pixels]
