"""Face Identity: one person from one or more photos. Blend Identities: a mix of several people."""

from __future__ import annotations

import math
import re
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.detectors.catalogue import DEFAULT_DETECTOR
from ..cscs_core.faces.identity import Agreement, drop_outliers, embedded_by, require_photos
from ..cscs_core.faces.select import ORDERS
from ..cscs_core.io.files import BadInput
from ..cscs_core.tasks.blend import blend
from ..cscs_core.types import Identity
from . import host, inputs, loaded, node_ui, sockets

_LEFT_OUT = 0.25  # brightness of a photo that is left out, in the preview


class FaceIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_FaceIdentity",
            display_name="Face Identity (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            essentials_category="Face",
            description="Reads one person from one or more photos. Use it if you have several photos of the person, "
            "or if you swap the same person into many images.",
            search_aliases=["source face", "face embedding", "reference face", "face model", "person"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="A photo of the person, or a batch of photos of the same person. Sharp, frontal, evenly "
                    "lit photos without glasses or hands over the face work best.",
                ),
                inputs.faces_order(
                    "Decides which face is used in a photo with several: the first in this order, unless faces_index "
                    "says otherwise. Change it if the preview shows the wrong person."
                ),
                inputs.detector_name(),
                inputs.detector_model(advanced=True),
                inputs.numbers(
                    "weights",
                    "How much each photo counts: a number from 0 up for each, separated by commas. Empty: all count "
                    "equally. Give a poor photo less weight if you have no better one of that side of the face.",
                    "equal, or 1, 0.5",
                    optional=True,
                    advanced=True,
                ),
                inputs.slider(
                    "outlier_threshold",
                    0.0,
                    "With three or more photos, leaves out those less similar to the others than this. 0 leaves none "
                    "out. Try 0.45 if the batch may include someone else, and read the report.",
                    high=0.95,
                    optional=True,
                    advanced=True,
                ),
                inputs.numbers(
                    "faces_index",
                    "Which face of each photo is the person, counted from 0 in faces_order. Empty: the first. One "
                    "number applies to all photos. Otherwise write one for each photo, separated by commas.",
                    "first, or 1, or 0, 2",
                    optional=True,
                    advanced=True,
                ),
            ],
            outputs=[
                sockets.Identity.Output("identity", tooltip="The person, for the identity input of Face Swap."),
                io.Image.Output(
                    "preview", tooltip="The aligned crop from each photo. Photos that were left out are dark."
                ),
                io.String.Output(
                    "report",
                    tooltip="How similar each photo is to the others (-1 to 1), and which were left out. Read it if a "
                    "swap does not look like the person.",
                ),
            ],
        )

    fingerprint_inputs = loaded.fingerprint

    @classmethod
    def validate_inputs(cls, weights: str | None = None, faces_index: str | None = None) -> bool | str:
        try:
            _weights(weights or "", None)
            _numbers(faces_index or "", None)
        except ValueError as error:
            return str(error)
        return True

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
        person = read_identity(
            image, models, "image", faces_order, weights=_weights(weights, count), numbers=_numbers(faces_index, count)
        )
        found = drop_outliers(person.to("cpu"), outlier_threshold or -math.inf)
        preview = host.pixels(person.crops.pixels)
        preview[~found.kept.to(preview.device)] *= _LEFT_OUT
        return io.NodeOutput(found.identity, preview, "\n".join(_lines(found)), ui=node_ui.badge(_badge(found)))


def source_identity(
    node: str, identity: object, source: Tensor | None, models: pipeline.Models, **reading: Any
) -> Identity:
    """The person that a node puts in: the connected identity, otherwise the person in the source images. `reading` are
    options of `read_identity`."""
    if identity is not None:
        return host.rebuild(identity, Identity, "identity")
    if source is not None:
        return read_identity(source, models, "source", **reading)
    raise ValueError(f"{node} needs a person to put in: connect source (a photo) or identity")


def read_identity(
    image: Tensor,
    models: pipeline.Models,
    name: str,
    order: str = ORDERS[0],
    detection: float = 0.5,
    weights: list[float] | None = None,
    numbers: list[int] | None = None,
    look: pipeline.Look = pipeline.find,
) -> Identity:
    """The person in all images of an IMAGE. `name` is the input's name, `look` finds the faces."""
    if not image.shape[0]:
        raise ValueError(f"{name} is an empty batch; connect at least one photo of the person")
    try:
        return pipeline.identity_from(
            host.photos(image), models, order, detection, weights, numbers, host.with_progress, look
        )
    except pipeline.NoFace as missing:
        which = f"image {missing.index} of {name}" if image.shape[0] > 1 else name
        if missing.found:
            raise ValueError(
                f"there is no face {missing.number} in {which}: {missing.found} found, counted from 0; see the numbers "
                "in Detect Faces"
            ) from missing
        raise ValueError(
            f"no face found in {which}; use a photo that shows the whole face, at least 24 pixels wide"
        ) from missing


