"""Judges of a swap that had no part in any training: a recogniser, and 68 landmarks, from these pose and expression.

The bundled landmarks must not judge pose: they read 80 to 87 per cent of a turn of the head and a sixth of a nod.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Generator, Tensor

from ..io.files import BadInput
from ..ops import geometry, mesh

_FACE = 112  # px, side of what the landmarks' network sees
_ROOM = 1.05  # of the face's larger side


@dataclass(frozen=True)
class Judges:
    """N pictures (N, 3, H, W) in 0..1 with one known face each."""

    recogniser: Callable[[Tensor], Tensor]  # (N, 3, 112, 112), template arcface_112_v2 -> unit rows (N, 128)
    landmarks: Callable[[Tensor], Tensor]  # (N, 3, 112, 112), a face filling it -> (N, 68, 2) in its pixels

    def identity(self, pictures: Tensor, points: Tensor) -> Tensor:
        """Unit embeddings (N, 128) of the faces at mesh points (N, 468, 2)."""
        return embed(self.recogniser, pictures, points)

    def points(self, pictures: Tensor, box: Tensor) -> Tensor:
        """The 68 landmarks of the faces in the boxes (N, 4), in pixels, (N, 68, 2).

        A result and its target are to be read with the same box, that of the target's mesh.
        """
        middle, side = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]).amax(1) * _ROOM
        scale = _FACE / side
        matrix = torch.zeros(len(box), 2, 3)
        matrix[:, 0, 0] = matrix[:, 1, 1] = scale
        matrix[:, :, 2] = (_FACE - 1) / 2 - scale[:, None] * middle
        seen = self.landmarks(geometry.warp(pictures, matrix, _FACE))
        return geometry.transform(seen, geometry.invert(matrix))


def load_judges(data: Path) -> Judges:
    """Judges from the teachers in the data folder. Raises BadInput if they or onnxruntime are missing."""
    folder = data / "teachers"
    files = [folder / name for name in ("recogniser_b.onnx", "pfld68_112.onnx")]
    for file in files:
        if not file.is_file():
            raise BadInput(f"{file}: no such file; --data names the folder with the teachers")
    recogniser, landmarks = map(_network, files)
    return Judges(recogniser, lambda crops: landmarks(crops).view(-1, 68, 2) * _FACE)


def _network(file: Path) -> Callable[[Tensor], Tensor]:
    """An ONNX file of one input and one output, on the processor."""
    try:
        import onnxruntime
    except ImportError:
        raise BadInput("the judges need onnxruntime, which is not installed; pip install onnxruntime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name

    def run(crops: Tensor) -> Tensor:
        (found,) = session.run(None, {name: crops.detach().cpu().numpy()})
        return torch.from_numpy(cast(np.ndarray, found))

    return run


def embed(recogniser: Callable[[Tensor], Tensor], pictures: Tensor, points: Tensor) -> Tensor:
    """Unit embeddings of one face a picture, (N, 3, H, W), mesh (N, 468, 2) -> (N, 128)."""
    matrix = geometry.similarity(mesh.five(points), geometry.template("arcface_112_v2", _FACE)[None])
    return recogniser(geometry.warp(pictures, matrix, _FACE))


def retrieved(embedding: Tensor, everyone: Tensor, person: Tensor) -> Tensor:
    """Whether of everyone (M, E) the nearest to each embedding (N, E) is the right person (N,), (N,) bool."""
    return (embedding @ everyone.T).argmax(1) == person


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where it may lie: 95 per cent of what is found with other people and seeds drawn from these."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def interval(values: Tensor, draws: int = 2000, seed: int = 0) -> Interval:
    """Bootstrap over people (N,), or over seeds and people (S, N), both drawn with replacement."""
    values = values.double() if values.ndim == 2 else values.double()[None]
    seeds, people = values.shape
    generator = Generator().manual_seed(seed)
    # How often each is drawn says as much as which: the mean of a draw is a product.
    each = torch.randint(people, (draws, people), generator=generator)
    weight = torch.zeros(draws, people, dtype=torch.float64)
    weight.scatter_add_(1, each, torch.ones_like(each, dtype=torch.float64))
    chosen = torch.randint(seeds, (draws, seeds), generator=generator)
    means = (weight @ values.T / people).gather(1, chosen).mean(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(values.mean()), low, high)
