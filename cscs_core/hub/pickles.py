"""Weights in pickles, read as tensors and nothing else: no code in them runs."""

from __future__ import annotations

import pickle
import re
import struct
import tarfile
import textwrap
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..io.files import BadInput

CSCS = ("G", "adapter")  # the parts of a checkpoint of CSCS that make a swap

# Where other checkpoints have their weights, averaged ones first.
_INSIDE = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")
_PARALLEL = "module."  # before every name in what DataParallel saved
_SWELLING = 8  # times the size of its file: a few bytes can claim to be more, weights are not
# What torch.load raises for bytes that are no pickle of tensors.
_DAMAGE = (
    RuntimeError,
    EOFError,
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    ArithmeticError,
    AssertionError,
    MemoryError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
)


def read(path: Path) -> dict[str, dict[str, Tensor]]:
    """The state dicts in a checkpoint: G and adapter of CSCS under these names, of any other the one it has, under "".

    Raises BadInput, in one line, for what is damaged, holds anything else than tensors and plain values, or no weights.
    """
    data = _unpickled(path)
    if not isinstance(data, Mapping):
        raise BadInput(f"{path}: holds a {type(data).__name__}, not weights by name")
    parts = {key: data[key] for key in CSCS if isinstance(data.get(key), Mapping)}
    if not parts:
        parts = {"": next((data[key] for key in _INSIDE if isinstance(data.get(key), Mapping)), data)}
    states = {key: _state(path, part) for key, part in parts.items()}
    size = sum(value.numel() * value.element_size() for state in states.values() for value in state.values())
    if size > _SWELLING * path.stat().st_size:
        raise BadInput(f"{path}: claims to hold far more numbers than are in it; refused")
    return states


def _state(path: Path, data: Mapping[Any, Any]) -> dict[str, Tensor]:
    if not data or not any(isinstance(value, Tensor) for value in data.values()):
        keys = textwrap.shorten(", ".join(map(repr, data)), 100, placeholder=" ...")
        raise BadInput(f"{path}: holds no weights by name ({keys or 'it is empty'})")
    for name, value in data.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise BadInput(f"{path}: {name!r} is a {type(value).__name__} among weights, not a tensor")
    parallel = all(name.startswith(_PARALLEL) for name in data)
    return {name.removeprefix(_PARALLEL) if parallel else name: value for name, value in data.items()}


def _unpickled(path: Path) -> Any:
    try:
        mappable = _checked(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about formats
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)
    except BadInput:
        raise
    except _DAMAGE as error:
        said = str(error)
    if found := re.search(r"GLOBAL ([\w.]*\w) ", said):
        raise BadInput(
            f"{path}: refused: asks for {found[1]}, which is no tensor and could run code; nothing of it was run"
        )
    raise BadInput(f"{path}: is damaged, truncated or no pickle of tensors ({_line(said)}); fetch it again")


def _checked(path: Path) -> bool:
    """Whether the weights can be mapped into memory. Refuses formats in which a file brings code along."""
    if tarfile.is_tarfile(path):  # of torch before 0.1.10; until 2.6 torch.load reads it as an ordinary pickle
        raise BadInput(f"{path}: is a tar archive, not weights; unpack it and convert what was inside")
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.filename.endswith("/constants.pkl") for part in parts):
        raise BadInput(f"{path}: is a TorchScript program, not weights; save its state dict instead")
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):  # torch writes none
        raise BadInput(f"{path}: is a compressed archive, not weights; unpack it and convert what was inside")
    return True


def _line(text: str) -> str:
    return textwrap.shorten(text, 100, placeholder=" ...") or "it ends early"
