"""Face Identity: one person, from one or several photos. Blend Identities: somebody between several people."""

from __future__ import annotations

import math
import re

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.detectors.catalogue import DEFAULT_DETECTOR
from ..cscs_core.faces.identity import Agreement, drop_outliers, embedded_by, require_photos
from ..cscs_core.faces.select import ORDERS
from ..cscs_core.io.files import BadInput
from ..cscs_core.tasks.blend import blend
from ..cscs_core.types import Identity
from . import host, loaded, node_ui, sockets

_LEFT_OUT = 0.25  # how bright the preview shows a photo that does not count


class FaceIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_FaceIdentity",
            display_name="Face Identity (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            essentials_category="Face",
            description="Reads one person from one or several photos. Use it when you have more than one photo of the "
            "person, or swap the same person into many pictures.",
            search_aliases=["source face", "face embedding", "reference face", "face model", "person"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="A photo of the person, or a batch of several of the same person. Sharp, frontal, evenly "
                    "lit and without glasses or hands over the face works best.",
                ),
                io.Combo.Input(
                    "faces_order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="Which face is meant where a photo shows several: the first in this order, or the one "
                    "faces_index says. Change it when the preview shows the wrong person.",
                ),
                loaded.detector_input(),
                sockets.Detector.Input(
                    "detector_model",
                    optional=True,
                    advanced=True,
                    tooltip="A detector from Load Model, in place of the one chosen above. Connect it when all nodes "
                    "shall use the same.",
                ),
                io.String.Input(
                    "weights",
                    default="",
                    optional=True,
                    advanced=True,
                    placeholder="alike, or 1, 0.5",
                    tooltip="How much each photo counts, a number from 0 on for each, with commas. Empty: all alike. "
                    "Give a poor photo less when you have nothing better for that side of the face.",
                ),
                io.Float.Input(
                    "outlier_threshold",
                    default=0.0,
                    min=0.0,
                    max=0.95,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="Leaves out photos whose likeness to the others is below this, from three photos on; 0 "
                    "leaves none out. Try 0.45 when a batch may hold somebody else, and look at the report.",
                ),
                io.String.Input(
                    "faces_index",
                    default="",
                    optional=True,
                    advanced=True,
                    placeholder="first, or 1, or 0, 2",
                    tooltip="Which face of each photo is the person, counted from 0 in faces_order. Empty: the first. "
                    "One number serves all photos; otherwise write one for each photo, with commas.",
                ),
            ],
            outputs=[
                sockets.Identity.Output("identity", tooltip="The person, for the identity input of Face Swap."),
                io.Image.Output(
                    "preview",
                    tooltip="The face taken from each photo, upright and cut out; dark where it was left out.",
                ),
                io.String.Output(
                    "report",
                    tooltip="For each photo how alike it is to the others (-1 to 1), and which were left out. Look "
                    "here when a swap resembles nobody.",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, weights: str | None = None, faces_index: str | None = None) -> bool | str:
        try:
            _weights(weights or "", None)
            _numbers(faces_index or "", None)
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, **inputs: object) -> str:
        """Changes when a model file comes, goes or is exchanged."""
        return repr(loaded.files())

    @classmethod
    def execute(
        cls,
        image: Tensor,
        faces_order: str,
        detector: str = DEFAULT_DETECTOR,
        detector_model: object = None,
        weights: str = "",
        outlier_threshold: float = 0.0,
        faces_index: str = "",
    ) -> io.NodeOutput:
        count = image.shape[0]
        models = loaded.ready(image, detector if detector_model is None else detector_model)
        person = read(
            image, models, "image", faces_order, weights=_weights(weights, count), numbers=_numbers(faces_index, count)
        )
        found = drop_outliers(person.to("cpu"), outlier_threshold or -math.inf)
        preview = host.pixels(person.crops.pixels)
        preview[~found.kept.to(preview.device)] *= _LEFT_OUT
        return io.NodeOutput(found.identity, preview, "\n".join(_lines(found)), ui=node_ui.badge(_badge(found)))


def read(
    image: Tensor,
    models: pipeline.Models,
    name: str,
    order: str = ORDERS[0],
    detection: float = 0.5,
    weights: list[float] | None = None,
    numbers: list[int] | None = None,
    look: pipeline.Look = pipeline.find,
) -> Identity:
    """The person on every picture of an IMAGE; `name` is what the user calls that input, `look` finds the faces."""
    if not image.shape[0]:
        raise ValueError(f"{name} is an empty batch; give it at least one photo of the person")
    try:
        return pipeline.identity_from(
            host.photos(image), models, order, detection, weights, numbers, host.with_progress, look
        )
    except pipeline.NoFace as missing:
        which = f"picture {missing.index} of {name}" if image.shape[0] > 1 else name
        if missing.found:
            raise ValueError(
                f"there is no face {missing.number} in {which}: {missing.found} found, counted from 0; Detect Faces "
                "shows the numbers"
            ) from missing
        raise ValueError(
            f"no face found in {which}; take a photo in which the whole face is visible and at least 24 pixels wide"
        ) from missing


def _weights(text: str, count: int | None) -> list[float] | None:
    """Weights as a user writes them, "1, 0.5" -> [1.0, 0.5]. Without a count of photos only the text is checked."""
    parts = _each("weights", text, r"\d{0,6}\.?\d{1,6}", "1, 0.5", count)
    if parts and not any(map(float, parts)):
        raise ValueError(f"weights {text!r}: at least one photo must count; write a number above 0 for it")
    return [float(part) for part in parts] if parts else None


