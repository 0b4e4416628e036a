"""Swap Faces: crops and a person in, crops with that person's face out."""

from __future__ import annotations

import torch
from comfy_api.latest import io

from ..cscs_core import pipeline
from ..cscs_core.faces.swappers.base import check_fits, swap
from ..cscs_core.ops.batching import max_batch
from ..cscs_core.types import Crops, Identity, join
from . import host, loaded, node_ui, sockets


class SwapFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_SwapFaces",
            display_name="Swap Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Puts a person's face on faces that Align Faces cut out. Face Swap does all steps in one node; "
            "take this one to do something between them. Only swap faces of people who agreed.",
            search_aliases=["swap crops", "face swap", "inswapper", "replace face", "swap aligned face"],
            inputs=[
                sockets.Crops.Input("crops", tooltip="The faces to replace, from Align Faces or Face Mask."),
                sockets.Identity.Input("identity", tooltip="The person who is put in, from Face Identity."),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="1 is the full swap. Lower it to keep some of the target's own face, for a family "
                    "resemblance.",
                ),
                sockets.Swapper.Input(
                    "swapper",
                    optional=True,
                    tooltip="From Load Model. Without it lite, the bundled one, for crops of 256 or 512 px. When "
                    "another needs another template or resolution, the node says which to choose in Align Faces.",
                ),
            ],
            outputs=[
                sockets.Crops.Output(
                    "crops", tooltip="The swapped faces, with masks of where they may be laid back, for Paste Faces."
                ),
                io.Image.Output(
                    "images",
                    tooltip="The same as pictures, one for each face, to look at or to edit before faces_image of "
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
        ui = node_ui.badge(f"{len(swapped)} face{'s' * (len(swapped) != 1)} swapped")
        return io.NodeOutput(swapped, host.pixels(swapped.pixels), ui=ui)
