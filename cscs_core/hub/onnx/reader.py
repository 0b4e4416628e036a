"""ONNX files as data: the graph, with every operator in its newest form, and the tensors.

This is the only place that opens, parses and checks an ONNX file. Nothing is computed here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor

from ...io.files import BadInput, one_line
from ...models.graph import Node, Port
from ...models.operators import DTYPES

if TYPE_CHECKING:
    from onnx import AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto

# Inputs that older operators keep in attributes, by position from the second input on.
_NOW_INPUTS = {
    "Clip": ("min", "max"),
    "Pad": ("pads", "value"),
    "Slice": ("starts", "ends", "axes"),
    "Split": ("split",),
    "Upsample": ("", "scales"),
    **dict.fromkeys(("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), ("axes",)),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), ("axes",)),
}

# Attributes without effect: those for training or for modes not supported here, and others at these values.
_IDLE = {"consumed_inputs", "cubic_coeff_a", "extrapolation_value", "momentum", "spatial", "storage_order"}
_NEUTRAL = {"antialias": 0, "exclude_outside": 0, "keep_aspect_ratio_policy": "stretch", "training_mode": 0}

# The dtypes of DTYPES that stand for ONNX's.
_WORDS = {
    "BOOL": "bool",
    **dict.fromkeys(("INT32", "INT64"), "int64"),
    **dict.fromkeys(("FLOAT16", "FLOAT", "DOUBLE", "BFLOAT16"), "float32"),
}


@dataclass(frozen=True)
class OnnxGraph:
    """The graph of an ONNX file. Tensors are float32, int64 or bool, each with memory of its own."""

    path: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]  # in an order in which they can run; constants are not among them
    initializers: dict[str, Tensor]  # in the order of the file
    constants: dict[str, Tensor]  # of Constant nodes, and of attributes that are inputs in newer operators
    unreadable: dict[str, str]  # constants and initializers of any other type, and what that is


def read_onnx(path: Path) -> OnnxGraph:
    """The graph of an ONNX file, with its weights; functions that the file defines are inlined.

    Raises BadInput, in one line that names the file, without the package `onnx`, for a file that is missing, damaged or
    not ONNX, and for external weights that are missing or outside the file's folder.
    """
    model = _open(path)
    try:
        return _graph(path, model)
    except BadInput:
        raise
    except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError) as error:
        _damaged(path, one_line(error, 100))


def read_ports(path: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """The inputs and outputs of an ONNX file's graph. Raises BadInput as `read_onnx` does."""
    graph = _open(path).graph
    return _inputs(graph), tuple(_port(value) for value in graph.output)


def last_initializer(path: Path) -> Tensor:
    """The last weight that an ONNX file lists, float32. Raises BadInput as `read_onnx` does."""
    initializers = _open(path).graph.initializer
    if not initializers:
        raise BadInput(f"{path}: has no weights")
    value = _tensor(path, initializers[-1])
    if isinstance(value, str):
        raise BadInput(f"{path}: its last weight is {value}")
    return value.float()


def _open(path: Path) -> ModelProto:
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise BadInput(f"{path}: reading ONNX needs the package onnx ({error}): pip install onnx") from None
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except FileNotFoundError:
        raise BadInput(f"{path}: no such file") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror or error})") from None
    except DecodeError:
        _damaged(path, "its protobuf data is invalid or cut short")
    if not model.graph.node or not any(opset.domain in ("", "ai.onnx") for opset in model.opset_import):
        _damaged(path, "it has no nodes or no operator version")
    if any(isinstance(text, bytes) for text in _texts(model.graph)):  # how protobuf returns text that is not UTF-8
        _damaged(path, "its names are not text")
    return model


def _texts(graph: GraphProto) -> Iterator[str | bytes]:
    yield from (value.name for value in (*graph.input, *graph.output, *graph.initializer))
    for node in graph.node:
        yield from (node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)


def _damaged(path: Path, why: str) -> NoReturn:
    raise BadInput(f"{path}: is damaged or no ONNX file ({why}); fetch it again")


def _graph(path: Path, model: ModelProto) -> OnnxGraph:
    from onnx import inliner

    graph = (inliner.inline_local_functions(model) if model.functions else model).graph
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    initializers: dict[str, Tensor] = {}
    constants: dict[str, Tensor] = {}
    unreadable: dict[str, str] = {}
    for tensor in graph.initializer:
        _put(tensor.name, _tensor(path, tensor), initializers, unreadable)
    nodes: list[Node] = []
    inputs = _inputs(graph)
    known = {"", *(port.name for port in inputs), *initializers, *unreadable}
    used = {value.name for value in graph.output} | {name for node in graph.node for name in node.input}
    for proto in graph.node:
        if unknown := next((name for name in proto.input if name not in known), None):
            _damaged(path, f"{unknown!r} is used before it is made")
        for name in filter(None, proto.output):
            if name in known:
                _damaged(path, f"{name!r} is made twice")
            known.add(name)
        if proto.op_type == "Constant":
            _put(proto.output[0], _constant(path, proto.attribute[0]), constants, unreadable)
        else:
            node, more = _modern(path, proto, opset, used)
            constants |= more
            nodes.append(node)
    if unknown := next((value.name for value in graph.output if value.name not in known), None):
        _damaged(path, f"nothing makes the output {unknown!r}")
    outputs = tuple(_port(value) for value in graph.output)
    return OnnxGraph(path, inputs, outputs, tuple(nodes), initializers, constants, unreadable)


