"""Face Identity: one person, from one or several photos."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.detectors import BUNDLED
from ..cscs_core.select import ORDERS
from ..cscs_core.types import Identity
from . import host


class FaceIdentity(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_FaceIdentity",
            display_name="Face Identity (CSCS)",
            category="CSCS",
            description="Reads one person from one or several photos. Use it when you have more than one photo of the "
            "person, or swap the same person into many pictures.",
            search_aliases=["source face", "face embedding", "reference face", "face model", "person"],
            inputs=[
                io.Image.Input(
                    "image",
                    tooltip="A photo of the person, or a batch of several of the same person. Sharp, frontal, evenly "
                    "lit and without glasses or hands over the face works best.",
                ),
                io.Combo.Input(
                    "faces_order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="Which face is meant where a photo shows several: the first in this order. Change it when "
                    "the preview shows the wrong person.",
                ),
                host.detector_input(),
            ],
            outputs=[
                host.Identity.Output("identity", tooltip="The person, for the identity input of Face Swap."),
                io.Image.Output("preview", tooltip="The face taken from each photo, upright and cut out."),
            ],
        )

    @classmethod
    def execute(cls, image: Tensor, faces_order: str, detector: str = BUNDLED) -> io.NodeOutput:
        identity = read(image, host.models(image, detector), "image", faces_order)
        return io.NodeOutput(identity, host.pixels(identity.crops.pixels))


def read(image: Tensor, models: pipeline.Models, name: str, order: str = ORDERS[0], detection: float = 0.5) -> Identity:
    """The person on every picture of an IMAGE; `name` is what the user calls that input."""
    if not image.shape[0]:
        raise ValueError(f"{name} is an empty batch; give it at least one photo of the person")
    try:
        return pipeline.identity_from(host.photos(image), models, order, detection)
    except pipeline.NoFace as missing:
        which = f"picture {missing.index} of {name}" if image.shape[0] > 1 else name
        raise ValueError(
            f"no face found in {which}; take a photo in which the whole face is visible and at least 24 pixels wide"
        ) from missing
