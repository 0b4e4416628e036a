"""Restore Faces: blurred, coarse or noisy faces made clearer in place."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.identity import encode
from ..cscs_core.faces.restorers.base import Restoration, restore_faces
from ..cscs_core.faces.select import describe_place
from ..cscs_core.types import FaceSet
from . import batches, host, loaded, node_ui, sockets


class RestoreFaces(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_RestoreFaces",
            display_name="Restore Faces (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Makes blurred, noisy or much compressed faces clearer. The bundled restorer leaves clear "
            "faces nearly as they are and invents nothing; larger ones from Load Model do.",
            search_aliases=["face restore", "face enhance", "gfpgan", "codeformer", "restoreformer", "sharpen face"],
            inputs=[
                io.Image.Input("image", tooltip="Pictures or the frames of a video; each face of each is restored."),
                io.Float.Input(
                    "restore_visibility",
                    default=0.8,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="How much of the restored face is laid over. Lower it when skin looks painted or the "
                    "person no longer like themselves; 0 changes nothing.",
                ),
                io.Float.Input(
                    "codeformer_weight",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    advanced=True,
                    tooltip="CodeFormer only: raise it to stay nearer to the face in the picture, lower it for faces "
                    "that are hardly recognisable. Other restorers ignore it.",
                ),
                sockets.Faces.Input(
                    "faces",
                    optional=True,
                    tooltip="Which faces, from Detect Faces or Select Faces. Without it every face that is found.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Only white places may change, for one half of a face or all but a hand before it. "
                    "Stretched to the image's size.",
                ),
                sockets.Restorer.Input(
                    "restorer",
                    optional=True,
                    tooltip="From Load Model, for GFPGAN, CodeFormer or RestoreFormer. Without it the bundled one.",
                ),
                sockets.Detector.Input(
                    "detector",
                    optional=True,
                    tooltip="From Load Model, when faces are missed. Counts only without faces.",
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The image with clearer faces; frames without a face are unchanged."),
                io.Mask.Output("mask", tooltip="White where pixels may have changed, for a second pass over the face."),
                io.String.Output(
                    "report",
                    tooltip="One line per frame and face: how like itself the person still is (1 is the same).",
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
        finder, engine = loaded.ready_to_restore(image, restorer, detector)
        restoration = Restoration(engine, restore_visibility, codeformer_weight)
        restored, touched, lines, count = host.blank(image), host.blank(image, 1), [], 0
        for index, frame in host.frames(image, finder.device):
            here = pipeline.find(frame, finder) if faces is None else batches.take_frame(faces, index).to(finder.device)
            limit = host.limit(mask, index, frame)
            done, changed = restore_faces(frame, here, restoration, limit, host.raise_if_cancelled)
            restored[index], touched[index] = host.pixels(done)[0], host.pixels(changed)[0]
            if why := _unchanged(here, restore_visibility, limit):
                lines.append(f"frame {index} is unchanged: {why}")
                continue
            alike = (encode(frame, here, finder.encoder) * encode(done, here, finder.encoder)).sum(-1)
            lines += _lines(index, here, alike)
            count += len(here)
        ui = {**node_ui.compare(image, restored), **node_ui.badge(f"{node_ui.plural(count, 'face')} restored")}
        return io.NodeOutput(restored, touched[..., 0], "\n".join(lines) or "no image came in", ui=ui)


def _unchanged(faces: FaceSet, visibility: float, limit: Tensor | None) -> str:
    """Why a frame stays as it is; nothing if it does not."""
    if not len(faces):
        return "no face"
    if visibility == 0:
        return "restore_visibility is 0"
    return host.BLACK if limit is not None and not limit.any() else ""


def _lines(index: int, faces: FaceSet, alike: Tensor) -> list[str]:
    lines = [f"frame {index}: {node_ui.plural(len(faces), 'face')} restored"]
    for box, cosine in zip(faces.box.tolist(), alike.tolist(), strict=True):
        lines.append(f"  face at {describe_place(box)}: likeness to itself {cosine:.2f}")
    return lines
