"""The nodes on tiny pictures, with stubs in place of the core: what goes in, what comes out, what the user reads."""

from __future__ import annotations

import importlib
import os
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

SWAP = {
    "swapper": "lite",
    "faces_order": "large-small",
    "faces_index": "",
    "reference_threshold": 0.5,
    "strength": 1.0,
    "resolution": "256",
    "detection_threshold": 0.5,
}


def pictures(count: int = 1, channels: int = 3, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 32, 48, channels, generator=generator).to(dtype)


@pytest.fixture
def detect(pack: Any, core: Any) -> Any:
    def run(image: torch.Tensor, order: str = "large-small") -> Any:
        return pack.nodes["CSCS_DetectFaces"].execute(image, order, 0.5).result

    return run


@pytest.fixture
def identify(pack: Any, core: Any) -> Any:
    return lambda image: pack.nodes["CSCS_FaceIdentity"].execute(image, "large-small").result[:2]


@pytest.fixture
def swap(pack: Any, core: Any) -> Any:
    return lambda target, **inputs: pack.nodes["CSCS_FaceSwap"].execute(target, **{**SWAP, **inputs}).result[:3]


# Detect Faces


def test_faces_carry_the_number_of_their_image(detect: Any) -> None:
    faces, preview, count, report = detect(pictures(3))
    assert faces.frame.tolist() == [0, 0, 1, 1, 2, 2]
    assert count == 6
    assert preview.shape == (3, 32, 48, 3)
    assert [line for line in report.splitlines() if line.startswith("image")] == [
        f"image {index}: 2 faces" for index in range(3)
    ]


def test_numbers_follow_the_order_asked_for(detect: Any) -> None:
    assert detect(pictures(), "large-small")[0].box[:, 0].tolist() == [8, 0]
    assert detect(pictures(), "left-right")[0].box[:, 0].tolist() == [0, 8]


def test_an_image_without_faces_comes_back_as_it_is_and_the_report_says_so(detect: Any, core: Any) -> None:
    core.faces = 0
    image = pictures()
    faces, preview, count, report = detect(image)
    assert len(faces) == count == 0
    assert torch.equal(preview, image)
    assert report == "image 0: no face found"


def test_no_images_is_no_faces(detect: Any) -> None:
    faces, preview, count, report = detect(pictures(0))
    assert len(faces) == count == 0
    assert preview.shape == (0, 32, 48, 3)
    assert report == "no images received"


# Face Identity


def test_every_photo_of_the_batch_is_a_reference_with_its_preview(identify: Any, core: Any) -> None:
    identity, preview = identify(pictures(2))
    assert len(identity.embedding) == len(core.photos) == 2
    assert preview.shape == (2, 8, 8, 3)


def test_a_photo_without_a_face_is_named(identify: Any, core: Any) -> None:
    core.faces = 0
    with pytest.raises(ValueError, match="no face found in image 0 of image"):
        identify(pictures(2))


def test_an_empty_batch_is_no_person(identify: Any) -> None:
    with pytest.raises(ValueError, match="image is an empty batch"):
        identify(pictures(0))


@pytest.mark.parametrize(("name", "look"), [("photo", None), ("painting", "find_painted")])
def test_photos_wait_on_the_cpu_until_it_is_their_turn(pack: Any, core: Any, name: str, look: str | None) -> None:
    looks = {"look": getattr(pack.module("cscs_core.tasks.cross_domain"), look)} if look else {}
    away = SimpleNamespace(device=torch.device("meta"))  # a device that every photo would be moved to
    pack.module("nodes.identity").read_identity(pictures(2), away, name, **looks)
    assert [photo.device.type for photo in core.photos] == ["cpu", "cpu"]


# Face Swap


def test_frames_reach_the_core_one_at_a_time_with_the_settings(swap: Any, core: Any, pack: Any) -> None:
    image, mask, report = swap(pictures(3), source=pictures(), faces_index="0, 2", strength=0.5)
    assert [tuple(frame.shape) for frame in core.seen] == [(1, 3, 32, 48)] * 3
    source, pipeline = core.options.pop("source"), pack.module("cscs_core.pipeline")
    assert source.identity.embedding.shape == (1, 128) and source.swapper.sizes == (256, 512)
    assert core.options == {
        "size": 256,
        "face_filter": pipeline.FaceFilter(indices=[0, 2]),
        "strength": 0.5,
        "limit": None,
        "check_cancel": pack.module("nodes.host").raise_if_cancelled,
        "post_process": pipeline.PostProcess(),
    }
    assert image.shape == (3, 32, 48, 3) and mask.shape == (3, 32, 48)
    assert (image == 1).all() and (mask == 1).all()
    assert "frame 2: 2 faces swapped" in report
    assert "similarity to the source 0.50, to the original face 0.20" in report


