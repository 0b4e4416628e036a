"""A network that somebody exported, run from its list of operators wherever torch runs.

The operators are those of ONNX in their newest form, as far as networks for faces use them. Whole numbers, which are
sizes and indices, stay on the CPU, so that no step waits for a GPU.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

DTYPES = {"float32": torch.float32, "int64": torch.int64, "bool": torch.bool}


@dataclass(frozen=True)
class Port:
    """A value that enters or leaves a graph."""

    name: str
    shape: tuple[int | None, ...]  # None where any size will do

    def __post_init__(self):
        object.__setattr__(self, "shape", tuple(self.shape))


@dataclass(frozen=True)
class Node:
    """One step: an operator, the values that it reads ("" where one is left out) and those that it makes."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)  # numbers, words and lists of them

    def __post_init__(self):
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "outputs", tuple(self.outputs))


@dataclass(frozen=True)
class Constant:
    """A small value that stands in the configuration, so that no rounding of the weights reaches it."""

    dtype: str
    shape: list[int]
    values: list[float | int | bool]

    def tensor(self) -> Tensor:
        return torch.tensor(self.values, dtype=DTYPES[self.dtype], device="cpu").view(self.shape)


@dataclass(frozen=True)
class GraphConfig:
    """A whole graph but for its weights."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]  # in an order in which they can run
    weights: dict[str, list[int]]  # shapes of weights.0, weights.1 ... of the weights file, in the order of the export
    constants: dict[str, Constant]

    def __post_init__(self):
        """Takes what JSON makes of it too. Raises ValueError for what this module cannot run."""
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
    """Inputs in the order of the graph -> a list of its outputs; float32."""

    def __init__(self, config: GraphConfig):
        super().__init__()
        self.config = config
        self.weights = nn.ParameterList(nn.Parameter(torch.zeros(shape)) for shape in config.weights.values())
        self.constants = {name: constant.tensor() for name, constant in config.constants.items()}
        last = {name: index for index, node in enumerate(config.nodes) for name in node.inputs + node.outputs}
        kept = {"", *config.constants, *config.weights, *(port.name for port in config.inputs + config.outputs)}
        self.done: list[list[str]] = [[] for _ in config.nodes]  # values that nobody needs after a step
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
    """Raises ValueError, naming the operator, for a node that this module cannot run."""
    if node.op not in OPERATORS:
        raise ValueError(f"operator {node.op} is not among those that run in torch")
    try:
        inspect.signature(OPERATORS[node.op]).bind(*node.inputs, **node.attributes)
    except TypeError as error:
        raise ValueError(f"operator {node.op} is used in a way that does not run in torch ({error})") from None
    if len(node.outputs) > 1 and node.op != "Split":
        raise ValueError(f"operator {node.op} with {len(node.outputs)} outputs does not run in torch")
    for name, value in node.attributes.items():
        if value not in _VALUES.get((node.op, name), (value,)):
            raise ValueError(f"operator {node.op} with {name}={value!r} does not run in torch")


def _check_names(names: Sequence[str], known: set[str]) -> None:
    if missing := [name for name in names if name not in known]:
        raise ValueError(f"nothing makes the value {missing[0]!r}")


# The operators, one function each: inputs by position, attributes by name, defaults as ONNX has them.


def _near(*values: Tensor) -> list[Tensor]:
    """The values on one device: those of the CPU, which come from sizes, go to the others. Numbers without a shape stay
    where they are: torch takes them from there."""
    device = next((value.device for value in values if value.device.type != "cpu"), torch.device("cpu"))
    return [value.to(device) if value.dim() else value for value in values]


def _each(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: function(x)


def _pointwise(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Of values that broadcast."""

    def run(*values: Tensor) -> Tensor:
        rank = max((value.dim() for value in values if value.device.type != "cpu"), default=-1)
        numbers = (value.device.type == "cpu" and value.numel() == 1 and value.dim() <= rank for value in values)
        return function(
            *_near(*(value.view(()) if number else value for value, number in zip(values, numbers, strict=True)))
        )

    return run


