"""The pack in a real ComfyUI, in a process of its own: all is run there once, and the tests look at what happened.

    COMFYUI_PATH=<checkout> [COMFYUI_PYTHON=<its python>] pytest tests/comfyui

Without COMFYUI_PYTHON the running Python must have the checkout's requirements. COMFYUI_KEEP names a new folder in
which the pictures stay, for people to look at.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image, ImageFilter

from cscs_core.hub.weights import save_model
from cscs_core.io import images, provenance
from cscs_core.models import AEINet, IdAdapter, IdAdapterConfig, IResNet, IResNetConfig

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "cscs_core" / "examples").glob("*.jpg"))
API = ROOT / "tests" / "workflows" / "api"
INFO: dict[str, Any] = json.loads((ROOT / "tests" / "workflows" / "object_info.json").read_text("utf-8"))
CORE = tuple(name for name in INFO if not name.startswith("CSCS_"))
WORKFLOWS = sorted(file.stem for file in API.glob("*.json"))
SWAP = {
    "swapper": "lite",
    "faces_order": "large-small",
    "faces_index": "",
    "reference_threshold": 0.5,
    "strength": 1.0,
    "resolution": "256",
    "detection_threshold": 0.5,
}

# The picture that stands for each photograph of the workflows, by the title of its node.
PHOTOGRAPHS = {
    "Group: several people": "group.png",
    "Who: the person to replace": "person_3.png",
    "New face A": "person_5.png",
    "New face B": "person_2.png",
    "Photo": "person_1.png",
    "Painting": "painting.png",
    "Photo 3 of the person": "person_4.png",
    "Photo 2": "person_2.png",
    "Today": "person_4.png",
    "Another age of the same person": "older.png",
    "Target: whose face is replaced": "person_2.png",
}


@dataclass(frozen=True)
class Seen:
    """What a host in its own folder did with a job."""

    base: Path
    answer: dict[str, Any]
    runs: dict[str, dict[str, Any]]

    def pictures(self, run: str, node: str, key: str = "images") -> list[torch.Tensor]:
        """The pictures that a node showed, each (3, H, W)."""
        places = self.runs[run]["ui"][node][key]
        return [self.picture(place) for place in places]

    def picture(self, place: Mapping[str, str]) -> torch.Tensor:
        return images.read(self.base / place["type"] / place["subfolder"] / place["filename"])[0]

    def text(self, run: str, node: str) -> str:
        return self.runs[run]["ui"][node]["text"][0]


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def workflow(name: str) -> dict[str, Any]:
    """A workflow with photographs of ours in it."""
    prompt = json.loads((API / f"{name}.json").read_text("utf-8"))
    for part in prompt.values():
        if part["class_type"] == "LoadImage":
            part["inputs"]["image"] = PHOTOGRAPHS.get(part["_meta"]["title"], "person_1.png")
        if part["class_type"] == "LoadVideo":
            part["inputs"]["file"] = "clip.mp4"
        if part["class_type"] == "CheckpointLoaderSimple":
            part["inputs"]["ckpt_name"] = "made.safetensors"
        if part["class_type"] == "KSampler":
            part["inputs"] |= {"steps": 1, "cfg": 1.0, "denoise": 1.0}
    return prompt


def person(number: int, side: int = 400) -> Image.Image:
    return Image.open(EXAMPLES[number - 1]).convert("RGB").resize((side, side))


def write_input(folder: Path) -> None:
    """Photographs, a group, a painting and a clip, all made of the example people."""
    folder.mkdir()
    for number in range(1, 7):  # as PNG, which every decoder reads alike
        Image.open(EXAMPLES[number - 1]).convert("RGB").save(folder / f"person_{number}.png")
    group = Image.new("RGB", (1200, 400))
    for place, number in enumerate((1, 3, 4)):
        group.paste(person(number), (400 * place, 0))
    group.save(folder / "group.png")
    person(5).filter(ImageFilter.ModeFilter(7)).save(folder / "painting.png")
    large = person(2, 480)
    for number in range(8):
        large.crop((6 * number, 4 * number, 6 * number + 400, 4 * number + 400)).save(folder / f"frame_{number}.png")
    person(4).rotate(4, Image.Resampling.BICUBIC).point([round(255 * (v / 255) ** 1.3) for v in range(256)] * 3).save(
        folder / "older.png"
    )


def write_networks(folder: Path) -> None:
    """Networks of CSCS with weights that nobody trained: for what is done with them, not for how it looks."""
    for name, network in (
        ("cscs_generator", AEINet()),
        ("cscs_encoder", IResNet(IResNetConfig(18))),
        ("cscs_adapter", IdAdapter(IdAdapterConfig("add", 18))),
    ):
        save_model(folder / f"{name}.safetensors", network.eval())


def run_host(base: Path, steps: dict[str, dict[str, Any]], record: tuple[str, ...] = ()) -> Seen:
    """Everything in one process; `run_host.py` says what a step is."""
    (base / "job.json").write_text(json.dumps({"steps": list(steps.values()), "record": record}), "utf-8")
    script = Path(__file__).with_name("run_host.py")
    command = [os.environ.get("COMFYUI_PYTHON", sys.executable), script, ROOT, base, base / "job.json"]
    done = subprocess.run(
        [*map(str, command), str(base / "answer.json")],
        env={**os.environ, "PYTHONPATH": os.environ["COMFYUI_PATH"]},
        cwd=base,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answer = json.loads((base / "answer.json").read_text("utf-8"))
    return Seen(base, answer, dict(zip(steps, answer["runs"], strict=True)))


GREY = node("EmptyImage", width=96, height=64, batch_size=2, color=0x808080)
ONE, TWO = node("LoadImage", image="person_1.png"), node("LoadImage", image="person_2.png")


def swap(target: Any, source: Any, **inputs: Any) -> dict[str, Any]:
    return {
        "1": target,
        "2": source,
        "3": node("CSCS_FaceSwap", target=["1", 0], source=["2", 0], **{**SWAP, **inputs}),
        "4": node("PreviewImage", images=["3", 0]),
        "5": node("MaskPreview", mask=["3", 1]),
        "6": node("PreviewAny", source=["3", 2]),
    }


def steps(base: Path) -> dict[str, dict[str, Any]]:
    """What is run, in this order."""
    long = swap(node("RepeatImageBatch", image=["7", 0], amount=40), ONE)
    identity = {
        "1": ONE,
        "2": node("CSCS_FaceIdentity", image=["1", 0], faces_order="large-small"),
        "3": node("CSCS_SaveIdentity", identity=["2", 0], filename="kept", overwrite=False),
    }
    loaded = {
        "1": node("CSCS_LoadIdentity", file="kept"),
        "2": node("PreviewImage", images=["1", 1]),
    }
    made = {name: {"prompt": workflow(name)} for name in WORKFLOWS}
    return made | {
        "a swap": {"prompt": swap(TWO, ONE)},
        "the same again": {"prompt": swap(TWO, ONE), "again": True},
        "another strength": {"prompt": swap(TWO, ONE, strength=0.5), "again": True},
        "a long one, cancelled": {"prompt": long | {"7": TWO}, "cancel": 0.3},
        "after the cancelled one": {"prompt": swap(TWO, ONE)},
        "by networks": {"prompt": swap(TWO, ONE, swapper="cscs")},
        "by networks that are gone": {
            "prompt": swap(TWO, ONE, swapper="cscs"),
            "remove": str(base / "models" / "cscs" / "cscs_generator.safetensors"),
        },
        "no face": {"prompt": swap(GREY, ONE)},
        "no face in the source": {"prompt": swap(TWO, GREY)},
        "a bad face number": {"prompt": swap(TWO, ONE, faces_index="first")},
        "a pack that is missing": {"prompt": swap(TWO, ONE, detector="buffalo_l")},
        "an identity kept": {"prompt": identity},
        "an identity read": {"prompt": loaded},
        "an identity that is gone": {
            "prompt": loaded,
            "remove": str(base / "models" / "cscs" / "identities" / "kept.safetensors"),
        },
    }


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A host's folder with what the prompts need."""
    if not os.environ.get("COMFYUI_PATH"):
        pytest.skip("COMFYUI_PATH names no ComfyUI checkout")
    kept = os.environ.get("COMFYUI_KEEP")
    base = Path(kept).resolve() if kept else tmp_path_factory.mktemp("comfyui")
    base.mkdir(exist_ok=True)
    write_input(base / "input")
    write_networks(base / "models" / "cscs")
    return base


