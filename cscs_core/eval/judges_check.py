"""Checks the reliability of the judges: how much of a known head rotation they read, and what they measure when only
the image quality changes.

    python -m cscs_core.eval.judges_check --data $CSCS_DATA --out runs/eval
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as nnf
from torch import Generator, Tensor

from ..io.files import write_json
from ..ops import colour, head_pose, mesh
from ..surrogates.source_change import Change, apply_change
from ..tasks.report import expression_error, pose_error
from ..train.people import load_people
from ..types import Crops
from .evidence_data import cut
from .judges import Judges, load_judges, retrieved

log = logging.getLogger(__name__)

_TURNS = ((5, 0), (10, 0), (20, 0), (0, 5), (0, 10), (0, 15))  # degrees of yaw and pitch
_FACING = 12  # degrees: heads turned further are left out, since turning them more would reveal hidden parts


def shrunk(pictures: Tensor, side: int) -> Tensor:
    """Images reduced to a smaller side and enlarged again, (N, 3, S, S) 0..1."""
    small = nnf.interpolate(pictures, (side, side), mode="bilinear", antialias=True)
    return nnf.interpolate(small, pictures.shape[-2:], mode="bicubic").clamp(0, 1)


def _noisy(pictures: Tensor) -> Tensor:
    return (pictures + 0.03 * torch.randn(pictures.shape, generator=Generator().manual_seed(0))).clamp(0, 1)


def _other_colour(pictures: Tensor) -> Tensor:
    return (pictures.clamp_min(1e-3) ** 1.2 * pictures.new_tensor([1.05, 1.0, 0.92]).view(3, 1, 1)).clamp(0, 1)


CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "blurred by 1.5 px": lambda pictures: colour.gaussian_blur(pictures, 1.5),
    "other colours": _other_colour,
    "noise of 3 per cent": _noisy,
    "128 px": lambda pictures: shrunk(pictures, 128),
    "64 px": lambda pictures: shrunk(pictures, 64),
}


def turns(crops: Crops, judges: Judges) -> dict[str, float]:
    """Mean pose change in degrees that the judges read for known turns of frontal faces, by turn."""
    crops = crops[(head_pose.fit(crops.mesh).degrees[:, :2].abs() < _FACING).all(1)]
    before = judges.points(crops.pixels, mesh.box(crops.mesh))
    read = {"people": float(len(crops))}
    for yaw, pitch in _TURNS:
        one = torch.ones(len(crops))
        turned = apply_change(crops, replace(Change.none(len(crops)), yaw=yaw * one, pitch=pitch * one), crops)
        after = judges.points(turned.pixels, mesh.box(turned.mesh))
        read[f"yaw {yaw} pitch {pitch}"] = float(pose_error(after, before).mean())
    return read


def floor(crops: Crops, judges: Judges) -> dict[str, dict[str, float]]:
    """The measures between an image and itself with changed quality, and between two different people."""
    box, rows = mesh.box(crops.mesh), torch.arange(len(crops))
    points, identity = judges.points(crops.pixels, box), judges.identity(crops.pixels, crops.mesh)
    found = {}
    for name, change in CHANGES.items():
        pictures = change(crops.pixels)
        again, who = judges.points(pictures, box), judges.identity(pictures, crops.mesh)
        found[name] = {
            "pose": float(pose_error(again, points).mean()),
            "expression": float(expression_error(again, points).mean()),
            "cos": float((who * identity).sum(-1).mean()),
            "top_1": float(retrieved(who, identity, rows).float().mean()),
        }
    other = rows.roll(7)
    found["somebody else"] = {
        "pose": float(pose_error(points[other], points).mean()),
        "expression": float(expression_error(points[other], points).mean()),
        "cos": float((identity[other] * identity).sum(-1).mean()),
        "top_1": 0.0,
    }
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/eval"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    judges = load_judges(arguments.data)
    people = load_people(arguments.data, "test", ("omi", "fake"))
    crops = cut(people, torch.arange(len(people)), 256)
    with torch.inference_mode():
        report = {"turns": turns(crops, judges), "floor": floor(crops, judges)}
    log.info("%s", json.dumps(report, indent=1))
    write_json(arguments.out / "judges.json", report)


if __name__ == "__main__":
    main()
