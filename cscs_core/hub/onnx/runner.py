"""Networks of others behind one face: converted ones in torch, ONNX files in onnxruntime."""

from __future__ import annotations

import logging
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from ...io.files import BadInput
from ...models import IResNet, for_inference
from ...models.graph import GraphNet, Port
from ..weights import load_model
from .reader import last_initialiser

_log = logging.getLogger(__name__)
_CUDA = "CUDAExecutionProvider"
_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class Runner(Protocol):
    """A network of any kind, with the inputs and outputs that its file declares."""

    @property
    def path(self) -> Path: ...

    @property
    def inputs(self) -> tuple[Port, ...]: ...

    @property
    def outputs(self) -> tuple[Port, ...]: ...

    @property
    def networks(self) -> tuple[nn.Module, ...]: ...  # what a host may move between devices

    def last_weight(self) -> Tensor:
        """The last initialiser of the ONNX file, float32."""
        ...

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """Outputs of inputs with N rows each, or one row that goes with all; float32. A network made for one row at a
        time gets them so, and its outputs stand below each other."""
        ...


@dataclass(frozen=True)
class TorchRunner:
    """A converted network, in torch."""

    path: Path
    network: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        return (self.network,)

    def last_weight(self) -> Tensor:
        if not isinstance(self.network, GraphNet) or not len(self.network.weights):
            raise BadInput(f"{self.path}: has no weights of an ONNX file")
        return self.network.weights[-1]

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        return _in_rows(self._run, self.inputs, inputs)

    def _run(self, *inputs: Tensor) -> list[Tensor]:
        made = self.network(*inputs)
        return made if isinstance(made, list) else [made]


@dataclass(frozen=True)
class OnnxRunner:
    """An ONNX file as it is, in onnxruntime."""

    path: Path
    session: Any
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    networks: tuple[nn.Module, ...] = ()

    def last_weight(self) -> Tensor:
        return last_initialiser(self.path)

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        device = inputs[0].device
        given = [
            value.cpu().numpy().astype(_TYPES[entry.type])
            for value, entry in zip(inputs, self.session.get_inputs(), strict=True)
        ]
        made = _in_rows(self._run, self.inputs, [torch.from_numpy(value) for value in given])
        return [value.to(device, torch.float32) for value in made]

    def _run(self, *inputs: Tensor) -> list[Tensor]:
        feed = {port.name: value.numpy() for port, value in zip(self.inputs, inputs, strict=True)}
        return [torch.from_numpy(value) for value in self.session.run(None, feed)]


def load_runner(path: Path, device: torch.device | str = "cpu", sessions: torch.device | str | None = None) -> Runner:
    """The network of a converted file (.safetensors), a graph or an IResNet, or of an ONNX file, which onnxruntime runs
    on `sessions`, the device if not given.

    Raises BadInput, naming the file, for any other, for one that is damaged, and for ONNX without onnxruntime.
    """
    kind = path.suffix.lower()
    if kind == ".safetensors":
        return _converted(path, load_model(path, device))
    if kind != ".onnx":
        raise BadInput(f"{path}: is neither .safetensors nor .onnx")
    if not path.is_file():
        raise BadInput(f"{path}: no such file")
    if not path.stat().st_size:  # what onnxruntime says of it differs between its versions
        raise BadInput(f"{path}: is damaged or no ONNX file (empty); fetch it again")
    return _open(path, torch.device(sessions or device))


@dataclass(frozen=True)
class OnnxSetup:
    """How onnxruntime is told to run a file."""

    providers: list[Any]
    options: Any  # onnxruntime.SessionOptions

    @staticmethod
    def on(device: torch.device) -> OnnxSetup:
        """On CUDA where the device is and onnxruntime can, else on the CPU. Raises ImportError without onnxruntime."""
        import onnxruntime  # pyright: ignore[reportMissingImports]

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors; below it the terminal hears about weights that no step reads
        options.intra_op_num_threads = torch.get_num_threads()
        providers: list[Any] = ["CPUExecutionProvider"]
        if device.type == "cuda" and _CUDA in onnxruntime.get_available_providers():
            providers.insert(0, (_CUDA, {"device_id": device.index or 0}))
        return OnnxSetup(providers, options)


@contextmanager
def onnx_errors(path: Path) -> Iterator[None]:
    """What onnxruntime says of a file that it does not open, as BadInput."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # pyright: ignore

    try:
        yield
    except (state.InvalidProtobuf, state.InvalidArgument, state.NoModel, state.NoSuchFile) as error:
        raise BadInput(f"{path}: is damaged or no ONNX file ({_line(error, path)}); fetch it again") from None
    except (state.Fail, state.InvalidGraph, state.NotImplemented, state.RuntimeException) as error:
        raise BadInput(f"{path}: onnxruntime cannot run it ({_line(error, path)})") from None


def warn_of_cpu(path: Path, session: Any, device: torch.device) -> None:
    """A line in the log if the network runs on the CPU though the rest does not."""
    if device.type != "cpu" and _CUDA not in session.get_providers():
        _log.warning("%s runs on the CPU: this onnxruntime has no CUDA (onnxruntime-gpu has)", path)


def _converted(path: Path, network: nn.Module) -> TorchRunner:
    if isinstance(network, GraphNet):
        return TorchRunner(path, network, network.config.inputs, network.config.outputs)
    if type(network) is IResNet:
        width = network.config.embedding
        shapes = Port("faces", (None, 3, 112, 112)), Port("embeddings", (None, width))
        return TorchRunner(path, for_inference(network), shapes[:1], shapes[1:])
    raise BadInput(f"{path}: is a {type(network).__name__}; needed here is a graph or an IResNet")


def _open(path: Path, device: torch.device) -> OnnxRunner:
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
            raise BadInput(f"{path}: input {entry.name!r} is {entry.type}; known are {', '.join(_TYPES)}")
    return OnnxRunner(path, session, _ports(session.get_inputs()), _ports(session.get_outputs()))


def _ports(entries: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(
        Port(entry.name, tuple(side if isinstance(side, int) and side > 0 else None for side in entry.shape))
        for entry in entries
    )


def _in_rows(run: Callable[..., list[Tensor]], ports: Sequence[Port], inputs: Sequence[Tensor]) -> list[Tensor]:
    rows = max(map(len, inputs))
    inputs = [value if len(value) == rows else value.expand(rows, *value.shape[1:]) for value in inputs]
    if rows == 1 or all(port.shape[:1] != (1,) for port in ports):
        return run(*inputs)
    made = [run(*(value[row : row + 1] for value in inputs)) for row in range(rows)]
    return [torch.cat(parts) for parts in zip(*made, strict=True)]


def _line(error: Exception, path: Path) -> str:
    """What went wrong in a line; a long path in it would leave no room for the rest."""
    return textwrap.shorten(str(error).replace(str(path), path.name), 200, placeholder=" ...")