@pytest.fixture(scope="module")
def seen(base: Path) -> Seen:
    return run_host(base, steps(base), CORE)


def done(seen: Seen, name: str) -> dict[str, Any]:
    run = seen.runs[name]
    assert run["valid"], run["node_errors"]
    assert run["success"], run["failure"]
    return run


def shown(seen: Seen, name: str, kind: str, key: str = "images") -> list[torch.Tensor]:
    """The pictures of the first node of that kind in a workflow."""
    prompt = workflow(name)
    number = next(
        number for number, part in prompt.items() if part["class_type"] == kind and number in seen.runs[name]["ui"]
    )
    return seen.pictures(name, number, key)


def test_every_node_registers_without_a_warning(seen: Seen) -> None:
    assert seen.answer["loaded"] and seen.answer["warnings"] == []
    assert sorted(seen.answer["info"]) == sorted(name for name in INFO if name.startswith("CSCS_"))


def test_object_info_is_the_recorded_one(seen: Seen) -> None:
    """After a change that is meant: tests/workflows/record.py with the answer.json of this run."""
    for name, told in seen.answer["info"].items():
        ours = {key: value for key, value in told.items() if key != "python_module"}
        recorded = INFO[name]
        if name in ("CSCS_FaceSwap", "CSCS_LoadModel"):  # cscs is offered here, for its files are
            assert "cscs" in json.dumps(ours["input"])
            ours = {key: value for key, value in ours.items() if key != "input"}
            recorded = {key: value for key, value in recorded.items() if key != "input"}
        assert (name, ours) == (name, recorded)


