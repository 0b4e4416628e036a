"""Checkpoints of a training run, one file: networks, averages, optimisers and progress.

No generator state is needed: every step is seeded by its number and the seed of the run.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ...hub import weights
from ...io.files import BadInput
from .presets import current_name
from .step import Training


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a run."""

    preset: str
    seed: int
    encoder: str = ""  # sha256 of the frozen recogniser's weights
    step: int = 0  # iterations done, which also gives the position in the data
    minutes: float = 0.0  # time spent training
    best: float | None = None  # lowest held-out loss so far
    best_step: int = 0


def save_state(path: Path, training: Training, progress: Progress) -> None:
    """Writes a checkpoint, atomically. Raises BadInput if it cannot be written."""
    tensors = {
        f"{name}.{key}": value.detach().cpu()
        for name, network in _networks(training).items()
        for key, value in network.state_dict().items()
    }
    for name, (_, optimiser) in _optimisers(training).items():
        for row, values in optimiser.state_dict()["state"].items():
            tensors |= {f"{name}.{row}.{key}": value.cpu() for key, value in values.items()}
    try:
        weights.write(path, tensors, {"progress": json.dumps(asdict(progress))})
    except (OSError, SafetensorError) as error:
        raise BadInput(f"{path}: cannot be written ({error})") from None


def load_state(path: Path, training: Training) -> Progress:
    """Loads a checkpoint into the networks and optimisers, in place. Raises BadInput if the file is damaged or belongs
    to another preset."""
    try:
        tensors, metadata = weights.read(path)
    except BadInput as error:
        reason = str(error).removeprefix(f"{path}: ").split(";")[0]
        raise BadInput(f"{path}: the checkpoint of this run {reason}; remove it to start again") from None
    try:
        progress = Progress(**json.loads(metadata["progress"]))
        progress = replace(progress, preset=current_name(progress.preset))
        if progress.preset != training.preset.name:
            raise ValueError(f"but of {progress.preset}")
        for name, network in _networks(training).items():
            network.load_state_dict(_with_prefix(name, tensors))
        for name, (network, optimiser) in _optimisers(training).items():
            _load_optimiser(optimiser, list(network.parameters()), _with_prefix(name, tensors))
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BadInput(f"{path}: is not a checkpoint of this preset ({reason}); choose another --out") from None
    return progress


def _networks(training: Training) -> dict[str, nn.Module]:
    return {"student": training.bare_student, "critic": training.bare_critic, "average": training.average}


def _optimisers(training: Training) -> dict[str, tuple[nn.Module, torch.optim.Optimizer]]:
    return {
        "student_optimiser": (training.bare_student, training.student_optimiser),
        "critic_optimiser": (training.bare_critic, training.critic_optimiser),
    }


def _with_prefix(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _load_optimiser(
    optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], tensors: dict[str, Tensor]
) -> None:
    """Restores an optimiser, with moments in the memory layout of their parameters: a resumed run is then exact."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        row, name = key.split(".", 1)
        like = parameters[int(row)]
        whole = name != "step" and value.shape == like.shape
        state.setdefault(int(row), {})[name] = torch.empty_like(like).detach().copy_(value) if whole else value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
