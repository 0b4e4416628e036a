"""Small training pairs for the ablation: photographs, and proxies of most of them.

Surrogates are made at 128 px and stored at 64 px, in files of 64 people each, so that the work can be resumed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from ..faces.align import align, resize
from ..hub import weights
from ..ops import mesh
from ..pipeline import Models
from ..surrogates.base import Surrogate
from ..surrogates.face_shape import Shape, reshape_faces
from ..surrogates.source import source_surrogate
from ..surrogates.target import Judge, target_surrogate
from ..train.people import People
from ..types import Crops, FaceSet, join
from .evidence_student import SIDE

log = logging.getLogger(__name__)


_WORK = 128  # px, crop side for making surrogates
_CHUNK = 64  # people per file
_DONORS = 256  # random donors, of which the nearest is used
_ROUNDS = 2  # attempts at a target surrogate of each person
_BEND = (0.5, 1.0)  # amount by which faces are made thinner or chubbier


@dataclass(frozen=True, slots=True)
class Made:
    """N photographs and M proxies, images (N or M, 3, 64, 64) uint8."""

    photographs: Tensor  # N
    y: Tensor  # M, the photographs that have proxies
    x_src: Tensor
    x_tgt: Tensor
    thin: Tensor  # x_tgt with thinner faces
    chubby: Tensor
    own_thin: Tensor  # y with thinner faces
    own_chubby: Tensor
    source_similarity: Tensor  # (M,) cosine of x_src to y, bundled encoder
    target_similarity: Tensor  # (M,) cosine of x_tgt to y

    @staticmethod
    def of(tensors: Mapping[str, Tensor]) -> Made:
        return Made(*(tensors[field.name] for field in fields(Made)))

    def tensors(self) -> dict[str, Tensor]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def cut(people: People, rows: Tensor, size: int) -> Crops:
    """The ffhq_512 crops of these people, aligned by their meshes."""
    points, count = people.mesh[rows], torch.arange(len(rows))
    one = torch.ones(len(rows))
    faces = FaceSet(count, mesh.box(points), mesh.five(points), points, one, -one.long())
    return align(people.pixels[rows].float() / 255, faces, size=size)


@torch.inference_mode()
def build(people: People, models: Models, folder: Path, count: int, seed: int = 0) -> Made:
    """The data of `count` random people; files that exist in the folder are reused."""
    order = torch.randperm(len(people), generator=Generator().manual_seed(seed))
    chunks = order[:count].split(_CHUNK)
    for number, rows in enumerate(chunks):
        file = _file(folder, number)
        if not file.exists():
            made = _make(people, rows, models, Generator().manual_seed(seed + 1 + number))
            weights.write(file, made.tensors(), {"arch": "evidence"})
            log.info("%s: %d of %d people have proxies", file, len(made.y), len(rows))
    return load(folder, len(chunks))


def load(folder: Path, chunks: int) -> Made:
    """The first `chunks` files of a folder, joined."""
    parts = [weights.read(_file(folder, number))[0] for number in range(chunks)]
    return Made.of({name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:03d}.safetensors"


def _make(people: People, rows: Tensor, models: Models, generator: Generator) -> Made:
    crops = cut(people, rows, _WORK)
    some = torch.randperm(len(people), generator=generator)[:_DONORS]
    donors = cut(people, some, _WORK)
    target = _make_targets(crops, donors, generator, models)
    source = source_surrogate(crops[target.rows], generator, encoder=models.encoder, others=donors)
    target = target[source.rows]
    own = crops[target.rows]
    amount = torch.rand(len(own), 2, generator=generator) * (_BEND[1] - _BEND[0]) + _BEND[0]
    thin, chubby = (Shape.of(len(own), face=sign * amount[:, side]) for side, sign in ((0, -1), (1, 1)))
    bent = {
        name: reshape_faces(some, shape).crops
        for name, some, shape in (
            ("thin", target.crops, thin),
            ("chubby", target.crops, chubby),
            ("own_thin", own, thin),
            ("own_chubby", own, chubby),
        )
    }
    pictures = {"photographs": crops, "y": own, "x_src": source.crops, "x_tgt": target.crops, **bent}
    assert source.similarity is not None and target.similarity is not None
    return Made.of(
        {name: _to_uint8(one) for name, one in pictures.items()}
        | {"source_similarity": source.similarity, "target_similarity": target.similarity}
    )


def _make_targets(crops: Crops, donors: Crops, generator: Generator, models: Models) -> Surrogate:
    """Target surrogates of the crops for which one is accepted in a few attempts, in their order."""
    judge = Judge(encoder=models.encoder, landmarks=models.landmarks)
    found: list[Surrogate] = []
    left = torch.arange(len(crops))
    for _ in range(_ROUNDS):
        made = target_surrogate(crops[left], donors, generator, judge=judge)
        found.append(replace(made, rows=left[made.rows]))
        left = left[~torch.isin(left, found[-1].rows)]
    whole = Surrogate(
        join([one.crops for one in found]),
        torch.cat([one.rows for one in found]),
        [what for one in found for what in one.changes],
        torch.cat([one.similarity for one in found if one.similarity is not None]),
    )
    return whole[whole.rows.argsort()]


def _to_uint8(crops: Crops) -> Tensor:
    return (resize(crops, SIDE).pixels.clamp(0, 1) * 255).round().byte()
