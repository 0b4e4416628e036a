"""The command line: `cscs demo | detect | swap | pairs | train | models | fetch | convert | export`.

Exit codes: 0 done, 2 bad input, 1 a fault of ours (a traceback).
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from . import demo, images, mesh, provenance
from .align import QUAD
from .arguments import check_apart, outputs, parser, pictures
from .console import complain, say, tracked
from .convert import run_convert
from .cscs_swapper import CSCSSwapper
from .export import run_export
from .files import BadInput, check_writable, placed
from .model_commands import ready, run_fetch, run_models
from .pairs import run_pairs
from .pipeline import (
    Choosing,
    Finish,
    Models,
    NoFace,
    Source,
    encoded,
    find,
    identity_from,
    load_models,
    swap_faces,
)
from .restore import Restoration
from .restorers import load_restorer_named
from .select import order
from .store import default_store
from .swappers import load_swapper, public
from .train.swap_run import run_train
from .types import FaceSet, Identity


def main(arguments: list[str] | None = None) -> int:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # file names may hold what the terminal cannot show
    options = parser().parse_args(arguments)
    commands = {
        "demo": run_demo,
        "detect": run_detect,
        "swap": run_swap,
        "pairs": run_pairs,
        "train": run_train,
        "models": run_models,
        "fetch": partial(run_fetch, after=ready),
        "convert": run_convert,
        "export": run_export,
    }
    try:
        return commands[options.command](options)
    except BadInput as error:
        complain(str(error))
        return 2
    except KeyboardInterrupt:
        complain("stopped")
        return 130


def run_demo(options: argparse.Namespace) -> int:
    images.format_of(options.out)
    check_writable(options.out)
    device = _device(options.device)
    swapper = load_swapper(options.swapper, default_store(), device)
    demo.run(options.out, load_models(device), public(options.swapper), swapper)
    return 0


def run_detect(options: argparse.Namespace) -> int:
    files = pictures(options.images)
    _check_report(options.json, files)
    models = load_models(_device(options.device), options.detector)
    report = []
    for file in tracked(files, "detect"):
        try:
            image = images.read(file)
        except images.ImageError as error:
            complain(str(error))
            continue
        faces = order(find(image.to(models.device), models, options.detection), options.order)
        report.append({"image": str(file), "faces": _described(faces)})
        say(f"{file}: {_count(len(faces))}")
    return _finish(options.json, report, len(report), len(files))


def run_swap(options: argparse.Namespace) -> int:
    sources, targets = pictures(options.source), pictures(options.target)
    references = pictures(options.reference or [])
    if options.weights and (
        len(options.weights) != len(sources) or min(options.weights) < 0 or not 0 < sum(options.weights) < float("inf")
    ):
        raise BadInput(f"--weights: {len(sources)} numbers are needed, one for each source photo, above 0 at least one")
    several = len(options.target) > 1 or options.target[0].is_dir()
    written = outputs(targets, options.output, several)
    for path in written:
        check_writable(path)
    check_apart(written, sources + targets + references)
    _check_report(options.json, sources + targets + references + written)
    device = _device(options.device)
    swapper = load_swapper(options.swapper, default_store(), device)
    if options.balance or options.quad:
        if not isinstance(swapper, CSCSSwapper):
            raise BadInput(
                f"--balance and --quad: are for the swapper cscs and trained ones, not for {options.swapper}"
            )
        encoder, adapter = options.balance or (1.0, 1.0)
        template = QUAD if options.quad else swapper.template
        swapper = replace(swapper, encoder_weight=encoder, adapter_weight=adapter, template=template)
    if options.size not in (None, *swapper.sizes):
        raise BadInput(f"--size {options.size}: {options.swapper} works at {', '.join(map(str, swapper.sizes))} px")
    finish = Finish()
    if options.restore:
        restorer = load_restorer_named(options.restore, default_store(), device)
        finish = Finish(restoration=Restoration(restorer, options.restore_blend, options.restore_weight))
    models = load_models(device, options.detector)
    source = encoded(_identity(sources, models, "source", options.detection, options.weights), swapper, models)
    reference = _identity(references, models, "reference", options.detection) if references else None
    choosing = Choosing(options.order, options.face, reference, options.threshold, detection=options.detection)
    entries, faces = [], []
    for target, output in tracked(list(zip(targets, written, strict=True)), "swap"):
        try:
            entry, swapped = _swap(target, output, source, models, choosing, finish, options)
        except images.ImageError as error:
            complain(str(error))
            continue
        entries.append(entry)
        faces += swapped
    report = {"swapper": options.swapper, "sources": [str(file) for file in sources], "images": entries, "faces": faces}
    return _finish(options.json, report, len(entries), len(targets))


def _swap(
    target: Path,
    output: Path,
    source: Source,
    models: Models,
    choosing: Choosing,
    finish: Finish,
    options: argparse.Namespace,
) -> tuple[dict, list[dict]]:
    """One target to one output: what the report says of the picture, and of each face that was swapped."""
    image = images.read(target)
    done = swap_faces(
        image,
        source,
        models,
        size=options.size,
        choosing=choosing,
        strength=options.strength,
        finish=finish,
    )
    notes = list(done.skipped)
    if len(done.faces):
        note = provenance.synthetic(public(options.swapper)) if options.provenance else {}
        images.write(output, done.images[0], note)
    elif images.FORMATS.get(target.suffix.lower()) == images.format_of(output):
        _copy(target, output)
        notes.append("the target is copied unchanged")
    else:
        images.write(output, image[0])
        notes.append("the target is saved unchanged in the other format")
    columns = (done.faces.box, done.similarity_to_source, done.similarity_to_target)
    faces = [
        {
            "image": str(target),
            "box": _rounded(box),
            "similarity_to_source": round(to_source, 4),
            "similarity_to_target": round(to_target, 4),
        }
        for box, to_source, to_target in zip(*(column.tolist() for column in columns), strict=True)
    ]
    likeness = ", ".join(f"{face['similarity_to_source']:.2f}" for face in faces)
    swapped = [f"{_count(len(faces))} swapped, similarity to the source {likeness}"] if faces else []
    say(f"{output}: {'; '.join(swapped + notes)}")
    return {"target": str(target), "output": str(output), "swapped": len(faces), "notes": notes}, faces


def _identity(
    files: list[Path], models: Models, role: str, detection: float, weights: list[float] | None = None
) -> Identity:
    try:
        return identity_from([images.read(file) for file in files], models, threshold=detection, weights=weights)
    except NoFace as error:
        raise BadInput(f"{files[error.index]}: no face found in this {role} picture") from None


def _copy(source: Path, target: Path) -> None:
    try:
        with placed(target) as beside:
            beside.write_bytes(source.read_bytes())
    except OSError as error:
        raise BadInput(f"{target}: cannot be written ({error.strerror})") from None


def _described(faces: FaceSet) -> list[dict]:
    columns = (faces.box, faces.score, faces.landmarks, faces.mesh[:, list(mesh.IBUG68)])
    return [
        {
            "box": _rounded(box),
            "score": round(score, 4),
            "points": [_rounded(point) for point in points],
            "landmarks": [_rounded(point) for point in landmarks],
        }
        for box, score, points, landmarks in zip(*(column.tolist() for column in columns), strict=True)
    ]


def _rounded(pixels: list[float]) -> list[float]:
    return [round(value, 2) for value in pixels]


def _count(faces: int) -> str:
    return "1 face" if faces == 1 else f"{faces or 'no'} faces"


def _device(name: str) -> torch.device:
    """The device asked for, tried once; "auto" is CUDA where there is one."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:  # a torch without CUDA asserts
        raise BadInput(f"--device {name}: {str(error).splitlines()[0]}") from None
    return device


def _check_report(path: Path | None, others: list[Path]) -> None:
    if path is not None:
        check_writable(path)
        check_apart([path], others)


def _finish(path: Path | None, report: object, done: int, asked: int) -> int:
    """Writes the report unless every picture failed, and says how it went as an exit code."""
    if path is not None and done:
        try:
            with placed(path) as beside:
                beside.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise BadInput(f"{path}: cannot be written ({error.strerror})") from None
    return 0 if done == asked else 2


if __name__ == "__main__":
    sys.exit(main())
