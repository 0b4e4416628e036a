"""Re-Age: a person at the age that other photos of the same person show."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.swappers.base import largest_size
from ..cscs_core.tasks.reage import SAME_PERSON, TAKES, ReAged, reage
from . import frame_report, host, inputs, loaded, node_ui
from .identity import read_identity


class ReAge(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_ReAge",
            display_name="Re-Age (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Makes a person younger or older, as another photo of the same person shows them. The age "
            "comes from that reference photo; nothing is invented. Only for people who agreed.",
            search_aliases=["age", "aging", "ageing", "de-age", "younger", "older", "face aging", "rejuvenate"],
            inputs=[
                io.Image.Input("image", tooltip="An image of the person today, or the frames of a video."),
                io.Image.Input(
                    "reference",
                    tooltip="One or more photos of the same person at the other age. The largest face in each is "
                    "used. A photo with the same head pose and without glasses works best.",
                ),
                io.Combo.Input(
                    "take",
                    options=list(TAKES),
                    default=TAKES[0],
                    tooltip="What to take from the reference. whole face: everything, the strongest change. skin: "
                    "keeps the person's own eyes, brows and mouth, with gaze and smile. fine detail: only wrinkles "
                    "and pores, with the image's own light and shapes; the weakest change.",
                ),
                inputs.slider("strength", 1.0, "Lower it for an age in between."),
                inputs.faces_order("How faces are numbered. Only used if faces_index is not empty."),
                inputs.numbers(
                    "faces_index",
                    "Leave it empty to re-age the face most similar to the reference in each frame. Enter a number if "
                    "that is the wrong face, which can happen across many years.",
                    "most similar, or 0, or 0,2",
                ),
                inputs.slider(
                    "same_person_threshold",
                    SAME_PERSON,
                    "If face and reference are less similar than this, the report warns that they may be two people. "
                    "Childhood photos are often below it.",
                    low=-1.0,
                    step=0.01,
                ),
                inputs.switch(
                    "same_person_only",
                    "Skips faces below the threshold. Turn it on for a video in which the person is not always "
                    "visible.",
                ),
                inputs.resolution(
                    ("256", "512"),
                    "Side length of the aligned crop in pixels. 512 keeps wrinkles. Choose 256 to be faster.",
                ),
                inputs.detection_threshold(
                    "Lower it if a face is missed. Raise it if something is changed that is not a face.", advanced=True
                ),
                inputs.swapper(
                    "lite and warp copy the skin of the reference. Most other networks smooth the age away."
                ),
                inputs.detector(),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The person at the other age. Frames without a face are unchanged."),
                io.Mask.Output("mask", tooltip="White where pixels changed, for a second pass over the face."),
                io.Float.Output(
                    "similarity",
                    tooltip="Similarity of person and reference before the change, -1 to 1, averaged over all re-aged "
                    "faces. 0 if there are none.",
                ),
                io.String.Output(
                    "report", tooltip="One line per frame and face: similarity before and after, warnings."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, faces_index: str | None) -> bool | str:
        return host.validate_numbers(faces_index=faces_index)

    @classmethod
    def execute(
        cls,
        image: Tensor,
        reference: Tensor,
        take: str,
        strength: float,
        faces_order: str,
        faces_index: str,
        same_person_threshold: float,
        same_person_only: bool,
        resolution: str,
        detection_threshold: float,
        swapper: object = None,
        detector: object = None,
    ) -> io.NodeOutput:
        indices = host.numbers(faces_index, "faces_index")
        models, engine = loaded.ready_with(image, swapper, detector)
        identity = read_identity(reference, models, "reference", detection=detection_threshold)
        known = pipeline.prepare_source(identity, engine, models)
        result, touched, before, lines = host.blank(image), host.blank(image, 1), [], []
        for index, frame in host.frames(image, models.device):
            done = reage(
                frame,
                known,
                models,
                take=take,
                strength=strength,
                order=faces_order,
                indices=indices,
                threshold=same_person_threshold,
                only_same=same_person_only,
                size=largest_size(engine, int(resolution)),
                detection=detection_threshold,
            )
            result[index], touched[index] = host.pixels(done.image)[0], host.pixels(done.mask)[0]
            before += done.before.tolist()
            lines += frame_report.frame_lines(index, "re-aged", _faces(done, same_person_threshold), done.skipped)
        similarity = sum(before) / max(1, len(before))
        badge = frame_report.badge("re-aged", before, "similarity before")
        ui = {**node_ui.compare(image, result), **node_ui.badge(badge)}
        return io.NodeOutput(result, touched[..., 0], similarity, frame_report.text(lines), ui=ui)


def _faces(done: ReAged, threshold: float) -> list[str]:
    lines = []
    rows = zip(done.faces.box.tolist(), done.before.tolist(), done.after.tolist(), strict=True)
    for box, before, after in rows:
        lines.append(frame_report.face(box, f"similarity to the reference {before:.2f} before, {after:.2f} after"))
        if before < threshold:
            lines.append(f"{before:.2f} is below {threshold:.2f}: image and reference may show two different people")
    return lines
