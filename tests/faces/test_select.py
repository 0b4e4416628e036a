from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cscs_core.faces.select import ORDERS, choose, numbers, order, pick, share_inside
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
    with pytest.raises(ValueError, match="unknown order 'youngest'"):
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


# choose: two frames, the first with three faces of 20, 40 and 60 px, the second with two
SQUARES = ((0, 0, 0, 20), (0, 100, 0, 60), (0, 200, 0, 40), (1, 0, 50, 30), (1, 100, 50, 50))


@pytest.fixture
def squares() -> FaceSet:
    frame, x, y, side = torch.tensor(SQUARES).unbind(-1)
    box = torch.stack([x, y, x + side, y + side], -1).float()
    points = box[:, None, :2] + 1
    return FaceSet(frame, box, points.expand(-1, 5, 2), points.expand(-1, 468, 2), torch.ones(5), -torch.ones(5).long())


def widths(faces: FaceSet) -> list[int]:
    return (faces.box[:, 2] - faces.box[:, 0]).long().tolist()


def test_without_wishes_all_faces_are_chosen_in_order_and_nothing_is_said(squares):
    chosen = choose(squares)
    assert widths(chosen.faces) == widths(chosen.candidates) == [60, 40, 20, 50, 30]
    assert chosen.skipped == []


def test_numbers_count_what_the_filters_left_in_every_frame(squares):
    chosen = choose(squares, order="left-right", indices=[0], smallest=35)
    assert widths(chosen.candidates) == [60, 40, 50]
    assert widths(chosen.faces) == [60, 50]
    assert chosen.skipped == [
        "frame 0: face at 0,0 (20 px wide): is narrower than 35 px",
        "frame 0: face at 200,0 (40 px wide): number 1 was not requested (0)",
        "frame 1: face at 0,50 (30 px wide): is narrower than 35 px",
    ]


def test_every_face_left_out_has_exactly_one_sentence(squares):
    likeness = torch.tensor([0.9, 0.1, 0.9, 0.1, 0.9])
    chosen = choose(squares, likeness=likeness, threshold=0.5, smallest=25, largest=45, indices=[1, 0])
    assert len(chosen.faces) + len([words for words in chosen.skipped if "face at" in words]) == len(squares)


def test_faces_come_in_the_order_of_the_numbers(squares):
    assert widths(choose(squares, indices=[2, 0, 2]).faces) == [20, 60, 50]


def test_numbers_that_are_not_there_are_said_with_what_is_left(squares):
    chosen = choose(squares[:3], indices=[0, 2, 7], smallest=30)
    assert chosen.skipped[-2:] == [
        "there is no face 2: 2 left of 3, counted from 0",
        "there is no face 7: 2 left of 3, counted from 0",
    ]


def test_a_frame_without_anybody_left_says_so_too(squares):
    chosen = choose(squares[3:4], indices=[0], smallest=99)
    assert len(chosen.faces) == 0
    assert chosen.skipped == [
        "frame 1: face at 0,50 (30 px wide): is narrower than 99 px",
        "frame 1: there is no face 0: 0 left of 1, counted from 0",
    ]


def test_likeness_goes_with_its_face_and_counts_from_the_threshold_on(squares):
    likeness = torch.tensor([0.21, 0.5, torch.nan, 0.7, -1.0])
    chosen = choose(squares, likeness=likeness, threshold=0.5)
    assert widths(chosen.faces) == [60, 30]
    assert chosen.skipped[1] == "frame 0: face at 0,0 (20 px wide): similarity 0.21 to the reference is below 0.50"
    assert len(chosen.skipped) == 3


@pytest.mark.parametrize(("edge", "kept"), [(130, True), (129, False)])
def test_a_face_is_inside_with_half_of_its_box_in_white(squares, edge, kept):
    limit = torch.zeros(1, 1, 80, 260)
    limit[..., 100:edge] = 1
    chosen = choose(squares[1:2], within=share_inside(squares[1:2], limit))
    assert len(chosen.faces) == kept
    assert kept or chosen.skipped == ["face at 100,0 (60 px wide): only 48% of it lies in the mask, at least half must"]


def test_each_frame_has_its_own_limit_and_the_last_one_serves_the_rest(squares):
    limit = torch.stack([torch.zeros(1, 120, 260), torch.ones(1, 120, 260)])
    assert widths(choose(squares, within=share_inside(squares, limit)).faces) == [50, 30]
    assert widths(choose(squares, within=share_inside(squares, limit[1:])).faces) == [60, 40, 20, 50, 30]


