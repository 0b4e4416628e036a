"""The state of a training run, one file: networks, averages and optimisers, and how far it has come.

Nothing random needs to be in it: every step draws from its own number and the seed of the run.
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
    """Where a run stands."""

    preset: str
    seed: int
    encoder: str = ""  # sha256 of the frozen recogniser's weights
    step: int = 0  # iterations done, hence also the position in the data
    minutes: float = 0.0  # spent training
    best: float | None = None  # lowest held-out loss so far
    best_step: int = 0


def save_state(path: Path, training: Training, progress: Progress) -> None:
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
    """Puts a saved state into the networks and optimisers. Raises BadInput if the file is damaged or of another run."""
    try:
        tensors, metadata = weights.read(path)
    except BadInput as error:
        reason = str(error).removeprefix(f"{path}: ").split(";")[0]
        raise BadInput(f"{path}: the state of this run {reason}; remove it to begin again") from None
    try:
        progress = Progress(**json.loads(metadata["progress"]))
        progress = replace(progress, preset=current_name(progress.preset))
        if progress.preset != training.preset.name:
            raise ValueError(f"but of {progress.preset}")
        for name, network in _networks(training).items():
            network.load_state_dict(_under(name, tensors))
        for name, (network, optimiser) in _optimisers(training).items():
            _restore(optimiser, list(network.parameters()), _under(name, tensors))
    except (LookupError, TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise BadInput(f"{path}: is no state of this preset ({reason}); choose another --out") from None
    return progress


def _networks(training: Training) -> dict[str, nn.Module]:
    return {"student": training.bare_student, "critic": training.bare_critic, "average": training.average}


def _optimisers(training: Training) -> dict[str, tuple[nn.Module, torch.optim.Optimizer]]:
    return {
        "student_optimiser": (training.bare_student, training.student_optimiser),
        "critic_optimiser": (training.bare_critic, training.critic_optimiser),
    }


def _under(name: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}


def _restore(optimiser: torch.optim.Optimizer, parameters: list[nn.Parameter], tensors: dict[str, Tensor]) -> None:
    """Moments in the memory layout of their parameters, so that going on computes what not stopping would have."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        row, name = key.split(".", 1)
        like = parameters[int(row)]
        whole = name != "step" and value.shape == like.shape
        state.setdefault(int(row), {})[name] = torch.empty_like(like).detach().copy_(value) if whole else value
    optimiser.load_state_dict({"state": state, "param_groups": optimiser.state_dict()["param_groups"]})
