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


def _keywords(tree: ast.AST, name: str) -> Iterator[ast.expr]:
    for call in ast.walk(tree):
        if isinstance(call, ast.Call):
            yield from (word.value for word in call.keywords if word.arg == name)


def _ids() -> list[str]:
    """The ids as a scanner reads them that never runs the pack: literals."""
    trees = [ast.parse(file.read_text("utf-8")) for file in (ROOT / "nodes").glob("*.py")]
    words = [word for tree in trees for word in _keywords(tree, "node_id")]
    return sorted(str(word.value) for word in words if isinstance(word, ast.Constant))


IDS = _ids()
INFO: dict[str, Any] = json.loads((ROOT / "tests" / "workflows" / "object_info.json").read_text("utf-8"))


def test_the_entry_lists_the_nodes_by_prefixed_ids(pack: Any) -> None:
    assert sorted(pack.nodes) == IDS
    assert all(name.startswith("CSCS_") for name in IDS)


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


SHARED = ("reference_threshold", "strength", "feather", "restore_visibility", "codeformer_weight", "colour_match")
RANGE = ("io_type", "min", "max", "step", "options")


@pytest.mark.parametrize("name", [*SHARED, "detection_threshold", "faces_order", "gender", "keep_eyes", "keep_mouth"])
def test_an_input_has_one_range_in_all_nodes(pack: Any, name: str) -> None:
    inputs = [part for node in pack.nodes.values() for part in node.GET_SCHEMA().inputs if part.id == name]
    ranges = [[getattr(part, key, None) for key in RANGE] for part in inputs]
    assert len(ranges) >= 2 and all(each == ranges[0] for each in ranges)


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


def test_the_pages_description_of_every_node_is_the_recorded_one(pack: Any) -> None:
    recorded = {name: node for name, node in INFO.items() if name.startswith("CSCS_")}
    assert sorted(recorded) == IDS
    for name, node in recorded.items():
        schema = pack.nodes[name].GET_SCHEMA()
        for key in ("display_name", "description", "category", "search_aliases", "essentials_category"):
            assert (name, key, getattr(schema, key)) == (name, key, node[key])
        seen = {part.id: _told(part) for part in schema.inputs}
        told = {
            part: {"type": kind, "optional": need == "optional"} | {key: more.get(key) for key in _TOLD}
            for need in ("required", "optional")
            for part, (kind, more) in node["input"].get(need, {}).items()
        }
        assert {
            part: (told.get(part), seen.get(part)) for part in {*told, *seen} if told.get(part) != seen.get(part)
        } == {}
        assert [part.id for part in schema.inputs] == [
            part for need in ("required", "optional") for part in node["input_order"].get(need, [])
        ]
        assert [(part.id, part.io_type, part.tooltip) for part in schema.outputs] == list(
            zip(node["output_name"], node["output"], node["output_tooltips"], strict=True)
        )


_TOLD = ("default", "min", "max", "step", "options", "advanced", "tooltip")


def _told(part: Any) -> dict[str, Any]:
    return {"type": part.io_type, "optional": part.optional} | {key: getattr(part, key, None) for key in _TOLD}
