"""ONNX operators with a sliding window: convolution and pooling."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as nnf
from torch import Tensor


def _padding(
    x: Tensor,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    pads: list[int] | None,
    auto_pad: str,
) -> list[tuple[int, int]]:
    """Padding before and after each spatial axis, from `pads` or `auto_pad`."""
    count = x.dim() - 2
    if not auto_pad.startswith("SAME"):
        return list(zip(pads[:count], pads[count:], strict=True)) if pads else [(0, 0)] * count
    sides = []
    for size, width, stride, dilation in zip(x.shape[2:], kernel, strides, dilations, strict=True):
        total = max((-(-size // stride) - 1) * stride + (width - 1) * dilation + 1 - size, 0)
        small, large = total // 2, total - total // 2
        sides.append((small, large) if auto_pad == "SAME_UPPER" else (large, small))
    return sides


def _pad(x: Tensor, sides: list[tuple[int, int]], value: float = 0.0) -> Tensor:
    return nnf.pad(x, [side for pair in reversed(sides) for side in pair], value=value)


def conv(
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
    sides = _padding(x, list(weight.shape[2:]), strides, dilations, pads, auto_pad)
    if any(before != after for before, after in sides):
        x, sides = _pad(x, sides), [(0, 0) for _ in sides]
    padding = [before for before, _ in sides]
    return torch.convolution(x, weight, bias, strides, padding, dilations, False, [0] * len(ones), group)


def conv_transpose(
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
    sides = _padding(x, list(weight.shape[2:]), strides, dilations, pads, auto_pad)
    even = [min(pair) for pair in sides]
    out = torch.convolution(x, weight, bias, strides, even, dilations, True, more, group)
    return _pad(out, [(least - before, least - after) for least, (before, after) in zip(even, sides, strict=True)])


def _pool_padding(
    x: Tensor,
    kernel: list[int],
    strides: list[int],
    dilations: list[int],
    pads: list[int] | None,
    auto_pad: str,
    ceil_mode: int,
) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Padding before and after each spatial axis: without and with what `ceil_mode` adds."""
    sides = _padding(x, kernel, strides, dilations, pads, auto_pad)
    wider = []
    for (before, after), size, width, stride, dilation in zip(
        sides, x.shape[2:], kernel, strides, dilations, strict=True
    ):
        window = (width - 1) * dilation + 1
        steps = -(-(before + size + after - window) // stride)
        steps -= steps * stride >= before + size  # no window starts beyond the input
        wider.append((before, max(after, steps * stride + window - before - size)))
    return sides, wider if ceil_mode else sides


def max_pool(
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
    _, sides = _pool_padding(x, kernel_shape, strides, dilations, pads, auto_pad, ceil_mode)
    pool = (nnf.max_pool1d, nnf.max_pool2d, nnf.max_pool3d)[len(ones) - 1]
    return pool(_pad(x, sides, -math.inf), kernel_shape, strides, 0, dilations)


def average_pool(
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
    sides, wider = _pool_padding(x, kernel_shape, strides, ones, pads, auto_pad, ceil_mode)
    pool = (nnf.avg_pool1d, nnf.avg_pool2d, nnf.avg_pool3d)[len(ones) - 1]
    pooled = pool(_pad(x, wider), kernel_shape, strides)
    counted = sides if count_include_pad else [(0, 0) for _ in sides]
    if counted == wider:
        return pooled
    share = _pad(x.new_ones(1, 1, *x.shape[2:]), counted, 1.0)
    rest = [(a - c, b - d) for (a, b), (c, d) in zip(wider, counted, strict=True)]
    return pooled / pool(_pad(share, rest), kernel_shape, strides)


def global_pool(x: Tensor, function: Callable[..., Tensor]) -> Tensor:
    return function(x, list(range(2, x.dim())), True)
