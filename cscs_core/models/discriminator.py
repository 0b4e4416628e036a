"""The residual discriminator of StyleGAN2 (Karras et al. 2020), used in training only."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

SLOPE = 0.2  # of the leaky ReLU; its output is scaled by sqrt(2) to keep the variance


@dataclass(frozen=True)
class DiscriminatorConfig:
    size: int = 256  # px, a power of two from 8 on
    width: int = 512  # channels up to 64 px, halved for each further doubling of the side
    group: int = 4  # group size of the minibatch standard deviation

    def channels(self, side: int) -> int:
        """Channels of the feature maps with that side in pixels."""
        return min(self.width, self.width * 64 // side)


class Discriminator(nn.Module):
    """Images (N, 3, S, S) in [-1, 1] -> logits (N,), high for real photos.

    N is at most `group` or a multiple of it, otherwise forward raises ValueError.
    """

    def __init__(self, config: DiscriminatorConfig = DiscriminatorConfig()):
        super().__init__()
        if config.size < 8 or config.size & (config.size - 1):
            raise ValueError(f"discriminator size {config.size}: must be a power of two from 8 on")
        self.config = config
        sides = [config.size >> k for k in range(int(math.log2(config.size)) - 2)]  # S ... 8
        self.rgb = EqualConv2d(3, config.channels(config.size), 1)
        self.blocks = nn.Sequential(
            *(DiscriminatorBlock(config.channels(side), config.channels(side // 2)) for side in sides)
        )
        last = config.channels(4)
        self.mix = EqualConv2d(last + 1, last, 3)
        self.dense = EqualLinear(last * 4 * 4, last)
        self.out = EqualLinear(last, 1)

    def forward(self, pictures: Tensor) -> Tensor:
        x = self.blocks(active(self.rgb(pictures)))
        x = torch.cat([x, variation(x, self.config.group)], 1)
        x = active(self.mix(x)).flatten(1)
        return self.out(active(self.dense(x)))[:, 0]


class DiscriminatorBlock(nn.Module):
    """Two convolutions with a shortcut, downsampling by 2: (N, C, h, w) -> (N, D, h/2, w/2)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = EqualConv2d(inputs, inputs, 3)
        self.conv2 = EqualConv2d(inputs, outputs, 3, stride=2)
        self.skip = EqualConv2d(inputs, outputs, 1, stride=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = active(self.conv2(blur(active(self.conv1(x)), 2)))
        return (h + self.skip(blur(x, 1))) / math.sqrt(2)


class EqualConv2d(nn.Module):
    """Convolution with equalised learning rate (Karras et al. 2018): standard normal weights, scaled at run time.

    With stride 2 it does not pad, since the blur before it already has.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale = 1 / math.sqrt(inputs * kernel * kernel)
        self.stride, self.padding = stride, kernel // 2 if stride == 1 else 0

    def forward(self, x: Tensor) -> Tensor:
        return nnf.conv2d(x, self.weight * self.scale, self.bias, self.stride, self.padding)


class EqualLinear(nn.Module):
    """Linear layer with equalised learning rate, (N, C) -> (N, D)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = 1 / math.sqrt(inputs)

    def forward(self, x: Tensor) -> Tensor:
        return nnf.linear(x, self.weight * self.scale, self.bias)


def active(x: Tensor) -> Tensor:
    """Leaky ReLU that keeps the variance, any shape -> same."""
    return nnf.leaky_relu(x, SLOPE) * math.sqrt(2)


def blur(x: Tensor, pad: int) -> Tensor:
    """Binomial filter 1 3 3 1 / 8 in both directions with zero padding, (N, C, h, w) -> sides longer by 2 pad - 3."""
    one = x.new_tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = torch.outer(one, one).expand(x.shape[1], 1, 4, 4)
    return nnf.conv2d(x, kernel, padding=pad, groups=x.shape[1])


def variation(x: Tensor, group: int) -> Tensor:
    """Minibatch standard deviation (Karras et al. 2018), (N, C, h, w) -> (N, 1, h, w), constant in each group.

    Raises ValueError if N is neither at most `group` nor a multiple of it.
    """
    count = min(group, x.shape[0])
    if x.shape[0] % count:
        raise ValueError(f"a batch of {x.shape[0]} does not divide into groups of {count}")
    # Image k is in group k modulo the number of groups, as in the released networks.
    spread = (x.view(count, -1, *x.shape[1:]).var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    return spread.repeat(count)[:, None, None, None].expand(-1, 1, *x.shape[2:])
