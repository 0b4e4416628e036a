"""Runs ComfyUI in this process, without its server, on a pack and some prompts; writes what happened as JSON.

    PYTHONPATH=<ComfyUI> python run_host.py <pack> <base directory> <job.json> <answer.json>

A job has `steps`, each a `prompt` in API format with, if wanted, `again` (the executor of the step before, with what it
has cached), `cancel` (seconds after the first progress of the prompt) and `remove` (a file that is deleted before); and
`record`, nodes of the host's own whose description is wanted too. A clip of the pictures frame_*.png in the input
folder and a checkpoint for the diffusion nodes are made first. Modules of the host are imported by name at run time:
`nodes` is theirs here, and argument parsing must be on first.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import logging
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fake_checkpoint import write_checkpoint
from PIL import Image

OPTIONS = ["--cpu", "--database-url", "sqlite:///:memory:", "--disable-api-nodes", "--disable-all-custom-nodes"]
CACHES = {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}


class Host:
    """The host with its modules, one executor at a time, and what it told its page."""

    def __init__(self) -> None:
        load: Callable[[str], Any] = importlib.import_module
        load("comfy.options").enable_args_parsing()
        # Its utils first, as in its main.py: older ones put a folder on the path that has another.
        load("utils.install_util")
        server, self.execution, self.nodes, self.management = map(
            load, ("server", "execution", "nodes", "comfy.model_management")
        )
        self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.server = server.PromptServer(self.loop)
        self.server.send_sync = self.heard
        self.events: list[tuple[str, Any]] = []
        self.cancel: float | None = None
        self.cancelled = 0.0  # when
        self.loop.run_until_complete(self.nodes.init_public_apis())
        self.loop.run_until_complete(self.nodes.init_builtin_extra_nodes())

    def heard(self, event: Any, data: Any, sid: Any = None) -> None:
        self.events.append((str(event), data))
        if event == "progress_state" and self.cancel is not None:
            threading.Timer(self.cancel, self.interrupt).start()
            self.cancel = None

    def interrupt(self) -> None:
        self.cancelled = time.perf_counter()
        self.management.interrupt_current_processing()

    def load(self, pack: str) -> dict[str, Any]:
        warnings: list[str] = []
        handler = logging.Handler(logging.WARNING)
        handler.emit = lambda record: warnings.append(record.getMessage())
        logging.getLogger().addHandler(handler)
        start = time.perf_counter()
        loaded = self.loop.run_until_complete(self.nodes.load_custom_node(pack))
        return {"loaded": loaded, "import_seconds": time.perf_counter() - start, "warnings": list(warnings)}

    def info(self, names: list[str]) -> dict[str, Any]:
        """The entries of /object_info."""
        return json.loads(json.dumps({name: self._info(name) for name in names}, default=str))

    def _info(self, name: str) -> Any:
        node = self.nodes.NODE_CLASS_MAPPINGS[name]
        if hasattr(node, "GET_NODE_INFO_V1"):
            return node.GET_NODE_INFO_V1()
        inputs = node.INPUT_TYPES()
        return {
            "input": inputs,
            "input_order": {kind: list(parts) for kind, parts in inputs.items()},
            "output": list(node.RETURN_TYPES),
            "output_name": list(getattr(node, "RETURN_NAMES", node.RETURN_TYPES)),
            "name": name,
            "output_node": getattr(node, "OUTPUT_NODE", False),
        }

    def run(self, step: dict[str, Any]) -> dict[str, Any]:
        prompt = step["prompt"]
        if "remove" in step:
            Path(step["remove"]).unlink()
        self.events.clear()
        self.cancel, self.cancelled = step.get("cancel"), 0.0
        valid, error, outputs, node_errors = self.loop.run_until_complete(
            self.execution.validate_prompt("check", prompt, None)
        )
        run: dict[str, Any] = {"valid": valid, "error": error, "node_errors": node_errors}
        if not valid:
            return run
        if not step.get("again"):
            self.executor = self.execution.PromptExecutor(self.server, cache_args=CACHES)
        executor = self.executor
        start = time.perf_counter()
        executor.execute(prompt, str(uuid.uuid4()), {"client_id": "test"}, outputs)
        end = time.perf_counter()
        messages = dict(executor.status_messages)
        return run | {
            "success": executor.success,
            "seconds": end - start,
            "ui": executor.history_result.get("outputs", {}),
            "failure": messages.get("execution_error"),
            "interrupted": "execution_interrupted" in messages,
            "latency": end - self.cancelled if self.cancelled else None,
            "cached": messages.get("execution_cached", {}).get("nodes", []),
            "progress": [event for event, _ in self.events].count("progress_state"),
        }


def write_clip(folder: Path) -> None:
    """clip.mp4, 12 frames a second."""
    frames = sorted(folder.glob("frame_*.png"))
    if not frames:
        return
    av: Any = importlib.import_module("av")
    with av.open(str(folder / "clip.mp4"), "w") as clip:
        stream = clip.add_stream("h264", rate=12)
        for number, file in enumerate(frames):
            picture = Image.open(file).convert("RGB")
            if number == 0:
                stream.width, stream.height, stream.pix_fmt = *picture.size, "yuv420p"
            for packet in stream.encode(av.VideoFrame.from_image(picture)):
                clip.mux(packet)
        for packet in stream.encode():
            clip.mux(packet)


def main(pack: str, base: str, job: str, answer: str) -> None:
    sys.argv = ["main.py", *OPTIONS, "--base-directory", base]
    host = Host()
    result = host.load(pack)
    wanted = json.loads(Path(job).read_text("utf-8"))
    write_clip(Path(base) / "input")
    write_checkpoint(Path(base) / "models" / "checkpoints" / "made.safetensors")
    ours = sorted(name for name in host.nodes.NODE_CLASS_MAPPINGS if name.startswith("CSCS_"))
    result["info"] = host.info(ours)
    result["core"] = host.info(wanted.get("record", []))
    result["web"] = list(host.nodes.EXTENSION_WEB_DIRS.values())
    result["top_level_nodes"] = host.nodes.__file__
    result["runs"] = [host.run(step) for step in wanted["steps"]]
    result["models_loaded"] = len(host.management.current_loaded_models)
    host.management.unload_all_models()
    gc.collect()
    result["models_after_unload"] = len(host.management.current_loaded_models)
    Path(answer).write_text(json.dumps(result, default=str), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
