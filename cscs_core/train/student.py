"""What learns: a generator, told who it is by a frozen recogniser and a trainable copy of it, the ID adapter."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from .. import geometry, weights
from ..files import BadInput
from ..models import ARCHITECTURES, IdAdapter, IdentityEncoder, IResNet

JOINS = ("gated", "add", "concat", "replace")
_ARCFACE = 112  # px, side of ArcFace's pictures
_GENERATOR, _ADAPTER, _GATE = (f"{name}.safetensors" for name in ("generator", "adapter", "gate"))


@dataclass(frozen=True)
class Recogniser:
    """A frozen encoder of identities. Pictures are ffhq_512 crops of any side, in [-1, 1]."""

    network: nn.Module
    width: int  # of an identity

    def view(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, S, S) as its kind of network wants them: ours aligned and in 0..1, an IResNet the whole
        crop, as the CSCS release."""
        if not isinstance(self.network, IdentityEncoder):
            return nnf.interpolate(pictures, (_ARCFACE, _ARCFACE), mode="bilinear", align_corners=False)
        return _aligned(pictures, self.network.config.size) * 0.5 + 0.5

    def of_view(self, view: Tensor) -> Tensor:
        """Identities of pictures as `view` gives them, unit rows (N, width)."""
        return nnf.normalize(self.network(view).float(), dim=-1)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Identities, unit rows (N, width)."""
        return self.of_view(self.view(pictures))


def _aligned(pictures: Tensor, side: int) -> Tensor:
    """The arcface_112_v2 crops of ffhq_512 crops, (N, 3, S, S) -> (N, 3, side, side): geometry.warp by one matrix that
    is known beforehand, so that a GPU is not waited for."""
    source, target = geometry.template("ffhq_512", pictures.shape[-1]), geometry.template("arcface_112_v2", side)
    matrix = geometry.similarity(source[None], target[None])
    samples = max(1, math.ceil(0.75 / float(geometry.scale_of(matrix))))
    grid = geometry.pixel_grid(side, side, pictures.device, samples).flatten(0, 1)[None]
    places = geometry.transform(grid, geometry.invert(matrix).to(pictures.device))
    places = places.view(1, side * samples, side * samples, 2).expand(len(pictures), -1, -1, -1)
    return nnf.avg_pool2d(geometry.sample(pictures, places), samples)


def load_recogniser(path: Path, device: torch.device | str = "cpu") -> Recogniser:
    """A weights file with an IResNet or an encoder of ours."""
    network = weights.load_model(path, device)
    if isinstance(network, IdAdapter) or not isinstance(network, IResNet | IdentityEncoder):
        raise BadInput(f"{path}: holds {type(network).__name__}; an encoder is an iresnet or an identity_encoder")
    return Recogniser(network, network.config.embedding)


class Student(nn.Module):
    """The networks that are trained, as one: their gradients are clipped, averaged and saved together."""

    def __init__(self, generator: nn.Module, adapter: nn.Module, width: int, kind: str = "gated"):
        super().__init__()
        if kind not in JOINS:
            raise ValueError(f"no way {kind!r} to join an adapter; there are {', '.join(JOINS)}")
        self.generator = generator
        self.adapter = adapter.requires_grad_(True)
        self.kind = kind
        self.gate = nn.Linear(width, width, bias=False) if kind == "gated" else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)

    def train(self, mode: bool = True) -> Student:
        """The adapter's batch norms keep the statistics of the recogniser that it is a copy of: a handful of faces
        would not tell better ones."""
        super().train(mode)
        self.adapter.eval()
        return self

    def forward(self, target: Tensor, view: Tensor, identity: Tensor) -> Tensor:
        """Targets (N, 3, S, S), views of the sources and what the recogniser says of them (N, E) -> pictures."""
        return self.generator(target, self.joined(identity, nnf.normalize(self.adapter(view).float(), dim=-1)))

    def joined(self, identity: Tensor, adapted: Tensor) -> Tensor:
        """z of unit parts (N, E): (N, E), or (N, 2 E) for `concat`.

        `gated` is n(identity + gate adapted), the gate being a matrix that is learned from 0: training starts from the
        recogniser alone, and nothing has to pass through the direction of a vector of length 0. A number in place of
        the matrix would stay 0: as long as the adapter says what the recogniser does, no amount of it turns z.
        The other kinds are those of the release, for its weights.
        """
        if self.gate is not None:
            return nnf.normalize(identity + self.gate(adapted).float(), dim=-1)
        if self.kind == "concat":
            return torch.cat([identity, adapted], -1)
        return adapted if self.kind == "replace" else identity + adapted


def new_student(generator: nn.Module, recogniser: Recogniser) -> Student:
    """A generator that has learned nothing and an adapter that knows what the recogniser does."""
    return Student(generator, copy.deepcopy(recogniser.network), recogniser.width)


def load_student(folder: Path, width: int) -> Student:
    """What `save_student` has saved, to train further, or cscs_generator.safetensors and cscs_adapter.safetensors, the
    release. For identities (N, width)."""
    before = "" if (folder / _GENERATOR).exists() else "cscs_"
    places = [folder / f"{before}{name}" for name in (_GENERATOR, _ADAPTER)]
    generator, adapter = (weights.load_model(place).requires_grad_(True) for place in places)
    student = Student(generator, adapter, width, adapter.config.kind if isinstance(adapter, IdAdapter) else "gated")
    wanted = 2 * width if student.kind == "concat" else width
    if (z := getattr(generator.config, "identity", None)) != wanted:
        raise BadInput(f"{places[0]}: takes identities of {z} numbers; encoder and adapter give {wanted}")
    if student.gate is not None:
        gate = weights.read(folder / _GATE)[0].get("weight")
        if gate is None or gate.shape != student.gate.weight.shape:
            raise BadInput(f"{folder / _GATE}: is no gate of {width} x {width} numbers")
        student.gate.weight.data.copy_(gate)
    return student


def save_student(folder: Path, student: Student, **notes: str) -> None:
    """generator.safetensors, adapter.safetensors and, unless they are joined as in the release, gate.safetensors."""
    notes["join"] = student.kind
    for name, network in ((_GENERATOR, student.generator), (_ADAPTER, student.adapter)):
        if type(network) in [build for _, build in ARCHITECTURES.values()]:
            weights.save_model(folder / name, network, torch.float16, **notes)
        else:  # the generator of a toy, which no swapper loads
            tensors = {key: value.detach().cpu() for key, value in network.state_dict().items()}
            weights.write(folder / name, tensors, {"arch": type(network).__name__, **notes})
    if student.gate is not None:
        weights.write(folder / _GATE, {"weight": student.gate.weight.detach().cpu()}, {"arch": "gate", **notes})
