"""The training loop of `cscs train`, which can be stopped or killed and resumed exactly.

All randomness of a step is seeded by the run's seed and the number of the step. So a resumed run computes the same as
an uninterrupted one, and no generator state has to be saved.
"""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Generator, Tensor

from ...io.console import say
from ...io.files import BadInput
from .check import check
from .data import Data, Pairs
from .presets import Preset
from .run_folder import RunFolder
from .state import Progress, load_state, save_state
from .step import Training, iterate, prepare
from .student import Recogniser, Student, new_student, save_student

if TYPE_CHECKING:
    from accelerate import Accelerator


_GOOD, _HOPELESS, _NOT_FINITE = range(3)  # verdicts of a validation


@dataclass
class StopRequest:
    """The signal that asked the run to stop, 0 for none."""

    signal: int = 0


def begin(
    preset: Preset, accelerator: Accelerator, recogniser: Recogniser, seed: int = 0, student: Student | None = None
) -> Training:
    """The initial training state of a preset, with a new student unless one is given."""
    _seed(seed)
    made = student or new_student(preset.generator(recogniser.width), recogniser)
    return prepare(preset, accelerator, recogniser, made, preset.critic())


def draw(training: Training, data: Data, seed: int, step: int) -> dict[str, Pairs]:
    """This process's share of a step's batches, by part. Also seeds the global generators for the rest of the step."""
    accelerator, parts = training.accelerator, training.preset.parts
    share = slice(accelerator.process_index, None, accelerator.num_processes)
    ambient, *numbers = np.random.SeedSequence((seed, step)).generate_state(1 + len(parts)).tolist()
    _seed(ambient + accelerator.process_index)
    return {
        part.pairs: data.train[part.pairs].batch(Generator().manual_seed(number), part.batch, share)
        for part, number in zip(parts, numbers, strict=True)
    }


def train(training: Training, data: Data, folder: RunFolder, seed: int = 0) -> tuple[Progress, int]:
    """Trains until the preset's steps or minutes are reached, resuming from the folder's checkpoint if there is one.
    Returns the progress and the signal that stopped the run, 0 for none. Raises BadInput if the checkpoint belongs to
    other options, if a loss or weight is not finite, or if the results are hopeless."""
    preset, accelerator = training.preset, training.accelerator
    progress = Progress(preset.name, seed, training.recogniser.sha256)
    if folder.state.exists():
        progress = load_state(folder.state, training)
        if progress.seed != seed:
            raise BadInput(
                f"{folder.path}: was started with --seed {progress.seed}, not {seed}; use that seed or another --out"
            )
        if progress.encoder != training.recogniser.sha256:
            raise BadInput(
                f"{folder.path}: was started with another encoder; give it with --encoder, or choose another --out"
            )
    if accelerator.is_main_process:
        folder.tidy(progress.step)
    seen: dict[str, list[Tensor]] = {}
    checked = _share(preset, progress)
    with _stop_on_signal() as request:
        stopped, waiting, last = 0, 0.0, time.perf_counter()
        while (done := _share(preset, progress)) < 1 and not stopped:
            step = progress.step + 1
            pairs = draw(training, data, seed, step)
            for name, value in iterate(training, pairs, step, preset.pace(step, done)).items():
                seen.setdefault(name, []).append(value)
            now = time.perf_counter()
            waiting, last = waiting + (now - last) / 60, now
            progress = replace(progress, step=step)
            logged = step % preset.log_every == 0
            if logged or accelerator.num_processes == 1:  # synchronise processes rarely, because they have to wait
                minutes, stopped = _max_over_processes(accelerator, waiting, request.signal)
                progress, waiting = replace(progress, minutes=progress.minutes + minutes), 0.0
            ending = stopped or _share(preset, progress) >= 1
            if logged or ending:
                _log(training, folder, progress, seen)
                seen = {}
            if step % preset.check_every == 0 or ending:
                progress = _check(training, data, folder, progress, checked)
                checked, last = _share(preset, progress), time.perf_counter()
    return progress, stopped


def _share(preset: Preset, progress: Progress) -> float:
    return preset.share(progress.step, progress.minutes)


