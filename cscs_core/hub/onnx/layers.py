"""Layers with weights in ONNX graphs, in whichever form an exporter wrote them, and the scaling of their outputs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...models.graph import Node
from .dataflow import Graph, uniform

EPS = 1e-5  # of every normalisation in our networks

State = dict[str, Tensor]
_Step = tuple["Norm", bool]  # a node's effect, and whether its parts are operands, of any shape


class Unlike(Exception):
    """The graph is not of the expected architecture; the message names the first difference found."""


@dataclass(frozen=True)
class Norm:
    """A batch norm in evaluation mode, weight * (x - mean) / sqrt(var + EPS) + bias, each part (C,) or (1,)."""

    weight: Tensor
    bias: Tensor
    mean: Tensor
    var: Tensor

    @property
    def affine(self) -> tuple[Tensor, Tensor]:
        """The same as scale * x + shift."""
        scale = self.weight * (self.var + EPS).rsqrt()
        return scale, self.bias - self.mean * scale

    def after(self, first: Norm) -> Norm:
        """The two combined. A shift before a batch norm only moves its mean."""
        scale, shift = first.affine
        if self is UNCHANGED:
            return first
        if (scale == 1).all():
            return replace(self, mean=self.mean - shift) if shift.any() else self
        again, added = self.affine
        return replace(first, weight=first.weight * again, bias=first.bias * again + added)

    def state(self, name: str, channels: int) -> State:
        parts = {"weight": self.weight, "bias": self.bias, "running_mean": self.mean, "running_var": self.var}
        state = {f"{name}.{part}": value.expand(channels) for part, value in parts.items()}
        return {**state, f"{name}.num_batches_tracked": torch.tensor(0)}


def scaled(scale: Tensor, shift: Tensor) -> Norm:
    """scale * x + shift as a batch norm, each (C,) or (1,)."""
    return Norm(scale, shift, torch.zeros(1), torch.full((1,), 1 - EPS))


_ONE, _ZERO = torch.ones(1), torch.zeros(1)
UNCHANGED = scaled(_ONE, _ZERO)


@dataclass(frozen=True)
class Layer:
    """A convolution, transposed convolution or matrix product, and the scale and shift of its output channels."""

    op: str  # Conv, ConvTranspose or MatMul
    weight: Tensor  # in torch's layout
    bias: Tensor  # (O,) or (1,)
    source: str
    stride: int = 1
    pad: int = 0
    norm: Norm = UNCHANGED

    @property
    def kernel(self) -> int:
        """Side of the kernel; 0 for none, or one that is not square."""
        sides = set(self.weight.shape[2:])
        return sides.pop() if len(sides) == 1 else 0

    @property
    def outputs(self) -> int:
        return self.weight.shape[1 if self.op == "ConvTranspose" else 0]

    def fits(self, op: str, kernel: int, stride: int, pad: int) -> bool:
        return (self.op, self.kernel, self.stride, self.pad) == (op, kernel, stride, pad)

    def biased(self, name: str) -> State:
        """State of a module with a bias and no batch norm."""
        scale, shift = self.norm.affine
        weight = self.weight
        if (scale != 1).any():
            rows = [1, -1] if self.op == "ConvTranspose" else [-1, 1]
            weight = weight * scale.expand(self.outputs).reshape(rows + [1] * (weight.ndim - 2))
        return {f"{name}.weight": weight, f"{name}.bias": (self.bias * scale + shift).expand(self.outputs)}

    def bare(self, name: str) -> State:
        """State of a module with neither."""
        state = self.biased(name)
        if state.pop(f"{name}.bias").any():
            raise Unlike(f"a bias in {name}")
        return state

    def normed(self, name: str, norm: str) -> State:
        """State of a module with a batch norm and no bias: a bias becomes the batch norm's, or moves its mean."""
        whole = self.norm.after(scaled(_ONE, self.bias))
        return {f"{name}.weight": self.weight, **whole.state(norm, self.outputs)}


def layer(graph: Graph, name: str) -> Layer | None:
    """The layer that outputs a value, if one does."""
    base, steps, flat = _climbed(graph, name)
    node = graph.made.get(base)
    found = _layer(graph, node) if node else None
    if found is None or (flat and found.op != "MatMul"):
        return None
    # The number of axes after the channels'; a matrix product's output may have been reshaped since.
    norms = _norms(steps, range(3) if found.op == "MatMul" else (found.weight.ndim - 2,))
    if norms and not found.bias.any() and (norms[0].affine[0] == 1).all():
        found = replace(found, bias=norms.pop(0).affine[1])
    return replace(found, norm=_joined(norms))


