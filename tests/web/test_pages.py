"""The pages of web/ in the real ComfyUI page, fed with messages as nodes/shown.py makes them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Open = Callable[..., Any]

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))

BOXES = [[64 + 256 * n, 64, 192 + 256 * n, 224] for n in range(3)]


def file(name: str) -> dict[str, str]:
    return {"filename": name, "subfolder": "cscs", "type": "temp"}


def sheet(name: str = "three.jpg", frame: int = 0, faces: int = 3) -> dict[str, Any]:
    marks = [{"number": n, "box": box, "score": 0.9, "chosen": True} for n, box in enumerate(BOXES[:faces])]
    return {**file(name), "width": 768, "height": 256, "frame": frame, "faces": marks}


PAIR = {"before": file("three.jpg"), "after": file("grey.jpg")}


def node(number: int, kind: str, x: int, values: list[Any]) -> dict[str, Any]:
    return {
        "id": number,
        "type": kind,
        "pos": [x, 100],
        "size": [340, 180],
        "flags": {},
        "order": number,
        "mode": 0,
        "inputs": [],
        "outputs": [],
        "properties": {},
        "widgets_values": values,
    }


def graph(*nodes: dict[str, Any]) -> dict[str, Any]:
    return {"last_node_id": 9, "last_link_id": 0, "nodes": nodes, "links": [], "groups": [], "version": 0.4}


SWAP = node(1, "CSCS_FaceSwap", 100, ["", 1.0, "lite"])


@pytest.fixture(scope="module", params=["classic", "nodes-2"])
def opened(request: pytest.FixtureRequest, canvas: Open, recorded: Open) -> Any:
    """The page in both of its ways to draw nodes."""
    page = canvas(recorded(**{"Comfy.VueNodes.Enabled": request.param == "nodes-2"}), recorded=True)
    page.name = request.param
    return page


@pytest.fixture
def page(opened: Any) -> Iterator[Any]:
    yield opened
    assert opened.errors == []


def face(page: Any, number: int) -> Any:
    return page.page.get_by_role("button", name=f"Face {number}", exact=True)


def pressed(page: Any) -> list[str]:
    return [face(page, n).get_attribute("aria-pressed") for n in range(3)]


def panel_height(page: Any) -> float:
    return page.page.locator(".cscs-panel:visible").evaluate("(panel) => panel.offsetHeight")


def test_a_click_on_a_face_writes_its_number(page: Any) -> None:
    page.load(graph(SWAP))
    page.executed("1", cscs_picker=[sheet()], cscs_badge=["3 faces"])
    page.look()
    assert pressed(page) == ["true", "true", "true"]  # empty: all
    face(page, 2).click()
    assert page.widget("1", "faces_index") == "2"
    face(page, 0).click()
    assert page.widget("1", "faces_index") == "0,2"
    assert pressed(page) == ["true", "false", "true"]
    assert 130 < panel_height(page) < 220  # room for the picture, and no more
    page.shoot(f"picker_{page.name}")
    face(page, 2).focus()
    page.page.keyboard.press("Enter")
    assert page.widget("1", "faces_index") == "0"
    assert page.values("1") == ["0", 1.0, "lite"]  # nothing of ours is saved


def test_a_box_lies_on_its_face(page: Any) -> None:
    page.load(graph(SWAP))
    page.executed("1", cscs_picker=[sheet()])
    page.look()
    picture = page.page.locator(".cscs-panel img:visible").bounding_box()
    box = face(page, 1).bounding_box()
    assert picture["width"] / picture["height"] == pytest.approx(3, rel=0.02)
    assert (box["x"] - picture["x"]) / picture["width"] == pytest.approx(320 / 768, abs=0.01)
    assert box["height"] / picture["height"] == pytest.approx(160 / 256, abs=0.02)


def test_a_number_written_by_hand_is_marked(page: Any) -> None:
    page.load(graph(SWAP))
    page.executed("1", cscs_picker=[sheet()])
    page.look()
    if page.name == "nodes-2":
        page.page.locator(".lg-node-widgets").get_by_role("textbox").first.fill("1")
    else:
        page.run(
            """() => { const node = app.graph.getNodeById(1);
            const widget = node.widgets.find((widget) => widget.name === "faces_index");
            widget.setValue("1", { e: null, node, canvas: app.canvas }); }"""
        )
    assert page.widget("1", "faces_index") == "1"
    assert pressed(page) == ["false", "true", "false"]


def test_a_linked_faces_index_cannot_be_clicked(page: Any) -> None:
    page.load(graph(SWAP, node(2, "Words", 600, ["1"])))
    page.run(
        """() => { const swap = app.graph.getNodeById(1);
        const slot = swap.inputs.findIndex((slot) => slot.widget?.name === "faces_index");
        app.graph.getNodeById(2).connect(0, swap, slot); }"""
    )
    page.executed("1", cscs_picker=[sheet()])
    page.look()
    assert face(page, 1).is_disabled()
    assert page.page.get_by_text("faces_index is connected and decides.").is_visible()


def test_the_divider_follows_pointer_and_keys(page: Any) -> None:
    page.load(graph(SWAP))
    page.executed("1", cscs_compare=[PAIR], cscs_badge=["2 faces, likeness 0.57"])
    page.look()
    slider = page.page.get_by_role("slider", name="Before and after")
    assert slider.get_attribute("aria-valuenow") == "50"
    frame = page.page.locator(".cscs-slide").bounding_box()
    place = list(page.run("() => [...app.graph.getNodeById(1).pos]"))
    middle = frame["y"] + frame["height"] / 2
    page.page.mouse.move(frame["x"] + frame["width"] / 2, middle)
    page.page.mouse.down()
    page.page.mouse.move(frame["x"] + frame["width"] * 0.25, middle, steps=5)
    page.page.mouse.up()
    assert int(slider.get_attribute("aria-valuenow")) == pytest.approx(25, abs=1)
    page.page.keyboard.press("ArrowRight")
    page.page.keyboard.press("Shift+ArrowRight")
    assert int(slider.get_attribute("aria-valuenow")) == pytest.approx(37, abs=1)
    clip = page.page.locator(".cscs-before").evaluate("(image) => getComputedStyle(image).clipPath")
    assert clip.startswith("inset(0px 62") or clip.startswith("inset(0px 63") or "calc" in clip
    assert page.run("() => [...app.graph.getNodeById(1).pos]") == place  # the node was not dragged along
    page.shoot(f"compare_{page.name}")
    page.page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuenow") == "0"


def test_faces_and_pictures_share_one_panel_and_its_frames(page: Any) -> None:
    page.load(graph(SWAP))
    page.executed("1", cscs_compare=[PAIR, PAIR], cscs_picker=[sheet(), sheet("grey.jpg", 1, 1)], cscs_badge=["x"])
    page.look()
    page.page.get_by_role("button", name="Faces", exact=True).click()
    assert face(page, 2).is_visible()
    page.page.get_by_role("button", name="Next image").click()
    assert not face(page, 2).is_visible() and face(page, 0).is_visible()
    assert page.page.get_by_text("2/2").is_visible()
    assert panel_height(page) < 220
    page.page.get_by_role("button", name="Compare", exact=True).click()
    assert page.page.get_by_role("slider", name="Before and after").is_visible()
    page.shoot(f"frames_{page.name}")


def test_the_wheel_over_a_panel_zooms_the_canvas_once(page: Any) -> None:
    page.load(graph(SWAP))
    page.executed("1", cscs_compare=[PAIR])
    page.look()
    scales = []
    for target in (".cscs-strip", None):
        page.look()
        if target:
            page.page.locator(target).hover()
        else:
            page.page.mouse.move(1200, 800)
        page.page.mouse.wheel(0, 120)
        page.page.wait_for_timeout(500)
        scales.append(page.run("() => app.canvas.ds.scale"))
    assert scales[0] == pytest.approx(scales[1]) != 1.3


def test_badge_alone_is_a_strip(page: Any) -> None:
    page.load(graph(node(1, "CSCS_DetectFaces", 100, ["lite"])))
    page.executed("1", cscs_badge=["3 faces"])
    page.look()
    assert page.page.get_by_text("3 faces").is_visible()
    page.shoot(f"badge_{page.name}")


def progress(page: Any, value: int, most: int, state: str = "running", number: str = "1") -> None:
    states = {number: {"value": value, "max": most, "state": state, "node_id": number, "display_node_id": number}}
    page.tell("progress_state", prompt_id="recorded", nodes=states)


def badge(page: Any) -> str:
    return page.page.locator(".cscs-panel:visible .cscs-badge").inner_text()


def panels(page: Any) -> int:
    page.page.wait_for_timeout(300)
    return page.page.locator(".cscs-panel:visible").count()


def test_a_strip_tells_how_far_a_node_is_until_it_is_done(page: Any) -> None:
    page.load(graph(node(1, "CSCS_DetectFaces", 100, ["lite"])))
    progress(page, 3, 40)
    page.look()
    page.page.get_by_text("3 of 40", exact=True).wait_for()
    page.shoot(f"progress_{page.name}")
    page.tell("progress", node="1", value=4, max=40, prompt_id="recorded")  # all that older hosts tell
    page.page.get_by_text("4 of 40", exact=True).wait_for()
    page.executed("1", cscs_badge=["7 faces"])
    page.page.get_by_text("7 faces", exact=True).wait_for()
    progress(page, 40, 40, "finished")
    assert panels(page) == 1
    assert badge(page) == "7 faces"
    assert page.values("1") == ["lite"]


@pytest.mark.parametrize("end", ["execution_error", "execution_interrupted"])
def test_a_run_that_ends_early_leaves_what_the_run_before_told(end: str, page: Any) -> None:
    page.load(graph(node(1, "CSCS_DetectFaces", 100, ["lite"])))
    page.executed("1", cscs_badge=["7 faces"])
    progress(page, 1, 2)
    page.page.get_by_text("1 of 2", exact=True).wait_for()
    page.tell(end, prompt_id="recorded", node_id="1", node_type="CSCS_DetectFaces", executed=[])
    page.page.get_by_text("7 faces", exact=True).wait_for()


def test_a_node_that_shows_nothing_else_has_no_panel_when_it_is_done(page: Any) -> None:
    page.load(graph(node(1, "CSCS_DetectFaces", 100, ["lite"])))
    progress(page, 0, 1)
    assert panels(page) == 0
    for _ in range(2):
        progress(page, 1, 2)
        page.page.get_by_text("1 of 2", exact=True).wait_for()
        progress(page, 2, 2, "finished")
        assert panels(page) == 0
    assert page.run("() => app.graph.getNodeById(1).widgets.length") == 1


def test_a_node_of_others_stays_as_it_is(page: Any) -> None:
    page.load(graph(node(1, "Words", 100, ["1"])))
    page.executed("1", cscs_badge=["3 faces"])
    progress(page, 1, 2)
    page.page.wait_for_timeout(300)
    assert page.run("() => app.graph.getNodeById(1).widgets.length") == 1


def test_a_picture_that_is_gone_is_told(page: Any) -> None:
    page.load(graph(SWAP))
    page.executed("1", cscs_picker=[sheet("gone.jpg")])
    page.look()
    page.page.get_by_text("The image is no longer available.").first.wait_for()
    face(page, 1).click()
    assert page.widget("1", "faces_index") == "1"
    page.shoot(f"gone_{page.name}")


def test_undo_keeps_the_panel_and_takes_the_click_back(page: Any) -> None:
    page.load(graph(SWAP))
    page.executed("1", cscs_picker=[sheet()])
    page.look()
    face(page, 1).click()
    assert page.widget("1", "faces_index") == "1"
    page.run("async () => { await app.extensionManager.command.execute('Comfy.Undo'); }")
    page.page.wait_for_timeout(500)
    assert page.widget("1", "faces_index") == ""
    assert pressed(page) == ["true", "true", "true"]
    assert page.page.locator(".cscs-panel:visible").count() == 1


def test_the_panel_is_there_again_after_a_look_at_another_workflow(page: Any) -> None:
    page.load(graph(SWAP))
    page.executed("1", cscs_picker=[sheet()])
    page.page.wait_for_timeout(300)
    page.run("() => { window.cscsFirst = app.extensionManager.workflow.activeWorkflow; }")
    page.load(graph(node(1, "CSCS_DetectFaces", 100, ["lite"])))
    assert page.page.locator(".cscs-panel:visible").count() == 0
    tab = page.run("() => window.cscsFirst.filename")
    page.page.locator(".workflow-tab").get_by_text(tab, exact=True).click()
    page.page.wait_for_timeout(500)
    page.look()
    face(page, 1).click()
    assert page.widget("1", "faces_index") == "1"


def test_a_copy_and_a_reload_work_and_are_saved_alike(page: Any) -> None:
    page.load(graph(SWAP))
    page.executed("1", cscs_picker=[sheet()])
    page.look()
    face(page, 1).click()
    copied = page.run(
        """() => { const copy = app.graph.getNodeById(1).clone(); app.graph.add(copy); copy.pos = [100, 700];
        return [copy.id, copy.serialize().widgets_values]; }"""
    )
    assert copied[1] == ["1", 1.0, "lite"]
    page.run("async () => { await app.loadGraphData(app.graph.serialize()); }")
    page.page.wait_for_timeout(300)
    assert page.values("1") == ["1", 1.0, "lite"]
    page.executed("1", cscs_picker=[sheet()])
    page.page.wait_for_timeout(300)
    assert pressed(page) == ["false", "true", "false"]


def test_a_node_in_a_subgraph_shows_its_faces(page: Any) -> None:
    page.load(graph(SWAP))
    outer = page.run(
        """() => { const made = app.graph.convertToSubgraph(new Set([app.graph.getNodeById(1)]));
        return made.node.id; }"""
    )
    inner = page.run("(id) => app.graph.getNodeById(id).subgraph.nodes[0].id", outer)
    page.run("(id) => app.canvas.openSubgraph(app.graph.getNodeById(id).subgraph, app.graph.getNodeById(id))", outer)
    page.page.wait_for_timeout(500)
    page.executed(f"{outer}:{inner}", cscs_picker=[sheet()])
    page.look(inner)
    face(page, 1).click()
    assert page.run("(id) => app.canvas.graph.getNodeById(id).widgets[0].value", inner) == "1"


def test_new_nodes_start_with_the_settings_and_loaded_ones_do_not(canvas: Open, recorded: Open) -> None:
    wanted = {"CSCS.Detector": "other", "CSCS.Device": "cpu", "CSCS.Provenance": False}
    page = canvas(recorded(**wanted), recorded=True)
    page.load(graph(SWAP, node(2, "CSCS_SaveImage", 500, [])))
    assert page.widget("1", "detector") == "lite"
    assert page.widget("2", "provenance") is True  # saved by an older version, without this widget
    made = page.run(
        """() => ["CSCS_FaceSwap", "CSCS_LoadModel", "CSCS_SaveImage"].map((kind) => {
            const node = LiteGraph.createNode(kind);
            app.graph.add(node);
            return node.widgets.at(-1).value;
        })"""
    )
    assert made == ["other", "cpu", False]
    assert page.errors == []


def test_a_panel_speaks_the_language_of_the_page(canvas: Open, recorded: Open) -> None:
    page = canvas(recorded(**{"Comfy.Locale": "zh"}), recorded=True)
    page.load(graph(SWAP))
    page.executed("1", cscs_compare=[PAIR], cscs_picker=[sheet()], cscs_badge=["3 faces"])
    page.look()
    page.page.get_by_role("button", name="\u4eba\u8138", exact=True).click()  # Faces
    page.page.get_by_role("button", name="\u4eba\u8138 2", exact=True).click()
    assert page.widget("1", "faces_index") == "2"
    page.page.get_by_text("\u5df2\u9009\uff1a2", exact=True).wait_for()  # Chosen: 2
    assert not re.search("[A-Za-z]", page.page.locator(".cscs-panel").inner_text().replace("3 faces", ""))
    page.shoot("chinese")
    assert page.errors == []


@pytest.mark.parametrize("mode", ["classic", "nodes-2"])
def test_every_workflow_opens_as_it_was_saved(mode: str, canvas: Open, recorded: Open) -> None:
    snapshot = json.loads((ROOT / "tests" / "workflows" / "object_info.json").read_text("utf-8"))
    nodes = [{"python_module": "nodes"} | node for node in snapshot.values()]
    page = canvas(recorded(nodes, **{"Comfy.VueNodes.Enabled": mode == "nodes-2"}), recorded=True)
    for file in WORKFLOWS:
        workflow = json.loads(file.read_text("utf-8"))
        page.load(workflow)
        opened = page.run(
            """() => { const { nodes, links } = app.graph.serialize();
            return { links: links.length, nodes: Object.fromEntries(nodes.map((node) => [node.id, node])),
                unknown: nodes.map((node) => node.type).filter((type) => !LiteGraph.registered_node_types[type]) }; }"""
        )
        assert opened["unknown"] == [], file.name
        assert opened["links"] == len(workflow["links"]), file.name
        for node in workflow["nodes"]:
            if node["type"].startswith("CSCS_"):
                values = opened["nodes"][str(node["id"])].get("widgets_values", [])
                assert values == node.get("widgets_values", []), (file.name, node["type"])
    assert page.errors == []
