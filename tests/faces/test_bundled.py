"""What the bundled networks must do with pictures they were not trained on: our example people and one photograph."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor

from cscs_core.faces.identity import encode
from cscs_core.hub.weights import LITE
from cscs_core.io import images
from cscs_core.ops import geometry, mesh
from cscs_core.pipeline import Models, find, load_models
from cscs_core.tasks.example_people import EXAMPLES

PEOPLE = sorted(EXAMPLES.glob("*.jpg"))


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


@pytest.fixture(params=PEOPLE, ids=lambda file: file.stem)
def person(request: pytest.FixtureRequest) -> Tensor:
    return images.read(request.param)


def apart(found: Tensor, expected: Tensor) -> float:
    """Mean point distance over the distance of the outer eye corners."""
    return float((found - expected).norm(dim=-1).mean() / mesh.interocular(expected[None])[0])


def test_everything_bundled_is_at_most_40_megabytes():
    assert sum(file.stat().st_size for file in LITE.iterdir()) <= 40e6


def test_a_portrait_has_one_face_and_its_points_lie_in_the_box(person: Tensor, models: Models):
    faces = find(person, models)
    assert len(faces) == 1
    assert faces.score[0] > 0.6
    box = faces.box[0]
    assert ((faces.landmarks[0] > box[:2]) & (faces.landmarks[0] < box[2:])).all()


@pytest.mark.parametrize("degrees", [-45, 45])
def test_a_turned_head_has_the_same_landmarks_turned(person: Tensor, models: Models, degrees: float):
    turn, centre = math.radians(degrees), torch.full((2, 1), 255.5)
    linear = torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    matrix = torch.cat([linear, centre - linear @ centre], 1)[None]
    upright, turned = find(person, models), find(geometry.warp(person, matrix, 512), models)
    assert len(turned) == 1
    assert apart(turned.mesh[0], geometry.transform(upright.mesh, matrix)[0]) < 0.03


def test_a_mirrored_picture_has_mirrored_landmarks(person: Tensor, models: Models):
    found, mirrored = find(person, models), find(person.flip(-1), models)
    assert apart(found.mesh[0], mesh.flipped(mirrored.mesh[0], 512)) < 0.03


@pytest.mark.parametrize("side", [24, 60, 200, 500])
def test_faces_from_24_to_500_pixels_are_found(person: Tensor, models: Models, side: int):
    box = find(person, models).box[0]
    scale = side / float((box[2:] - box[:2]).max())
    x, y = (min(half, math.ceil(scale * 256) + 1) for half in (640, 360))  # no larger: shrinking takes its time
    matrix = torch.tensor([[[scale, 0.0, x - scale * 256], [0.0, scale, y - scale * 256]]])
    place = geometry.warp(torch.ones(1, 1, 512, 512), matrix, (2 * y, 2 * x), padding="zeros")
    small = 0.5 + (geometry.warp(person, matrix, (2 * y, 2 * x)) - 0.5) * place
    scene = nnf.pad(small, (640 - x, 640 - x, 360 - y, 360 - y), value=0.5)
    faces = find(scene, models)
    assert len(faces) == 1
    centre = geometry.transform((box[:2] + box[2:])[None, None] / 2, matrix)[0, 0] + torch.tensor([640.0 - x, 360 - y])
    assert ((faces.box[0, :2] + faces.box[0, 2:]) / 2 - centre).norm() < 0.15 * side


@pytest.mark.parametrize("grey", [0.0, 0.5, 1.0])
def test_an_empty_picture_has_no_face(models: Models, grey: float):
    assert len(find(torch.full((1, 3, 240, 320), grey), models)) == 0


def test_noise_has_no_face(models: Models):
    noise = torch.rand(1, 3, 480, 640, generator=torch.Generator().manual_seed(0))
    assert len(find(noise, models)) == 0


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (200, 3)])
def test_pictures_too_small_for_a_face_have_none(models: Models, size: tuple[int, int]):
    assert len(find(torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0)), models)) == 0


def test_the_photograph_of_the_astronaut_has_her_face_only(models: Models):
    """scikit-image's picture of Eileen Collins, NASA, public domain; eyes and mouth read off by eye."""
    data = pytest.importorskip("skimage.data")
    photograph = torch.from_numpy(data.astronaut()).movedim(-1, 0)[None] / 255
    faces = find(photograph, models)
    assert len(faces) == 1
    expected = torch.tensor([[203.5, 101.3], [248.0, 103.7], [224.5, 125.3], [204.2, 140.0], [243.7, 142.0]])
    assert (faces.landmarks[0] - expected).norm(dim=-1).max() < 4


def test_people_are_like_themselves_in_other_light_and_unlike_each_other(models: Models):
    people = [images.read(file) for file in PEOPLE]
    own = torch.cat([encode(image, find(image, models), models.encoder) for image in people])
    dark = [(image**1.6 * torch.tensor([0.8, 0.7, 0.6]).view(1, 3, 1, 1)) for image in people]
    other_light = torch.cat([encode(image, find(image, models), models.encoder) for image in dark])
    assert (own * other_light).sum(-1).min() > 0.75
    different = (own @ own.T)[~torch.eye(len(own), dtype=torch.bool)]
    assert different.max() < 0.5
