"""Source Surrogate, Target Surrogate: made-up pictures whose right answer is a real one."""

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
from . import host, loaded, sockets, surrogate_common

_KINDS = ("donor", "swapper", "erase")
_SAME = 0.5  # likeness from which a donor is the face itself
_BLURRED = 0.1  # how much more alike an erased face may be: encoders read blurred ones, too


class SourceSurrogate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_SourceSurrogate",
            display_name="Source Surrogate (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Makes another picture of the same person out of each face: expression, turn of the head, "
            "light, surroundings and picture quality change, who it is does not. The first half of a training pair.",
            search_aliases=[
                "augment face",
                "same person",
                "change expression",
                "relight face",
                "training data",
                "proxy",
            ],
            inputs=[
                surrogate_common.crops_input("The faces to make other pictures of, from Align Faces."),
                surrogate_common.seed_input(),
                surrogate_common.strength_input(
                    "expression", 1.0, "How far lids, brows, lips and jaw move. Lower it when mouths look odd."
                ),
                surrogate_common.strength_input(
                    "pose", 1.0, "How far the head turns; 1 is up to 20 degrees. Lower it when noses bend."
                ),
                surrogate_common.strength_input(
                    "light", 1.0, "How much a lamp from one side and other colours change the picture."
                ),
                surrogate_common.strength_input(
                    "damage", 0.3, "How blurred, grainy and compressed the picture gets. 0 keeps it as clear as it was."
                ),
                io.Boolean.Input(
                    "surroundings",
                    default=True,
                    tooltip="Gives the face hair and background of somebody else. Turn it off to keep its own.",
                ),
                io.Boolean.Input(
                    "mirror",
                    default=False,
                    tooltip="Shows the face from the other side, as in a mirror. Leave it off when the crops are to be "
                    "pasted back.",
                ),
                surrogate_common.tries_input(),
                io.Float.Input(
                    "least_likeness",
                    default=0.5,
                    min=-1.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How alike picture and face must be for the picture to be accepted. Raise it when people "
                    "become somebody else, lower it when hardly anything is accepted.",
                    advanced=True,
                ),
                sockets.Crops.Input(
                    "others",
                    optional=True,
                    tooltip="Faces whose hair and background are borrowed, from Align Faces. Not connected, the "
                    "bundled example people lend theirs.",
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
        tools = loaded.ready(surrogate_common.image(crops), detector)
        lenders = _somebody(others, "others", crops, tools)
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
            tools.encoder,
            lambda before, made, likeness: likeness >= least_likeness,
            tries,
            device=tools.device,
            faces=host.with_progress,
            check_cancel=host.raise_if_cancelled,
        )
        return surrogate_common.result(crops, outcome, f"likeness must be at least {least_likeness:.2f}")


class TargetSurrogate(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_TargetSurrogate",
            display_name="Target Surrogate (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Puts somebody else into each face's place: pose, expression, light and surroundings stay. The "
            "second half of a training pair; a swap back should give the face that came in.",
            search_aliases=["anonymize face", "somebody else", "replace person", "training data", "proxy"],
            inputs=[
                surrogate_common.crops_input("The faces whose place somebody else takes, from Align Faces."),
                io.Combo.Input(
                    "kind",
                    options=list(_KINDS),
                    default=_KINDS[0],
                    tooltip="donor lays on the face of the donor who is turned and lit most alike; swapper swaps a "
                    "person in with the connected swapper; erase leaves only a coarse blur of other proportions.",
                ),
                surrogate_common.seed_input(),
                surrogate_common.tries_input(),
                io.Float.Input(
                    "most_likeness",
                    default=0.5,
                    min=-1.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How alike picture and face may be for the picture to be accepted; an erased face may be "
                    "0.1 more. Lower it to be surer that it is somebody else.",
                    advanced=True,
                ),
                sockets.Crops.Input(
                    "donors",
                    optional=True,
                    tooltip="People who give their faces, from Align Faces; the more, the better one fits. Not "
                    "connected, the bundled example people do.",
                ),
                sockets.Swapper.Input(
                    "swapper",
                    optional=True,
                    tooltip="Counts for kind swapper only: what swaps, from Load Model. Not connected, the bundled "
                    "one.",
                ),
                sockets.Identity.Input(
                    "identity",
                    optional=True,
                    tooltip="Counts for kind swapper only: the person to put in. Not connected, one of the donors is "
                    "drawn for each face.",
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
        tools, engine = _tools(crops, kind, swapper, detector)
        make, most = _way(kind, crops, donors, identity, tools, engine), most_likeness + _BLURRED * (kind == "erase")
        judge = Judge(landmarks=None if kind == "erase" else tools.landmarks)  # no points are found in a blur
        outcome = best_of_tries(
            crops,
            seed,
            make,
            tools.encoder,
            lambda before, made, likeness: likeness <= most and bool(judge.same_pose(before, made)),
            tries,
            alike=False,
            device=tools.device,
            faces=host.with_progress,
            check_cancel=host.raise_if_cancelled,
        )
        return surrogate_common.result(
            crops, outcome, f"likeness must be at most {most:.2f}, pose and expression the same"
        )


def _somebody(given: Crops | None, name: str, crops: Crops, tools: Models) -> Crops:
    """The faces that came in as donors, or the example people, as large as the crops, on the device of the models."""
    if given is None:
        return example_crops(tools, crops.size)[:GROWN]
    given = host.rebuild(given, Crops, name)
    if not len(given):
        raise ValueError(f"{name} holds no face; connect Align Faces of photos with people, or disconnect it")
    return resize(given.to(tools.device), crops.size)


def _tools(crops: Crops, kind: str, swapper: object, detector: object) -> tuple[Models, Swapper | None]:
    """The networks that the kind needs."""
    if kind == "swapper":
        return loaded.ready_with(surrogate_common.image(crops), swapper, detector)
    return loaded.ready(surrogate_common.image(crops), detector), None


def _way(
    kind: str, crops: Crops, donors: Crops | None, identity: Identity | None, tools: Models, engine: Swapper | None
) -> Make:
    """How somebody else gets into a face's place."""
    if kind == "erase":
        return erase_identity
    if engine is None:
        return _from(_somebody(donors, "donors", crops, tools), tools.encoder)
    if identity is not None:
        persons = [host.rebuild(identity, Identity, "identity")]
    else:
        persons = identities_of(_somebody(donors, "donors", crops, tools), tools.encoder)
    people = [pipeline.prepare_source(one, engine, tools).person for one in persons]
    return lambda one, generator: from_swapper(one, engine, people, generator)


def _from(donors: Crops, encoder: Encoder) -> Make:
    """The face of a donor who is held and lit alike, and somebody else; a few of these are drawn each time, so that
    tries differ."""
    pool, known = Pool.of(donors), embed_crops(donors, encoder)

    def make(one: Crops, generator: Generator) -> Surrogate:
        rows = (known @ embed_crops(one, encoder)[0] < _SAME).nonzero()[:, 0]
        others = Pool(pool.crops[rows], pool.traits[rows])
        drawn = others.nearest(one, generator)
        return with_pool_rows(from_donor(one, others[drawn], generator), "donor", rows.cpu()[drawn])

    return make
