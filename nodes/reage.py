"""Re-Age: the person of a picture at the age that other photos of the same person show."""

from __future__ import annotations

from comfy_api.latest import io
from torch import Tensor

from ..cscs_core import pipeline
from ..cscs_core.faces.select import ORDERS, describe_place
from ..cscs_core.faces.swappers.base import largest_size
from ..cscs_core.tasks.reage import SAME_PERSON, TAKES, ReAged, reage
from . import host, loaded, node_ui, sockets
from . import identity as person


class ReAge(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_ReAge",
            display_name="Re-Age (CSCS)",
            category="CSCS",
            has_intermediate_output=True,
            description="Shows a person younger or older, as a photo of the same person at that age shows them. No age "
            "is made up: the reference photo brings it. Only for people who agreed.",
            search_aliases=["age", "aging", "ageing", "de-age", "younger", "older", "face aging", "rejuvenate"],
            inputs=[
                io.Image.Input("image", tooltip="The picture, or the frames of a video, of the person today."),
                io.Image.Input(
                    "reference",
                    tooltip="A photo of the same person at the other age, or a batch of several. Of several people in "
                    "one the largest face counts. Best is one that looks the same way as the image, without glasses.",
                ),
                io.Combo.Input(
                    "take",
                    options=list(TAKES),
                    default=TAKES[0],
                    tooltip="What comes from the reference. whole face: all of it, the greatest change. skin: the "
                    "person keeps their own eyes, brows and mouth, with gaze and smile. fine detail: only wrinkles "
                    "and pores, under the image's own light and forms; the smallest change.",
                ),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Lower it for an age in between.",
                ),
                io.Combo.Input(
                    "faces_order",
                    options=list(ORDERS),
                    default=ORDERS[0],
                    tooltip="How faces are numbered; counts only when faces_index says something.",
                ),
                io.String.Input(
                    "faces_index",
                    default="",
                    placeholder="the most alike, or 0, or 0,2",
                    tooltip="Leave it empty: in each frame the face most like the reference is re-aged. Write a number "
                    "when that is the wrong one, as may be across many years.",
                ),
                io.Float.Input(
                    "same_person_threshold",
                    default=SAME_PERSON,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Below this likeness of face and reference the report warns that they may be two people. "
                    "Childhood photos are often below it.",
                ),
                io.Boolean.Input(
                    "same_person_only",
                    default=False,
                    tooltip="On: a face below the threshold is left alone. Turn it on for a video in which the person "
                    "is not always there.",
                ),
                io.Combo.Input(
                    "resolution",
                    options=["256", "512"],
                    default="512",
                    tooltip="Pixels along a side of the face that is worked on. 512 keeps wrinkles; 256 is quicker.",
                ),
                io.Float.Input(
                    "detection_threshold",
                    default=0.5,
                    min=0.05,
                    max=0.95,
                    step=0.05,
                    advanced=True,
                    tooltip="Lower it when a face is missed, raise it when something that is no face is taken for one.",
                ),
                sockets.Swapper.Input(
                    "swapper",
                    optional=True,
                    tooltip="From Load Model; the bundled one if nothing is connected. lite and warp lay the "
                    "reference's own skin on; most networks smooth the age away.",
                ),
                sockets.Detector.Input(
                    "detector", optional=True, tooltip="From Load Model; the bundled one if nothing is connected."
                ),
            ],
            outputs=[
                io.Image.Output("image", tooltip="The person at the other age; frames without a face are unchanged."),
                io.Mask.Output("mask", tooltip="White where pixels were replaced, for a second pass over the face."),
                io.Float.Output(
                    "similarity",
                    tooltip="How alike the person and the reference were before, -1 to 1, the mean of all faces that "
                    "were re-aged; 0 if none was.",
                ),
                io.String.Output("report", tooltip="One line per frame and face: likeness before and after, warnings."),
            ],
        )

    @classmethod
    def validate_inputs(cls, faces_index: str | None) -> bool | str:
        return host.checked(faces_index=faces_index)

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
        identity = person.read(reference, models, "reference", detection=detection_threshold)
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
            lines += _lines(index, done, same_person_threshold)
        similarity = sum(before) / max(1, len(before))
        count = f"{node_ui.plural(len(before), 'face')}, likeness before {similarity:.2f}"
        ui = {**node_ui.compare(image, result), **node_ui.badge(count if before else "no face re-aged")}
        report = "\n".join(lines) or "no image came in"
        return io.NodeOutput(result, touched[..., 0], similarity, report, ui=ui)


def _lines(index: int, done: ReAged, threshold: float) -> list[str]:
    if not len(done.faces):
        return [f"frame {index} is unchanged: {'; '.join(done.skipped)}"]
    lines = [f"frame {index}: {node_ui.plural(len(done.faces), 'face')} re-aged"]
    rows = zip(done.faces.box.tolist(), done.before.tolist(), done.after.tolist(), strict=True)
    for box, before, after in rows:
        lines.append(
            f"  face at {describe_place(box)}: likeness to the reference {before:.2f} before, {after:.2f} after"
        )
        if before < threshold:
            lines.append(f"  {before:.2f} is below {threshold:.2f}: image and reference may show two different people")
    return lines + [f"  left alone: {reason}" for reason in done.skipped]
