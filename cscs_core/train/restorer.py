"""Trains the bundled face restorer to undo damage that is applied on the fly.

python -m cscs_core.train.restorer --data $CSCS_DATA --run runs/restorer/run --minutes 45

The loss compares pixels, their gradients and the features of a perceptual network. An eighth of the faces is left
undamaged, so that clear faces stay as they are. There is no identity loss: changes that please a recogniser may be
invisible to people.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from torch import Generator, Tensor, nn

from ..hub import weights
from ..models import FaceRestorer
from . import augment
from .augment import often, some, uniform
from .loop import Schedule, fit
from .people import CROP, People, crops_of, load_people
from .refiner import Teachers

_CLEAN = 0.125  # share of faces that are not damaged
_HELD_OUT = 24  # validation people
_SIDE = 128  # px, side of training windows, which allow twice as many steps as whole faces
_FILE = "restorer.safetensors"


def damaged(pictures: Tensor, generator: Generator) -> Tensor:
    """Images with random focus or motion blur, low resolution, noise and JPEG, (N, 3, S, S) 0..1 -> (N, 3, S, S)."""
    x = some(pictures, 0.6, generator, augment.blur, 2.5)
    for _ in range(2):  # one draw uses the same factor for all its images
        x = some(x, 0.35, generator, augment.coarse, 0.25)
    noise = torch.randn(x.shape, generator=generator) * uniform(len(x), 0, 0.06, generator).view(-1, 1, 1, 1)
    x = (x + noise * often(len(x), 0.5, generator).view(-1, 1, 1, 1)).clamp(0, 1)
    x = some(x, 0.6, generator, augment.jpeg, 25)
    return x.where(~often(len(x), _CLEAN, generator).view(-1, 1, 1, 1), pictures)


def examples(people: People, rows: Tensor, generator: Generator, side: int = _SIDE) -> dict[str, Tensor]:
    """Random windows of these people's crops, half of them mirrored: "truth" and "damaged", (N, 3, side, side) 0..1."""
    left, top = torch.randint(CROP - side + 1, (2,), generator=generator).tolist()
    window = crops_of(people)[rows].pixels[..., top : top + side, left : left + side].float() / 255
    truth = torch.where(often(len(rows), 0.5, generator).view(-1, 1, 1, 1), window.flip(-1), window)
    return {"truth": truth, "damaged": damaged(truth, generator)}


def losses(
    restorer: nn.Module, teachers: Teachers, batch: dict[str, Tensor], generator: Generator
) -> dict[str, Tensor]:
    """The named loss terms of one batch."""
    with torch.autocast("cpu", torch.bfloat16):
        change = restorer(batch["damaged"])
    out, truth = batch["damaged"] + change, batch["truth"]
    wrong = out - truth
    return {
        "pixels": 10 * wrong.abs().mean(),
        "edges": 5 * (wrong.diff(dim=2).abs().mean() + wrong.diff(dim=3).abs().mean()),
        "features": 0.12 * teachers.apart(out, truth, generator).mean(),
    }


def measured(restorer: nn.Module, teachers: Teachers, batch: dict[str, Tensor]) -> dict[str, float]:
    """PSNR and perceptual distance of restored faces, of the damaged ones (`_damaged`), and of restored clear faces
    (`_kept`)."""
    truth, report = batch["truth"], {}
    with torch.inference_mode():
        restored, kept = (
            torch.cat([(part + restorer(part)).clamp(0, 1) for part in pictures.split(8)])
            for pictures in (batch["damaged"], truth)
        )
        for name, pictures in (("", restored), ("_damaged", batch["damaged"]), ("_kept", kept)):
            rows = zip(pictures.split(8), truth.split(8), strict=True)
            report |= {
                f"psnr{name}": float(_decibels(pictures, truth).clamp_max(60).mean()),
                f"apart{name}": float(torch.cat([teachers.apart(*pair) for pair in rows]).mean()),
            }
    return report


def _decibels(pictures: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB, (N,)."""
    return -10 * (pictures - truth).square().mean((1, 2, 3)).clamp_min(1e-12).log10()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--run", type=Path, default=Path("runs/restorer/run"))
    parser.add_argument("--minutes", type=float, default=45)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=1e-3)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.manual_seed(0)
    teachers = Teachers(arguments.data / "teachers")
    people, others = (load_people(arguments.data, split) for split in ("train", "validation"))
    kept = Generator().manual_seed(1)
    held_out = examples(others, torch.randperm(len(others), generator=kept)[:_HELD_OUT], kept, CROP)

    def loss(restorer: nn.Module, generator: Generator) -> dict[str, Tensor]:
        rows = torch.multinomial(people.weight, arguments.batch, generator=generator)
        return losses(restorer, teachers, examples(people, rows, generator), generator)

    def validate(restorer: nn.Module) -> dict[str, float]:
        return measured(restorer, teachers, held_out)

    schedule = Schedule(arguments.minutes, rate=arguments.rate, warm_up=100, average=0.995, clip=1.0)
    restorer = fit(FaceRestorer(), loss, schedule, arguments.run, validate)
    weights.save_model(weights.LITE / _FILE, restorer, licence="research, non-commercial: MODEL_CARD.md")


if __name__ == "__main__":
    main()
