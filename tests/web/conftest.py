"""ComfyUI's page in a headless Chromium, at a real host or at one that answers from a table.

Chromium is taken from the environment variable CHROMIUM or from the path. CSCS_SCREENSHOTS names a folder that keeps
the pictures taken; else they go with pytest's temporary files.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "cscs_core" / "examples"
MODES = ("classic", "nodes-2")
CALM = (  # none of Chromium's own errands
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --mute-audio"
).split()
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Locale": "en",
    "Comfy.Minimap.Visible": False,
    "Comfy.Workflow.Persist": False,
}
READY = """() => {
    const nodes = Object.keys(window.LiteGraph?.registered_node_types ?? {});
    return nodes.includes("CSCS_FaceSwap") && window.app?.extensionManager && window.app.graph;
}"""


@pytest.fixture(scope="module")  # not longer: its event loop runs in this thread, and tests of nodes start their own
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.skip("no Chromium: install it, or name it in CHROMIUM")
    with playwright.sync_playwright() as driver:
        yield driver.chromium.launch(executable_path=found, args=CALM)


@dataclass
class Canvas:
    """ComfyUI's page, and what a test does there."""

    page: Any
    shots: Path
    errors: list[str] = field(default_factory=list)
    sockets: list[Any] = field(default_factory=list)

    def ready(self) -> None:
        self.page.wait_for_function(READY, timeout=60_000)

    def run(self, script: str, argument: Any = None) -> Any:
        return self.page.evaluate(script, argument)

    def load(self, workflow: dict[str, Any]) -> None:
        self.run("async (workflow) => { await app.loadGraphData(workflow); }", workflow)
        self.page.wait_for_timeout(300)

    def tell(self, kind: str, **data: Any) -> None:
        """A message of the host to the page."""
        self.sockets[-1].send(json.dumps({"type": kind, "data": data}))

    def executed(self, node: str, **output: Any) -> None:
        self.tell("executed", node=node, display_node=node, prompt_id="recorded", output=output)

    def widget(self, node: str, name: str) -> Any:
        return self.run(
            "([id, name]) => app.graph.getNodeById(id).widgets.find((widget) => widget.name === name).value",
            [int(node), name],
        )

    def values(self, node: str) -> list[Any]:
        """What a saved workflow holds of a node's widgets."""
        return self.run("(id) => app.graph.getNodeById(id).serialize().widgets_values", int(node))

    def look(self, node: str = "1") -> None:
        """A node in the middle of the page, enlarged; of a high one the lower end."""
        self.run(
            """(id) => {
                const { ds, graph } = app.canvas;
                const { pos, size } = graph.getNodeById(id);
                ds.scale = 1.3;
                ds.offset = [300 - pos[0], Math.min(120 - pos[1], 900 / ds.scale - pos[1] - size[1])];
                app.canvas.setDirty(true, true);
            }""",
            int(node),
        )
        self.page.wait_for_timeout(400)

    def shoot(self, name: str) -> None:
        self.page.screenshot(path=self.shots / f"{name}.png")


