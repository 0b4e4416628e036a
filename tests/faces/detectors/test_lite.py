from __future__ import annotations

from typing import cast

import pytest
import torch
from torch import Tensor, nn

from cscs_core.faces.detectors import lite
from cscs_core.faces.detectors.lite import LiteDetector
from cscs_core.models import FaceDetector


class Everywhere(nn.Module):
    """A face at each of 200 places, none overlapping another, the later the surer."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        number = torch.arange(200.0).expand(len(images), -1)
        corner = torch.stack([number * 10, number * 0], -1)
        return number / 200, torch.cat([corner, corner + 5], -1), corner[..., None, :].expand(-1, -1, 5, -1), None


def test_faces_everywhere_are_cut_to_the_surest(monkeypatch: pytest.MonkeyPatch):
    # All pairs are compared: at threshold 0 every place of a large picture asked for 14 GB.
    monkeypatch.setattr(lite, "_MOST", 30)
    _, _, _, score = LiteDetector(cast(FaceDetector, Everywhere()))(torch.zeros(1, 3, 64, 64), 0.0)
    assert 10 <= len(score) <= 30
    assert score.min() >= torch.tensor(189 / 200).sigmoid()


def test_padding_repeats_the_last_row_and_column():
    image = torch.rand(2, 3, 33, 50)
    padded = lite._padded(image)
    expected = torch.nn.functional.pad(image, (0, 14, 0, 31), mode="replicate")
    assert torch.equal(padded, expected)
    assert padded.is_contiguous(memory_format=torch.channels_last)
