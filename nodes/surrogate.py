"""Source Surrogate, Target Surrogate, Explicit Adaptation: made-up pictures whose right answer is a real one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from comfy_api.latest import io
from torch import Generator, Tensor

from ..cscs_core import adapt, pipeline
from ..cscs_core.align import resize
from ..cscs_core.example_people import GROWN, example_crops
from ..cscs_core.identity import Encoder, embedded
from ..cscs_core.one_by_one import Make, Outcome, one_by_one
from ..cscs_core.pair_recipe import Pool, telling
from ..cscs_core.pipeline import Models
from ..cscs_core.source_surrogate import Chance, SourceOptions, source_surrogate
from ..cscs_core.surrogate import Surrogate
from ..cscs_core.swap import Swapper
from ..cscs_core.target_surrogate import Judge, erased, from_donor, from_swapper, people_of
from ..cscs_core.types import Crops, Identity
from . import host, models, shown, sockets

_KINDS = ("donor", "swapper", "erase")
_SAME = 0.5  # likeness from which a donor is the face itself
_BLURRED = 0.1  # how much more alike an erased face may be: encoders read blurred ones, too
_SURPRISE = adapt.AdaptOptions(face=0.6, parts=0.4, glasses=0.5, beard=0.25, shave=0.25, makeup=0.4)


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
                _crops_input("The faces to make other pictures of, from Align Faces."),
                _seed_input(),
                _strength_input(
                    "expression", 1.0, "How far lids, brows, lips and jaw move. Lower it when mouths look odd."
                ),
                _strength_input(
                    "pose", 1.0, "How far the head turns; 1 is up to 20 degrees. Lower it when noses bend."
                ),
                _strength_input("light", 1.0, "How much a lamp from one side and other colours change the picture."),
                _strength_input(
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
                _tries_input(),
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
                _detector_input(),
            ],
            outputs=_outputs(),
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
        detector: models.Choice | None = None,
    ) -> io.NodeOutput:
        crops = host.own(crops, Crops, "crops")
        if not len(crops):
            return _result(crops)
        tools = models.ready(_image(crops), detector)
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
        outcome = one_by_one(
            crops,
            seed,
            lambda one, generator: source_surrogate(one, generator, options, others=lenders),
            tools.encoder,
            lambda before, made, likeness: likeness >= least_likeness,
            tries,
            device=tools.device,
            faces=host.counted,
            pause=host.stop,
        )
        return _result(crops, outcome, f"likeness must be at least {least_likeness:.2f}")


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
                _crops_input("The faces whose place somebody else takes, from Align Faces."),
                io.Combo.Input(
                    "kind",
                    options=list(_KINDS),
                    default=_KINDS[0],
                    tooltip="donor lays on the face of the donor who is turned and lit most alike; swapper swaps a "
                    "person in with the connected swapper; erase leaves only a coarse blur of other proportions.",
                ),
                _seed_input(),
                _tries_input(),
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
                _detector_input(),
            ],
            outputs=_outputs(),
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
        swapper: models.Choice | None = None,
        identity: Identity | None = None,
        detector: models.Choice | None = None,
    ) -> io.NodeOutput:
        crops = host.own(crops, Crops, "crops")
        if not len(crops):
            return _result(crops)
        tools, engine = _tools(crops, kind, swapper, detector)
        make, most = _way(kind, crops, donors, identity, tools, engine), most_likeness + _BLURRED * (kind == "erase")
        judge = Judge(landmarks=None if kind == "erase" else tools.landmarks)  # no points are found in a blur
        outcome = one_by_one(
            crops,
            seed,
            make,
            tools.encoder,
            lambda before, made, likeness: likeness <= most and bool(judge.steady(before, made)),
            tries,
            alike=False,
            device=tools.device,
            faces=host.counted,
            pause=host.stop,
        )
        return _result(crops, outcome, f"likeness must be at most {most:.2f}, pose and expression the same")


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
                _crops_input("The faces to change, from Align Faces or a surrogate."),
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
                _strength_input("tint", 0.0, "How dark the lenses are: 0 clear, 1 hardly anything is seen through."),
                _shape_input("beard", "Above 0 a beard is drawn on, below 0 the one that is there is taken away."),
                _strength_input("makeup", 0.0, "How much lipstick, eye shadow, liner and blush is put on."),
                io.Boolean.Input(
                    "surprise",
                    default=False,
                    tooltip="Draws for each face what is changed and how much, by the seed. What is set above counts "
                    "only while this is off.",
                ),
                _seed_input(),
                _detector_input(),
            ],
            outputs=_outputs(),
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
        detector: models.Choice | None = None,
    ) -> io.NodeOutput:
        crops = host.own(crops, Crops, "crops")
        if not len(crops):
            return _result(crops)
        parts = {"face": face, "cheeks": cheeks, "jaw": jaw, "nose": nose, "eyes": eyes}
        paint = adapt.Makeup(makeup, shadow=0.8 * makeup, liner=makeup, blush=0.8 * makeup) if makeup else None
        pair = None if glasses == "none" else adapt.Glasses(glasses, tint=tint)

        def make(one: Crops, generator: Generator) -> Surrogate:
            if surprise:
                return adapt.adapted(one, generator, _SURPRISE)
            return adapt.told(one, generator, parts, beard, paint, pair)

        tools = models.ready(_image(crops), detector)
        outcome = one_by_one(crops, seed, make, tools.encoder, device=tools.device, faces=host.counted, pause=host.stop)
        return _result(crops, outcome)


def _crops_input(tooltip: str) -> io.Input:
    return sockets.Crops.Input("crops", tooltip=tooltip)


def _seed_input() -> io.Int.Input:
    return io.Int.Input(
        "seed",
        default=0,
        min=0,
        max=0xFFFFFFFFFFFFFFFF,
        control_after_generate=True,
        tooltip="Another number, another picture; the same number, the same picture.",
    )


def _strength_input(name: str, default: float, tooltip: str) -> io.Float.Input:
    return io.Float.Input(name, default=default, min=0.0, max=1.0, step=0.05, tooltip=tooltip)


def _shape_input(name: str, tooltip: str, advanced: bool | None = None) -> io.Float.Input:
    return io.Float.Input(name, default=0.0, min=-1.0, max=1.0, step=0.05, tooltip=tooltip, advanced=advanced)


def _tries_input() -> io.Int.Input:
    return io.Int.Input(
        "tries",
        default=4,
        min=1,
        max=32,
        tooltip="How often a picture is made anew until it is accepted. Raise it when the report says that many are "
        "not.",
    )


def _detector_input() -> io.Input:
    return sockets.Detector.Input(
        "detector",
        optional=True,
        tooltip="From Load Model: its recogniser says how alike faces are. Not connected, the bundled one does.",
    )


def _outputs() -> list[io.Output]:
    return [
        sockets.Crops.Output("crops", tooltip="The pictures made, as many as faces came in and in their order."),
        io.Image.Output("image", tooltip="The same as images, to look at or to save."),
        io.Mask.Output("mask", tooltip="Where Paste Faces would lay them."),
        io.String.Output(
            "report", tooltip="One line per face: how alike it stayed, whether it is accepted, what was done."
        ),
    ]


def _image(crops: Crops) -> Tensor:
    """What has the size of the crops, as an IMAGE."""
    return crops.pixels.movedim(1, -1)  # BCHW -> BHWC


def _somebody(given: Crops | None, name: str, crops: Crops, tools: Models) -> Crops:
    """The faces that came in as donors, or the example people, as large as the crops, on the device of the models."""
    if given is None:
        return example_crops(tools, crops.size)[:GROWN]
    given = host.own(given, Crops, name)
    if not len(given):
        raise ValueError(f"{name} holds no face; connect Align Faces of photos with people, or disconnect it")
    return resize(given.to(tools.device), crops.size)


def _tools(crops: Crops, kind: str, swapper: object, detector: object) -> tuple[Models, Swapper | None]:
    """The networks that the kind needs."""
    if kind == "swapper":
        return models.ready_with(_image(crops), swapper, detector)
    return models.ready(_image(crops), detector), None


def _way(
    kind: str, crops: Crops, donors: Crops | None, identity: Identity | None, tools: Models, engine: Swapper | None
) -> Make:
    """How somebody else gets into a face's place."""
    if kind == "erase":
        return erased
    if engine is None:
        return _from(_somebody(donors, "donors", crops, tools), tools.encoder)
    if identity is not None:
        persons = [host.own(identity, Identity, "identity")]
    else:
        persons = people_of(_somebody(donors, "donors", crops, tools), tools.encoder)
    people = [pipeline.encoded(one, engine, tools).person for one in persons]
    return lambda one, generator: from_swapper(one, engine, people, generator)


