"""Makes the example people: each is a morph of three generated faces and so shows no real person.

    python -m cscs_core.train.example_people --data $CSCS_DATA --out cscs_core/examples

Landmarks are averaged, and each picture is warped to them (thin plate spline on face and border). Low frequencies are
averaged over the three; at each place the fine detail comes from one of them, so that skin stays sharp. The background
is blurred.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Generator, Tensor

from ..io import images
from ..ops import colour, geometry, mesh, mesh_warp
from . import augment
from .people import PICTURE, load_people

# Rows of the test and then the validation people of faces/omi; no network was trained on any of them.
TRIPLES = {
    "person_1": (95, 198, 139),
    "person_2": (156, 165, 186),
    "person_3": (132, 182, 117),
    "person_4": (59, 49, 88),
    "person_5": (29, 137, 58),
    "person_6": (77, 70, 74),
}
SIZE = 512  # px
_ANCHORS = torch.tensor([[x, y] for x in (0.0, 0.5, 1.0) for y in (0.0, 0.5, 1.0) if (x, y) != (0.5, 0.5)]) * PICTURE


def morph(pixels: Tensor, points: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """One person from three, pixels (3, 3, 320, 320) 0..1 and meshes (3, 468, 2) -> pixels (3, 512, 512) 0..1 and mesh
    (468, 2)."""
    target = geometry.template("ffhq_512", PICTURE)[None]
    matrix = geometry.similarity(mesh.five(points), target)
    aligned = geometry.transform(points, matrix)
    goal = aligned.mean(0, keepdim=True).expand(3, -1, -1)
    chosen = [
        *mesh.OVAL,
        *mesh.LEFT_EYE,
        *mesh.RIGHT_EYE,
        *mesh.LIPS,
        *mesh.LEFT_BROW,
        *mesh.RIGHT_BROW,
        4,
        5,
        2,
        129,
        358,
    ]
    border = _ANCHORS.expand(3, -1, -1)
    control = torch.cat([goal[:, chosen], border], 1)
    source = torch.cat([points[:, chosen], geometry.transform(border, geometry.invert(matrix))], 1)
    scale = PICTURE / SIZE
    grid = (geometry.pixel_grid(SIZE, SIZE) + 0.5) * scale - 0.5
    place = mesh_warp.thin_plate(control, source, regularisation=0.5)(grid.view(1, -1, 2).expand(3, -1, -1))
    warped = geometry.sample(pixels, place.view(3, SIZE, SIZE, 2), "border")
    low = colour.gaussian_blur(warped, 5)
    owner = (augment.smooth_field(2, SIZE, 12 / SIZE, generator, cells=5).view(-1, SIZE, SIZE)[:3]).softmax(0)[:, None]
    out = low.mean(0) + 1.15 * ((warped - low) * owner).sum(0)
    points = (goal[0] + 0.5) / scale - 0.5
    x1, y1, x2, y2 = mesh.box(points).tolist()
    away = geometry.pixel_grid(SIZE, SIZE) - torch.tensor([(x1 + x2) / 2, y1 + 0.42 * (y2 - y1)])
    far = (away / torch.tensor([0.92 * (x2 - x1), 0.98 * (y2 - y1)])).norm(dim=-1)
    blurred = colour.gaussian_blur(out[None], 28)[0]
    return out.lerp(blurred, ((far - 0.85) / 0.3).clamp(0, 1)).clamp(0, 1), points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    people = [load_people(arguments.data, split, ("omi",)) for split in ("test", "validation")]
    pixels, points = (torch.cat([getattr(one, name) for one in people]) for name in ("pixels", "mesh"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    for seed, (name, rows) in enumerate(TRIPLES.items()):
        chosen = torch.tensor(rows)
        person, _ = morph(pixels[chosen].float() / 255, points[chosen], Generator().manual_seed(seed))
        images.write(arguments.out / f"{name}.jpg", person)


if __name__ == "__main__":
    main()
