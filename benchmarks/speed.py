"""Benchmarks the core on this machine, where possible against a plain implementation in the same run.

    python benchmarks/speed.py [--threads 2] [--device cpu] [--turns 15]

Times are medians in milliseconds. The ratio is plain / ours, measured turn by turn so that a busy machine slows both.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from cscs_core.faces.align import align
from cscs_core.faces.identity import encode
from cscs_core.faces.landmarks import locate
from cscs_core.faces.paste import paste
from cscs_core.faces.swappers.base import swap
from cscs_core.faces.swappers.lite import SIDE, load_lite
from cscs_core.faces.swappers.warp import WarpSwapper
from cscs_core.io import images
from cscs_core.models import AEIConfig, AEINet, FusedAEINet
from cscs_core.ops import geometry
from cscs_core.pipeline import find, identity_from, load_models, prepare_source, swap_faces
from cscs_core.tasks.example_people import EXAMPLES


def race(
    ours: Callable[[], object], plain: Callable[[], object] | None, device: str, turns: int
) -> tuple[float, float]:
    """Median milliseconds of `ours`, and the median of plain / ours over the turns; NaN without a plain form."""

    def timed(work: Callable[[], object]) -> float:
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        start = time.perf_counter()
        work()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        return 1000 * (time.perf_counter() - start)

    for work in (ours, plain):
        if work:
            timed(work)
    ours_ms, ratios = [], []
    for _ in range(turns):
        ours_ms.append(timed(ours))
        if plain:
            ratios.append(timed(plain) / ours_ms[-1])
    return statistics.median(ours_ms), statistics.median(ratios) if ratios else float("nan")


def whole_frame_paste(frame: Tensor, crops) -> Tensor:
    """The plain form of paste: warps every crop over the whole frame."""
    out = frame.clone()
    back = geometry.invert(crops.matrix)
    for row in range(len(crops)):
        both = torch.cat([crops.pixels[row], crops.mask[row]])[None]
        laid = geometry.warp(both, back[row : row + 1], (frame.shape[-2], frame.shape[-1]), padding="zeros")
        out = out + (laid[:, :3] - out) * laid[:, 3:]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--turns", type=int, default=15)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = options.device
    models = load_models(device)
    people = [images.read(file).to(device) for file in sorted(EXAMPLES.glob("*.jpg"))]
    frame = torch.nn.functional.interpolate(torch.cat(people[:3], 3), (720, 1280), mode="bilinear", antialias=True)
    faces = find(frame, models)
    one = faces[:1]
    person = identity_from(people[3:4], models)
    warp = WarpSwapper()
    lines: list[tuple[str, Callable[[], object], Callable[[], object] | None, str]] = [
        ("detection, 1280x720", lambda: models.detector(frame, 0.5), None, ""),
        (
            "dense landmarks, one face",
            lambda: locate(frame, one.frame, one.landmarks, models.landmarks),
            None,
            "",
        ),
        ("embedding, one face", lambda: encode(frame, one, models.encoder), None, ""),
    ]
    many = faces[[0] * 16]
    lines.append(
        (
            "dense landmarks, 16 faces in one batch",
            lambda: locate(frame, many.frame, many.landmarks, models.landmarks),
            lambda: [locate(frame, one.frame, one.landmarks, models.landmarks) for _ in range(16)],
            "one by one",
        )
    )
    lines.append(
        (
            "embedding, 16 faces in one batch",
            lambda: encode(frame, many, models.encoder),
            lambda: [encode(frame, one, models.encoder) for _ in range(16)],
            "one by one",
        )
    )
    lite = load_lite(device)
    known = lite.encode(person)
    generator = FusedAEINet(AEINet(AEIConfig()).eval()).to(device)
    z = generator.prepare(torch.nn.functional.normalize(torch.rand(1, 512, device=device), dim=-1))
    for size in (256, 512):
        crops = align(frame, one, "ffhq_512", size)
        lines.append((f"warp swapper, one face, {size} px", lambda crops=crops: swap(crops, person, warp), None, ""))
        lines.append(
            (
                f"lite swapper, one face, {size} px",
                lambda crops=crops: swap(crops, known, lite),
                lambda: generator(torch.zeros(1, 3, 256, 256, device=device), z),
                "the generator of CSCS, 256 px",
            )
        )
    seen = [torch.rand(1, channels, SIDE, SIDE, device=device) for channels in (3, 3, 1)]
    lines.append(
        (
            "the refiner alone",
            lambda: lite.refiner(*seen, known.z),
            lambda: generator(torch.zeros(1, 3, 256, 256, device=device), z),
            "the generator of CSCS, 256 px",
        )
    )
    big = torch.nn.functional.interpolate(frame, (1080, 1920), mode="bilinear")
    crops = align(big, replace(one, landmarks=one.landmarks * 1.5, mesh=one.mesh * 1.5), "ffhq_512", 512)
    lines.append(
        (
            "paste, one 512 px crop, 1920x1080",
            lambda: paste(big, crops),
            lambda: whole_frame_paste(big, crops),
            "whole frame",
        )
    )
    lines.append(
        (
            f"everything, {len(faces)} faces, 1280x720",
            lambda: swap_faces(frame, prepare_source(person, lite, models), models),
            None,
            "",
        )
    )
    write = sys.stdout.write
    write(f"torch {torch.__version__}, {options.threads} threads, {platform.machine()}, {device}\n")
    write("| what | ms | plain / ours | plain form |\n|---|---|---|---|\n")
    with torch.inference_mode():
        for name, ours, plain, form in lines:
            ms, ratio = race(ours, plain, device, options.turns)
            write(f"| {name} | {ms:.1f} | {f'{ratio:.1f}' if plain else ''} | {form} |\n")


if __name__ == "__main__":
    main()
