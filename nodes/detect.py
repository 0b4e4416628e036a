"""Detect Faces: where are they, and which number has each."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces import draw
from ..cscs_core.faces.detectors.catalogue import DEFAULT_DETECTOR
from ..cscs_core.faces.select import GENDERS, ORDERS, order
from ..cscs_core.types import FaceSet, join
from . import batches, host, loaded, node_ui, sockets


class DetectFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_DetectFaces",
            display_name="Detect Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Finds the faces in every image and draws their numbers. Look here which number to give Face "
            "Swap.",
            search_aliases=["face detection", "find faces", "face box", "face landmarks", "count faces"],
            essentials_category="Face",
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
                    advanced=True,
                    tooltip="Lower it when a face is missed (dark, turned, half hidden); raise it when something that "
                    "is no face is marked.",
                ),
                loaded.detector_input(),
                sockets.Detector.Input(
                    "detector_model",
                    optional=True,
                    tooltip="From Load Model, for one detector in several nodes or one on the processor. Takes the "
                    "place of detector.",
                ),
            ],
            outputs=[
                sockets.Faces.Output("faces", tooltip="Boxes, points and scores of all faces of all images."),
                io.Image.Output("preview", tooltip="The images with boxes, points and numbers drawn on them."),
                io.Int.Output("count", tooltip="How many faces were found in all images together."),
                io.String.Output(
                    "report",
                    tooltip="One line per image and face: place, size, score, and age and gender "
                    "where the detector tells them.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, **inputs: object) -> str:
        """Changes when a model file comes, goes or is exchanged."""
        return repr(loaded.files())

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
        finder = loaded.ready(image, detector if detector_model is None else detector_model)
        for index, frame in host.frames(image, finder.device):
            faces = order(pipeline.find(frame, finder, threshold=detection_threshold), faces_order)
            preview[index] = host.pixels(draw.boxes(frame, faces))[0]
            lines += _lines(index, faces)
            found.append(batches.put_frame(faces, index))
        faces = join(found)
        badge = node_ui.badge(node_ui.plural(len(faces), "face"))
        return io.NodeOutput(faces, preview, len(faces), "\n".join(lines) or "no image came in", ui=badge)


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
