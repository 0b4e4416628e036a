"""SCRFD's tables become faces, as insightface reads them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from cscs_core.faces.detectors.base import Detector
from cscs_core.faces.detectors.scrfd import SCRFD
from cscs_core.hub.onnx.runner import Runner, load_runner
from cscs_core.io.files import BadInput
from cscs_core.models.graph import Port

_WIDE = (1, 1, 1, 4, 4, 4, 10, 10, 10)


@dataclass
class Tables:
    """A network that finds a face of 40 x 40 px wherever the window is brighter than a half, the surer the brighter,
    and keeps what it saw."""

    shape: tuple[int | None, ...] = (None, 3, None, None)
    columns: tuple[int | None, ...] = _WIDE
    seen: tuple[Tensor, ...] = ()

    @property
    def runner(self) -> Runner:
        outputs = tuple(Port(str(index), (None, columns)) for index, columns in enumerate(self.columns))
        return Runner(Path("tables.onnx"), (Port("x", self.shape),), outputs, self.run)

    def run(self, x: Tensor) -> list[Tensor]:
        self.seen = (*self.seen, x)
        tables: list[list[Tensor]] = [[], [], []]
        for stride in (8, 16, 32):
            light = (x[:, :, ::stride, ::stride].mean(1) * 128 + 127.5).flatten(1) / 255
            light = light.where(light > 0.5, 0) * (stride == 8)
            both = torch.stack([light * 0.9, light * 0.8], -1).flatten(1)  # two rows a place
            tables[0].append(both.reshape(-1, 1))
            tables[1].append(both.new_full((both.numel(), 4), 20 / stride))
            tables[2].append(both.new_tensor([-1, -1, 1, -1, 0, 0, -1, 1, 1, 1]).expand(both.numel(), 10))
        return [table for kind in tables for table in kind]


def test_a_face_lies_where_its_place_is():
    images = torch.zeros(2, 3, 96, 128)
    images[1, :, 40, 64] = 1.0  # a place of stride 8: column 8, row 5
    detector: Detector = SCRFD(Tables().runner, size=128)
    frame, box, points, score = detector(images, 0.5)
    assert frame.tolist() == [1]
    assert box.tolist() == [[44, 20, 84, 60]]
    assert points.tolist() == [[[56, 32], [72, 32], [64, 40], [56, 48], [72, 48]]]
    assert score.tolist() == [pytest.approx(0.9)]


def test_faces_come_by_picture_and_then_by_score():
    images = torch.zeros(2, 3, 128, 128)
    images[0, :, 40, 16], images[0, :, 40, 96], images[1, :, 64, 64] = 0.6, 0.8, 1.0
    frame, box, _, score = SCRFD(Tables().runner, size=128)(images, 0.5)
    assert frame.tolist() == [0, 0, 1]
    assert score.tolist() == pytest.approx([0.72, 0.54, 0.9], abs=1e-5)
    assert box[:, 0].tolist() == [76, -4, 44]


def test_a_picture_twice_the_window_has_its_faces_at_pixel_centres():
    images = torch.zeros(1, 3, 256, 256)
    images[0, :, 80:82, 128:130] = 1.0  # the pixel (64, 40) of the window
    _, box, points, _ = SCRFD(Tables().runner, size=128)(images, 0.5)
    assert ((box[0, :2] + box[0, 2:]) / 2).tolist() == [128.5, 80.5]
    assert points[0, 2].tolist() == [128.5, 80.5]


def test_the_network_sees_rgb_in_the_upper_left_and_black_beside():
    network = Tables()
    colour = torch.tensor([1.0, 0.5, 0.25]).view(1, 3, 1, 1)
    SCRFD(network.runner, size=64)(colour.expand(1, 3, 32, 64), 0.5)
    (seen,) = network.seen
    assert seen.shape == (1, 3, 64, 64)
    expected = torch.tensor([127.5, 0.0, -63.75]) / 128
    torch.testing.assert_close(seen[0, :, :32], expected.view(3, 1, 1).expand(3, 32, 64))
    assert (seen[0, :, 32:] == -127.5 / 128).all()


@pytest.mark.parametrize("height", [32, 128, 300, 700])
@pytest.mark.parametrize("width", [128, 500])
def test_a_face_is_found_in_a_picture_of_any_size(height, width):
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    shrink = max(height, width) / 128
    images = ((x - 0.6 * width).square() + (y - 0.4 * height).square()).lt((10 * shrink) ** 2).float()
    _, box, points, _ = SCRFD(Tables().runner, size=128, overlap=1.0)(images.expand(1, 3, -1, -1), 0.5)
    middle = (points[:, 2].amax(0) + points[:, 2].amin(0)) / 2
    assert (middle - torch.tensor([0.6 * width, 0.4 * height])).abs().max() < 4.5 * shrink  # places are 8 px apart
    torch.testing.assert_close(box[:, 2:] - box[:, :2], torch.full((len(box), 2), 40 * shrink), rtol=0.03, atol=0)


def test_a_picture_is_looked_at_twice_for_faces_that_fill_it():
    network = Tables()
    images = torch.zeros(1, 3, 640, 640)
    images[..., 300:341, 300:341] = 1.0
    _, box, _, _ = SCRFD(network.runner)(images, 0.5)
    assert [tuple(seen.shape[2:]) for seen in network.seen] == [(640, 640), (128, 128)]
    sides = (box[:, 2:] - box[:, :2]).round().unique().tolist()
    assert sides == [40, 200]  # 40 of 128 px are 200 of 640


def test_a_network_made_for_one_window_is_asked_at_that():
    network = Tables((1, 3, 64, 96))
    SCRFD(network.runner)(torch.rand(1, 3, 200, 100), 0.5)
    assert [tuple(seen.shape[2:]) for seen in network.seen] == [(64, 96)]


def test_no_pictures_and_no_faces_are_nothing():
    for images in (torch.zeros(0, 3, 64, 64), torch.zeros(2, 3, 64, 64)):
        frame, box, points, score = SCRFD(Tables().runner, size=64)(images, 0.5)
        assert (frame.shape, box.shape, points.shape, score.shape) == ((0,), (0, 4), (0, 5, 2), (0,))
        assert frame.dtype == torch.long


@pytest.mark.parametrize(
    "network",
    [Tables(columns=_WIDE[:6]), Tables(columns=(*_WIDE[:3], 5, *_WIDE[4:])), Tables(shape=(None, 512))],
)
def test_what_is_no_scrfd_with_points_is_named(network):
    with pytest.raises(BadInput, match=r"tables\.onnx: is not an SCRFD detector with five points"):
        SCRFD(network.runner)


def test_a_window_that_its_strides_do_not_divide_is_named():
    with pytest.raises(BadInput, match=r"tables\.onnx: its input is 100 px on a side"):
        SCRFD(Tables().runner, size=100)


# Against insightface's own reading of the same file.


def picture(height: int, width: int) -> np.ndarray:
    """Noise in patches, BGR of eight bits."""
    chance = np.random.default_rng(3)
    small = chance.integers(0, 256, (-(-height // 16), -(-width // 16), 3), dtype=np.uint8)
    return small.repeat(16, 0).repeat(16, 1)[:height, :width].copy()


def by_insightface(path: Path, frame: np.ndarray, threshold: float, overlap: float, **options: Any) -> tuple:
    pytest.importorskip("insightface")
    from insightface.model_zoo.scrfd import SCRFD as Theirs

    theirs = Theirs(str(path))
    theirs.nms_thresh = overlap
    return theirs.detect(frame, det_thresh=threshold, **options)


@pytest.mark.parametrize("overlap", [0.4, 1.0])
@pytest.mark.parametrize(("free", "batched"), [((), False), ((2, 3), False), ((0, 2, 3), True)])
def test_the_faces_are_those_of_insightface(tmp_path, nets, export, free, batched, overlap):
    network = nets.scrfd(batched=batched)
    path = export(tmp_path / "a.onnx", network, torch.randn(1, 3, 128, 128), free=free)
    frame = picture(128, 128)
    threshold = 0.5
    window = {"input_size": (128, 128)} if free else {}
    rows, points = by_insightface(path, frame, threshold, overlap, **window)
    ours = SCRFD(load_runner(path), size=128, overlap=overlap)
    images = torch.from_numpy(frame[..., ::-1].copy()).movedim(-1, 0)[None].float() / 255
    _, box, five, score = ours(images, threshold)
    assert 5 < len(rows) < 1500
    assert len(score) == len(rows)
    order = np.lexsort((rows[:, 0], -rows[:, 4].round(5)))
    mine = np.lexsort((box[:, 0].numpy(), -score.numpy().round(5)))
    torch.testing.assert_close(score[mine], torch.from_numpy(rows[order, 4]), atol=1e-5, rtol=0)
    torch.testing.assert_close(box[mine], torch.from_numpy(rows[order, :4]), atol=2e-3, rtol=0)
    torch.testing.assert_close(five[mine], torch.from_numpy(points[order]), atol=2e-3, rtol=0)


def test_pictures_that_leave_the_window_partly_empty_agree_too(tmp_path, nets, export):
    path = export(tmp_path / "a.onnx", nets.scrfd(), torch.randn(1, 3, 128, 128))
    frame = picture(128, 96)
    rows, _ = by_insightface(path, frame, 0.5, 1.0)
    images = torch.from_numpy(frame[..., ::-1].copy()).movedim(-1, 0)[None].float() / 255
    _, box, _, score = SCRFD(load_runner(path), overlap=1.0)(images, 0.5)
    assert len(score) == len(rows) > 5
    torch.testing.assert_close(score, torch.from_numpy(rows[:, 4]), atol=1e-5, rtol=0)
    torch.testing.assert_close(box.sort(0).values, torch.from_numpy(rows[:, :4]).sort(0).values, atol=2e-3, rtol=0)
