"""Face Swap: swaps a source person into the target images."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.detectors.catalogue import DEFAULT_DETECTOR
from ..cscs_core.faces.identity import embedded_by
from ..cscs_core.faces.mask import MaskOptions
from ..cscs_core.faces.restorers import catalogue as restorers
from ..cscs_core.faces.restorers.base import Restoration
from ..cscs_core.faces.swappers.base import Swapper, largest_size
from ..cscs_core.faces.swappers.catalogue import DEFAULT_SWAPPER
from ..cscs_core.types import FaceSet, Identity, join
from . import batches, frame_report, host, inputs, loaded, node_ui, sockets
from .identity import read_identity, source_identity

_NONE = "none"  # no restorer


class FaceSwap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_FaceSwap",
            display_name="Face Swap (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Swaps the source person's face into the target, frame by frame. Only swap faces of people "
            "who agreed.",
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
            essentials_category="Face",
            inputs=[
                io.Image.Input("target", tooltip="The image or video frames whose faces are swapped."),
                io.Combo.Input(
                    "swapper",
                    options=loaded.swappers(),
                    default=DEFAULT_SWAPPER,
                    tooltip="The method. lite warps the source photo to the target's expression, and a small network "
                    "blends it in. warp does the same without the network. Both work best if source and target have a "
                    "similar head pose. cscs is the published network, for academic use only. It and other networks "
                    "are listed once their files are in models/cscs.",
                ),
                inputs.faces_order(
                    "How the target's faces are numbered for faces_index. Detect Faces shows the numbers. left-right "
                    "is best for a group photo, large-small for one main person."
                ),
                inputs.faces_index(
                    "Which faces of each frame are swapped.",
                    "In a video in which people change places, connect a reference instead.",
                ),
                inputs.reference_threshold("swapped"),
                inputs.strength(", for a family resemblance"),
                inputs.resolution(
                    ("256", "512"),
                    "Side length of the aligned crop in pixels. 512 suits close-ups. 256 is about twice as fast and "
                    "enough for faces smaller than about 200 pixels. A swapper with a single size always uses that.",
                ),
                inputs.detection_threshold(
                    "Lower it if a face is missed because it is dark, turned or half hidden. Raise it if something is "
                    "swapped that is not a face."
                ),
                io.Image.Input(
                    "source",
                    optional=True,
                    tooltip="One or more photos of the person to put in. The largest face in each is used. Not needed "
                    "with an identity.",
                ),
                sockets.Identity.Input(
                    "identity",
                    optional=True,
                    tooltip="A person from Face Identity. Used instead of source, even if both are connected.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only white areas may change. Paint one to keep hair, a hand or a microphone in front of "
                    "the face. It is resized to the target.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="A photo of the person in the target to replace. Connect it if the target shows several "
                    "people and you want to swap only one.",
                ),
                inputs.detector_name(),
                inputs.gender(
                    "Swaps only faces that look female or male; faces_index counts only these. It needs a detector "
                    "that estimates it, such as buffalo_l. lite does not.",
                    optional=True,
                    advanced=True,
                ),
                io.Int.Input(
                    "source_faces_index",
                    default=0,
                    min=0,
                    max=99,
                    optional=True,
                    advanced=True,
                    tooltip="Which face to use if the source photo shows several: 0 is the largest, 1 the second "
                    "largest.",
                ),
                io.Combo.Input(
                    "restorer",
                    options=[_NONE, *restorers.available(loaded.store())],
                    default=_NONE,
                    optional=True,
                    advanced=True,
                    tooltip="Makes the swapped faces clearer. Use one if they look softer than the rest of the image, "
                    "as after networks of 128 or 256 px. lite is bundled. GFPGAN, CodeFormer and RestoreFormer are "
                    "listed once their files are in models/cscs.",
                ),
                inputs.restore_visibility(
                    "Only used with a restorer. Lower it if skin looks painted.", optional=True, advanced=True
                ),
                inputs.keep_eyes(optional=True, advanced=True),
                inputs.keep_mouth(optional=True, advanced=True),
                inputs.slider(
                    "colour_match",
                    0.0,
                    "Raise it if a network gives the new face another tint. lite and warp already match the target's "
                    "light.",
                    optional=True,
                    advanced=True,
                ),
                inputs.feather(
                    0.0,
                    "Raise it if a seam shows. The edge becomes softer inwards, by this share of the crop.",
                    optional=True,
                    advanced=True,
                ),
                inputs.codeformer_weight("the swapped face", optional=True),
                sockets.Identity.Input(
                    "reference_identity",
                    optional=True,
                    advanced=True,
                    tooltip="The person in the target to replace, from Face Identity or Load Identity. Used instead "
                    "of reference. A ReActor face model works too, with detector buffalo_l.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "image", tooltip="The target with its faces swapped. Frames without a face are unchanged."
                ),
                io.Mask.Output("mask", tooltip="White where pixels changed, for a second pass over the face only."),
                io.String.Output(
                    "report",
                    tooltip="One line per frame and face: what was swapped, and how similar the result is to the "
                    "source and to the original face (-1 to 1, higher is more similar).",
                ),
                sockets.Faces.Output(
                    "faces", tooltip="The faces that were swapped, for Restore Faces, Align Faces or Face Report."
                ),
                sockets.Identity.Output(
                    "identity", tooltip="The person who was put in, for Save Identity or other nodes."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, faces_index: str | None) -> bool | str:
        return host.validate_numbers(faces_index=faces_index)

    fingerprint_inputs = loaded.fingerprint

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
        detector: str = DEFAULT_DETECTOR,
        gender: str = inputs.ANY,
        source_faces_index: int = 0,
        restorer: str = _NONE,
        restore_visibility: float = 0.8,
        keep_eyes: bool = False,
        keep_mouth: bool = False,
        colour_match: float = 0.0,
        feather: float = 0.0,
        codeformer_weight: float = 0.5,
        reference_identity: Identity | None = None,
    ) -> io.NodeOutput:
        indices = host.numbers(faces_index, "faces_index")
        models, engine, restoration = _load(target, swapper, detector, restorer, restore_visibility, codeformer_weight)
        post_process = pipeline.PostProcess(
            MaskOptions("whole", keep_eyes=keep_eyes, keep_mouth=keep_mouth), feather, colour_match, restoration
        )
        numbers = None if source is None else [source_faces_index] * source.shape[0]
        identity = source_identity(
            "Face Swap", identity, source, models, detection=detection_threshold, numbers=numbers
        )
        source_person = pipeline.prepare_source(identity, engine, models)
        face_filter = pipeline.FaceFilter(
            faces_order,
            indices,
            _reference(reference_identity, reference, models, detection_threshold),
            reference_threshold,
            None if gender == inputs.ANY else gender,
            detection_threshold,
        )
        image, touched, lines = host.blank(target), host.blank(target, 1), []
        swapped, candidates, similarity = [FaceSet.empty()], [FaceSet.empty()], []
        for index, frame in host.frames(target, models.device):
            limit = host.limit(mask, index, frame)
            done = pipeline.swap_faces(
                frame,
                source_person,
                models,
                size=largest_size(engine, int(resolution)),
                face_filter=face_filter,
                strength=strength,
                limit=limit,
                post_process=post_process,
                check_cancel=host.raise_if_cancelled,
            )
            image[index], touched[index] = host.pixels(done.images)[0], host.pixels(done.mask)[0]
            candidates.append(batches.put_frame(done.candidates, index))
            if limit is not None and not limit.any():
                lines += frame_report.unchanged(index, host.BLACK)
                continue
            lines += frame_report.frame_lines(index, "swapped", _faces(done), done.skipped)
            swapped.append(batches.put_frame(done.faces, index))
            similarity += done.similarity_to_source.tolist()
        faces = join(swapped)
        ui = {
            **node_ui.compare(target, image),
            **node_ui.picker(target, join(candidates), faces),
            **node_ui.badge(frame_report.badge("swapped", similarity)),
        }
        return io.NodeOutput(image, touched[..., 0], frame_report.text(lines), faces, identity.to("cpu"), ui=ui)


def _load(
    target: Tensor, swapper: str, detector: str, restorer: str, visibility: float, weight: float
) -> tuple[pipeline.Models, Swapper, Restoration | None]:
    """The networks that find, swap and, if one is chosen, restore faces."""
    if restorer == _NONE:
        return *loaded.ready_with(target, swapper, detector), None
    models, engine, network = loaded.ready_to_swap(target, swapper, detector, restorer)
    return models, engine, Restoration(network, visibility, weight)


def _reference(
    identity: Identity | None, image: Tensor | None, models: pipeline.Models, detection: float
) -> Identity | None:
    """The person in the target to replace, with embeddings of the models' encoder; None means everyone."""
    if identity is not None:
        person = host.rebuild(identity, Identity, "reference_identity")
        return embedded_by(person.to(models.device), models.encoder)
    return None if image is None else read_identity(image, models, "reference", detection=detection)


def _faces(done: pipeline.SwapResult) -> list[str]:
    rows = zip(
        done.faces.box.tolist(), done.similarity_to_source.tolist(), done.similarity_to_target.tolist(), strict=True
    )
    return [
        frame_report.face(box, f"similarity to the source {to_source:.2f}, to the original face {to_target:.2f}")
        for box, to_source, to_target in rows
    ]
