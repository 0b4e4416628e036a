"""Trains the dense landmark network.

python -m cscs_core.train.landmarks --data ../shared/data --run runs/landmarks --minutes 50
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from .. import geometry, mesh, weights
from ..models import LandmarkNet
from . import augment
from .loop import Schedule, fit
from .people import People, load_people

SIZE, TEMPLATE = 128, "dfl_whole_face"
# Facing points of lips and lids: how far they are apart is expression, and few pixels.
UPPER = (13, 82, 312, 81, 311, 80, 310, 159, 158, 160, 386, 385, 387)
LOWER = (14, 87, 317, 178, 402, 88, 318, 145, 153, 144, 374, 380, 373)


def crop(people: People, rows: Tensor, change: Tensor, bend: Tensor | None) -> tuple[Tensor, Tensor]:
    """Aligned crops seen through further matrices and a smooth bend: pixels (N, 3, S, S), mesh (N, 468, 2)."""
    truth = people.mesh[rows]
    aligned = geometry.similarity(mesh.five(truth), geometry.template(TEMPLATE, SIZE)[None])
    matrix = geometry.compose(aligned, change)
    points = geometry.transform(geometry.pixel_grid(SIZE, SIZE).view(1, -1, 2), geometry.invert(matrix))
    points = points.view(-1, SIZE, SIZE, 2)
    moved = geometry.transform(truth, matrix)
    if bend is not None:
        # Pixel p of the crop shows what lay at p + bend(p), so a point q is now where p + bend(p) = q: fixed point.
        grid = geometry.pixel_grid(SIZE, SIZE) + bend.movedim(1, -1)
        points = geometry.transform(grid.view(len(rows), -1, 2), geometry.invert(matrix)).view_as(points)
        target = moved
        for _ in range(4):
            moved = target - geometry.sample(bend, moved[:, None]).squeeze(2).movedim(1, -1)
    pixels = people.pixels[rows].float().div_(255)
    return geometry.sample(pixels, points, "reflection"), moved


def flip(pixels: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    points = points[:, mesh.mirror()] * torch.tensor([-1.0, 1.0]) + torch.tensor([SIZE - 1.0, 0.0])
    return pixels.flip(-1), points


def batch(people: People, size: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """A quarter of a batch is turned up to 50 degrees, a quarter roughly aligned, half nearly so (the second look)."""
    rows = torch.multinomial(people.weight, size, True, generator=generator)
    quarter = size // 4
    turned = augment.jitter(quarter, SIZE, 50, 1.3, 0.12, generator)
    rough = augment.jitter(quarter, SIZE, 20, 1.2, 0.08, generator)
    fine = augment.jitter(size - 2 * quarter, SIZE, 8, 1.08, 0.03, generator)
    bend = augment.smooth_field(size, SIZE, 0.012, generator)
    pixels, points = crop(people, rows, torch.cat([turned, rough, fine]), bend)
    pixels[::2], points[::2] = flip(pixels[::2], points[::2])
    pixels = augment.some(pixels, 0.3, generator, augment.occlude, pixels.roll(1, 0))
    return augment.degrade(pixels, generator), points


def length(vectors: Tensor) -> Tensor:
    """Lengths with a gradient at 0, (..., 2) -> (...)."""
    return vectors.square().sum(-1).add(1e-6).sqrt()


def importance() -> Tensor:
    """Lids, lips and brows count twice, (468,) with mean 1."""
    weight = torch.ones(468)
    weight[list({*mesh.LEFT_EYE, *mesh.RIGHT_EYE, *mesh.LIPS, *mesh.MOUTH, *mesh.LEFT_BROW, *mesh.RIGHT_BROW})] = 2
    return weight / weight.mean()


def error(found: Tensor, truth: Tensor) -> Tensor:
    """Mean point distance over the distance of the outer eye corners (NME), per face."""
    return (found - truth).norm(dim=-1).mean(-1) / mesh.interocular(truth)


def variation(people: People, ways: int = 60) -> tuple[Tensor, Tensor]:
    """The mean face in the crop, (468, 2), and how faces in crops vary: moved, turned, scaled, then the main ways in
    which aligned faces differ, (4 + ways, 468, 2) crop pixels for one deviation."""
    target = geometry.template(TEMPLATE, SIZE)[None]
    faces = geometry.transform(people.mesh, geometry.similarity(mesh.five(people.mesh), target))
    mean = faces.mean(0)
    arm = mean - mean.mean(0)
    shift = torch.ones_like(mean) * 0.05 * SIZE
    rigid = torch.stack(
        [
            shift * torch.tensor([1, 0]),
            shift * torch.tensor([0, 1]),
            0.4 * arm.flip(-1) * torch.tensor([-1, 1]),
            0.15 * arm,
        ]
    )
    _, deviation, axes = torch.pca_lowrank(faces.flatten(1), ways, niter=4)
    shapes = (axes * deviation / len(faces) ** 0.5).T.unflatten(-1, (mesh.POINTS, 2))
    return mean, torch.cat([rigid, shapes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, default=Path("runs/landmarks"))
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--batch", type=int, default=48)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    people, held_out = load_people(arguments.data, "train"), load_people(arguments.data, "validation")
    weight = importance()
    model = LandmarkNet()
    model.start_at(*variation(people))

    def loss(network: nn.Module, generator: Generator) -> dict[str, Tensor]:
        pixels, truth = batch(people, arguments.batch, generator)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(pixels.contiguous(memory_format=torch.channels_last))
        wrong = (found - truth) / mesh.interocular(truth)[:, None, None]
        gaps = wrong[:, list(UPPER)] - wrong[:, list(LOWER)]
        return {"distance": 10 * (length(wrong) * weight).mean(), "gaps": 6 * length(gaps).mean()}

    every = torch.arange(len(held_out))
    calm = augment.jitter(len(held_out), SIZE, 5, 1.05, 0.02, Generator().manual_seed(1))
    turned = augment.jitter(len(held_out), SIZE, 45, 1.2, 0.1, Generator().manual_seed(2))
    tests = {name: crop(held_out, every, change, None) for name, change in (("calm", calm), ("turned", turned))}

    def validate(network: nn.Module) -> dict[str, float]:
        with torch.inference_mode():
            found = {name: network(pixels) for name, (pixels, _) in tests.items()}
        report = {f"nme_{name}": float(error(found[name], truth).mean()) for name, (_, truth) in tests.items()}
        truth = tests["calm"][1]
        wrong = (found["calm"] - truth) / mesh.interocular(truth)[:, None, None]
        return {**report, "gaps_calm": float((wrong[:, list(UPPER)] - wrong[:, list(LOWER)]).norm(dim=-1).mean())}

    model = fit(model, loss, Schedule(arguments.minutes), arguments.run, validate)
    weights.save_model(weights.LITE / "landmarks.safetensors", model, licence="research, non-commercial: MODEL_CARD.md")


if __name__ == "__main__":
    main()
