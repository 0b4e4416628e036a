"""What the restorer learns from."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Generator, Tensor, nn

from cscs_core.models import FaceRestorer, FaceRestorerConfig
from cscs_core.ops import mesh
from cscs_core.train.people import PICTURE, People
from cscs_core.train.restorer import damaged, examples, losses, measured


def people(count: int) -> People:
    """Everyone in a grey of their own, brighter by half to the viewer's right."""
    pixels = (40 + 6 * torch.arange(count)).view(-1, 1, 1, 1).expand(-1, 3, PICTURE, PICTURE).to(torch.uint8).clone()
    pixels[..., PICTURE // 2 :] += 100
    points = (mesh.mean_face() * 50 + torch.tensor([160.0, 150.0])).expand(count, -1, -1)
    return People(pixels, mesh.five(points), points, torch.eye(128)[:count], torch.ones(count))


def test_windows_are_of_the_rows_asked_for_and_half_of_them_mirrored():
    rows = torch.arange(16).flip(0)
    batch = examples(people(16), rows, Generator().manual_seed(0), 256)
    assert batch["truth"].shape == batch["damaged"].shape == (16, 3, 256, 256)
    assert (batch["truth"].amin((1, 2, 3)) * 255 - 40).round().div(6).long().tolist() == rows.tolist()
    mirrored = batch["truth"][:, 0, 0, 0] > batch["truth"][:, 0, 0, -1]
    assert 2 < mirrored.sum() < 14


def test_some_faces_are_not_damaged_and_the_others_stay_in_place():
    pictures = torch.rand(64, 3, 16, 16, generator=Generator().manual_seed(0))
    pictures = nn.functional.interpolate(pictures, (48, 48), mode="bicubic").clamp(0, 1)
    done = damaged(pictures, Generator().manual_seed(1))
    same = (done == pictures).flatten(1).all(1)
    assert 2 <= same.sum() < 32
    assert done.min() >= 0 and done.max() <= 1
    assert (done - pictures).mean((1, 2, 3)).abs().max() < 0.02
    again = damaged(pictures, Generator().manual_seed(1))
    assert torch.equal(done, again)


class Fakes:
    """Teachers who look at brightness alone."""

    def apart(self, pictures: Tensor, truth: Tensor, *_: object) -> Tensor:
        return (pictures - truth).square().mean((1, 2, 3))


def batch(side: int = 64) -> dict[str, Tensor]:
    """A quarter too bright, and in the lower half even a half."""
    truth = torch.full((3, 3, side, side), 0.25)
    error = torch.full((side, 1), 0.25)
    error[side // 2 :] = 0.5
    return {"truth": truth, "damaged": truth + error}


def test_pixels_their_differences_and_features_count():
    restorer = FaceRestorer(FaceRestorerConfig(widths=(4, 4), blocks=1))
    found = losses(restorer, cast(Any, Fakes()), batch(), Generator().manual_seed(0))
    # It changes nothing yet. One of the 63 differences down is wrong, by a quarter; none across is.
    assert found["pixels"].item() == pytest.approx(10 * 0.375, rel=1e-3)
    assert found["edges"].item() == pytest.approx(5 * 0.25 / 63, rel=1e-3)
    assert found["features"].item() == pytest.approx(0.12 * (0.25**2 + 0.5**2) / 2, rel=1e-3)


def test_a_restorer_that_does_nothing_measures_as_the_damage_does():
    restorer = FaceRestorer(FaceRestorerConfig(widths=(4, 4), blocks=1)).eval()
    found = measured(restorer, cast(Any, Fakes()), batch())
    assert found["psnr"] == found["psnr_damaged"] == pytest.approx(8.06, abs=0.01)  # -10 log10 of 0.15625
    assert found["apart"] == found["apart_damaged"] and found["apart_kept"] == 0
    assert found["psnr_kept"] == 60
