"""Detect Faces: where the faces are, and the number of each."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces import draw
from ..cscs_core.faces.detectors.catalogue import DEFAULT_DETECTOR
from ..cscs_core.faces.select import GENDERS, order
from ..cscs_core.types import FaceSet, join
from . import batches, frame_report, host, inputs, loaded, node_ui, sockets


class DetectFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_DetectFaces",
            display_name="Detect Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Finds the faces in every image and numbers them. Run it to see which number to enter in Face "
            "Swap.",
            search_aliases=["face detection", "find faces", "face box", "face landmarks", "count faces"],
            essentials_category="Face",
            inputs=[
                io.Image.Input("image", tooltip="Images or the frames of a video. Each is searched on its own."),
                inputs.faces_order(
                    "How faces are numbered. Choose the same order in Face Swap, or its numbers mean other faces. "
                    "left-right is best for a group photo, large-small for one main person."
                ),
                inputs.detection_threshold(
                    "Lower it if a face is missed because it is dark, turned or half hidden. Raise it if something is "
                    "marked that is not a face.",
                    advanced=True,
                ),
                inputs.detector_name(),
                inputs.detector_model(),
            ],
            outputs=[
                sockets.Faces.Output("faces", tooltip="Boxes, landmarks and scores of all faces in all images."),
                io.Image.Output("preview", tooltip="The images with boxes, landmarks and numbers."),
                io.Int.Output("count", tooltip="The number of faces in all images together."),
                io.String.Output(
                    "report",
                    tooltip="One line per image and face: position, size, score, and age and gender if the detector "
                    "estimates them.",
                ),
            ],
        )

    fingerprint_inputs = loaded.fingerprint

    @classmethod
    def execute(
        cls,
        image: Tensor,
        faces_order: str,
        detection_threshold: float,
        detector: str = DEFAULT_DETECTOR,
        detector_model: loaded.Choice | None = None,
    ) -> io.NodeOutput:
        found, lines, preview = [FaceSet.empty()], [], host.blank(image)
        models = loaded.ready(image, detector if detector_model is None else detector_model)
        for index, frame in host.frames(image, models.device):
            faces = order(pipeline.find(frame, models, threshold=detection_threshold), faces_order)
            preview[index] = host.pixels(draw.boxes(frame, faces))[0]
            lines += _lines(index, faces)
            found.append(batches.put_frame(faces, index))
        faces = join(found)
        badge = node_ui.badge(node_ui.plural(len(faces), "face"))
        return io.NodeOutput(faces, preview, len(faces), frame_report.text(lines), ui=badge)


def _lines(index: int, faces: FaceSet) -> list[str]:
    if not len(faces):
        return [f"image {index}: no face found"]
    lines = [f"image {index}: {node_ui.plural(len(faces), 'face')}"]
    columns = (faces.box, faces.score, faces.age, faces.gender)
    for number, (box, score, age, gender) in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        left, top, right, bottom = (round(side) for side in box)
        looks = [GENDERS[gender]] * (gender >= 0) + [f"about {age:.0f}"] * (age >= 0)  # NaN is not
        place = f"{right - left} x {bottom - top} px at {left}, {top}"
        lines.append("; ".join([f"  face {number}: {place}", f"score {score:.2f}", *looks]))
    return lines