def test_only_what_lies_in_the_picture_counts_as_inside(squares):
    half_out = replace(squares[:2], box=torch.tensor([[-15.0, -15, 5, 5], [300, 0, 320, 20]]))
    limit = torch.zeros(1, 1, 100, 200)
    limit[..., :5, :5] = 1
    assert share_inside(half_out, limit).tolist() == [1, 0]


def test_gender_and_age_are_asked_of_faces_that_know_them(squares):
    told = replace(
        squares[:3],
        age=torch.tensor([30.0, 18.0, torch.nan]),
        gender=torch.tensor([1, 0, -1]),
        frame=torch.zeros(3).long(),
    )
    female = choose(told, gender="female")
    assert widths(female.faces) == [60]
    assert female.skipped == [
        "face at 200,0 (40 px wide): its gender is unknown: the bundled detector does not estimate it, insightface "
        "packs such as buffalo_l do",
        "face at 0,0 (20 px wide): looks male, not female",
    ]
    adult = choose(told, age=(18, 29))
    assert widths(adult.faces) == [60]
    assert adult.skipped[1] == "face at 0,0 (20 px wide): looks 30, not 18 to 29"
    assert "its age is unknown" in adult.skipped[0]
    with pytest.raises(ValueError, match="unknown gender 'other'"):
        choose(told, gender="other")


def test_people_are_asked_for_by_their_tracks(squares):
    tracked = replace(squares, track=torch.tensor([4, 2, -1, 2, 4]))
    chosen = choose(tracked, tracks=[4, 9])
    assert widths(chosen.faces) == [20, 50]
    assert chosen.skipped == [
        "frame 0: face at 100,0 (60 px wide): track 2 was not requested (4, 9)",
        "frame 0: face at 200,0 (40 px wide): has no track: connect Track Faces before this",
        "frame 1: face at 0,50 (30 px wide): track 2 was not requested (4, 9)",
    ]


def test_nothing_is_chosen_of_nothing():
    within = share_inside(FaceSet.empty(), torch.ones(1, 1, 4, 4))
    chosen = choose(FaceSet.empty(), indices=[0], likeness=within, within=within, gender="male", age=(1, 2), tracks=[0])
    assert len(chosen.faces) == len(chosen.candidates) == 0
    assert chosen.skipped == []


def test_numbers_are_what_pick_takes(squares):
    mixed = squares[[3, 0, 4, 1, 2]]
    assert numbers(mixed).tolist() == [0, 0, 1, 1, 2]
    for row, (frame, number) in enumerate(zip(mixed.frame.tolist(), numbers(mixed).tolist(), strict=True)):
        same = pick(mixed, [number])
        assert same.box[same.frame == frame].tolist() == [mixed.box[row].tolist()]


def test_ends_of_a_range_are_within_it(squares):
    assert widths(choose(squares, smallest=40, largest=50).faces) == [40, 50]
    told = replace(squares[:3], age=torch.tensor([18.0, 29.0, 30.0]))
    assert widths(choose(told, age=(18, 29)).faces) == [60, 20]


def test_faces_are_ordered_by_their_middles_and_areas():
    box = torch.tensor([[10.0, 2, 30, 44], [0, 10, 36, 30], [2, 0, 44, 36]])  # x1 y1 x2 y2
    empty = torch.zeros(3, 5, 2), torch.zeros(3, 468, 2)
    three = FaceSet(torch.zeros(3).long(), box, *empty, torch.tensor([0.9, 0.8, 0.7]), -torch.ones(3).long())
    for by, rows in {"left-right": [1, 0, 2], "top-bottom": [2, 1, 0], "small-large": [1, 0, 2]}.items():
        assert torch.equal(order(three, by).box, box[rows]), by


def test_a_number_from_the_end_is_missing_where_there_are_not_so_many(squares):
    chosen = choose(squares[:3], indices=[-3, -4])
    assert widths(chosen.faces) == [60]
    assert chosen.skipped[-1] == "there is no face -4: 3 found, counted from 0"
    assert not any("no face -3" in words for words in chosen.skipped)


def test_sides_of_a_box_lie_on_the_nearest_pixel(squares):
    limit = torch.zeros(1, 1, 100, 100)
    limit[..., 11:] = 1
    one = replace(squares[:1], box=torch.tensor([[10.6, 0.0, 20.4, 10.0]]))
    assert share_inside(one, limit).tolist() == [1.0]