def test_a_frame_without_faces_is_untouched_and_the_report_says_so(swap: Any, core: Any, identify: Any) -> None:
    identity, _ = identify(pictures())
    core.faces = 0
    target = pictures()
    image, mask, report = swap(target, identity=identity)
    assert torch.equal(image, target) and not mask.any()
    assert report == "frame 0 is unchanged: no face found"


def test_identity_takes_the_place_of_source(swap: Any, core: Any, identify: Any) -> None:
    identity, _ = identify(pictures())
    core.photos.clear()
    swap(pictures(), identity=identity, source=pictures())
    assert torch.equal(core.options["source"].identity.embedding, identity.embedding)
    assert core.photos == []


def test_neither_source_nor_identity_is_told_in_the_users_words(swap: Any) -> None:
    with pytest.raises(ValueError, match="connect source"):
        swap(pictures())


def test_a_source_without_a_face_is_told_in_the_users_words(swap: Any, core: Any) -> None:
    core.faces = 0
    with pytest.raises(ValueError, match="no face found in source"):
        swap(pictures(), source=pictures())


def test_a_reference_is_read_as_a_person(swap: Any, core: Any) -> None:
    swap(pictures(), source=pictures(), reference=pictures(2))
    assert len(core.options["face_filter"].reference.embedding) == 2


