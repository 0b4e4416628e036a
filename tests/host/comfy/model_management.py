"""The compute device and number format are `state`, for the tests to set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch


class InterruptProcessingException(BaseException):
    pass


@dataclass
class State:
    intermediate: torch.dtype = torch.float32
    interrupt: bool = False
    loads: list[dict[str, Any]] = field(default_factory=list)  # the arguments of every load_models_gpu


state = State()


def get_torch_device() -> torch.device:
    return torch.device("cpu")


def unet_offload_device() -> torch.device:
    return torch.device("cpu")


def intermediate_device() -> torch.device:
    return torch.device("cpu")


def intermediate_dtype() -> torch.dtype:
    return state.intermediate


def throw_exception_if_processing_interrupted() -> None:
    if state.interrupt:
        raise InterruptProcessingException


def load_models_gpu(
    models: Sequence[Any],
    memory_required: float = 0,
    force_patch_weights: bool = False,
    minimum_memory_required: float | None = None,
    force_full_load: bool = False,
) -> None:
    state.loads.append({"models": models, "memory_required": memory_required, "force_full_load": force_full_load})
