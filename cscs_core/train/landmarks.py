"""Trains the bundled landmark networks: the whole mesh, an eye, the mouth.

python -m cscs_core.train.landmarks --data $CSCS_DATA --part whole --run runs/landmarks --minutes 85
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import cast

import torch
from torch import Generator, Tensor, nn

from ..faces.landmarks import EYE, MOUTH, TEMPLATE, Part
from ..hub import weights
from ..models import FaceMesh, LandmarkNet
from ..ops import geometry, mesh
from . import augment
from .loop import Schedule, fit
from .people import PICTURE, People, load_people

PARTS: dict[str, Part | None] = {"whole": None, "eye": EYE, "mouth": MOUTH}
FILE = weights.LITE / "landmarks.safetensors"
# Opposite points of lips and lids: their gap is only a few pixels, but determines the expression.
UPPER = (13, 82, 312, 81, 311, 80, 310, 159, 158, 160, 386, 385, 387)
LOWER = (14, 87, 317, 178, 402, 88, 318, 145, 153, 144, 374, 380, 373)


def alignment(truth: Tensor, part: Part | None, size: int) -> Tensor:
    """The alignment matrix of a part, or of the whole face, from meshes (N, 468, 2) -> (N, 2, 3)."""
    if part:
        return part.matrix(truth[:, list(part.points)], size)
    return geometry.similarity(mesh.five(truth), geometry.template(TEMPLATE, size)[None])


def crop(
    people: People, rows: Tensor, part: Part | None, size: int, change: Tensor, bend: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Aligned crops with further changes, matrices (N, 2, 3) and a smooth displacement (N, 2, S, S): pixels
    (N, 3, S, S) 0..1 and mesh (N, 468, 2) in crop pixels. With a displacement every other image is also mirrored."""
    pixels, truth = people.pixels[rows].float().div_(255), people.mesh[rows]
    if bend is not None:
        pixels[::2] = pixels[::2].flip(-1)
        truth[::2] = mesh.flipped(truth[::2], PICTURE)
    matrix = geometry.compose(alignment(truth, part, size), change)
    moved = geometry.transform(truth, matrix)
    grid = geometry.pixel_grid(size, size)
    if bend is not None:
        # Crop pixel p reads p + bend(p), so a point q moves to the p with p + bend(p) = q: solved by fixed point.
        grid, target = grid + bend.movedim(1, -1), moved
        for _ in range(4):
            moved = target - geometry.sample(bend, moved[:, None]).squeeze(2).movedim(1, -1)
    points = geometry.transform(
        grid.reshape(-1 if grid.ndim == 3 else len(grid), size * size, 2), geometry.invert(matrix)
    )
    return geometry.sample(pixels, points.view(-1, size, size, 2), "reflection"), moved


