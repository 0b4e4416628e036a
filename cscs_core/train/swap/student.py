"""The networks being trained: a generator, conditioned by a frozen recogniser and a trainable copy of it, the ID
adapter (CSCS, ACM TOG 2024)."""

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
    """A frozen identity encoder for ffhq_512 crops of any side, in -1..1."""

    network: nn.Module
    width: int  # length of an embedding
    file: str = "encoder.safetensors"  # file name without folders

    @cached_property
    def sha256(self) -> str:
        """Hash of the weights, see `fingerprint`."""
        return fingerprint(self.network)

    def view(self, pictures: Tensor) -> Tensor:
        """The network's input for images (N, 3, S, S) -1..1, see `face_view`."""
        return cscs_swapper.face_view(self.network, pictures)

    def of_view(self, view: Tensor) -> Tensor:
        """Unit embeddings (N, width) of inputs from `view`."""
        return nnf.normalize(self.network(view).float(), dim=-1)

    def __call__(self, pictures: Tensor) -> Tensor:
        """Unit embeddings (N, width) of images (N, 3, S, S) -1..1."""
        return self.of_view(self.view(pictures))


def load_recogniser(path: Path, device: torch.device | str = "cpu") -> Recogniser:
    """A recogniser from a weights file with an IResNet or an IdentityEncoder. Raises BadInput for another file."""
    network = weights.load_model(path, (IResNet, IdentityEncoder), device)
    return Recogniser(network, network.config.embedding, path.name)


class Student(nn.Module):
    """The trained networks in one module, so that they are clipped, averaged and saved together. Raises ValueError for
    a `kind` that is not one of JOINS."""

    def __init__(self, generator: nn.Module, adapter: nn.Module, width: int, kind: str = "gated"):
        super().__init__()
        if kind not in JOINS:
            raise ValueError(f"unknown join {kind!r}; choose one of {', '.join(JOINS)}")
        self.generator = generator
        self.adapter = adapter.requires_grad_(True)
        self.kind = kind
        self.gate = nn.Linear(width, width, bias=False) if kind == "gated" else None
        if self.gate is not None:
            nn.init.zeros_(self.gate.weight)

    def train(self, mode: bool = True) -> Student:
        """Sets the mode, except for the adapter, whose batch norms keep the statistics of the recogniser that it was
        copied from: those of a small batch would be worse."""
        super().train(mode)
        self.adapter.eval()
        return self

    def forward(self, target: Tensor, view: Tensor, identity: Tensor) -> Tensor:
        """Targets (N, 3, S, S) -1..1, views of the sources and their embeddings (N, E) -> images (N, 3, S, S) -1..1."""
        return self.generator(target, self.joined(identity, nnf.normalize(self.adapter(view).float(), dim=-1)))

    def joined(self, identity: Tensor, adapted: Tensor) -> Tensor:
        """z from unit rows (N, E) twice -> (N, E), or (N, 2 E) for `concat`, see `join_embeddings`. Kinds other than
        `gated` are for weights of the release."""
        return cscs_swapper.join_embeddings(self.kind, identity, adapted, self.gate)


def new_student(generator: nn.Module, recogniser: Recogniser) -> Student:
    """A student with an untrained generator and an adapter copied from the recogniser."""
    return Student(generator, copy.deepcopy(recogniser.network), recogniser.width)


def load_student(folder: Path, recogniser: Recogniser, size: int) -> Student:
    """A student to train further, saved by `save_student`, or from cscs_generator.safetensors and
    cscs_adapter.safetensors of the release. Raises BadInput if it needs another recogniser or another crop size."""
    before = "" if (folder / GENERATOR).exists() else "cscs_"
    found = load_networks(folder, before)
    if found.notes.get("encoder_sha256", recogniser.sha256) != recogniser.sha256:
        raise BadInput(
            f"{folder}: was trained with another encoder, {found.notes.get('encoder')}; give it with --encoder"
        )
    if (side := found.notes.get("size", str(cscs_swapper.SIZE))) != str(size):
        raise BadInput(f"{folder}: makes images of {side} px, but this preset needs {size}; choose another preset")
    if (width := found.adapter.config.embedding) != recogniser.width:
        raise BadInput(f"{folder}: takes embeddings of length {width}, but the encoder gives {recogniser.width}")
    kind = found.adapter.config.kind if isinstance(found.adapter, IdAdapter) else "gated"
    student = Student(found.generator, found.adapter, width, kind)
    if student.gate is not None and found.gate is not None:
        student.gate.load_state_dict(found.gate.state_dict())
    return student.requires_grad_(True)


def save_student(folder: Path, student: Student, recogniser: Recogniser, size: int, **notes: str) -> None:
    """Writes generator.safetensors, adapter.safetensors and, for `gated`, gate.safetensors, which `load_trained` loads
    together with the recogniser's file as a swapper for crops of this size."""
    notes |= {"join": student.kind, "size": str(size), "encoder": recogniser.file, "encoder_sha256": recogniser.sha256}
    for name, network in ((GENERATOR, student.generator), (ADAPTER, student.adapter)):
        weights.save_model(folder / name, network, torch.float16, **notes)
    if student.gate is not None:
        weights.write(folder / GATE, {"weight": student.gate.weight.detach().cpu()}, {"arch": "gate", **notes})
