"""Marks on pictures."""

from __future__ import annotations

import pytest
import torch

from cscs_core import draw
from cscs_core.types import FaceSet


def faces(*boxes: tuple[float, float, float, float], frame: tuple[int, ...] | None = None) -> FaceSet:
    box = torch.tensor(boxes)
    index = torch.tensor(frame or (0,) * len(boxes))
    middle = (box[:, None, :2] + box[:, None, 2:]) / 2
    score = torch.ones(len(boxes))
    return FaceSet(index, box, middle.expand(-1, 5, 2), middle.expand(-1, 468, 2), score, index)


def test_no_faces_leave_the_pictures_as_they_are() -> None:
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(draw.boxes(images, FaceSet.empty()), images)


def test_a_box_is_drawn_on_its_own_picture_and_nowhere_else() -> None:
    images = torch.rand(3, 3, 64, 64)
    before = images.clone()
    drawn = draw.boxes(images, faces((20, 20, 50, 50), frame=(1,)))
    assert torch.equal(images, before)
    assert torch.equal(drawn[[0, 2]], images[[0, 2]])
    changed = (drawn[1] != images[1]).any(0)
    assert changed[20, 40] and changed[50, 40] and changed[40, 20] and changed[40, 50]  # the four sides
    assert changed[35, 35]  # the points
    assert not changed[52:].any() and not changed[:, 52:].any()


def test_every_face_of_a_picture_has_its_own_colour() -> None:
    drawn = draw.boxes(torch.zeros(1, 3, 64, 64), faces((2, 30, 20, 60), (40, 30, 60, 60)))
    assert not torch.equal(drawn[0, :, 60, 10], drawn[0, :, 60, 50])


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (64, 64)])
def test_marks_beyond_the_border_are_cut_off(size: tuple[int, int]) -> None:
    drawn = draw.boxes(torch.zeros(1, 3, *size), faces((-30.0, -30.0, 300.0, 300.0), (500.0, 500.0, 490.0, 480.0)))
    assert drawn.shape == (1, 3, *size)
    assert torch.isfinite(drawn).all()
