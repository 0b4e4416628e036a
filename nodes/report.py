"""Face Report: the quality of a swap in numbers, face by face."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces import cards
from ..cscs_core.faces.identity import embedded_by
from ..cscs_core.faces.select import ORDERS, order
from ..cscs_core.tasks.report import FaceMeasures, report, sentences
from ..cscs_core.types import FaceSet, Identity
from . import batches, host, inputs, loaded, node_ui, sockets

_MOST = 32  # cards; each takes 3 MB


class FaceReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_FaceReport",
            display_name="Face Report (CSCS)",
            category="CSCS",
            description="Compares images before and after a swap, face by face: similarity, pose, expression, seam. "
            "Use it to choose settings, or to find the bad frames of a video.",
            search_aliases=["face similarity", "face compare", "face distance", "quality", "before after", "metrics"],
            is_output_node=True,
            inputs=[
                io.Image.Input("target", tooltip="The images or frames before the swap."),
                io.Image.Input("result", tooltip="The same images after the swap, as many and of the same size."),
                inputs.detection_threshold(
                    "Lower it if a face is missed, or reported as not found again although it is there. Raise it if "
                    "something is counted that is not a face.",
                    advanced=True,
                ),
                sockets.Identity.Input(
                    "identity",
                    optional=True,
                    tooltip="The person who was put in, from Face Identity. Without it the similarity to the source "
                    "is not reported.",
                ),
                sockets.Faces.Input(
                    "faces",
                    optional=True,
                    tooltip="The faces of target to compare, from Detect Faces or Select Faces. If nothing is "
                    "connected, all faces are compared.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="The mask output of Face Swap. Without it the seam is not reported. It is resized to the "
                    "target.",
                ),
                inputs.detector("Connect it if faces are missed. Its face recognition compares the faces."),
            ],
            outputs=[
                io.String.Output("report", tooltip="All values as text, with a summary line."),
                io.String.Output("json", tooltip="The same for programs: a list with one object per face."),
                io.Float.Output(
                    "similarity",
                    tooltip="The lowest similarity among the changed faces, -1 to 1: to the source if identity is "
                    "connected, otherwise to the original face. A face that is not found again counts as 0. 0 if no "
                    "face changed.",
                ),
                io.Image.Output(
                    "picture", tooltip=f"Before, after and the values, one image per face, for the first {_MOST} faces."
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        target: Tensor,
        result: Tensor,
        detection_threshold: float,
        identity: Identity | None = None,
        faces: FaceSet | None = None,
        mask: Tensor | None = None,
        detector: loaded.Choice | None = None,
    ) -> io.NodeOutput:
        if target.shape[:3] != result.shape[:3]:
            raise ValueError(
                f"target is {_size(target)} and result is {_size(result)}: connect the same images before and after "
                "the swap"
            )
        given = None if faces is None else host.rebuild(faces, FaceSet, "faces")
        if given is not None:
            host.check_frames(target, given, "faces")
        models = loaded.ready(target, detector)
        person = None
        if identity is not None:
            person = embedded_by(host.rebuild(identity, Identity, "identity").to(models.device), models.encoder)
        rows, sheets, lines = [], [], []
        for index, before in host.frames(target, models.device):
            after = host.photo(result, index, models.device)
            if given is None:
                here = order(pipeline.find(before, models, detection_threshold), ORDERS[0])
            else:
                here = batches.take_frame(given, index).to(models.device)
            area = host.limit(mask, index, before)
            measured = report(before, after, here, models, person, area, detection_threshold)
            for row in (replace(row, frame=index) for row in measured):
                rows.append(row)
                lines += _indented(sentences(row))
                if len(sheets) < _MOST:
                    sheets.append(cards.card(before, after, here[[row.face]], sentences(row)))
            if not measured:
                lines.append(f"frame {index}: no face found")
        lowest = min((_similarity(row, person is not None) for row in rows if row.changed), default=0.0)
        summary = _summary(rows, lowest, person is not None)
        text = "\n".join([summary, *lines])
        ui = {**node_ui.compare(target, result), **node_ui.text(text), **node_ui.badge(summary)}
        picture = host.pixels(torch.stack(sheets or [cards.blank(["no face found"])]))
        return io.NodeOutput(text, _json(rows), lowest, picture, ui=ui)


def _similarity(row: FaceMeasures, to_source: bool) -> float:
    return (row.similarity_to_source if to_source else row.similarity_to_before) or 0.0


def _summary(rows: Sequence[FaceMeasures], lowest: float, to_source: bool) -> str:
    if not rows:
        return "no face found"
    changed = [row for row in rows if row.changed]
    text = f"{node_ui.plural(len(rows), 'face')}, {len(changed)} changed"
    if changed:
        lowest_of = "lowest similarity" if len(changed) > 1 else "similarity"
        text += f", {lowest_of} to the {'source' if to_source else 'original face'} {lowest:.2f}"
    gone = sum(not row.found for row in rows)
    return text + (f", {gone} not found again" if gone else "")


def _indented(lines: Sequence[str]) -> list[str]:
    return [lines[0], *(f"  {line}" for line in lines[1:])]


def _json(rows: Sequence[FaceMeasures]) -> str:
    """A list of objects with the fields of FaceMeasures; unknown values are null."""
    return json.dumps([{key: _rounded(value) for key, value in asdict(row).items()} for row in rows], allow_nan=False)


def _rounded(value: object) -> object:
    if isinstance(value, tuple):
        return [round(side, 1) for side in value]
    return round(value, 4) if isinstance(value, float) else value


def _size(image: Tensor) -> str:
    return f"{image.shape[0]} x {image.shape[2]} x {image.shape[1]}"
