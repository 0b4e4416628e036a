"""The variants of the ablation: small swappers trained in the same way, each without one part of the proxy pairs.

They use the training step of `cscs train`, but without critic and ID adapter: on a CPU the time is better spent on more
steps.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from ..hub import weights
from ..io.files import BadInput
from ..models import for_inference
from ..train.swap.data import Data, MemoryPictures, MemoryProxies, OrdinaryPairs, PairSource
from ..train.swap.loop import begin, draw
from ..train.swap.losses import Weights, robust
from ..train.swap.presets import Part, Preset
from ..train.swap.step import iterate
from ..train.swap.student import Recogniser, Student, load_recogniser
from .evidence_data import Made
from .evidence_student import SIDE, Remembering, SmallStudent

log = logging.getLogger(__name__)

_LOG_EVERY = 200  # steps between log lines


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant of training."""

    says: str  # description
    pairs: str  # pairs used besides the ordinary ones, see `pairs`
    identity: float = 0.5  # weight of the identity loss


VARIANTS = {
    "full": Variant("proxies as they are made", "full"),
    "ordinary": Variant("no proxies: ordinary pairs in their place", "ordinary"),
    "no_source": Variant("no source surrogate: x_src = y", "no_source"),
    "no_target": Variant("no target surrogate: x_tgt = y", "no_target"),
    "no_shape": Variant("no shape adaptation: x_tgt is never bent", "no_shape"),
    # A variant that swaps less keeps more of the target: this one allows a comparison at equal strength of the swap.
    "full_strong": Variant("proxies, the identity counts twice as much", "full", 1.0),
}


class NoCritic(nn.Module):
    """A stand-in for a critic that gives the same logit to all images, (N, ...) -> (N,)."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, pictures: Tensor) -> Tensor:
        return self.bias.expand(len(pictures))


def preset(steps: int, identity: float) -> Preset:
    """The preset of the ablation, with this number of steps and weight of the identity loss."""
    return Preset(
        "evidence",
        size=SIDE,
        encoder="encoder.safetensors",
        generator=SmallStudent,
        critic=NoCritic,
        parts=(Part("ordinary", 4, Weights(identity, 5, 0)), Part("proxy", 4, Weights(identity, 10, 0))),
        loss=robust,
        steps=steps,
        rate=2e-3,
        betas=(0.9, 0.99),
        warm_up=30,
        cosine=True,
        clip=1.0,
        r1_every=steps + 1,
        average=0.99,
    )


def pairs(kind: str, made: Made) -> PairSource:
    """The pairs of a variant that are used besides the ordinary ones."""
    targets = partial(MemoryProxies, made.y)
    return {
        "full": lambda: targets(made.x_src, made.x_tgt, (made.thin, made.chubby)),
        "ordinary": lambda: OrdinaryPairs(MemoryPictures(made.photographs)),
        "no_source": lambda: targets(made.y, made.x_tgt, (made.thin, made.chubby)),
        "no_target": lambda: targets(made.x_src, made.y, (made.own_thin, made.own_chubby)),
        "no_shape": lambda: targets(made.x_src, made.x_tgt),
    }[kind]()


def recogniser() -> Recogniser:
    """The bundled encoder, used for conditioning and for the identity loss."""
    found = load_recogniser(weights.LITE / "encoder.safetensors")
    for_inference(found.network)
    return Remembering(found.network, found.width)


def student(name: str, made: Made, known: Recogniser, steps: int, seed: int, file: Path) -> SmallStudent:
    """The trained student of a variant, in evaluation mode; read from the file if it exists. Raises BadInput if that
    one was trained for another number of steps."""
    if not file.exists():
        trained, minutes = _train(name, made, known, steps, seed)
        weights.write(
            file, trained.state_dict(), {"arch": "evidence", "steps": str(steps), "minutes": f"{minutes:.2f}"}
        )
    found = SmallStudent(known.width)
    tensors, notes = weights.read(file)
    if notes.get("steps") != str(steps):
        raise BadInput(f"{file}: was trained for {notes.get('steps')} steps, not {steps}; choose another --out")
    found.load_state_dict(tensors)
    return found.eval().requires_grad_(False)


def _train(name: str, made: Made, known: Recogniser, steps: int, seed: int) -> tuple[nn.Module, float]:
    """The averaged student, and the minutes of CPU time used."""
    from accelerate import Accelerator

    variant = VARIANTS[name]
    plan = preset(steps, variant.identity)
    torch.manual_seed(seed)
    # The training step only calls the student; on one device it does not access the parts of a `Student`.
    fresh = cast(Student, SmallStudent(known.width))
    training = begin(plan, Accelerator(mixed_precision="bf16", cpu=True), known, seed, fresh)
    photographs = OrdinaryPairs(MemoryPictures(made.photographs))
    data = Data({"ordinary": photographs, "proxy": pairs(variant.pairs, made)}, {})
    began = time.process_time()
    for step in range(1, steps + 1):
        terms = iterate(training, draw(training, data, seed, step), step, plan.pace(step, step / steps))
        if step % _LOG_EVERY == 0:
            said = ", ".join(f"{term} {float(value):.3f}" for term, value in terms.items() if "critic" not in term)
            log.info("%s, seed %d, step %d: %s", name, seed, step, said)
    return training.average, (time.process_time() - began) / 60
