"""Face Mask: which part of each crop is pasted."""

from __future__ import annotations

from dataclasses import replace

import comfy.model_management as mm
import torch
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.mask import COMBINE, KINDS, MaskOptions, apply_mask, warp_limit
from ..cscs_core.faces.swappers.base import attention, check_fits
from ..cscs_core.types import Crops, Identity
from . import host, inputs, loaded, node_ui, sockets


class FaceMask(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_FaceMask",
            display_name="Face Mask (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Chooses which part of each crop Paste Faces puts back: the face outline or a box, with or "
            "without eyes and mouth, and only inside a mask of your own. Only for people who agreed.",
            search_aliases=["face mask", "keep mouth", "keep eyes", "occlusion", "attention map", "mask feather"],
            inputs=[
                sockets.Crops.Input("crops", tooltip="The crops, from Swap Faces or Align Faces."),
                io.Combo.Input(
                    "kind",
                    options=list(KINDS),
                    default=KINDS[0],
                    tooltip="hull: the face outline. box: the rectangle around the face, with hair at the forehead "
                    "and the jaw. attention: where the swapper itself sees the person, which needs swapper and "
                    "identity. whole: the whole crop, if you only want the settings below.",
                ),
                inputs.slider(
                    "grow",
                    0.04,
                    "Raise it if the old face shows at the edge. Lower it, even below 0, if hair or background is "
                    "changed. It is a share of the crop.",
                    low=-0.5,
                    high=0.5,
                    step=0.01,
                ),
                inputs.feather(
                    0.06, "Raise it if a seam shows. The edge becomes softer inwards, by this share of the crop."
                ),
                inputs.keep_eyes(),
                inputs.keep_mouth(),
                io.Combo.Input(
                    "combine",
                    options=list(COMBINE),
                    default=COMBINE[0],
                    tooltip="multiply: keeps the mask of the swapper and takes this one away from it. replace: uses "
                    "only this one.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only white areas may change. It is painted on the image from which the faces were "
                    "cropped. Connect that image too, or the mask must have its size. One mask per frame, or one for "
                    "all.",
                ),
                sockets.Identity.Input(
                    "identity", optional=True, tooltip="Only used by attention: the person who is put in."
                ),
                sockets.Swapper.Input(
                    "swapper",
                    optional=True,
                    tooltip="Only used by attention: cscs from Load Model, the only swapper with attention masks.",
                ),
                io.Image.Input(
                    "image",
                    optional=True,
                    tooltip="Only used with mask: the image from which the faces were cropped. The mask is resized to "
                    "it, so connect it if the sizes may differ.",
                ),
            ],
            outputs=[
                sockets.Crops.Output("crops", tooltip="The same crops with the new masks, for Paste Faces."),
                io.Mask.Output("mask", tooltip="The masks, one per crop at its size, to check them."),
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
        crops = host.rebuild(crops, Crops, "crops")
        options = MaskOptions(kind, grow, feather, keep_eyes, keep_mouth, combine)
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
        badge = node_ui.plural(len(crops), "mask")
        if mask is not None and len(crops) and not masks.any():
            badge += ", all black: nothing can change"
        return io.NodeOutput(replace(crops, mask=masks), host.masks(masks), ui=node_ui.badge(badge))


def _limit(mask: Tensor | None, image: Tensor | None, frame: int, crops: Crops) -> Tensor | None:
    """Where the MASK allows the crops of one frame to change, (F, 1, S, S). Without an IMAGE it has the size of
    theirs."""
    area = host.mask_of_frame(mask, frame, crops.mask)
    if image is not None:
        area = host.limit(mask, frame, host.photo(image, frame, crops.mask.device))
    return None if area is None else warp_limit(area, crops)


def _attention(crops: Crops, identity: Identity | None, swapper: object) -> Tensor:
    """The swapper's attention to the person in each crop, (F, 1, S, S)."""
    if identity is None or swapper is None:
        raise ValueError("kind attention needs a person and a swapper: connect identity and swapper (cscs)")
    models, engine = loaded.ready_with(crops.pixels.movedim(1, -1), swapper)
    person = pipeline.prepare_source(host.rebuild(identity, Identity, "identity"), engine, models).person
    check_fits(crops, engine, of_any_size=True)
    looks = []
    for rows in host.with_progress(torch.arange(len(crops)).split(1)):
        looks.append(attention(crops[rows].to(models.device), person, engine).to("cpu"))
    return torch.cat(looks)
