"""Track Faces: the same person gets the same number through all frames."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core.faces.identity import encode
from ..cscs_core.faces.select import describe_place
from ..cscs_core.faces.track import track
from ..cscs_core.types import FaceSet
from . import host, loaded, node_ui, sockets
from .batches import with_faces


class TrackFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_TrackFaces",
            display_name="Track Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Gives each person of a video one number through all frames, by where the faces are and whom "
            "they look like. Select Faces then keeps people by these numbers.",
            search_aliases=["face tracking", "follow face", "video faces", "same person", "track id"],
            inputs=[
                io.Image.Input("image", tooltip="The frames of the video, in order."),
                sockets.Faces.Input("faces", tooltip="All faces of all frames, from Detect Faces."),
                io.Float.Input(
                    "overlap",
                    default=0.3,
                    min=0.05,
                    max=0.95,
                    step=0.05,
                    tooltip="How much a face must cover the place where it should be by now. Lower it when people who "
                    "move fast get new numbers, raise it when neighbours in a crowd swap theirs.",
                ),
                io.Float.Input(
                    "likeness",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How alike two faces must be to be one person wherever they are. Lower it when somebody "
                    "who turns or is lit anew gets a new number, raise it when two people get the same.",
                ),
                io.Int.Input(
                    "gap",
                    default=12,
                    min=0,
                    max=9999,
                    tooltip="For how many frames somebody may be unseen and still keep the number. Raise it for people "
                    "who walk behind something, or very far for those who come back after a cut.",
                ),
                io.Boolean.Input(
                    "by_look",
                    default=True,
                    advanced=True,
                    tooltip="Off: follow faces by their place alone. Quicker, but people who cross may swap numbers.",
                ),
                sockets.Detector.Input(
                    "detector",
                    optional=True,
                    tooltip="From Load Model: whose recogniser tells who looks like whom. Without it the bundled one.",
                ),
            ],
            outputs=[
                sockets.Faces.Output("faces", tooltip="The same faces, each with the number of its person."),
                io.Int.Output("count", tooltip="How many people there are."),
                io.String.Output("report", tooltip="One line per person: number, frames, where first seen."),
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
        return io.NodeOutput(tracked, len(lines), "\n".join(lines) or "no face came in", ui=node_ui.badge(people))


def _embeddings(image: Tensor, faces: FaceSet, detector: loaded.Choice | None) -> Tensor:
    """Whom each face looks like, (F, E)."""
    finder = loaded.ready(image, detector)
    known = torch.zeros(len(faces), finder.encoder.width)
    for rows, frame, here in with_faces(image, faces, finder.device):
        known[rows] = encode(frame, here, finder.encoder).to(known)
    return known


def _lines(faces: FaceSet) -> list[str]:
    """A line for each person."""
    lines = []
    for number in faces.track.unique().tolist():
        mine = faces[faces.track == number]
        frames, box = sorted(mine.frame.tolist()), mine.box[mine.frame.argmin()].tolist()
        lines.append(
            f"person {number}: {node_ui.plural(len(frames), 'frame')} from {frames[0]} to {frames[-1]}, first at "
            f"{describe_place(box)}"
        )
    return lines
