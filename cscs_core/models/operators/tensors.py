"""ONNX operators on numbers, shapes and layouts: inputs by position, attributes by name with ONNX's defaults."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import reduce

import torch
import torch.nn.functional as nnf
from torch import Tensor

DTYPES = {"float32": torch.float32, "int64": torch.int64, "bool": torch.bool}


def _to_one_device(*values: Tensor) -> list[Tensor]:
    """Moves CPU tensors, which come from sizes, to the device of the others. 0-d tensors stay, as torch takes them from
    the CPU."""
    device = next((value.device for value in values if value.device.type != "cpu"), torch.device("cpu"))
    return [value.to(device) if value.dim() else value for value in values]


def each(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """An operator of one input."""
    return lambda x: function(x)


def pointwise(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """An operator of inputs that broadcast."""

    def run(*values: Tensor) -> Tensor:
        rank = max((value.dim() for value in values if value.device.type != "cpu"), default=-1)
        numbers = (value.device.type == "cpu" and value.numel() == 1 and value.dim() <= rank for value in values)
        return function(
            *_to_one_device(
                *(value.view(()) if number else value for value, number in zip(values, numbers, strict=True))
            )
        )

    return run


def folded(function: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    """An operator of one or more inputs that broadcast."""
    return lambda first, *others: reduce(pointwise(function), others, first)


def reduced(function: Callable[[Tensor, list[int], bool], Tensor]) -> Callable[..., Tensor]:
    """A reduction over the given axes, or over all of them if none is given."""

    def run(x: Tensor, axes: Tensor | None = None, *, keepdims: int = 1, noop_with_empty_axes: int = 0) -> Tensor:
        over = [] if axes is None else axes.tolist()
        if not over and noop_with_empty_axes:
            return x
        return function(x, over or list(range(x.dim())), bool(keepdims))

    return run


def divide(a: Tensor, b: Tensor) -> Tensor:
    return a / b if a.is_floating_point() else torch.div(a, b, rounding_mode="trunc")


def cast(x: Tensor, *, to: str) -> Tensor:
    return x.to(DTYPES[to])


def clip(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    return x.clamp(*(None if bound is None else bound.item() for bound in (low, high)))


def concat(*parts: Tensor, axis: int) -> Tensor:
    return torch.cat(_to_one_device(*parts), axis)


def constant_of_shape(shape: Tensor, *, value: float = 0.0, dtype: str = "float32") -> Tensor:
    return torch.full(shape.tolist(), value, dtype=DTYPES[dtype], device="cpu")


def expand(x: Tensor, shape: Tensor) -> Tensor:
    return x.expand(torch.broadcast_shapes(x.shape, shape.tolist()))


def flatten(x: Tensor, *, axis: int = 1) -> Tensor:
    return x.reshape(math.prod(x.shape[:axis]), -1)


def gather(x: Tensor, index: Tensor, *, axis: int = 0) -> Tensor:
    axis %= x.dim()
    rows = torch.where(index < 0, index + x.shape[axis], index).reshape(-1).to(x.device)
    return x.index_select(axis, rows).reshape((*x.shape[:axis], *index.shape, *x.shape[axis + 1 :]))


def gemm(
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


def leaky_relu(x: Tensor, *, alpha: float = 0.01) -> Tensor:
    return nnf.leaky_relu(x, alpha)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    if slope.numel() == x.shape[1] == slope.shape[0] and slope.dim() == x.dim() - 1:
        return nnf.prelu(x, slope.flatten())
    return torch.where(x < 0, x * slope, x)


def hard_sigmoid(x: Tensor, *, alpha: float = 0.2, beta: float = 0.5) -> Tensor:
    return (x * alpha + beta).clamp(0, 1)


def softmax(x: Tensor, *, axis: int = -1, flat: int = 0) -> Tensor:
    """`flat` is the rule before opset 13: over all axes from `axis` on."""
    return flatten(x, axis=axis).softmax(-1).view(x.shape) if flat else x.softmax(axis)


def reshape(x: Tensor, shape: Tensor, *, allowzero: int = 0) -> Tensor:
    sizes = shape.tolist()
    if not allowzero:
        sizes = [size or x.shape[index] for index, size in enumerate(sizes)]
    return x.reshape(sizes)


def shape(x: Tensor, *, start: int = 0, end: int | None = None) -> Tensor:
    return torch.tensor(x.shape[start:end], dtype=torch.int64, device="cpu")


def strided_slice(
    x: Tensor, starts: Tensor, ends: Tensor, axes: Tensor | None = None, steps: Tensor | None = None
) -> Tensor:
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


def split(x: Tensor, sizes: Tensor | None = None, *, axis: int = 0, num_outputs: int) -> tuple[Tensor, ...]:
    if sizes is not None:
        return x.split(sizes.tolist(), axis)
    return x.split(-(-x.shape[axis] // num_outputs), axis)


def squeeze(x: Tensor, axes: Tensor | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(axes.tolist())


def unsqueeze(x: Tensor, axes: Tensor) -> Tensor:
    rank = x.dim() + axes.numel()
    for axis in sorted(axis % rank for axis in axes.tolist()):
        x = x.unsqueeze(axis)
    return x


def transpose(x: Tensor, *, perm: list[int] | None = None) -> Tensor:
    return x.permute(*(reversed(range(x.dim())) if perm is None else perm))


def pad(
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
    # For these modes torch pads only the axes after the first two, all of them at once.
    return nnf.pad(x, pairs[:-4], {"reflect": "reflect", "edge": "replicate"}[mode])


def batch_norm(x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return nnf.batch_norm(x, mean, var, scale, bias, False, 0.0, epsilon)


def instance_norm(x: Tensor, scale: Tensor, bias: Tensor, *, epsilon: float = 1e-5) -> Tensor:
    return nnf.group_norm(x, x.shape[1], scale, bias, epsilon)


def lp_norm(x: Tensor, *, axis: int = -1, p: int = 2) -> Tensor:
    return nnf.normalize(x, p, axis)
