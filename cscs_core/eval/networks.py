"""Measures the bundled detector, landmarks and encoder on the test people and on real photographs.

python -m cscs_core.eval.networks --data $CSCS_DATA --out runs/eval
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image
from torch import Generator

from ..faces import draw
from ..faces.detectors.base import detect
from ..faces.identity import encode
from ..faces.landmarks import locate
from ..io import images
from ..io.files import write_json
from ..ops import geometry, mesh
from ..ops.boxes import iou
from ..pipeline import Models, find, load_models
from ..train import augment, scenes
from ..train.crowd import MARGIN, aligned
from ..train.encoder import verification, view
from ..train.landmarks import error
from ..train.people import load_people, load_pictures

log = logging.getLogger(__name__)


def detection(data: Path, models: Models, count: int = 300) -> dict[str, float]:
    """Recall at IoU 0.5 on composited scenes of test people, and false positives per 100 pictures without a face."""
    files = sorted((data / "negatives").glob("*.jpg"))
    empty = load_pictures(files[::10], scenes.SIDE)
    people = load_people(data, "test", ("omi", "fake"))
    made = scenes.make(people, empty, count, Generator().manual_seed(7), damage=0.5)
    faces = detect(made.pixels, models.detector, models.landmarks)
    overlap = iou(made.box[:, None], faces.box[None]) * (made.frame[:, None] == faces.frame[None])
    hit = overlap.amax(1) > 0.5
    side = (made.box[:, 2:] - made.box[:, :2]).prod(-1).sqrt()
    groups = {"recall_48_up": side >= 48, "recall_24_to_48": (side >= 24) & (side < 48), "recall_16_to_24": side < 24}
    result = {name: float(hit[made.clear & group].float().mean()) for name, group in groups.items()}
    # A box on a face that is half occluded or cut off is not an error, but not required either.
    known = overlap.amax(0) > 0.3
    result["precision_in_scenes"] = float(known.float().mean())
    for name, chosen in (("test", files[::10]), ("test_and_validation", files[::10] + files[1::10])):
        found = [len(detect(images.read(file), models.detector, models.landmarks)) for file in chosen]
        result[f"false_per_100_{name}"] = 100 * sum(found) / len(found)
    return result


def landmarks(data: Path, models: Models) -> dict[str, float]:
    """NME in % of the outer-eye distance on test people: upright, rotated by 45 degrees, and after blur, occlusion and
    JPEG. Faces come from the detector; the share of faces found is given too."""
    people = load_people(data, "test", ("omi", "fake", "gen"))
    n = len(people)
    result = {}
    for name, degrees, damage in (("upright", 0.0, False), ("turned_45", 45.0, False), ("damaged", 15.0, True)):
        generator = Generator().manual_seed(3)
        angle = torch.full((n,), degrees) * (1 - 2 * (torch.arange(n) % 2))
        turn = torch.deg2rad(angle)
        linear = torch.stack(
            [torch.stack([turn.cos(), -turn.sin()], -1), torch.stack([turn.sin(), turn.cos()], -1)], -2
        )
        centre = torch.full((n, 2, 1), 159.5)
        change = torch.cat([linear, centre - linear @ centre], -1)
        pixels = geometry.warp(people.pixels.float() / 255, change, 320)
        truth = geometry.transform(people.mesh, change)
        if damage:
            pixels = augment.some(pixels, 0.5, generator, augment.occlude, pixels.roll(1, 0))
            pixels = augment.degrade(pixels, generator)
        faces = detect(pixels, models.detector, models.landmarks)
        found = torch.full((n,), torch.nan)
        for row in range(n):
            mine = (faces.frame == row).nonzero().flatten()
            overlap = iou(mesh.box(truth[row])[None], faces.box[mine])
            if len(mine) and float(overlap.max()) > 0.4:
                found[row] = error(faces.mesh[mine[overlap.argmax()]][None], truth[row : row + 1])[0]
        result[f"nme_{name}"] = 100 * float(found.nanmean())
        result[f"nme_{name}_median"] = 100 * float(found.nanmedian())
        result[f"found_{name}"] = float((~found.isnan()).float().mean())
        given = locate(pixels, torch.arange(n), mesh.five(truth), models.landmarks)
        result[f"nme_{name}_given_points"] = 100 * float(error(given, truth).mean())
    return result


def identity(data: Path, models: Models) -> dict[str, float]:
    """Agreement with the teacher; verification accuracy on degraded views of test people with the threshold of the
    validation people, also for the teacher; and the same on photographs of real people, neutral against smiling."""
    diverse = ("omi", "fake")
    teacher = cast(Any, torch.jit.load(data / "teachers" / "recogniser_a.pt"))
    result = {}
    for name, folders in (("", diverse), ("_with_gen", (*diverse, "gen"))):  # the people of gen look very similar
        views = {}
        for split in ("validation", "test"):
            people = load_people(data, split, folders)
            crops = aligned(people, torch.arange(len(people)))
            views[split] = [view(crops, Generator().manual_seed(seed)) for seed in (1, 2)]
        own = {split: [models.encoder(seen) for seen in pair] for split, pair in views.items()}
        _, threshold = verification(own["validation"][0], own["validation"][1])
        result[f"verification{name}"], _ = verification(own["test"][0], own["test"][1], threshold)
        result[f"threshold{name}"] = threshold
        first, second = (teacher(seen) for seen in views["test"])
        result[f"teacher_verification{name}"], _ = verification(first, second)
        embedding = models.encoder(crops[..., MARGIN:-MARGIN, MARGIN:-MARGIN])
        result[f"agreement{name}"] = float((embedding * people.embedding).sum(-1).mean())
        result[f"people{name}"] = float(len(people))
    table = np.load(data / "london.npz")
    embeddings = {}
    for file, source in zip(table["name"], table["source"], strict=True):
        picture = images.read(data / "london" / str(file))
        faces = find(picture, models)
        if len(faces):
            embeddings[Path(str(source)).stem] = encode(picture, faces[[0]], models.encoder)[0]
    names = [name[:-3] for name in embeddings if name.endswith("_03") and f"{name[:-3]}_08" in embeddings]
    first, second = (torch.stack([embeddings[f"{name}_{kind}"] for name in names]) for kind in ("03", "08"))
    result["london_people"] = float(len(names))
    result["london_same"] = float((first * second).sum(-1).mean())
    result["london_other"] = float((first @ second.T).sum() - (first * second).sum()) / (len(names) * (len(names) - 1))
    result["london_verification"], result["london_threshold"] = verification(first, second)
    result["london_top_1"] = float(((first @ second.T).argmax(1) == torch.arange(len(names))).float().mean())
    return result


def pictures(files: list[Path], models: Models, out: Path, side: int = 420, columns: int = 4) -> dict[str, int]:
    """Writes a contact sheet with all detections drawn; returns the number of faces by file name."""
    sheet = Image.new("RGB", (columns * side, -(-len(files) // columns) * side))
    counts = {}
    for place, file in enumerate(files):
        image = images.read(file)
        faces = find(image, models)
        counts[file.name] = len(faces)
        drawn = images.to_pil(draw.boxes(image, faces)[0])
        drawn.thumbnail((side, side))
        sheet.paste(drawn, (place % columns * side, place // columns * side))
    out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(out)
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/eval"))
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    models = load_models()
    data, out = arguments.data, arguments.out
    report: dict[str, dict] = {}
    with torch.inference_mode():
        for name, measure in (("detection", detection), ("landmarks", landmarks), ("identity", identity)):
            report[name] = measure(data, models)
            log.info("%s %s", name, json.dumps(report[name], indent=1))
        report["photos"] = pictures(sorted((data / "photos").glob("*.jpg")), models, out / "photos.png")
        report["portraits"] = pictures(sorted((data / "portraits").glob("*.jpg")), models, out / "portraits.png")
    write_json(out / "networks.json", report)


if __name__ == "__main__":
    main()
