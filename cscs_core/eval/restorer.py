"""Measures the bundled restorer on test people, with one kind of damage at a time: damaged, sharpened and restored
faces are compared with the original.

python -m cscs_core.eval.restorer --data $CSCS_DATA --out runs/restorer/eval
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as nnf
from PIL import Image
from torch import Generator, Tensor

from ..faces.restorers.catalogue import DEFAULT_RESTORER, load_restorer
from ..faces.swappers.lite import refiner_window
from ..hub.store import default_store
from ..io.files import write_json
from ..ops.camera import jpeg
from ..ops.colour import gaussian_blur
from ..train.people import crops_of, load_people
from ..train.refiner import Teachers
from .judges import interval, load_judges

_FOLDERS = ("omi", "fake")  # every picture in them shows another person
_MOST = 64  # people, evenly spaced over the split
_SHOWN = 4  # people on the sheet


def _grainy(pictures: Tensor, deviation: float) -> Tensor:
    grain = torch.randn(pictures.shape, generator=Generator().manual_seed(0))
    return (pictures + deviation * grain).clamp(0, 1)


def _coded(pictures: Tensor, quality: int) -> Tensor:
    return jpeg(pictures, torch.full((len(pictures),), float(quality)))


def _small(pictures: Tensor, side: int) -> Tensor:
    small = nnf.interpolate(pictures, (side, side), mode="bilinear", antialias=True)
    return nnf.interpolate(small, pictures.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 1)


WAYS: dict[str, Callable[[Tensor], Tensor]] = {
    "clear": lambda pictures: pictures,
    "blurred by 2 px": lambda pictures: gaussian_blur(pictures, 2.0),
    "from 96 px": lambda pictures: _small(pictures, 96),
    "from 48 px": lambda pictures: _small(pictures, 48),
    "grain of 0.04": lambda pictures: _grainy(pictures, 0.04),
    "JPEG of quality 25": lambda pictures: _coded(pictures, 25),
    "all of it": lambda pictures: _coded(_grainy(_small(gaussian_blur(pictures, 1.0), 128), 0.02), 45),
}


def sharpened(pictures: Tensor) -> Tensor:
    """Images after an unsharp mask, the baseline of an image editor, (N, 3, S, S) 0..1."""
    return (pictures + 0.7 * (pictures - gaussian_blur(pictures, 1.5))).clamp(0, 1)


def similarity(pictures: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity of grey values (SSIM, Wang et al. 2004), (N, 3, S, S) 0..1 twice -> (N,)."""
    x, y = (each.mean(1, keepdim=True) for each in (pictures, truth))
    mean_x, mean_y = gaussian_blur(x, 1.5), gaussian_blur(y, 1.5)
    var_x, var_y, both = (
        gaussian_blur(product, 1.5) - means
        for product, means in ((x * x, mean_x**2), (y * y, mean_y**2), (x * y, mean_x * mean_y))
    )
    ratio = (2 * mean_x * mean_y + 1e-4) * (2 * both + 9e-4)
    return (ratio / ((mean_x**2 + mean_y**2 + 1e-4) * (var_x + var_y + 9e-4))).mean((1, 2, 3))


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/restorer/eval"))
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    judges, teachers = load_judges(arguments.data), Teachers(arguments.data / "teachers")
    people = load_people(arguments.data, arguments.split, _FOLDERS)
    chosen = torch.linspace(0, len(people) - 1, min(_MOST, len(people))).long()
    crops = crops_of(people)[chosen]
    restorer = load_restorer(DEFAULT_RESTORER, default_store())
    report: dict[str, dict[str, dict[str, str]]] = {}
    rows = []
    for way, damage in WAYS.items():
        found: dict[str, list[Tensor]] = {}
        for part in torch.arange(len(crops)).split(16):
            truth, mesh = crops.pixels[part].float() / 255, crops.mesh[part]
            own = judges.identity(truth, mesh)
            damaged = damage(truth)
            made = {"as it is": damaged, "sharpened": sharpened(damaged), "restored": restorer(damaged, 0.5)}
            for name, pictures in made.items():
                measures = (
                    -10 * (pictures - truth).square().mean((1, 2, 3)).clamp_min(1e-6).log10(),
                    similarity(pictures, truth),
                    teachers.apart(refiner_window(pictures), refiner_window(truth)),
                    (judges.identity(pictures, mesh) * own).sum(-1),
                )
                found.setdefault(name, []).append(torch.stack(measures, -1))
            if part[0] == 0:
                rows += [torch.cat([truth[row], *(each[row] for each in made.values())], 2) for row in range(_SHOWN)]
        measures = ("decibels", "structure", "features", "cosine")
        report[way] = {
            name: {measure: str(interval(values)) for measure, values in zip(measures, torch.cat(parts).T, strict=True)}
            for name, parts in found.items()
        }
    columns = [torch.cat(rows[person::_SHOWN], 1) for person in range(_SHOWN)]
    sheet = torch.cat(columns, 2).mul(255).round().byte().movedim(0, -1)
    Image.fromarray(sheet.numpy()).save(arguments.out / f"{arguments.split}.png")
    write_json(arguments.out / f"{arguments.split}.json", report)


if __name__ == "__main__":
    main()