def test_a_reference_identity_takes_the_place_of_reference_and_is_read_once_for_all_frames(
    swap: Any, core: Any, pack: Any, identify: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity, _ = identify(pictures())
    known = pack.module("cscs_core.faces.identity").embedded_by
    asked: list[Any] = []
    monkeypatch.setattr(pack.module("nodes.swap"), "embedded_by", lambda *all: asked.append(all) or known(*all))
    core.photos.clear()
    swap(pictures(3), identity=identity, reference=pictures(), reference_identity=identity)
    assert torch.equal(core.options["face_filter"].reference.embedding, identity.embedding)
    assert len(asked) == 1 and core.photos == []


def test_a_face_model_of_another_detector_is_told_by_which_one_it_can_be_matched(swap: Any, identify: Any) -> None:
    identity, _ = identify(pictures())
    him = replace(identity, crops=identity.crops[[]], embedding=torch.ones(1, 512), encoder="buffalo_l")
    with pytest.raises(ValueError, match="buffalo_l"):
        swap(pictures(), identity=identity, reference_identity=him)


def test_no_frames_give_no_frames(swap: Any) -> None:
    image, mask, report = swap(pictures(0), source=pictures())
    assert image.shape == (0, 32, 48, 3) and mask.shape == (0, 32, 48)
    assert report == "no images received"


@pytest.mark.parametrize("shape", [(2, 16, 24), (16, 24), (1, 32, 48)])
def test_a_mask_of_any_size_is_stretched_over_the_frame(swap: Any, core: Any, shape: tuple[int, ...]) -> None:
    swap(pictures(2), source=pictures(), mask=torch.ones(shape))
    assert core.options["limit"].shape == (1, 1, 32, 48)
    assert (core.options["limit"] == 1).all()


def test_a_black_mask_is_explained(swap: Any) -> None:
    # LoadImage gives such a mask, 64 x 64, for a picture without alpha.
    report = swap(pictures(), source=pictures(), mask=torch.zeros(1, 64, 64))[2]
    assert report.startswith("frame 0 is unchanged: the mask is black here") and "swapped" not in report


@pytest.mark.parametrize(
    ("text", "indices"), [("", None), ("  ", None), ("0", [0]), ("0,2", [0, 2]), (" 1 , 0 ", [1, 0])]
)
def test_face_numbers_are_read_as_written(pack: Any, text: str, indices: list[int] | None) -> None:
    assert pack.module("nodes.host").numbers(text, "faces_index") == indices


@pytest.mark.parametrize("text", ["first", "0;1", "-1", "1,", "0 1", "99999999999999999999", "0, 10000"])
def test_other_text_is_refused_before_the_graph_runs(pack: Any, text: str) -> None:
    said = pack.nodes["CSCS_FaceSwap"].validate_inputs(text)
    assert said.startswith(f"faces_index {text!r}: write numbers from 0 to 9999 separated by commas")
    assert pack.nodes["CSCS_SelectFaces"].validate_inputs("0", text) == said.replace("faces_index", "tracks", 1)


def test_a_face_number_still_to_come_from_another_node_is_accepted(pack: Any) -> None:
    assert pack.nodes["CSCS_FaceSwap"].validate_inputs(None) is True


# The border: formats, devices, progress


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_grey_and_alpha_pictures_reach_the_core_as_rgb(swap: Any, core: Any, channels: int) -> None:
    target = pictures(1, channels)
    image, _, _ = swap(target, source=pictures(1, channels))
    assert [frame.shape[1] for frame in [*core.seen, *core.photos]] == [3, 3]
    assert torch.equal(core.seen[0], target[..., :3].movedim(-1, 1).expand(-1, 3, -1, -1))
    assert image.shape == (1, 32, 48, 3)


def test_half_precision_is_float32_inside_and_what_the_host_wants_outside(swap: Any, core: Any, host: Any) -> None:
    host.intermediate = torch.float16
    image, mask, _ = swap(pictures(dtype=torch.float16), source=pictures(dtype=torch.float16))
    assert core.seen[0].dtype == core.photos[0].dtype == torch.float32
    assert image.dtype == mask.dtype == torch.float16


def test_the_input_is_never_written_to(swap: Any, detect: Any) -> None:
    target = pictures(2)
    before = target.clone()
    swap(target, source=target)
    detect(target)
    assert torch.equal(target, before)


def test_progress_counts_frames(swap: Any) -> None:
    swap(pictures(3), source=pictures())
    bar = importlib.import_module("comfy.utils").ProgressBar.last
    assert (bar.current, bar.total) == (3, 3)


def test_cancel_stops_before_the_next_frame(swap: Any, core: Any, host: Any) -> None:
    host.interrupt = True
    with pytest.raises(importlib.import_module("comfy.model_management").InterruptProcessingException):
        swap(pictures(3), source=pictures())
    assert core.seen == []


def test_networks_go_through_the_hosts_memory_manager_whole(swap: Any, host: Any) -> None:
    swap(pictures(), source=pictures())
    swap(pictures(), source=pictures())
    patcher = importlib.import_module("comfy.model_patcher").CoreModelPatcher
    first, second = host.loads
    assert [type(handle) for handle in first["models"]] == [patcher] * 5
    assert all(one is other for one, other in zip(first["models"], second["models"], strict=True))
    assert first["force_full_load"] and first["memory_required"] > 0


def test_older_hosts_without_core_model_patcher_or_intermediate_dtype_still_work(
    swap: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("comfy.model_patcher.CoreModelPatcher")
    monkeypatch.delattr("comfy.model_management.intermediate_dtype")
    assert swap(pictures(), source=pictures())[0].dtype == torch.float32


def test_networks_made_in_inference_mode_can_be_moved_outside_and_used_again(pack: Any, host: Any) -> None:
    """The host runs nodes in inference mode and unloads models outside it."""
    with torch.inference_mode():
        loaded = pack.module("nodes.loaded").ready(pictures())
    for network in loaded.networks:
        network.to(torch.float64).to(torch.float32)  # as a move to a device and back
    with torch.inference_mode():
        loaded.landmarks.mouth(torch.rand(1, 3, 64, 64))
    assert not any(parameter.is_inference() for network in loaded.networks for parameter in network.parameters())


def test_a_file_that_was_exchanged_is_loaded_again(swap: Any, core: Any, pack: Any, tmp_path: Path, monkeypatch: Any):
    paths = importlib.import_module("folder_paths")
    monkeypatch.setitem(paths.folder_names_and_paths, "cscs", ([str(tmp_path)], set()))
    cache = pack.module("nodes.loaded")._swapper
    for turn, content in enumerate((b"1", b"1", b"22")):
        if turn != 1:
            (tmp_path / "cscs_generator.safetensors").write_bytes(content)
            os.utime(tmp_path / "cscs_generator.safetensors", ns=(turn, turn))
        swap(pictures(), source=pictures())
    assert cache.cache_info().misses == 2
