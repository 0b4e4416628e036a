"""Measures a swapper on pairs of people kept from training, with a recogniser that nothing was trained on.

python -m cscs_core.eval.swap --data ../shared/data --out runs/eval --pairs 40
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import torch
from PIL import Image
from torch import Generator, Tensor

from .. import geometry, images
from ..locate import locate
from ..mesh import five
from ..pipeline import encoded, identity_from, load_models, swap_faces
from ..store import default_store
from ..swappers import DEFAULT, SWAPPERS, load_swapper
from ..train.landmarks import error
from ..train.people import load_people

log = logging.getLogger(__name__)
_SHOWN = 24  # pairs on the picture


def embed(recogniser: torch.jit.ScriptModule, pictures: Tensor, mesh: Tensor) -> Tensor:
    """Unit embeddings of one face a picture, (N, 3, H, W), (N, 468, 2) -> (N, 128)."""
    matrix = geometry.similarity(five(mesh), geometry.template("arcface_112_v2", 112)[None])
    return recogniser(geometry.warp(pictures, matrix, 112))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/eval"))
    parser.add_argument("--pairs", type=int, default=40)
    parser.add_argument("--split", default="test", choices=("test", "validation"))
    parser.add_argument("--swapper", default=DEFAULT, choices=SWAPPERS)
    parser.add_argument("--size", type=int)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    recogniser = torch.jit.load(arguments.data / "teachers" / "recogniser_b.pt")
    models = load_models()
    swapper = load_swapper(arguments.swapper, default_store())
    size = arguments.size or swapper.sizes[-1]
    people = load_people(arguments.data, arguments.split, ("omi", "fake"))
    generator = Generator().manual_seed(5)
    sources, targets = (torch.randperm(len(people), generator=generator)[: arguments.pairs] for _ in range(2))
    pixels = people.pixels.float() / 255
    with torch.inference_mode():
        results = []
        for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
            person = identity_from([pixels[source : source + 1]], models)
            picture = pixels[target : target + 1]
            done = swap_faces(picture, encoded(person, swapper, models), models, size=size, indices=[0])
            results.append(done.images)
        swapped = torch.cat(results)
        result = embed(recogniser, swapped, people.mesh[targets])
        source = embed(recogniser, pixels[sources], people.mesh[sources])
        target = embed(recogniser, pixels[targets], people.mesh[targets])
        to_source, to_target = (result * source).sum(-1), (result * target).sum(-1)
        everyone = embed(recogniser, pixels, people.mesh)
        # What stays: landmarks found again in the result, in per cent of the outer-eye distance.
        moved = locate(swapped, torch.arange(len(swapped)), five(people.mesh[targets]), models.landmarks)
        before = locate(pixels[targets], torch.arange(len(targets)), five(people.mesh[targets]), models.landmarks)
    report = {
        "pairs": len(sources),
        "people": len(people),
        "size": size,
        "cos_source": float(to_source.mean()),
        "cos_target": float(to_target.mean()),
        "cos_source_target": float((source * target).sum(-1).mean()),
        "nearer_to_source": float((to_source > to_target).float().mean()),
        "top_1": float(((result @ everyone.T).argmax(1) == sources).float().mean()),
        "landmark_shift": 100 * float(error(moved, before).mean()),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    log.info("%s", json.dumps(report, indent=1))
    name = f"swap_{arguments.swapper}_{arguments.split}"
    (arguments.out / f"{name}.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    side, columns = 220, 3
    shown = min(_SHOWN, len(sources))
    sheet = Image.new("RGB", (columns * (3 * side + 10), -(-shown // columns) * side), "white")
    for place in range(shown):
        row = (pixels[sources[place]], pixels[targets[place]], swapped[place])
        for column, picture in enumerate(row):
            x = place % columns * (3 * side + 10) + column * side
            sheet.paste(images.to_pil(picture).resize((side, side)), (x, place // columns * side))
    sheet.save(arguments.out / f"{name}.png")


if __name__ == "__main__":
    main()
