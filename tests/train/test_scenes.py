"""Scenes of three green people on red backgrounds: what is green is a person."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from cscs_core.ops import geometry, mesh
from cscs_core.ops.boxes import inside
from cscs_core.train import scenes
from cscs_core.train.people import PICTURE, People

GREEN, RED = torch.tensor([20, 200, 20]), torch.tensor([200, 20, 20])


def _people() -> People:
    faces = torch.stack([mesh.mean_face() * size + torch.tensor([160.0, 130.0]) for size in (70, 90, 110)])
    pixels = GREEN.view(1, 3, 1, 1).expand(3, 3, PICTURE, PICTURE).byte()
    return People(pixels, mesh.five(faces), faces, torch.eye(3, 128), torch.tensor([1.0, 1, 0.5]))


PEOPLE = _people()
PICTURES = RED.view(1, 3, 1, 1).expand(2, 3, scenes.SIDE, scenes.SIDE).byte()


def make(seed: int, n: int = 10) -> scenes.Scenes:
    return scenes.make(PEOPLE, PICTURES, n, Generator().manual_seed(seed), damage=0.0)


@pytest.fixture(scope="module")
def made() -> list[scenes.Scenes]:
    return [make(seed) for seed in range(3)]


def green_share(pixels: Tensor, box: Tensor) -> float:
    """How much of the part of a box within the picture is more green than red."""
    x1, y1, x2, y2 = box.round().long().clamp(0, scenes.SIDE - 1).tolist()
    return float((pixels[1, y1 : y2 + 1, x1 : x2 + 1] > pixels[0, y1 : y2 + 1, x1 : x2 + 1]).float().mean())


def test_scenes_are_pictures_with_rows_of_faces(made):
    for scene in made:
        assert scene.pixels.shape == (10, 3, scenes.SIDE, scenes.SIDE)
        assert scene.pixels.min() >= 0
        assert scene.pixels.max() <= 1
        count = len(scene.frame)
        assert scene.box.shape == (count, 4)
        assert scene.points.shape == (count, 5, 2)
        assert scene.clear.shape == (count,)
        assert (scene.frame.diff() >= 0).all()
        assert scene.frame.max() < 10


def test_boxes_hold_their_points(made):
    for scene in made:
        assert (scene.points >= scene.box[:, None, :2]).all()
        assert (scene.points <= scene.box[:, None, 2:]).all()


def test_clear_faces_lie_mostly_inside_and_are_not_tiny(made):
    for scene in made:
        box = scene.box[scene.clear]
        inside = box.clamp(0, scenes.SIDE - 1)
        assert ((inside[:, 2:] - inside[:, :2]).prod(-1) > 0.6 * (box[:, 2:] - box[:, :2]).prod(-1)).all()
        assert (box[:, 2:] - box[:, :2]).amax(-1).min() >= 15.9


def test_faces_do_not_lie_on_each_other(made):
    for scene in made:
        other = inside(scene.box[:, None], scene.box[None])
        same = (scene.frame[:, None] == scene.frame[None]) & ~torch.eye(len(other), dtype=torch.bool)
        assert (other[same] <= 0.25).all()


def test_some_scenes_are_empty_and_some_are_crowded(made):
    counts = torch.cat([scene.frame.bincount(minlength=10) for scene in made])
    assert (counts == 0).any()
    assert (counts == 1).any()
    assert counts.max() > 2


def test_points_are_upright_left_before_right(made):
    for scene in made:
        eyes, mouth = scene.points[:, 0] - scene.points[:, 1], scene.points[:, 3] - scene.points[:, 4]
        assert (eyes[:, 0] < 0).all()  # rolls stay within 45 degrees or so, also of flipped people
        assert (mouth[:, 0] < 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_clear_faces_can_be_seen(monkeypatch, seed):
    monkeypatch.setattr(scenes.augment, "occlude", lambda x, others, generator: x)
    scene = make(seed)
    shares = [
        green_share(scene.pixels[frame], box)
        for frame, box, clear in zip(scene.frame.tolist(), scene.box, scene.clear.tolist(), strict=True)
        if clear
    ]
    assert shares
    assert min(shares) > 0.4


def test_a_face_that_something_covers_is_not_clear():
    boxes = [torch.tensor([10.0, 10, 50, 50]), torch.tensor([100.0, 10, 140, 50]), torch.tensor([10.0, 10, 50, 50])]
    clear = [True, True, True]
    scenes.hide(boxes, clear, 1, (torch.ones(1, 30, 60), (0, 0, 60, 30)))  # half of the first and the last
    assert clear == [True, True, False]
    scenes.hide(boxes, clear, 0, (torch.full((1, 60, 60), 0.3), (0, 0, 60, 60)))  # a veil
    scenes.hide(boxes, clear, 0, None)
    assert clear == [True, True, False]


def test_the_same_generator_makes_the_same_scenes():
    one, other, third = make(5, 3), make(5, 3), make(6, 3)
    for name in ("pixels", "frame", "box", "points", "clear"):
        assert torch.equal(getattr(one, name), getattr(other, name))
    assert not torch.equal(one.pixels, third.pixels)


def test_no_faces_give_empty_columns():
    seed = next(seed for seed in range(100) if not len(make(seed, 1).frame))
    scene = make(seed, 1)
    assert scene.box.shape == (0, 4)
    assert scene.points.shape == (0, 5, 2)
    assert scene.clear.dtype == torch.bool


def test_similarities_give_size_place_and_roll():
    face = PEOPLE.mesh[0]
    matrix = scenes.similarity_for(face, 50.0, torch.tensor([80.0, 90.0]), 0.0)
    box = mesh.box(geometry.transform(face[None], matrix[None]))[0]
    torch.testing.assert_close((box[:2] + box[2:]) / 2, torch.tensor([80.0, 90.0]))
    torch.testing.assert_close((box[2:] - box[:2]).max(), torch.tensor(50.0))
    turned = geometry.transform(face[None], scenes.similarity_for(face, 50.0, torch.zeros(2), 30.0)[None])[0]
    across = turned[263] - turned[33]
    assert torch.rad2deg(torch.atan2(across[1], across[0])).item() == pytest.approx(30, abs=1e-2)


def test_people_pasted_outside_are_nothing():
    scene = torch.zeros(3, scenes.SIDE, scenes.SIDE)
    matrix = scenes.similarity_for(PEOPLE.mesh[0], 50.0, torch.tensor([-200.0, 90.0]), 0.0)
    face = geometry.transform(PEOPLE.mesh[:1], matrix[None])[0]
    assert scenes.place(scene, PEOPLE.pixels[0], matrix, face, Generator().manual_seed(0)) is None
    assert not scene.any()