def _log(training: Training, folder: RunFolder, progress: Progress, seen: dict[str, list[Tensor]]) -> None:
    """Logs the means of the loss terms since the last call, over all processes. Raises BadInput if one is not
    finite."""
    means = torch.stack([torch.stack(values).mean() for values in seen.values()])
    means = cast(Tensor, training.accelerator.reduce(means, "mean"))
    values = dict(zip(seen, means.tolist(), strict=True))
    if lost := [name for name, value in values.items() if not math.isfinite(value)]:
        raise BadInput(_not_finite(folder, progress, lost[0]))
    if training.accelerator.is_main_process:
        folder.record(progress.step, progress.minutes, values)
        terms = ", ".join(f"{name} {value:.3g}" for name, value in values.items())
        say(f"step {progress.step}, {100 * _share(training.preset, progress):.1f} %: {terms}")


def _check(training: Training, data: Data, folder: RunFolder, progress: Progress, checked: float) -> Progress:
    """Validates the averaged student, saves it if it is the best so far, and saves a checkpoint. Raises BadInput if a
    weight is not finite, or if the run has just passed `give_up` and its results are hopeless."""
    verdict = _GOOD
    if training.accelerator.is_main_process:
        progress, verdict = _measure(training, data, folder, progress, checked)
    _, verdict = _max_over_processes(training.accelerator, 0.0, verdict)
    if verdict == _NOT_FINITE:
        raise BadInput(_not_finite(folder, progress, "a weight"))
    if verdict == _HOPELESS:
        raise BadInput(
            f"{folder.path}: at step {progress.step} the results do not look like their sources; more weight on "
            "identity or less on reconstruction may help. To continue anyway, run the same command again"
        )
    return progress


def _measure(
    training: Training, data: Data, folder: RunFolder, progress: Progress, checked: float
) -> tuple[Progress, int]:
    preset, student = training.preset, training.average
    networks = (training.bare_student, training.bare_critic)
    if not all(bool(value.isfinite().all()) for network in networks for value in network.parameters()):
        return progress, _NOT_FINITE
    found = check(preset, student, training.recogniser, data.held_out)
    folder.picture(progress.step, found.grid)
    folder.record(progress.step, progress.minutes, {"held_out": found.loss, **found.measures})
    say(", ".join(f"{name} {value:.3f}" for name, value in {"held out": found.loss, **found.measures}.items()))
    if progress.best is None or found.loss < progress.best:
        progress = replace(progress, best=found.loss, best_step=progress.step)
        notes = {"preset": preset.name, "step": str(progress.step)}
        save_student(folder.path, student, training.recogniser, preset.size, **notes)
    save_state(folder.state, training, progress)
    due = preset.give_up is not None and checked < preset.give_up <= _share(preset, progress) < 1
    return progress, _HOPELESS if due and found.hopeless else _GOOD


def _not_finite(folder: RunFolder, progress: Progress, what: str) -> str:
    return (
        f"{folder.path}: {what} is not finite at step {progress.step}; run the same command again to resume from the "
        "last checkpoint. If it happens again, other data or a lower rate may help"
    )


def _max_over_processes(accelerator: Accelerator, minutes: float, number: int) -> tuple[float, int]:
    """The largest values over all processes."""
    if accelerator.num_processes == 1:
        return minutes, number
    own = torch.tensor([[minutes, float(number)]], device=accelerator.device)
    minutes, number = cast(Tensor, accelerator.gather(own)).amax(0).tolist()
    return minutes, int(number)


def _seed(number: int) -> None:
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.manual_seed(number)


@contextmanager
def _stop_on_signal() -> Iterator[StopRequest]:
    """Records the first SIGINT or SIGTERM as a request to stop; a second one has its usual effect."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request  # only the main thread receives signals
        return
    usual = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def note(number: int, _frame: object) -> None:
        request.signal = number
        for each, handler in usual.items():
            signal.signal(each, handler)

    for number in usual:
        signal.signal(number, note)
    try:
        yield request
    finally:
        for number, handler in usual.items():
            signal.signal(number, handler)
