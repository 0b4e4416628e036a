"""Source Surrogate and Target Surrogate: synthetic training inputs whose correct swap is a real photo."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Generator

from ..cscs_core import pipeline
from ..cscs_core.faces.align import resize
from ..cscs_core.faces.identity import Encoder, embed_crops
from ..cscs_core.faces.swappers.base import Swapper
from ..cscs_core.pipeline import Models
from ..cscs_core.surrogates.attempts import Make, best_of_tries
from ..cscs_core.surrogates.base import Surrogate
from ..cscs_core.surrogates.recipe import Pool, with_pool_rows
from ..cscs_core.surrogates.source import Chance, SourceOptions, source_surrogate
from ..cscs_core.surrogates.target import Judge, erase_identity, from_donor, from_swapper, identities_of
from ..cscs_core.tasks.example_people import GROWN, example_crops
from ..cscs_core.types import Crops, Identity
from . import host, inputs, loaded, sockets, surrogate_common

_KINDS = ("donor", "swapper", "erase")
_SAME = 0.5  # a donor at least this similar is the same person
_BLURRED = 0.1  # how much more similar an erased face may be, as encoders still recognise blurred faces


class SourceSurrogate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_SourceSurrogate",
            display_name="Source Surrogate (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Makes another image of the same person from each face. Expression, head pose, light, "
            "surroundings and image quality change, the identity does not. It is the source of a training pair.",
            search_aliases=[
                "augment face",
                "same person",
                "change expression",
                "relight face",
                "training data",
                "proxy",
            ],
            inputs=[
                surrogate_common.crops_input("The faces to change, from Align Faces."),
                surrogate_common.seed_input(),
                inputs.slider(
                    "expression",
                    1.0,
                    "How far eyelids, brows, lips and jaw move. Lower it if mouths look odd.",
                ),
                inputs.slider(
                    "pose", 1.0, "How far the head turns. 1 is up to 20 degrees. Lower it if noses look bent."
                ),
                inputs.slider(
                    "light", 1.0, "How strongly side light and other colours change the image. Lower it for less."
                ),
                inputs.slider(
                    "damage", 0.3, "How much blur, noise and compression to add. 0 keeps the image as sharp as it was."
                ),
                io.Boolean.Input(
                    "surroundings",
                    default=True,
                    tooltip="Gives the face the hair and background of another person. Turn it off to keep its own.",
                ),
                inputs.switch("mirror", "Mirrors the face. Leave it off if you paste the crops back."),
                surrogate_common.tries_input(),
                inputs.slider(
                    "least_likeness",
                    0.5,
                    "An image is accepted if it is at least this similar to the face. Raise it if people turn into "
                    "someone else. Lower it if hardly any image is accepted.",
                    low=-1.0,
                    advanced=True,
                ),
                sockets.Crops.Input(
                    "others",
                    optional=True,
                    tooltip="Faces from Align Faces whose hair and background are borrowed. If nothing is connected, "
                    "the bundled example people are used.",
                ),
                surrogate_common.detector_input(),
            ],
            outputs=surrogate_common.outputs(),
        )

    @classmethod
    def execute(
        cls,
        crops: Crops,
        seed: int,
        expression: float,
        pose: float,
        light: float,
        damage: float,
        surroundings: bool,
        mirror: bool,
        tries: int,
        least_likeness: float,
        others: Crops | None = None,
        detector: loaded.Choice | None = None,
    ) -> io.NodeOutput:
        crops = host.rebuild(crops, Crops, "crops")
        if not len(crops):
            return surrogate_common.result(crops)
        models = loaded.ready(surrogate_common.image(crops), detector)
        lenders = _donor_crops(others, "others", crops, models)
        lit, poor = Chance(1.0, light), Chance(1.0, damage)
        options = SourceOptions(
            expression=Chance(1.0, expression),
            turn=Chance(1.0, pose),
            light=lit,
            colour=lit,
            blur=poor,
            noise=poor,
            jpeg=poor,
            surroundings=Chance(float(surroundings)),
            flip=Chance(float(mirror)),
        )
        outcome = best_of_tries(
            crops,
            seed,
            lambda one, generator: source_surrogate(one, generator, options, others=lenders),
            models.encoder,
            lambda before, made, similarity: similarity >= least_likeness,
            tries,
            device=models.device,
            faces=host.with_progress,
            check_cancel=host.raise_if_cancelled,
        )
        return surrogate_common.result(crops, outcome, f"similarity must be at least {least_likeness:.2f}")


class TargetSurrogate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_TargetSurrogate",
            display_name="Target Surrogate (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Puts another person in the place of each face. Pose, expression, light and surroundings "
            "stay. It is the target of a training pair: swapping the source into it should give the original face.",
            search_aliases=["anonymize face", "somebody else", "replace person", "training data", "proxy"],
            inputs=[
                surrogate_common.crops_input("The faces to replace, from Align Faces."),
                io.Combo.Input(
                    "kind",
                    options=list(_KINDS),
                    default=_KINDS[0],
                    tooltip="donor: pastes the face of the donor with the most similar pose and light. swapper: swaps "
                    "a person in with the connected swapper. erase: leaves only a coarse blur with other proportions.",
                ),
                surrogate_common.seed_input(),
                surrogate_common.tries_input(),
                inputs.slider(
                    "most_likeness",
                    0.5,
                    "An image is accepted if it is at most this similar to the face; erased faces may be 0.1 above. "
                    "Lower it to be more certain that it is another person.",
                    low=-1.0,
                    advanced=True,
                ),
                sockets.Crops.Input(
                    "donors",
                    optional=True,
                    tooltip="People whose faces are used, from Align Faces. The more there are, the better one fits. "
                    "If nothing is connected, the bundled example people are used.",
                ),
                sockets.Swapper.Input(
                    "swapper",
                    optional=True,
                    tooltip="Only used by kind swapper: a swapper from Load Model. If nothing is connected, the "
                    "bundled one is used.",
                ),
                sockets.Identity.Input(
                    "identity",
                    optional=True,
                    tooltip="Only used by kind swapper: the person to put in. If nothing is connected, a donor is "
                    "picked at random for each face.",
                ),
                surrogate_common.detector_input(),
            ],
            outputs=surrogate_common.outputs(),
        )

    @classmethod
    def execute(
        cls,
        crops: Crops,
        kind: str,
        seed: int,
        tries: int,
        most_likeness: float,
        donors: Crops | None = None,
        swapper: loaded.Choice | None = None,
        identity: Identity | None = None,
        detector: loaded.Choice | None = None,
    ) -> io.NodeOutput:
        crops = host.rebuild(crops, Crops, "crops")
        if not len(crops):
            return surrogate_common.result(crops)
        models, engine = _load(crops, kind, swapper, detector)
        make, most = _maker(kind, crops, donors, identity, models, engine), most_likeness + _BLURRED * (kind == "erase")
        judge = Judge(
            landmarks=None if kind == "erase" else models.landmarks
        )  # a blurred face has no landmarks to find
        outcome = best_of_tries(
            crops,
            seed,
            make,
            models.encoder,
            lambda before, made, similarity: similarity <= most and bool(judge.same_pose(before, made)),
            tries,
            alike=False,
            device=models.device,
            faces=host.with_progress,
            check_cancel=host.raise_if_cancelled,
        )
        return surrogate_common.result(
            crops, outcome, f"similarity must be at most {most:.2f}, with the same pose and expression"
        )


def _donor_crops(given: Crops | None, name: str, crops: Crops, models: Models) -> Crops:
    """The connected donors, or the example people, at the size of the crops and on the device of the models."""
    if given is None:
        return example_crops(models, crops.size)[:GROWN]
    given = host.rebuild(given, Crops, name)
    if not len(given):
        raise ValueError(f"{name} has no faces; connect Align Faces of photos with people, or disconnect it")
    return resize(given.to(models.device), crops.size)


def _load(crops: Crops, kind: str, swapper: object, detector: object) -> tuple[Models, Swapper | None]:
    """The networks that this kind needs."""
    if kind == "swapper":
        return loaded.ready_with(surrogate_common.image(crops), swapper, detector)
    return loaded.ready(surrogate_common.image(crops), detector), None


def _maker(
    kind: str, crops: Crops, donors: Crops | None, identity: Identity | None, models: Models, engine: Swapper | None
) -> Make:
    """The function that puts another person in the place of a face."""
    if kind == "erase":
        return erase_identity
    if engine is None:
        return _donor_maker(_donor_crops(donors, "donors", crops, models), models.encoder)
    if identity is not None:
        persons = [host.rebuild(identity, Identity, "identity")]
    else:
        persons = identities_of(_donor_crops(donors, "donors", crops, models), models.encoder)
    people = [pipeline.prepare_source(one, engine, models).person for one in persons]
    return lambda one, generator: from_swapper(one, engine, people, generator)


def _donor_maker(donors: Crops, encoder: Encoder) -> Make:
    """Pastes the face of a donor who is another person in a similar pose and light. Each call samples from a few of
    them, so that tries differ."""
    pool, known = Pool.of(donors), embed_crops(donors, encoder)

    def make(one: Crops, generator: Generator) -> Surrogate:
        rows = (known @ embed_crops(one, encoder)[0] < _SAME).nonzero()[:, 0]
        others = Pool(pool.crops[rows], pool.traits[rows])
        drawn = others.nearest(one, generator)
        return with_pool_rows(from_donor(one, others[drawn], generator), "donor", rows.cpu()[drawn])

    return make
