"""The folder of a training run: config.json, log.jsonl, pictures and, if requested, TensorBoard events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ...hub.store import oserror_as_bad_input
from ...io import images
from ...io.files import BadInput, placed, write_json

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


@dataclass(frozen=True)
class RunFolder:
    """The paths and files of a run."""

    path: Path
    board: SummaryWriter | None = None

    @property
    def state(self) -> Path:
        return self.path / "state.safetensors"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    def configure(self, config: dict[str, Any]) -> None:
        """Writes the options of the run to config.json. Raises BadInput if it cannot be written."""
        write_json(self.path / "config.json", config)

    def record(self, step: int, minutes: float, values: dict[str, float]) -> None:
        """Appends a line to the log. Raises BadInput if it cannot be written."""
        with oserror_as_bad_input(self.log), open(self.log, "a", encoding="utf-8") as lines:
            lines.write(json.dumps({"step": step, "minutes": minutes, **values}) + "\n")
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)

    def tidy(self, after: int) -> None:
        """Cleans up after a killed run: removes unfinished files, and log lines of steps later than the checkpoint's,
        `after`."""
        for place in (self.path, self.path / "pictures"):
            for left in place.glob(".cscs-*"):
                left.unlink()
        if not self.log.exists():
            return
        kept = [line for line in self.log.read_text(encoding="utf-8").splitlines() if 0 <= _step(line) <= after]
        with oserror_as_bad_input(self.log), placed(self.log) as beside:
            beside.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def picture(self, step: int, grid: Tensor) -> None:
        """Writes a step's picture (3, H, W) 0..1."""
        images.write(self.path / "pictures" / f"{step:08d}.jpg", grid)
        if self.board is not None:
            self.board.add_image("held_out", grid, step)


def open_folder(path: Path, tensorboard: bool) -> RunFolder:
    """The folder of a run, created if missing. Raises BadInput if it cannot be created, or without tensorboard."""
    with oserror_as_bad_input(path):
        path.mkdir(parents=True, exist_ok=True)
    return RunFolder(path, _board(path / "tensorboard") if tensorboard else None)


def _board(path: Path) -> SummaryWriter:
    try:
        from torch.utils.tensorboard.writer import SummaryWriter
    except ImportError:
        raise BadInput("--tensorboard: tensorboard is not installed; pip install tensorboard") from None
    return SummaryWriter(str(path))


def _step(line: str) -> int:
    """The step of a line of the log, -1 if the line is incomplete."""
    try:
        return json.loads(line)["step"]
    except (ValueError, LookupError, TypeError):
        return -1
