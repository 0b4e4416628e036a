"""Restore Faces: makes blurred, noisy or compressed faces clearer in place."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.identity import encode
from ..cscs_core.faces.restorers.base import Restoration, restore_faces
from ..cscs_core.types import FaceSet
from . import batches, frame_report, host, inputs, loaded, node_ui, sockets


class RestoreFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_RestoreFaces",
            display_name="Restore Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Makes blurred, noisy or heavily compressed faces clearer. The bundled restorer hardly "
            "changes clear faces and invents nothing; the larger ones from Load Model invent detail.",
            search_aliases=["face restore", "face enhance", "gfpgan", "codeformer", "restoreformer", "sharpen face"],
            inputs=[
                io.Image.Input("image", tooltip="Images or the frames of a video. Every face in each is restored."),
                inputs.restore_visibility(
                    "Lower it if skin looks painted or the person no longer looks like themselves. 0 changes nothing."
                ),
                inputs.codeformer_weight("the face in the image"),
                sockets.Faces.Input(
                    "faces",
                    optional=True,
                    tooltip="The faces to restore, from Detect Faces or Select Faces. If nothing is connected, all "
                    "faces are.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only white areas may change. Use it for half a face, or to protect a hand in front of "
                    "it. It is resized to the image.",
                ),
                sockets.Restorer.Input(
                    "restorer",
                    optional=True,
                    tooltip="GFPGAN, CodeFormer or RestoreFormer from Load Model. If nothing is connected, the "
                    "bundled one is used.",
                ),
                inputs.detector("Connect it if faces are missed. Ignored if faces is connected."),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The image with clearer faces. Frames without a face are unchanged."),
                io.Mask.Output("mask", tooltip="White where pixels may have changed, for a second pass over the face."),
                io.String.Output(
                    "report",
                    tooltip="One line per frame and face: similarity to the face before, 1 is the same.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        restore_visibility: float,
        codeformer_weight: float,
        faces: FaceSet | None = None,
        mask: Tensor | None = None,
        restorer: loaded.Choice | None = None,
        detector: loaded.Choice | None = None,
    ) -> io.NodeOutput:
        if faces is not None:
            faces = host.rebuild(faces, FaceSet, "faces")
            host.check_frames(image, faces, "faces")
        models, engine = loaded.ready_to_restore(image, restorer, detector)
        restoration = Restoration(engine, restore_visibility, codeformer_weight)
        restored, touched, lines, count = host.blank(image), host.blank(image, 1), [], 0
        for index, frame in host.frames(image, models.device):
            here = pipeline.find(frame, models) if faces is None else batches.take_frame(faces, index).to(models.device)
            limit = host.limit(mask, index, frame)
            done, changed = restore_faces(frame, here, restoration, limit, host.raise_if_cancelled)
            restored[index], touched[index] = host.pixels(done)[0], host.pixels(changed)[0]
            if why := _unchanged(here, restore_visibility, limit):
                lines += frame_report.unchanged(index, why)
                continue
            similarity = (encode(frame, here, models.encoder) * encode(done, here, models.encoder)).sum(-1)
            lines += frame_report.frame_lines(index, "restored", _faces(here, similarity))
            count += len(here)
        ui = {**node_ui.compare(image, restored), **node_ui.badge(f"{node_ui.plural(count, 'face')} restored")}
        return io.NodeOutput(restored, touched[..., 0], frame_report.text(lines), ui=ui)


def _unchanged(faces: FaceSet, visibility: float, limit: Tensor | None) -> str:
    """Why a frame is unchanged; empty if it is not."""
    if not len(faces):
        return "no face found"
    if visibility == 0:
        return "restore_visibility is 0"
    return host.BLACK if limit is not None and not limit.any() else ""


def _faces(faces: FaceSet, similarity: Tensor) -> list[str]:
    rows = zip(faces.box.tolist(), similarity.tolist(), strict=True)
    return [frame_report.face(box, f"similarity to the face before {cosine:.2f}") for box, cosine in rows]
