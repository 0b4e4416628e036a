"""Track Faces: each person gets one track number in all frames."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core.faces.identity import encode
from ..cscs_core.faces.select import describe_place
from ..cscs_core.faces.track import track
from ..cscs_core.types import FaceSet
from . import batches, host, inputs, loaded, node_ui, sockets


class TrackFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_TrackFaces",
            display_name="Track Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Gives each person in a video one track number, from position and appearance. Enter these "
            "numbers in Select Faces to keep certain people.",
            search_aliases=["face tracking", "follow face", "video faces", "same person", "track id"],
            inputs=[
                io.Image.Input("image", tooltip="The frames of the video, in order."),
                sockets.Faces.Input("faces", tooltip="All faces of all frames, from Detect Faces."),
                inputs.slider(
                    "overlap",
                    0.3,
                    "How much a face must overlap its expected position. Lower it if people who move fast get new "
                    "numbers. Raise it if neighbours in a crowd swap numbers.",
                    low=0.05,
                    high=0.95,
                ),
                inputs.slider(
                    "likeness",
                    0.5,
                    "How similar two faces must be to count as one person anywhere in the frame. Lower it if someone "
                    "gets a new number after a turn or a change of light. Raise it if two people share a number.",
                ),
                io.Int.Input(
                    "gap",
                    default=12,
                    min=0,
                    max=9999,
                    tooltip="How many frames someone may be out of sight and still keep the number. Raise it for "
                    "people who walk behind something. Set it very high for people who return after a cut.",
                ),
                io.Boolean.Input(
                    "by_look",
                    default=True,
                    advanced=True,
                    tooltip="Also compares faces, not only positions. Turn it off to be faster, but people who cross "
                    "may then swap numbers.",
                ),
                inputs.recogniser("compares the faces"),
            ],
            outputs=[
                sockets.Faces.Output("faces", tooltip="The same faces with their track numbers."),
                io.Int.Output("count", tooltip="The number of people."),
                io.String.Output("report", tooltip="One line per person: number, frames, and first position."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        faces: FaceSet,
        overlap: float,
        likeness: float,
        gap: int,
        by_look: bool,
        detector: loaded.Choice | None = None,
    ) -> io.NodeOutput:
        faces = host.rebuild(faces, FaceSet, "faces")
        host.check_frames(image, faces, "faces")
        embeddings = _embeddings(image, faces, detector) if by_look and len(faces) else None
        tracked = track(faces, embeddings, overlap=overlap, likeness=likeness, gap=gap)
        lines = _lines(tracked)
        people = f"{len(lines)} {'person' if len(lines) == 1 else 'people'}"
        return io.NodeOutput(tracked, len(lines), "\n".join(lines) or "no faces received", ui=node_ui.badge(people))


def _embeddings(image: Tensor, faces: FaceSet, detector: loaded.Choice | None) -> Tensor:
    """The embedding of each face, (F, E)."""
    models = loaded.ready(image, detector)
    known = torch.zeros(len(faces), models.encoder.width)
    for rows, frame, here in batches.with_faces(image, faces, models.device):
        known[rows] = encode(frame, here, models.encoder).to(known)
    return known


def _lines(faces: FaceSet) -> list[str]:
    """One line per person."""
    lines = []
    for number in faces.track.unique().tolist():
        mine = faces[faces.track == number]
        frames, box = sorted(mine.frame.tolist()), mine.box[mine.frame.argmin()].tolist()
        lines.append(
            f"person {number}: {node_ui.plural(len(frames), 'frame')} from {frames[0]} to {frames[-1]}, first seen at "
            f"{describe_place(box)}"
        )
    return lines
