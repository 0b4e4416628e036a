from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from cscs_core import detect
from cscs_core.lite_detector import LiteDetector
from cscs_core.memory import OutOfMemory
from cscs_core.models import FaceDetector, FaceMesh


class Everywhere(nn.Module):
    """A face at each of 200 places, none overlapping another, the later the surer."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        number = torch.arange(200.0).expand(len(images), -1)
        corner = torch.stack([number * 10, number * 0], -1)
        return number / 200, torch.cat([corner, corner + 5], -1), corner[..., None, :].expand(-1, -1, 5, -1), None


def test_faces_everywhere_are_cut_to_the_surest(monkeypatch: pytest.MonkeyPatch):
    # All pairs are compared: at threshold 0 every place of a large picture asked for 14 GB.
    monkeypatch.setattr(detect, "_MOST", 30)
    _, _, _, score = LiteDetector(cast(FaceDetector, Everywhere()))(torch.zeros(1, 3, 64, 64), 0.0)
    assert 10 <= len(score) <= 30
    assert score.min() >= torch.tensor(189 / 200).sigmoid()


def test_padding_repeats_the_last_row_and_column():
    image = torch.rand(2, 3, 33, 50)
    padded = detect._padded(image)
    expected = torch.nn.functional.pad(image, (0, 14, 0, 31), mode="replicate")
    assert torch.equal(padded, expected)
    assert padded.is_contiguous(memory_format=torch.channels_last)


class Numbered:
    """One face in each picture, at the place that its colour says; at most two pictures fit into its memory."""

    networks = ()

    def __call__(self, images: Tensor, threshold: float) -> detect.Found:
        if len(images) > 2:
            raise OutOfMemory("no room")
        corner = images.mean((1, 2, 3))[:, None] * torch.tensor([100.0, 0.0])
        points = corner[:, None] + torch.tensor([[2.0, 2], [6, 2], [4, 4], [2, 6], [6, 6]])
        return torch.arange(len(images)), torch.cat([corner, corner + 8], 1), points, torch.ones(len(images))


def test_pictures_that_do_not_fit_into_memory_together_keep_their_numbers(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(detect, "locate", lambda images, frame, points, landmarks: torch.zeros(len(frame), 468, 2))
    pictures = torch.arange(5.0)[:, None, None, None].expand(-1, 3, 32, 32) / 10
    found = detect.detect(pictures, Numbered(), cast(FaceMesh, None))
    assert found.frame.tolist() == [0, 1, 2, 3, 4]
    torch.testing.assert_close(found.box[:, 0], torch.arange(5.0) * 10)