@pytest.fixture(scope="module")
def canvas(chromium: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Canvas]]:
    """Opens ComfyUI's page at an address."""
    contexts = []
    shots = Path(os.environ.get("CSCS_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    shots.mkdir(parents=True, exist_ok=True)

    def opened(address: str, recorded: bool = False) -> Canvas:
        contexts.append(chromium.new_context(viewport={"width": 1500, "height": 950}))
        page = contexts[-1].new_page()
        here = Canvas(page, shots)
        page.route(lambda url: urlsplit(url).hostname != "127.0.0.1", lambda route: route.abort())
        page.on("pageerror", lambda error: here.errors.append(str(error)))
        if recorded:
            page.route_web_socket(re.compile(r"/ws(\?|$)"), lambda socket: _greet(here, socket))
        page.goto(address)
        here.ready()
        return here

    yield opened
    for context in contexts:
        context.close()


def _greet(canvas: Canvas, socket: Any) -> None:
    canvas.sockets.append(socket)
    canvas.tell("status", status={"exec_info": {"queue_remaining": 0}}, sid="recorded")


class Recorded(SimpleHTTPRequestHandler):
    """A host that has only answers: the page's own files, ours, and a table."""

    answers: dict[str, Any]
    pictures: Path

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        path = address.path.removeprefix("/api")
        if path == "/view":
            self._send(self.pictures / Path(parse_qs(address.query)["filename"][0]).name)
        elif path.startswith("/extensions/cscs/"):
            self._send(ROOT / "web" / path.removeprefix("/extensions/cscs/"))
        elif path in self.answers or path != address.path:
            self._answer(self.answers.get(path))
        else:
            super().do_GET()

    def do_POST(self) -> None:
        self._answer({})

    def _send(self, file: Path) -> None:
        if not file.is_file():
            self.send_error(404)
            return
        self._bytes(file.read_bytes(), self.guess_type(file))

    def _answer(self, answer: Any) -> None:
        if answer is None:
            self.send_error(404)
        else:
            self._bytes(json.dumps(answer).encode(), "application/json")

    def _bytes(self, content: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def _definition(name: str, required: dict[str, Any], output: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "display_name": name,
        "description": "",
        "category": "CSCS",
        "python_module": "custom_nodes.cscs",
        "input": {"required": required},
        "input_order": {"required": list(required)},
        "output": output,
        "output_name": output,
        "output_is_list": [False] * len(output),
        "output_node": True,
    }


def _combo(*options: str) -> list[Any]:
    return ["COMBO", {"options": options, "default": options[0]}]


NODES = [
    _definition(
        "CSCS_FaceSwap",
        {
            "target": ["IMAGE", {}],
            "faces_index": ["STRING", {"default": "", "placeholder": "all, or 0, or 0,2"}],
            "strength": ["FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.05}],
            "detector": _combo("lite", "other"),
        },
        ["IMAGE"],
    ),
    _definition("CSCS_DetectFaces", {"image": ["IMAGE", {}], "detector": _combo("lite", "other")}, ["CSCS_FACES"]),
    _definition("CSCS_LoadModel", {"device": _combo("auto", "cpu")}, ["CSCS_SWAPPER"]),
    _definition("CSCS_SaveImage", {"image": ["IMAGE", {}], "provenance": ["BOOLEAN", {"default": True}]}, []),
    _definition("Words", {"text": ["STRING", {"default": "1"}]}, ["STRING"]),
]


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """three.jpg, 768 x 256: three people side by side; grey.jpg: the same without colour."""
    folder = tmp_path_factory.mktemp("pictures")
    three = Image.new("RGB", (768, 256))
    for number in range(3):
        with Image.open(EXAMPLES / f"person_{number + 1}.jpg") as person:
            three.paste(person.resize((256, 256)), (256 * number, 0))
    three.save(folder / "three.jpg")
    three.convert("L").save(folder / "grey.jpg")
    return folder


@pytest.fixture(scope="session")
def recorded(pictures: Path) -> Iterator[Callable[..., str]]:
    """Starts the host of answers, with some settings and with nodes of its own or those given; tells its address."""
    found = importlib.util.find_spec("comfyui_frontend_package")
    if not found or not found.origin:
        pytest.skip("comfyui-frontend-package is not installed")
    static = Path(found.origin).parent / "static"
    servers = []

    def started(nodes: list[dict[str, Any]] = NODES, **settings: Any) -> str:
        scripts = [f"/extensions/cscs/{file.name}" for file in sorted((ROOT / "web").glob("*.js"))]
        answers = {
            "/object_info": {node["name"]: node for node in nodes},
            "/extensions": scripts,
            "/settings": SETTINGS | settings,
            "/users": {"storage": "server", "migrated": True},
            "/features": {},
            "/i18n": {},
            "/embeddings": [],
            "/system_stats": {"system": {"comfyui_version": "0.33.0", "argv": []}, "devices": []},
            "/queue": {"queue_running": [], "queue_pending": []},
            "/jobs": {"jobs": [], "pagination": {"offset": 0, "limit": None, "total": 0, "has_more": False}},
            "/history": {},
            "/userdata": [],
            "/global_subgraphs": {},
            "/workflow_templates": {},
            "/node_replacements": {},
            "/experiment/models": [],
        }
        handler = type("Handler", (Recorded,), {"answers": answers, "pictures": pictures})
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(static))))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/"

    yield started
    for server in servers:
        server.shutdown()
        server.server_close()
