"""Reads weights from pickles without running any code in them."""

from __future__ import annotations

import pickle
import re
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..io.files import BadInput, one_line

CSCS = ("G", "adapter")  # the parts of a CSCS checkpoint that a swap needs

# Keys under which other checkpoints keep their weights, averaged ones first.
_INSIDE = ("params_ema", "params-ema", "params", "state_dict", "model_state_dict", "model", "net")
_PARALLEL = "module."  # prefix of every name that DataParallel saves
_MAX_EXPANSION = 8  # times the file size; a few bytes can claim to be a huge tensor
# What torch.load raises for files that are not pickles of tensors.
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
    """The state dicts of a checkpoint: for CSCS under the keys G and adapter, for any other the only one under "".

    Raises BadInput, with a message of one line, if the file is damaged, has no weights, or has objects other than
    tensors and plain values.
    """
    data = _unpickle(path)
    if not isinstance(data, Mapping):
        raise BadInput(f"{path}: contains a {type(data).__name__}, not a state dict")
    parts = {key: data[key] for key in CSCS if isinstance(data.get(key), Mapping)}
    if not parts:
        parts = {"": next((data[key] for key in _INSIDE if isinstance(data.get(key), Mapping)), data)}
    states = {key: _state(path, part) for key, part in parts.items()}
    size = sum(value.numel() * value.element_size() for state in states.values() for value in state.values())
    if size > _MAX_EXPANSION * path.stat().st_size:
        raise BadInput(f"{path}: claims far more values than its size allows; refused")
    return states


def _state(path: Path, data: Mapping[Any, Any]) -> dict[str, Tensor]:
    if not data or not any(isinstance(value, Tensor) for value in data.values()):
        keys = one_line(", ".join(map(repr, data)), 100)
        raise BadInput(f"{path}: contains no state dict ({keys or 'it is empty'})")
    for name, value in data.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise BadInput(f"{path}: {name!r} in its state dict is a {type(value).__name__}, not a tensor")
    parallel = all(name.startswith(_PARALLEL) for name in data)
    return {name.removeprefix(_PARALLEL) if parallel else name: value for name, value in data.items()}


def _unpickle(path: Path) -> Any:
    try:
        mappable = _check_archive(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about file formats
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)
    except BadInput:
        raise
    except _DAMAGE as error:
        message = str(error)
    if found := re.search(r"GLOBAL ([\w.]*\w) ", message):
        raise BadInput(
            f"{path}: refused: it refers to {found[1]}, which is not a tensor and could run code; no code was run"
        )
    reason = one_line(message, 100) or "unexpected end of file"
    raise BadInput(f"{path}: is damaged, truncated or not a pickle of tensors ({reason}); fetch it again")


def _check_archive(path: Path) -> bool:
    """Whether the file can be memory-mapped. Raises BadInput for formats that can carry code."""
    if tarfile.is_tarfile(path):  # the format before torch 0.1.10; until 2.6 torch.load unpickles it without checks
        raise BadInput(f"{path}: is a tar archive, not weights; unpack it and convert the file inside")
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if any(part.filename.endswith("/constants.pkl") for part in parts):
        raise BadInput(f"{path}: is a TorchScript program, not weights; save its state dict instead")
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):  # torch does not compress
        raise BadInput(f"{path}: is a compressed archive, not weights; unpack it and convert the file inside")
    return True
