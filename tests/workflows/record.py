"""What nodes look like to the page, from a real host's /object_info: ours whole, the host's own as bare facts.

python tests/workflows/record.py <answer.json of tests/comfyui/run_host.py>
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("object_info.json")
# Nodes of ComfyUI that the workflows use.
CORE = (
    "CLIPTextEncode",
    "CheckpointLoaderSimple",
    "CreateVideo",
    "GetVideoComponents",
    "ImageBatch",
    "KSampler",
    "LoadImage",
    "LoadVideo",
    "PreviewAny",
    "PreviewImage",
    "SaveVideo",
    "SetLatentNoiseMask",
    "VAEDecode",
    "VAEEncode",
)


def ours(info: dict[str, Any]) -> dict[str, Any]:
    """Without where the pack lay when it was asked."""
    return {name: {key: value for key, value in node.items() if key != "python_module"} for name, node in info.items()}


def bare(info: dict[str, Any]) -> dict[str, Any]:
    """Names and types, defaults and limits; no words, no lists of files."""
    keep = ("default", "min", "max", "step", "image_upload", "video_upload", "control_after_generate", "forceInput")
    found = {}
    for name, node in info.items():
        inputs: dict[str, Any] = {}
        for need, parts in node["input"].items():
            if need == "hidden":
                continue
            for part, (kind, *more) in parts.items():
                options = more[0] if more else {}
                if options.get("hidden"):
                    continue
                words = kind if isinstance(kind, list) else options.get("options", [])
                made = {key: options[key] for key in keep if key in options}
                if kind == "COMFY_DYNAMICCOMBO_V3":
                    made["options"] = [{"key": option["key"]} for option in words]
                elif words or isinstance(kind, list) or kind == "COMBO":
                    made["options"] = [] if part in ("image", "file", "ckpt_name") else words
                inputs.setdefault(need, {})[part] = ["COMBO" if isinstance(kind, list) else kind, made]
        found[name] = {
            "input": inputs,
            "input_order": {need: list(parts) for need, parts in inputs.items()},
            "output": node["output"],
            "output_is_list": [False] * len(node["output"]),
            "output_name": node["output_name"],
            "name": name,
            "display_name": name,
            "description": "",
            "category": "core",
            "output_node": bool(node.get("output_node")),
        }
    return found


def main(answer: str) -> None:
    seen = json.loads(Path(answer).read_text("utf-8"))
    info = dict(sorted({**ours(seen["info"]), **bare(seen["core"])}.items()))
    FILE.write_text(json.dumps(info, indent=1, ensure_ascii=True) + "\n", "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
