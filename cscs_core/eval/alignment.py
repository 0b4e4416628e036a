"""Compares the FFHQ alignment by 68 points, used by the CSCS release, with the alignment by five points.

python -m cscs_core.eval.alignment --data $CSCS_DATA --out runs/eval
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ..faces.align import QUAD, align
from ..faces.select import order
from ..io import images
from ..io.files import write_json
from ..ops.geometry import compose, invert, scale_of, transform
from ..pipeline import find, load_models
from ..train.people import load_people
from ..types import Crops, join

log = logging.getLogger(__name__)

SIDE = 256  # px


def between(five: Crops, quad: Crops) -> dict[str, float]:
    """The transform from crops by five points to crops by 68: mean scale, absolute rotation in degrees, shift of the
    centre and mean and 99th percentile of the landmarks' shift, in pixels of a 256 px crop."""
    step = compose(invert(five.matrix), quad.matrix)
    scale = scale_of(step)
    turn = torch.rad2deg(torch.atan2(step[:, 1, 0], step[:, 0, 0]))
    middle = torch.full((len(step), 1, 2), (SIDE - 1) / 2)
    shift = transform(middle, step)[:, 0] - middle[:, 0]
    moved = (quad.landmarks - five.landmarks).norm(dim=-1).mean(-1)
    return {
        "faces": float(len(step)),
        "scale": float(scale.mean()),
        "scale_deviation": float(scale.std()),
        "turn": float(turn.abs().mean()),
        "shift_x": float(shift[:, 0].mean()),
        "shift_y": float(shift[:, 1].mean()),
        "landmarks": float(moved.mean()),
        "landmarks_worst_hundredth": float(moved.quantile(0.99)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/eval"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    models = load_models()
    people = load_people(arguments.data, "test", ("omi", "fake"))
    pictures: dict[str, list[Tensor]] = {
        "people": list((people.pixels.float() / 255).split(1)),
        "photographs": [images.read(file) for file in sorted((arguments.data / "photos").glob("*.jpg"))],
    }
    report = {}
    for name, group in pictures.items():
        found = [(picture, order(find(picture, models), "large-small")) for picture in group]
        five, quad = (
            join([align(picture, faces, template, SIDE) for picture, faces in found if len(faces)])
            for template in ("ffhq_512", QUAD)
        )
        report[name] = between(five, quad)
        log.info("%s %s", name, json.dumps(report[name], indent=1))
        shown = min(len(five), 12)
        sheet = Image.new("RGB", (shown * 128, 256))
        for place in range(shown):
            for row, crops in enumerate((five, quad)):
                sheet.paste(images.to_pil(crops.pixels[place]).resize((128, 128)), (place * 128, row * 128))
        arguments.out.mkdir(parents=True, exist_ok=True)
        sheet.save(arguments.out / f"alignment_{name}.png")
    write_json(arguments.out / "alignment.json", report)


if __name__ == "__main__":
    main()
