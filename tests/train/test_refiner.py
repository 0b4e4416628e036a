"""What the refiner learns from."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
import torch.nn.functional as nnf
from torch import Generator

from cscs_core.faces.swappers.lite import SIDE, SIZE
from cscs_core.io import images
from cscs_core.models import Refiner
from cscs_core.ops.mesh import five
from cscs_core.pipeline import find, load_models
from cscs_core.tasks.example_people import EXAMPLES
from cscs_core.train.people import People
from cscs_core.train.refiner import examples, losses, over, varied
from cscs_core.train.refiner_data import pairs, photographs


def batch(count: int = 12) -> dict[str, torch.Tensor]:
    """Black pictures with a white pixel at each of the five points, each in a row of its own."""
    points = torch.stack([torch.tensor([[20.0 + 9 * k, 30.0 + 11 * k] for k in range(5)])] * count)
    pixels = torch.zeros(count, 3, SIDE, SIDE)
    for x, y in points[0].long().tolist():
        pixels[:, :, y, x] = 1
    region = torch.zeros(count, 1, SIDE, SIDE)
    region[..., :40] = 1
    names = ("target", "laid", "worn", "truth")
    return {name: pixels.clone() for name in names} | {
        "region": region,
        "points": points,
        "known": torch.arange(count) % 2 == 0,
    }


def test_points_stay_on_their_pixels_in_mirror_images():
    before = batch()
    after = varied(before, Generator().manual_seed(0))
    mirrored = (after["region"][:, 0, 0, 0] == 0).nonzero()[:, 0]
    assert 0 < len(mirrored) < 12
    for row in range(12):
        for x, y in after["points"][row].long().tolist():
            assert after["target"][row, :, y, x].min() > 0.3
    # The viewer's left eye is the mirror image of the right one.
    row = int(mirrored[0])
    assert after["points"][row, 0, 1] == before["points"][row, 1, 1]


def test_a_light_is_the_same_for_target_laid_and_truth():
    after = varied(batch(), Generator().manual_seed(1))
    assert after["target"].equal(after["laid"]) and after["target"].equal(after["truth"])


def test_examples_are_the_middle_of_their_pictures_and_points_move_along():
    pictures = torch.zeros(2, 3, SIZE, SIZE, dtype=torch.uint8)
    pictures[:, :, 100, 90] = 255
    shard = {"target": pictures, "points": torch.tensor([[[90.0, 100.0]] * 5] * 2), "known": torch.ones(2).bool()}
    found = examples(shard, torch.tensor([1]))
    x, y = found["points"][0, 0].long().tolist()
    assert found["target"].shape == (1, 3, SIDE, SIDE)
    assert found["target"][0, :, y, x].tolist() == [1.0, 1.0, 1.0]
    assert found["target"].sum() == 3


def test_means_are_of_the_region():
    values = torch.zeros(2, 3, 4, 4)
    values[..., :2] = -6
    region = torch.zeros(2, 1, 4, 4)
    region[..., 1:3] = 1
    assert over(values, region).tolist() == [3.0, 3.0]
    assert over(values, region * 0).tolist() == [0.0, 0.0]


def test_each_sort_of_example_has_its_own_losses():
    batch = ordinary()
    teachers = cast(Any, Fakes())
    both = losses(Refiner(), teachers, batch, Generator().manual_seed(0))
    proxies = {name: value[batch["known"]] for name, value in batch.items()}
    alone = losses(Refiner(), teachers, proxies, Generator().manual_seed(0))
    assert set(both) - set(alone) == {"identity", "other", "kept", "stay", "tone"}
    for name in ("pixels", "coarse", "features", "person"):
        assert both[name].item() == pytest.approx(alone[name].item(), rel=1e-2)
    # A refiner that changes nothing is as wrong as the face laid on, 0.25 everywhere, and has changed nothing.
    assert both["pixels"].item() == pytest.approx(10 * 0.25, rel=1e-4)
    assert both["stay"].item() == both["kept"].item() == both["tone"].item() == both["range"].item() == 0


def ordinary() -> dict[str, torch.Tensor]:
    """Four examples, every other one a proxy whose truth is a quarter brighter than the face laid on."""
    laid = torch.full((4, 3, SIDE, SIDE), 0.5)
    return batch(4) | {
        "laid": laid,
        "bare": laid,
        "truth": laid + 0.25,
        "region": torch.ones(4, 1, SIDE, SIDE),
        "z": torch.nn.functional.normalize(torch.rand(4, 128), dim=-1),
        "identity": torch.eye(128)[:4],
        "other": torch.eye(128)[4:8],
    }


class Fakes:
    """Teachers who look at brightness alone."""

    def identity(self, pictures: torch.Tensor, *_: object) -> torch.Tensor:
        return torch.nn.functional.normalize(pictures.mean((1, 2, 3))[:, None] + torch.zeros(1, 128), dim=-1)

    def apart(self, pictures: torch.Tensor, truth: torch.Tensor, *_: object) -> torch.Tensor:
        return (pictures - truth).square().mean((1, 2, 3))


def test_a_pair_is_of_two_people_and_its_columns_belong_together():
    models = load_models()
    pictures = [nnf.interpolate(images.read(path), (320, 320), mode="area") for path in sorted(EXAMPLES.glob("*.jpg"))]
    mesh = torch.cat([find(picture, models).mesh[:1] for picture in pictures])
    embedding = torch.eye(128)[[0, 0, 1, 1, 2, 2]]  # three people, two pictures of each
    pixels = torch.cat(pictures).mul(255).byte()
    people = People(pixels, five(mesh), mesh, embedding, torch.ones(6))
    with torch.inference_mode():
        made = pairs(people, torch.arange(6), models, Generator().manual_seed(2))
    counts = {name: len(value) for name, value in made.items()}
    assert set(counts.values()) == {counts["known"]} and 0 < counts["known"] < 6
    assert (made["identity"] * made["other"]).sum(-1).max() == 0
    # The truth of a pair is its target, a photograph of `other`.
    everyone = photographs(people, torch.arange(6)).pixels
    for row in range(counts["known"]):
        which = (everyone - made["truth"][row].float() / 255).abs().mean((1, 2, 3)).argmin()
        assert embedding[which].equal(made["other"][row])
    assert made["truth"].equal(made["target"]) and not made["known"].any()
