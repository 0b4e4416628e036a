from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor

from cscs_core.faces.detectors import base
from cscs_core.models import FaceMesh
from cscs_core.ops import mesh
from cscs_core.ops.batching import OutOfMemory


class Numbered:
    """One face in each picture, at the place that its colour says; at most two pictures fit into its memory."""

    networks = ()

    def __call__(self, images: Tensor, threshold: float) -> base.Found:
        if len(images) > 2:
            raise OutOfMemory("no room")
        corner = images.mean((1, 2, 3))[:, None] * torch.tensor([100.0, 0.0])
        points = corner[:, None] + torch.tensor([[2.0, 2], [6, 2], [4, 4], [2, 6], [6, 6]])
        return torch.arange(len(images)), torch.cat([corner, corner + 8], 1), points, torch.ones(len(images))


def test_pictures_that_do_not_fit_into_memory_together_keep_their_numbers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(base, "locate", lambda images, frame, points, landmarks: torch.zeros(len(frame), 468, 2))
    pictures = torch.arange(5.0)[:, None, None, None].expand(-1, 3, 32, 32) / 10
    found = base.detect(pictures, Numbered(), cast(FaceMesh, None))
    assert found.frame.tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(found.box[:, 0], torch.arange(5.0) * 10)


class Telling(Numbered):
    """Tells how old and of which gender everybody is."""

    def attributes(self, images: Tensor, frame: Tensor, box: Tensor) -> tuple[Tensor, Tensor]:
        return box[:, 0] + 20, frame % 2


def test_the_five_points_are_those_of_the_mesh(monkeypatch: pytest.MonkeyPatch):
    dense = mesh.mean_face()[None] * 30 + 40
    monkeypatch.setattr(base, "locate", lambda images, frame, points, landmarks: dense.expand(len(frame), -1, -1))
    found = base.detect(torch.zeros(1, 3, 32, 32), Numbered(), cast(FaceMesh, None))
    assert torch.equal(found.landmarks, mesh.five(found.mesh))
    assert found.track.tolist() == found.gender.tolist() == [-1] and found.age.isnan().all()


def test_a_detector_that_tells_ages_and_genders_fills_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(base, "locate", lambda images, frame, points, landmarks: torch.zeros(len(frame), 468, 2))
    pictures = torch.arange(2.0)[:, None, None, None].expand(-1, 3, 32, 32) / 10
    found = base.detect(pictures, Telling(), cast(FaceMesh, None))
    torch.testing.assert_close(found.age, torch.tensor([20.0, 30.0]))
    assert found.gender.tolist() == [0, 1]
