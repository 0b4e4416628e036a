"""Select Faces: keeps some of the faces and reports why the others were left out."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.identity import embedded_by
from ..cscs_core.faces.select import choose, share_inside
from ..cscs_core.types import FaceSet, Identity
from . import batches, host, inputs, loaded, node_ui, sockets

_OLDEST = 120  # years


class SelectFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_SelectFaces",
            display_name="Select Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Keeps some of the detected faces: by person, painted area, size or number. The filters come "
            "first, then the remaining faces are numbered. Reports why each face was left out.",
            search_aliases=["choose faces", "filter faces", "face index", "face by gender", "pick face", "face picker"],
            inputs=[
                io.Image.Input("image", tooltip="The images in which the faces were found."),
                sockets.Faces.Input("faces", tooltip="The faces, from Detect Faces or Track Faces."),
                inputs.faces_order(
                    "How the faces that pass the filters are numbered in each image. left-right is best for a group "
                    "photo, large-small for one main person."
                ),
                inputs.faces_index(
                    "Which of the faces that pass the filters to keep in each image.",
                    "You can also click the boxes in the preview.",
                ),
                inputs.gender(
                    "Keeps only faces that look female or male. Only insightface packs such as buffalo_l estimate it. "
                    "Faces without an estimate are left out."
                ),
                inputs.reference_threshold("kept"),
                inputs.numbers(
                    "tracks", "After Track Faces: track numbers to keep. Empty: all of them.", advanced=True
                ),
                io.Int.Input(
                    "smallest_face",
                    default=0,
                    min=0,
                    max=16384,
                    advanced=True,
                    tooltip="Width in pixels. Raise it to leave out people in the background. 0 keeps all.",
                ),
                io.Int.Input(
                    "largest_face",
                    default=16384,
                    min=1,
                    max=16384,
                    advanced=True,
                    tooltip="Width in pixels. Lower it to leave out people in the foreground.",
                ),
                io.Int.Input(
                    "age_from",
                    default=0,
                    min=0,
                    max=_OLDEST,
                    advanced=True,
                    tooltip="In years. Raise it to leave out faces that look younger. Ages are estimates of an "
                    "insightface pack. If you set a range, faces without an estimate are left out.",
                ),
                io.Int.Input(
                    "age_to",
                    default=_OLDEST,
                    min=0,
                    max=_OLDEST,
                    advanced=True,
                    tooltip="In years. Lower it to leave out faces that look older. See age_from.",
                ),
                sockets.Identity.Input(
                    "reference",
                    optional=True,
                    tooltip="The person to keep, from Face Identity. The most reliable way to pick one person from a "
                    "group or a video.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Keeps faces with at least half of their box in a white area. Paint white over the people "
                    "to keep. It is resized to the image.",
                ),
                inputs.recogniser("compares the faces with reference"),
            ],
            outputs=[
                sockets.Faces.Output("faces", tooltip="The faces that were kept, in the order of their numbers."),
                io.Int.Output("count", tooltip="The number of faces kept in all images together."),
                io.String.Output("skipped", tooltip="One line per face that was left out: where it is, and why."),
            ],
        )

    @classmethod
    def validate_inputs(cls, faces_index: str | None, tracks: str | None) -> bool | str:
        return host.validate_numbers(faces_index=faces_index, tracks=tracks)

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
            likeness=None if reference is None else _similarity(image, faces, reference, detector),
            threshold=reference_threshold,
            within=None if mask is None else _within(image, faces, mask),
            smallest=smallest_face,
            largest=largest_face,
            gender=None if gender == inputs.ANY else gender,
            age=None if (age_from, age_to) == (0, _OLDEST) else (age_from, age_to),
            tracks=host.numbers(tracks, "tracks"),
        )
        skipped = "\n".join(chosen.skipped) or ("no face was left out" if len(faces) else "no faces received")
        badge = f"{len(chosen.faces)} of {len(faces)} faces"
        shows = node_ui.badge(badge) | node_ui.picker(image, chosen.candidates, chosen.faces)
        return io.NodeOutput(chosen.faces, len(chosen.faces), skipped, ui=shows)


def _similarity(image: Tensor, faces: FaceSet, reference: Identity, detector: loaded.Choice | None) -> Tensor:
    """The cosine similarity of each face to the reference, (F,)."""
    models = loaded.ready(image, detector)
    person = embedded_by(host.rebuild(reference, Identity, "reference").to(models.device), models.encoder)
    similarity = torch.zeros_like(faces.score)
    for rows, frame, here in batches.with_faces(image, faces, models.device):
        similarity[rows] = pipeline.likeness(frame, here, person, models).to(similarity)
    return similarity


def _within(image: Tensor, faces: FaceSet, mask: Tensor) -> Tensor:
    """The white share of each face's box in the MASK, (F,) 0..1."""
    white = torch.zeros_like(faces.score)
    for rows, frame, here in batches.with_faces(image, faces, torch.device("cpu")):
        limit = host.limit(mask, int(faces.frame[rows][0]), frame)
        white[rows] = 1.0 if limit is None else share_inside(here, limit)
    return white
