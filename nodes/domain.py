"""Cross-Domain: a face from a photo into a painting, or from a painting into a photo, and crops to redraw it."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.select import ORDERS, choose, describe_place
from ..cscs_core.tasks.cross_domain import AGREEMENT, CrossDomainResult, Harmony, find_painted, swap_across_domains
from ..cscs_core.types import FaceSet, Identity, join
from . import batches, host, loaded, node_ui, sockets
from . import identity as person


class CrossDomain(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_CrossDomain",
            display_name="Cross-Domain (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Puts a person from a photo into a painting, or from a painting into a photo, in the colours "
            "and with the texture of the target; and cuts the faces out for a diffusion pass. Only for people who "
            "agreed.",
            search_aliases=[
                "painting",
                "portrait",
                "art",
                "style",
                "harmonise",
                "harmonize",
                "inpaint",
                "cross domain",
            ],
            inputs=[
                io.Image.Input("target", tooltip="The painting or photo whose faces are replaced; frames are too."),
                io.Combo.Input(
                    "faces_order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="How the target's faces are numbered for faces_index. left-right for a group portrait.",
                ),
                io.String.Input(
                    "faces_index",
                    default="",
                    placeholder="all, or 0, or 0,2",
                    tooltip="Which faces are replaced. Empty: all. 0: the first in faces_order. 0,2: the first and the "
                    "third.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="1 is the full swap. Lower it to keep some of the target's own face.",
                ),
                io.Float.Input(
                    "colour",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far the skin takes the target's colour. Raise it when the face looks pasted in by "
                    "its tint; lower it when the person's own skin tone is lost.",
                ),
                io.Float.Input(
                    "texture",
                    default=0.7,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far the skin takes the target's texture: a sharper face is softened, a smoother one "
                    "gets the grain or canvas of the target. Lower it when wrinkles or likeness are lost.",
                ),
                io.Float.Input(
                    "context",
                    default=1.5,
                    min=1.0,
                    max=4.0,
                    step=0.1,
                    tooltip="How much around the face the crops show: 1 the head, 1.5 with shoulders. Raise it when a "
                    "diffusion model must see more of the picture, lower it to give the face more pixels.",
                ),
                io.Combo.Input(
                    "resolution",
                    options=["512", "1024"],
                    default="512",
                    tooltip="Pixels along a side of the crops: what the diffusion model likes. 1024 for close-ups.",
                ),
                io.Float.Input(
                    "detection_threshold",
                    default=AGREEMENT,
                    min=0.05,
                    max=0.95,
                    step=0.05,
                    tooltip="Counts where no face is seen at once and several looks at the picture are compared. "
                    "Lower it when a painted face is missed, raise it when something that is no face is found.",
                ),
                io.Image.Input(
                    "source",
                    optional=True,
                    tooltip="A photo or painting of the person to put in, or several. The largest face of each counts. "
                    "Evenly lit and turned like the target works best. Not needed when identity is connected.",
                ),
                sockets.Identity.Input(
                    "identity", optional=True, tooltip="A person from Face Identity; takes the place of source."
                ),
                sockets.Swapper.Input(
                    "swapper", optional=True, tooltip="From Load Model; the bundled one if nothing is connected."
                ),
                sockets.Detector.Input(
                    "detector", optional=True, tooltip="From Load Model; the bundled one if nothing is connected."
                ),
            ],
            outputs=[
                io.Image.Output(
                    "image", tooltip="The target with its faces replaced: good enough, or to compare with."
                ),
                io.Mask.Output("mask", tooltip="White where pixels were replaced."),
                io.Image.Output(
                    "crop_images",
                    tooltip="Each face with its surroundings, upright: for VAE Encode or any inpainting node. Give the "
                    "result to faces_image of Paste Faces.",
                ),
                io.Mask.Output("crop_masks", tooltip="What may be redrawn in each crop: white, with a soft edge."),
                sockets.Crops.Output(
                    "crops", tooltip="The way back, for Paste Faces; its image is the target, not this node's image."
                ),
                io.String.Output(
                    "report", tooltip="One line per frame and face: likeness to the source and to who was there."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, faces_index: str | None) -> bool | str:
        return host.checked(faces_index=faces_index)

    @classmethod
    def execute(
        cls,
        target: Tensor,
        faces_order: str,
        faces_index: str,
        strength: float,
        colour: float,
        texture: float,
        context: float,
        resolution: str,
        detection_threshold: float,
        source: Tensor | None = None,
        identity: Identity | None = None,
        swapper: object = None,
        detector: object = None,
    ) -> io.NodeOutput:
        indices, harmony = host.numbers(faces_index, "faces_index"), Harmony(colour, texture)
        models, engine = loaded.ready_with(target, swapper, detector)
        if identity is not None:
            identity = host.rebuild(identity, Identity, "identity")
        elif source is not None:
            identity = person.read(source, models, "source", detection=detection_threshold, look=find_painted)
        else:
            raise ValueError("Cross-Domain needs a person to put in: connect source (a picture) or identity")
        known = pipeline.prepare_source(identity, engine, models)
        options = {"harmony": harmony, "strength": strength, "context": context, "resolution": int(resolution)}
        nobody = swap_across_domains(torch.zeros(1, 3, 1, 1), FaceSet.empty(models.device), known, models, **options)
        image, touched, parts = host.blank(target), host.blank(target, 1), [nobody.crops.to("cpu")]
        alike, lines = [], []
        for index, frame in host.frames(target, models.device):
            faces = find_painted(frame, models, detection_threshold)
            chosen = choose(faces, order=faces_order, indices=indices)
            crossed = chosen.faces if strength else chosen.faces[:0]
            done = swap_across_domains(frame, crossed, known, models, **options)
            image[index], touched[index] = host.pixels(done.image)[0], host.pixels(done.mask)[0]
            parts.append(batches.put_frame(done.crops, index))
            alike += done.after.tolist()
            skipped = chosen.skipped if len(faces) else ["no face found; a lower detection_threshold finds more"]
            skipped += ["strength is 0"] * (len(crossed) < len(chosen.faces))
            lines += _lines(index, crossed, done, skipped)
        crops = join(parts)
        count = f"{node_ui.plural(len(alike), 'face')}, likeness {sum(alike) / max(1, len(alike)):.2f}"
        ui = {**node_ui.compare(target, image), **node_ui.badge(count if alike else "no face replaced")}
        report = "\n".join(lines) or "no image came in"
        return io.NodeOutput(
            image, touched[..., 0], host.pixels(crops.pixels), host.masks(crops.mask), crops, report, ui=ui
        )


def _lines(index: int, faces: FaceSet, done: CrossDomainResult, skipped: list[str]) -> list[str]:
    if not len(faces):
        return [f"frame {index} is unchanged: {'; '.join(skipped)}"]
    lines = [f"frame {index}: {node_ui.plural(len(faces), 'face')} replaced"]
    rows = zip(faces.box.tolist(), faces.score.tolist(), done.after.tolist(), done.before.tolist(), strict=True)
    for box, score, after, before in rows:
        lines.append(
            f"  face at {describe_place(box)}, score {score:.2f}: likeness to the source {after:.2f}, to the face that "
            f"was there {before:.2f}"
        )
    return lines + [f"  left alone: {reason}" for reason in skipped]