def test_the_web_folder_is_served_and_the_hosts_own_nodes_keep_their_name(seen: Seen) -> None:
    assert str(ROOT / "web") in seen.answer["web"]
    assert Path(seen.answer["top_level_nodes"]).parent == Path(os.environ["COMFYUI_PATH"]).resolve()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_every_workflow_runs(seen: Seen, name: str) -> None:
    assert done(seen, name)["progress"] > 0


def test_a_swap_changes_the_face_and_nothing_else(seen: Seen) -> None:
    done(seen, "a swap")
    target = seen.picture({"type": "input", "subfolder": "", "filename": "person_2.png"})
    result, mask = seen.pictures("a swap", "4")[0], seen.pictures("a swap", "5")[0]
    change = (result - target).abs().amax(0)
    assert change[mask[0] == 0].max() <= 1.01 / 255  # the host's PNG cuts off where ours rounds
    assert change[mask[0] > 0.9].mean() > 0.02
    assert 0.05 < (mask > 0).float().mean() < 0.6
    assert "1 face swapped" in seen.text("a swap", "6")


def test_the_two_replaced_faces_of_the_group_are_the_right_ones(seen: Seen) -> None:
    done(seen, "several_people")
    group = seen.picture({"type": "input", "subfolder": "", "filename": "group.png"})
    result = shown(seen, "several_people", "CSCS_SaveImage")[0]
    change = (result - group).abs().mean(0)
    left, middle, right = (change[:, 400 * part : 400 * (part + 1)].max() for part in range(3))
    assert left > 0.1 and middle > 0.1  # the first from the left by number, the second by likeness
    assert right <= 1.01 / 255


