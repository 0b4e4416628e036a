from __future__ import annotations

import pytest
import torch

from cscs_core.select import ORDERS, like, order, pick
from cscs_core.types import FaceSet

# frame, x, y, size; the frames mixed up
PLACES = [(1, 10, 90, 30), (0, 80, 20, 10), (0, 20, 60, 40), (1, 50, 30, 20), (0, 50, 40, 20)]


@pytest.mark.parametrize(
    ("by", "first", "second"),
    [
        ("large-small", [20, 50, 80], [10, 50]),
        ("small-large", [80, 50, 20], [50, 10]),
        ("left-right", [20, 50, 80], [10, 50]),
        ("right-left", [80, 50, 20], [50, 10]),
        ("top-bottom", [80, 50, 20], [50, 10]),
        ("bottom-top", [20, 50, 80], [10, 50]),
    ],
)
def test_faces_are_ordered_within_their_frames(faces, by, first, second):
    ordered = order(faces(PLACES), by)
    assert ordered.frame.tolist() == [0, 0, 0, 1, 1]
    centres = ((ordered.box[:, 0] + ordered.box[:, 2]) / 2).round().long().tolist()
    assert centres == first + second


@pytest.mark.parametrize("by", ORDERS)
def test_equal_faces_keep_their_places(faces, by):
    ordered = order(faces([(0, 30, 30, 10)] * 4), by)
    assert (ordered.score.diff() < 0).all()


def test_an_unknown_order_is_named(faces):
    with pytest.raises(ValueError, match="no order 'youngest'"):
        order(faces(PLACES), "youngest")


def test_faces_are_picked_by_their_number_in_each_frame(faces):
    picked = pick(faces(PLACES), [2, 0])
    assert picked.frame.tolist() == [0, 0, 1]
    assert picked.score.tolist() == faces(PLACES).score[[4, 1, 0]].tolist()


@pytest.mark.parametrize(
    ("indices", "rows"), [([-1], [4, 3]), ([7, -9], []), ([], []), ([0, 0, -3], [1, 0]), ([1, -2, 0], [2, 1, 3, 0])]
)
def test_numbers_may_count_from_the_end_miss_and_repeat(faces, indices, rows):
    assert pick(faces(PLACES), indices).score.tolist() == faces(PLACES).score[rows].tolist()


def test_no_faces_flow_through():
    empty = FaceSet.empty()
    assert len(order(empty, "large-small")) == 0
    assert len(pick(empty, [0, -1])) == 0
    assert like(empty, torch.zeros(0, 128), torch.ones(128), 0.3).shape == (0,)


def test_likeness_is_the_cosine_whatever_the_lengths(faces):
    three = faces(PLACES[:3])
    embeddings = torch.tensor([[2.0, 0], [3, 3], [0, 0.5]])
    assert like(three, embeddings, torch.tensor([5.0, 0]), 0.7).tolist() == [True, True, False]
    assert like(three, embeddings, torch.tensor([5.0, 0]), 0.71).tolist() == [True, False, False]
