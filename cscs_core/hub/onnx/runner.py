"""Third-party networks behind one interface: converted ones run in torch, ONNX files in onnxruntime."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...io.files import BadInput, one_line
from ...models import IResNet, for_inference
from ...models.graph import GraphNet, Port
from ..weights import load_model
from .reader import last_initializer

_log = logging.getLogger(__name__)
_CUDA = "CUDAExecutionProvider"
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


@dataclass(frozen=True)
class Runner:
    """A network, with the inputs and outputs that its file declares."""

    path: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    run: Callable[..., list[Tensor]]  # one batch
    network: nn.Module | None = None  # what runs in torch, which a host may move between devices

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return () if self.network is None else (self.network,)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Outputs, float32, for inputs of N rows each; an input of one row goes with all N. A network that was exported
        for one row runs once for each, and its outputs are concatenated."""
        rows = max(map(len, inputs))
        inputs = tuple(value if len(value) == rows else value.expand(rows, *value.shape[1:]) for value in inputs)
        if rows == 1 or all(port.shape[:1] != (1,) for port in self.inputs):
            return self.run(*inputs)
        made = [self.run(*(value[row : row + 1] for value in inputs)) for row in range(rows)]
        return [torch.cat(parts) for parts in zip(*made, strict=True)]


def load_runner(path: Path, device: torch.device | str = "cpu", sessions: torch.device | str | None = None) -> Runner:
    """The network of a converted file (.safetensors, a graph or an IResNet), or of an ONNX file, which onnxruntime
    runs on `sessions`, by default the device.

    Raises BadInput, naming the file, for other or damaged files, and for ONNX if onnxruntime is missing.
    """
    kind = path.suffix.lower()
    if kind == ".safetensors":
        return _converted(path, device)
    if kind != ".onnx":
        raise BadInput(f"{path}: is neither .safetensors nor .onnx")
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    if not path.stat().st_size:  # what onnxruntime says of it differs between its versions
        raise BadInput(f"{path}: is damaged or no ONNX file (empty); fetch it again")
    return _open(path, torch.device(sessions or device))


def last_weight(runner: Runner) -> Tensor:
    """The last initializer of the ONNX file that a runner was made of, float32. Raises BadInput if there is none."""
    if runner.network is None:
        return last_initializer(runner.path)
    if not isinstance(runner.network, GraphNet) or not len(runner.network.weights):
        raise BadInput(f"{runner.path}: has no weights of an ONNX file")
    return runner.network.weights[-1]


@dataclass(frozen=True)
class OnnxSetup:
    """Options for onnxruntime sessions."""

    providers: list[Any]
    options: Any  # onnxruntime.SessionOptions

    @staticmethod
    def on(device: torch.device) -> OnnxSetup:
        """For CUDA if the device is one and onnxruntime supports it, else for the CPU. Raises ImportError without
        onnxruntime."""
        import onnxruntime  # pyright: ignore[reportMissingImports]

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only; warnings are about weights that no node reads
        options.intra_op_num_threads = torch.get_num_threads()
        providers: list[Any] = ["CPUExecutionProvider"]
        if device.type == "cuda" and _CUDA in onnxruntime.get_available_providers():
            providers.insert(0, (_CUDA, {"device_id": device.index or 0}))
        return OnnxSetup(providers, options)


@contextmanager
def onnx_errors(path: Path) -> Iterator[None]:
    """Turns onnxruntime's errors on opening a file into BadInput."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # pyright: ignore

    try:
        yield
    except (state.InvalidProtobuf, state.InvalidArgument, state.NoModel, state.NoSuchFile) as error:
        raise BadInput(f"{path}: is damaged or no ONNX file ({_line(error, path)}); fetch it again") from None
    except (state.Fail, state.InvalidGraph, state.NotImplemented, state.RuntimeException) as error:
        raise BadInput(f"{path}: onnxruntime cannot run it ({_line(error, path)})") from None


def warn_of_cpu(path: Path, session: Any, device: torch.device) -> None:
    """Logs a warning if the network runs on the CPU although the device is another."""
    if device.type != "cpu" and _CUDA not in session.get_providers():
        _log.warning("%s runs on the CPU: this onnxruntime has no CUDA (onnxruntime-gpu has)", path)


def _converted(path: Path, device: torch.device | str) -> Runner:
    network = load_model(path, (GraphNet, IResNet), device)
    if isinstance(network, GraphNet):
        return Runner(path, network.config.inputs, network.config.outputs, network, network)
    faces, embeddings = Port("faces", (None, 3, 112, 112)), Port("embeddings", (None, network.config.embedding))
    network = for_inference(network)
    return Runner(path, (faces,), (embeddings,), lambda pictures: [network(pictures)], network)


def _open(path: Path, device: torch.device) -> Runner:
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise BadInput(
            f"{path}: needs onnxruntime: pip install onnxruntime, or convert the file once with "
            f"`cscs convert {path}` to run it in torch ({error})"
        ) from None
    setup = OnnxSetup.on(device)
    with onnx_errors(path):
        session = onnxruntime.InferenceSession(str(path), setup.options, providers=setup.providers)
    warn_of_cpu(path, session, device)
    for entry in session.get_inputs():
        if entry.type not in _TYPES:
            raise BadInput(f"{path}: input {entry.name!r} is {entry.type}; supported are {', '.join(_TYPES)}")
    types = {entry.name: _TYPES[entry.type] for entry in session.get_inputs()}

    def run(*inputs: Tensor) -> list[Tensor]:
        feed = {
            name: value.cpu().numpy().astype(dtype) for (name, dtype), value in zip(types.items(), inputs, strict=True)
        }
        device = inputs[0].device
        return [torch.from_numpy(value).to(device, torch.float32) for value in session.run(None, feed)]

    return Runner(path, _ports(session.get_inputs()), _ports(session.get_outputs()), run)


def _ports(entries: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(
        Port(entry.name, tuple(side if isinstance(side, int) and side > 0 else None for side in entry.shape))
        for entry in entries
    )


def _line(error: Exception, path: Path) -> str:
    """What went wrong, on one line. The path is shortened to its name, to leave room for the rest."""
    return one_line(str(error).replace(str(path), path.name))
