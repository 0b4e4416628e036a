"""Face Swap: target picture and source person in, swapped picture out."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.detectors.catalogue import DEFAULT_DETECTOR
from ..cscs_core.faces.identity import embedded_by
from ..cscs_core.faces.mask import MaskOptions
from ..cscs_core.faces.restorers import catalogue as restorers
from ..cscs_core.faces.restorers.base import Restoration
from ..cscs_core.faces.select import GENDERS, ORDERS, describe_place
from ..cscs_core.faces.swappers.base import largest_size
from ..cscs_core.faces.swappers.catalogue import DEFAULT_SWAPPER
from ..cscs_core.types import FaceSet, Identity, join
from . import batches, host, loaded, node_ui, sockets
from . import identity as person

_ANY, _NONE = "any", "none"


class FaceSwap(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_FaceSwap",
            display_name="Face Swap (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Puts the source person's face on the faces of the target, frame by frame. Only swap faces of "
            "people who agreed.",
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
                io.Image.Input("target", tooltip="The picture or video frames whose faces are replaced."),
                io.Combo.Input(
                    "swapper",
                    options=loaded.swappers(),
                    default=DEFAULT_SWAPPER,
                    tooltip="How the face is made. lite bends the source photo onto the target's expression and lets a "
                    "small network make it belong there; warp is the same without the network. Both are best when "
                    "source and target look roughly the same way. cscs is the published network, for academic use "
                    "only; it and other networks are listed once their files are in models/cscs.",
                ),
                io.Combo.Input(
                    "faces_order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="How the target's faces are numbered for faces_index; Detect Faces shows the numbers. "
                    "left-right is the steadiest for a group photo, large-small for one main person.",
                ),
                io.String.Input(
                    "faces_index",
                    default="",
                    placeholder="all, or 0, or 0,2",
                    tooltip="Which faces of each frame are replaced. Empty: all of them. 0: the first in faces_order. "
                    "0,2: the first and the third. In a video where people change places connect a reference "
                    "instead.",
                ),
                io.Float.Input(
                    "reference_threshold",
                    default=0.5,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Counts only with a reference connected. Raise it when other people are replaced too, "
                    "lower it when the person is missed in some frames.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="1 is the full swap. Lower it to keep some of the target's own face, for a family "
                    "resemblance.",
                ),
                io.Combo.Input(
                    "resolution",
                    options=["256", "512"],
                    default="512",
                    tooltip="Pixels along a side of the face that is worked on. 512 for close-ups; 256 is about twice "
                    "as quick and enough where faces are smaller than about 200 pixels. A swapper that knows one "
                    "size takes that.",
                ),
                io.Float.Input(
                    "detection_threshold",
                    default=0.5,
                    min=0.05,
                    max=0.95,
                    step=0.05,
                    tooltip="Lower it when a face is missed (dark, turned, half hidden); raise it when something that "
                    "is no face gets one.",
                ),
                io.Image.Input(
                    "source",
                    optional=True,
                    tooltip="A photo of the person whose face is put in, or a batch of several of the same person; of "
                    "several people in it the largest face counts. Not needed when identity is connected.",
                ),
                sockets.Identity.Input(
                    "identity",
                    optional=True,
                    tooltip="A person read by Face Identity. Takes the place of source, also when both are connected.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only white places may change. Paint one when hair, a hand or a microphone in front of "
                    "the face should stay. Stretched to the target's size.",
                ),
                io.Image.Input(
                    "reference",
                    optional=True,
                    tooltip="A photo of the person in the target who is to be replaced. Connect it when several "
                    "people are in the picture and only one of them is meant.",
                ),
                loaded.detector_input(),
                io.Combo.Input(
                    "gender",
                    options=[_ANY, *GENDERS],
                    default=_ANY,
                    optional=True,
                    advanced=True,
                    tooltip="Replaces only faces that look so, and faces_index counts only these. Needs a detector "
                    "that tells, as buffalo_l does; with lite nobody's is known.",
                ),
                io.Int.Input(
                    "source_faces_index",
                    default=0,
                    min=0,
                    max=99,
                    optional=True,
                    advanced=True,
                    tooltip="Which face of the source photo is put in, where it shows several: 0 is the largest, 1 the "
                    "second largest.",
                ),
                io.Combo.Input(
                    "restorer",
                    options=[_NONE, *restorers.available(loaded.store())],
                    default=_NONE,
                    optional=True,
                    advanced=True,
                    tooltip="Makes the swapped faces clearer. lite is bundled; GFPGAN, CodeFormer and RestoreFormer "
                    "are listed once their files are in models/cscs. Use one when the swapped face is softer than the "
                    "rest of the picture, as after networks of 128 or 256 px.",
                ),
                io.Float.Input(
                    "restore_visibility",
                    default=0.8,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="Counts only with a restorer. Lower it when skin looks painted.",
                ),
                io.Boolean.Input(
                    "keep_eyes",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="The target's own eyes stay. Turn it on when the gaze is lost.",
                ),
                io.Boolean.Input(
                    "keep_mouth",
                    default=False,
                    optional=True,
                    advanced=True,
                    tooltip="The target's own mouth stays. Turn it on for speech, teeth, food or a microphone.",
                ),
                io.Float.Input(
                    "colour_match",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="How far the colours of the new face become those of the old one. Raise it when a network "
                    "gives another tint; lite and warp take the target's light already.",
                ),
                io.Float.Input(
                    "feather",
                    default=0.0,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    optional=True,
                    advanced=True,
                    tooltip="How much softer the edge of the face becomes, inwards, as a share of the crop. Raise it "
                    "when a seam shows.",
                ),
                io.Float.Input(
                    "codeformer_weight",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    optional=True,
                    advanced=True,
                    tooltip="Counts only with CodeFormer as restorer. Raise it to stay nearer to the swapped face, "
                    "lower it for faces that are hardly recognisable.",
                ),
                sockets.Identity.Input(
                    "reference_identity",
                    optional=True,
                    advanced=True,
                    tooltip="The person in the target who is to be replaced, from Face Identity or Load Identity; a "
                    "face model of ReActor serves too, with detector buffalo_l. Takes the place of reference.",
                ),
            ],
            outputs=[
                io.Image.Output(
                    "image", tooltip="The target with its faces replaced; frames without a face are unchanged."
                ),
                io.Mask.Output(
                    "mask", tooltip="White where pixels were replaced, for a second pass over the face only."
                ),
                io.String.Output(
                    "report",
                    tooltip="One line per frame and face: what was replaced, and how alike the result is to the "
                    "source and to the person who was there (-1 to 1, more is more alike).",
                ),
                sockets.Faces.Output(
                    "faces", tooltip="The faces that were replaced, for Restore Faces, Align Faces or Face Report."
                ),
                sockets.Identity.Output(
                    "identity", tooltip="The person who was put in, to save it or to use it in other nodes."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, faces_index: str | None) -> bool | str:
        return host.checked(faces_index=faces_index)

    @classmethod
    def fingerprint_inputs(cls, **inputs: object) -> str:
        """Changes when a model file comes, goes or is exchanged."""
        return repr(loaded.files())

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
        gender: str = _ANY,
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
        indices, restoration = host.numbers(faces_index, "faces_index"), None
        if restorer == _NONE:
            models, engine = loaded.ready_with(target, swapper, detector)
        else:
            models, engine, finisher = loaded.ready_to_swap(target, swapper, detector, restorer)
            restoration = Restoration(finisher, restore_visibility, codeformer_weight)
        post_process = pipeline.PostProcess(
            MaskOptions("whole", keep_eyes=keep_eyes, keep_mouth=keep_mouth), feather, colour_match, restoration
        )
        if identity is not None:
            identity = host.rebuild(identity, Identity, "identity")
        elif source is not None:
            which = [source_faces_index] * source.shape[0]
            identity = person.read(source, models, "source", detection=detection_threshold, numbers=which)
        else:
            raise ValueError("Face Swap needs a person to put in: connect source (a photo) or identity")
        source_person = pipeline.prepare_source(identity, engine, models)
        known = None
        if reference_identity is not None:
            known = host.rebuild(reference_identity, Identity, "reference_identity").to(models.device)
            known = embedded_by(known, models.encoder)
        elif reference is not None:
            known = person.read(reference, models, "reference", detection=detection_threshold)
        looks = None if gender == _ANY else gender
        face_filter = pipeline.FaceFilter(faces_order, indices, known, reference_threshold, looks, detection_threshold)
        image, touched, lines = host.blank(target), host.blank(target, 1), []
        replaced, candidates, alike = [FaceSet.empty()], [FaceSet.empty()], []
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
                lines.append(f"frame {index} is unchanged: {host.BLACK}")
                continue
            lines += _lines(index, done)
            replaced.append(batches.put_frame(done.faces, index))
            alike += done.similarity_to_source.tolist()
        faces = join(replaced)
        ui = {
            **node_ui.compare(target, image),
            **node_ui.picker(target, join(candidates), faces),
            **node_ui.badge(_badge(alike)),
        }
        report = "\n".join(lines) or "no image came in"
        return io.NodeOutput(image, touched[..., 0], report, faces, identity.to("cpu"), ui=ui)


def _badge(alike: list[float]) -> str:
    if not alike:
        return "no face replaced"
    return f"{node_ui.plural(len(alike), 'face')}, likeness {sum(alike) / len(alike):.2f}"


def _lines(index: int, done: pipeline.SwapResult) -> list[str]:
    if not len(done.faces):
        return [f"frame {index} is unchanged: {'; '.join(done.skipped) or 'no face found'}"]
    lines = [f"frame {index}: {node_ui.plural(len(done.faces), 'face')} replaced"]
    rows = zip(
        done.faces.box.tolist(), done.similarity_to_source.tolist(), done.similarity_to_target.tolist(), strict=True
    )
    for box, to_source, to_target in rows:
        lines.append(
            f"  face at {describe_place(box)}: likeness to the source {to_source:.2f}, to the person who was there "
            f"{to_target:.2f}"
        )
    return lines + [f"  left alone: {reason}" for reason in done.skipped]
