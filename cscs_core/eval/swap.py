"""Measures swappers on pairs of held-out people, with independent judges.

python -m cscs_core.eval.swap --data $CSCS_DATA --out runs/eval --pairs 200 --swappers lite warp

With `--of photos` it measures photographs instead of the test people. Writes swap_OF.json with the measures and
swap_OF.png with source, target and the result of each swapper.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Generator, Tensor

from ..faces.select import order
from ..faces.swappers.base import Swapper
from ..faces.swappers.catalogue import DEFAULT_SWAPPER, load_swapper
from ..hub.store import default_store
from ..io import images
from ..io.console import complain
from ..io.files import BadInput, write_json
from ..ops import mesh
from ..pipeline import FaceFilter, Models, find, identity_from, load_models, prepare_source, swap_faces
from ..tasks.report import expression_error, pose_error
from ..train.people import Split, load_people
from .judges import Judges, interval, load_judges, retrieved

log = logging.getLogger(__name__)
_SHOWN = 24  # pairs on the sheet
_CELL = 240  # px
_SMALLEST = 96  # px, least side of a face in a photograph


@dataclass(frozen=True)
class Faces:
    """N images, each with one face to be measured."""

    pictures: list[Tensor]  # each (1, 3, H, W) in 0..1
    points: Tensor  # (N, 468, 2), its mesh


def synthetic(data: Path, split: Split) -> Faces:
    """The generated people in a split of the training data."""
    people = load_people(data, split, ("omi", "fake"))
    return Faces(list((people.pixels.float() / 255).split(1)), people.mesh)


def photographs(folder: Path, models: Models) -> Faces:
    """The photographs of a folder whose largest face is large enough. Raises BadInput if there are fewer than two."""
    pictures, points = [], []
    for file in sorted(folder.glob("*.jpg")):
        picture = images.read(file)
        faces = order(find(picture, models), "large-small")
        if len(faces) and float((faces.box[0, 2:] - faces.box[0, :2]).min()) >= _SMALLEST:
            pictures.append(picture)
            points.append(faces.mesh[0])
    if len(points) < 2:
        raise BadInput(f"{folder}: fewer than two photographs with a face of at least {_SMALLEST} px; add some")
    return Faces(pictures, torch.stack(points))


def drawn(count: int, total: int) -> tuple[Tensor, Tensor]:
    """Rows of sources and targets, (count,) each, from a fixed seed; nobody is paired with themselves."""
    generator = Generator().manual_seed(5)
    sources, targets = (torch.randperm(total, generator=generator)[:count] for _ in range(2))
    return sources, torch.where(sources == targets, (targets + 1) % total, targets)


def swapped(
    faces: Faces, sources: Tensor, targets: Tensor, swapper: Swapper, models: Models, size: int
) -> list[Tensor]:
    """The targets' images with the largest face swapped for the largest face of their sources, (1, 3, H, W) each."""
    results = []
    for source, target in zip(sources.tolist(), targets.tolist(), strict=True):
        person = prepare_source(identity_from([faces.pictures[source]], models), swapper, models)
        results.append(
            swap_faces(faces.pictures[target], person, models, size=size, face_filter=FaceFilter(indices=[0])).images
        )
    return results


@dataclass(frozen=True)
class Seen:
    """The judges' readings of N faces."""

    identity: Tensor  # (N, 128) unit embeddings
    points: Tensor  # (N, 68, 2) pixels


def seen(pictures: list[Tensor], points: Tensor, judges: Judges) -> Seen:
    """The judges' readings of N images (1, 3, H, W) of any size, each with a mesh in points (N, 468, 2)."""
    rows = [
        (judges.identity(picture, place), judges.points(picture, mesh.box(place)))
        for picture, place in zip(pictures, points.split(1), strict=True)
    ]
    return Seen(*(torch.cat(column) for column in zip(*rows, strict=True)))


def report(result: Seen, everyone: Seen, sources: Tensor, targets: Tensor) -> dict[str, Tensor]:
    """The measures of each pair, (N,) each; pose and expression are compared with the target."""
    to_source = (result.identity * everyone.identity[sources]).sum(-1)
    to_target = (result.identity * everyone.identity[targets]).sum(-1)
    return {
        "cos_source": to_source,
        "cos_target": to_target,
        "nearer_to_source": (to_source > to_target).float(),
        "top_1": retrieved(result.identity, everyone.identity, sources).float(),
        "pose_degrees": pose_error(result.points, everyone.points[targets]),
        "expression": expression_error(result.points, everyone.points[targets]),
    }


def sheet(columns: list[list[Tensor]], points: list[Tensor]) -> Image.Image:
    """A contact sheet with one cell row for each pair, two pairs side by side; faces are shown with surroundings."""
    wide = len(columns) * _CELL + 10
    rows = min(_SHOWN, len(columns[0]))
    whole = Image.new("RGB", (2 * wide, -(-rows // 2) * _CELL), "white")
    for row in range(rows):
        for column, (pictures, places) in enumerate(zip(columns, points, strict=True)):
            box = mesh.box(places[row : row + 1])[0]
            middle, reach = (box[:2] + box[2:]) / 2, 0.8 * float((box[2:] - box[:2]).max())
            corners = (*(middle - reach).tolist(), *(middle + reach).tolist())
            cell = images.to_pil(pictures[row][0]).transform(
                (_CELL, _CELL), Image.Transform.EXTENT, corners, Image.Resampling.BICUBIC
            )
            whole.paste(cell, (row % 2 * wide + column * _CELL, row // 2 * _CELL))
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("runs/eval"))
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--of", default="test", choices=("test", "validation", "photos"))
    parser.add_argument("--swappers", nargs="+", default=[DEFAULT_SWAPPER])
    parser.add_argument("--size", type=int, help="crop side in px, default: each swapper's best")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    judges, models = load_judges(arguments.data), load_models()
    with torch.inference_mode():
        if arguments.of == "photos":
            faces = photographs(arguments.data / "photos", models)
        else:
            faces = synthetic(arguments.data, arguments.of)
        sources, targets = drawn(arguments.pairs, len(faces.points))
        everyone = seen(faces.pictures, faces.points, judges)
        whole: dict[str, object] = {"of": arguments.of, "people": len(faces.points), "pairs": len(sources)}
        columns = [[faces.pictures[row] for row in rows.tolist()] for rows in (sources, targets)]
        places = [faces.points[sources], faces.points[targets]]
        for name in arguments.swappers:
            swapper = load_swapper(name, default_store())
            size = arguments.size or swapper.sizes[-1]
            results = swapped(faces, sources, targets, swapper, models, size)
            values = report(seen(results, faces.points[targets], judges), everyone, sources, targets)
            whole[name] = {"size": size, **{key: str(interval(value)) for key, value in values.items()}}
            log.info("%s %s", name, json.dumps(whole[name], indent=1))
            columns.append(results)
            places.append(faces.points[targets])
    arguments.out.mkdir(parents=True, exist_ok=True)
    base = arguments.out / f"swap_{arguments.of}"
    write_json(base.with_suffix(".json"), whole)
    images.write(base.with_suffix(".png"), images.from_pil(sheet(columns, places))[0])


if __name__ == "__main__":
    try:
        main()
    except BadInput as error:
        complain(str(error))
        sys.exit(2)
