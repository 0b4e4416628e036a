"""Inputs that several nodes share: id, range and default are written once, the tooltip is the node's own."""

from __future__ import annotations

from collections.abc import Sequence

from comfy_api.latest import io

from ..cscs_core.faces.detectors.catalogue import DEFAULT_DETECTOR, detectors
from ..cscs_core.faces.select import GENDERS, ORDERS
from . import loaded, sockets

ANY = "any"  # the gender filter is off
_BUNDLED = "If nothing is connected, the bundled one is used."
_NUMBERS = "Empty: all of them. 0: the first in faces_order. 0,2: the first and the third."


def slider(
    name: str,
    default: float,
    tooltip: str,
    *,
    low: float = 0.0,
    high: float = 1.0,
    step: float = 0.05,
    optional: bool = False,
    advanced: bool | None = None,
) -> io.Float.Input:
    """A number from `low` to `high`."""
    return io.Float.Input(
        name,
        default=default,
        min=low,
        max=high,
        step=step,
        optional=optional,
        advanced=advanced,
        tooltip=tooltip,
    )


def switch(name: str, tooltip: str, *, optional: bool = False, advanced: bool | None = None) -> io.Boolean.Input:
    """A switch that is off at first."""
    return io.Boolean.Input(name, default=False, optional=optional, advanced=advanced, tooltip=tooltip)


def numbers(
    name: str,
    tooltip: str,
    placeholder: str = "all, or 0, or 0,2",
    *,
    optional: bool = False,
    advanced: bool | None = None,
) -> io.String.Input:
    """Numbers with commas between them, empty at first."""
    return io.String.Input(
        name, default="", placeholder=placeholder, optional=optional, advanced=advanced, tooltip=tooltip
    )


def faces_order(tooltip: str) -> io.Combo.Input:
    return io.Combo.Input("faces_order", options=list(ORDERS), default=ORDERS[0], tooltip=tooltip)


def faces_index(which: str, hint: str = "") -> io.String.Input:
    """Faces by number; `which` says what is done with them, `hint` what else the user should know."""
    return numbers("faces_index", f"{which} {_NUMBERS} {hint}".strip())


def detection_threshold(tooltip: str, default: float = 0.5, advanced: bool | None = None) -> io.Float.Input:
    return slider("detection_threshold", default, tooltip, low=0.05, high=0.95, advanced=advanced)


def reference_threshold(done: str) -> io.Float.Input:
    """How similar a face must be to the reference; `done` says what happens to such faces: "swapped"."""
    return slider(
        "reference_threshold",
        0.5,
        f"Only used with a reference. Raise it if other people are {done} too. Lower it if the person is missed in "
        "some frames.",
        low=-1.0,
        step=0.01,
    )


def gender(tooltip: str, *, optional: bool = False, advanced: bool | None = None) -> io.Combo.Input:
    return io.Combo.Input(
        "gender", options=[ANY, *GENDERS], default=ANY, optional=optional, advanced=advanced, tooltip=tooltip
    )


def strength(hint: str = "") -> io.Float.Input:
    return slider("strength", 1.0, f"1 is the full swap. Lower it to keep some of the target's own face{hint}.")


def resolution(sizes: Sequence[str], tooltip: str) -> io.Combo.Input:
    """Sides of a crop, px."""
    return io.Combo.Input("resolution", options=list(sizes), default="512", tooltip=tooltip)


def feather(default: float, tooltip: str, *, optional: bool = False, advanced: bool | None = None) -> io.Float.Input:
    return slider("feather", default, tooltip, high=0.5, step=0.01, optional=optional, advanced=advanced)


def keep_eyes(*, optional: bool = False, advanced: bool | None = None) -> io.Boolean.Input:
    return switch(
        "keep_eyes",
        "Keeps the eyes of the original image. Turn it on if the gaze is lost.",
        optional=optional,
        advanced=advanced,
    )


def keep_mouth(*, optional: bool = False, advanced: bool | None = None) -> io.Boolean.Input:
    return switch(
        "keep_mouth",
        "Keeps the mouth of the original image. Turn it on for speech, teeth, food or a microphone.",
        optional=optional,
        advanced=advanced,
    )


def restore_visibility(tooltip: str, *, optional: bool = False, advanced: bool | None = None) -> io.Float.Input:
    return slider("restore_visibility", 0.8, tooltip, optional=optional, advanced=advanced)


def codeformer_weight(kept: str, *, optional: bool = False) -> io.Float.Input:
    """`kept` says what a high weight stays close to."""
    return slider(
        "codeformer_weight",
        0.5,
        f"Only used by CodeFormer. Raise it to stay closer to {kept}. Lower it for faces that are hardly recognisable.",
        optional=optional,
        advanced=True,
    )


def detector_name() -> io.Combo.Input:
    """A detector by its name: a widget, in nodes that work without Load Model."""
    return io.Combo.Input(
        "detector",
        options=detectors(loaded.store()),
        default=DEFAULT_DETECTOR,
        optional=True,
        tooltip="The face detector. lite is bundled. buffalo_l, antelopev2 and other insightface packs in "
        "models/insightface find smaller and more strongly turned faces. They need insightface and onnxruntime and "
        "are for non-commercial research only.",
    )


def detector_model(advanced: bool | None = None) -> io.Input:
    """A detector from Load Model that overrides the widget of `detector_name`."""
    return sockets.Detector.Input(
        "detector_model",
        optional=True,
        advanced=advanced,
        tooltip="A detector from Load Model. It overrides the detector chosen above. Connect it to use the same "
        "detector in several nodes, or to run it on the CPU.",
    )


def detector(use: str = "It finds the faces.", advanced: bool | None = None) -> io.Input:
    """A detector from Load Model: a socket, in nodes without that widget. `use` says what it does there."""
    return sockets.Detector.Input(
        "detector", optional=True, advanced=advanced, tooltip=f"A detector from Load Model. {use} {_BUNDLED}"
    )


def swapper(hint: str = "") -> io.Input:
    return sockets.Swapper.Input(
        "swapper", optional=True, tooltip=f"A swapper from Load Model. {_BUNDLED} {hint}".strip()
    )


def recogniser(use: str) -> io.Input:
    """The same socket where only the face recognition of the detector counts; `use` says for what."""
    return detector(f"Its face recognition {use}.")
