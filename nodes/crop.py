"""Align Faces and Paste Faces: upright face crops of one size, and their way back into the image."""

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
from . import batches, host, inputs, node_ui, sockets

_FIRST = "ffhq_512"


class AlignFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_AlignFaces",
            display_name="Align Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Crops each face upright and at one size, so that Swap Faces or any image node can edit it. "
            "Paste Faces puts the crops back into the image.",
            search_aliases=["crop faces", "face crop", "cut out face", "face align", "detailer", "inpaint face"],
            inputs=[
                io.Image.Input("image", tooltip="The image in which the faces were found."),
                sockets.Faces.Input("faces", tooltip="The faces to crop, from Detect Faces or Select Faces."),
                io.Combo.Input(
                    "template",
                    options=[_FIRST, *(name for name in (*TEMPLATES, QUAD) if name != _FIRST)],
                    default=_FIRST,
                    advanced=True,
                    tooltip="Where the face sits in its crop. ffhq_512 shows the whole head and suits lite, warp and "
                    "cscs. Change it if Swap Faces asks for another template, or if another network was trained on "
                    "one.",
                ),
                inputs.resolution(
                    ("128", "256", "512", "1024"),
                    "Side length of each crop in pixels. 512 suits most uses. Choose 1024 to run a diffusion model on "
                    "a close-up, and 256 or 128 if Swap Faces says that its network needs it.",
                ),
            ],
            outputs=[
                sockets.Crops.Output(
                    "crops", tooltip="The aligned crops and where they came from, for Swap Faces and Paste Faces."
                ),
                io.Image.Output(
                    "images",
                    tooltip="The crops as images, one per face, frame by frame. Edit them with other nodes and "
                    "connect the result to faces_image of Paste Faces.",
                ),
                io.Mask.Output("masks", tooltip="The face area of each crop, with a soft edge, for inpainting."),
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
        ui = node_ui.badge(node_ui.plural(len(crops), "face") + " aligned")
        return io.NodeOutput(crops, host.pixels(crops.pixels), host.masks(torch.cat(masks)), ui=ui)


class PasteFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_PasteFaces",
            display_name="Paste Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Puts the crops of Align Faces back into the image, blended by their masks. Only swap faces "
            "of people who agreed.",
            search_aliases=["uncrop face", "paste crop", "stitch face", "composite face", "merge face"],
            inputs=[
                io.Image.Input("image", tooltip="The image from which the faces were cropped."),
                sockets.Crops.Input("crops", tooltip="The crops, from Align Faces, Swap Faces or Face Mask."),
                inputs.feather(
                    0.0,
                    "Raise it if a seam shows. The edge becomes softer inwards, by this share of the crop. 0 uses the "
                    "masks as they are. The border of a crop always fades a little.",
                ),
                inputs.slider(
                    "colour_match",
                    0.0,
                    "Raise it if the light or tint of a face differs from its surroundings. Lower it if the face "
                    "loses its own skin tone.",
                ),
                io.Image.Input(
                    "faces_image",
                    optional=True,
                    tooltip="The images of Align Faces or Swap Faces after other nodes have edited them, such as a "
                    "sampler, an upscaler or a restorer. Square images of any size, one per face in the same order.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only white areas may change. It is painted on the crops, not on the image: one mask per "
                    "crop, or one for all. To mask the image, use Face Mask.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The image with the faces. Frames without a face are unchanged."),
                io.Mask.Output("mask", tooltip="White where pixels changed, for a second pass over the face."),
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
        ui = node_ui.badge(node_ui.plural(len(crops), "face") + " pasted")
        return io.NodeOutput(pasted, touched[..., 0], ui={**node_ui.compare(image, pasted), **ui})


def _edited(crops: Crops, images: Tensor | None) -> Crops:
    """The crops with the pixels of an IMAGE (F, S, S, C), at its size."""
    if images is None or not len(crops):
        return crops
    count, height, width = images.shape[:3]
    if count != len(crops):
        raise ValueError(
            f"faces_image has {count} images, but there are {len(crops)} crops; connect all images of Align Faces, in "
            "the same order"
        )
    if height != width:
        raise ValueError(f"faces_image is {width} x {height}, but crops are square; do not crop or stretch them")
    pixels = torch.cat(host.photos(images)).to(crops.pixels)
    return replace(resize(crops, width), pixels=pixels)


def _limited(crops: Crops, mask: Tensor | None) -> Crops:
    """The crops with their masks limited to a MASK (F or 1, h, w) in crop pixels."""
    if mask is None or not mask.numel() or not len(crops):
        return crops
    mask = mask.reshape(-1, 1, *mask.shape[-2:]).to(crops.mask)
    if len(mask) not in (1, len(crops)):
        raise ValueError(
            f"mask has {len(mask)} images; connect one for each of the {len(crops)} crops, or a single one"
        )
    mask = nnf.interpolate(mask, (crops.size, crops.size), mode="bilinear", antialias=True).clamp(0, 1)
    return replace(crops, mask=crops.mask * mask)
