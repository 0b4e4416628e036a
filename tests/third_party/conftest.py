"""Networks shaped like those that other people publish, with made-up weights, and their exports."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from cscs_core.models import IResNet, IResNetConfig, iresnet


@pytest.fixture(autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def settled(network: nn.Module) -> nn.Module:
    """The network with weights that make something of every layer, always the same."""
    chance = torch.Generator().manual_seed(1)
    for module in network.modules():
        for name, value in (*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)):
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d) and name in ("weight", "running_var"):
                value.data.uniform_(0.5, 1.5, generator=chance)
            elif isinstance(module, nn.BatchNorm2d | nn.BatchNorm1d | nn.PReLU) and value.is_floating_point():
                value.data.normal_(0, 0.2, generator=chance)
    return network.eval().requires_grad_(False)


class Block(nn.Module):
    """Two convolutions around a shortcut that averages before it shrinks."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, groups=2, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(stride, stride, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        return nnf.relu(self.body(x) + self.shortcut(x))


class Scrfd(nn.Module):
    """Residual stages, a pyramid down and up again, heads with a scale of their own for each stride."""

    def __init__(self, width: int = 8, batched: bool = False):
        super().__init__()
        self.batched = batched
        self.stem = nn.Sequential(nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        self.stages = nn.ModuleList(Block(width * i, width * (i + 1), 2) for i in (1, 2, 3))
        self.narrow = nn.ModuleList(nn.Conv2d(width * i, width, 1) for i in (2, 3, 4))
        self.smooth = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for _ in range(3))
        self.shrink = nn.ModuleList(nn.Conv2d(width, width, 3, 2, 1) for _ in range(2))
        self.towers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.GroupNorm(4, width), nn.ReLU())
            for _ in range(3)
        )
        self.heads = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(width, 2 * columns, 3, 1, 1) for columns in (1, 4, 10)) for _ in range(3)
        )
        self.scales = nn.ParameterList(nn.Parameter(torch.tensor(1.5 + i)) for i in range(3))
        chance = torch.Generator().manual_seed(2)
        for head in self.heads:
            for conv in head:  # pyright: ignore
                conv.weight.data.normal_(0, 0.3, generator=chance)
                conv.bias.data.uniform_(0.5, 2.0, generator=chance)
            head[0].bias.data.fill_(-1.0)  # pyright: ignore

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        x = self.stem(x)
        maps = []
        for stage, narrow in zip(self.stages, self.narrow, strict=True):
            x = stage(x)
            maps.append(narrow(x))
        for i in (2, 1):
            maps[i - 1] = maps[i - 1] + nnf.interpolate(maps[i], size=maps[i - 1].shape[2:], mode="nearest")
        maps = [smooth(one) for smooth, one in zip(self.smooth, maps, strict=True)]
        for i in (0, 1):
            maps[i + 1] = maps[i + 1] + self.shrink[i](maps[i])
        rows = []
        for one, tower, head, scale in zip(maps, self.towers, self.heads, self.scales, strict=True):
            seen = tower(one)
            rows.append([self.flat(head[0](seen), 1).sigmoid(), self.flat(head[1](seen) * scale, 4)])  # pyright: ignore
            rows[-1].append(self.flat(head[2](seen), 10))  # pyright: ignore
        return tuple(rows[stride][kind] for kind in range(3) for stride in range(3))

    def flat(self, x: Tensor, columns: int) -> Tensor:
        x = x.permute(0, 2, 3, 1)
        return x.reshape(x.shape[0], -1, columns) if self.batched else x.reshape(-1, columns)


class Styled(nn.Module):
    """A residual block whose instance norms are written out and styled by a vector."""

    def __init__(self, width: int, style: int):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, width, 3) for _ in range(2))
        self.styles = nn.ModuleList(nn.Linear(style, 2 * width) for _ in range(2))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        h = x
        for index, (conv, dense) in enumerate(zip(self.convs, self.styles, strict=True)):
            h = conv(nnf.pad(h, (1, 1, 1, 1), mode="reflect"))
            h = h - h.mean((2, 3), keepdim=True)
            h = h * (1 / torch.sqrt((h * h).mean((2, 3), keepdim=True) + 1e-8))
            scale, shift = dense(style)[:, :, None, None].chunk(2, 1)
            h = h * scale + shift
            h = nnf.relu(h) if index == 0 else h
        return x + h