def _put(name: str, value: Tensor | str, tensors: dict[str, Tensor], unreadable: dict[str, str]) -> None:
    if isinstance(value, str):
        unreadable[name] = value
    else:
        tensors[name] = value


def _inputs(graph: GraphProto) -> tuple[Port, ...]:
    weights = {tensor.name for tensor in graph.initializer}  # which old files list among the inputs too
    return tuple(_port(value) for value in graph.input if value.name not in weights)


def _port(value: ValueInfoProto) -> Port:
    sides = value.type.tensor_type.shape.dim
    return Port(value.name, tuple(side.dim_value if side.dim_value > 0 else None for side in sides))


def _modern(path: Path, proto: NodeProto, opset: int, used: set[str]) -> tuple[Node, dict[str, Tensor]]:
    """A node in the newest form of its operator, and the inputs that were attributes before."""
    op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    inputs, outputs = list(proto.input), list(proto.output)
    while len(outputs) > 1 and outputs[-1] not in used:
        outputs.pop()
    attributes = dict(_attributes(path, proto))
    more: dict[str, Tensor] = {}
    for at, name in enumerate(_NOW_INPUTS.get(op, ()), 1):
        if name in attributes:
            inputs += [""] * (at + 1 - len(inputs))
            inputs[at] = f"{outputs[0]}.{name}"
            value = torch.tensor(attributes.pop(name), device="cpu")
            more[inputs[at]] = value.float() if value.is_floating_point() else value
    if op == "Upsample" or (op == "Resize" and opset < 11):
        scales = inputs[2] if len(inputs) > 2 else inputs[1]
        op, inputs = "Resize", [inputs[0], "", scales]
        attributes |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    elif op == "Softmax" and opset < 13:
        attributes = {"axis": 1, "flat": 1, **attributes}
    elif op == "Split":
        attributes["num_outputs"] = len(outputs)
    return Node(op, tuple(inputs), tuple(outputs), attributes), more


def _attributes(path: Path, proto: NodeProto) -> Iterator[tuple[str, Any]]:
    """The attributes that have an effect, as numbers, words and lists."""
    from onnx import TensorProto, helper

    for entry in proto.attribute:
        name, value = entry.name, helper.get_attribute_value(entry)
        value = value.decode(errors="replace") if isinstance(value, bytes) else value
        if name in _IDLE or _NEUTRAL.get(name) == value:
            continue
        if isinstance(value, TensorProto) and proto.op_type == "ConstantOfShape":
            tensor = _tensor(path, value)
            yield name, 0 if isinstance(tensor, str) else tensor.item()
            yield "dtype", tensor if isinstance(tensor, str) else str(tensor.dtype).removeprefix("torch.")
        elif proto.op_type == "Cast" and name == "to":
            yield name, _word(entry.i)
        else:
            yield name, list(value) if isinstance(value, (list, tuple)) else value


def _constant(path: Path, attribute: AttributeProto) -> Tensor | str:
    """The tensor of a Constant node, or what it is instead."""
    from onnx import helper

    if attribute.name == "value":
        return _tensor(path, attribute.t)
    if attribute.name not in ("value_int", "value_ints", "value_float", "value_floats"):
        return f"given as {attribute.name}"
    kind = torch.float32 if "float" in attribute.name else torch.int64
    return torch.tensor(helper.get_attribute_value(attribute), dtype=kind, device="cpu")


def _word(kind: int) -> str:
    """The entry of DTYPES for an ONNX type, which has more of each kind; ONNX's own name for any other."""
    from onnx import TensorProto

    name = TensorProto.DataType.Name(kind)
    return _WORDS.get(name, name)


def _tensor(path: Path, tensor: TensorProto) -> Tensor | str:
    """The values of a tensor, or the name of its type if it is not one of ours."""
    from onnx import numpy_helper

    word = _word(tensor.data_type)
    if word not in DTYPES:
        return word.lower()
    outside = tensor.data_location == tensor.EXTERNAL
    if outside:
        tensor.raw_data = _external(path, tensor)
        tensor.data_location = tensor.DEFAULT
    try:
        value = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, LookupError, NotImplementedError) as error:
        _damaged(path, f"tensor {tensor.name!r}: {one_line(error, 100)}")
    if outside:
        tensor.ClearField("raw_data")
    return torch.from_numpy(value.astype(word))  # a copy


def _external(path: Path, tensor: TensorProto) -> bytes:
    """The bytes of a tensor that is stored in another file, beside the ONNX file."""
    where = {str(entry.key): str(entry.value) for entry in tensor.external_data}
    location = where.get("location", "")
    if not _beside(path, location):
        raise BadInput(f"{path}: wants its weights from {location!r}, which is not in its folder; refused")
    file = path.parent / location
    if not file.is_file():
        raise BadInput(f"{path}: its weights are in {location}, which is not beside it; fetch that file too")
    offset, length = (where.get(key, "") for key in ("offset", "length"))
    if not all(re.fullmatch("[0-9]{0,18}", number) for number in (offset, length)):
        _damaged(path, f"tensor {tensor.name!r} has no valid offset or length in {location}")
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
    """Whether a file named in an ONNX file lies in its folder, also after links are followed."""
    plain = (PurePosixPath(location), PureWindowsPath(location))
    if not location or "\0" in location or any(p.anchor or ".." in p.parts for p in plain):
        return False
    # The Hub's cache has links in its folders, to files that lie together elsewhere.
    homes = (os.path.realpath(path.parent), os.path.dirname(os.path.realpath(path)))
    return any(Path(os.path.realpath(path.parent / location)).is_relative_to(home) for home in homes)
