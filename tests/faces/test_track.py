"""People followed through made-up videos of boxes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from cscs_core.faces.track import track
from cscs_core.types import FaceSet

Seen = tuple[int, float, float, str]  # frame, x and y of the box's corner, who it is


def video(seen: list[Seen], side: float = 40.0) -> FaceSet:
    frame = torch.tensor([one[0] for one in seen], dtype=torch.long)
    corner = torch.tensor([one[1:3] for one in seen]).view(-1, 2)
    points = corner[:, None]
    box = torch.cat([corner, corner + side], -1)
    return FaceSet(
        frame,
        box,
        points.expand(-1, 5, 2),
        points.expand(-1, 468, 2),
        torch.ones(len(seen)),
        torch.full_like(frame, -1),
    )


def looks(seen: list[Seen], noise: float = 0.5) -> Tensor:
    """An embedding of each, near that of the person: cosines of about 0.8 with the same and 0 with others."""
    people = {name: nnf.normalize(torch.randn(64, generator=_chance(name)), dim=0) for name in {s[3] for s in seen}}
    chance = _chance("noise")
    return nnf.normalize(
        torch.stack(
            [people[name] + nnf.normalize(torch.randn(64, generator=chance), dim=0) * noise for *_, name in seen]
        ),
        dim=-1,
    )


def _chance(name: str) -> torch.Generator:
    return torch.Generator().manual_seed(sum(name.encode()))


def names(seen: list[Seen], faces: FaceSet) -> dict[str, set[int]]:
    """The numbers that each person got."""
    got: dict[str, set[int]] = {}
    for (*_, name), number in zip(seen, faces.track.tolist(), strict=True):
        got.setdefault(name, set()).add(number)
    return got


def crossing(steps: int = 16) -> list[Seen]:
    """a goes right and b left on one line: in the middle each is where the other was."""
    return [one for t in range(steps) for one in ((t, 10.0 + 15 * t, 50.0, "a"), (t, 235.0 - 15 * t, 52.0, "b"))]


def test_numbers_start_at_0_in_the_order_of_appearance():
    seen = [(0, 200.0, 0.0, "b"), (0, 0.0, 0.0, "a"), (1, 3.0, 0.0, "a"), (1, 400.0, 0.0, "c"), (1, 198.0, 2.0, "b")]
    assert track(video(seen)).track.tolist() == [0, 1, 1, 2, 0]


def test_rows_of_mixed_frames_stay_where_they_are():
    seen = [(2, 6.0, 0.0, "a"), (0, 0.0, 0.0, "a"), (1, 100.0, 0.0, "b"), (1, 3.0, 0.0, "a")]
    faces = video(seen)
    tracked = track(faces)
    assert tracked.track.tolist() == [0, 0, 1, 0]
    assert torch.equal(tracked.box, faces.box) and torch.equal(tracked.frame, faces.frame)


@pytest.mark.parametrize("known", [False, True])
def test_people_who_cross_keep_their_numbers(known: bool):
    seen = crossing()
    tracked = track(video(seen), looks(seen) if known else None)
    assert names(seen, tracked) == {"a": {0}, "b": {1}}


def test_people_who_turn_back_where_they_meet_are_told_apart_by_their_looks():
    # Boxes alone would go through each other.
    seen = [one for t in range(8) for one in ((t, 0.0 + 12 * t, 50.0, "a"), (t, 200.0 - 12 * t, 50.0, "b"))]
    seen += [one for t in range(8, 16) for one in ((t, 180.0 - 12 * t, 50.0, "a"), (t, 20.0 + 12 * t, 50.0, "b"))]
    assert names(seen, track(video(seen), looks(seen))) == {"a": {0}, "b": {1}}


@pytest.mark.parametrize(("away", "people"), [(3, 1), (4, 2)])
def test_who_comes_back_within_the_gap_is_the_same(away: int, people: int):
    seen = [(t, 50.0 + 2 * t, 50.0, "a") for t in (0, 1, 2, 3 + away, 4 + away)]
    assert track(video(seen), gap=3).track.max() == people - 1
    assert track(video(seen), looks(seen), gap=3).track.max() == people - 1


def test_a_face_hidden_while_it_moves_is_met_where_it_should_be():
    seen = [(t, 20.0 * t, 50.0, "a") for t in (0, 1, 2, 3, 4, 5, 8, 9)]
    assert track(video(seen)).track.tolist() == [0] * 8


def test_looks_find_a_person_who_jumped_and_boxes_do_not():
    seen = [(0, 0.0, 0.0, "a"), (1, 300.0, 200.0, "a")]
    assert track(video(seen)).track.tolist() == [0, 1]
    assert track(video(seen), looks(seen)).track.tolist() == [0, 0]


def test_somebody_else_in_the_same_place_after_a_cut_is_a_new_person():
    seen = [(0, 50.0, 50.0, "a"), (1, 50.0, 50.0, "b"), (2, 50.0, 50.0, "b")]
    assert track(video(seen), looks(seen)).track.tolist() == [0, 1, 1]
    assert track(video(seen)).track.tolist() == [0, 0, 0]


def test_a_turned_head_that_looks_less_like_itself_goes_on_where_it_is():
    one, other = torch.eye(2)
    embeddings = nnf.normalize(torch.stack([one, 0.35 * one + 0.94 * other]), dim=-1)  # cosine 0.35
    same_place, elsewhere = [(0, 50.0, 50.0, "a"), (1, 55.0, 50.0, "a")], [(0, 50.0, 50.0, "a"), (1, 255.0, 50.0, "a")]
    assert track(video(same_place), embeddings, likeness=0.5).track.tolist() == [0, 0]
    assert track(video(elsewhere), embeddings, likeness=0.5).track.tolist() == [0, 1]


def test_one_frame_never_has_a_number_twice():
    chance = torch.Generator().manual_seed(3)
    seen = [(t, *(torch.rand(2, generator=chance) * 90).tolist(), "twin") for t in range(12) for _ in range(9)]
    tracked = track(video(seen), looks(seen, noise=0.2), likeness=-1.0, overlap=0.0)
    for t in range(12):
        numbers = tracked.track[tracked.frame == t].tolist()
        assert sorted(numbers) == list(range(9))


def test_nobody_is_followed_nowhere():
    assert len(track(FaceSet.empty())) == 0
    assert len(track(FaceSet.empty(), torch.zeros(0, 128))) == 0


def test_frames_without_anybody_are_a_gap():
    seen = [(0, 0.0, 0.0, "a"), (40, 0.0, 0.0, "a")]
    assert track(video(seen), gap=39).track.tolist() == [0, 0]
    assert track(video(seen), gap=38).track.tolist() == [0, 1]


def test_who_is_more_alike_comes_before_who_is_nearer():
    embeddings = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.9, 0.19**0.5]])
    seen = [(0, 0.0, 0.0, "a"), (1, 2.0, 0.0, "near"), (1, 16.0, 0.0, "alike")]  # IoU 0.90 and 0.43
    assert track(video(seen), embeddings).track.tolist() == [0, 1, 0]


def test_a_look_that_changes_slowly_is_followed():
    angle = torch.linspace(0, torch.pi / 2, 21)  # who is seen last has nothing in common with who was seen first
    embeddings = torch.stack([angle.cos(), angle.sin()], -1)
    seen = [(t, 300.0 * (t % 2), 0.0, "a") for t in range(21)]
    assert track(video(seen), embeddings).track.tolist() == [0] * 21


def test_one_odd_look_does_not_change_who_somebody_is():
    embeddings = torch.tensor([[1.0, 0.0], [0.643, 0.766], [1.0, 0.0], [0.643, -0.766]])
    seen = [(t, 300.0 * (t % 2), 0.0, "a") for t in range(4)]
    assert track(video(seen), embeddings).track.tolist() == [0] * 4


def along(places: dict[int, float]) -> list[Seen]:
    """Somebody on a line, at these places in these frames."""
    return [(frame, x, 50.0, "a") for frame, x in places.items()]


def test_one_long_step_does_not_make_the_speed():
    seen = along({0: 0.0, 1: 10.0, 2: 20.0, 3: 30.0, 4: 50.0, 8: 90.0})
    assert track(video(seen)).track.tolist() == [0] * 6


def test_speed_is_pixels_a_frame_and_not_a_sighting():
    seen = along({0: 0.0, 6: 18.0, 16: 48.0})
    assert track(video(seen)).track.tolist() == [0] * 3


@pytest.mark.parametrize(("aside", "numbers"), [(20.0, [0, 0]), (24.0, [0, 1])])  # IoU 0.33 and 0.25
def test_boxes_go_on_from_an_overlap_of_0_3_on(aside: float, numbers: list[int]):
    assert track(video(along({0: 0.0, 1: aside}))).track.tolist() == numbers
