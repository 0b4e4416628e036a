"""ONNX files as data flow: what every value is made of. Names and the order of nodes carry no meaning here."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import Tensor

from ...io.files import BadInput

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

Shape = tuple[int | None, ...]  # None where the file leaves a length open

_SAME = ("Identity", "Cast", "CastLike", "Dropout")  # leave the numbers as they are, but for their precision
_FLOATS = (1, 10, 11, 16)  # what Cast may cast to, as TensorProto counts: float32, float16, float64, bfloat16
_SHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand")  # leave their order as it is


@dataclass(frozen=True)
class Node:
    op: str  # with the domain in front of it if that is not ONNX's own
    inputs: tuple[str, ...]  # "" where an optional one is left out
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Graph:
    """A network. Nodes that change no number are gone, whatever depends on constants alone is one."""

    inputs: dict[str, Shape]
    outputs: dict[str, Shape]
    made: dict[str, Node]  # by each of the node's outputs
    constants: dict[str, Tensor]  # as stored; those that fill a shape have a single element
    stored: tuple[str, ...]  # the initialisers among them, in the order of the file

    def op(self, name: str) -> str:
        """What makes a value; "" for inputs and constants."""
        return self.made[name].op if name in self.made else ""

    def flat(self, name: str) -> str:
        """The value without the changes of its shape alone."""
        while (node := self.made.get(name)) and (node.op in _SHAPES or self._first(node)):
            name = node.inputs[0]
        return name

    def _first(self, node: Node) -> bool:
        """Whether the node takes index 0 of an axis after the channels, as an exporter writes `x[..., 0]`."""
        index = self.constants.get(node.inputs[1]) if node.op == "Gather" else None
        return uniform(index) == 0 and node.attributes.get("axis") in (-1, 2, 3)


def read(path: Path) -> Graph:
    """The network of an ONNX file, with all its weights.

    Raises BadInput, in one line, for a file that is damaged, truncated or no ONNX, for weights in other files that are
    missing or not beside it, and if the package `onnx` is missing.
    """
    model = _parsed(path)
    constants: dict[str, Tensor] = {}
    for tensor in model.graph.initializer:
        if (value := _tensor(path, tensor)) is not None:
            constants[tensor.name] = value
    stored = tuple(constants)
    inputs = {value.name: _shape(value) for value in model.graph.input if value.name not in constants}
    made: dict[str, Node] = {}
    root: dict[str, str] = {"": ""}  # what a value is, once the nodes that change nothing are passed
    root |= {name: name for name in (*inputs, *constants, *(tensor.name for tensor in model.graph.initializer))}
    for proto in model.graph.node:
        if unknown := next((name for name in proto.input if name not in root), None):
            _damaged(path, f"{unknown!r} is used before it is made")
        op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}::{proto.op_type}"
        node = Node(op, tuple(root[name] for name in proto.input), _attributes(path, proto))
        value = _folded(node, [constants.get(name) for name in node.inputs])
        passes = op in _SAME and node.inputs and node.attributes.get("to", 1) in _FLOATS
        for index, name in enumerate(name for name in proto.output if name):
            if name in root:
                _damaged(path, f"{name!r} is made twice")
            root[name] = node.inputs[0] if passes and index == 0 else name
            if value is not None:
                constants[name] = value
            else:
                made[name] = node
    if unknown := next((value.name for value in model.graph.output if value.name not in root), None):
        _damaged(path, f"nothing makes the output {unknown!r}")
    outputs = {root[value.name]: _shape(value) for value in model.graph.output}
    return Graph(inputs, outputs, made, constants, stored)


def uniform(value: Tensor | None) -> float | None:
    """The number that a constant is made of, if it is only one."""
    if value is None or not value.numel() or (value != value.flatten()[0]).any():
        return None
    return float(value.flatten()[0])


def _parsed(path: Path) -> ModelProto:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise BadInput(f"{path}: ONNX files need the package onnx ({error}): pip install onnx") from None
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from None
    except DecodeError:
        _damaged(path, "its protobuf does not end where it should")
    if not model.graph.node or not any(opset.domain in ("", "ai.onnx") for opset in model.opset_import):
        _damaged(path, "it names no nodes or no version of its operators")
    if model.functions:
        import onnx.inliner

        model = onnx.inliner.inline_local_functions(model)
    if any(isinstance(text, bytes) for text in _texts(model.graph)):  # what protobuf makes of texts that are not UTF-8
        _damaged(path, "its names are no text")
    return model


def _texts(graph: GraphProto) -> Iterator[str | bytes]:
    yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    for node in graph.node:
        yield from (node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _damaged(path: Path, why: str) -> NoReturn:
    raise BadInput(f"{path}: is damaged or no ONNX file ({why}); fetch or export it again")


def _shape(value: Any) -> Shape:
    dims = value.type.tensor_type.shape.dim
    return tuple(dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in dims)


def _attributes(path: Path, node: Any) -> dict[str, Any]:
    from onnx import helper

    found = {}
    for attribute in node.attribute:
        if attribute.type == attribute.TENSOR:
            value = _tensor(path, attribute.t)
        else:
            value = helper.get_attribute_value(attribute)
        found[attribute.name] = value.decode(errors="replace") if isinstance(value, bytes) else value
    return found


def _tensor(path: Path, tensor: TensorProto) -> Tensor | None:
    """The numbers of a tensor in memory of their own; None for text and other things that are no weights."""
    from onnx import numpy_helper

    outside = tensor.data_location == tensor.EXTERNAL
    if outside:
        tensor.raw_data = _outside(path, tensor)
        tensor.data_location = tensor.DEFAULT
    try:
        value = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, LookupError, NotImplementedError) as error:
        _damaged(path, f"tensor {tensor.name!r}: {textwrap.shorten(str(error), 100)}")
    if outside:
        tensor.ClearField("raw_data")
    if value.dtype.kind == "V":  # bfloat16 and smaller
        return torch.from_numpy(value.astype(np.float32))
    return torch.from_numpy(value.copy()) if value.dtype.kind in "fiub" else None


def _outside(path: Path, tensor: TensorProto) -> bytes:
    """The bytes of a tensor that lies in a file beside the ONNX file."""
    where = {str(entry.key): str(entry.value) for entry in tensor.external_data}
    location = where.get("location", "")
    if not _beside(path, location):
        raise BadInput(f"{path}: wants its weights from {location!r}, which is not in its folder; refused")
    file = path.parent / location
    if not file.is_file():
        raise BadInput(f"{path}: its weights are in {location}, which is not beside it; fetch that file too")
    offset, length = (where.get(key, "") for key in ("offset", "length"))
    if not all(re.fullmatch("[0-9]{0,18}", number) for number in (offset, length)):
        _damaged(path, f"tensor {tensor.name!r} names no place in {location}")
    start, size = int(offset or 0), file.stat().st_size
    if max(size - start, 0) < int(length or 0):
        raise BadInput(f"{file}: is truncated, or belongs to another file than {path.name}; fetch both again")
    try:
        with open(file, "rb") as opened:
            opened.seek(start)
            return opened.read(int(length) if length else -1)
    except OSError as error:
        raise BadInput(f"{file}: cannot be read ({error.strerror})") from None


def _beside(path: Path, location: str) -> bool:
    """Whether a file named in an ONNX file lies in its folder, also once links are followed."""
    plain = (PurePosixPath(location), PureWindowsPath(location))
    if not location or "\0" in location or any(p.anchor or ".." in p.parts for p in plain):
        return False
    # The Hub's cache has links in its folders, to files that lie together elsewhere.
    homes = (os.path.realpath(path.parent), os.path.dirname(os.path.realpath(path)))
    return any(Path(os.path.realpath(path.parent / location)).is_relative_to(home) for home in homes)


def _folded(node: Node, inputs: list[Tensor | None]) -> Tensor | None:
    """The value of a node that depends on constants alone, of the few kinds that prepare weights."""
    if node.op == "Constant":
        return next((_constant(value) for name, value in node.attributes.items() if name.startswith("value")), None)
    if node.op == "ConstantOfShape":
        value = node.attributes.get("value")
        return torch.zeros(1) if value is None else value
    first = inputs[0] if inputs else None
    if first is None or node.op in (*_SAME, "Expand"):  # whoever uses the expanded value expands it again
        return first
    second = inputs[1].flatten().tolist() if len(inputs) > 1 and inputs[1] is not None else None
    try:
        return _reshaped(node, first, second)
    except (RuntimeError, IndexError, TypeError):
        return first if first.numel() == 1 else None  # one that fills a shape


def _reshaped(node: Node, first: Tensor, second: list[Any] | None) -> Tensor | None:
    axes = node.attributes.get("axes", second)
    if node.op == "Transpose":
        return first.permute(node.attributes.get("perm", list(reversed(range(first.ndim)))))
    if node.op == "Reshape" and second is not None:
        copied = [
            first.shape[i] if n == 0 and not node.attributes.get("allowzero") else n for i, n in enumerate(second)
        ]
        return first.reshape(copied)
    if node.op == "Squeeze":
        return first.squeeze() if axes is None else first.squeeze(tuple(axes))
    if node.op == "Unsqueeze" and axes is not None:
        rank = first.ndim + len(axes)
        for axis in sorted(axis % rank for axis in axes):
            first = first.unsqueeze(axis)
        return first
    return None


def _constant(value: Any) -> Tensor | None:
    try:
        return torch.as_tensor(value)
    except (TypeError, ValueError, RuntimeError):  # text
        return None
