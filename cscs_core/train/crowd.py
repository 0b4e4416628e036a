"""Makes a crowd of synthetic people for training the identity encoder, each with the teacher's embedding.

    python -m cscs_core.train.crowd --data $CSCS_DATA --out runs/crowd.pt --people 24000

3,500 people are too few to learn to tell people apart. A blend of up to three aligned people, slightly warped, is a new
person, and the teacher gives the embedding.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
import torch.nn.functional as nnf
from torch import Generator, Tensor

from ..ops import geometry, mesh
from . import augment
from .people import People, load_people

SIZE, MARGIN, TEMPLATE = 128, 8, "arcface_112_v2"  # px; the central 112 px are the aligned crop
log = logging.getLogger(__name__)


def aligned(people: People, rows: Tensor) -> Tensor:
    """Aligned crops with a margin, (N, 3, 128, 128) in 0..1."""
    target = geometry.template(TEMPLATE, SIZE - 2 * MARGIN)[None] + MARGIN
    matrix = geometry.similarity(mesh.five(people.mesh[rows]), target)
    return geometry.warp(people.pixels[rows].float() / 255, matrix, SIZE, padding="reflection")


def blend(people: People, n: int, generator: Generator) -> Tensor:
    """n new people, (n, 3, 128, 128) 0..1: two or three aligned ones, randomly mirrored, mixed by smooth weights and
    warped."""
    parts = [aligned(people, torch.multinomial(people.weight, n, True, generator=generator)) for _ in range(3)]
    parts = [torch.where(augment.often(n, 0.5, generator).view(n, 1, 1, 1), part.flip(-1), part) for part in parts]
    share = augment.smooth_field(n, SIZE, 1.2 / SIZE, generator, cells=4)
    level = torch.randn(n, 3, 1, 1, generator=generator) * 2
    third = augment.often(n, 0.4, generator).view(n, 1, 1, 1)
    logits = torch.cat([share, torch.zeros(n, 1, SIZE, SIZE)], 1) + level
    logits = torch.cat([logits[:, :2], torch.where(third, logits[:, 2:], torch.full_like(logits[:, 2:], -20.0))], 1)
    weight = logits.softmax(1)
    mixed = (torch.stack(parts, 1) * weight[:, :, None]).sum(1)
    bend = augment.smooth_field(n, SIZE, 0.012, generator).movedim(1, -1)
    return geometry.sample(mixed, geometry.pixel_grid(SIZE, SIZE) + bend, "reflection")


def label(teacher: torch.jit.ScriptModule, crops: Tensor) -> Tensor:
    """The teacher's unit embeddings of the central 112 px, (N, 3, 128, 128) 0..1 -> (N, 128)."""
    middle = crops[..., MARGIN:-MARGIN, MARGIN:-MARGIN].contiguous(memory_format=torch.channels_last)
    return nnf.normalize(teacher(middle), dim=-1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/crowd.pt"))
    parser.add_argument("--people", type=int, default=24000)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    teacher = torch.jit.load(arguments.data / "teachers" / "recogniser_a.pt")
    people = load_people(arguments.data, "train")
    generator = Generator().manual_seed(0)
    pixels, embeddings = [], []

    def add(crops: Tensor) -> None:
        pixels.append((crops * 255).round().byte())
        embeddings.append(label(teacher, crops).half())

    with torch.inference_mode():
        for rows in torch.arange(len(people)).split(32):
            add(aligned(people, rows))
        for done in range(0, arguments.people, 32):
            add(blend(people, 32, generator))
            if done % 1600 == 0:
                log.info("%d of %d", done, arguments.people)
    torch.save({"pixels": torch.cat(pixels), "embedding": torch.cat(embeddings), "real": len(people)}, arguments.out)


if __name__ == "__main__":
    main()