def batch(people: People, part: Part | None, size: int, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """A random training batch, pixels (n, 3, S, S) 0..1 and mesh (n, 468, 2). Of whole faces, a quarter is rotated by
    up to 50 degrees, a quarter roughly and half nearly aligned; parts are always nearly aligned, as by the whole
    mesh."""
    rows = torch.multinomial(people.weight, n, True, generator=generator)
    quarter = 0 if part else n // 4
    turned = augment.jitter(quarter, size, 50, 1.3, 0.12, generator)
    rough = augment.jitter(quarter, size, 20, 1.2, 0.08, generator)
    fine = augment.jitter(n - 2 * quarter, size, 8, 1.14 if part else 1.08, 0.05 if part else 0.03, generator)
    bend = augment.smooth_field(n, size, 0.012, generator)
    change = torch.cat([turned, rough, fine])[torch.randperm(n, generator=generator)]
    pixels, points = crop(people, rows, part, size, change, bend)
    pixels = augment.some(pixels, 0.15 if part else 0.3, generator, augment.occlude, pixels.roll(1, 0))
    return augment.degrade(pixels, generator), points


def length(vectors: Tensor) -> Tensor:
    """Lengths of vectors, with a finite gradient at 0, (..., 2) -> (...)."""
    return vectors.square().sum(-1).add(1e-6).sqrt()


def importance() -> Tensor:
    """Weights of the points, (468,) with mean 1; lids, lips and brows have twice the weight of others."""
    weight = torch.ones(468)
    weight[list({*mesh.LEFT_EYE, *mesh.RIGHT_EYE, *mesh.LIPS, *mesh.MOUTH, *mesh.LEFT_BROW, *mesh.RIGHT_BROW})] = 2
    return weight / weight.mean()


def error(found: Tensor, truth: Tensor) -> Tensor:
    """Mean point distance over the outer-eye distance (NME), (N, 468, 2) twice -> (N,)."""
    return (found - truth).norm(dim=-1).mean(-1) / mesh.interocular(truth)


def variation(people: People, part: Part | None, size: int, ways: int = 60) -> tuple[Tensor, Tensor]:
    """The mean points in the crop, (P, 2), and their modes of variation, (4 + ways, P, 2) crop pixels at one standard
    deviation: two shifts, rotation, scale, then the principal components of aligned points."""
    faces = geometry.transform(people.mesh, alignment(people.mesh, part, size))
    faces = faces[:, list(part.points)] if part else faces
    mean = faces.mean(0)
    arm = mean - mean.mean(0)
    shift = torch.ones_like(mean) * 0.05 * size
    across, down, turn = (torch.tensor(factors) for factors in ([1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]))
    rigid = torch.stack([shift * across, shift * down, 0.4 * arm.flip(-1) * turn, 0.15 * arm])
    _, deviation, axes = torch.pca_lowrank(faces.flatten(1), ways, niter=4)
    shapes = (axes * deviation / len(faces) ** 0.5).T.unflatten(-1, mean.shape)
    return mean, torch.cat([rigid, shapes])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", choices=tuple(PARTS), default="whole")
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=85)
    parser.add_argument("--batch", type=int, default=48)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    people, held_out = load_people(arguments.data, "train"), load_people(arguments.data, "validation")
    part, together = PARTS[arguments.part], FaceMesh()
    model = cast(LandmarkNet, getattr(together, arguments.part))
    size = model.config.size
    points = list(part.points) if part else list(range(mesh.POINTS))
    weight = importance()[points]
    pairs = [(points.index(a), points.index(b)) for a, b in zip(UPPER, LOWER, strict=True) if a in points]
    upper, lower = ([pair[side] for pair in pairs] for side in (0, 1))
    model.start_at(*variation(people, part, size))

    def wrong(found: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
        """Errors of the points and of the gaps between lips and between lids, in outer-eye distances."""
        apart = (found - truth[:, points]) / mesh.interocular(truth)[:, None, None]
        return apart, apart[:, upper] - apart[:, lower]

    def loss(network: nn.Module, generator: Generator) -> dict[str, Tensor]:
        pixels, truth = batch(people, part, size, arguments.batch, generator)
        with torch.autocast("cpu", torch.bfloat16):
            found = network(pixels.contiguous(memory_format=torch.channels_last))
        each, gaps = wrong(found, truth)
        return {"distance": 10 * (length(each) * weight).mean(), "gaps": 6 * length(gaps).mean()}

    every, n = torch.arange(len(held_out)), len(held_out)
    calm = augment.jitter(n, size, 5, 1.05, 0.02, Generator().manual_seed(1))
    turned = augment.jitter(
        n, size, 8 if part else 45, 1.14 if part else 1.2, 0.05 if part else 0.1, Generator().manual_seed(2)
    )
    tests = {name: crop(held_out, every, part, size, change) for name, change in (("calm", calm), ("turned", turned))}

    def validate(network: nn.Module) -> dict[str, float]:
        report = {}
        with torch.inference_mode():
            for name, (pixels, truth) in tests.items():
                each, gaps = wrong(network(pixels), truth)
                report[f"nme_{name}"] = float(each.norm(dim=-1).mean())
                report[f"gaps_{name}"] = float(gaps.norm(dim=-1).mean())
        return report

    trained = fit(model, loss, Schedule(arguments.minutes), arguments.run, validate)
    bundled = weights.load_model(FILE, FaceMesh) if FILE.exists() else together
    getattr(bundled, arguments.part).load_state_dict(trained.state_dict())
    weights.save_model(FILE, bundled, licence="research, non-commercial: MODEL_CARD.md")


if __name__ == "__main__":
    main()
