"""ONNX graphs as data flow: what makes each value. Names and the order of nodes have no meaning here."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...models.graph import Node
from ...models.operators import OPERATORS
from .reader import OnnxGraph

_SAME = ("Identity", "Cast", "CastLike", "Dropout")  # keep the values, up to their precision
_LAYOUT = ("Reshape", "Squeeze", "Transpose", "Unsqueeze")  # of weights, done at once
_SHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Expand")  # keep the order of the values


@dataclass(frozen=True)
class Graph:
    """A network. Nodes that change no value are skipped, and what depends on constants alone is a constant."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    made: dict[str, Node]  # by each of the node's outputs
    constants: dict[str, Tensor]  # those that fill a shape have a single element

    def op(self, name: str) -> str:
        """The operator that makes a value; "" for inputs and constants."""
        return self.made[name].op if name in self.made else ""

    def flat(self, name: str) -> str:
        """The value before nodes that change only its shape."""
        while (node := self.made.get(name)) and (node.op in _SHAPES or self._first(node)):
            name = node.inputs[0]
        return name

    def _first(self, node: Node) -> bool:
        """Whether the node takes index 0 of an axis after the channels, as an exporter writes `x[..., 0]`."""
        index = self.constants.get(node.inputs[1]) if node.op == "Gather" else None
        return uniform(index) == 0 and node.attributes.get("axis") in (-1, 2, 3)


def trace(graph: OnnxGraph) -> Graph:
    """The data flow of a graph."""
    constants = {**graph.initializers, **graph.constants}
    made: dict[str, Node] = {}
    root: dict[str, str] = {}  # the value that another one is, once nodes without effect are skipped
    for node in graph.nodes:
        node = replace(node, inputs=tuple(root.get(name, name) for name in node.inputs))
        value = _folded(node, constants)
        if node.op in _SAME and node.inputs and node.attributes.get("to", "float32") == "float32":
            root[node.outputs[0]] = node.inputs[0]
        for name in filter(None, node.outputs):
            if value is None:
                made[name] = node
            else:
                constants[name] = value
    outputs = tuple(root.get(port.name, port.name) for port in graph.outputs)
    return Graph(tuple(port.name for port in graph.inputs), outputs, made, constants)


def uniform(value: Tensor | None) -> float | None:
    """The number that a constant consists of, if it is only one."""
    if value is None or not value.numel() or (value != value.flatten()[0]).any():
        return None
    return float(value.flatten()[0])


def _folded(node: Node, constants: dict[str, Tensor]) -> Tensor | None:
    """The value of a node that depends on constants alone, for the few operators that prepare weights."""
    if node.op == "ConstantOfShape":
        return torch.full((1,), node.attributes.get("value", 0.0))
    first = constants.get(node.inputs[0]) if node.inputs else None
    if first is None or node.op in (*_SAME, "Expand"):  # whoever uses the expanded value expands it again
        return first
    if node.op not in _LAYOUT or any(name and name not in constants for name in node.inputs):
        return None
    try:
        return OPERATORS[node.op](*(constants.get(name) for name in node.inputs), **node.attributes)
    except (RuntimeError, LookupError, TypeError):
        return first if first.numel() == 1 else None  # one that fills a shape
