"""Trains the bundled identity encoder on a crowd made by `crowd`, by distillation from the teacher.

python -m cscs_core.train.encoder --data $CSCS_DATA --crowd runs/crowd.pt --run runs/encoder --minutes 50
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from ..hub import weights
from ..models import IdentityEncoder
from ..ops import geometry
from . import augment
from .crowd import MARGIN, SIZE, aligned
from .loop import Schedule, fit
from .people import load_people

CROP = SIZE - 2 * MARGIN


def view(pixels: Tensor, generator: Generator, roll: float = 12, zoom: float = 1.12, shift: float = 0.04) -> Tensor:
    """A randomly augmented view of each person, crops (N, 3, 128, 128) 0..1 -> (N, 3, 112, 112) 0..1."""
    n = len(pixels)
    change = augment.jitter(n, SIZE, roll, zoom, shift, generator)
    out = geometry.warp(pixels, change, SIZE, padding="reflection")[..., MARGIN:-MARGIN, MARGIN:-MARGIN]
    flip = augment.often(n, 0.5, generator).view(n, 1, 1, 1)
    out = torch.where(flip, out.flip(-1), out)
    out = augment.some(out, 0.2, generator, augment.occlude, out.roll(1, 0))
    return augment.degrade(out, generator)


def verification(first: Tensor, second: Tensor, threshold: float | None = None) -> tuple[float, float]:
    """Verification accuracy and threshold, from unit embeddings (N, E) of two views of N people; same and different
    pairs have equal weight. Without a threshold the best one is used."""
    same = (first * second).sum(-1)
    other = torch.cat([(first * second.roll(step, 0)).sum(-1) for step in (1, 2, 3, 5)])
    candidates = torch.cat([same, other]).sort().values if threshold is None else torch.tensor([threshold])
    accuracy = ((same[:, None] > candidates).float().mean(0) + (other[:, None] <= candidates).float().mean(0)) / 2
    best = int(accuracy.argmax())
    return float(accuracy[best]), float(candidates[best])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--crowd", type=Path, default=Path("runs/crowd.pt"))
    parser.add_argument("--run", type=Path, default=Path("runs/encoder"))
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--batch", type=int, default=96)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    crowd = torch.load(arguments.crowd, weights_only=True)
    pixels, teacher = crowd["pixels"], crowd["embedding"].float()
    held_out = load_people(arguments.data, "validation", ("omi", "fake", "gen"))
    calm = aligned(held_out, torch.arange(len(held_out)))
    views = [view(calm, Generator().manual_seed(seed)) for seed in (1, 2)]

    def loss(network: nn.Module, generator: Generator) -> dict[str, Tensor]:
        rows = torch.randint(len(pixels), (arguments.batch,), generator=generator)
        pictures = view(pixels[rows].float() / 255, generator)
        truth = teacher[rows]
        with torch.autocast("cpu", torch.bfloat16):
            found = network(pictures.contiguous(memory_format=torch.channels_last))
        apart = (found @ truth.T - truth @ truth.T).square()  # similarities between people, against the teacher's
        return {"same": 4 * (1 - (found * truth).sum(-1)).mean(), "relations": 20 * apart.mean()}

    def validate(network: nn.Module) -> dict[str, float]:
        with torch.inference_mode():
            agreement = (network(calm[..., MARGIN:-MARGIN, MARGIN:-MARGIN]) * held_out.embedding).sum(-1).mean()
            accuracy, threshold = verification(*(network(pictures) for pictures in views))
        return {"agreement": float(agreement), "verification": accuracy, "threshold": threshold}

    model = fit(IdentityEncoder(), loss, Schedule(arguments.minutes, average=0.99), arguments.run, validate)
    weights.save_model(weights.LITE / "encoder.safetensors", model, licence="research, non-commercial: MODEL_CARD.md")


if __name__ == "__main__":
    main()
