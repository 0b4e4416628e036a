"""The border with the host: values of sockets, messages for the page, models by choice."""

from __future__ import annotations

from dataclasses import make_dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image


@pytest.fixture
def border(pack: Any, host: Any) -> Any:
    """The modules of nodes/ by name, and the types of the core."""
    names = ("host", "loaded", "node_ui", "sockets")
    return SimpleNamespace(types=pack.module("cscs_core.types"), **{n: pack.module(f"nodes.{n}") for n in names})


def two_faces(types: Any) -> Any:
    box = torch.tensor([[1.0, 2, 11, 12], [20, 2, 30, 12]])
    points = torch.zeros(2, 5, 2)
    return types.FaceSet(
        torch.tensor([0, 1]),
        box,
        points,
        points[:, :1].expand(2, 468, 2),
        torch.tensor([0.9, 0.5]),
        torch.tensor([-1, -1]),
    )


def test_a_value_of_another_copy_of_the_pack_becomes_one_of_ours(border: Any) -> None:
    faces = two_faces(border.types)
    names = [name for name in type(faces).__slots__]
    copy = make_dataclass("FaceSet", names)(*(getattr(faces, name) for name in names))
    ours = border.host.rebuild(copy, border.types.FaceSet, "faces")
    assert type(ours) is border.types.FaceSet
    assert torch.equal(ours.box, faces.box)


def test_a_value_of_another_pack_with_the_same_type_name_is_refused(border: Any) -> None:
    with pytest.raises(ValueError, match=r"faces holds a dict; connect it to an output of a CSCS node"):
        border.host.rebuild({"boxes": []}, border.types.FaceSet, "faces")


def test_faces_of_a_longer_batch_are_refused(border: Any) -> None:
    border.host.check_frames(torch.zeros(2, 4, 4, 3), two_faces(border.types), "faces")
    with pytest.raises(ValueError, match=r"faces come from a batch of at least 2 images, but image has 1"):
        border.host.check_frames(torch.zeros(1, 4, 4, 3), two_faces(border.types), "faces")


def test_no_faces_fit_any_batch(border: Any) -> None:
    border.host.check_frames(torch.zeros(0, 4, 4, 3), border.types.FaceSet.empty(), "faces")


def test_a_choice_for_another_role_is_named(border: Any) -> None:
    choice = border.loaded.Choice("restorer", "lite")
    with pytest.raises(ValueError, match=r"swapper holds a restorer; connect the swapper output of Load Model"):
        border.loaded.chosen(choice, "swapper", "lite")


def test_nothing_chosen_is_the_default_and_a_name_is_itself(border: Any) -> None:
    assert border.loaded.chosen(None, "swapper", "lite").name == "lite"
    assert border.loaded.chosen("warp", "swapper", "lite").name == "warp"


def test_pictures_for_the_page_lie_in_the_temporary_folder_and_are_small(border: Any) -> None:
    import folder_paths

    image = torch.rand(10, 40, 2000, 4, generator=torch.Generator().manual_seed(0))
    pairs = border.node_ui.compare(image, image)["cscs_compare"]
    assert len(pairs) == 8
    place = pairs[0]["before"]
    file = Path(folder_paths.get_temp_directory()) / place["subfolder"] / place["filename"]
    assert place["type"] == "temp"
    assert Image.open(file).size == (768, 15)


def test_the_picker_numbers_the_faces_of_each_frame_and_knows_the_chosen(border: Any) -> None:
    faces = two_faces(border.types)
    sheets = border.node_ui.picker(torch.zeros(3, 16, 32, 3), faces, faces[1:])["cscs_picker"]
    assert [(sheet["width"], sheet["height"], sheet["frame"]) for sheet in sheets] == [
        (32, 16, 0),
        (32, 16, 1),
        (32, 16, 2),
    ]
    assert [[(face["number"], face["chosen"]) for face in sheet["faces"]] for sheet in sheets] == [
        [(0, False)],
        [(0, True)],
        [],
    ]
    assert sheets[0]["faces"][0]["box"] == [1, 2, 11, 12]


def test_cancel_is_obeyed_between_two_layers_of_a_network(border: Any, host: Any) -> None:
    import comfy.model_management as management

    first, last = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    network = torch.nn.Sequential(first, torch.nn.Sequential(torch.nn.ReLU(), last))
    (handle,) = border.loaded._handles([network], border.loaded.Choice("swapper", "lite"))
    ran = []
    first.register_forward_hook(lambda *_: ran.append("first") or setattr(host, "interrupt", True))
    last.register_forward_hook(lambda *_: ran.append("last"))
    with pytest.raises(management.InterruptProcessingException):
        handle.model(torch.ones(1, 1))
    assert ran == ["first"]


def test_a_file_that_is_exchanged_in_a_folder_below_is_seen_and_notes_and_identities_are_not(
    border: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import folder_paths

    monkeypatch.setitem(folder_paths.folder_names_and_paths, "cscs", ([str(tmp_path)], set()))
    file = tmp_path / "restorers" / "one.safetensors"
    file.parent.mkdir()
    file.write_bytes(b"old")
    before = border.loaded.files()
    assert [Path(path).name for path, _, _ in before] == ["one.safetensors"]
    (tmp_path / "hashes.json").write_text("{}", "utf-8")
    (tmp_path / "identities").mkdir()
    (tmp_path / "identities" / "me.safetensors").write_bytes(b"me")
    assert border.loaded.files() == before
    file.write_bytes(b"newer")
    assert border.loaded.files() != before


def test_all_are_on_the_device_of_the_first_that_was_chosen(border: Any, core: Any) -> None:
    image, choice = torch.zeros(1, 8, 8, 3), border.loaded.Choice("detector", "lite", "cpu")
    made = []
    kept = {role: lambda choice, seen: made.append(choice) or (choice, []) for role in ("detector", "swapper")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(border.loaded, "_KEPT", kept)
        border.loaded.ready_with(image, None, choice)
        border.loaded.ready_with(image, "warp", None)
    assert [(one.name, one.device) for one in made] == [
        ("lite", "cpu"),
        ("lite", "cpu"),
        ("warp", "auto"),
        ("lite", "auto"),
    ]
