"""One training iteration of a swapper: for each part of the preset an update of the critic, then of the student.

    critic    softplus(-D(real)) + softplus(D(out)), every 16th step + 16 * r1 / 2 * |dD/dreal|^2
    student   the preset's loss, with the updated critic

`real` is y: the target of an ordinary pair, or the photograph that a proxy was made from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .. import ema
from . import losses
from .data import Pairs
from .losses import SwapBatch
from .presets import Part, Preset
from .student import Recogniser, Student

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Training:
    """Everything that an iteration updates, on this process's device. `student` and `critic` may be wrapped for
    distributed training."""

    preset: Preset
    accelerator: Accelerator
    recogniser: Recogniser
    student: nn.Module
    critic: nn.Module
    average: Student
    student_optimiser: torch.optim.Optimizer
    critic_optimiser: torch.optim.Optimizer

    @property
    def bare_student(self) -> Student:
        return self.accelerator.unwrap_model(self.student)

    @property
    def bare_critic(self) -> nn.Module:
        return self.accelerator.unwrap_model(self.critic)


def prepare(
    preset: Preset, accelerator: Accelerator, recogniser: Recogniser, student: Student, critic: nn.Module
) -> Training:
    """Moves the networks to the accelerator's device, makes their optimisers, and wraps them for several processes."""
    for network in (student, critic):
        network.to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    if accelerator.num_processes > 1 and accelerator.device.type == "cuda":
        student.generator = nn.SyncBatchNorm.convert_sync_batchnorm(student.generator)
    recogniser.network.to(accelerator.device).eval().requires_grad_(False)
    average = ema.averaged(student).to(accelerator.device)
    teaching = torch.optim.Adam(student.parameters(), preset.rate, preset.betas)
    judging = torch.optim.Adam(critic.parameters(), preset.critic_rate, preset.betas)
    taught, judge, teaching, judging = accelerator.prepare(student, critic, teaching, judging)
    return Training(preset, accelerator, recogniser, taught, judge, average, teaching, judging)


def iterate(training: Training, batches: Mapping[str, Pairs], step: int, pace: float) -> dict[str, Tensor]:
    """Trains on this process's share of a batch for each part. Returns the loss terms, named by part. Steps count from
    1; `pace` is the factor of the learning rates."""
    preset = training.preset
    for optimiser, rate in (
        (training.student_optimiser, preset.rate),
        (training.critic_optimiser, preset.critic_rate),
    ):
        for group in optimiser.param_groups:
            group["lr"] = rate * pace
    terms = {}
    for part in preset.parts:
        seen = _train_part(training, part, batches[part.pairs].to(training.accelerator.device), step)
        terms |= {f"{part.pairs}_{name}": value.detach() for name, value in seen.items()}
    ema.update(training.average, training.bare_student, ema.decay(step, preset.average))
    return terms


def _train_part(training: Training, part: Part, pairs: Pairs, step: int) -> dict[str, Tensor]:
    preset, accelerator, recogniser = training.preset, training.accelerator, training.recogniser
    real, source, target = (pictures * 2 - 1 for pictures in (pairs.y, pairs.x_src, pairs.x_tgt))
    with torch.no_grad(), accelerator.autocast():
        view = recogniser.view(source)
        identity = recogniser.of_view(view)
    out = training.student(target, view, identity)

    regularised = step % preset.r1_every == 0
    training.critic.requires_grad_(True)
    logits = training.critic(real.requires_grad_(regularised))
    terms = {"critic": losses.discriminator_loss(logits, training.critic(out.detach()))}
    if regularised:
        terms["r1"] = preset.r1_every * preset.r1 / 2 * losses.r1_penalty(logits, real)
    _update(training, terms, training.critic, training.critic_optimiser)

    training.critic.requires_grad_(False)  # and used unwrapped below: it has no gradients to synchronise
    with accelerator.autocast():
        swapped = SwapBatch(out, real.detach(), pairs.known, identity, recogniser(out), training.bare_critic(out))
    wanted = preset.loss(swapped, part.weights)
    _update(training, wanted, training.student, training.student_optimiser)
    return terms | wanted


def _update(
    training: Training, terms: Mapping[str, Tensor], network: nn.Module, optimiser: torch.optim.Optimizer
) -> None:
    training.accelerator.backward(torch.stack(list(terms.values())).sum())
    training.accelerator.clip_grad_norm_(network.parameters(), training.preset.clip)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
