"""Face Report: how well a swap went, face by face, in numbers."""

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
from . import batches, host, loaded, node_ui, sockets

_MOST = 32  # cards; each takes 3 MB


class FaceReport(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_FaceReport",
            display_name="Face Report (CSCS)",
            category="CSCS",
            description="Compares pictures before and after a swap, face by face: likeness, pose, expression, seam. "
            "Use it to choose settings, or to find the bad frames of a video.",
            search_aliases=["face similarity", "face compare", "face distance", "quality", "before after", "metrics"],
            is_output_node=True,
            inputs=[
                io.Image.Input("target", tooltip="The pictures or frames before the swap."),
                io.Image.Input("result", tooltip="The same pictures after it: as many, of the same size."),
                io.Float.Input(
                    "detection_threshold",
                    default=0.5,
                    min=0.05,
                    max=0.95,
                    step=0.05,
                    advanced=True,
                    tooltip="Lower it when a face is missed or said to be gone though you see it; raise it when "
                    "something that is no face is counted.",
                ),
                sockets.Identity.Input(
                    "identity",
                    optional=True,
                    tooltip="Who the faces should look like, from Face Identity. Without it the likeness to the source "
                    "is not said.",
                ),
                sockets.Faces.Input(
                    "faces",
                    optional=True,
                    tooltip="Which faces of target, from Detect Faces or Select Faces. Without it all that are found.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Where pixels were replaced: the mask output of Face Swap. Without it the seam is not "
                    "said. Stretched to the target's size.",
                ),
                sockets.Detector.Input(
                    "detector", optional=True, tooltip="From Load Model, when faces are missed. Also tells who is who."
                ),
            ],
            outputs=[
                io.String.Output("report", tooltip="All figures as text, and a line that sums them up."),
                io.String.Output("json", tooltip="The same for programs: a list with one object per face."),
                io.Float.Output(
                    "similarity",
                    tooltip="The lowest likeness among the faces that changed, -1 to 1: to the source if identity is "
                    "connected, otherwise to the face before. A face not found again counts 0; 0 if none changed.",
                ),
                io.Image.Output(
                    "picture", tooltip=f"Before and after with the figures, a picture per face, the first {_MOST}."
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
                f"target is {_size(target)} and result is {_size(result)}: connect the same images before and after"
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
        lowest = min((_likeness(row, person is not None) for row in rows if row.changed), default=0.0)
        said = _summary(rows, lowest, person is not None)
        text = "\n".join([said, *lines])
        ui = {**node_ui.compare(target, result), **node_ui.text(text), **node_ui.badge(said)}
        picture = host.pixels(torch.stack(sheets or [cards.blank(["no face found"])]))
        return io.NodeOutput(text, _json(rows), lowest, picture, ui=ui)


def _likeness(row: FaceMeasures, to_source: bool) -> float:
    return (row.similarity_to_source if to_source else row.similarity_to_before) or 0.0


def _summary(rows: Sequence[FaceMeasures], lowest: float, to_source: bool) -> str:
    if not rows:
        return "no face found"
    changed = [row for row in rows if row.changed]
    said = f"{node_ui.plural(len(rows), 'face')}, {len(changed)} changed"
    if changed:
        said += f", likeness to {'the source' if to_source else 'before'} {lowest:.2f}"
        said += " at the lowest" * (len(changed) > 1)
    gone = sum(not row.found for row in rows)
    return said + (f", {gone} not found again" if gone else "")


def _indented(lines: Sequence[str]) -> list[str]:
    return [lines[0], *(f"  {line}" for line in lines[1:])]


def _json(rows: Sequence[FaceMeasures]) -> str:
    """A list of objects with the names of Measured; what is not known is null."""
    return json.dumps([{key: _rounded(value) for key, value in asdict(row).items()} for row in rows], allow_nan=False)


def _rounded(value: object) -> object:
    if isinstance(value, tuple):
        return [round(side, 1) for side in value]
    return round(value, 4) if isinstance(value, float) else value


def _size(image: Tensor) -> str:
    return f"{image.shape[0]} x {image.shape[2]} x {image.shape[1]}"
