"""Third-party swappers published as one ONNX file: a crop and an embedding in, an image out.

`registry.SwapperSpec` describes how they differ: the crop, its colour range and the processing of the embedding.
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

_FACE, _FACE_TEMPLATE = 112, "arcface_112_v2"  # input of the encoders of all these swappers, RGB -1..1
_WIDTH = 512  # length of an embedding

# Whether the embedding is normalised, after the converter (if any) and before the projection stored in the file (emap).
_UNIT = {
    "emap": True,
    "arcface_l2": True,
    "crossface_simswap": True,
    "crossface_hififace": True,
    "ghost_arcface": False,
}


@dataclass(frozen=True)
class OnnxSwapper:
    """A swapper, its encoder, and the conversion between the two."""

    runner: Runner
    spec: SwapperSpec
    encoder: Runner
    converter: Runner | None = None
    emap: Tensor | None = None  # (512, 512), projects unit embeddings to the input of inswapper

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
        """The identity as the swapper's second input, (1, 512). Directions and lengths of the photos' embeddings are
        averaged separately, before conversion; some converters and ghost depend on the length."""
        rows = self.embed(identity.crops)
        weight = identity.weight.to(rows)
        length = weight @ rows.norm(dim=-1) / weight.sum().clamp_min(1e-12)
        return self.prepared(identity.average(rows)[None] * length)

    def __call__(self, crops: Crops, person: Tensor, strength: float = 1.0) -> Crops:
        """The crops with the person's face. With a strength below 1, the embedding is interpolated towards the
        target's own."""
        if strength < 1:
            person = blend_identity(self.prepared(self.embed(crops)), person, strength)
        mean, std = (crops.pixels.new_tensor(colour).view(3, 1, 1) for colour in (self.spec.mean, self.spec.std))
        inputs = [(crops.pixels - mean) / std, person]
        if len(self.runner.inputs[1].shape) == 4:  # the image is the second input
            inputs.reverse()
        black, white = self.spec.output
        pixels = (self.runner(*inputs)[0] - black) / (white - black)
        return replace(crops, pixels=pixels.clamp(0, 1), mask=crops.mask * editable_area(crops))

    def embed(self, crops: Crops) -> Tensor:
        """The encoder's embeddings of crops of any template, (F, 512), not normalised."""
        return self.encoder(realign(crops, _FACE_TEMPLATE, _FACE) * 2 - 1)[0]

    def prepared(self, rows: Tensor) -> Tensor:
        """Embeddings converted to the swapper's input, (N, 512) -> (N, 512)."""
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
    """A swapper from its file (.onnx, or converted) and the files of the encoder, see `registry.EMBEDDINGS`.

    Raises BadInput, naming the file, if its inputs are not those of such a swapper or encoder.
    """
    if spec.embedding not in _UNIT:
        raise BadInput(f"{path}: embeddings of kind {spec.embedding} cannot be used with a swapper in one file")
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
            raise BadInput(f"{path}: its last weight is {shape}, not the {_WIDTH} x {_WIDTH} projection of embeddings")
    return OnnxSwapper(runner, spec, encoder, *converters, emap=emap)


def _check(runner: Runner, what: str, expected: list[tuple[int | None, ...]]) -> None:
    """Raises BadInput if the network's inputs do not have these shapes, in any order."""
    found = [port.shape for port in runner.inputs]
    in_order = sorted(found, key=len, reverse=True)
    fits = len(found) == len(expected) and all(
        len(shape) == len(wanted)
        and all(None in pair or len(set(pair)) == 1 for pair in zip(shape, wanted, strict=True))
        for shape, wanted in zip(in_order, expected, strict=True)
    )
    if not fits:
        raise BadInput(f"{runner.path}: is not {what}: its inputs are {_shapes(found)}, not {_shapes(expected)}")


def _shapes(shapes: Sequence[tuple[int | None, ...]]) -> str:
    return " and ".join(" x ".join("N" if side is None else str(side) for side in shape) for shape in shapes)