def normed(graph: Graph, name: str) -> tuple[str, Norm]:
    """The value (N, C, H, W) before a batch norm, if there is one, and the norm."""
    base, steps, flat = _climbed(graph, name)
    return (name, UNCHANGED) if flat else (base, _joined(_norms(steps, (2,))))


def _climbed(graph: Graph, name: str) -> tuple[str, list[_Step], bool]:
    """Walks up past per-channel nodes: the value above them, the steps down from there, and whether shapes changed
    on the way."""
    steps: list[_Step] = []
    flat = False
    while node := graph.made.get(name):
        if (above := graph.flat(name)) != name:
            flat = True
        elif found := _step(node, [graph.constants.get(source) for source in node.inputs]):
            above, step = found
            steps.append(step)
        else:
            break
        name = above
    return name, steps[::-1], flat


def _step(node: Node, known: list[Tensor | None]) -> tuple[str, _Step] | None:
    """The input of a per-channel node and its effect; None for any other node."""
    if node.op == "BatchNormalization":
        parts = [value.float() for value in known[1:5] if value is not None]
        if len(parts) < 4 or node.attributes.get("training_mode"):
            return None
        weight, bias, mean, var = parts
        more = round(node.attributes.get("epsilon", EPS) - EPS, 9)  # the attribute is a float32
        return node.inputs[0], (Norm(weight, bias, mean, var + more), False)
    if node.op not in ("Add", "Sub", "Mul", "Div") or len(known) != 2:
        return None
    left, right = (None if value is None else value.float() for value in known)
    if left is None and right is not None:
        scale = {"Mul": right, "Div": 1 / right}.get(node.op, _ONE)
        shift = {"Add": right, "Sub": -right}.get(node.op, _ZERO)
        return node.inputs[0], (scaled(scale, shift), True)
    if right is None and left is not None and node.op != "Div":
        scale = {"Mul": left, "Sub": -_ONE}.get(node.op, _ONE)
        return node.inputs[1], (scaled(scale, _ZERO if node.op == "Mul" else left), True)
    return None


def _norms(steps: list[_Step], places: Collection[int]) -> list[Norm]:
    return [
        replace(norm, weight=_channels(norm.weight, places), bias=_channels(norm.bias, places)) if operands else norm
        for norm, operands in steps
    ]


def _channels(value: Tensor, places: Collection[int]) -> Tensor:
    """An operand as (C,), or (1,) if all are equal. `places`: how many axes may follow the channels'."""
    if (number := uniform(value)) is not None:
        return torch.full((1,), number)
    long = [axis for axis, length in enumerate(reversed(value.shape)) if length != 1]
    if len(long) != 1 or long[0] not in places:
        raise Unlike("a sum or product that is not per channel")
    return value.flatten()


def _joined(norms: list[Norm]) -> Norm:
    whole = UNCHANGED
    for norm in norms:
        whole = norm.after(whole)
    return whole


def _layer(graph: Graph, node: Node) -> Layer | None:
    """The layer of a node with constant weights, without the scaling after it."""
    known = [graph.constants.get(source) for source in node.inputs]
    if len(known) < 2 or (weight := known[1]) is None:
        return None
    weight = weight.float()
    bias = known[2] if len(known) > 2 else None
    bias = _ZERO if bias is None else bias.float().flatten()
    options, source = node.attributes, node.inputs[0]
    if node.op in ("Conv", "ConvTranspose"):
        stride, pad = set(options.get("strides", [1])), set(options.get("pads", [0]))
        usual = {"group": 1, "auto_pad": "NOTSET", "output_shape": []}
        odd = any(options.get(name, value) != value for name, value in usual.items())
        odd |= any(n != 1 for n in options.get("dilations", [])) or any(options.get("output_padding", []))
        odd |= len(stride) > 1 or len(pad) > 1
        return None if odd else Layer(node.op, weight, bias, source, stride.pop(), pad.pop())
    if node.op not in ("Gemm", "MatMul") or weight.ndim != 2 or options.get("transA"):
        return None
    weight = weight if options.get("transB") else weight.T
    alpha, beta = options.get("alpha", 1.0), options.get("beta", 1.0)
    return Layer("MatMul", weight if alpha == 1 else weight * alpha, bias if beta == 1 else bias * beta, source)
