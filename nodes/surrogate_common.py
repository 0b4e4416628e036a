"""What the nodes that make pictures of faces have in common: inputs, outputs, and what they say of the result."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core.surrogates.attempts import Outcome
from ..cscs_core.types import Crops
from . import host, node_ui, sockets


def crops_input(tooltip: str) -> io.Input:
    return sockets.Crops.Input("crops", tooltip=tooltip)


def seed_input() -> io.Int.Input:
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=True,
        tooltip="Another number, another picture; the same number, the same picture.",
    )


def strength_input(name: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.05, tooltip=tooltip)


def tries_input() -> io.Int.Input:
    return io.Int.Input(
        "tries",
        default=4,
        min=1,
        max=32,
        tooltip="How often a picture is made anew until it is accepted. Raise it when the report says that many are "
        "not.",
    )


def detector_input() -> io.Input:
    return sockets.Detector.Input(
        "detector",
        optional=True,
        tooltip="From Load Model: its recogniser says how alike faces are. Not connected, the bundled one does.",
    )


def outputs() -> list[io.Output]:
    return [
        sockets.Crops.Output("crops", tooltip="The pictures made, as many as faces came in and in their order."),
        io.Image.Output("image", tooltip="The same as images, to look at or to save."),
        io.Mask.Output("mask", tooltip="Where Paste Faces would lay them."),
        io.String.Output(
            "report", tooltip="One line per face: how alike it stayed, whether it is accepted, what was done."
        ),
    ]


def image(crops: Crops) -> Tensor:
    """What has the size of the crops, as an IMAGE."""
    return crops.pixels.movedim(1, -1)  # BCHW -> BHWC


def result(crops: Crops, outcome: Outcome | None = None, wanted: str = "") -> io.NodeOutput:
    """What the three nodes give: of no faces nothing."""
    if outcome is None:
        return io.NodeOutput(
            crops, host.pixels(crops.pixels), host.masks(crops.mask), "no face came in", ui=node_ui.badge("no face")
        )
    count, good = len(outcome.crops), int(outcome.accepted.sum())
    words = node_ui.plural(count, "face") + f", {good} accepted" * bool(wanted)
    made = outcome.crops
    lines = "\n".join(_lines(outcome, wanted))
    return io.NodeOutput(made, host.pixels(made.pixels), host.masks(made.mask), lines, ui=node_ui.badge(words))


def _lines(outcome: Outcome, wanted: str) -> list[str]:
    lines = []
    for row, (frame, likeness) in enumerate(
        zip(outcome.crops.frame.tolist(), outcome.similarity.tolist(), strict=True)
    ):
        tries, changes = outcome.tries[row], _words(outcome.changes[row])
        if not tries:
            verdict = "unchanged, not accepted: nobody else is among the donors"
        elif not outcome.accepted[row]:
            verdict = f"likeness {likeness:.2f}, not accepted in {tries} tries ({wanted}); {changes}"
        else:
            verdict = f"likeness {likeness:.2f}, {f'accepted at try {tries}; ' * bool(wanted)}{changes}"
        lines.append(f"face {row} of image {frame}: {verdict}")
    return lines


def _words(changes: Mapping[str, Any]) -> str:
    """What was done, with the numbers of donors and others counted from 0."""
    said = []
    for name, value in changes.items():
        if isinstance(value, dict):
            said.append(f"{name} ({_words(value)})")
        elif isinstance(value, float):
            said.append(f"{name.replace('_', ' ')} {value:.2g}")
        elif isinstance(value, bool):
            said.append(name.replace("_", " "))
        elif name != "seed":
            said.append(f"{name} {value}")
    return ", ".join(said) or "nothing changed"
