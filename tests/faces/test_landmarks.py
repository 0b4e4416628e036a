"""Landmarks from five points: crops, mirrored eye and the way back, with networks that always see the mean face."""

import math
from typing import Any

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
