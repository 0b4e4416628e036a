"""Independent judges of swaps, which no network was trained with: a recogniser, and 68 landmarks for pose and
expression.

The bundled landmarks are not suitable for measuring pose: they read 80 to 87 % of the yaw and a sixth of the pitch.
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

_FACE = 112  # px, input side of the landmark network
_MARGIN = 1.05  # crop side relative to the longer side of the face's box


@dataclass(frozen=True)
class Judges:
    """The judges' networks; images are (N, 3, H, W) in 0..1 with one known face each."""

    recogniser: Callable[[Tensor], Tensor]  # (N, 3, 112, 112), template arcface_112_v2 -> unit rows (N, 128)
    landmarks: Callable[[Tensor], Tensor]  # (N, 3, 112, 112), filled by the face -> (N, 68, 2) in its pixels

    def identity(self, pictures: Tensor, points: Tensor) -> Tensor:
        """Unit embeddings (N, 128) of the faces at mesh points (N, 468, 2)."""
        return embed(self.recogniser, pictures, points)

    def points(self, pictures: Tensor, box: Tensor) -> Tensor:
        """The 68 landmarks of the faces in boxes (N, 4), (N, 68, 2) pixels.

        Use the same box for a result and its target: that of the target's mesh.
        """
        middle, side = (box[:, :2] + box[:, 2:]) / 2, (box[:, 2:] - box[:, :2]).amax(1) * _MARGIN
        scale = _FACE / side
        matrix = torch.zeros(len(box), 2, 3)
        matrix[:, 0, 0] = matrix[:, 1, 1] = scale
        matrix[:, :, 2] = (_FACE - 1) / 2 - scale[:, None] * middle
        seen = self.landmarks(geometry.warp(pictures, matrix, _FACE))
        return geometry.transform(seen, geometry.invert(matrix))


def load_judges(data: Path) -> Judges:
    """The judges in DATA/teachers. Raises BadInput if their files or onnxruntime are missing."""
    folder = data / "teachers"
    files = [folder / name for name in ("recogniser_b.onnx", "pfld68_112.onnx")]
    for file in files:
        if not file.is_file():
            raise BadInput(f"{file}: no such file; give the folder that contains teachers/ with --data")
    recogniser, landmarks = map(_load_onnx, files)
    return Judges(recogniser, lambda crops: landmarks(crops).view(-1, 68, 2) * _FACE)


def _load_onnx(file: Path) -> Callable[[Tensor], Tensor]:
    """An ONNX file with one input and one output, run on the CPU."""
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
    """Unit embeddings of one face per image, (N, 3, H, W) 0..1, mesh (N, 468, 2) -> (N, 128)."""
    matrix = geometry.similarity(mesh.five(points), geometry.template("arcface_112_v2", _FACE)[None])
    return recogniser(geometry.warp(pictures, matrix, _FACE))


def retrieved(embedding: Tensor, everyone: Tensor, person: Tensor) -> Tensor:
    """Whether the nearest row of `everyone` (M, E) to each embedding (N, E) is the right person (N,) int64, (N,)
    bool."""
    return (embedding @ everyone.T).argmax(1) == person


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f} to {self.high:.3f})"


def interval(values: Tensor, draws: int = 2000, seed: int = 0) -> Interval:
    """Mean and bootstrap interval of values (N,) over people, or (S, N) over seeds and people, both resampled with
    replacement."""
    values = values.double() if values.ndim == 2 else values.double()[None]
    seeds, people = values.shape
    generator = Generator().manual_seed(seed)
    # Only the counts of each draw matter, so that the means of all draws are one matrix product.
    each = torch.randint(people, (draws, people), generator=generator)
    weight = torch.zeros(draws, people, dtype=torch.float64)
    weight.scatter_add_(1, each, torch.ones_like(each, dtype=torch.float64))
    chosen = torch.randint(seeds, (draws, seeds), generator=generator)
    means = (weight @ values.T / people).gather(1, chosen).mean(1)
    low, high = torch.quantile(means, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(values.mean()), low, high)
