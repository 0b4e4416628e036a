"""Save Image with Provenance: image files that say that they were edited."""

from __future__ import annotations

import json
from pathlib import Path

import folder_paths
from comfy.cli_args import args
from comfy_api.latest import io
from torch import Tensor

from ..cscs_core.io import images
from ..cscs_core.io.provenance import LABEL, labelled, synthetic
from . import host, inputs

FORMATS = ("png", "jpg", "webp")


class SaveImage(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CSCS_SaveImage",
            display_name="Save Image with Provenance (CSCS)",
            category="CSCS",
            description="Saves images to ComfyUI's output folder and notes in each file that its faces were edited by "
            "software. Use it as the last node, in place of Save Image.",
            search_aliases=["save image", "metadata", "provenance", "ai label", "xmp", "jpg", "webp", "watermark"],
            essentials_category="Face",
            is_output_node=True,
            inputs=[
                io.Image.Input("image", tooltip="The images to save, one file each."),
                io.String.Input(
                    "filename_prefix",
                    default="CSCS",
                    tooltip="The start of the file names; a number follows. portraits/CSCS saves to a subfolder. "
                    "%year%, %month%, %day%, %width% and %height% are filled in, as in ComfyUI's Save Image.",
                ),
                io.Combo.Input(
                    "format",
                    options=list(FORMATS),
                    default=FORMATS[0],
                    tooltip="png keeps every pixel, transparency and the workflow. jpg opens everywhere, but without "
                    "transparency or workflow. webp keeps both in the smallest file.",
                ),
                io.Int.Input(
                    "quality",
                    default=95,
                    min=1,
                    max=100,
                    tooltip="Only used for jpg and webp. Lower it for smaller files. 85 is enough for a web page.",
                ),
                io.Boolean.Input(
                    "provenance",
                    default=True,
                    tooltip="Adds an invisible note to the file that its faces were edited by software (XMP with the "
                    "IPTC digital source type). It has no names and no paths. Turn it off only for images without "
                    "swapped faces.",
                ),
                inputs.switch(
                    "visible_label",
                    f"Draws a small {LABEL} label in the lower right corner. Turn it on where viewers must be told.",
                ),
                io.Boolean.Input(
                    "workflow",
                    default=True,
                    advanced=True,
                    tooltip="Saves the workflow in png and webp files, so that ComfyUI opens it if you drop the file "
                    "there. Turn it off before you publish: it contains your file names and settings.",
                ),
            ],
            outputs=[io.Image.Output("image", tooltip="The incoming images, without the label.")],
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
        """The texts that ComfyUI's own Save Image writes to a PNG."""
        if args.disable_metadata:
            return {}
        prompt = {} if cls.hidden.prompt is None else {"prompt": cls.hidden.prompt}
        return {key: json.dumps(value) for key, value in {**prompt, **(cls.hidden.extra_pnginfo or {})}.items()}
