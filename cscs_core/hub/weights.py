"""Self-describing weights: safetensors whose metadata name the network (`arch`, `config`)."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..io.files import BadInput, one_line, placed
from ..models import ARCHITECTURES

Model = TypeVar("Model", bound=nn.Module)

LITE = Path(__file__).parents[1] / "lite"

_PICKLED = (".pth", ".pt", ".ckpt")
_KINDS = ("F16", "F32", "BOOL", "U8", "I8", "U16", "I16", "U32", "I32", "U64", "I64")  # dtypes that files may hold
_NAMES = {"F64": "float64", "BF16": "bfloat16"}
_LONGEST_HEADER = 100_000_000  # bytes; safetensors refuses longer ones


def write(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Writes tensors to a safetensors file, whole or not at all."""
    with placed(path) as beside:
        beside.touch()
        mode = beside.stat().st_mode
        save_file({name: value.contiguous() for name, value in tensors.items()}, beside, metadata)
        beside.chmod(mode)  # safetensors makes files that only the owner can read


def save_model(path: Path, model: nn.Module, dtype: torch.dtype = torch.float16, **notes: str) -> None:
    """Writes a model with its architecture and configuration; floating-point weights are stored in `dtype`."""
    arch = next((name for name, (_, build) in ARCHITECTURES.items() if type(model) is build), None)
    if arch is None:
        raise ValueError(f"{type(model).__name__} is not an architecture for weights files")
    tensors = {
        name: value.detach().to("cpu", dtype) if value.is_floating_point() else value.detach().cpu()
        for name, value in model.state_dict().items()
    }
    write(path, tensors, {"arch": arch, "config": json.dumps(asdict(cast(Any, model.config))), **notes})


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file, as stored, and its metadata. The tensors are read from disk when used.

    Raises BadInput for files of any other kind, which are never unpickled or unpacked, for floating-point types other
    than float16 and float32, and for weights that are not finite.
    """
    head = b""
    try:
        if path.exists() and not path.is_file():
            raise BadInput(f"{path}: is a {'folder' if path.is_dir() else 'device'}, not a safetensors file")
        with open(path, "rb") as file:
            head = file.read(512)
        with safe_open(path, "pt") as file:
            names = list(file.keys())
            for name in names:
                if (kind := file.get_slice(name).get_dtype()) not in _KINDS:
                    raise BadInput(f"{path}: {name!r} is {_NAMES.get(kind, kind)}; {_convert('it to float32', path)}")
            tensors, metadata = {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except SafetensorError as error:
        raise BadInput(f"{path}: {_diagnosis(path, head, error)}") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror or error})") from None
    for name, value in tensors.items():
        if value.is_floating_point() and value.numel() and not torch.stack(value.aminmax()).isfinite().all():
            raise BadInput(f"{path}: {name!r} holds NaN or infinite weights; fetch or export the file again")
    return tensors, metadata


def load_model(path: Path, kinds: type[Model] | tuple[type[Model], ...], device: torch.device | str = "cpu") -> Model:
    """The model that a file describes, in evaluation mode, float32. It is of one of the kinds exactly, not of a
    subclass.

    Raises BadInput, naming the file, when `read` does, when the file names no known architecture or another one, or
    when its configuration or its tensors do not fit the architecture.
    """
    builds = kinds if isinstance(kinds, tuple) else (kinds,)
    wanted = {arch: kind for arch, (_, build) in ARCHITECTURES.items() for kind in builds if kind is build}
    return _load(path, wanted, f"needed here is {' or '.join(wanted)}", device)


def load_any(path: Path, device: torch.device | str = "cpu") -> nn.Module:
    """The model that a file describes, of any known architecture. Raises BadInput as `load_model` does."""
    known: dict[str, type[nn.Module]] = {arch: build for arch, (_, build) in ARCHITECTURES.items()}
    return _load(path, known, f"known are {', '.join(known)}", device)


def _load(path: Path, builds: Mapping[str, type[Model]], hint: str, device: torch.device | str) -> Model:
    """The model of a file, of one of these architectures; the hint says which they are."""
    state, metadata = read(path)
    found = metadata.get("arch")
    if found is None:
        raise BadInput(f"{path}: names no architecture; {hint}; {_convert('it first', path)}")
    if found not in ARCHITECTURES:
        raise BadInput(f"{path}: names an unknown architecture, {found!r}; {hint}")
    if found not in builds:
        raise BadInput(f"{path}: is of the architecture {found}; {hint}")
    config = ARCHITECTURES[found][0]
    try:
        with torch.device("meta"):
            model = builds[found](config(**json.loads(metadata.get("config", ""))))
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError) as error:
        raise BadInput(f"{path}: has no valid configuration of {found} ({one_line(error)})") from None
    _check_fit(path, found, model.state_dict(), state)
    state = {name: value.float() if value.is_floating_point() else value for name, value in state.items()}
    model.load_state_dict(state, strict=True, assign=True)
    return model.to(device).eval().requires_grad_(False)


def _check_fit(path: Path, arch: str, expected: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    both = [name for name in expected if name in state]
    differences = {
        "it lacks": [repr(name) for name in expected if name not in state],
        "it has the unknown": [repr(name) for name in state if name not in expected],
        "of the wrong shape": [
            f"{name!r} {_shape(state[name])} instead of {_shape(expected[name])}"
            for name in both
            if state[name].shape != expected[name].shape
        ],
    }
    if said := [f"{what} {_few(names)}" for what, names in differences.items() if names]:
        raise BadInput(f"{path}: does not fit {arch}: {'; '.join(said)}")
    for name in both:
        if state[name].is_floating_point() != expected[name].is_floating_point():
            kinds = (str(of[name].dtype).removeprefix("torch.") for of in (state, expected))
            raise BadInput(f"{path}: {name!r} is {' instead of '.join(kinds)}; {_convert('it to float32', path)}")


def _diagnosis(path: Path, head: bytes, error: SafetensorError) -> str:
    """What a file that safetensors refuses is, from its first bytes, and what to do."""
    if not head:
        return "is empty, not a safetensors file; fetch it again"
    length = int.from_bytes(head[:8], "little")
    if len(head) >= 8 and head[8:9] in (b"{", b"") and length <= _LONGEST_HEADER:
        size = path.stat().st_size
        truncated = size < 8 + length or size < 8 + length + _end_of_tensors(path, length)
        return f"is {'truncated' if truncated else f'damaged ({one_line(error)})'}; fetch it again"
    zipped = head.startswith(b"PK\x03\x04")
    pickled = re.search(rb"/data(\.pkl|/)", head) if zipped else head[0] == 0x80 and head[1:2] in b"\2\3\4\5"
    if pickled or path.suffix.lower() in _PICKLED:
        return f"is a pickle, not a safetensors file; {_convert('it first', path)}"
    if zipped:
        return "is a zip archive, not a safetensors file; unpack it and use the file inside"
    # An ONNX file starts with its version (field 1), followed by any other field of the model.
    if path.suffix.lower() == ".onnx" or (head[0] == 8 and head[2:3] in b"\x12\x1a\x22\x28\x32\x3a"):
        return f"is an ONNX file, not a safetensors file; {_convert('it first', path)}"
    return f"is not a safetensors file ({one_line(error)}); fetch it again"


def _end_of_tensors(path: Path, length: int) -> int:
    """The last byte of the tensors in a safetensors file, counted from the end of its header, which may be damaged."""
    with open(path, "rb") as file:
        file.seek(8)
        ends = re.findall(rb'"data_offsets":\s*\[\s*\d+,\s*(\d{1,18})\s*\]', file.read(length))
    return max(map(int, ends), default=0)


def _convert(what: str, path: Path) -> str:
    return f"convert {what}: cscs convert {path}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _shape(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "a number"
