"""Face Mask: which part of each crop is laid back."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management as mm
import torch
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.mask import COMBINE, KINDS, apply_mask, warp_limit
from ..cscs_core.faces.mask import MaskOptions as Options
from ..cscs_core.faces.swappers.base import attention, check_fits
from ..cscs_core.types import Crops, Identity
from . import host, loaded, node_ui, sockets


class FaceMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_FaceMask",
            display_name="Face Mask (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Says which part of each cut-out face Paste Faces lays back: its outline, a box, all but "
            "eyes or mouth, within a mask of your own. For crops of people who agreed to be shown so.",
            search_aliases=["face mask", "keep mouth", "keep eyes", "occlusion", "attention map", "mask feather"],
            inputs=[
                sockets.Crops.Input("crops", tooltip="From Swap Faces, or from Align Faces for an edit outside."),
                io.Combo.Input(
                    "kind",
                    options=list(KINDS),
                    default=KINDS[0],
                    tooltip="hull: the outline of the face. box: the rectangle around it, for hair at the forehead and "
                    "the jaw. attention: where the swapper itself looks at the person; needs swapper and identity. "
                    "whole: all of the crop, to change nothing but what is chosen below.",
                ),
                io.Float.Input(
                    "grow",
                    default=0.04,
                    min=-0.5,
                    max=0.5,
                    step=0.01,
                    tooltip="How much wider than the face the mask is, as a share of the crop. Raise it when the old "
                    "face shows at the edge; below 0 it takes in less, when hair or background is touched.",
                ),
                io.Float.Input(
                    "feather",
                    default=0.06,
                    min=0.0,
                    max=0.5,
                    step=0.01,
                    tooltip="How softly the mask ends, inwards, as a share of the crop. Raise it when a seam shows.",
                ),
                io.Boolean.Input(
                    "keep_eyes",
                    default=False,
                    tooltip="The eyes of the image stay. Turn it on when the gaze is lost.",
                ),
                io.Boolean.Input(
                    "keep_mouth",
                    default=False,
                    tooltip="The mouth of the image stays. Turn it on for speech, teeth, food or a microphone.",
                ),
                io.Combo.Input(
                    "combine",
                    options=list(COMBINE),
                    default=COMBINE[0],
                    tooltip="multiply: the mask that the swapper made still counts, and this one takes away from it. "
                    "replace: only this one counts.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only white places may change. Painted on the image that the faces were cut out of: "
                    "connect that as image too, or the mask must be as large. For frames one each, or one for all.",
                ),
                sockets.Identity.Input(
                    "identity", optional=True, tooltip="Only for attention: the person who is put in."
                ),
                sockets.Swapper.Input(
                    "swapper",
                    optional=True,
                    tooltip="Only for attention: cscs from Load Model, the only one that shows where it looks.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="Only for mask: the image that the faces were cut out of. The mask is stretched to its "
                    "size, so connect it when they may differ.",
                ),
            ],
            outputs=[
                sockets.Crops.Output("crops", tooltip="The same faces with these masks, for Paste Faces."),
                io.Mask.Output("mask", tooltip="The masks, one for each crop and as large as it, to look at."),
            ],
        )

    @classmethod
    def execute(
        cls,
        crops: Crops,
        kind: str,
        grow: float,
        feather: float,
        keep_eyes: bool,
        keep_mouth: bool,
        combine: str,
        mask: Tensor | None = None,
        identity: Identity | None = None,
        swapper: object = None,
        image: Tensor | None = None,
    ) -> io.NodeOutput:
        crops, options = (
            host.rebuild(crops, Crops, "crops"),
            Options(kind, grow, feather, keep_eyes, keep_mouth, combine),
        )
        looks, device = (_attention(crops, identity, swapper) if kind == "attention" else None), mm.get_torch_device()
        masks = torch.zeros_like(crops.mask)
        if image is not None:
            host.check_frames(image, crops, "crops")
        for frame in host.with_progress(crops.frame.unique().tolist()):
            rows = crops.frame == frame
            here = crops[rows].to(device)
            limit = _limit(mask, image, frame, here)
            look = None if looks is None else looks[rows].to(device)
            masks[rows] = apply_mask(here, options, limit, look, host.raise_if_cancelled).mask.to(masks)
        said = node_ui.plural(len(crops), "mask")
        if mask is not None and len(crops) and not masks.any():
            said += ", all black: the mask lets nothing change"
        return io.NodeOutput(replace(crops, mask=masks), host.masks(masks), ui=node_ui.badge(said))


def _limit(mask: Tensor | None, image: Tensor | None, frame: int, crops: Crops) -> Tensor | None:
    """Where the MASK lets the crops of one frame change, (F, 1, S, S); without an IMAGE it is as large as theirs."""
    area = host.mask_of_frame(mask, frame, crops.mask)
    if image is not None:
        area = host.limit(mask, frame, host.photo(image, frame, crops.mask.device))
    return None if area is None else warp_limit(area, crops)


def _attention(crops: Crops, identity: Identity | None, swapper: object) -> Tensor:
    """Where the swapper looks at the person in each crop, (F, 1, S, S)."""
    if identity is None or swapper is None:
        raise ValueError("kind attention needs to know who is put in and by what: connect identity and swapper (cscs)")
    models, engine = loaded.ready_with(crops.pixels.movedim(1, -1), swapper)
    person = pipeline.prepare_source(host.rebuild(identity, Identity, "identity"), engine, models).person
    check_fits(crops, engine, of_any_size=True)
    looks = []
    for rows in host.with_progress(torch.arange(len(crops)).split(1)):
        looks.append(attention(crops[rows].to(models.device), person, engine).to("cpu"))
    return torch.cat(looks)
