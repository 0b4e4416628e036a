from __future__ import annotations

import weakref

import pytest
import torch

from cscs_core.ops.batching import OutOfMemory, map_in_chunks, max_batch


class Small:
    """Room for so many rows at once; keeps what it was asked and makes each row ten times as much."""

    def __init__(self, room: int):
        self.room = room
        self.asked: list[list[int]] = []

    def __call__(self, rows: torch.Tensor) -> torch.Tensor:
        self.asked.append(rows.tolist())
        if len(rows) > self.room:
            raise OutOfMemory("no room")
        return rows * 10


def test_parts_are_in_order_and_no_longer_than_asked():
    do = Small(100)
    assert torch.cat(map_in_chunks(do, torch.arange(7), 3)).tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert do.asked == [[0, 1, 2], [3, 4, 5], [6]]


@pytest.mark.parametrize("room", [1, 2, 3, 5])
def test_what_does_not_fit_is_halved_until_it_does_and_every_row_comes_once(room):
    do = Small(room)
    assert torch.cat(map_in_chunks(do, torch.arange(11), 8)).tolist() == list(range(0, 110, 10))


def test_later_parts_keep_the_length_that_fitted():
    do = Small(2)
    map_in_chunks(do, torch.arange(8), 8)
    assert [len(part) for part in do.asked] == [8, 4, 2, 2, 2, 2]


def test_a_single_row_that_does_not_fit_is_an_error():
    do = Small(0)
    with pytest.raises(OutOfMemory, match="no room"):
        map_in_chunks(do, torch.arange(4), 4)
    assert [len(part) for part in do.asked] == [4, 2, 1]


def test_another_error_is_not_tried_again():
    calls = []

    def do(rows: range) -> None:
        calls.append(rows)
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        map_in_chunks(do, range(4), 4)
    assert calls == [range(0, 4)]


def test_no_rows_ask_nothing():
    assert map_in_chunks(Small(1), torch.arange(0), 4) == []


def test_a_failed_try_holds_no_memory_while_the_next_one_runs():
    made: list[weakref.ref[torch.Tensor]] = []

    def do(rows: range) -> int:
        assert all(old() is None for old in made)
        large = torch.zeros(10)
        made.append(weakref.ref(large))
        if len(rows) > 1:
            raise OutOfMemory("no room")
        return len(rows)

    assert map_in_chunks(do, range(3), 4) == [1, 1, 1]
    assert len(made) == 4


def test_the_pause_comes_before_every_part_and_may_stop_the_work():
    do, calls = Small(2), []

    def check_cancel() -> None:
        calls.append(len(do.asked))
        if len(calls) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_in_chunks(do, torch.arange(8), 4, check_cancel)
    assert calls == [0, 1, 2, 3] and do.asked == [[0, 1, 2, 3], [0, 1], [2, 3]]


def test_a_processor_takes_one_face_at_a_time_and_a_graphics_card_a_few():
    assert [max_batch(torch.device(kind)) for kind in ("cpu", "cuda", "mps")] == [1, 8, 8]
