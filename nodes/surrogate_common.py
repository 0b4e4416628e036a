"""What the surrogate nodes share: inputs, outputs and the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core.surrogates.attempts import Outcome
from ..cscs_core.types import Crops
from . import host, inputs, node_ui, sockets


def crops_input(tooltip: str) -> io.Input:
    return sockets.Crops.Input("crops", tooltip=tooltip)


def seed_input() -> io.Int.Input:
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=True,
        tooltip="Another seed gives another result. The same seed repeats it.",
    )


def tries_input() -> io.Int.Input:
    return io.Int.Input(
        "tries",
        default=4,
        min=1,
        max=32,
        tooltip="How many images to try for each face until one is accepted. Raise it if the report shows many "
        "rejected ones.",
    )


def detector_input() -> io.Input:
    return inputs.recogniser("measures the similarity of faces")


def outputs() -> list[io.Output]:
    return [
        sockets.Crops.Output("crops", tooltip="The new faces, as many as came in and in the same order."),
        io.Image.Output("image", tooltip="The same as images, to view or save."),
        io.Mask.Output("mask", tooltip="Where Paste Faces would paste them."),
        io.String.Output(
            "report", tooltip="One line per face: similarity, whether it was accepted, and what was changed."
        ),
    ]


def image(crops: Crops) -> Tensor:
    """The crops as an IMAGE, for its size."""
    return crops.pixels.movedim(1, -1)  # BCHW -> BHWC


def result(crops: Crops, outcome: Outcome | None = None, wanted: str = "") -> io.NodeOutput:
    """The output of the three nodes; without an outcome the crops are empty and returned as they are."""
    if outcome is None:
        return io.NodeOutput(
            crops, host.pixels(crops.pixels), host.masks(crops.mask), "no faces received", ui=node_ui.badge("no face")
        )
    count, good = len(outcome.crops), int(outcome.accepted.sum())
    words = node_ui.plural(count, "face") + f", {good} accepted" * bool(wanted)
    made = outcome.crops
    lines = "\n".join(_lines(outcome, wanted))
    return io.NodeOutput(made, host.pixels(made.pixels), host.masks(made.mask), lines, ui=node_ui.badge(words))


def _lines(outcome: Outcome, wanted: str) -> list[str]:
    lines = []
    for row, (frame, similarity) in enumerate(
        zip(outcome.crops.frame.tolist(), outcome.similarity.tolist(), strict=True)
    ):
        tries, changes = outcome.tries[row], _words(outcome.changes[row])
        if not tries:
            verdict = "unchanged, rejected: no donor is another person"
        elif not outcome.accepted[row]:
            verdict = f"similarity {similarity:.2f}, rejected {tries} times ({wanted}); {changes}"
        else:
            verdict = f"similarity {similarity:.2f}, {f'accepted at try {tries}; ' * bool(wanted)}{changes}"
        lines.append(f"face {row} of image {frame}: {verdict}")
    return lines


def _words(changes: Mapping[str, Any]) -> str:
    """The changes as text; numbers of donors and others count from 0."""
    words = []
    for name, value in changes.items():
        if isinstance(value, dict):
            words.append(f"{name} ({_words(value)})")
        elif isinstance(value, float):
            words.append(f"{name.replace('_', ' ')} {value:.2g}")
        elif isinstance(value, bool):
            words.append(name.replace("_", " "))
        elif name != "seed":
            words.append(f"{name} {value}")
    return ", ".join(words) or "nothing changed"
