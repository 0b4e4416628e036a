"""Swap Faces: swaps a person's face into aligned crops."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..cscs_core import pipeline
from ..cscs_core.faces.swappers.base import check_fits, swap
from ..cscs_core.ops.batching import max_batch
from ..cscs_core.types import Crops, Identity, join
from . import host, inputs, loaded, node_ui, sockets


class SwapFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_SwapFaces",
            display_name="Swap Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Swaps a person's face into the crops of Align Faces. Face Swap does all steps in one node; "
            "use this one to work on the crops in between. Only swap faces of people who agreed.",
            search_aliases=["swap crops", "face swap", "inswapper", "replace face", "swap aligned face"],
            inputs=[
                sockets.Crops.Input("crops", tooltip="The crops, from Align Faces or Face Mask."),
                sockets.Identity.Input("identity", tooltip="The person to put in, from Face Identity."),
                inputs.strength(", for a family resemblance"),
                inputs.swapper(
                    "That is lite, for crops of 256 or 512 px. If another swapper needs another template or "
                    "resolution, the node says which to choose in Align Faces."
                ),
            ],
            outputs=[
                sockets.Crops.Output(
                    "crops", tooltip="The swapped crops, with masks of the areas to paste, for Paste Faces."
                ),
                io.Image.Output(
                    "images",
                    tooltip="The crops as images, one per face. Edit them and connect the result to faces_image of "
                    "Paste Faces.",
                ),
            ],
        )

    @classmethod
    def execute(cls, crops: Crops, identity: Identity, strength: float, swapper: object = None) -> io.NodeOutput:
        crops, identity = host.rebuild(crops, Crops, "crops"), host.rebuild(identity, Identity, "identity")
        models, engine = loaded.ready_with(crops.pixels.movedim(1, -1), swapper)
        check_fits(crops, engine)
        person = pipeline.prepare_source(identity, engine, models).person
        parts = []
        for rows in host.with_progress(torch.arange(len(crops)).split(max_batch(models.device))):
            parts.append(swap(crops[rows].to(models.device), person, engine, strength).to("cpu"))
        swapped = join(parts)
        ui = node_ui.badge(f"{node_ui.plural(len(swapped), 'face')} swapped")
        return io.NodeOutput(swapped, host.pixels(swapped.pixels), ui=ui)
