"""Runs ComfyUI in this process, without its server, on a pack and some prompts; writes what happened as JSON.

    PYTHONPATH=<ComfyUI> python run_host.py <pack> <base directory> <prompts.json> <answer.json>

Modules of the host are imported by name at run time: `nodes` is theirs here, and argument parsing must be on first.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import logging
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

OPTIONS = ["--cpu", "--database-url", "sqlite:///:memory:", "--disable-api-nodes", "--disable-all-custom-nodes"]


def main(pack: str, base: str, prompts: str, answer: str) -> None:
    sys.argv = ["main.py", *OPTIONS, "--base-directory", base]
    load: Callable[[str], Any] = importlib.import_module
    load("comfy.options").enable_args_parsing()
    execution, nodes, server, management = map(load, ("execution", "nodes", "server", "comfy.model_management"))
    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())
    logging.getLogger().addHandler(handler)

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    events: list[tuple[str, Any]] = []
    prompt_server = server.PromptServer(loop)
    prompt_server.send_sync = lambda event, data, sid=None: events.append((str(event), data))
    loop.run_until_complete(nodes.init_public_apis())
    loop.run_until_complete(nodes.init_builtin_extra_nodes())
    warnings.clear()
    loaded = loop.run_until_complete(nodes.load_custom_node(pack))
    at_load = list(warnings)
    ours = {key: node for key, node in nodes.NODE_CLASS_MAPPINGS.items() if key.startswith("CSCS_")}

    runs = []
    for prompt in json.loads(Path(prompts).read_text("utf-8")):
        events.clear()
        valid, error, outputs, node_errors = loop.run_until_complete(execution.validate_prompt("check", prompt, None))
        run: dict[str, Any] = {"valid": valid, "error": error, "node_errors": node_errors}
        if valid:
            caches = {"lru": 0, "ram": 0.0, "ram_inactive": 0.0}
            executor = execution.PromptExecutor(prompt_server, cache_args=caches)
            executor.execute(prompt, str(uuid.uuid4()), {"client_id": "test"}, outputs)
            run |= {"success": executor.success, "ui": executor.history_result.get("outputs", {})}
            run["failure"] = next(
                (data for event, data in executor.status_messages if event == "execution_error"), None
            )
            run["progress"] = [event for event, _ in events].count("progress_state")
        runs.append(run)
    management.unload_all_models()
    result = {
        "loaded": loaded,
        "warnings": at_load,
        "info": {key: node.GET_NODE_INFO_V1() for key, node in ours.items()},
        "web": list(nodes.EXTENSION_WEB_DIRS.values()),
        "top_level_nodes": nodes.__file__,
        "runs": runs,
    }
    Path(answer).write_text(json.dumps(result, default=str), "utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
