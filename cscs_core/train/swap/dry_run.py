"""Estimates the cost of a training run from one iteration of each kind and one validation, without writing anything."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

from .check import check
from .data import Data
from .loop import draw
from .step import Training, iterate


def dry_run(training: Training, data: Data, seed: int = 0) -> list[str]:
    """Lines of text about sizes, time and memory. `training` must not be used afterwards: it has taken trial steps."""
    preset, accelerator, student = training.preset, training.accelerator, training.bare_student

    def iteration(step: int) -> float:
        return _seconds(lambda: iterate(training, draw(training, data, seed, step), step, 1.0))

    iteration(1)  # warm-up: the first one also fills caches
    plain, regularised = iteration(2 if preset.r1_every > 2 else 1), iteration(preset.r1_every)
    checked = _seconds(lambda: check(preset, training.average, training.recogniser, data.held_out))
    mean = plain + (regularised - plain) / preset.r1_every + checked / preset.check_every
    if preset.steps:
        length = f"{preset.steps} steps, {_duration(preset.steps * mean)}"
    else:
        minutes = preset.minutes or 0
        length = f"{_duration(60 * minutes)}, about {60 * minutes / mean:.0f} steps"
    networks = {"generator": student.generator, "adapter": student.adapter, "critic": training.bare_critic}
    counts = {name: sum(value.numel() for value in network.parameters()) for name, network in networks.items()}
    state = 4 * (counts["generator"] + counts["adapter"]) + 3 * counts["critic"]  # weights, average, two moments
    batches = ", ".join(f"{part.batch} {part.pairs}" for part in preset.parts)
    held_out = ", ".join(f"{len(pairs)} {name}" for name, pairs in data.held_out.items())
    return [
        f"{preset.name}: {preset.size} px, pairs per step: {batches}; held out: {held_out}",
        f"parameters: {', '.join(f'{name} {count / 1e6:.2f} M' for name, count in counts.items())}",
        f"on {accelerator.num_processes} x {accelerator.device}, precision {accelerator.mixed_precision}",
        f"a step takes {plain:.3g} s, every {preset.r1_every}th {regularised:.3g} s; a check {checked:.3g} s",
        f"peak memory {_memory(accelerator.device) / 1e9:.2f} GB per process; a checkpoint {4 * state / 1e9:.2f} GB",
        f"the run: {length}",
    ]


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def _memory(device: torch.device) -> int:
    """Peak memory in bytes, of the GPU or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        import psutil  # comes with accelerate

        return psutil.Process().memory_info().peak_wset
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"
