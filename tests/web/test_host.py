"""Every workflow of the pack in a real ComfyUI with its page: run, face picked, divider drawn, screenshot kept.

COMFYUI_PATH=<checkout> [COMFYUI_PYTHON=<its python>] [CSCS_SCREENSHOTS=<folder>] pytest tests/web/test_host.py
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "cscs_core" / "examples"
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
MAKE_CHECKPOINT = ROOT / "tests" / "comfyui" / "fake_checkpoint.py"
CHECKPOINT = "made.safetensors"
START, RUN = 120, 400  # seconds
QUIET = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Locale": "en",
    "Comfy.Minimap.Visible": False,
    "Comfy.Workflow.Persist": False,
}
PEOPLE = {  # by the beginning of a node's title
    "Target": "three.png",
    "Group": "three.png",
    "Who": "person_3.jpg",
    "New face A": "person_5.jpg",
    "New face B": "person_4.jpg",
    "Source": "person_5.jpg",
    "Painting": "person_5.jpg",
    "Photo 2 of": "person_1.jpg",
    "Photo 2": "person_2.jpg",
}
CLIP = """
import sys, av
from PIL import Image
picture = Image.open(sys.argv[1]).resize((768, 256))
with av.open(sys.argv[2], "w") as file:
    stream = file.add_stream("h264", rate=8, width=768, height=256, pix_fmt="yuv420p")
    for _ in range(3):
        file.mux(stream.encode(av.VideoFrame.from_image(picture)))
    file.mux(stream.encode())
"""
MARK = """(id) => {
    const { element } = app.graph.getNodeById(Number(id)).widgets.find((widget) => widget.type === "CSCS_PANEL");
    element.dataset.node = id;
    const { ds } = app.canvas;
    const { top, bottom } = element.getBoundingClientRect();
    ds.offset[1] -= (top < 120 ? top - 120 : Math.max(0, bottom - 930)) / ds.scale;
    app.canvas.setDirty(true, true);
}"""
OVERLAPS = """() => {
    const { scale } = app.canvas.ds;
    const places = app.graph.nodes.map((node) => {
        const drawn = document.querySelector(`[data-node-id="${node.id}"]`)?.getBoundingClientRect();
        const [x, y, width, height] = drawn ? [drawn.x, drawn.y, drawn.width, drawn.height] : node.getBounding();
        return { name: node.title, x, y, width, height, slack: drawn ? 4 * scale : 4 };
    });
    const apart = (a, b) => a.x + a.width < b.x + a.slack || a.y + a.height < b.y + a.slack;
    const pairs = places.flatMap((a, number) => places.slice(number + 1).map((b) => [a, b]));
    return pairs.filter(([a, b]) => !apart(a, b) && !apart(b, a)).map(([a, b]) => `${a.name} / ${b.name}`);
}"""
SAVED = """() => Object.fromEntries(app.graph.nodes.filter((node) => node.comfyClass?.startsWith("CSCS_"))
    .map((node) => [node.id, node.serialize().widgets_values?.length]))"""
EXECUTE = """async (seconds) => {
    const { api } = window.comfyAPI.api;
    const kinds = ["execution_success", "execution_error", "execution_interrupted"];
    const outputs = {};
    api.addEventListener("executed", ({ detail }) => { outputs[detail.display_node] = detail.output; });
    const end = new Promise((tell) => {
        for (const kind of kinds) api.addEventListener(kind, ({ detail }) => tell({ kind, detail }), { once: true });
        setTimeout(() => tell({ kind: "too slow" }), 1000 * seconds);
    });
    if (await app.queuePrompt(0, 1)) return { ...(await end), outputs };
    return { kind: "refused", detail: app.lastNodeErrors };
}"""

IDLE = """async () => {
    const { api } = window.comfyAPI.api;
    const busy = async () => {
        const { Running, Pending } = await api.getQueue();
        return Running.length + Pending.length;
    };
    while (await busy()) await new Promise((later) => setTimeout(later, 200));
}"""


def _inputs(folder: Path, python: str) -> None:
    """The example people; three of them side by side; and those as a clip of three frames."""
    folder.mkdir()
    three = Image.new("RGB", (1536, 512))
    for number, file in enumerate(sorted(EXAMPLES.glob("*.jpg"))):
        shutil.copy(file, folder)
        with Image.open(file) as person:
            three.paste(person.resize((512, 512)), (512 * number, 0))  # those beyond the third fall off
    three.save(folder / "three.png")
    subprocess.run([python, "-c", CLIP, folder / "three.png", folder / "clip.mp4"], check=True)


def _with_inputs(file: Path) -> dict[str, Any]:
    """A workflow with pictures in the nodes that load them."""
    workflow = json.loads(file.read_text("utf-8"))
    for node in workflow["nodes"]:
        title = node.get("title", "")
        if node["type"] == "LoadImage":
            node["widgets_values"][0] = next((PEOPLE[key] for key in PEOPLE if title.startswith(key)), "person_1.jpg")
        if node["type"] == "LoadVideo":
            node["widgets_values"][0] = "clip.mp4"
        if node["type"] == "CheckpointLoaderSimple":
            node["widgets_values"][0] = CHECKPOINT
        if node["type"] == "KSampler":
            node["widgets_values"][2:4] = [1, 1.0]  # steps, cfg
    return workflow


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A ComfyUI of its own, with the pack."""
    checkout = os.environ.get("COMFYUI_PATH")
    if not checkout:
        pytest.skip("COMFYUI_PATH names no ComfyUI checkout")
    base = tmp_path_factory.mktemp("comfyui")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / ROOT.name).symlink_to(ROOT, target_is_directory=True)
    python = os.environ.get("COMFYUI_PYTHON", sys.executable)
    _inputs(base / "input", python)
    calm = {**os.environ, "PYTHONPATH": checkout}
    subprocess.run([python, MAKE_CHECKPOINT, base / "models" / "checkpoints" / CHECKPOINT], check=True, env=calm)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [python, "main.py", "--cpu", "--disable-api-nodes"]
    command += ["--listen", "127.0.0.1", "--port", str(port), "--base-directory", str(base)]
    command += ["--database-url", "sqlite:///:memory:"]
    here = f"http://127.0.0.1:{port}/"
    log = base / "host.log"
    with log.open("w") as out:
        host = subprocess.Popen(command, cwd=checkout, env=calm, stdout=out, stderr=subprocess.STDOUT)
    try:
        _wait(host, here, log)
        yield here
    finally:
        host.terminate()
        host.wait(30)


