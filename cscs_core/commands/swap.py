"""`cscs swap`: swaps the face of one person into pictures."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from ..faces.align import QUAD
from ..faces.restorers.base import Restoration
from ..faces.restorers.catalogue import load_restorer
from ..faces.swappers.catalogue import load_swapper, public
from ..faces.swappers.cscs import CSCSSwapper
from ..hub.store import default_store
from ..io import images, provenance
from ..io.console import complain, say, tracked
from ..io.files import BadInput, check_writable, placed
from ..pipeline import (
    FaceFilter,
    Models,
    NoFace,
    PostProcess,
    PreparedSource,
    identity_from,
    load_models,
    prepare_source,
    swap_faces,
)
from ..types import Identity
from .common import check_apart, check_report, faces_text, finish_report, outputs, rounded, select_device


def run(options: argparse.Namespace) -> int:
    """0, or 2 if some targets cannot be read. Raises BadInput before any work if the options are wrong."""
    sources, targets = images.picture_files(options.source), images.picture_files(options.target)
    references = images.picture_files(options.reference or [])
    if options.weights and (
        len(options.weights) != len(sources) or min(options.weights) < 0 or not 0 < sum(options.weights) < float("inf")
    ):
        raise BadInput(
            f"--weights: needs one number per source photo ({len(sources)}), each 0 or more and at least one above 0"
        )
    several = len(options.target) > 1 or options.target[0].is_dir()
    written = outputs(targets, options.output, several)
    for path in written:
        check_writable(path)
    check_apart(written, sources + targets + references)
    check_report(options.json, sources + targets + references + written)
    device = select_device(options.device)
    swapper = load_swapper(options.swapper, default_store(), device)
    if options.balance or options.quad:
        if not isinstance(swapper, CSCSSwapper):
            raise BadInput(f"--balance and --quad: need the swapper cscs or a trained one, not {options.swapper}")
        encoder, adapter = options.balance or (1.0, 1.0)
        template = QUAD if options.quad else swapper.template
        swapper = replace(swapper, encoder_weight=encoder, adapter_weight=adapter, template=template)
    if options.size not in (None, *swapper.sizes):
        raise BadInput(f"--size {options.size}: {options.swapper} supports {', '.join(map(str, swapper.sizes))} px")
    post_process = PostProcess()
    if options.restore:
        restorer = load_restorer(options.restore, default_store(), device)
        post_process = PostProcess(restoration=Restoration(restorer, options.restore_blend, options.restore_weight))
    models = load_models(device, options.detector)
    source = prepare_source(_identity(sources, models, "source", options.detection, options.weights), swapper, models)
    reference = _identity(references, models, "reference", options.detection) if references else None
    face_filter = FaceFilter(options.order, options.face, reference, options.threshold, detection=options.detection)
    entries, faces = [], []
    for target, output in tracked(list(zip(targets, written, strict=True)), "swap"):
        try:
            entry, swapped = _swap(target, output, source, models, face_filter, post_process, options)
        except images.ImageError as error:
            complain(str(error))
            continue
        entries.append(entry)
        faces += swapped
    report = {"swapper": options.swapper, "sources": [str(file) for file in sources], "images": entries, "faces": faces}
    return finish_report(options.json, report, len(entries), len(targets))


def _swap(
    target: Path,
    output: Path,
    source: PreparedSource,
    models: Models,
    face_filter: FaceFilter,
    post_process: PostProcess,
    options: argparse.Namespace,
) -> tuple[dict, list[dict]]:
    """Swaps one target into one output; returns the report's entry of the picture and those of its swapped faces."""
    image = images.read(target)
    done = swap_faces(
        image,
        source,
        models,
        size=options.size,
        face_filter=face_filter,
        strength=options.strength,
        post_process=post_process,
    )
    notes = list(done.skipped)
    if len(done.faces):
        note = provenance.synthetic(public(options.swapper)) if options.provenance else {}
        images.write(output, done.images[0], note)
    elif images.FORMATS.get(target.suffix.lower()) == images.format_of(output):
        _copy(target, output)
        notes.append("target copied unchanged")
    else:
        images.write(output, image[0])
        notes.append("target converted, otherwise unchanged")
    columns = (done.faces.box, done.similarity_to_source, done.similarity_to_target)
    faces = [
        {
            "image": str(target),
            "box": rounded(box),
            "similarity_to_source": round(to_source, 4),
            "similarity_to_target": round(to_target, 4),
        }
        for box, to_source, to_target in zip(*(column.tolist() for column in columns), strict=True)
    ]
    likeness = ", ".join(f"{face['similarity_to_source']:.2f}" for face in faces)
    swapped = [f"{faces_text(len(faces))} swapped, similarity to the source {likeness}"] if faces else []
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
        with placed(target) as temporary:
            temporary.write_bytes(source.read_bytes())
    except OSError as error:
        raise BadInput(f"{target}: cannot be written ({error.strerror})") from None
