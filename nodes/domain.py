"""Cross-Domain: a face from a photo into a painting or the other way round, and crops for redrawing it."""

from __future__ import annotations

import torch
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.select import choose
from ..cscs_core.tasks.cross_domain import AGREEMENT, CrossDomainResult, Harmony, find_painted, swap_across_domains
from ..cscs_core.types import FaceSet, Identity, join
from . import batches, frame_report, host, inputs, loaded, node_ui, sockets
from .identity import source_identity


class CrossDomain(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_CrossDomain",
            display_name="Cross-Domain (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Puts a person from a photo into a painting, or from a painting into a photo, and matches the "
            "target's colours and texture. It also crops the faces for a diffusion pass. Only for people who agreed.",
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
                io.Image.Input("target", tooltip="The painting, photo or frames whose faces are swapped."),
                inputs.faces_order(
                    "How the target's faces are numbered for faces_index. left-right suits a group portrait."
                ),
                inputs.faces_index("Which faces are swapped."),
                inputs.strength(),
                inputs.slider(
                    "colour",
                    0.5,
                    "Raise it if the face's tint looks pasted in. Lower it if the person's own skin tone is lost.",
                ),
                inputs.slider(
                    "texture",
                    0.7,
                    "Raise it to match the target's sharpness, grain and canvas. Lower it if wrinkles or the likeness "
                    "are lost.",
                ),
                inputs.slider(
                    "context",
                    1.5,
                    "How much of the surroundings the crops show: 1 is the head, 1.5 includes the shoulders. Raise it "
                    "if a diffusion model needs to see more. Lower it to give the face more pixels.",
                    low=1.0,
                    high=4.0,
                    step=0.1,
                ),
                inputs.resolution(
                    ("512", "1024"),
                    "Side length of the crops in pixels. Choose the size that your diffusion model works best at. "
                    "1024 suits close-ups.",
                ),
                inputs.detection_threshold(
                    "Only used where no face is found at first and several versions of the image are searched. Lower "
                    "it if a painted face is missed. Raise it if something is found that is not a face.",
                    AGREEMENT,
                ),
                io.Image.Input(
                    "source",
                    optional=True,
                    tooltip="One or more photos or paintings of the person to put in. The largest face in each is "
                    "used. Even light and the same head pose as in the target work best. Not needed with an identity.",
                ),
                sockets.Identity.Input(
                    "identity", optional=True, tooltip="A person from Face Identity. Used instead of source."
                ),
                inputs.swapper(),
                inputs.detector(),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The target with its faces swapped, before any diffusion pass."),
                io.Mask.Output("mask", tooltip="White where pixels changed."),
                io.Image.Output(
                    "crop_images",
                    tooltip="Each face with its surroundings, upright, for VAE Encode or an inpainting node. Connect "
                    "the result to faces_image of Paste Faces.",
                ),
                io.Mask.Output("crop_masks", tooltip="The area of each crop to redraw: white, with a soft edge."),
                sockets.Crops.Output(
                    "crops", tooltip="For Paste Faces. Connect the target as its image, not the image of this node."
                ),
                io.String.Output(
                    "report", tooltip="One line per frame and face: similarity to the source and to the original face."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, faces_index: str | None) -> bool | str:
        return host.validate_numbers(faces_index=faces_index)

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
        identity = source_identity(
            "Cross-Domain", identity, source, models, detection=detection_threshold, look=find_painted
        )
        known = pipeline.prepare_source(identity, engine, models)
        options = {"harmony": harmony, "strength": strength, "context": context, "resolution": int(resolution)}
        empty = swap_across_domains(torch.zeros(1, 3, 1, 1), FaceSet.empty(models.device), known, models, **options)
        image, touched, parts = host.blank(target), host.blank(target, 1), [empty.crops.to("cpu")]
        similarity, lines = [], []
        for index, frame in host.frames(target, models.device):
            faces = find_painted(frame, models, detection_threshold)
            chosen = choose(faces, order=faces_order, indices=indices)
            swapped = chosen.faces if strength else chosen.faces[:0]
            done = swap_across_domains(frame, swapped, known, models, **options)
            image[index], touched[index] = host.pixels(done.image)[0], host.pixels(done.mask)[0]
            parts.append(batches.put_frame(done.crops, index))
            similarity += done.after.tolist()
            skipped = chosen.skipped if len(faces) else ["no face found; a lower detection_threshold may find more"]
            skipped += ["strength is 0"] * (len(swapped) < len(chosen.faces))
            lines += frame_report.frame_lines(index, "swapped", _faces(swapped, done), skipped)
        crops = join(parts)
        ui = {**node_ui.compare(target, image), **node_ui.badge(frame_report.badge("swapped", similarity))}
        report = frame_report.text(lines)
        return io.NodeOutput(
            image, touched[..., 0], host.pixels(crops.pixels), host.masks(crops.mask), crops, report, ui=ui
        )


def _faces(faces: FaceSet, done: CrossDomainResult) -> list[str]:
    rows = zip(faces.box.tolist(), faces.score.tolist(), done.after.tolist(), done.before.tolist(), strict=True)
    return [
        frame_report.face(
            box,
            f"score {score:.2f}, similarity to the source {after:.2f}, to the original face {before:.2f}",
        )
        for box, score, after, before in rows
    ]