def _wait(host: subprocess.Popen[bytes], address: str, log: Path) -> None:
    end = time.monotonic() + START
    while time.monotonic() < end:
        assert host.poll() is None, log.read_text()[-4000:]
        try:
            with urlopen(address + "api/system_stats", timeout=5):
                return
        except URLError:
            time.sleep(0.5)
    raise AssertionError(log.read_text()[-4000:])


def _post(address: str, content: dict[str, Any]) -> None:
    with urlopen(Request(address, json.dumps(content).encode(), {"Content-Type": "application/json"}), timeout=10):
        pass


@pytest.fixture(scope="module", params=["classic", "nodes-2"])
def opened(request: pytest.FixtureRequest, address: str, canvas: Callable[..., Any]) -> Any:
    _post(address + "api/settings", QUIET | {"Comfy.VueNodes.Enabled": request.param == "nodes-2"})
    _post(address + "api/free", {"unload_models": False, "free_memory": True})  # what is cached is not sent again
    page = canvas(address)
    page.name = request.param
    return page


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.stem)
def test_a_workflow_runs_and_its_panels_work(opened: Any, workflow: Path) -> None:
    page = opened.page
    opened.load(_with_inputs(workflow))
    before = opened.run(SAVED)
    end = opened.run(EXECUTE, RUN)
    if end["kind"] == "refused":  # in part: it loads what it saves, and is run a second time
        opened.run(IDLE)
        end = opened.run(EXECUTE, RUN)
    detail = end.get("detail") or end
    assert end["kind"] == "execution_success", detail.get("exception_message") or detail
    page.wait_for_timeout(1000)
    opened.run("() => app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    page.wait_for_timeout(1500)
    opened.shoot(f"workflow_{workflow.stem}_{opened.name}")
    overlaps = opened.run(OVERLAPS)
    for node, output in end["outputs"].items():
        if ":" in node or not any(key.startswith("cscs_") for key in output or {}):
            continue
        opened.look(node)
        opened.run(MARK, node)
        page.wait_for_timeout(300)
        panel = page.locator(f".cscs-panel[data-node='{node}']")
        if output.get("cscs_badge"):
            assert panel.get_by_text(output["cscs_badge"][0], exact=True).is_visible()
        if output.get("cscs_compare"):
            _draw(panel, page)
        if output.get("cscs_picker") and output["cscs_picker"][0]["faces"]:
            _pick(opened, panel, node)
        opened.shoot(f"node_{workflow.stem}_{node}_{opened.name}")
    assert opened.run(SAVED) == before  # nothing of ours
    assert overlaps == []
    assert opened.errors == []


@pytest.mark.parametrize("mode", ["classic", "nodes-2"])
def test_after_a_reload_a_run_from_the_cache_brings_the_panels_back(
    mode: str, address: str, canvas: Callable[..., Any]
) -> None:
    _post(address + "api/settings", QUIET | {"Comfy.VueNodes.Enabled": mode == "nodes-2"})
    opened = canvas(address)
    panels = opened.page.locator(".cscs-panel:visible")
    workflow = _with_inputs(ROOT / "workflows" / "face_swap.json")
    opened.load(workflow)
    assert opened.run(EXECUTE, RUN)["kind"] == "execution_success"
    opened.page.wait_for_timeout(1000)
    shown = panels.all_inner_texts()
    assert shown
    opened.page.reload()
    opened.ready()
    opened.load(workflow)
    assert panels.count() == 0  # the page keeps nothing of a run
    assert opened.run(EXECUTE, RUN)["kind"] == "execution_success"
    opened.page.wait_for_timeout(1000)
    assert panels.all_inner_texts() == shown
    opened.page.locator(".cscs-slide img:visible").first.wait_for()
    assert opened.errors == []


def _draw(panel: Any, page: Any) -> None:
    tab = panel.get_by_role("button", name="Compare", exact=True)
    if tab.is_visible():
        tab.click()
    frame = panel.locator(".cscs-slide").bounding_box()
    page.mouse.move(frame["x"] + frame["width"] / 2, frame["y"] + frame["height"] / 2)
    page.mouse.down()
    page.mouse.move(frame["x"] + frame["width"] * 0.3, frame["y"] + frame["height"] / 2, steps=4)
    page.mouse.up()
    assert int(panel.get_by_role("slider").get_attribute("aria-valuenow")) == pytest.approx(30, abs=1)


def _pick(opened: Any, panel: Any, node: str) -> None:
    tab = panel.get_by_role("button", name="Faces", exact=True)
    if tab.is_visible():
        tab.click()
    button = panel.get_by_role("button", name="Face 0", exact=True)
    if button.is_disabled():  # a link chooses
        return
    kept = opened.widget(node, "faces_index")
    button.click()
    assert opened.widget(node, "faces_index") != kept
    chosen = opened.widget(node, "faces_index").split(",")
    assert button.get_attribute("aria-pressed") == str("0" in chosen or chosen == [""]).lower()  # empty: all
