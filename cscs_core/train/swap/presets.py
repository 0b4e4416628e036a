"""Presets of `cscs train`: networks, losses and schedule under one name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import nn

from ...io.files import BadInput
from ...models import AEIConfig, AEINet, Discriminator, DiscriminatorConfig, SmallGenerator, SmallGeneratorConfig
from .losses import Loss, Weights, released, robust


@dataclass(frozen=True, slots=True)
class Part:
    """One batch of every iteration, on which first the critic and then the generator is updated."""

    pairs: Literal["ordinary", "proxy"]  # two photographs, half of the time the same one twice; or proxies
    batch: int  # pairs, over all processes
    weights: Weights


@dataclass(frozen=True, slots=True)
class Preset:
    """How a swapper is trained. A run ends after `steps` or `minutes`, of which exactly one is given. Raises ValueError
    otherwise."""

    name: str
    size: int  # px, crop side
    encoder: str  # weights file of the recogniser used for conditioning and for the loss, bundled or in the store
    generator: Callable[[int], nn.Module]  # length of z -> network(target, z)
    critic: Callable[[], nn.Module]
    parts: tuple[Part, ...]
    loss: Loss
    steps: int | None = None
    minutes: float | None = None
    rate: float = 4e-4  # of the generator and the adapter
    critic_rate: float = 4e-4
    betas: tuple[float, float] = (0.9, 0.999)
    warm_up: int = 0  # steps
    cosine: bool = False  # cosine decay of the rates to 0; otherwise they are constant
    clip: float = 2.0  # largest norm of the gradients of all parameters together
    r1: float = 10.0  # gamma
    r1_every: int = 16  # steps between R1 penalties, which are multiplied by this number
    average: float = 0.999  # decay of the averaged weights
    give_up: float | None = 0.15  # share of the run after which it stops if results do not look like their sources
    log_every: int = 50  # steps
    check_every: int = 1000  # steps between validations with pictures and checkpoints

    def __post_init__(self):
        if (self.steps is None) == (self.minutes is None):
            raise ValueError(f"preset {self.name}: give either steps or minutes")
        if self.check_every % self.log_every:
            raise ValueError(f"preset {self.name}: check_every must be a multiple of log_every")

    def share(self, step: int, minutes: float) -> float:
        """The share of the run that is done, 0..1."""
        done = step / self.steps if self.steps else minutes / self.minutes if self.minutes else 1.0
        return min(1.0, done)

    def pace(self, step: int, done: float) -> float:
        """The factor of the learning rates at a step, counted from 1, when this share of the run is done."""
        warm = min(1.0, step / self.warm_up) if self.warm_up else 1.0
        return warm * (0.5 + 0.5 * math.cos(math.pi * done)) if self.cosine else warm


_FORMER_NAMES = {"lite-128": "small-128"}


def current_name(name: str) -> str:
    """The current name of a preset, given its current or former name."""
    return _FORMER_NAMES.get(name, name)


def find_preset(name: str) -> Preset:
    """The preset with this name or former name. Raises BadInput if there is none."""
    name = current_name(name)
    if name not in PRESETS:
        raise BadInput(f"{name}: no such preset; choose one of {', '.join(PRESETS)}")
    return PRESETS[name]


def _aei(identity: int) -> nn.Module:
    return AEINet(AEIConfig(identity))


def _small(identity: int, widths: tuple[int, ...], blocks: int) -> nn.Module:
    return SmallGenerator(SmallGeneratorConfig(identity, widths, blocks))


def _critic(size: int, width: int) -> nn.Module:
    return Discriminator(DiscriminatorConfig(size, width))


_PRESETS = (
    Preset(
        "cscs-256",
        size=256,
        encoder="cscs_encoder.safetensors",
        generator=_aei,
        critic=partial(_critic, 256, 512),
        parts=(Part("ordinary", 8, Weights(1, 10, 1)), Part("proxy", 8, Weights(1, 20, 1))),
        loss=released,
        steps=1_600_000,
    ),
    Preset(
        "small-128",
        size=128,
        encoder="encoder.safetensors",
        generator=partial(_small, widths=(32, 64, 128, 256), blocks=6),
        critic=partial(_critic, 128, 128),
        parts=(Part("ordinary", 32, Weights(5, 5, 0.5)), Part("proxy", 32, Weights(5, 10, 0.5))),
        loss=robust,
        minutes=20,
        betas=(0.0, 0.99),
        critic_rate=2e-4,
        warm_up=300,
        cosine=True,
        clip=1.0,
        check_every=500,
    ),
    Preset(
        "toy",
        size=64,
        encoder="encoder.safetensors",
        generator=partial(_small, widths=(16, 32, 64, 96), blocks=3),
        critic=partial(_critic, 64, 32),
        parts=(Part("ordinary", 4, Weights(5, 5, 0.1)), Part("proxy", 4, Weights(5, 10, 0.1))),
        loss=robust,
        minutes=3,
        rate=1e-3,
        betas=(0.5, 0.99),
        warm_up=50,
        cosine=True,
        average=0.99,
        give_up=None,
        log_every=10,
        check_every=50,
    ),
)

PRESETS: dict[str, Preset] = {preset.name: preset for preset in _PRESETS}
