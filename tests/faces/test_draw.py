"""Marks on pictures."""

from __future__ import annotations

import pytest
import torch

from cscs_core.faces import draw
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


def test_numbers_given_decide_the_label_and_the_colour() -> None:
    images = torch.zeros(1, 3, 96, 96)
    one, two = faces((2, 40, 30, 80)), faces((2, 40, 30, 80), (50, 40, 80, 80))
    third = draw.boxes(images, one, numbers=torch.tensor([1]))
    assert torch.equal(third[0, :, 80, 10], draw.boxes(images, two)[0, :, 80, 60])  # as the second of two
    assert not torch.equal(third, draw.boxes(images, one))
    assert torch.equal(draw.boxes(images, one, numbers=torch.tensor([0])), draw.boxes(images, one))


def test_numbers_keep_to_their_faces_when_frames_are_mixed() -> None:
    images = torch.zeros(2, 3, 96, 96)
    mixed = faces((2, 40, 30, 80), (2, 40, 30, 80), frame=(1, 0))
    drawn = draw.boxes(images, mixed, numbers=torch.tensor([5, 3]))
    for index, number in ((1, 5), (0, 3)):
        alone = draw.boxes(images[:1], faces((2, 40, 30, 80)), numbers=torch.tensor([number]))
        assert torch.equal(drawn[index], alone[0])


def test_a_negative_number_is_not_written() -> None:
    images = torch.zeros(1, 3, 96, 96)
    marked = draw.boxes(images, faces((10, 40, 40, 80)), numbers=torch.tensor([-1]))[0].sum(0) > 0
    assert marked[40, 20] and not marked[:40].any()  # the plate would lie above the box


def test_what_is_not_chosen_is_grey_and_lies_below() -> None:
    images = torch.zeros(1, 3, 600, 600)
    pair = faces((100, 100, 300, 300), (100, 100, 300, 300))
    drawn = draw.boxes(images, pair, chosen=torch.tensor([True, False]))[0]
    assert torch.equal(drawn[:, 300, 200], torch.tensor(draw.COLOURS[0]) / 255)
    alone = draw.boxes(images, pair[1:], chosen=torch.tensor([False]))[0]
    assert torch.equal(alone[:, 300, 200], torch.tensor(draw.GREY) / 255)


def test_points_and_the_dense_mesh_are_drawn_when_asked_for() -> None:
    images, one = torch.zeros(1, 3, 96, 96), faces((10, 20, 60, 80))
    assert draw.boxes(images, one)[0, :, 50, 35].any()
    assert not draw.boxes(images, one, points=False)[0, :, 50, 35].any()
    assert draw.boxes(images, one, points=False, dense=True)[0, :, 50, 35].any()
