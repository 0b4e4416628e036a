"""`cscs train PRESET --data FOLDER`: trains a swapper from folders of pictures, as CSCS was or smaller.

    cscs train toy --data FOLDER                                    one process, on a GPU if available
    accelerate launch -m cscs_core.cli train cscs-256 --data ...    several GPUs, or machines that share these folders

The run folder gets config.json, log.jsonl, pictures/, and state.safetensors to resume from. generator.safetensors,
adapter.safetensors and gate.safetensors hold the averaged weights that scored best on held-out pairs.
"""

from __future__ import annotations

import argparse
import platform
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..hub import weights
from ..hub.store import default_store
from ..io.console import say
from ..io.files import BadInput, check_writable
from ..models import DiscriminatorConfig
from ..train.swap.data import folder_data
from ..train.swap.dry_run import dry_run
from ..train.swap.loop import begin, train
from ..train.swap.presets import Preset, find_preset
from ..train.swap.run_folder import open_folder
from ..train.swap.step import Training
from ..train.swap.student import load_recogniser, load_student
from ..train.swap.surrogate_pairs import surrogate_pairs

if TYPE_CHECKING:
    from accelerate import Accelerator


def run(options: argparse.Namespace) -> int:
    """Trains, or with --dry-run reports time and memory and writes nothing.

    Returns 0, or 128 + the number of the signal that stopped the run. Raises BadInput if options or data are wrong.
    """
    preset = _preset(options)
    run: Path = options.out or Path("runs") / options.preset
    check_writable(run / "config.json")
    accelerator = _accelerator(options.precision, options.device)
    try:
        return _run(options, preset, run, accelerator)
    finally:
        accelerator.end_training()  # otherwise the launcher would take this process for crashed


def _run(options: argparse.Namespace, preset: Preset, run: Path, accelerator: Accelerator) -> int:
    _check_batches(preset, accelerator.num_processes)
    encoder = options.encoder or _encoder(preset.encoder)
    recogniser = load_recogniser(encoder)
    student = load_student(options.weights, recogniser, preset.size) if options.weights else None
    made_of = partial(surrogate_pairs, size=preset.size, device=accelerator.device) if options.on_the_fly else None
    data = folder_data(options.data, preset.size, [part.pairs for part in preset.parts], made_of)
    training = begin(preset, accelerator, recogniser, options.seed, student)
    first = accelerator.is_main_process
    if options.dry_run:
        report = dry_run(training, data, options.seed)
        for line in report if first else []:
            say(line)
        return 0
    folder = open_folder(run, options.tensorboard and first)
    if first and not folder.state.exists():
        given = {name: str(value) for name, value in vars(options).items() if isinstance(value, Path)}
        folder.configure(described(training) | given | {"seed": options.seed, "encoder": str(encoder.resolve())})
    progress, stopped = train(training, data, folder, options.seed)
    if first:
        say(
            f"{run}: {'stopped' if stopped else 'done'} at step {progress.step}; the weights are the average at "
            f"step {progress.best_step}, which scored best on held-out pairs"
        )
    return 128 + stopped if stopped else 0


def described(training: Training) -> dict[str, Any]:
    """The configuration of a run as plain values, for config.json."""
    preset, accelerator, student = training.preset, training.accelerator, training.bare_student
    plain = {name: value for name, value in asdict(preset).items() if not callable(value)}
    networks = {"generator": student.generator, "adapter": student.adapter, "critic": training.bare_critic}
    return {
        **plain,
        "loss": preset.loss.__name__,
        "join": student.kind,
        "networks": {
            name: {"kind": type(network).__name__, "config": asdict(config)}
            for name, network in networks.items()
            if (config := getattr(network, "config", None)) is not None
        },
        "processes": accelerator.num_processes,
        "device": str(accelerator.device),
        "precision": accelerator.mixed_precision,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def _preset(options: argparse.Namespace) -> Preset:
    preset = find_preset(options.preset)
    if options.batch is not None:
        preset = replace(preset, parts=tuple(replace(part, batch=options.batch) for part in preset.parts))
    if options.seed < 0:
        raise BadInput(f"--seed {options.seed}: must be 0 or more")
    if options.steps is not None and options.minutes is not None:
        raise BadInput("--steps and --minutes: give only one of them")
    for name, value in (("steps", options.steps), ("minutes", options.minutes)):
        if value is not None:
            if not value > 0:
                raise BadInput(f"--{name} {value}: must be more than 0")
            preset = replace(preset, **{"steps": None, "minutes": None, name: value})
    return preset


def _accelerator(precision: str, device: str) -> Accelerator:
    try:
        from accelerate import Accelerator
    except ImportError:
        raise BadInput("cscs train: needs accelerate, which is not installed; pip install accelerate") from None
    return Accelerator(mixed_precision=precision, cpu=device == "cpu")


def _check_batches(preset: Preset, processes: int) -> None:
    """Raises BadInput unless the processes get equally many pairs of each kind, in whole discriminator groups."""
    group = DiscriminatorConfig().group
    fits = "1, 2, 3" if processes == 1 else f"{2 * processes}"
    for part in preset.parts:
        each, left = divmod(part.batch, processes)
        whole = each % group == 0 if each > group else each > 0
        if left or not whole or (processes > 1 and each % 2):
            raise BadInput(
                f"--batch {part.batch}: with {processes} process{'es' if processes > 1 else ''} it must be {fits} or a "
                f"multiple of {group * processes}"
            )


def _encoder(name: str) -> Path:
    """A bundled weights file, or one from the user's store. Raises BadInput if there is none of that name."""
    places = [folder / name for folder in (weights.LITE, default_store().home)]
    if (found := next((path for path in places if path.is_file()), None)) is None:
        raise BadInput(f"{places[-1]}: no such file; run `cscs fetch cscs`, or pass another encoder with --encoder")
    return found
