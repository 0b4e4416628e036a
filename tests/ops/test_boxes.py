from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cscs_core.ops.boxes import generalised_iou, inside, iou, suppress


def _greedy(box: Tensor, score: Tensor, frame: Tensor, threshold: float) -> list[int]:
    """The textbook loop: the best box left is kept, what overlaps it goes."""
    left = score.argsort(descending=True, stable=True).tolist()
    kept = []
    while left:
        best, *left = left
        kept.append(best)
        left = [row for row in left if frame[row] != frame[best] or iou(box[row], box[best]) <= threshold]
    return kept


def _random_boxes(count: int, side: float) -> Tensor:
    corner = torch.rand(count, 2) * side
    return torch.cat([corner, corner + 5 + torch.rand(count, 2) * 20], -1)


@pytest.mark.parametrize(
    ("a", "b", "plain", "generalised"),
    [
        ((0, 0, 2, 2), (0, 0, 2, 2), 1.0, 1.0),
        ((0, 0, 2, 2), (1, 0, 3, 2), 1 / 3, 1 / 3),  # the hull is the union
        ((0, 0, 2, 2), (1, 1, 3, 3), 1 / 7, 1 / 7 - 2 / 9),
        ((0, 0, 4, 4), (1, 1, 3, 3), 0.25, 0.25),
        ((0, 0, 1, 1), (1, 0, 2, 1), 0.0, 0.0),  # they touch
        ((0, 0, 1, 1), (3, 0, 4, 1), 0.0, -0.5),
        ((0, 0, 1, 1), (9, 9, 10, 10), 0.0, -0.98),
        ((5, 5, 5, 5), (0, 0, 10, 10), 0.0, 0.0),
    ],
)
def test_overlaps_are_these_numbers(a, b, plain, generalised):
    a, b = torch.tensor(a).float(), torch.tensor(b).float()
    for one, other in ((a, b), (b, a)):
        assert iou(one, other).item() == pytest.approx(plain)
        assert generalised_iou(one, other).item() == pytest.approx(generalised)


def test_empty_boxes_overlap_nothing_and_stay_finite():
    point = torch.tensor([5.0, 5, 5, 5])
    assert iou(point, point) == 0
    assert -1 <= generalised_iou(point, point) <= 1


def test_overlaps_broadcast():
    boxes = _random_boxes(6, 20)
    table = iou(boxes[:, None], boxes[None])
    assert table.shape == (6, 6)
    torch.testing.assert_close(table, table.T)
    torch.testing.assert_close(table.diagonal(), torch.ones(6))


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7])
@pytest.mark.parametrize("seed", range(4))
def test_suppression_is_the_greedy_loop(seed, threshold):
    torch.manual_seed(seed)
    box, frame = _random_boxes(120, 60), torch.randint(0, 3, (120,))
    score = torch.randint(0, 12, (120,)) / 12  # with ties
    assert suppress(box, score, frame, threshold).tolist() == _greedy(box, score, frame, threshold)


def test_of_equal_boxes_the_first_stays():
    box = torch.tensor([[0.0, 0, 10, 10]]).expand(4, 4)
    assert suppress(box, torch.ones(4), torch.zeros(4, dtype=torch.long), 0.5).tolist() == [0]
    assert suppress(box, torch.ones(4), torch.tensor([1, 0, 1, 0]), 0.5).tolist() == [0, 1]


def test_a_suppressed_box_suppresses_nothing():
    # A beats B, B would have beaten C, C would have beaten D: A and C stay.
    x = torch.arange(4.0) * 4
    box = torch.stack([x, torch.zeros(4), x + 10, torch.full((4,), 10.0)], -1)
    score, frame = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.zeros(4, dtype=torch.long)
    assert suppress(box, score, frame, 0.4).tolist() == [0, 2]
    assert suppress(box.flip(0), score.flip(0), frame, 0.4).tolist() == [3, 1]


def test_a_long_chain_is_settled():
    x = torch.arange(50.0) * 4
    box = torch.stack([x, torch.zeros(50), x + 10, torch.full((50,), 10.0)], -1)
    kept = suppress(box, torch.linspace(1, 0, 50), torch.zeros(50, dtype=torch.long), 0.4)
    assert kept.tolist() == list(range(0, 50, 2))


def test_no_boxes_are_kept_of_none():
    kept = suppress(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.long), 0.5)
    assert kept.shape == (0,)
    assert kept.dtype == torch.long


def test_a_box_within_a_better_one_falls_when_asked():
    box = torch.tensor([[0.0, 0, 100, 100], [10, 10, 40, 40], [80, 0, 130, 50]])
    score, frame = torch.tensor([0.9, 0.8, 0.7]), torch.zeros(3, dtype=torch.long)
    assert suppress(box, score, frame, 0.4).tolist() == [0, 1, 2]
    assert suppress(box, score, frame, 0.4, nested=0.65).tolist() == [0, 2]  # the last lies within by 40 %


@pytest.mark.parametrize(
    ("a", "b", "share"),
    [
        ((0, 0, 4, 4), (0, 0, 4, 4), 1.0),
        ((0, 0, 10, 10), (2, 2, 4, 4), 1.0),  # the smaller one lies in the larger
        ((0, 0, 4, 4), (2, 0, 6, 8), 0.5),
        ((0, 0, 4, 4), (4, 0, 8, 4), 0.0),
        ((0, 0, 4, 4), (9, 9, 12, 12), 0.0),
    ],
)
def test_overlaps_count_the_smaller_box(a, b, share):
    assert inside(torch.tensor(a).float(), torch.tensor(b).float()).item() == share
