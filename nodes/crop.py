"""Align Faces and Paste Faces: faces cut out upright and at one size, and laid back."""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as nnf
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core.faces.align import QUAD, align, resize
from ..cscs_core.faces.mask import feather_mask
from ..cscs_core.faces.paste import match_colour, paste, paste_mask
from ..cscs_core.faces.swappers.base import editable_area
from ..cscs_core.ops.geometry import TEMPLATES
from ..cscs_core.types import Crops, FaceSet, join
from . import batches, host, node_ui, sockets

_FIRST = "ffhq_512"


class AlignFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_AlignFaces",
            display_name="Align Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Cuts faces out, each upright and at one size, to work on them: with Swap Faces, or with any "
            "node that takes pictures. Paste Faces lays them back.",
            search_aliases=["crop faces", "face crop", "cut out face", "face align", "detailer", "inpaint face"],
            inputs=[
                io.Image.Input("image", tooltip="The image in which the faces were found."),
                sockets.Faces.Input("faces", tooltip="Which faces are cut out, from Detect Faces or Select Faces."),
                io.Combo.Input(
                    "template",
                    options=[_FIRST, *(name for name in (*TEMPLATES, QUAD) if name != _FIRST)],
                    default=_FIRST,
                    advanced=True,
                    tooltip="How the face lies in its square. ffhq_512 shows the whole head and suits lite, warp and "
                    "cscs. Change it when Swap Faces asks for another, or a network outside was trained on one.",
                ),
                io.Combo.Input(
                    "resolution",
                    options=["128", "256", "512", "1024"],
                    default="512",
                    tooltip="Pixels along a side of each crop. 512 for most; 1024 for a diffusion pass over a "
                    "close-up; 256 or 128 when Swap Faces says that its network takes that.",
                ),
            ],
            outputs=[
                sockets.Crops.Output("crops", tooltip="The faces and the way back, for Swap Faces and Paste Faces."),
                io.Image.Output(
                    "images",
                    tooltip="The same as pictures, one for each face, frame by frame. Edit them with other nodes and "
                    "give the result to faces_image of Paste Faces.",
                ),
                io.Mask.Output("masks", tooltip="Where the face is in each of them, with a soft edge, for inpainting."),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, faces: FaceSet, template: str, resolution: str) -> io.NodeOutput:
        faces, size = host.rebuild(faces, FaceSet, "faces"), int(resolution)
        host.check_frames(image, faces, "faces")
        parts = [align(torch.zeros(1, 3, 1, 1), FaceSet.empty(), template, size)]
        masks = [parts[0].mask]
        for index, frame in host.frames(image):
            crops = align(
                frame, batches.take_frame(faces, index).to(frame.device), template, size, host.raise_if_cancelled
            )
            masks.append(editable_area(crops, host.raise_if_cancelled).to("cpu"))
            parts.append(replace(crops, frame=crops.frame + index).to("cpu"))
        crops = join(parts)
        ui = node_ui.badge(node_ui.plural(len(crops), "face") + " cut out")
        return io.NodeOutput(crops, host.pixels(crops.pixels), host.masks(torch.cat(masks)), ui=ui)


class PasteFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_PasteFaces",
            display_name="Paste Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Lays faces that Align Faces cut out back into the image, as much as their masks say. Only "
            "swap faces of people who agreed.",
            search_aliases=["uncrop face", "paste crop", "stitch face", "composite face", "merge face"],
            inputs=[
                io.Image.Input("image", tooltip="The image that the faces were cut out of."),
                sockets.Crops.Input("crops", tooltip="From Align Faces, Swap Faces or Face Mask."),
                io.Float.Input(
                    "feather",
                    default=0.0,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    tooltip="How much softer the edge becomes, as a share of the crop; it grows inwards. Raise it when "
                    "a seam shows. 0 takes the masks as they are. The border of the crop always fades a little.",
                ),
                io.Float.Input(
                    "colour_match",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How far the colours of each face become those of what lies under it. Raise it when the "
                    "face is of another light or tint than its surroundings; lower it when its own skin tone is lost.",
                ),
                io.Image.Input(
                    "faces_image",
                    optional=True,
                    tooltip="The images of Align Faces (or Swap Faces) after other nodes have worked on them: sampler, "
                    "upscaler, restorer. Any size, but square, and one for each face in the same order.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only white places may change. Painted on the crops, not on the image: one for each crop, "
                    "or one for all. For a mask of the image use Face Mask.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The image with the faces; frames without one are unchanged."),
                io.Mask.Output("mask", tooltip="White where pixels were replaced, for a second pass over the face."),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        crops: Crops,
        feather: float,
        colour_match: float,
        faces_image: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> io.NodeOutput:
        crops = host.rebuild(crops, Crops, "crops")
        host.check_frames(image, crops, "crops")
        crops = _limited(_edited(crops, faces_image), mask)
        pasted, touched = host.blank(image), host.blank(image, 1)
        for index, frame in host.frames(image):
            here = feather_mask(batches.take_frame(crops, index).to(frame.device), feather, host.raise_if_cancelled)
            here = match_colour(frame, here, colour_match, host.raise_if_cancelled)
            pasted[index] = host.pixels(paste(frame, here, host.raise_if_cancelled))[0]
            touched[index] = host.pixels(paste_mask(frame, here, host.raise_if_cancelled))[0]
        ui = node_ui.badge(node_ui.plural(len(crops), "face") + " laid back")
        return io.NodeOutput(pasted, touched[..., 0], ui={**node_ui.compare(image, pasted), **ui})


def _edited(crops: Crops, images: Tensor | None) -> Crops:
    """The crops with the pixels of an IMAGE (F, S, S, C), in its size."""
    if images is None or not len(crops):
        return crops
    count, height, width = images.shape[:3]
    if count != len(crops):
        raise ValueError(
            f"faces_image has {count} pictures, but there are {len(crops)} crops; give it all images of Align Faces, "
            "in their order"
        )
    if height != width:
        raise ValueError(f"faces_image is {width} x {height}, but crops are square; do not cut or stretch them")
    pixels = torch.cat(host.photos(images)).to(crops.pixels)
    return replace(resize(crops, width), pixels=pixels)


def _limited(crops: Crops, mask: Tensor | None) -> Crops:
    """The crops with their masks limited to a MASK (F or 1, h, w) in crop pixels."""
    if mask is None or not mask.numel() or not len(crops):
        return crops
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).to(crops.mask)
    if len(mask) not in (1, len(crops)):
        raise ValueError(f"mask has {len(mask)} pictures; give it one for each of the {len(crops)} crops, or one")
    mask = nnf.interpolate(mask, (crops.size, crops.size), mode="bilinear", antialias=True).clamp(0, 1)
    return replace(crops, mask=crops.mask * mask)
