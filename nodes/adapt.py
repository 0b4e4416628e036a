"""Explicit Adaptation: another face shape, glasses, a beard or make-up."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Generator

from ..cscs_core.surrogates import adapt
from ..cscs_core.surrogates.attempts import best_of_tries
from ..cscs_core.surrogates.base import Surrogate
from ..cscs_core.types import Crops
from . import host, inputs, loaded, surrogate_common

_SURPRISE = adapt.AdaptOptions(face=0.6, parts=0.4, glasses=0.5, beard=0.25, shave=0.25, makeup=0.4)


class ExplicitAdaptation(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_ExplicitAdaptation",
            display_name="Explicit Adaptation (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Changes the shape of faces, adds glasses or make-up, and adds or removes a beard. For "
            "training data: change in the target what a swapper should take from the source, and in the source what "
            "it should ignore.",
            search_aliases=["glasses", "beard", "shave", "makeup", "thin face", "chubby face", "customize attributes"],
            inputs=[
                surrogate_common.crops_input("The faces to change, from Align Faces or a surrogate node."),
                _shape_input("face", "Below 0 makes cheeks and jaw thinner, above 0 chubbier."),
                _shape_input("cheeks", "Below 0 makes only the cheeks narrower, above 0 wider.", advanced=True),
                _shape_input("jaw", "Below 0 makes only the jaw narrower, above 0 wider.", advanced=True),
                _shape_input("nose", "Below 0 makes the nose narrower, above 0 wider.", advanced=True),
                _shape_input("eyes", "Below 0 moves the eyes closer together, above 0 further apart.", advanced=True),
                io.Combo.Input(
                    "glasses",
                    options=["none", *adapt.STYLES],
                    default="none",
                    tooltip="The glasses to add. none adds nothing and does not remove glasses that are already there.",
                ),
                inputs.slider("tint", 0.0, "Darkness of the lenses. 0 is clear, 1 is almost opaque."),
                _shape_input("beard", "Above 0 adds a beard, below 0 removes the one that is there."),
                inputs.slider("makeup", 0.0, "Raise it for more lipstick, eye shadow, eyeliner and blush."),
                inputs.switch(
                    "surprise",
                    "Picks the changes for each face at random, from the seed. The settings above are then ignored.",
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

        models = loaded.ready(surrogate_common.image(crops), detector)
        outcome = best_of_tries(
            crops,
            seed,
            make,
            models.encoder,
            device=models.device,
            faces=host.with_progress,
            check_cancel=host.raise_if_cancelled,
        )
        return surrogate_common.result(crops, outcome)


def _shape_input(name: str, tooltip: str, advanced: bool | None = None) -> io.Float.Input:
    return inputs.slider(name, 0.0, tooltip, low=-1.0, advanced=advanced)
