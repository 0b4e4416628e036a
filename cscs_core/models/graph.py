"""Runs an exported network in torch from its list of ONNX operators.

The operators follow their newest ONNX version, as far as face networks use them. Integers, which are sizes and indices,
stay on the CPU, so that no step waits for a GPU.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .operators import DTYPES, OPERATORS, VALUES


@dataclass(frozen=True)
class Port:
    """An input or output of a graph."""

    name: str
    shape: tuple[int | None, ...]  # None where any size is allowed

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(self.shape))


@dataclass(frozen=True)
class Node:
    """One step: an operator, the names of its inputs ("" for an omitted one) and of its outputs."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)  # numbers, strings and lists of them

    def __post_init__(self):
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "outputs", tuple(self.outputs))


@dataclass(frozen=True)
class Constant:
    """A small value stored in the config, so that converting the weights to float16 does not round it."""

    dtype: str
    shape: list[int]
    values: list[float | int | bool]

    def tensor(self) -> Tensor:
        """The value as a tensor on the CPU."""
        return torch.tensor(self.values, dtype=DTYPES[self.dtype], device="cpu").view(self.shape)


@dataclass(frozen=True)
class GraphConfig:
    """A graph without its weights. Raises ValueError for operators that this module cannot run."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]  # in execution order
    weights: dict[str, list[int]]  # shapes of weights.0, weights.1 ... in the weights file, in order
    constants: dict[str, Constant]

    def __post_init__(self):
        """Converts the lists and dicts of a JSON file. Raises ValueError for what this module cannot run."""
        for name, kind in {"inputs": Port, "outputs": Port, "nodes": Node}.items():
            rows = (row if isinstance(row, kind) else kind(**row) for row in getattr(self, name))
            object.__setattr__(self, name, tuple(rows))
        constants = {
            name: row if isinstance(row, Constant) else Constant(**row) for name, row in self.constants.items()
        }
        object.__setattr__(self, "constants", constants)
        known = {"", *constants, *self.weights, *(port.name for port in self.inputs)}
        for node in self.nodes:
            check(node)
            _check_names(node.inputs, known)
            known.update(node.outputs)
        _check_names([port.name for port in self.outputs], known)


class GraphNet(nn.Module):
    """Inputs in the order of the graph -> list of its outputs; float32."""

    def __init__(self, config: GraphConfig):
        super().__init__()
        self.config = config
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(shape)) for shape in config.weights.values())
        self.constants = {name: constant.tensor() for name, constant in config.constants.items()}
        last = {name: index for index, node in enumerate(config.nodes) for name in node.inputs + node.outputs}
        kept = {"", *config.constants, *config.weights, *(port.name for port in config.inputs + config.outputs)}
        self.done: list[list[str]] = [[] for _ in config.nodes]  # values that are no longer needed after each step
        for name, index in last.items():
            if name not in kept:
                self.done[index].append(name)

    def forward(self, *inputs: Tensor) -> list[Tensor]:
        values: dict[str, Any] = {"": None} | self.constants
        values |= zip(self.config.weights, self.weights, strict=True)
        values |= {port.name: value for port, value in zip(self.config.inputs, inputs, strict=True)}
        for node, done in zip(self.config.nodes, self.done, strict=True):
            made = OPERATORS[node.op](*(values[name] for name in node.inputs), **node.attributes)
            values |= zip(node.outputs, made if isinstance(made, tuple) else (made,), strict=True)
            for name in done:
                del values[name]
        return [values[port.name] for port in self.config.outputs]


def check(node: Node) -> None:
    """Raises ValueError, naming the operator, if this module cannot run the node."""
    if node.op not in OPERATORS:
        raise ValueError(f"operator {node.op} is not supported in torch")
    try:
        inspect.signature(OPERATORS[node.op]).bind(*node.inputs, **node.attributes)
    except TypeError as error:
        raise ValueError(f"operator {node.op} is used in a way that is not supported in torch ({error})") from None
    if len(node.outputs) > 1 and node.op != "Split":
        raise ValueError(f"operator {node.op} with {len(node.outputs)} outputs is not supported in torch")
    for name, value in node.attributes.items():
        if value not in VALUES.get((node.op, name), (value,)):
            raise ValueError(f"operator {node.op} with {name}={value!r} is not supported in torch")


def _check_names(names: Sequence[str], known: set[str]) -> None:
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"no node outputs the value {missing[0]!r}")
