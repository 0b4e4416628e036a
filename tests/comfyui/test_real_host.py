"""The pack in a real ComfyUI, in a process of its own.

    COMFYUI_PATH=<checkout> [COMFYUI_PYTHON=<its python>] pytest tests/comfyui

Without COMFYUI_PYTHON the running Python must have the checkout's requirements.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cscs_core.models import AEINet, IdAdapter, IdAdapterConfig, IResNet, IResNetConfig
from cscs_core.weights import save_model

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "cscs_core" / "examples").glob("*.jpg"))[:2]
WIDGETS = {
    "swapper": "lite",
    "faces_order": "large-small",
    "faces_index": "",
    "reference_threshold": 0.5,
    "strength": 1.0,
    "resolution": "256",
    "detection_threshold": 0.5,
}
GREY = {"class_type": "EmptyImage", "inputs": {"width": 96, "height": 64, "batch_size": 2, "color": 0x808080}}


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


PROMPTS = {
    "no face to detect": {
        "1": GREY,
        "2": node("CSCS_DetectFaces", image=["1", 0], faces_order="left-right", detection_threshold=0.5),
        "3": node("PreviewImage", images=["2", 1]),
        "4": node("PreviewAny", source=["2", 3]),
    },
    "no face in the source": {
        "1": GREY,
        "2": node("CSCS_FaceSwap", target=["1", 0], source=["1", 0], **WIDGETS),
        "3": node("PreviewImage", images=["2", 0]),
    },
    "a bad face number": {
        "1": GREY,
        "2": node("CSCS_FaceSwap", target=["1", 0], source=["1", 0], **{**WIDGETS, "faces_index": "first"}),
        "3": node("PreviewImage", images=["2", 0]),
    },
    "a swap": {
        "1": node("LoadImage", image="0.jpg"),
        "2": node("LoadImage", image="1.jpg"),
        "3": node("CSCS_FaceIdentity", image=["2", 0], faces_order="large-small"),
        "4": node("CSCS_FaceSwap", target=["1", 0], identity=["3", 0], **WIDGETS),
        "5": node("PreviewImage", images=["4", 0]),
        "6": node("MaskPreview", mask=["4", 1]),
        "7": node("PreviewAny", source=["4", 2]),
        "8": node("PreviewImage", images=["3", 1]),
    },
    "a swap by networks": {
        "1": node("LoadImage", image="0.jpg"),
        "2": node("LoadImage", image="1.jpg"),
        "3": node("CSCS_FaceSwap", target=["1", 0], source=["2", 0], **{**WIDGETS, "swapper": "cscs"}),
        "4": node("PreviewImage", images=["3", 0]),
        "5": node("PreviewAny", source=["3", 2]),
    },
    "a pack that is missing": {
        "1": GREY,
        "2": node(
            "CSCS_DetectFaces", image=["1", 0], faces_order="left-right", detection_threshold=0.5, detector="buffalo_l"
        ),
        "3": node("PreviewImage", images=["2", 1]),
    },
}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `run_host.py` saw: the pack loaded, and every prompt run, by name."""
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("COMFYUI_PATH names no ComfyUI checkout")
    base = tmp_path_factory.mktemp("comfyui")
    (base / "input").mkdir()
    for number, picture in enumerate(EXAMPLES):
        shutil.copy(picture, base / "input" / f"{number}.jpg")
    for name, network in (
        ("cscs_generator", AEINet()),
        ("cscs_encoder", IResNet(IResNetConfig(18))),
        ("cscs_adapter", IdAdapter(IdAdapterConfig("add", 18))),
    ):
        save_model(base / "models" / "cscs" / f"{name}.safetensors", network.eval())
    (base / "prompts.json").write_text(json.dumps(list(PROMPTS.values())), "utf-8")
    script = Path(__file__).with_name("run_host.py")
    done = subprocess.run(
        [
            os.environ.get("COMFYUI_PYTHON", sys.executable),
            *(str(part) for part in (script, ROOT, base, base / "prompts.json", base / "answer.json")),
        ],
        env={**os.environ, "PYTHONPATH": os.environ["COMFYUI_PATH"]},
        cwd=base,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answer = json.loads((base / "answer.json").read_text("utf-8"))
    return {**answer, "runs": dict(zip(PROMPTS, answer["runs"], strict=True))}


def test_every_node_registers_without_a_warning(host: dict[str, Any]) -> None:
    assert host["loaded"] and host["warnings"] == []
    assert sorted(host["info"]) == ["CSCS_DetectFaces", "CSCS_FaceIdentity", "CSCS_FaceSwap"]


def test_the_web_folder_is_served(host: dict[str, Any]) -> None:
    assert str(ROOT / "web") in host["web"]


def test_the_hosts_own_nodes_module_keeps_its_name(host: dict[str, Any]) -> None:
    assert Path(host["top_level_nodes"]).parent == Path(os.environ["COMFYUI_PATH"]).resolve()


def test_pictures_without_faces_run_through(host: dict[str, Any]) -> None:
    run = host["runs"]["no face to detect"]
    assert run["success"], run["failure"]
    assert len(run["ui"]["3"]["images"]) == 2
    assert "image 1: no face found" in run["ui"]["4"]["text"][0]


def test_a_source_without_a_face_is_told_in_the_users_words(host: dict[str, Any]) -> None:
    run = host["runs"]["no face in the source"]
    assert not run["success"]
    assert "no face found in picture 0 of source" in run["failure"]["exception_message"]


def test_a_bad_face_number_is_refused_before_anything_runs(host: dict[str, Any]) -> None:
    run = host["runs"]["a bad face number"]
    assert not run["valid"]
    assert "write face numbers" in json.dumps(run["node_errors"])


@pytest.mark.skipif(len(EXAMPLES) < 2, reason="needs two example pictures in cscs_core/examples")
def test_a_swap_of_two_example_people_runs_end_to_end(host: dict[str, Any]) -> None:
    run = host["runs"]["a swap"]
    assert run.get("success"), run
    assert {key: len(value["images"]) for key, value in run["ui"].items() if "images" in value} == {
        "5": 1,
        "6": 1,
        "8": 1,
    }
    assert "1 face replaced" in run["ui"]["7"]["text"][0]


def test_cscs_is_offered_when_its_files_are_in_its_folder_and_runs(host: dict[str, Any]) -> None:
    offered = host["info"]["CSCS_FaceSwap"]["input"]["required"]["swapper"]
    assert "cscs" in json.dumps(offered)
    run = host["runs"]["a swap by networks"]
    assert run.get("success"), run
    assert "1 face replaced" in run["ui"]["5"]["text"][0]


def test_a_missing_pack_says_what_to_do(host: dict[str, Any]) -> None:
    run = host["runs"]["a pack that is missing"]
    assert not run["success"]
    assert "pip install insightface onnxruntime" in run["failure"]["exception_message"]
    assert "the detector lite needs neither" in run["failure"]["exception_message"]
