"""Workflows saved by older versions: what they hold lands where it belongs, and they run without what came later."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

ROOT = Path(__file__).parents[2]
OLD = sorted((ROOT / "tests" / "workflows" / "old").glob("*.json"))
WIDGETS = ("BOOLEAN", "COMBO", "FLOAT", "INT", "STRING")
# The widgets and outputs of 0.1, in order: values and links of workflows are saved by position.
KNOWN = {
    "CSCS_DetectFaces": (
        ["faces_order", "detection_threshold", "detector"],
        ["faces", "preview", "count", "report"],
    ),
    "CSCS_FaceIdentity": (["faces_order", "detector"], ["identity", "preview"]),
    "CSCS_FaceSwap": (
        [
            "swapper",
            "faces_order",
            "faces_index",
            "reference_threshold",
            "strength",
            "resolution",
            "detection_threshold",
            "detector",
        ],
        ["image", "mask", "report"],
    ),
}


def ours(file: Path) -> list[dict[str, Any]]:
    """Our nodes of a workflow as the page saves it."""
    return [node for node in json.loads(file.read_text("utf-8"))["nodes"] if node["type"].startswith("CSCS_")]


def saved(node: dict[str, Any]) -> dict[str, Any]:
    """The values of a node's widgets, by the names that they had when the workflow was saved."""
    names = [part["name"] for part in node["inputs"] if "widget" in part]
    return dict(zip(names, node["widgets_values"], strict=True))


def widgets(pack: Any, name: str) -> list[Any]:
    """The widgets of a node as the page lays them out: those of required inputs, then those of optional ones."""
    parts = [part for part in pack.nodes[name].GET_SCHEMA().inputs if part.io_type in WIDGETS]
    return sorted(parts, key=lambda part: part.optional)


def person(number: int) -> Tensor:
    """An example person as a small IMAGE."""
    photo = Image.open(ROOT / "cscs_core" / "examples" / f"person_{number}.jpg").convert("RGB").resize((128, 128))
    return torch.from_numpy(np.array(photo))[None].float() / 255


@pytest.mark.parametrize("name", KNOWN)
def test_widgets_and_outputs_keep_their_places(pack: Any, name: str) -> None:
    first_widgets, first_outputs = KNOWN[name]
    assert [part.id for part in widgets(pack, name)][: len(first_widgets)] == first_widgets
    outputs = [part.id for part in pack.nodes[name].GET_SCHEMA().outputs]
    assert outputs[: len(first_outputs)] == first_outputs


@pytest.mark.parametrize("file", OLD, ids=lambda file: file.stem)
def test_every_saved_value_lands_on_the_widget_it_was_saved_for_and_is_still_allowed(pack: Any, file: Path) -> None:
    for node in ours(file):
        parts = widgets(pack, node["type"])
        landed = {part.id: value for part, value in zip(parts, node["widgets_values"], strict=False)}
        assert landed == saved(node)
        for part, value in zip(parts, node["widgets_values"], strict=False):
            assert value in (part.options if part.io_type == "COMBO" else [value])
            assert part.io_type not in ("FLOAT", "INT") or part.min <= value <= part.max


@pytest.mark.parametrize("file", OLD, ids=lambda file: file.stem)
def test_every_wire_still_finds_its_socket(pack: Any, file: Path) -> None:
    for node in ours(file):
        schema = pack.nodes[node["type"]].GET_SCHEMA()
        kinds = {part.id: part.io_type for part in schema.inputs}
        assert {part["name"]: kinds.get(part["name"]) for part in node["inputs"]} == {
            part["name"]: part["type"] for part in node["inputs"]
        }
        outputs = [(part.id, part.io_type) for part in schema.outputs]
        assert [(part["name"], part["type"]) for part in node["outputs"]] == outputs[: len(node["outputs"])]


@pytest.mark.parametrize("name", KNOWN)
def test_what_came_later_is_optional_and_its_widgets_default_to_what_the_page_shows(pack: Any, name: str) -> None:
    node, old = pack.nodes[name], {*KNOWN[name][0], "image", "target", "source", "identity", "mask", "reference"}
    defaults = {key: part.default for key, part in inspect.signature(node.execute).parameters.items()}
    for part in node.GET_SCHEMA().inputs:
        if part.id not in old:
            assert part.optional
            assert defaults[part.id] == (part.default if part.io_type in WIDGETS else None)


def test_a_prompt_with_the_old_inputs_alone_runs_and_does_what_the_same_on_the_page_does(pack: Any, host: Any) -> None:
    (node,) = ours(ROOT / "tests" / "workflows" / "old" / "face_swap_0.1.json")
    inputs: dict[str, Any] = {**saved(node), "resolution": "256", "target": person(1), "source": person(2)}
    swap, schema = pack.nodes["CSCS_FaceSwap"], pack.nodes["CSCS_FaceSwap"].GET_SCHEMA()
    assert swap.validate_inputs(inputs["faces_index"]) is True
    image, mask, report = swap.execute(**inputs).result[:3]
    assert "frame 0: 1 face swapped" in report
    assert not torch.equal(image, inputs["target"]) and torch.equal(image[mask == 0], inputs["target"][mask == 0])
    later = {part.id: part.default for part in schema.inputs if part.io_type in WIDGETS and part.id not in inputs}
    assert len(later) >= 8
    assert torch.equal(swap.execute(**inputs, **later).result[0], image)