def _weights(text: str, count: int | None) -> list[float] | None:
    """The weights in the text of the widget: "1, 0.5" -> [1.0, 0.5]. Without a count of photos only the text is
    checked."""
    parts = _each("weights", text, r"\d{0,6}\.?\d{1,6}", "1, 0.5", count)
    if parts and not any(map(float, parts)):
        raise ValueError(f"weights {text!r}: at least one photo must count; give it a weight above 0")
    return [float(part) for part in parts] if parts else None


def _numbers(text: str, count: int | None) -> list[int] | None:
    """The face numbers in the text of the widget: "0, 2" -> [0, 2]; otherwise as `_weights`."""
    parts = _each("faces_index", text, r"\d{1,4}", "0 or 0, 2", count)
    return [int(part) for part in parts] if parts else None


def _each(name: str, text: str, number: str, example: str, count: int | None) -> list[str] | None:
    """The parts of a text with one number for each of `count` photos, or one for all; None for an empty text."""
    if not text.strip():
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(re.fullmatch(number, part) for part in parts):
        raise ValueError(
            f"{name} {text!r}: write numbers from 0 up separated by commas, such as {example}, or leave it empty"
        )
    if count is None or len(parts) == count:
        return parts
    if len(parts) > 1:
        raise ValueError(
            f"{name} {text!r}: {len(parts)} numbers for {node_ui.plural(count, 'photo')}; write one for each"
        )
    return parts * count


def _lines(found: Agreement) -> list[str]:
    if len(found.kept) == 1:
        return ["photo 0: the only photo"]
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
            description="Mixes two, three or four people into a new one: their photos are warped to a common shape "
            "and blended. Use it for a person who does not exist, or for a family resemblance. It works with every "
            "swapper.",
            search_aliases=["mix faces", "merge identities", "average face", "face morph", "blend face models"],
            inputs=[
                sockets.Identity.Input("identity_a", tooltip="A person, from Face Identity or Load Identity."),
                sockets.Identity.Input("identity_b", tooltip="Another person."),
                inputs.slider(
                    "share",
                    0.5,
                    "The share of identity_b: 0 is exactly identity_a, 1 exactly identity_b. Move it towards the "
                    "person whom the result should resemble more.",
                    step=0.01,
                ),
                sockets.Identity.Input("identity_c", optional=True, tooltip="A third person. See share_c."),
                sockets.Identity.Input("identity_d", optional=True, tooltip="A fourth person. See share_d."),
                inputs.slider(
                    "share_c",
                    0.33,
                    "The share of identity_c. The people before it split the rest in the same proportions. 0.33 gives "
                    "three people equal shares. Only used with identity_c.",
                    step=0.01,
                    optional=True,
                    advanced=True,
                ),
                inputs.slider(
                    "share_d",
                    0.25,
                    "The share of identity_d. The people before it split the rest in the same proportions. 0.25 gives "
                    "four people equal shares. Only used with identity_d.",
                    step=0.01,
                    optional=True,
                    advanced=True,
                ),
                inputs.detector(
                    "Its face recognition embeds the blend, so connect the one that the later nodes use.", advanced=True
                ),
            ],
            outputs=[
                sockets.Identity.Output("identity", tooltip="The blend, for the identity input of Face Swap."),
                io.Image.Output("preview", tooltip="The blended photos, which the swappers use."),
                io.String.Output(
                    "report", tooltip="Each person's share, and how similar the blend is to them (-1 to 1)."
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
        people = {name: _with_photos(one, name) for name, one in people.items() if one is not None}
        parts = {"identity_b": share, "identity_c": share_c, "identity_d": share_d}
        shares = {"identity_a": 1.0}
        for name in list(people)[1:]:
            shares = {other: part * (1 - parts[name]) for other, part in shares.items()} | {name: parts[name]}
        models = loaded.ready(host.pixels(people["identity_a"].crops.pixels), detector)
        people = {name: embedded_by(one.to(models.device), models.encoder) for name, one in people.items()}
        whole = blend(list(people.values()), list(shares.values()), models.encoder)
        lines = [
            f"{name}: share {shares[name]:.2f}, similarity to the blend {float(one.mean @ whole.mean):.2f}"
            for name, one in people.items()
        ]
        return io.NodeOutput(
            whole.to("cpu"),
            host.pixels(whole.crops.pixels),
            "\n".join(lines),
            ui=node_ui.badge(f"{len(people)} people"),
        )


def _with_photos(value: object, name: str) -> Identity:
    """The person from a socket, who must have photos; `name` is the input's name."""
    try:
        return require_photos(host.rebuild(value, Identity, name))
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from None
