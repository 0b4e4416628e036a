"""Averaged weights: what a training run hands over is smoother than any of its steps."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

_Network = TypeVar("_Network", bound=nn.Module)


def averaged(network: _Network) -> _Network:
    """A copy to average into, in evaluation mode."""
    return copy.deepcopy(network).eval().requires_grad_(False)


def decay(step: int, longest: float) -> float:
    """How much of the average stays at a step, counted from 1: a young average forgets its start sooner."""
    return min(longest, (1 + step) / (10 + step))


@torch.no_grad()
def update(average: nn.Module, network: nn.Module, stays: float) -> None:
    """average <- stays * average + (1 - stays) * network, in place; counters are taken over."""
    new = network.state_dict()
    real = {name: value for name, value in average.state_dict().items() if value.is_floating_point()}
    get_ema_multi_avg_fn(stays)(list(real.values()), [new[name] for name in real], None)
    for name, value in average.state_dict().items():
        if name not in real:
            value.copy_(new[name])
