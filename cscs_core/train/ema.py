"""Exponential moving averages of weights."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

_Network = TypeVar("_Network", bound=nn.Module)


def averaged(network: _Network) -> _Network:
    """A copy of the network for the average, in evaluation mode and without gradients."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def decay(step: int, longest: float) -> float:
    """The decay at a step, counted from 1: at most `longest`, and smaller at first so that the start is forgotten."""
    return min(longest, (1 + step) / (10 + step))


@torch.no_grad()
def update(average: nn.Module, network: nn.Module, stays: float) -> None:
    """average <- stays * average + (1 - stays) * network, in place; integer buffers are copied."""
    new = network.state_dict()
    real = {name: value for name, value in average.state_dict().items() if value.is_floating_point()}
    get_ema_multi_avg_fn(stays)(list(real.values()), [new[name] for name in real], None)
    for name, value in average.state_dict().items():
        if name not in real:
            value.copy_(new[name])
