"""What the host sees of the pack: its entry, schemas, help pages and templates."""

from __future__ import annotations

import ast
import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
IDS = ["CSCS_DetectFaces", "CSCS_FaceIdentity", "CSCS_FaceSwap"]
WORKFLOWS = sorted((ROOT / "workflows").glob("*.json"))
# Nodes of ComfyUI that templates may use, with the number of their widgets.
CORE_NODES = {"LoadImage": 2, "SaveImage": 1, "PreviewImage": 0, "PreviewAny": 0}


def test_the_entry_lists_the_nodes_by_prefixed_ids(pack: Any) -> None:
    assert list(pack.nodes) == IDS


def test_the_entry_has_no_old_mappings_which_would_hide_it(pack: Any) -> None:
    assert not hasattr(pack.entry, "NODE_CLASS_MAPPINGS")


def test_the_web_directory_exists(pack: Any) -> None:
    assert (ROOT / pack.entry.WEB_DIRECTORY).is_dir()


@pytest.mark.parametrize("name", IDS)
def test_every_input_and_output_has_a_tooltip(pack: Any, name: str) -> None:
    schema = pack.nodes[name].GET_SCHEMA()
    assert all(part.tooltip for part in [*schema.inputs, *schema.outputs])


@pytest.mark.parametrize("name", IDS)
def test_every_node_can_be_found_and_explained(pack: Any, name: str) -> None:
    schema = pack.nodes[name].GET_SCHEMA()
    assert schema.category == "CSCS"
    assert schema.display_name and schema.description and schema.search_aliases


@pytest.mark.parametrize("name", IDS)
def test_execute_takes_exactly_the_inputs_and_defaults_the_optional_ones(pack: Any, name: str) -> None:
    schema = pack.nodes[name].GET_SCHEMA()
    parameters = inspect.signature(pack.nodes[name].execute).parameters
    assert list(parameters) == [part.id for part in schema.inputs]
    optional = {part.id for part in schema.inputs if part.optional}
    assert {key for key, value in parameters.items() if value.default is not value.empty} == optional


@pytest.mark.parametrize("name", IDS)
def test_required_inputs_come_first_so_that_widget_values_keep_their_place(pack: Any, name: str) -> None:
    optional = [part.optional for part in pack.nodes[name].GET_SCHEMA().inputs]
    assert optional == sorted(optional)


@pytest.mark.parametrize("name", IDS)
def test_the_help_page_names_every_input_and_output_and_asks_for_consent(pack: Any, name: str) -> None:
    schema = pack.nodes[name].GET_SCHEMA()
    page = (ROOT / "web" / "docs" / f"{name}.md").read_text("utf-8")
    assert page.startswith(f"# {schema.display_name}")
    assert [part.id for part in [*schema.inputs, *schema.outputs] if f"**{part.id}**" not in page] == []
    assert "people who agreed" in page


def test_help_pages_belong_to_nodes() -> None:
    assert sorted(page.stem for page in (ROOT / "web" / "docs").glob("*.md")) == IDS


@pytest.mark.parametrize("file", sorted((ROOT / "nodes").glob("*.py")), ids=lambda file: file.name)
def test_nodes_import_ours_relatively_and_write_ids_as_literals(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"))
    absolute = [node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and not node.level]
    absolute += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not {str(name).split(".")[0] for name in absolute} & {"nodes", "cscs_core"}
    assert all(isinstance(word, ast.Constant) for word in _keywords(tree, "node_id"))


def _keywords(tree: ast.AST, name: str) -> Iterator[ast.expr]:
    for call in ast.walk(tree):
        if isinstance(call, ast.Call):
            yield from (word.value for word in call.keywords if word.arg == name)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_template_uses_known_nodes_with_values_that_fit_their_widgets(pack: Any, file: Path) -> None:
    for node in json.loads(file.read_text("utf-8"))["nodes"]:
        values = node["widgets_values"]
        if node["type"] in CORE_NODES:
            assert len(values) == CORE_NODES[node["type"]]
            continue
        schema = pack.nodes[node["type"]].GET_SCHEMA()
        widgets = [part for part in schema.inputs if hasattr(part, "default")]
        assert len(values) == len(widgets)
        assert [(part.id, value) for part, value in zip(widgets, values, strict=True) if not _fits(part, value)] == []
        inputs = [part.id for part in schema.inputs if part not in widgets] + [part.id for part in widgets]
        assert [part["name"] for part in node["inputs"]] == inputs
        assert [part["type"] for part in node["outputs"]] == [part.io_type for part in schema.outputs]


def _fits(part: Any, value: Any) -> bool:
    if part.io_type == "COMBO":
        return value in part.options
    if part.io_type == "FLOAT":
        return isinstance(value, float) and part.min <= value <= part.max
    return part.io_type == "STRING" and isinstance(value, str)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_template_links_join_sockets_of_one_type_and_are_noted_at_both_ends(file: Path) -> None:
    graph = json.loads(file.read_text("utf-8"))
    nodes = {node["id"]: node for node in graph["nodes"]}
    for link, source, output, target, socket, kind in graph["links"]:
        out, into = nodes[source]["outputs"][output], nodes[target]["inputs"][socket]
        assert out["type"] == kind and into["type"] in (kind, "*")
        assert link in out["links"] and into["link"] == link
    assert graph["last_link_id"] == max(link[0] for link in graph["links"])
    assert graph["last_node_id"] == max(nodes)
