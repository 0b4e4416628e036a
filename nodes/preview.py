"""Preview Faces: boxes, numbers and landmarks drawn on the images."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core.faces import draw
from ..cscs_core.io.images import clean
from ..cscs_core.types import FaceSet
from . import batches, host, inputs, node_ui, sockets


class PreviewFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_PreviewFaces",
            display_name="Preview Faces (CSCS)",
            category="CSCS",
            description="Draws the boxes and numbers of faces on the images. Use it after Detect Faces, Select Faces "
            "or Track Faces to check what they found.",
            search_aliases=["show faces", "face boxes", "draw landmarks", "face mesh", "debug faces"],
            essentials_category="Face",
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The images in which the faces were found."),
                sockets.Faces.Input("faces", tooltip="From Detect Faces, Select Faces or Track Faces."),
                io.Combo.Input(
                    "numbers",
                    options=["faces", "tracks", "none"],
                    default="faces",
                    tooltip="The numbers on the boxes. faces: the number in its image, as in faces_index. tracks: the "
                    "track number, after Track Faces. none: no numbers.",
                ),
                io.Boolean.Input(
                    "landmarks",
                    default=True,
                    advanced=True,
                    tooltip="Draws the five landmarks that align the face. Check them if a swapped face is tilted or "
                    "shifted.",
                ),
                inputs.switch(
                    "dense_mesh",
                    "Draws all 468 landmarks. Check them if a mask misses the face or the expression is wrong.",
                    advanced=True,
                ),
                sockets.Faces.Input(
                    "chosen",
                    optional=True,
                    tooltip="Some of the faces, from Select Faces. They keep their colours, and all others turn grey.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The images with the drawings. Images without faces are unchanged.")
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        faces: FaceSet,
        numbers: str,
        landmarks: bool,
        dense_mesh: bool,
        chosen: FaceSet | None = None,
    ) -> io.NodeOutput:
        faces = host.rebuild(faces, FaceSet, "faces")
        host.check_frames(image, faces, "faces")
        bright = None if chosen is None else _among(faces, host.rebuild(chosen, FaceSet, "chosen"))
        drawn = host.blank(image)
        for index in range(len(image)):
            host.raise_if_cancelled()
            drawn[index] = clean(image[index, ..., :3].float())
        for rows, frame, here in batches.with_faces(image, faces, torch.device("cpu")):
            written = {"tracks": here.track, "none": torch.full_like(here.track, -1)}.get(numbers)
            kept = None if bright is None else bright[rows]
            marked = draw.boxes(frame, here, numbers=written, chosen=kept, points=landmarks, dense=dense_mesh)
            drawn[int(faces.frame[rows][0])] = host.pixels(marked)[0]
        return io.NodeOutput(drawn, ui=node_ui.pictures(drawn) | node_ui.badge(_badge(faces, image)))


def _among(faces: FaceSet, chosen: FaceSet) -> Tensor:
    """Which faces are among the chosen, (F,) bool: those with the same box in the same image."""
    kept = {(frame, *box) for frame, box in zip(chosen.frame.tolist(), chosen.box.tolist(), strict=True)}
    places = zip(faces.frame.tolist(), faces.box.tolist(), strict=True)
    return torch.tensor([(frame, *box) in kept for frame, box in places], dtype=torch.bool)


def _badge(faces: FaceSet, image: Tensor) -> str:
    count = node_ui.plural(len(faces), "face")
    return count if image.shape[0] == 1 else f"{count} in {image.shape[0]} images"
