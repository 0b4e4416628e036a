"""ONNX files read for torch: their graph in the newest form of its operators, and their weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...io.files import BadInput, one_line
from ...models.graph import Constant, GraphConfig, Node, Port, check
from ...models.operators import DTYPES, NUMBERS, OPERATORS, POINTWISE

_FOLDED = 65536  # values that a step may make of constants in order to be done once, here

# What older operators say in attributes and newer ones in inputs, from the second input on.
_NOW_INPUTS = {
    "Clip": ("min", "max"),
    "Pad": ("pads", "value"),
    "Slice": ("starts", "ends", "axes"),
    "Split": ("split",),
    "Upsample": ("", "scales"),
    **dict.fromkeys(("ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), ("axes",)),
    **dict.fromkeys(("Squeeze", "Unsqueeze"), ("axes",)),
}

# Attributes that change nothing: those of training and of modes not known here, and these values of others.
_IDLE = {"consumed_inputs", "cubic_coeff_a", "extrapolation_value", "momentum", "spatial", "storage_order"}
_NEUTRAL = {"antialias": 0, "exclude_outside": 0, "keep_aspect_ratio_policy": "stretch", "training_mode": 0}


def read_graph(path: Path) -> tuple[GraphConfig, dict[str, Tensor]]:
    """The graph of an ONNX file and its weights by their names in a weights file; all floating-point is float32.

    What depends on constants alone is computed here. The file's last initialiser is the last weight, whether a step
    reads it or not: inswapper keeps there how an embedding becomes its input. Raises BadInput, naming the file, without
    package onnx, for a damaged file, and for operators that do not run in torch.
    """
    model = _open(path)
    try:
        return _convert(model)
    except (ValueError, RuntimeError, LookupError, TypeError) as error:
        reason = one_line(error)
        raise BadInput(f"{path}: cannot be converted: {reason}; it may run in onnxruntime as it is") from None


def read_ports(path: Path) -> tuple[tuple[Port, ...], tuple[Port, ...]]:
    """What goes into an ONNX file's graph and what comes out. Raises BadInput as `read_graph` does."""
    graph = _open(path).graph
    return _inputs(graph), tuple(_port(entry) for entry in graph.output)


def last_initialiser(path: Path) -> Tensor:
    """The last of the weights that an ONNX file lists, float32. Raises BadInput as `read_graph` does."""
    initial = _open(path).graph.initializer
    if not initial:
        raise BadInput(f"{path}: has no weights")
    try:
        return _tensor(initial[-1]).float()
    except ValueError as error:
        raise BadInput(f"{path}: cannot be read ({error})") from None


def _open(path: Path) -> Any:
    try:
        from google.protobuf.message import DecodeError  # pyright: ignore[reportMissingImports]
        from onnx import checker, inliner, load  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise BadInput(f"{path}: reading ONNX needs package onnx: pip install onnx") from None
    try:
        model = load(str(path))
    except FileNotFoundError as error:
        where = "no such file" if not path.exists() else f"lacks {error.filename or 'a file'} that belongs beside it"
        raise BadInput(f"{path}: {where}") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror or error})") from None
    except (DecodeError, checker.ValidationError) as error:
        reason = one_line(error)
        raise BadInput(f"{path}: is damaged or no ONNX file ({reason}); fetch it again") from None
    if not model.graph.node:
        raise BadInput(f"{path}: is damaged or no ONNX file (it has no graph); fetch it again")
    return inliner.inline_local_functions(model) if model.functions else model


def _convert(model: Any) -> tuple[GraphConfig, dict[str, Tensor]]:
    graph = model.graph
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
    initial = {entry.name: _tensor(entry) for entry in graph.initializer}
    known: dict[str, Tensor] = {}  # what steps make of constants
    nodes: list[Node] = []
    wanted = {port.name for port in graph.output}
    used = wanted | {name for node in graph.node for name in node.input}
    called: dict[str, str] = {}  # other names of values
    for proto in graph.node:
        if proto.op_type == "Constant":
            known[proto.output[0]] = _constant(proto)
            continue
        if proto.op_type in ("Identity", "Dropout") and proto.output[0] not in wanted:
            source: str = proto.input[0]
            called[proto.output[0]] = called.get(source, source)
            continue
        node, extra = _modern(proto, opset, used)
        node = Node(node.op, tuple(called.get(name, name) for name in node.inputs), node.outputs, node.attributes)
        check(node)
        known |= extra
        if not wanted & set(node.outputs) and (made := _computed(node, {"": None, **initial, **known})):
            known |= made
        else:
            nodes.append(node)
    uses = [(node.op, at, name) for node in nodes for at, name in enumerate(node.inputs)]
    numbers = {name for op, at, name in uses if at in NUMBERS.get(op, ())}
    tensors = wanted | {name for op, at, name in uses if op not in POINTWISE and at not in NUMBERS.get(op, ())}
    read = wanted | {name for _, _, name in uses}
    last = next(reversed(initial), "")
    weights, constants = {}, {}
    for name, value in {**known, **initial}.items():
        small = name in numbers or (value.numel() == 1 and name not in tensors)
        if name in read and (small or not value.is_floating_point()):
            kind = next(word for word, dtype in DTYPES.items() if dtype == value.dtype)
            constants[name] = Constant(kind, list(value.shape), value.flatten().tolist())
        elif name in read or (name == last and value.is_floating_point()):
            weights[name] = value
    config = GraphConfig(
        inputs=_inputs(graph),
        outputs=tuple(_port(entry) for entry in graph.output),
        nodes=tuple(nodes),
        weights={name: list(value.shape) for name, value in weights.items()},
        constants=constants,
    )
    return config, {f"weights.{index}": value for index, value in enumerate(weights.values())}


