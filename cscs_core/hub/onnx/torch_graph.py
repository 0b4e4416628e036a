"""ONNX graphs made into the configuration and the weights of a `GraphNet`, which runs them in torch."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from ...io.files import BadInput, one_line
from ...models.graph import Constant, GraphConfig, Node, check
from ...models.operators import DTYPES, NUMBERS, OPERATORS, POINTWISE
from .reader import OnnxGraph, read_onnx

_FOLDED = 65536  # values that a node may make of constants and still be folded


def read_graph(path: Path) -> tuple[GraphConfig, dict[str, Tensor]]:
    """`torch_graph` of an ONNX file. Raises BadInput as `read_onnx` does, too."""
    return torch_graph(read_onnx(path))


def torch_graph(graph: OnnxGraph) -> tuple[GraphConfig, dict[str, Tensor]]:
    """A graph and its weights, by their names in a weights file.

    What depends on constants alone is computed here. The file's last initializer is the last weight, even if no node
    reads it: inswapper keeps its projection of the embedding there. Raises BadInput, naming the file, for operators
    that do not run in torch.
    """
    try:
        return _converted(graph)
    except (ValueError, RuntimeError, LookupError, TypeError) as error:
        reason = one_line(error)
        raise BadInput(f"{graph.path}: cannot be converted: {reason}; it may run in onnxruntime as it is") from None


def _converted(graph: OnnxGraph) -> tuple[GraphConfig, dict[str, Tensor]]:
    folded = dict(graph.constants)
    nodes: list[Node] = []
    wanted = {port.name for port in graph.outputs}
    alias: dict[str, str] = {}  # outputs of nodes that change nothing
    for node in graph.nodes:
        if node.op in ("Identity", "Dropout") and node.outputs[0] not in wanted:
            source = node.inputs[0]
            alias[node.outputs[0]] = alias.get(source, source)
            continue
        node = Node(node.op, tuple(alias.get(name, name) for name in node.inputs), node.outputs, node.attributes)
        check(node)
        if not wanted & set(node.outputs) and (made := _fold(node, {"": None, **graph.initializers, **folded})):
            folded |= made
        else:
            nodes.append(node)
    uses = [(node.op, at, name) for node in nodes for at, name in enumerate(node.inputs)]
    numbers = {name for op, at, name in uses if at in NUMBERS.get(op, ())}
    tensors = wanted | {name for op, at, name in uses if op not in POINTWISE and at not in NUMBERS.get(op, ())}
    read = wanted | {name for _, _, name in uses}
    if odd := next((name for name in graph.unreadable if name in read), None):
        raise ValueError(f"{odd!r} is {graph.unreadable[odd]}")
    last = next(reversed(graph.initializers), "")
    weights, constants = {}, {}
    for name, value in {**folded, **graph.initializers}.items():
        small = name in numbers or (value.numel() == 1 and name not in tensors)
        if name in read and (small or not value.is_floating_point()):
            kind = next(word for word, dtype in DTYPES.items() if dtype == value.dtype)
            constants[name] = Constant(kind, list(value.shape), value.flatten().tolist())
        elif name in read or (name == last and value.is_floating_point()):
            weights[name] = value
    config = GraphConfig(
        inputs=graph.inputs,
        outputs=graph.outputs,
        nodes=tuple(nodes),
        weights={name: list(value.shape) for name, value in weights.items()},
        constants=constants,
    )
    return config, {f"weights.{index}": value for index, value in enumerate(weights.values())}


@torch.no_grad()
def _fold(node: Node, known: dict[str, Tensor | None]) -> dict[str, Tensor]:
    """The outputs of a node that reads constants alone; nothing if it reads anything else or makes too much."""
    if not all(name in known for name in node.inputs):
        return {}
    given = [known[name] for name in node.inputs]
    made = OPERATORS[node.op](*given, **node.attributes)
    made = made if isinstance(made, tuple) else (made,)
    most = max([_FOLDED, *(value.numel() for value in given if value is not None)])
    if any(value.numel() > most for value in made):
        return {}
    return dict(zip(node.outputs, (value.clone() for value in made), strict=True))
