"""Swappers that other people published as one file: a crop and an embedding in, a picture out.

What differs between them is data, `registry.SwapperSpec`: the crop, its colours and what the embedding becomes first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from ...hub.onnx.runner import Runner, last_weight, load_runner
from ...hub.registry import SwapperSpec
from ...io.files import BadInput
from ...types import Crops, Identity
from ..align import realign
from .base import blend_identity, editable_area

_FACE, _FACE_TEMPLATE = 112, "arcface_112_v2"  # what every encoder of these swappers sees, RGB in [-1, 1]
_WIDTH = 512  # of an embedding

# What follows the encoder: the converter if there is one, the length made one, the projection that the file holds.
_UNIT = {
    "emap": True,
    "arcface_l2": True,
    "crossface_simswap": True,
    "crossface_hififace": True,
    "ghost_arcface": False,
}


@dataclass(frozen=True)
class OnnxSwapper:
    """A swapper, the encoder whose embeddings it knows, and what comes between the two."""

    runner: Runner
    spec: SwapperSpec
    encoder: Runner
    converter: Runner | None = None
    emap: Tensor | None = None  # (512, 512), unit embeddings -> what inswapper was trained on

    @property
    def template(self) -> str:
        return self.spec.template

    @property
    def sizes(self) -> tuple[int, ...]:
        return (self.spec.size,)

    @property
    def networks(self) -> tuple[nn.Module, ...]:
        runners = (self.runner, self.encoder, self.converter)
        return tuple(network for runner in runners if runner for network in runner.networks)

    def encode(self, identity: Identity) -> Tensor:
        """The person as the swapper's second input, (1, 512): the photos averaged on the sphere before anything else
        is made of them, and their lengths, which some converters and ghost look at, averaged too."""
        rows = self.embed(identity.crops)
        weight = identity.weight.to(rows)
        length = weight @ rows.norm(dim=-1) / weight.sum().clamp_min(1e-12)
        return self.prepared(identity.average(rows)[None] * length)

    def __call__(self, crops: Crops, person: Tensor, strength: float = 1.0) -> Crops:
        """The crops with the person's face. With less strength the embedding turns from the person's
        towards the target's own."""
        if strength < 1:
            person = blend_identity(self.prepared(self.embed(crops)), person, strength)
        mean, std = (crops.pixels.new_tensor(colour).view(3, 1, 1) for colour in (self.spec.mean, self.spec.std))
        inputs = [(crops.pixels - mean) / std, person]
        if len(self.runner.inputs[1].shape) == 4:  # the picture comes second
            inputs.reverse()
        black, white = self.spec.output
        pixels = (self.runner(*inputs)[0] - black) / (white - black)
        return replace(crops, pixels=pixels.clamp(0, 1), mask=crops.mask * editable_area(crops))

    def embed(self, crops: Crops) -> Tensor:
        """What the encoder says of faces cut out by another template, (F, 512), not normalised."""
        return self.encoder(realign(crops, _FACE_TEMPLATE, _FACE) * 2 - 1)[0]

    def prepared(self, rows: Tensor) -> Tensor:
        """What the swapper is given of embeddings, (N, 512) -> (N, 512)."""
        if self.converter:
            rows = self.converter(rows)[0]
        if _UNIT[self.spec.embedding]:
            rows = nnf.normalize(rows, dim=-1)
        return rows if self.emap is None else nnf.normalize(rows @ self.emap.to(rows), dim=-1)


def load_onnx_swapper(
    path: Path,
    spec: SwapperSpec,
    encoders: Sequence[Path],
    device: torch.device | str = "cpu",
    sessions: torch.device | str | None = None,
) -> OnnxSwapper:
    """A swapper's file (.onnx, or converted) with those of the models that `registry.EMBEDDINGS` names for it.

    Raises BadInput, naming the file, for one whose inputs are not those of such a swapper or encoder.
    """
    if spec.embedding not in _UNIT:
        raise BadInput(f"{path}: embeddings of the kind {spec.embedding} are not for a swapper of one file")
    runner, encoder, *converters = (load_runner(file, device, sessions) for file in (path, *encoders))
    size = spec.size
    _check(runner, f"a swapper of {size} px", [(None, 3, size, size), (None, _WIDTH)])
    _check(encoder, "an encoder of faces", [(None, 3, _FACE, _FACE)])
    for converter in converters:
        _check(converter, "a converter of embeddings", [(None, _WIDTH)])
    emap = None
    if spec.embedding == "emap":
        emap = last_weight(runner).detach()
        if emap.shape != (_WIDTH, _WIDTH):
            shape = " x ".join(map(str, emap.shape))
            raise BadInput(
                f"{path}: its last weight is {shape}, not the {_WIDTH} x {_WIDTH} that embeddings go through"
            )
    return OnnxSwapper(runner, spec, encoder, *converters, emap=emap)


def _check(runner: Runner, what: str, expected: list[tuple[int | None, ...]]) -> None:
    """Raises BadInput for a network that does not take these inputs, in any order."""
    found = [port.shape for port in runner.inputs]
    in_order = sorted(found, key=len, reverse=True)
    fits = len(found) == len(expected) and all(
        len(shape) == len(wanted)
        and all(None in pair or len(set(pair)) == 1 for pair in zip(shape, wanted, strict=True))
        for shape, wanted in zip(in_order, expected, strict=True)
    )
    if not fits:
        raise BadInput(f"{runner.path}: is not {what}: it takes {_said(found)}, not {_said(expected)}")


def _said(shapes: Sequence[tuple[int | None, ...]]) -> str:
    return " and ".join(" x ".join("N" if side is None else str(side) for side in shape) for shape in shapes)
