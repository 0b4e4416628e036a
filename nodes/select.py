"""Select Faces: some of the faces found, and why not the others."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.identity import embedded_by
from ..cscs_core.faces.select import GENDERS, ORDERS, choose, share_inside
from ..cscs_core.types import FaceSet, Identity
from . import host, loaded, node_ui, sockets
from .batches import with_faces

_ANY = "any"
_OLDEST = 120  # years


class SelectFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_SelectFaces",
            display_name="Select Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Keeps some of the faces that were found: of one person, in a painted area, of a size, by "
            "number. First the filters leave faces out, then the rest is numbered. Says of every face left out why.",
            search_aliases=["choose faces", "filter faces", "face index", "face by gender", "pick face", "face picker"],
            inputs=[
                io.Image.Input("image", tooltip="The images in which the faces were found."),
                sockets.Faces.Input("faces", tooltip="From Detect Faces or Track Faces."),
                io.Combo.Input(
                    "faces_order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="How the faces that pass the filters are numbered in each image. left-right is the "
                    "steadiest for a group photo, large-small for one main person.",
                ),
                io.String.Input(
                    "faces_index",
                    default="",
                    placeholder="all, or 0, or 0,2",
                    tooltip="Which of the faces that pass the filters are kept in each image. Empty: all of them. 0: "
                    "the first in faces_order. 0,2: the first and the third. Clicking the boxes in the picture writes "
                    "it.",
                ),
                io.Combo.Input(
                    "gender",
                    options=[_ANY, *GENDERS],
                    default=_ANY,
                    tooltip="Change it to keep only faces that look so. Known only of faces found with an insightface "
                    "pack such as buffalo_l; a face of which it is not known is left out.",
                ),
                io.Float.Input(
                    "reference_threshold",
                    default=0.5,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Counts only with a reference connected. Raise it when other people are kept too, lower it "
                    "when the person is missed in some frames.",
                ),
                io.String.Input(
                    "tracks",
                    default="",
                    placeholder="all, or 0, or 0,2",
                    advanced=True,
                    tooltip="Behind Track Faces: the numbers of the people to keep through the whole video. Empty: "
                    "everybody.",
                ),
                io.Int.Input(
                    "smallest_face",
                    default=0,
                    min=0,
                    max=16384,
                    advanced=True,
                    tooltip="Pixels across. Raise it to leave out people in the background; 0 keeps all.",
                ),
                io.Int.Input(
                    "largest_face",
                    default=16384,
                    min=1,
                    max=16384,
                    advanced=True,
                    tooltip="Pixels across. Lower it to leave out people in front.",
                ),
                io.Int.Input(
                    "age_from",
                    default=0,
                    min=0,
                    max=_OLDEST,
                    advanced=True,
                    tooltip="Years. Raise it to leave out faces that look younger. Ages are guesses, known only of "
                    "faces found with an insightface pack; with a range set a face of unknown age is left out.",
                ),
                io.Int.Input(
                    "age_to",
                    default=_OLDEST,
                    min=0,
                    max=_OLDEST,
                    advanced=True,
                    tooltip="Years. Lower it to leave out faces that look older; the rest is as with age_from.",
                ),
                sockets.Identity.Input(
                    "reference",
                    optional=True,
                    tooltip="The person to keep, from Face Identity. The surest way to one person in a group or a "
                    "video.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Keeps faces with at least half of their box in white. Paint one over the people meant. "
                    "Stretched to the image's size.",
                ),
                sockets.Detector.Input(
                    "detector",
                    optional=True,
                    tooltip="From Load Model: whose recogniser compares faces with reference. Without it the bundled "
                    "one.",
                ),
            ],
            outputs=[
                sockets.Faces.Output("faces", tooltip="The faces kept, in the order of their numbers."),
                io.Int.Output("count", tooltip="How many faces are kept in all images together."),
                io.String.Output("skipped", tooltip="One line per face left out: where it is, and why."),
            ],
        )

    @classmethod
    def validate_inputs(cls, faces_index: str | None, tracks: str | None) -> bool | str:
        return host.checked(faces_index=faces_index, tracks=tracks)

    @classmethod
    def execute(
        cls,
        image: Tensor,
        faces: FaceSet,
        faces_order: str,
        faces_index: str,
        gender: str,
        reference_threshold: float,
        tracks: str,
        smallest_face: int,
        largest_face: int,
        age_from: int,
        age_to: int,
        reference: Identity | None = None,
        mask: Tensor | None = None,
        detector: loaded.Choice | None = None,
    ) -> io.NodeOutput:
        faces = host.rebuild(faces, FaceSet, "faces")
        host.check_frames(image, faces, "faces")
        chosen = choose(
            faces,
            order=faces_order,
            indices=host.numbers(faces_index, "faces_index"),
            likeness=None if reference is None else _likeness(image, faces, reference, detector),
            threshold=reference_threshold,
            within=None if mask is None else _within(image, faces, mask),
            smallest=smallest_face,
            largest=largest_face,
            gender=None if gender == _ANY else gender,
            age=None if (age_from, age_to) == (0, _OLDEST) else (age_from, age_to),
            tracks=host.numbers(tracks, "tracks"),
        )
        skipped = "\n".join(chosen.skipped) or ("no face is left out" if len(faces) else "no face came in")
        badge = f"{len(chosen.faces)} of {len(faces)} faces"
        shows = node_ui.badge(badge) | node_ui.picker(image, chosen.candidates, chosen.faces)
        return io.NodeOutput(chosen.faces, len(chosen.faces), skipped, ui=shows)


def _likeness(image: Tensor, faces: FaceSet, reference: Identity, detector: loaded.Choice | None) -> Tensor:
    """The cosine of each face and the reference, (F,)."""
    finder = loaded.ready(image, detector)
    person = embedded_by(host.rebuild(reference, Identity, "reference").to(finder.device), finder.encoder)
    alike = torch.zeros_like(faces.score)
    for rows, frame, here in with_faces(image, faces, finder.device):
        alike[rows] = pipeline.likeness(frame, here, person, finder).to(alike)
    return alike


def _within(image: Tensor, faces: FaceSet, mask: Tensor) -> Tensor:
    """How much of each face is white in the MASK, (F,)."""
    white = torch.zeros_like(faces.score)
    for rows, frame, here in with_faces(image, faces, torch.device("cpu")):
        limit = host.limit(mask, int(faces.frame[rows][0]), frame)
        white[rows] = 1.0 if limit is None else share_inside(here, limit)
    return white
