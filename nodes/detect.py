"""Detect Faces: where are they, and which number has each."""

from __future__ import annotations

from dataclasses import replace

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import draw, pipeline
from ..cscs_core.detectors import BUNDLED
from ..cscs_core.select import ORDERS, order
from ..cscs_core.types import FaceSet, join
from . import host


class DetectFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_DetectFaces",
            display_name="Detect Faces (CSCS)",
            category="CSCS",
            description="Finds the faces in every image and draws their numbers. Look here which number to give Face "
            "Swap.",
            search_aliases=["face detection", "find faces", "face box", "face landmarks", "count faces"],
            inputs=[
                io.Image.Input("image", tooltip="Pictures or the frames of a video; each is searched on its own."),
                io.Combo.Input(
                    "faces_order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="How faces are numbered. Give Face Swap the same order, so that its numbers mean these "
                    "faces. left-right is the steadiest for a group photo, large-small for one main person.",
                ),
                io.Float.Input(
                    "detection_threshold",
                    default=0.5,
                    min=0.05,
                    max=0.95,
                    step=0.05,
                    tooltip="Lower it when a face is missed (dark, turned, half hidden); raise it when something that "
                    "is no face is marked.",
                ),
                host.detector_input(),
            ],
            outputs=[
                host.Faces.Output("faces", tooltip="Boxes, points and scores of all faces of all images."),
                io.Image.Output("preview", tooltip="The images with boxes, points and numbers drawn on them."),
                io.Int.Output("count", tooltip="How many faces were found in all images together."),
                io.String.Output("report", tooltip="One line per image and face: place, size, score."),
            ],
        )

    @classmethod
    def execute(
        cls, image: Tensor, faces_order: str, detection_threshold: float, detector: str = BUNDLED
    ) -> io.NodeOutput:
        found, lines, preview = [FaceSet.empty()], [], host.blank(image)
        models = host.models(image, detector)
        for index, frame in host.frames(image):
            faces = order(pipeline.find(frame, models, threshold=detection_threshold), faces_order)
            preview[index] = host.pixels(draw.boxes(frame, faces))[0]
            lines += _lines(index, faces)
            found.append(replace(faces, frame=faces.frame + index).to("cpu"))
        faces = join(found)
        return io.NodeOutput(faces, preview, len(faces), "\n".join(lines) or "no image came in")


def _lines(index: int, faces: FaceSet) -> list[str]:
    if not len(faces):
        return [f"image {index}: no face found"]
    lines = [f"image {index}: {len(faces)} face{'s' * (len(faces) > 1)}"]
    for number, (box, score) in enumerate(zip(faces.box.tolist(), faces.score.tolist(), strict=True)):
        left, top, right, bottom = (round(side) for side in box)
        lines.append(f"  face {number}: {right - left} x {bottom - top} px at {left}, {top}; score {score:.2f}")
    return lines