def _numbers(text: str, count: int | None) -> list[int] | None:
    """Face numbers as a user writes them, "0, 2" -> [0, 2]; otherwise as _weights."""
    parts = _each("faces_index", text, r"\d{1,4}", "0 or 0, 2", count)
    return [int(part) for part in parts] if parts else None


def _each(name: str, text: str, number: str, example: str, count: int | None) -> list[str] | None:
    """One number for each of `count` photos as a user writes them, or one for all; None for no text."""
    if not text.strip():
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(number, part) for part in parts):
        raise ValueError(f"{name} {text!r}: write numbers from 0 on with commas, as {example}, or nothing")
    if count is None or len(parts) == count:
        return parts
    if len(parts) > 1:
        raise ValueError(
            f"{name} {text!r}: {len(parts)} numbers for {node_ui.plural(count, 'photo')}; write one for each"
        )
    return parts * count


def _lines(found: Agreement) -> list[str]:
    if len(found.kept) == 1:
        return ["photo 0: the only one"]
    kept, alike = found.kept.tolist(), found.similarity.tolist()
    lines = [f"photo {row}: similarity to the others {alike[row]:.2f}" for row in range(len(kept)) if kept[row]]
    return lines + found.said


def _badge(found: Agreement) -> str:
    count, lost = len(found.kept), int((~found.kept).sum())
    return node_ui.plural(count, "photo") + (f", {lost} left out" if lost else "")


class BlendIdentities(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_BlendIdentities",
            display_name="Blend Identities (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Makes somebody between two, three or four people: their photos are bent to a common shape and "
            "mixed. Use it for a person who does not exist, or for a family resemblance; every swapper can use it.",
            search_aliases=["mix faces", "merge identities", "average face", "face morph", "blend face models"],
            inputs=[
                sockets.Identity.Input("identity_a", tooltip="A person, from Face Identity or Load Identity."),
                sockets.Identity.Input("identity_b", tooltip="Another person."),
                io.Float.Input(
                    "share",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much of identity_b is in the blend: 0 is exactly identity_a, 1 exactly identity_b. "
                    "Move it towards the one whom the result should resemble more.",
                ),
                sockets.Identity.Input(
                    "identity_c", optional=True, tooltip="A third person, when two are not enough; see share_c."
                ),
                sockets.Identity.Input(
                    "identity_d", optional=True, tooltip="A fourth person, when three are not enough; see share_d."
                ),
                io.Float.Input(
                    "share_c",
                    default=0.33,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    advanced=True,
                    tooltip="How much of identity_c is in the blend; the people before it divide the rest as before. "
                    "0.33 makes three alike. Counts only with identity_c connected.",
                ),
                io.Float.Input(
                    "share_d",
                    default=0.25,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    advanced=True,
                    tooltip="How much of identity_d is in the blend; the people before it divide the rest as before. "
                    "0.25 makes four alike. Counts only with identity_d connected.",
                ),
                sockets.Detector.Input(
                    "detector",
                    optional=True,
                    advanced=True,
                    tooltip="By whose measure the blend is kept. Connect the detector that the people and the nodes "
                    "after this one use; without it the bundled one measures, which is right for lite.",
                ),
            ],
            outputs=[
                sockets.Identity.Output("identity", tooltip="The blend, for the identity input of Face Swap."),
                io.Image.Output(
                    "preview", tooltip="The mixed photos: what lite and warp lay on, and other swappers read."
                ),
                io.String.Output(
                    "report", tooltip="Each person's share, and how alike the blend is to them (-1 to 1)."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        identity_a: Identity,
        identity_b: Identity,
        share: float,
        identity_c: Identity | None = None,
        identity_d: Identity | None = None,
        share_c: float = 0.33,
        share_d: float = 0.25,
        detector: object = None,
    ) -> io.NodeOutput:
        people = {
            "identity_a": identity_a,
            "identity_b": identity_b,
            "identity_c": identity_c,
            "identity_d": identity_d,
        }
        people = {name: _photographed(one, name) for name, one in people.items() if one is not None}
        parts = {"identity_b": share, "identity_c": share_c, "identity_d": share_d}
        shares = {"identity_a": 1.0}
        for name in list(people)[1:]:
            shares = {other: part * (1 - parts[name]) for other, part in shares.items()} | {name: parts[name]}
        models = loaded.ready(host.pixels(people["identity_a"].crops.pixels), detector)
        people = {name: embedded_by(one.to(models.device), models.encoder) for name, one in people.items()}
        whole = blend(list(people.values()), list(shares.values()), models.encoder)
        lines = [
            f"{name}: share {shares[name]:.2f}, likeness of the blend {float(one.mean @ whole.mean):.2f}"
            for name, one in people.items()
        ]
        return io.NodeOutput(
            whole.to("cpu"),
            host.pixels(whole.crops.pixels),
            "\n".join(lines),
            ui=node_ui.badge(f"{len(people)} people"),
        )


def _photographed(value: object, name: str) -> Identity:
    """The person on a socket, which must come with photographs; `name` is what the user calls the input."""
    try:
        return require_photos(host.rebuild(value, Identity, name))
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from None