def _modern(proto: Any, opset: int, used: set[str]) -> tuple[Node, dict[str, Tensor]]:
    """A node in the newest form of its operator, and the inputs that stood in attributes before."""
    op = proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}"
    inputs, outputs = list(proto.input), list(proto.output)
    while len(outputs) > 1 and outputs[-1] not in used:
        outputs.pop()
    attributes = dict(_attributes(proto))
    extra: dict[str, Tensor] = {}
    for at, name in enumerate(_NOW_INPUTS.get(op, ()), 1):
        if name in attributes:
            inputs += [""] * (at + 1 - len(inputs))
            inputs[at] = f"{outputs[0]}.{name}"
            value = torch.tensor(attributes.pop(name), device="cpu")
            extra[inputs[at]] = value.float() if value.is_floating_point() else value
    if op == "Upsample" or (op == "Resize" and opset < 11):
        scales = inputs[2] if len(inputs) > 2 else inputs[1]
        op, inputs = "Resize", [inputs[0], "", scales]
        attributes |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    elif op == "Softmax" and opset < 13:
        attributes = {"axis": 1, "flat": 1, **attributes}
    elif op == "Split":
        attributes["num_outputs"] = len(outputs)
    return Node(op, tuple(inputs), tuple(outputs), attributes), extra


def _attributes(proto: Any) -> Iterator[tuple[str, Any]]:
    """The attributes that matter, as numbers, words and lists."""
    from onnx import TensorProto, helper  # pyright: ignore[reportMissingImports]

    for entry in proto.attribute:
        name, value = entry.name, helper.get_attribute_value(entry)
        if name in _IDLE or _NEUTRAL.get(name) == (value.decode() if isinstance(value, bytes) else value):
            continue
        if isinstance(value, bytes):
            yield name, value.decode()
        elif isinstance(value, TensorProto):  # of ConstantOfShape
            tensor = _tensor(value)
            yield name, tensor.item()
            yield "dtype", str(tensor.dtype).removeprefix("torch.")
        elif proto.op_type == "Cast" and name == "to":
            yield name, _dtype(value)
        else:
            yield name, list(value) if isinstance(value, (list, tuple)) else value


def _constant(proto: Any) -> Tensor:
    from onnx import TensorProto, helper  # pyright: ignore[reportMissingImports]

    value = helper.get_attribute_value(proto.attribute[0])
    if isinstance(value, TensorProto):
        return _tensor(value)
    if proto.attribute[0].name not in ("value_int", "value_ints", "value_float", "value_floats"):
        raise ValueError(f"a constant says {proto.attribute[0].name}")
    kind = torch.float32 if "float" in proto.attribute[0].name else torch.int64
    return torch.tensor(value, dtype=kind, device="cpu")


def _dtype(kind: int) -> str:
    """The word of DTYPES for a type of ONNX, which has more of each; its own name for any other."""
    from onnx import TensorProto  # pyright: ignore[reportMissingImports]

    name = TensorProto.DataType.Name(kind)
    words = {"BOOL": "bool"} | dict.fromkeys(("INT32", "INT64"), "int64")
    return (words | dict.fromkeys(("FLOAT16", "FLOAT", "DOUBLE", "BFLOAT16"), "float32")).get(name, name)


def _tensor(proto: Any) -> Tensor:
    from onnx import numpy_helper  # pyright: ignore[reportMissingImports]

    word = _dtype(proto.data_type)
    if word not in DTYPES:
        raise ValueError(f"{proto.name!r} is {word.lower()}")
    return torch.from_numpy(numpy_helper.to_array(proto).astype(word))  # a copy: no two weights share their memory


def _inputs(graph: Any) -> tuple[Port, ...]:
    weights = {entry.name for entry in graph.initializer}  # which old files list among the inputs too
    return tuple(_port(entry) for entry in graph.input if entry.name not in weights)


def _port(proto: Any) -> Port:
    sides = proto.type.tensor_type.shape.dim
    return Port(proto.name, tuple(side.dim_value if side.dim_value > 0 else None for side in sides))


@torch.no_grad()
def _computed(node: Node, known: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """What a step makes of constants alone, nothing if it reads anything else or makes too much."""
    if not all(name in known for name in node.inputs):
        return {}
    given = [known[name] for name in node.inputs]
    made = OPERATORS[node.op](*given, **node.attributes)
    made = made if isinstance(made, tuple) else (made,)
    most = max([_FOLDED, *(value.numel() for value in given if value is not None)])
    if any(value.numel() > most for value in made):
        return {}
    return dict(zip(node.outputs, (value.clone() for value in made), strict=True))