def _from(donors: Crops, encoder: Encoder) -> Make:
    """The face of a donor who is held and lit alike, and somebody else; a few of these are drawn each time, so that
    tries differ."""
    pool, known = Pool.of(donors), embedded(donors, encoder)

    def make(one: Crops, generator: Generator) -> Surrogate:
        rows = (known @ embedded(one, encoder)[0] < _SAME).nonzero()[:, 0]
        others = Pool(pool.crops[rows], pool.traits[rows])
        drawn = others.alike(one, generator)
        return telling(from_donor(one, others[drawn], generator), "donor", rows.cpu()[drawn])

    return make


def _result(crops: Crops, outcome: Outcome | None = None, wanted: str = "") -> io.NodeOutput:
    """What the three nodes give: of no faces nothing."""
    if outcome is None:
        return io.NodeOutput(
            crops, host.pixels(crops.pixels), host.masks(crops.mask), "no face came in", ui=shown.badge("no face")
        )
    count, good = len(outcome.crops), int(outcome.accepted.sum())
    words = shown.counted(count, "face") + f", {good} accepted" * bool(wanted)
    made = outcome.crops
    lines = "\n".join(_lines(outcome, wanted))
    return io.NodeOutput(made, host.pixels(made.pixels), host.masks(made.mask), lines, ui=shown.badge(words))


def _lines(outcome: Outcome, wanted: str) -> list[str]:
    lines = []
    for row, (frame, likeness) in enumerate(
        zip(outcome.crops.frame.tolist(), outcome.similarity.tolist(), strict=True)
    ):
        tries, did = outcome.tries[row], _words(outcome.did[row])
        if not tries:
            verdict = "unchanged, not accepted: nobody else is among the donors"
        elif not outcome.accepted[row]:
            verdict = f"likeness {likeness:.2f}, not accepted in {tries} tries ({wanted}); {did}"
        else:
            verdict = f"likeness {likeness:.2f}, {f'accepted at try {tries}; ' * bool(wanted)}{did}"
        lines.append(f"face {row} of image {frame}: {verdict}")
    return lines


def _words(did: Mapping[str, Any]) -> str:
    """What was done, with the numbers of donors and others counted from 0."""
    said = []
    for name, value in did.items():
        if isinstance(value, dict):
            said.append(f"{name} ({_words(value)})")
        elif isinstance(value, float):
            said.append(f"{name.replace('_', ' ')} {value:.2g}")
        elif isinstance(value, bool):
            said.append(name.replace("_", " "))
        elif name != "seed":
            said.append(f"{name} {value}")
    return ", ".join(said) or "nothing changed"
