"""What learns: a generator, told who it is by a frozen recogniser and a trainable copy of it, the ID adapter."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ...faces.swappers import cscs as cscs_swapper
from ...faces.swappers.trained import ADAPTER, GATE, GENERATOR, fingerprint, load_networks
from ...hub import weights
from ...io.files import BadInput
from ...models import IdAdapter, IdentityEncoder, IResNet

JOINS = ("gated", "add", "concat", "replace")


@dataclass(frozen=True)
class Recogniser:
    """A frozen encoder of identities. Pictures are ffhq_512 crops of any side, in [-1, 1]."""

    network: nn.Module
    width: int  # of an identity
    file: str = "encoder.safetensors"  # its name without folders

    @cached_property
    def sha256(self) -> str:
        return fingerprint(self.network)

    def view(self, pictures: Tensor) -> Tensor:
        """Pictures (N, 3, S, S) as its kind of network wants them."""
        return cscs_swapper.face_view(self.network, pictures)

    def of_view(self, view: Tensor) -> Tensor:
        """Identities of pictures as `face_view` gives them, unit rows (N, width)."""
        return nnf.normalize(self.network(view).float(), dim=-1)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Identities, unit rows (N, width)."""
        return self.of_view(self.view(pictures))


def load_recogniser(path: Path, device: torch.device | str = "cpu") -> Recogniser:
    """A weights file with an IResNet or an encoder of ours."""
    network = weights.load_model(path, (IResNet, IdentityEncoder), device)
    return Recogniser(network, network.config.embedding, path.name)


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
        """z of unit parts (N, E): (N, E), or (N, 2 E) for `concat`. The kinds of the release are for its weights."""
        return cscs_swapper.join_embeddings(self.kind, identity, adapted, self.gate)


def new_student(generator: nn.Module, recogniser: Recogniser) -> Student:
    """A generator that has learned nothing and an adapter that knows what the recogniser does."""
    return Student(generator, copy.deepcopy(recogniser.network), recogniser.width)


def load_student(folder: Path, recogniser: Recogniser, size: int) -> Student:
    """What `save_student` has saved, to train further, or cscs_generator.safetensors and cscs_adapter.safetensors, the
    release. Raises BadInput if it goes with another recogniser, or another size of pictures."""
    before = "" if (folder / GENERATOR).exists() else "cscs_"
    found = load_networks(folder, before)
    if found.notes.get("encoder_sha256", recogniser.sha256) != recogniser.sha256:
        raise BadInput(f"{folder}: was trained with another encoder, {found.notes.get('encoder')}; --encoder names it")
    if (side := found.notes.get("size", str(cscs_swapper.SIZE))) != str(size):
        raise BadInput(f"{folder}: makes pictures of {side} px; this preset has {size}")
    if (width := found.adapter.config.embedding) != recogniser.width:
        raise BadInput(f"{folder}: takes identities of {width} numbers; the encoder gives {recogniser.width}")
    kind = found.adapter.config.kind if isinstance(found.adapter, IdAdapter) else "gated"
    student = Student(found.generator, found.adapter, width, kind)
    if student.gate is not None and found.gate is not None:
        student.gate.load_state_dict(found.gate.state_dict())
    return student.requires_grad_(True)


def save_student(folder: Path, student: Student, recogniser: Recogniser, size: int, **notes: str) -> None:
    """generator.safetensors, adapter.safetensors and, unless they are joined as in the release, gate.safetensors:
    with the recogniser's file a swapper of pictures of that side, which `trained_swapper` loads."""
    notes |= {"join": student.kind, "size": str(size), "encoder": recogniser.file, "encoder_sha256": recogniser.sha256}
    for name, network in ((GENERATOR, student.generator), (ADAPTER, student.adapter)):
        weights.save_model(folder / name, network, torch.float16, **notes)
    if student.gate is not None:
        weights.write(folder / GATE, {"weight": student.gate.weight.detach().cpu()}, {"arch": "gate", **notes})
