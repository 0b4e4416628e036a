"""Self-describing weights: safetensors whose metadata say what to build (`arch`, `config`)."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from .files import placed
from .models import ARCHITECTURES

LITE = Path(__file__).parent / "lite"


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Tensors to a safetensors file, written beside and then moved into place."""
    with placed(path) as beside:
        beside.write_bytes(save({name: value.contiguous() for name, value in tensors.items()}, metadata))


def save_model(path: Path, model: nn.Module, dtype: torch.dtype = torch.float16, **notes: str) -> None:
    """A model with its architecture and configuration; floating weights are stored in `dtype`."""
    tensors = {
        name: value.detach().to("cpu", dtype) if value.is_floating_point() else value.detach().cpu()
        for name, value in model.state_dict().items()
    }
    arch = next(name for name, (_, build) in ARCHITECTURES.items() if isinstance(model, build))
    write(path, tensors, {"arch": arch, "config": json.dumps(asdict(cast(Any, model.config))), **notes})


def load_model(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    """The model that a file describes, in evaluation mode, float32.

    Raises ValueError, naming the file, when it is no safetensors file, names no architecture we know, or its
    configuration or its tensors do not fit that architecture.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except FileNotFoundError:
        raise ValueError(f"{path}: no such file") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is not a safetensors file ({error})") from None
    if metadata.get("arch") not in ARCHITECTURES:
        raise ValueError(f"{path} says arch={metadata.get('arch')!r}; known are {', '.join(ARCHITECTURES)}")
    config, build = ARCHITECTURES[metadata["arch"]]
    try:
        options = config(**json.loads(metadata.get("config", "")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} holds no configuration of {metadata['arch']} ({error})") from None
    with torch.device("meta"):
        model = build(options)
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {metadata['arch']}: {error}") from None
    return model.to(device).eval().requires_grad_(False)
