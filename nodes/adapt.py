"""Explicit Adaptation: faces of another shape, with glasses, beard or make-up."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Generator

from ..cscs_core.surrogates import adapt
from ..cscs_core.surrogates.attempts import best_of_tries
from ..cscs_core.surrogates.base import Surrogate
from ..cscs_core.types import Crops
from . import host, loaded, surrogate_common

_SURPRISE = adapt.AdaptOptions(face=0.6, parts=0.4, glasses=0.5, beard=0.25, shave=0.25, makeup=0.4)


class ExplicitAdaptation(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_ExplicitAdaptation",
            display_name="Explicit Adaptation (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Changes the shape of faces, puts glasses or make-up on them, draws a beard or takes it away. "
            "A swapper that is to take something from the source is trained with targets that lack it, and the other "
            "way round.",
            search_aliases=["glasses", "beard", "shave", "makeup", "thin face", "chubby face", "customize attributes"],
            inputs=[
                surrogate_common.crops_input("The faces to change, from Align Faces or a surrogate."),
                _shape_input("face", "Thinner (below 0) or chubbier (above 0) cheeks and jaw."),
                _shape_input("cheeks", "Only the cheeks narrower or wider.", advanced=True),
                _shape_input("jaw", "Only the jaw narrower or wider.", advanced=True),
                _shape_input("nose", "A narrower or wider nose.", advanced=True),
                _shape_input("eyes", "Eyes closer together or further apart.", advanced=True),
                io.Combo.Input(
                    "glasses",
                    options=["none", *adapt.STYLES],
                    default="none",
                    tooltip="Which glasses are put on. Choose none to put on none; glasses that are there stay.",
                ),
                surrogate_common.strength_input(
                    "tint", 0.0, "How dark the lenses are: 0 clear, 1 hardly anything is seen through."
                ),
                _shape_input("beard", "Above 0 a beard is drawn on, below 0 the one that is there is taken away."),
                surrogate_common.strength_input(
                    "makeup", 0.0, "How much lipstick, eye shadow, liner and blush is put on."
                ),
                io.Boolean.Input(
                    "surprise",
                    default=False,
                    tooltip="Draws for each face what is changed and how much, by the seed. What is set above counts "
                    "only while this is off.",
                ),
                surrogate_common.seed_input(),
                surrogate_common.detector_input(),
            ],
            outputs=surrogate_common.outputs(),
        )

    @classmethod
    def execute(
        cls,
        crops: Crops,
        face: float,
        cheeks: float,
        jaw: float,
        nose: float,
        eyes: float,
        glasses: str,
        tint: float,
        beard: float,
        makeup: float,
        surprise: bool,
        seed: int,
        detector: loaded.Choice | None = None,
    ) -> io.NodeOutput:
        crops = host.rebuild(crops, Crops, "crops")
        if not len(crops):
            return surrogate_common.result(crops)
        parts = {"face": face, "cheeks": cheeks, "jaw": jaw, "nose": nose, "eyes": eyes}
        paint = adapt.Makeup(makeup, shadow=0.8 * makeup, liner=makeup, blush=0.8 * makeup) if makeup else None
        pair = None if glasses == "none" else adapt.Glasses(glasses, tint=tint)

        def make(one: Crops, generator: Generator) -> Surrogate:
            if surprise:
                return adapt.adapt_randomly(one, generator, _SURPRISE)
            return adapt.adapt_all(one, generator, parts, beard, paint, pair)

        tools = loaded.ready(surrogate_common.image(crops), detector)
        outcome = best_of_tries(
            crops,
            seed,
            make,
            tools.encoder,
            device=tools.device,
            faces=host.with_progress,
            check_cancel=host.raise_if_cancelled,
        )
        return surrogate_common.result(crops, outcome)


def _shape_input(name: str, tooltip: str, advanced: bool | None = None) -> io.Float.Input:
    return io.Float.Input(name, default=0.0, min=-1.0, max=1.0, step=0.05, tooltip=tooltip, advanced=advanced)
