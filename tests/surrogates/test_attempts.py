"""Face by face, with a maker that writes numbers instead of faces and an encoder that reads them."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Generator, Tensor

from cscs_core.faces.identity import Encoder
from cscs_core.surrogates.attempts import Outcome, best_of_tries
from cscs_core.surrogates.base import Surrogate, unfiltered
from cscs_core.types import Crops


class Angle(SimpleNamespace):
    """Tells people by the first pixel, an angle: the cosine of two is that of the difference."""

    template, size = "arcface_112_v2", 112

    def __call__(self, crops: Tensor) -> Tensor:
        angle = crops.mean((1, 2, 3))
        return torch.stack([angle.cos(), angle.sin()], -1)


ENCODER = cast(Encoder, Angle(name="angle"))


def faces(count: int) -> Crops:
    points = torch.tensor([[20.0, 24], [44, 24], [32, 36], [24, 48], [40, 48]]).expand(count, -1, -1)
    return Crops(
        torch.zeros(count, 3, 64, 64),
        torch.ones(count, 1, 64, 64),
        torch.eye(2, 3).expand(count, -1, -1),
        points,
        points[:, :1].expand(-1, 468, -1),
        torch.arange(count) + 5,
    )


def turned(angles: list[float]) -> Any:
    """Turns a face by the next of the angles."""
    left = iter(angles)

    def make(one: Crops, generator: Generator) -> Surrogate:
        angle = next(left)
        return unfiltered(replace(one, pixels=one.pixels + angle), [{"angle": angle}])

    return make


def run(count: int, angles: list[float], **options: Any) -> Outcome:
    return best_of_tries(faces(count), 0, turned(angles), ENCODER, **options)


def test_the_first_accepted_picture_is_taken() -> None:
    done = run(2, [1.0, 0.5, 0.1, 0.2], accepts=lambda before, made, similarity: similarity > 0.8, tries=3)
    assert [what["angle"] for what in done.changes] == [0.5, 0.1]
    assert done.tries == [2, 1]
    assert done.accepted.tolist() == [True, True]
    torch.testing.assert_close(done.similarity, torch.tensor([0.5, 0.1]).cos())
    assert done.crops.frame.tolist() == [5, 6]


@pytest.mark.parametrize(("alike", "angle"), [(True, 0.5), (False, 1.0)])
def test_of_rejected_pictures_the_most_or_least_alike_one_stays(alike: bool, angle: float) -> None:
    done = run(1, [0.7, 0.5, 1.0], accepts=lambda before, made, similarity: False, tries=3, alike=alike)
    assert done.changes == [{"angle": angle}]
    assert done.tries == [3] and done.accepted.tolist() == [False]
    assert torch.equal(done.crops.pixels, torch.full((1, 3, 64, 64), angle))


def test_a_face_of_which_nothing_can_be_made_stays_itself() -> None:
    crops = faces(2)
    done = best_of_tries(
        crops, 0, lambda one, generator: unfiltered(one, [{}])[torch.tensor([False])], ENCODER, tries=9
    )
    assert done.tries == [0, 0] and not done.accepted.any() and done.changes == [{}, {}]
    assert torch.equal(done.crops.pixels, crops.pixels)


def test_every_face_has_a_generator_of_its_own_whoever_follows() -> None:
    def draw(one: Crops, generator: Generator) -> Surrogate:
        return unfiltered(one, [{"drawn": float(torch.rand((), generator=generator))}])

    def drawn(count: int, seed: int) -> list[dict[str, Any]]:
        return best_of_tries(faces(count), seed, draw, ENCODER).changes

    state = torch.random.get_rng_state()
    assert drawn(2, 3) == drawn(5, 3)[:2]
    assert len({what["drawn"] for what in drawn(5, 3) + drawn(5, 2**64 - 1)}) == 10
    assert torch.equal(torch.random.get_rng_state(), state)


def test_no_faces_are_no_work() -> None:
    done = run(0, [])
    assert len(done.crops) == len(done.similarity) == len(done.accepted) == 0


def test_a_pause_may_stop_the_work_before_any_try() -> None:
    pauses = iter([None, None, KeyboardInterrupt])

    def check_cancel() -> None:
        if error := next(pauses):
            raise error

    angles = iter([0.1, 0.2, 0.3])
    with pytest.raises(KeyboardInterrupt):
        best_of_tries(faces(3), 0, turned([*angles]), ENCODER, check_cancel=check_cancel)
    assert next(pauses, "asked three times") == "asked three times"
