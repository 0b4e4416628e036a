"""Save Image with Provenance: files that say what they are."""

from __future__ import annotations

import json
from pathlib import Path

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core.io import images
from ..cscs_core.io.provenance import LABEL, labelled, synthetic
from . import host

FORMATS = ("png", "jpg", "webp")


class SaveImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_SaveImage",
            display_name="Save Image with Provenance (CSCS)",
            category="CSCS",
            description="Saves images to ComfyUI's output folder and writes into each file that its faces were edited "
            "by software. Put it last, in place of Save Image.",
            search_aliases=["save image", "metadata", "provenance", "ai label", "xmp", "jpg", "webp", "watermark"],
            essentials_category="Face",
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The pictures to save, each to a file of its own."),
                io.String.Input(
                    "filename_prefix",
                    default="CSCS",
                    tooltip="How file names begin; a number follows. portraits/CSCS makes a subfolder. %year%, "
                    "%month%, %day%, %width% and %height% are filled in, as by ComfyUI's Save Image.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default=FORMATS[0],
                    tooltip="png keeps every pixel, transparency and the workflow. jpg is read everywhere, without "
                    "transparency or workflow. webp is the smallest and keeps both.",
                ),
                io.Int.Input(
                    "quality",
                    default=95,
                    min=1,
                    max=100,
                    tooltip="For jpg and webp. Lower it for smaller files: 85 is enough for a web page.",
                ),
                io.Boolean.Input(
                    "provenance",
                    default=True,
                    tooltip="Writes into the file, unseen, that its faces were edited by software (XMP with the IPTC "
                    "digital source type). No names, no paths. Turn it off only for pictures without a swapped face.",
                ),
                io.Boolean.Input(
                    "visible_label",
                    default=False,
                    tooltip=f"Draws a small plate with the words {LABEL} into the lower right corner. Turn "
                    "it on where people who see the picture must be told.",
                ),
                io.Boolean.Input(
                    "workflow",
                    default=True,
                    advanced=True,
                    tooltip="Keeps the workflow in png and webp files, so that dropping one on ComfyUI opens it. Turn "
                    "it off before publishing: it tells your file names and settings.",
                ),
            ],
            outputs=[io.Image.Output("image", tooltip="The pictures that came in, without the plate.")],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
        )

    @classmethod
    def execute(
        cls,
        image: Tensor,
        filename_prefix: str,
        format: str,
        quality: int,
        provenance: bool,
        visible_label: bool,
        workflow: bool,
    ) -> io.NodeOutput:
        note = synthetic() if provenance else {}
        texts = cls._texts() if workflow else {}
        folder, name, number, subfolder, _ = folder_paths.get_save_image_path(
            filename_prefix, folder_paths.get_output_directory(), image.shape[2], image.shape[1]
        )
        saved = []
        for index in host.with_progress(range(image.shape[0])):
            stem = name.replace("%batch_num%", str(index))
            while (path := Path(folder) / f"{stem}_{number:05}_.{format}").exists():
                number += 1
            picture = image[index].movedim(-1, 0)  # HWC -> CHW
            images.write(path, labelled(picture) if visible_label else picture, note, quality=quality, texts=texts)
            saved.append({"filename": path.name, "subfolder": subfolder, "type": "output"})
            number += 1
        return io.NodeOutput(image, ui={"images": saved})

    @classmethod
    def _texts(cls) -> dict[str, str]:
        """What ComfyUI's own Save Image writes into a PNG."""
        if args.disable_metadata:
            return {}
        prompt = {} if cls.hidden.prompt is None else {"prompt": cls.hidden.prompt}
        return {key: json.dumps(value) for key, value in {**prompt, **(cls.hidden.extra_pnginfo or {})}.items()}