class Swapping(nn.Module):
    """A picture in 0..1 and a vector -> a picture in 0..1."""

    def __init__(self, width: int = 8, style: int = 512):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, width, 7), nn.Conv2d(width, 3, 7)
        self.down = nn.ModuleList([nn.Conv2d(width, 2 * width, 3, 2, 1), nn.Conv2d(2 * width, 4 * width, 3, 2, 1)])
        self.blocks = nn.ModuleList(Styled(4 * width, style) for _ in range(2))
        self.up = nn.ModuleList([nn.Conv2d(4 * width, 2 * width, 3, 1, 1), nn.Conv2d(2 * width, width, 3, 1, 1)])

    def forward(self, target: Tensor, source: Tensor) -> Tensor:
        x = nnf.leaky_relu(self.first(nnf.pad(target, (3, 3, 3, 3), mode="reflect")), 0.2)
        for down in self.down:
            x = nnf.leaky_relu(down(x), 0.2)
        for block in self.blocks:
            x = block(x, source)
        for up in self.up:
            x = nnf.leaky_relu(up(nnf.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)), 0.2)
        return torch.tanh(self.last(nnf.pad(x, (3, 3, 3, 3), mode="reflect"))) * 0.5 + 0.5


NARROW = (8, 16, 24, 32)  # channels of an IResNet's stages


def _iresnet() -> IResNet:
    """Of few channels, but for those that it ends with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iresnet, "WIDTHS", NARROW)
        return IResNet(IResNetConfig(18))


@pytest.fixture(scope="session")
def nets() -> SimpleNamespace:
    """Builders of networks that come out the same every time."""

    def builder(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        def built(*values: Any, **options: Any) -> nn.Module:
            with torch.random.fork_rng():
                torch.manual_seed(5)
                return settled(build(*values, **options))

        return built

    return SimpleNamespace(
        scrfd=builder(Scrfd),
        swapping=builder(Swapping),
        iresnet=builder(_iresnet),
        narrow=NARROW,
        settled=settled,
    )


@pytest.fixture(scope="session")
def export() -> Callable[..., Path]:
    """A network as an ONNX file: by the exporter of torch that traces calls, or with dynamo by the newer one."""
    pytest.importorskip("onnx")

    def write(
        path: Path,
        network: nn.Module,
        *inputs: Tensor,
        names: tuple[str, ...] = ("x", "y"),
        opset: int = 11,
        dynamo: bool = False,
        free: tuple[int, ...] = (),  # axes of the first input that may have any size
        **options: Any,
    ) -> Path:
        if dynamo:
            pytest.importorskip("onnxscript")
            if not hasattr(torch.export.Dim, "DYNAMIC"):
                pytest.skip("the exporter of torch 2.6 and newer")
            options["dynamic_shapes"] = ({axis: torch.export.Dim.DYNAMIC for axis in free}, *({} for _ in inputs[1:]))
        elif free:
            options["dynamic_axes"] = {names[0]: {axis: f"axis{axis}" for axis in free}}
        level = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            with warnings.catch_warnings(), torch.inference_mode(False):
                warnings.simplefilter("ignore")
                torch.onnx.export(
                    network,
                    inputs,
                    str(path),
                    input_names=list(names[: len(inputs)]),
                    opset_version=opset,
                    dynamo=dynamo,
                    verbose=False,
                    **options,
                )
        finally:
            logging.disable(level)
        return path

    return write


@pytest.fixture(scope="session")
def by_onnxruntime() -> Callable[..., list[Tensor]]:
    """What onnxruntime makes of a file and inputs."""
    onnxruntime = pytest.importorskip("onnxruntime")

    def run(path: Path, *inputs: Tensor) -> list[Tensor]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # as torch has; more would wait for each other in a circle
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        feed = {entry.name: value.numpy() for entry, value in zip(session.get_inputs(), inputs, strict=True)}
        return [torch.from_numpy(value) for value in session.run(None, feed)]

    return run