def test_the_video_keeps_its_frames_and_every_one_is_swapped(seen: Seen) -> None:
    done(seen, "video")
    pairs = next(ui["cscs_compare"] for ui in seen.runs["video"]["ui"].values() if "cscs_compare" in ui)
    assert len(pairs) == 8
    for pair in pairs:
        assert (seen.picture(pair["before"]) - seen.picture(pair["after"])).abs().max() > 0.1


def test_what_diffusion_drew_comes_back_only_inside_the_mask(seen: Seen) -> None:
    done(seen, "stylise")
    target = seen.picture({"type": "input", "subfolder": "", "filename": "person_2.png"})
    result = shown(seen, "stylise", "CSCS_SaveImage")[0]
    change = (result - target).abs().amax(0)
    assert change.max() > 0.2  # the checkpoint draws one colour
    assert (change <= 1.01 / 255).float().mean() > 0.4
    assert change[:8].max() <= 1.01 / 255


def test_the_proxy_pairs_lie_in_the_output_folder_with_their_manifest(seen: Seen) -> None:
    done(seen, "proxy_pairs")
    manifests = list((seen.base / "output" / "CSCS").rglob("manifest.jsonl"))
    assert len(manifests) == 1
    assert len(list(manifests[0].parent.rglob("*.*"))) > 3


def test_saved_pictures_say_how_they_were_made_and_carry_the_workflow(seen: Seen) -> None:
    done(seen, "face_swap")
    file = next((seen.base / "output" / "CSCS").glob("face_swap_*.png"))
    note = provenance.read(file)
    assert "compositeWithTrainedAlgorithmicMedia" in json.dumps(note)


def test_what_did_not_change_is_not_done_again(seen: Seen) -> None:
    done(seen, "the same again")
    assert {"1", "2", "3"} <= set(seen.runs["the same again"]["cached"])
    done(seen, "another strength")
    assert {"1", "2"} <= set(seen.runs["another strength"]["cached"])
    assert "3" not in seen.runs["another strength"]["cached"]


def test_cancel_stops_within_a_frame_and_the_next_prompt_runs(seen: Seen) -> None:
    run = seen.runs["a long one, cancelled"]
    assert run["interrupted"] and not run["success"]
    assert run["latency"] < seen.runs["a swap"]["seconds"]
    done(seen, "after the cancelled one")


def test_models_are_the_hosts_to_load_and_to_unload(seen: Seen) -> None:
    assert seen.answer["models_loaded"] > 0
    assert seen.answer["models_after_unload"] == 0


def test_networks_run_and_their_going_is_told(seen: Seen) -> None:
    done(seen, "by networks")
    assert "1 face swapped" in seen.text("by networks", "6")
    gone = seen.runs["by networks that are gone"]
    message = json.dumps(gone["node_errors"]) if not gone["valid"] else gone["failure"]["exception_message"]
    assert "cscs_generator.safetensors" in message


def test_pictures_without_faces_come_back_as_they_were(seen: Seen) -> None:
    done(seen, "no face")
    assert [picture.unique().tolist() for picture in seen.pictures("no face", "4")] == [[pytest.approx(128 / 255)]] * 2
    assert "no face found" in seen.text("no face", "6")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no face in the source", "no face found in image 0 of source"),
        ("a pack that is missing", "pip install insightface onnxruntime"),
    ],
)
def test_what_went_wrong_is_told_in_the_users_words(seen: Seen, name: str, words: str) -> None:
    run = seen.runs[name]
    assert not run["success"]
    assert words in run["failure"]["exception_message"]


def test_a_bad_face_number_is_refused_before_anything_runs(seen: Seen) -> None:
    run = seen.runs["a bad face number"]
    assert not run["valid"]
    assert "write numbers" in json.dumps(run["node_errors"])


def test_an_identity_is_kept_read_and_missed(seen: Seen) -> None:
    done(seen, "an identity kept")
    done(seen, "an identity read")
    gone = seen.runs["an identity that is gone"]
    assert not gone["valid"]
    assert "kept" in json.dumps(gone["node_errors"])
