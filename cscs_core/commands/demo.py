"""`cscs demo`: swaps faces between the bundled example people and writes one image: source | target | result."""

from __future__ import annotations

import argparse
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps
from torch import Tensor

from ..faces.swappers.base import Swapper
from ..faces.swappers.catalogue import load_swapper, public
from ..hub.store import default_store
from ..io import images, provenance
from ..io.console import say, tracked
from ..io.files import check_writable
from ..pipeline import Models, identity_from, load_models, prepare_source, swap_faces
from ..tasks.example_people import EXAMPLES
from .common import select_device

_ROWS = 4
_CELL, _CAPTION, _GAP = 320, 30, 8  # px


def run(options: argparse.Namespace) -> int:
    """Writes the grid. Raises BadInput if it cannot be written or the swapper cannot be loaded."""
    images.format_of(options.out)
    check_writable(options.out)
    device = select_device(options.device)
    swapper = load_swapper(options.swapper, default_store(), device)
    write_grid(options.out, load_models(device), public(options.swapper), swapper)
    return 0


def write_grid(out: Path, models: Models, name: str, swapper: Swapper) -> None:
    """Writes the grid and prints each row's identity similarity before and after the swap; `name` is the swapper's."""
    people = {file.stem: images.read(file) for file in sorted(EXAMPLES.glob("*.jpg"))}
    if len(people) < 2:
        raise FileNotFoundError(f"{EXAMPLES}: the example people are missing from this installation")
    rows = [_row(source, target, people, models, swapper) for source, target in tracked(_pairs(list(people)), "demo")]
    images.write(out, images.from_pil(_grid(rows))[0], provenance.synthetic(name))
    say(f"{out}: source | target | result")


def _pairs(names: list[str]) -> list[tuple[str, str]]:
    """Pairs (source, target): each person is the source for the next one."""
    return list(zip(names, names[1:] + names[:1], strict=True))[:_ROWS]


def _row(
    source: str, target: str, people: dict[str, Tensor], models: Models, swapper: Swapper
) -> list[tuple[Tensor, str]]:
    """Three images (3, H, W) 0..1 with their captions."""
    person = identity_from([people[source]], models)
    before = float(identity_from([people[target]], models).mean @ person.mean)
    done = swap_faces(people[target], prepare_source(person, swapper, models), models)
    after = float(done.similarity_to_source[0])
    say(f"{source} -> {target}: similarity to the source {before:.2f} before, {after:.2f} after")
    return [
        (people[source][0], f"source: {source}"),
        (people[target][0], f"target: similarity {before:.2f}"),
        (done.images[0], f"result: similarity {after:.2f}"),
    ]


def _grid(rows: list[list[tuple[Tensor, str]]]) -> Image.Image:
    font = ImageFont.load_default(18)
    step = (_CELL + _GAP, _CELL + _CAPTION + _GAP)
    sheet = Image.new("RGB", (_GAP + 3 * step[0], _GAP + len(rows) * step[1]), "white")
    draw = ImageDraw.Draw(sheet)
    for y, row in enumerate(rows):
        for x, (picture, caption) in enumerate(row):
            corner = (_GAP + x * step[0], _GAP + y * step[1])
            sheet.paste(ImageOps.pad(images.to_pil(picture), (_CELL, _CELL), color="white"), corner)
            draw.text((corner[0] + 4, corner[1] + _CELL + 4), caption, "black", font)
    return sheet
