"""Landmarks from five points: crops, mirrored eye and the way back, with networks that always see the mean face."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cscs_core.faces.landmarks import EYE, MOUTH, TEMPLATE, Part, locate
from cscs_core.models import FaceMesh
from cscs_core.ops import geometry, mesh


class Always(nn.Module):
    """Answers the same points for every crop, and counts the crops."""

    def __init__(self, config, points: Tensor):
        super().__init__()
        self.config, self.points, self.crops = config, points, 0

    def forward(self, crops: Tensor) -> Tensor:
        self.crops += len(crops)
        return self.points.expand(len(crops), -1, -1)


def mean_part(part: Part, size: int) -> Tensor:
    points = mesh.mean_face()[None, list(part.points)]
    return geometry.transform(points, part.matrix(points, size))[0]


def certain() -> Any:
    """A FaceMesh that sees the mean face, exactly aligned, in every crop."""
    whole, eye, mouth = (getattr(FaceMesh().config, name) for name in ("whole", "eye", "mouth"))
    mean = mesh.mean_face()[None]
    laid = geometry.transform(mean, geometry.similarity(mesh.five(mean), geometry.template(TEMPLATE, whole.size)[None]))
    network = nn.Module()
    network.whole = Always(whole, laid[0])
    network.eye = Always(eye, mean_part(EYE, eye.size))
    network.mouth = Always(mouth, mean_part(MOUTH, mouth.size))
    return network


def placed(degrees: float, scale: float, x: float, y: float) -> Tensor:
    """The mean face somewhere in a picture, (468, 2)."""
    turn = math.radians(degrees)
    linear = scale * torch.tensor([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return geometry.transform(mesh.mean_face()[None], torch.cat([linear, torch.tensor([[x], [y]])], 1)[None])[0]


def test_what_a_network_sees_in_its_crop_lies_where_the_face_is_in_the_picture():
    truth = torch.stack([placed(0, 60, 100, 90), placed(40, 35, 60, 80), placed(-170, 90, 120, 100)])
    images, frame = torch.rand(2, 3, 200, 220), torch.tensor([0, 1, 1])
    found = locate(images, frame, mesh.five(truth), certain())
    torch.testing.assert_close(found, truth, atol=0.05, rtol=0)


def test_the_mirrored_eye_is_the_other_eye():
    truth = placed(20, 60, 100, 90)[None]
    network = certain()
    network.eye.points = network.eye.points + torch.tensor([3.0, 0.0])  # towards the nose, on a left eye
    found = locate(torch.rand(1, 3, 200, 200), torch.tensor([0]), mesh.five(truth), network)
    across = (truth[0, 263] - truth[0, 33]) / (truth[0, 263] - truth[0, 33]).norm()
    left, right = list(EYE.points), mesh.mirror()[list(EYE.points)].tolist()
    moved = ((found - truth)[0] @ across)[[*left, *right]]
    expected = 3.0 / EYE.scale * 60
    torch.testing.assert_close(moved[:42], torch.full((42,), expected), atol=0.05, rtol=0)
    torch.testing.assert_close(moved[42:], torch.full((42,), -expected), atol=0.05, rtol=0)


def test_only_a_face_off_its_place_in_the_crop_is_looked_at_again():
    five, frame = mesh.five(placed(0, 60, 100, 90))[None].expand(2, -1, -1), torch.zeros(2, dtype=torch.long)
    network = certain()
    locate(torch.rand(1, 3, 200, 200), frame, five, network)
    assert network.whole.crops == 2
    network.whole.points = network.whole.points + torch.tensor([20.0, 0.0])  # px of 128
    locate(torch.rand(1, 3, 200, 200), frame, five, network)
    assert network.whole.crops == 2 + 4


def test_no_faces_need_no_network():
    network = certain()
    found = locate(torch.rand(1, 3, 50, 50), torch.zeros(0, dtype=torch.long), torch.zeros(0, 5, 2), network)
    assert found.shape == (0, 468, 2)
    assert network.whole.crops == 0


def test_a_part_of_the_mean_face_lies_in_the_middle_of_its_crop():
    for part, size in ((EYE, 64), (MOUTH, 64), (MOUTH, 33)):
        points = mean_part(part, size)
        middle = (points.amin(0) + points.amax(0)) / 2
        torch.testing.assert_close(middle, torch.full((2,), (size - 1) / 2), atol=0.01, rtol=0)


class Noting(Always):
    """Notes what it is shown as well."""

    def forward(self, crops: Tensor) -> Tensor:
        self.shown = [*getattr(self, "shown", []), crops]
        return super().forward(crops)


def noting() -> Any:
    network = certain()
    for name in ("whole", "eye", "mouth"):
        old = getattr(network, name)
        setattr(network, name, Noting(old.config, old.points))
    return network


def places(count: int, side: int = 200) -> Tensor:
    """Pictures whose pixels hold their own x and y and the number of the picture."""
    x, y = geometry.pixel_grid(side, side).unbind(-1)
    return torch.stack([torch.stack([x, y, torch.full_like(x, number)]) for number in range(count)])


def test_every_look_is_at_the_picture_of_its_face():
    truth = torch.stack([placed(0, 60, 100, 90), placed(0, 50, 90, 100), placed(0, 40, 110, 80)])
    network = noting()
    locate(places(2), torch.tensor([0, 1, 1]), mesh.five(truth), network)
    for part, expected in ((network.whole, [0, 1, 1]), (network.eye, [0, 1, 1, 0, 1, 1]), (network.mouth, [0, 1, 1])):
        torch.testing.assert_close(part.shown[0][:, 2].mean((1, 2)), torch.tensor(expected).float())


def test_an_eye_is_seen_as_a_left_one_on_either_side():
    truth = placed(0, 60, 100, 90)[None]
    network = noting()
    locate(places(1), torch.tensor([0]), mesh.five(truth), network)
    left, right = network.eye.shown[0][:, 0]
    assert (left.diff(dim=-1) > 0).all() and (right.diff(dim=-1) < 0).all()
    # Both alike: as far from the middle of the face, which is at x = 100.
    torch.testing.assert_close(left - 100, 100 - right, atol=0.05, rtol=0)


def test_the_second_look_is_where_the_first_one_found_the_face():
    network = noting()
    network.whole.points = network.whole.points + torch.tensor([16.0, 0.0])  # px of 128
    two = torch.stack([placed(0, 60, 100, 90), placed(0, 60, 90, 100)])
    locate(places(2), torch.tensor([1, 0]), mesh.five(two), network)
    first, second = (crops.mean((2, 3)) for crops in network.whole.shown)
    scale = float((network.whole.points[263, 0] - network.whole.points[33, 0]) / 60)
    torch.testing.assert_close(second[:, 0] - first[:, 0], torch.full((2,), 16 / scale), atol=0.1, rtol=0)
    torch.testing.assert_close(second[:, 1:], first[:, 1:], atol=0.1, rtol=0)


def test_a_face_a_twentieth_of_the_crop_off_its_place_is_looked_at_again():
    five, network = mesh.five(placed(0, 60, 100, 90))[None], certain()
    network.whole.points = network.whole.points + torch.tensor([0.05 * 128, 0.0])
    locate(torch.rand(1, 3, 200, 200), torch.tensor([0]), five, network)
    assert network.whole.crops == 2


def test_eyes_and_mouth_are_those_of_the_closer_looks():
    truth = placed(0, 60, 100, 90)[None]
    network = certain()
    network.eye.points = network.eye.points + torch.tensor([0.0, 2.0])
    network.mouth.points = network.mouth.points + torch.tensor([0.0, 3.0])
    moved = locate(torch.rand(1, 3, 200, 200), torch.tensor([0]), mesh.five(truth), network)[0] - truth[0]
    eyes = [*EYE.points, *mesh.mirror()[list(EYE.points)].tolist()]
    torch.testing.assert_close(moved[eyes, 1], torch.full((84,), 2 / EYE.scale * 60), atol=0.05, rtol=0)
    torch.testing.assert_close(moved[list(MOUTH.points), 1], torch.full((80,), 3 / MOUTH.scale * 60), atol=0.05, rtol=0)
    rest = [point for point in range(468) if point not in {*eyes, *MOUTH.points}]
    torch.testing.assert_close(moved[rest], torch.zeros(len(rest), 2), atol=0.05, rtol=0)


class OffInOne(Noting):
    """Sees the faces of picture 1 so far off their place in the first look."""

    def forward(self, crops: Tensor) -> Tensor:
        off = 16 * (crops[:, 2].mean((1, 2)) > 0.5).float() * (not self.crops)
        return super().forward(crops) + off[:, None, None] * torch.tensor([1.0, 0.0])


def test_a_face_that_alone_is_looked_at_again_is_looked_at_in_its_own_picture():
    network = noting()
    network.whole = OffInOne(network.whole.config, network.whole.points)
    two = torch.stack([placed(0, 60, 100, 90), placed(0, 60, 90, 100)])
    locate(places(2), torch.tensor([0, 1]), mesh.five(two), network)
    first, second = network.whole.shown
    assert (len(first), len(second)) == (2, 1) and float(second[:, 2].mean()) == 1


def test_eye_and_mouth_fill_two_thirds_of_their_crops():
    # The networks have learned from such crops.
    for part in (EYE, MOUTH):
        points = mean_part(part, 64)
        assert float((points.amax(0) - points.amin(0))[0] / 64) == pytest.approx(0.64, abs=0.02)
