"""The training loop of the bundled networks: a schedule in minutes, averaged weights, checkpoints to resume from."""

from __future__ import annotations

import json
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Schedule:
    """AdamW with a warm-up and a cosine decay that ends with the time limit."""

    minutes: float
    rate: float = 2e-3
    warm_up: int = 200  # steps
    weight_decay: float = 0.02
    average: float = 0.998  # decay of the averaged weights
    clip: float = 5.0  # gradient norm
    save_every: float = 4.0  # minutes


def fit(
    model: nn.Module,
    loss: Callable[[nn.Module, torch.Generator], dict[str, Tensor]],
    schedule: Schedule,
    run: Path,
    validate: Callable[[nn.Module], dict[str, float]],
) -> nn.Module:
    """Trains until the minutes are used up and returns the averaged model in evaluation mode.

    `loss(model, generator)` draws its own batch and returns named terms, whose sum is minimised. The folder `run` holds
    state.pt, from which a killed run resumes, and log.jsonl. Time spent on validation and saving does not count.
    """
    run.mkdir(parents=True, exist_ok=True)
    model.to(memory_format=torch.channels_last).train()  # pyright: ignore[reportCallIssue]
    decayed = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": schedule.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=schedule.rate,
        betas=(0.9, 0.99),
    )
    averaged = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(schedule.average), use_buffers=True
    )
    generator = torch.Generator().manual_seed(0)
    step, spent = 0, 0.0
    state = run / "state.pt"
    if state.exists():
        saved = torch.load(state, weights_only=True)
        model.load_state_dict(saved["model"])
        averaged.load_state_dict(saved["averaged"])
        optimiser.load_state_dict(saved["optimiser"])
        generator.set_state(saved["generator"])
        step, spent = saved["step"], saved["spent"]
    last, saved_at, mean = time.perf_counter(), spent, {}
    while spent < schedule.minutes * 60:
        done = spent / (schedule.minutes * 60)
        for group in optimiser.param_groups:
            warm = min(1.0, (step + 1) / schedule.warm_up)
            group["lr"] = schedule.rate * warm * (0.5 + 0.5 * math.cos(math.pi * done)) + 1e-6
        terms = loss(model, generator)
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), schedule.clip)
        optimiser.step()
        averaged.update_parameters(model)
        for name, value in terms.items():
            number = float(value.detach())
            mean[name] = mean.get(name, number) * 0.98 + number * 0.02
        step += 1
        now = time.perf_counter()
        spent, last = spent + now - last, now
        if spent - saved_at >= schedule.save_every * 60 or spent >= schedule.minutes * 60:
            saved_at = spent
            everything = {
                "model": model.state_dict(),
                "averaged": averaged.state_dict(),
                "optimiser": optimiser.state_dict(),
                "generator": generator.get_state(),
                "step": step,
                "spent": spent,
            }
            torch.save(everything, state.with_suffix(".part"))
            os.replace(state.with_suffix(".part"), state)
            averaged.eval()
            record = {"step": step, "minutes": spent / 60, **mean, **validate(averaged.module)}
            with open(run / "log.jsonl", "a", encoding="utf-8") as lines:
                lines.write(json.dumps(record) + "\n")
            log.info(" ".join(f"{key} {value:.4g}" for key, value in record.items()))
            last = time.perf_counter()
    return averaged.module.eval()
