"""Preview Faces: what was found, drawn on the pictures."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core.faces import draw
from ..cscs_core.types import FaceSet
from . import host, node_ui, sockets
from .batches import with_faces


class PreviewFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_PreviewFaces",
            display_name="Preview Faces (CSCS)",
            category="CSCS",
            description="Draws boxes and numbers of faces on the images and shows them. Use it behind Detect Faces, "
            "Select Faces or Track Faces to see what they do.",
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
                    tooltip="What is written on the boxes. faces: the place of each in its image, as faces_index "
                    "counts. tracks: the number of the person, behind Track Faces. none: boxes alone.",
                ),
                io.Boolean.Input(
                    "landmarks",
                    default=True,
                    advanced=True,
                    tooltip="The five points by which faces are cut out. Look at them when a swap sits askew.",
                ),
                io.Boolean.Input(
                    "dense_mesh",
                    default=False,
                    advanced=True,
                    tooltip="All 468 points. Look at them when a mask misses the face or the expression is wrong.",
                ),
                sockets.Faces.Input(
                    "chosen",
                    optional=True,
                    tooltip="Some of the faces, from Select Faces: they keep their colours, all others become grey.",
                ),
            ],
            outputs=[io.Image.Output("image", tooltip="The images with the marks; those without faces are unchanged.")],
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
            drawn[index] = image[index, ..., :3].nan_to_num(0.0, 1.0, 0.0)
        for rows, frame, here in with_faces(image, faces, torch.device("cpu")):
            written = {"tracks": here.track, "none": torch.full_like(here.track, -1)}.get(numbers)
            kept = None if bright is None else bright[rows]
            marked = draw.boxes(frame, here, numbers=written, chosen=kept, points=landmarks, dense=dense_mesh)
            drawn[int(faces.frame[rows][0])] = host.pixels(marked)[0]
        return io.NodeOutput(drawn, ui=node_ui.pictures(drawn) | node_ui.badge(_badge(faces, image)))


def _among(faces: FaceSet, chosen: FaceSet) -> Tensor:
    """Which faces are among the chosen, (F,) bool: the same place of the same image."""
    kept = {(frame, *box) for frame, box in zip(chosen.frame.tolist(), chosen.box.tolist(), strict=True)}
    places = zip(faces.frame.tolist(), faces.box.tolist(), strict=True)
    return torch.tensor([(frame, *box) in kept for frame, box in places], dtype=torch.bool)


def _badge(faces: FaceSet, image: Tensor) -> str:
    count = f"{len(faces)} face{'s' * (len(faces) != 1)}"
    return count if image.shape[0] == 1 else f"{count} in {image.shape[0]} images"
