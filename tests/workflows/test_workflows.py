"""The workflows: as written down, whole, and with nodes as the host describes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

HERE = Path(__file__).parent
WORKFLOWS = sorted((HERE.parents[1] / "workflows").glob("*.json"))
INFO: dict[str, Any] = json.loads((HERE / "object_info.json").read_text("utf-8"))
each = pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)


def nodes(file: Path) -> list[dict[str, Any]]:
    found = json.loads(file.read_text("utf-8"))["nodes"]
    return [node for node in found if node["type"] != "MarkdownNote"]


def test_the_files_are_what_build_writes() -> None:
    done = subprocess.run([sys.executable, HERE / "build.py", "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run tests/workflows/build.py; stale: {done.stderr}"


def test_together_they_use_every_node() -> None:
    used = {node["type"] for file in WORKFLOWS for node in nodes(file)}
    assert sorted(name for name in INFO if name.startswith("CSCS_") and name not in used) == []


@each
def test_it_has_a_picture_that_is_seen_among_the_templates(file: Path) -> None:
    with Image.open(file.with_suffix(".jpg")) as picture:
        assert min(picture.size) >= 300
    assert file.with_suffix(".jpg").stat().st_size < 150_000


@each
def test_it_says_what_it_is_for_and_asks_for_consent(file: Path) -> None:
    notes = [node for node in json.loads(file.read_text("utf-8"))["nodes"] if node["type"] == "MarkdownNote"]
    assert len(notes) == 1
    assert "people who agreed" in notes[0]["widgets_values"][0].replace("who\nagreed", "who agreed")


@each
def test_links_join_sockets_of_one_type_and_are_noted_at_both_ends(file: Path) -> None:
    graph = json.loads(file.read_text("utf-8"))
    by_id = {node["id"]: node for node in graph["nodes"]}
    for link, source, output, target, socket, kind in graph["links"]:
        out, into = by_id[source]["outputs"][output], by_id[target]["inputs"][socket]
        assert out["type"] == kind and into["type"] in (kind, "*")
        assert link in out["links"] and into["link"] == link
    assert graph["last_link_id"] == max(link[0] for link in graph["links"])
    assert graph["last_node_id"] == max(by_id)


@each
def test_every_required_socket_is_connected(file: Path) -> None:
    for node in nodes(file):
        required = INFO[node["type"]]["input"].get("required", {})
        loose = [part["name"] for part in node["inputs"] if "widget" not in part and part["link"] is None]
        assert [name for name in loose if name in required] == []


@each
def test_nodes_do_not_lie_on_each_other(file: Path) -> None:
    boxes = [(node["title"] if "title" in node else node["type"], *node["pos"], *node["size"]) for node in nodes(file)]
    over = [
        (a[0], b[0])
        for number, a in enumerate(boxes)
        for b in boxes[:number]
        if a[1] < b[1] + b[3] and b[1] < a[1] + a[3] and a[2] < b[2] + b[4] + 30 and b[2] < a[2] + a[4] + 30
    ]
    assert over == []
