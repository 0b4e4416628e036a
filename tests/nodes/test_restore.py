"""Restore Faces on tiny pictures, with a stub in place of the network."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor, nn


@dataclass
class Greys:
    """A restorer that makes every crop grey, and keeps the weights it was given."""

    template: str = "ffhq_512"
    size: int = 64
    networks: tuple[nn.Module, ...] = ()
    weights: list[float] = field(default_factory=list)

    def __call__(self, pixels: Tensor, weight: float) -> Tensor:
        self.weights.append(weight)
        return torch.full_like(pixels, 0.5)


@dataclass
class Bench:
    node: Any
    faces: Any  # one in frame 0, two in frame 2
    restorer: Greys
    asked: list[str]  # names of restorers
    found: list[Tensor]  # frames that were searched

    def run(self, image: Tensor, visibility: float = 1.0, **inputs: Any) -> Any:
        return self.node.execute(image, visibility, 0.5, **inputs)


@pytest.fixture
def bench(pack: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    types, mesh = pack.module("cscs_core.types"), pack.module("cscs_core.ops.mesh")
    pipeline, restorers = pack.module("cscs_core.pipeline"), pack.module("cscs_core.faces.restorers.catalogue")
    places = torch.tensor([[30.0, 30.0], [30.0, 30.0], [80.0, 40.0]])
    points = mesh.mean_face() * 12 + places[:, None]
    faces = types.FaceSet(
        torch.tensor([0, 2, 2]),
        mesh.box(points),
        mesh.five(points),
        points,
        torch.full((3,), 0.9),
        torch.full((3,), -1),
    )
    restorer, asked, found = Greys(), [], []

    def find(image: Tensor, models: Any, threshold: float = 0.5) -> Any:
        found.append(image)
        return types.FaceSet.empty() if len(found) == 2 else faces[:1]

    def load(name: str, store: Any, device: Any = "cpu") -> Greys:
        asked.append(name)
        return restorer

    pack.module("nodes.loaded")._restorer.cache_clear()
    monkeypatch.setattr(pipeline, "find", find)
    monkeypatch.setattr(restorers, "load_restorer", load)
    yield Bench(pack.nodes["CSCS_RestoreFaces"], faces, restorer, asked, found)
    pack.module("nodes.loaded")._restorer.cache_clear()


def pictures(count: int, channels: int = 3) -> Tensor:
    coarse = torch.rand(count, channels, 18, 28, generator=torch.Generator().manual_seed(0))
    return torch.nn.functional.interpolate(coarse, (72, 112), mode="bilinear").movedim(1, -1)


def test_faces_are_found_in_each_frame_and_frames_without_one_are_untouched(bench: Bench) -> None:
    image = pictures(3)
    done = bench.run(image)
    restored, mask, report = done.result
    assert [tuple(frame.shape) for frame in bench.found] == [(1, 3, 72, 112)] * 3
    assert torch.equal(restored[1], image[1]) and not mask[1].any()
    assert mask[0, 35, 30] == 1
    assert (restored[0, 25:40, 25:35] - 0.5).abs().mean() < (image[0, 25:40, 25:35] - 0.5).abs().mean() / 2
    assert torch.equal(restored[mask == 0], image[mask == 0])
    lines = report.splitlines()
    assert lines[0] == "frame 0: 1 face restored" and "frame 1 is unchanged: no face found" in lines
    assert lines[1].startswith("  face at ") and "similarity to the face before " in lines[1]
    assert done.ui["cscs_badge"] == ["2 faces restored"] and len(done.ui["cscs_compare"]) == 3


def test_faces_that_are_given_are_not_searched_for_and_belong_to_their_frames(bench: Bench) -> None:
    image = pictures(3)
    _, mask, report = bench.run(image, faces=bench.faces).result
    assert bench.found == []
    assert mask.flatten(1).any(1).tolist() == [True, False, True]
    assert mask[2, 45, 80] == 1 and mask[0, 45, 80] == 0
    assert "frame 2: 2 faces restored" in report


def test_faces_of_a_longer_batch_are_refused(bench: Bench) -> None:
    with pytest.raises(ValueError, match="faces come from a batch of at least 3 images, but image has 2"):
        bench.run(pictures(2), faces=bench.faces)


def test_what_is_no_faces_is_refused_in_the_users_words(bench: Bench) -> None:
    with pytest.raises(ValueError, match="faces holds a dict"):
        bench.run(pictures(1), faces={})


def test_at_visibility_0_nothing_changes(bench: Bench) -> None:
    image = pictures(3)
    done = bench.run(image, visibility=0.0, faces=bench.faces)
    restored, mask, report = done.result
    assert torch.equal(restored, image) and not mask.any() and bench.restorer.weights == []
    assert report.splitlines() == [
        "frame 0 is unchanged: restore_visibility is 0",
        "frame 1 is unchanged: no face found",
        "frame 2 is unchanged: restore_visibility is 0",
    ]
    assert done.ui["cscs_badge"] == ["0 faces restored"]


def test_under_a_black_mask_nothing_is_said_to_be_restored(bench: Bench) -> None:
    done = bench.run(pictures(3), faces=bench.faces[:1], mask=torch.zeros(1, 64, 64))
    assert done.result[2].startswith("frame 0 is unchanged: the mask is black here")
    assert done.ui["cscs_badge"] == ["0 faces restored"]


def test_a_mask_says_where_pixels_may_change(bench: Bench) -> None:
    image, mask = pictures(3), torch.zeros(1, 72, 112)
    mask[:, :, 70:] = 1
    restored, touched, _ = bench.run(image, faces=bench.faces, mask=mask).result
    assert torch.equal(restored[0], image[0]) and touched[2, 45, 80] == 1


def test_the_restorer_is_the_chosen_one_and_gets_the_weight(bench: Bench, pack: Any) -> None:
    choice = pack.module("nodes.loaded").Choice("restorer", "codeformer")
    bench.node.execute(pictures(3), 1.0, 0.7, faces=bench.faces[:1], restorer=choice)
    bench.run(pictures(3), faces=bench.faces[:1])
    assert bench.asked == ["codeformer", "lite"] and bench.restorer.weights == [0.7, 0.5]


def test_a_detector_in_the_restorers_place_is_named(bench: Bench, pack: Any) -> None:
    choice = pack.module("nodes.loaded").Choice("detector", "lite")
    with pytest.raises(ValueError, match="restorer holds a detector; connect the restorer output of Load Model"):
        bench.run(pictures(1), restorer=choice)


def test_cancel_stops_before_the_next_frame(bench: Bench, host: Any) -> None:
    host.interrupt = True
    with pytest.raises(importlib.import_module("comfy.model_management").InterruptProcessingException):
        bench.run(pictures(3))
    assert bench.found == []


def test_no_frames_give_no_frames(bench: Bench) -> None:
    restored, mask, report = bench.run(pictures(0)).result
    assert restored.shape == (0, 72, 112, 3) and mask.shape == (0, 72, 112) and report == "no images received"


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_alpha_pictures_come_back_as_rgb(bench: Bench, channels: int) -> None:
    image = pictures(1, channels)
    restored, mask, _ = bench.run(image).result
    assert restored.shape == (1, 72, 112, 3)
    outside = (mask == 0)[..., None].expand_as(restored)
    assert torch.equal(restored[outside], image[..., :3].expand(-1, -1, -1, 3)[outside])
