from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from cscs_core.faces.detectors import lite
from cscs_core.faces.detectors.lite import LiteDetector
from cscs_core.models import FaceDetector


class Everywhere(nn.Module):
    """A face at each of 200 places, none overlapping another, the later the surer."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        number = torch.arange(200.0).expand(len(images), -1)
        corner = torch.stack([number * 10, number * 0], -1)
        return number / 200, torch.cat([corner, corner + 5], -1), corner[..., None, :].expand(-1, -1, 5, -1), None


def test_faces_everywhere_are_cut_to_the_surest(monkeypatch: pytest.MonkeyPatch):
    # All pairs are compared: at threshold 0 every place of a large picture asked for 14 GB.
    monkeypatch.setattr(lite, "_MOST", 30)
    _, _, _, score = LiteDetector(cast(FaceDetector, Everywhere()))(torch.zeros(1, 3, 64, 64), 0.0)
    assert 10 <= len(score) <= 30
    assert score.min() >= torch.tensor(189 / 200).sigmoid()


def test_padding_repeats_the_last_row_and_column():
    image = torch.rand(2, 3, 33, 50)
    padded = lite._padded(image)
    expected = torch.nn.functional.pad(image, (0, 14, 0, 31), mode="replicate")
    assert torch.equal(padded, expected)
    assert padded.is_contiguous(memory_format=torch.channels_last)


class Told(nn.Module):
    """Says what it was told of a padded picture of the side, one face each of a score; nothing of any other."""

    def __init__(self, side: int, *logits: float):
        super().__init__()
        self.side, self.logits = side, torch.tensor(logits)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        count = len(images)
        scores = self.logits[:count, None] if images.shape[-1] == self.side else torch.full((count, 1), -9.0)
        box = torch.tensor([10.0, 12, 30, 34]).expand(count, 1, 4)
        return scores, box, torch.tensor([20.0, 24]).expand(count, 1, 5, 2), None


def test_faces_come_by_picture_and_then_by_score():
    frame, _, _, score = LiteDetector(cast(FaceDetector, Told(64, 1.0, 3.0, 2.0)))(torch.zeros(3, 3, 64, 64), 0.5)
    assert frame.tolist() == [0, 1, 2]
    torch.testing.assert_close(score, torch.tensor([1.0, 3.0, 2.0]).sigmoid())


@pytest.mark.parametrize(("side", "shrink"), [(256, 1.0), (128, 2.5), (64, 6.25)])  # of the padded look
def test_what_lies_in_a_smaller_look_lies_at_the_same_place_of_the_picture(side: int, shrink: float):
    _, box, points, _ = LiteDetector(cast(FaceDetector, Told(side, 3.0)))(torch.zeros(1, 3, 250, 250), 0.5)
    # The centre of a pixel is at half of its side.
    expected = (torch.tensor([10.0, 12, 30, 34, 20, 24]) + 0.5) * shrink - 0.5
    torch.testing.assert_close(torch.cat([box[0], points[0, 0]]), expected, atol=1e-3, rtol=0)


def test_width_and_height_are_enlarged_each_by_its_own_ratio():
    _, box, _, _ = LiteDetector(cast(FaceDetector, Told(64, 3.0)))(torch.zeros(1, 3, 172, 250), 0.5)
    ratio = torch.tensor([250 / 40, 172 / 28])  # 172 / 6.25 is rounded
    expected = (torch.tensor([[10.0, 12], [30, 34]]) + 0.5) * ratio - 0.5
    torch.testing.assert_close(box.view(2, 2), expected, atol=1e-3, rtol=0)


class Boxes(nn.Module):
    """Says the same boxes in the first look, the first the surest, and notes the sides of every look."""

    def __init__(self, *boxes: tuple[float, float, float, float], logit: float = 4.0):
        super().__init__()
        self.boxes, self.logit, self.sides = torch.tensor(boxes), logit, list[tuple[int, int]]()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        height, width = images.shape[-2:]
        self.sides.append((height, width))
        count = len(self.boxes) if len(self.sides) == 1 else 0
        scores = self.logit - torch.arange(float(count))[None]
        return scores, self.boxes[None, :count], torch.zeros(1, count, 5, 2), None


def test_a_part_of_a_face_is_no_face_of_its_own():
    # The second lies within the first by 0.6 of its area and overlaps it by an IoU of 0.07; the third by 0.5.
    boxes = Boxes((0, 0, 60, 60), (48, 10, 68, 20), (10, 50, 20, 70))
    _, box, _, _ = LiteDetector(cast(FaceDetector, boxes))(torch.zeros(1, 3, 96, 96), 0.1)
    assert box[:, 0].tolist() == [0, 10]


def test_boxes_that_overlap_by_more_than_two_fifths_are_one_face():
    # IoU with the first: 0.43 and 0.33.
    boxes = Boxes((0, 0, 40, 40), (16, 0, 56, 40), (0, 20, 40, 60))
    _, box, _, _ = LiteDetector(cast(FaceDetector, boxes))(torch.zeros(1, 3, 96, 96), 0.1)
    assert box[:, :2].tolist() == [[0, 0], [0, 20]]


@pytest.mark.parametrize(("height", "width", "first"), [(640, 1280, (640, 1280)), (300, 2560, (160, 1280))])
def test_pictures_are_searched_at_1280_px_at_most(height: int, width: int, first: tuple[int, int]):
    boxes = Boxes((0, 0, 40, 40))
    _, box, _, _ = LiteDetector(cast(FaceDetector, boxes))(torch.zeros(1, 3, height, width), 0.1)
    assert boxes.sides[0] == first
    assert float(box[0, 2]) == pytest.approx(40.5 * width / 1280 - 0.5)


def test_the_threshold_is_of_the_score_and_not_of_what_the_network_says():
    for logit, count in ((0.1, 1), (-0.1, 0)):
        network = cast(FaceDetector, Boxes((0, 0, 40, 40), logit=logit))
        assert len(LiteDetector(network)(torch.zeros(1, 3, 96, 96), 0.5)[3]) == count
