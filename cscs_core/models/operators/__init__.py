"""ONNX operators in torch, in their newest version, as far as face networks use them.

Integers, which are sizes and indices, stay on the CPU, so that no step waits for a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as nnf

from . import convolution, resize, tensors
from .tensors import DTYPES

OPERATORS: dict[str, Callable[..., Any]] = {
    "Abs": tensors.each(torch.abs),
    "Add": tensors.pointwise(torch.add),
    "AveragePool": convolution.average_pool,
    "BatchNormalization": tensors.batch_norm,
    "Cast": tensors.cast,
    "Ceil": tensors.each(torch.ceil),
    "Clip": tensors.clip,
    "Concat": tensors.concat,
    "ConstantOfShape": tensors.constant_of_shape,
    "Conv": convolution.conv,
    "ConvTranspose": convolution.conv_transpose,
    "Div": tensors.pointwise(tensors.divide),
    "Equal": tensors.pointwise(torch.eq),
    "Erf": tensors.each(torch.erf),
    "Exp": tensors.each(torch.exp),
    "Expand": tensors.expand,
    "Flatten": tensors.flatten,
    "Floor": tensors.each(torch.floor),
    "Gather": tensors.gather,
    "Gemm": tensors.gemm,
    "GlobalAveragePool": partial(convolution.global_pool, function=torch.mean),
    "GlobalMaxPool": partial(convolution.global_pool, function=torch.amax),
    "Greater": tensors.pointwise(torch.gt),
    "HardSigmoid": tensors.hard_sigmoid,
    "HardSwish": tensors.each(nnf.hardswish),
    "Identity": lambda x: x,
    "InstanceNormalization": tensors.instance_norm,
    "LeakyRelu": tensors.leaky_relu,
    "Less": tensors.pointwise(torch.lt),
    "Log": tensors.each(torch.log),
    "LpNormalization": tensors.lp_norm,
    "MatMul": lambda a, b: a @ b,
    "Max": tensors.folded(torch.maximum),
    "MaxPool": convolution.max_pool,
    "Min": tensors.folded(torch.minimum),
    "Mul": tensors.pointwise(torch.mul),
    "Neg": tensors.each(torch.neg),
    "Not": tensors.each(torch.logical_not),
    "PRelu": tensors.prelu,
    "Pad": tensors.pad,
    "Pow": tensors.pointwise(torch.pow),
    "Range": lambda start, limit, delta: torch.arange(start.item(), limit.item(), delta.item(), device="cpu"),
    "Reciprocal": tensors.each(torch.reciprocal),
    "ReduceL2": tensors.reduced(lambda x, axes, keep: torch.linalg.vector_norm(x, 2, axes, keep)),
    "ReduceMax": tensors.reduced(torch.amax),
    "ReduceMean": tensors.reduced(torch.mean),
    "ReduceMin": tensors.reduced(torch.amin),
    "ReduceSum": tensors.reduced(torch.sum),
    "Relu": tensors.each(torch.relu),
    "Reshape": tensors.reshape,
    "Resize": resize.resize,
    "Round": tensors.each(torch.round),
    "Shape": tensors.shape,
    "Sigmoid": tensors.each(torch.sigmoid),
    "Slice": tensors.strided_slice,
    "Softmax": tensors.softmax,
    "Softplus": tensors.each(nnf.softplus),
    "Split": tensors.split,
    "Sqrt": tensors.each(torch.sqrt),
    "Squeeze": tensors.squeeze,
    "Sub": tensors.pointwise(torch.sub),
    "Sum": tensors.folded(torch.add),
    "Tanh": tensors.each(torch.tanh),
    "Transpose": tensors.transpose,
    "Unsqueeze": tensors.unsqueeze,
    "Where": tensors.pointwise(torch.where),
}
# Operators whose inputs may be a number from the config beside tensors on any device.
POINTWISE = frozenset(("Add", "Div", "Equal", "Greater", "Less", "Max", "Min", "Mul", "Pow", "Sub", "Sum", "Where"))
# Inputs, counted from 0, that are read as numbers and so have to be on the CPU.
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
# Attributes of which only some values are supported.
VALUES: dict[tuple[str, str], tuple[Any, ...]] = {
    ("Cast", "to"): tuple(DTYPES),
    ("ConstantOfShape", "dtype"): tuple(DTYPES),
    ("ConvTranspose", "auto_pad"): ("NOTSET", "VALID"),
    ("Pad", "mode"): ("constant", "reflect", "edge"),
    ("Resize", "mode"): ("nearest", "linear"),
    ("Resize", "coordinate_transformation_mode"): ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"),
    ("Resize", "nearest_mode"): tuple(resize.ROUND),
}
