"""Blends of people: what is mixed with what, and how the blend goes from one person to the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from cscs_core import pipeline
from cscs_core.faces.align import align, resize
from cscs_core.faces.bend import bend_to_mesh
from cscs_core.faces.identity import LiteEncoder, embed_crops
from cscs_core.faces.swappers.lite import load_lite
from cscs_core.io import images
from cscs_core.models import IdentityEncoder
from cscs_core.ops import head_pose, mask, mesh
from cscs_core.tasks.blend import blend
from cscs_core.tasks.example_people import EXAMPLES
from cscs_core.types import Crops, Identity

SIZE = 64


@pytest.fixture(scope="module")
def encoder() -> LiteEncoder:
    return LiteEncoder(IdentityEncoder().eval().requires_grad_(False), "some")


def person(
    *greys: float, yaw: tuple[float, ...] = (0.0,), weight: tuple[float, ...] = (), size: int = SIZE
) -> Identity:
    """Somebody of one grey a photograph, the head turned so many degrees."""
    count = len(greys)
    angles = torch.tensor(yaw).expand(count)
    middle = mesh.mean_face()[None] * size / 4 + (size - 1) / 2
    points = head_pose.rotate(middle.expand(count, -1, -1), angles, torch.zeros(count))
    crops = Crops(
        torch.tensor(greys).view(-1, 1, 1, 1).expand(-1, 3, size, size),
        torch.ones(count, 1, size, size),
        torch.eye(3)[:2].expand(count, 2, 3),
        mesh.five(points),
        points,
        torch.arange(count),
    )
    return Identity(crops, torch.eye(2)[:1].expand(count, 2), torch.tensor(weight or [1.0] * count))


def greys(whole: Identity) -> Tensor:
    return whole.crops.pixels.mean((1, 2, 3))


def test_pixels_and_points_are_the_mean_by_share(encoder: LiteEncoder) -> None:
    a, b, c = person(0.1), person(0.5, yaw=(10.0,)), person(0.9, yaw=(20.0,))
    whole = blend([a, b, c], [1, 2, 5], encoder)
    torch.testing.assert_close(greys(whole), torch.tensor([(0.1 + 2 * 0.5 + 5 * 0.9) / 8]))
    torch.testing.assert_close(whole.crops.mesh, (a.crops.mesh + 2 * b.crops.mesh + 5 * c.crops.mesh) / 8)
    torch.testing.assert_close(whole.crops.landmarks, mesh.five(whole.crops.mesh))


def test_one_face_in_two_shapes_is_halfway_that_face_in_the_shape_between(
    encoder: LiteEncoder, faces: Any, smooth: Callable[..., Tensor]
) -> None:
    found = faces([(0, 64.0, 54.0, 40.0)])
    crops = align(smooth(1, 128, 128), found, size=128)
    wider = (crops.mesh - 64) * torch.tensor([1.12, 1.0]) + 64
    a = Identity(crops, torch.zeros(1, 2), torch.ones(1))
    whole = blend([a, replace(a, crops=bend_to_mesh(crops, wider))], [1, 1], encoder)
    between = bend_to_mesh(crops, (crops.mesh + wider) / 2)
    inside = mask.grow(mask.hull(between.mesh, 128), -4.0) > 0.9
    assert inside.sum() > 2000
    apart, before = ((one.pixels - between.pixels).abs().mean(1, keepdim=True)[inside] for one in (whole.crops, crops))
    assert apart.mean() < 0.1 * before.mean()


def test_who_alone_has_a_share_comes_back_untouched(encoder: LiteEncoder) -> None:
    a, b = person(0.1, 0.2, weight=(1.0, 0.0)), person(0.9)
    assert blend([a, b], [1, 0], encoder) is a
    assert blend([a, b], [0, 0.3], encoder) is b


def test_photographs_meet_those_turned_most_alike(encoder: LiteEncoder) -> None:
    a = person(0.0, 0.0, yaw=(-25.0, 0.0))
    b = person(0.2, 0.4, 0.6, yaw=(12.0, -2.0, -24.0))
    torch.testing.assert_close(greys(blend([a, b], [1, 1], encoder)), torch.tensor([0.1, 0.2, 0.3]))
    two = person(0.2, 0.6, yaw=(-2.0, -24.0))
    torch.testing.assert_close(greys(blend([a, two], [1, 1], encoder)), torch.tensor([0.3, 0.1]))


def test_a_head_turned_the_other_way_is_mirrored(encoder: LiteEncoder) -> None:
    a, b = person(0.5, yaw=(-25.0,)), person(0.5, yaw=(25.0,))
    whole = blend([a, b], [1, 1], encoder)
    torch.testing.assert_close(whole.crops.mesh, a.crops.mesh, atol=0.01, rtol=0)


def test_photographs_that_do_not_count_are_not_in_it(encoder: LiteEncoder) -> None:
    a, b = person(0.0, 0.9, weight=(0.5, 0.0)), person(0.4, 0.8, weight=(0.0, 2.0))
    whole = blend([a, b], [1, 1], encoder)
    torch.testing.assert_close(greys(whole), torch.tensor([0.4]))
    assert whole.weight.tolist() == [0.5]


def test_crops_become_as_large_as_the_largest(encoder: LiteEncoder) -> None:
    whole = blend([person(0.5, size=32), person(0.5)], [1, 1], encoder)
    assert whole.crops.size == 64
    torch.testing.assert_close(whole.crops.mesh, person(0.5).crops.mesh)


def test_the_encoder_reads_the_mixed_photographs(encoder: LiteEncoder) -> None:
    whole = blend([person(0.1), person(0.9, 0.5, yaw=(0.0, 20.0))], [1, 3], encoder)
    assert whole.encoder == "some"
    torch.testing.assert_close(whole.embedding, embed_crops(whole.crops, encoder))


@pytest.mark.parametrize("shares", [[1], [0, 0], [-1, 2], [float("nan"), 1], [float("inf"), 1]])
def test_shares_that_share_nothing_out_are_refused(encoder: LiteEncoder, shares: list[float]) -> None:
    with pytest.raises(ValueError, match="shares"):
        blend([person(0.1), person(0.9)], shares, encoder)


# The example people, with the bundled networks


@pytest.fixture(scope="module")
def models() -> pipeline.Models:
    return pipeline.load_models()


@pytest.mark.parametrize(("first", "second"), [(1, 5), (6, 3)])
def test_likeness_goes_from_one_person_to_the_other(models: pipeline.Models, first: int, second: int) -> None:
    a, b = (pipeline.identity_from([photo(number)], models) for number in (first, second))
    path = [blend([a, b], [1 - share, share], models.encoder) for share in (0, 0.25, 0.5, 0.75, 1)]
    to_a, to_b = (torch.stack([one.mean @ who.mean for one in path]) for who in (a, b))
    assert (to_a.diff() < -0.02).all() and (to_b.diff() > 0.02).all()


def test_a_swapper_that_lays_on_a_photograph_shows_the_blend(models: pipeline.Models) -> None:
    """Each step changes the face, and none makes half of the change."""
    a, b, target = (pipeline.identity_from([photo(number)], models) for number in (1, 5, 2))
    people = [blend([a, b], [1 - share, share], models.encoder) for share in (0, 0.25, 0.5, 0.75, 1)]
    lite, crops = load_lite(), resize(target.crops, 256)
    with torch.no_grad():
        swapped = torch.cat([lite(crops, lite.encode(who)).pixels for who in people])
    steps = swapped.diff(dim=0).abs().mean((1, 2, 3))
    assert steps.min() > 0.1 * steps.sum() and steps.max() < 0.5 * steps.sum()


def photo(number: int) -> Tensor:
    return images.read(EXAMPLES / f"person_{number}.jpg")


def test_photographs_of_a_blend_are_numbered_from_0_on(encoder: LiteEncoder) -> None:
    a, b = person(0.0, 0.2, 0.4, weight=(0.0, 1.0, 1.0)), person(0.4)
    assert blend([a, b], [1, 1], encoder).crops.frame.tolist() == [0, 1]
