"""Face Swap: target picture and source person in, swapped picture out."""

from __future__ import annotations

import re

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.detectors import BUNDLED
from ..cscs_core.select import ORDERS
from ..cscs_core.swappers import DEFAULT
from ..cscs_core.types import Identity
from . import host
from . import identity as person


class FaceSwap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_FaceSwap",
            display_name="Face Swap (CSCS)",
            category="CSCS",
            description="Puts the source person's face on the faces of the target, frame by frame. Only swap faces of "
            "people who agreed.",
            search_aliases=[
                "face swap",
                "faceswap",
                "swap face",
                "replace face",
                "deepfake",
                "roop",
                "reactor",
                "inswapper",
            ],
            inputs=[
                io.Image.Input("target", tooltip="The picture or video frames whose faces are replaced."),
                io.Combo.Input(
                    "swapper",
                    options=host.swappers(),
                    default=DEFAULT,
                    tooltip="How the face is made. lite bends the source photo onto the target's expression and lets a "
                    "small network make it belong there; warp is the same without the network. Both are best when "
                    "source and target look roughly the same way. cscs is the published network, for academic use "
                    "only; it and other networks are listed once their files are in models/cscs.",
                ),
                io.Combo.Input(
                    "faces_order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="How the target's faces are numbered for faces_index; Detect Faces shows the numbers. "
                    "left-right is the steadiest for a group photo, large-small for one main person.",
                ),
                io.String.Input(
                    "faces_index",
                    default="",
                    placeholder="all, or 0, or 0,2",
                    tooltip="Which faces of each frame are replaced. Empty: all of them. 0: the first in faces_order. "
                    "0,2: the first and the third. In a video where people change places connect a reference "
                    "instead.",
                ),
                io.Float.Input(
                    "reference_threshold",
                    default=0.5,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Counts only with a reference connected. Raise it when other people are replaced too, "
                    "lower it when the person is missed in some frames.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="1 is the full swap. Lower it to keep some of the target's own face, for a family "
                    "resemblance.",
                ),
                io.Combo.Input(
                    "resolution",
                    options=["256", "512"],
                    default="512",
                    tooltip="Pixels along a side of the face that is worked on. 512 for close-ups; 256 is about four "
                    "times quicker and enough where faces are smaller than about 200 pixels. A swapper that knows one "
                    "size takes that.",
                ),
                io.Float.Input(
                    "detection_threshold",
                    default=0.5,
                    min=0.05,
                    max=0.95,
                    step=0.05,
                    tooltip="Lower it when a face is missed (dark, turned, half hidden); raise it when something that "
                    "is no face gets one.",
                ),
                io.Image.Input(
                    "source",
                    optional=True,
                    tooltip="A photo of the person whose face is put in, or a batch of several of the same person; of "
                    "several people in it the largest face counts. Not needed when identity is connected.",
                ),
                host.Identity.Input(
                    "identity",
                    optional=True,
                    tooltip="A person read by Face Identity. Takes the place of source, also when both are connected.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only white places may change. Paint one when hair, a hand or a microphone in front of "
                    "the face should stay. Stretched to the target's size.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="A photo of the person in the target who is to be replaced. Connect it when several "
                    "people are in the picture and only one of them is meant.",
                ),
                host.detector_input(),
            ],
            outputs=[
                io.Image.Output(
                    "image", tooltip="The target with its faces replaced; frames without a face are unchanged."
                ),
                io.Mask.Output(
                    "mask", tooltip="White where pixels were replaced, for a second pass over the face only."
                ),
                io.String.Output(
                    "report",
                    tooltip="One line per frame and face: what was replaced, and how alike the result is to the "
                    "source and to the person who was there (-1 to 1, more is more alike).",
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, faces_index: str | None) -> bool | str:
        """`faces_index` is None while another node still has to make it."""
        try:
            numbers(faces_index or "")
        except ValueError as error:
            return str(error)
        return True

    @classmethod
    def execute(
        cls,
        target: Tensor,
        swapper: str,
        faces_order: str,
        faces_index: str,
        reference_threshold: float,
        strength: float,
        resolution: str,
        detection_threshold: float,
        source: Tensor | None = None,
        identity: Identity | None = None,
        mask: Tensor | None = None,
        reference: Tensor | None = None,
        detector: str = BUNDLED,
    ) -> io.NodeOutput:
        indices = numbers(faces_index)
        models, engine = host.models_and_swapper(target, swapper, detector)
        if identity is None:
            if source is None:
                raise ValueError("Face Swap needs a person to put in: connect source (a photo) or identity")
            identity = person.read(source, models, "source", detection=detection_threshold)
        source_person = pipeline.encoded(identity, engine, models)
        size = max((side for side in engine.sizes if side <= int(resolution)), default=min(engine.sizes))
        known = None
        if reference is not None:
            known = person.read(reference, models, "reference", detection=detection_threshold)
        image, touched, lines = host.blank(target), host.blank(target, 1), []
        for index, frame in host.frames(target):
            limit = host.limit(mask, index, frame)
            done = pipeline.swap_faces(
                frame,
                source_person,
                models,
                size=size,
                order=faces_order,
                indices=indices,
                reference=known,
                threshold=reference_threshold,
                strength=strength,
                detection=detection_threshold,
                limit=limit,
            )
            image[index], touched[index] = host.pixels(done.images)[0], host.pixels(done.mask)[0]
            lines += _lines(index, done)
            if limit is not None and not limit.any():
                lines.append("  the mask is black here, so nothing may change; white is what may")
        return io.NodeOutput(image, touched[..., 0], "\n".join(lines) or "no image came in")


def numbers(text: str) -> list[int] | None:
    """Face numbers as a user writes them: "" -> None (all), "0, 2" -> [0, 2]."""
    if not text.strip():
        return None
    if not re.fullmatch(r"\s*\d+\s*(,\s*\d+\s*)*", text):
        raise ValueError(
            f"faces_index {text!r}: write face numbers from 0 on with commas, as 0 or 0,2; empty means all"
        )
    return [int(number) for number in text.split(",")]


def _lines(index: int, done: pipeline.Swapped) -> list[str]:
    count = len(done.faces)
    if not count:
        return [f"frame {index} is unchanged: {'; '.join(done.skipped) or 'no face found'}"]
    lines = [f"frame {index}: {count} face{'s' * (count > 1)} replaced"]
    rows = zip(
        done.faces.box.tolist(), done.similarity_to_source.tolist(), done.similarity_to_target.tolist(), strict=True
    )
    for (left, top, right, _), to_source, to_target in rows:
        lines.append(
            f"  face at {left:.0f}, {top:.0f} ({right - left:.0f} px wide): likeness to the source {to_source:.2f}, "
            f"to the person who was there {to_target:.2f}"
        )
    return lines + [f"  left alone: {reason}" for reason in done.skipped]
