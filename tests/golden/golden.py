"""Deterministic weights and pictures, so that two programs can build the same network without sharing a file, and the
numbers that the released networks give for them (tests/golden)."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

FOLDER = Path(__file__).parent
# What can be asked of pictures of AEI-Net: in single precision they lie up to 3e-4 from double precision, on each
# processor elsewhere, and the golden ones 6e-5.
PICTURES = 5e-4
# Channels of networks of the same build and a ten-thousandth of the work, by constant of cscs_core.models.aei.
NARROW = {
    "DOWN": (8, 9, 10, 11, 12, 13, 14),
    "UP": (13, 12, 11, 10, 9, 8),
    "ATTRIBUTES": (14, 26, 24, 22, 20, 18, 16, 16),
    "WIDTHS": (15, 15, 15, 15, 12, 10, 8, 6, 3),
}
NARROW_IRESNET = (8, 9, 10, 11)  # WIDTHS of cscs_core.models.iresnet likewise
_Network = TypeVar("_Network", bound=nn.Module)


def numbers() -> dict[str, Any]:
    return json.loads((FOLDER / "cscs.json").read_text(encoding="utf-8"))


def keys(name: str) -> dict[str, str]:
    """Names of a released state dict and the shapes as text, in their order."""
    lines = (FOLDER / f"{name}_keys.tsv").read_text(encoding="utf-8").splitlines()
    return dict(line.split("\t") for line in lines)


def filled(build: type[_Network], config: Any) -> _Network:
    """The network in evaluation mode with values made from each tensor's name and shape alone."""
    with torch.device("meta"):
        net = build(config)
    net.load_state_dict({name: _made(name, old) for name, old in net.state_dict().items()}, assign=True)
    return net.eval().requires_grad_(False)


def _made(name: str, old: Tensor) -> Tensor:
    if name.endswith("num_batches_tracked"):
        return torch.zeros(old.shape, dtype=old.dtype)
    noise = torch.randn(old.shape, generator=torch.Generator().manual_seed(zlib.crc32(name.encode())))
    if old.ndim > 1:
        return noise / math.sqrt(math.prod(old.shape[1:]))  # by the fan-in
    if name.endswith("running_var"):
        return 1 + 0.1 * noise.abs()
    return 1 + 0.1 * noise if name.endswith("weight") else 0.1 * noise


def image(size: int, batch: int = 1, phase: float = 0.0) -> Tensor:
    """Smooth pictures (batch, 3, size, size) in [-1, 1]."""
    axis = torch.linspace(0, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    waves = [
        torch.sin(6 * x + 4 * y + phase + b) * torch.cos(5 * y - 3 * x * c + c)
        for b in range(batch)
        for c in (0.5, 1.0, 1.5)
    ]
    return torch.stack(waves).view(batch, 3, size, size)


def vector(width: int, batch: int = 1) -> Tensor:
    """Unit rows (batch, width)."""
    rows = [torch.sin(torch.arange(width) * (0.37 + 0.11 * b) + b) for b in range(batch)]
    return nn.functional.normalize(torch.stack(rows), dim=-1)


def check(tensor: Tensor, expected: dict[str, Any], tolerance: float = 1e-5) -> None:
    """Every golden value within the tolerance, in parts of the output's largest magnitude."""
    assert list(tensor.shape) == expected["shape"]
    scale = float(tensor.abs().max())
    places = torch.tensor([int(place) for place in expected["at"]])
    values = torch.tensor(list(expected["at"].values()))
    assert float((tensor.flatten()[places] - values).abs().max()) <= tolerance * scale
    assert abs(float(tensor.mean()) - expected["mean"]) <= tolerance * scale
    assert abs(float(tensor.std()) - expected["std"]) <= tolerance * scale