def _folded(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """Of one value or several."""
    return lambda first, *others: reduce(_pointwise(function), others, first)


def _reduced(function: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[..., Tensor]:
    """Over axes, all of them where none is named."""

    def run(x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        over = [] if axes is None else axes.tolist()
        if not over and noop_with_empty_axes:
            return x
        return function(x, over or list(range(x.dim())), bool(keepdims))

    return run


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def _cast(x: Tensor, *, to: str) -> Tensor:
    return x.to(DTYPES[to])


def _clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x.clamp(*(None if bound is None else bound.item() for bound in (low, high)))


def _concat(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(_near(*parts), axis)


def _constant_of_shape(shape: Tensor, *, value: float = 0.0, dtype: str = "float32") -> Tensor:
    return torch.full(shape.tolist(), value, dtype=DTYPES[dtype], device="cpu")


def _expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, shape.tolist()))


def _flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    return x.reshape(math.prod(x.shape[:axis]), -1)


def _gather(x: Tensor, index: Tensor, *, axis: int = 0) -> Tensor:
    axis %= x.dim()
    rows = torch.where(index < 0, index + x.shape[axis], index).reshape(-1).to(x.device)
    return x.index_select(axis, rows).reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def _gemm(
    a: Tensor,
    b: Tensor,
    c: Tensor | None = None,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    transA: int = 0,
    transB: int = 0,
) -> Tensor:
    product = (a.T if transA else a) @ (b.T if transB else b)
    product = product if alpha == 1 else product * alpha
    return product if c is None else product + (c if beta == 1 else c * beta)


def _leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return nnf.leaky_relu(x, alpha)


def _prelu(x: Tensor, slope: Tensor) -> Tensor:
    if slope.numel() == x.shape[1] == slope.shape[0] and slope.dim() == x.dim() - 1:
        return nnf.prelu(x, slope.flatten())
    return torch.where(x < 0, x * slope, x)


def _hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (x * alpha + beta).clamp(0, 1)


def _softmax(x: Tensor, *, axis: int = -1, flat: int = 0) -> Tensor:
    """`flat` as before opset 13: over all axes from this one on."""
    return _flatten(x, axis=axis).softmax(-1).view(x.shape) if flat else x.softmax(axis)


def _reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    sizes = shape.tolist()
    if not allowzero:
        sizes = [size or x.shape[index] for index, size in enumerate(sizes)]
    return x.reshape(sizes)


def _shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(x.shape[start:end], dtype=torch.int64, device="cpu")


def _slice(x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None) -> Tensor:
    first, last = starts.tolist(), ends.tolist()
    along = range(len(first)) if axes is None else axes.tolist()
    step = [1] * len(first) if steps is None else steps.tolist()
    for axis, *bounds in zip(along, first, last, step, strict=True):
        rows = range(x.shape[axis])[slice(*bounds)]
        if rows.step > 0:
            x = x[(slice(None),) * (axis % x.dim()) + (slice(rows.start, rows.stop, rows.step),)]
        else:
            x = x.index_select(axis, torch.tensor(list(rows), dtype=torch.int64, device=x.device))
    return x


def _split(x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, num_outputs: int) -> tuple[Tensor, ...]:
    if sizes is not None:
        return x.split(sizes.tolist(), axis)
    return x.split(-(-x.shape[axis] // num_outputs), axis)


def _squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(axes.tolist())


def _unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.dim() + axes.numel()
    for axis in sorted(axis % rank for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def _transpose(x: Tensor, *, perm: list[int] | None = None) -> Tensor:
    return x.permute(*(reversed(range(x.dim())) if perm is None else perm))


def _pad(
    x: Tensor,
    pads: Tensor,
    value: Tensor | None = None,
    axes: Tensor | None = None,
    *,
    mode: str = "constant",
) -> Tensor:
    sides = pads.tolist()
    along = range(x.dim()) if axes is None else axes.tolist()
    begin, end = [0] * x.dim(), [0] * x.dim()
    for place, axis in enumerate(along):
        begin[axis], end[axis] = sides[place], sides[place + len(sides) // 2]
    pairs = [side for pair in zip(begin[::-1], end[::-1], strict=True) for side in pair]
    if mode == "constant":
        return nnf.pad(x, pairs, value=0.0 if value is None else value.item())
    # torch reflects and repeats along the axes after the first two, all of them at once.
    return nnf.pad(x, pairs[:-4], {"reflect": "reflect", "edge": "replicate"}[mode])


def _batch_norm(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return nnf.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)


def _instance_norm(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return nnf.group_norm(x, x.shape[1], scale, bias, epsilon)


def _lp_norm(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    return nnf.normalize(x, p, axis)


def _sides(
    x: Tensor,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    pads: list[int] | None,
    auto_pad: str,
) -> list[tuple[int, int]]:
    """What is added before and after each axis beyond the first two."""
    count = x.dim() - 2
    if not auto_pad.startswith("SAME"):
        return list(zip(pads[:count], pads[count:], strict=True)) if pads else [(0, 0)] * count
    sides = []
    for size, width, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (width - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        sides.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return sides


def _framed(x: Tensor, sides: list[tuple[int, int]], value: float = 0.0) -> Tensor:
    return nnf.pad(x, [side for pair in reversed(sides) for side in pair], value=value)


def _conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: list[int] | None = None,
    strides: list[int] | None = None,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Tensor:
    ones = [1] * (x.dim() - 2)
    strides, dilations = strides or ones, dilations or ones
    sides = _sides(x, list(weight.shape[2:]), strides, dilations, pads, auto_pad)
    if any(before != after for before, after in sides):
        x, sides = _framed(x, sides), [(0, 0) for _ in sides]
    padding = [before for before, _ in sides]
    return torch.convolution(x, weight, bias, strides, padding, dilations, False, [0] * len(ones), group)


def _conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    *,
    kernel_shape: list[int] | None = None,
    strides: list[int] | None = None,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    output_padding: list[int] | None = None,
    group: int = 1,
    auto_pad: str = "NOTSET",
) -> Tensor:
    ones = [1] * (x.dim() - 2)
    strides, dilations, more = strides or ones, dilations or ones, output_padding or [0] * len(ones)
    sides = _sides(x, list(weight.shape[2:]), strides, dilations, pads, auto_pad)
    even = [min(pair) for pair in sides]
    out = torch.convolution(x, weight, bias, strides, even, dilations, True, more, group)
    return _framed(out, [(least - before, least - after) for least, (before, after) in zip(even, sides, strict=True)])


def _windows(
    x: Tensor,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    pads: list[int] | None,
    auto_pad: str,
    ceil_mode: int,
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """What pooling adds before and after each axis: the padding, and with it what rounding up asks for."""
    sides = _sides(x, kernel, strides, dilations, pads, auto_pad)
    wider = []
    for (before, after), size, width, stride, dilation in zip(
        sides, x.shape[2:], kernel, strides, dilations, strict=True
    ):
        window = (width - 1) * dilation + 1
        steps = -(-(before + size + after - window) // stride)
        steps -= steps * stride >= before + size  # no window starts behind the picture
        wider.append((before, max(after, steps * stride + window - before - size)))
    return sides, wider if ceil_mode else sides


def _max_pool(
    x: Tensor,
    *,
    kernel_shape: list[int],
    strides: list[int] | None = None,
    dilations: list[int] | None = None,
    pads: list[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
) -> Tensor:
    ones = [1] * len(kernel_shape)
    strides, dilations = strides or ones, dilations or ones
    _, sides = _windows(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    pool = (nnf.max_pool1d, nnf.max_pool2d, nnf.max_pool3d)[len(ones) - 1]
    return pool(_framed(x, sides, -math.inf), kernel_shape, strides, 0, dilations)


def _average_pool(
    x: Tensor,
    *,
    kernel_shape: list[int],
    strides: list[int] | None = None,
    pads: list[int] | None = None,
    auto_pad: str = "NOTSET",
    ceil_mode: int = 0,
    count_include_pad: int = 0,
) -> Tensor:
    ones = [1] * len(kernel_shape)
    strides = strides or ones
    sides, wider = _windows(x, kernel_shape, strides, ones, pads, auto_pad, ceil_mode)
    pool = (nnf.avg_pool1d, nnf.avg_pool2d, nnf.avg_pool3d)[len(ones) - 1]
    pooled = pool(_framed(x, wider), kernel_shape, strides)
    counted = sides if count_include_pad else [(0, 0) for _ in sides]
    if counted == wider:
        return pooled
    share = _framed(x.new_ones(1, 1, *x.shape[2:]), counted, 1.0)
    rest = [(a - c, b - d) for (a, b), (c, d) in zip(wider, counted, strict=True)]
    return pooled / pool(_framed(share, rest), kernel_shape, strides)


def _global_pool(x: Tensor, function: Callable[..., Tensor]) -> Tensor:
    return function(x, list(range(2, x.dim())), True)


def _resize(
    x: Tensor,
    roi: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
    *,
    mode: str = "nearest",
    coordinate_transformation_mode: str = "half_pixel",
    nearest_mode: str = "round_prefer_floor",
    axes: list[int] | None = None,
) -> Tensor:
    size, factor = list(x.shape), [1.0] * x.dim()
    for position, axis in enumerate(range(x.dim()) if axes is None else axes):
        if sizes is not None:
            size[axis] = int(sizes[position])
            factor[axis] = size[axis] / x.shape[axis]
        elif scales is not None:
            factor[axis] = float(scales[position])
            size[axis] = math.floor(x.shape[axis] * factor[axis])
    where = coordinate_transformation_mode
    if where == "pytorch_half_pixel" and 1 not in size[2:]:
        where = "half_pixel"
    same = _SAME.get((mode, where, nearest_mode if mode == "nearest" else ""))
    whole = all(new == old * ratio for new, old, ratio in zip(size, x.shape, factor, strict=True))
    if same and whole and x.dim() == 4 and size[:2] == list(x.shape[:2]):
        return nnf.interpolate(x, size[2:], **same)
    for axis, ratio in enumerate(factor):
        if size[axis] == x.shape[axis] and ratio == 1:
            continue
        place = torch.arange(size[axis], device=x.device, dtype=torch.float32)
        if where == "align_corners":
            place = place * ((x.shape[axis] - 1) / max(size[axis] - 1, 1))
        elif where == "asymmetric":
            place = place / ratio
        elif where == "pytorch_half_pixel" and size[axis] == 1:
            place = place * 0
        else:
            place = (place + 0.5) / ratio - 0.5
        x = _read(x, axis, place, nearest_mode if mode == "nearest" else None)
    return x


# Resizing that torch does itself, several times faster.
_SAME: dict[tuple[str, str, str], dict[str, Any]] = {
    ("linear", "half_pixel", ""): {"mode": "bilinear", "align_corners": False},
    ("linear", "align_corners", ""): {"mode": "bilinear", "align_corners": True},
    ("nearest", "asymmetric", "floor"): {"mode": "nearest"},
}

_ROUND = {
    "round_prefer_floor": lambda place: (place - 0.5).ceil(),
    "round_prefer_ceil": lambda place: (place + 0.5).floor(),
    "floor": torch.floor,
    "ceil": torch.ceil,
}


def _read(x: Tensor, axis: int, place: Tensor, nearest: str | None) -> Tensor:
    """A value at fractional places along an axis: the nearest, or between its neighbours."""
    end = x.shape[axis] - 1
    if nearest:
        return x.index_select(axis, _ROUND[nearest](place).clamp(0, end).long())
    place = place.clamp(0, end)
    low = place.long()
    share = (place - low).view(-1, *[1] * (x.dim() - 1 - axis))
    return torch.lerp(x.index_select(axis, low), x.index_select(axis, (low + 1).clamp_max(end)), share)


OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": _each(torch.abs),
    "Add": _pointwise(torch.add),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _cast,
    "Ceil": _each(torch.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "ConstantOfShape": _constant_of_shape,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Div": _pointwise(_divide),
    "Equal": _pointwise(torch.eq),
    "Erf": _each(torch.erf),
    "Exp": _each(torch.exp),
    "Expand": _expand,
    "Flatten": _flatten,
    "Floor": _each(torch.floor),
    "Gather": _gather,
    "Gemm": _gemm,
    "GlobalAveragePool": partial(_global_pool, function=torch.mean),
    "GlobalMaxPool": partial(_global_pool, function=torch.amax),
    "Greater": _pointwise(torch.gt),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _each(nnf.hardswish),
    "Identity": lambda x: x,
    "InstanceNormalization": _instance_norm,
    "LeakyRelu": _leaky_relu,
    "Less": _pointwise(torch.lt),
    "Log": _each(torch.log),
    "LpNormalization": _lp_norm,
    "MatMul": lambda a, b: a @ b,
    "Max": _folded(torch.maximum),
    "MaxPool": _max_pool,
    "Min": _folded(torch.minimum),
    "Mul": _pointwise(torch.mul),
    "Neg": _each(torch.neg),
    "Not": _each(torch.logical_not),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _pointwise(torch.pow),
    "Range": lambda start, limit, delta: torch.arange(start.item(), limit.item(), delta.item(), device="cpu"),
    "Reciprocal": _each(torch.reciprocal),
    "ReduceL2": _reduced(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "Relu": _each(torch.relu),
    "Reshape": _reshape,
    "Resize": _resize,
    "Round": _each(torch.round),
    "Shape": _shape,
    "Sigmoid": _each(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _each(nnf.softplus),
    "Split": _split,
    "Sqrt": _each(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _pointwise(torch.sub),
    "Sum": _folded(torch.add),
    "Tanh": _each(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _pointwise(torch.where),
}

# Operators that take a number of the configuration beside values of any device.
POINTWISE = frozenset(("Add", "Div", "Equal", "Greater", "Less", "Max", "Min", "Mul", "Pow", "Sub", "Sum", "Where"))

# The inputs, counted from 0, that are read as numbers: they have to be on the CPU.
NUMBERS: dict[str, tuple[int, ...]] = {
    "Clip": (1, 2),
    "ConstantOfShape": (0,),
    "Expand": (1,),
    "Pad": (1, 2, 3),
    "Range": (0, 1, 2),
    **{f"Reduce{name}": (1,) for name in ("L2", "Max", "Mean", "Min", "Sum")},
    "Reshape": (1,),
    "Resize": (1, 2, 3),
    "Slice": (1, 2, 3, 4),
    "Split": (1,),
    "Squeeze": (1,),
    "Unsqueeze": (1,),
}

# Where only some values of an attribute will do.
_VALUES: dict[tuple[str, str], tuple[Any, ...]] = {
    ("Cast", "to"): tuple(DTYPES),
    ("ConstantOfShape", "dtype"): tuple(DTYPES),
    ("ConvTranspose", "auto_pad"): ("NOTSET", "VALID"),
    ("Pad", "mode"): ("constant", "reflect", "edge"),
    ("Resize", "mode"): ("nearest", "linear"),
    ("Resize", "coordinate_transformation_mode"): ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"),
    ("Resize", "nearest_mode"): tuple(_ROUND),
}
