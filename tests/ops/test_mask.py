from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate1d
from skimage.draw import polygon2mask

from cscs_core.ops import mask, mesh


def _mesh(size: int) -> torch.Tensor:
    return (mesh.mean_face() * 0.35 + torch.tensor([0.5, 0.4]))[None] * size


def test_a_rectangle_on_pixel_edges_is_exact():
    ring = torch.tensor([[[2.5, 3.5], [7.5, 3.5], [7.5, 9.5], [2.5, 9.5]]])
    expected = torch.zeros(1, 1, 16, 16)
    expected[..., 4:10, 3:8] = 1
    assert torch.equal(mask.polygon(ring, 16), expected)


def test_half_a_pixel_is_half():
    ring = torch.tensor([[[2.0, 3.0], [7.5, 3.0], [7.5, 9.5], [2.0, 9.5]]])
    covered = mask.polygon(ring, 16)[0, 0]
    assert covered[5, 2] == 0.5
    assert covered[3, 5] == 0.5
    assert covered[3, 2] == 0.25
    assert covered.sum() == 5.5 * 6.5


def test_the_sum_is_the_area():
    ring = torch.rand(1, 3, 2) * 50 + 5
    u, v = ring[0, 1] - ring[0, 0], ring[0, 2] - ring[0, 0]
    torch.testing.assert_close(mask.polygon(ring, 64).sum(), (u[0] * v[1] - u[1] * v[0]).abs() / 2, rtol=0.01, atol=0.5)


def test_a_crossing_ring_is_filled_by_the_even_odd_rule():
    angles = torch.arange(5) * (4 * torch.pi / 5) + 0.1
    star = torch.stack([angles.cos(), angles.sin()], -1) * 40 + 50
    ours = mask.polygon(star[None], 100)[0, 0] > 0.5
    expected = polygon2mask((100, 100), star.flip(-1).numpy())
    assert not ours[50, 50]
    assert np.mean(ours.numpy() != expected) < 0.02


def test_rings_may_leave_the_picture():
    ring = torch.tensor([[[-50.0, -50], [90, -50], [90, 90], [-50, 90]]])
    assert torch.equal(mask.polygon(ring, 20), torch.ones(1, 1, 20, 20))
    assert mask.polygon(ring + 200, 20).sum() == 0


def test_a_ring_with_nan_is_empty_and_the_next_is_not():
    rings = torch.tensor([[[2.0, 2], [9, 2], [9, 9]], [[2.0, 2], [9, 2], [9, 9]]])
    rings[0, 1, 0] = torch.nan
    areas = mask.polygon(rings, 12).sum((1, 2, 3))
    assert areas[0] == 0
    assert areas[1] > 20


def test_no_rings_give_no_masks():
    assert mask.polygon(torch.zeros(0, 7, 2), 12).shape == (0, 1, 12, 12)


def test_eyes_and_mouth_lie_in_the_hull_and_apart():
    points = _mesh(128)
    hull, eyes, mouth, lips = (make(points, 128) for make in (mask.hull, mask.eyes, mask.mouth, mask.lips))
    assert 0.15 < hull.mean() < 0.5
    for part in (eyes, lips):
        assert part.sum() > 20
        assert (part <= hull).all()
    assert (eyes * lips).sum() == 0
    assert (lips + mouth <= 1).all()


@pytest.mark.parametrize("radius", [1, 4.5, 12])
def test_a_feather_is_nothing_at_the_border_and_all_inside(radius):
    soft = mask.feather(torch.ones(1, 1, 64, 64), radius)[0, 0]
    assert soft[0].sum() + soft[-1].sum() + soft[:, 0].sum() + soft[:, -1].sum() == 0
    assert (soft[14:-14, 14:-14] == 1).all()
    assert (soft[32, :32].diff() >= 0).all()
    assert soft.diff().abs().max() < 2.5 / radius


def test_a_feather_takes_in_nothing_outside():
    hard = mask.hull(_mesh(96), 96)
    soft = mask.feather(hard, 7)
    assert (soft <= hard).all()
    assert soft.max() == 1
    assert soft.sum() < hard.sum()
    assert torch.equal(mask.feather(hard, 0), hard)


@pytest.mark.parametrize("radius", [0.4, 3.0, 7.7, 200.0])
def test_a_feather_is_a_steep_step_of_a_blur(radius):
    area = torch.rand(2, 1, 40, 40)
    reach = math.ceil(radius)
    taps = np.cos(np.arange(-reach, reach + 1) * math.pi / 2 / (radius + 1)) ** 2
    inner = np.zeros((2, 1, 40, 40))
    inner[..., 1:-1, 1:-1] = area[..., 1:-1, 1:-1].double().numpy()
    for axis in (2, 3):
        inner = correlate1d(inner, taps / taps.sum(), axis=axis, mode="constant")
    step = torch.tensor(2 * inner - 1).clamp(0, 1)
    expected = torch.minimum(step * step * (3 - 2 * step), area.double())
    torch.testing.assert_close(mask.feather(area, radius).double(), expected, atol=1e-5, rtol=0)


def test_a_point_grows_to_a_disc():
    point = torch.zeros(1, 1, 31, 31)
    point[..., 15, 15] = 1
    y, x = torch.meshgrid(torch.arange(31) - 15, torch.arange(31) - 15, indexing="ij")
    for radius in (1, 2, 5, 9):
        assert torch.equal(mask.grow(point, radius)[0, 0], (x * x + y * y <= radius * radius).float())


def test_shrinking_is_growing_of_the_rest():
    hard = mask.hull(_mesh(64), 64)
    torch.testing.assert_close(mask.grow(hard, -3), 1 - mask.grow(1 - hard, 3))
    assert (mask.grow(mask.grow(hard, -3), 3) <= hard).all()
    assert torch.equal(mask.grow(hard, 0), hard)


def test_growing_more_than_the_picture_is_no_error():
    point = torch.zeros(1, 1, 5, 3)
    point[..., 2, 1] = 1
    assert torch.equal(mask.grow(point, 9), torch.ones(1, 1, 5, 3))


def test_features_are_all_of_eyes_brows_and_mouth_and_little_of_the_skin():
    points = _mesh(256)
    parts = mask.features(points, 256)
    inside = mask.eyes(points, 256) + mask.brows(points, 256) + mask.lips(points, 256) + mask.mouth(points, 256)
    assert parts.where(inside > 0.5, 1).min() == 1
    assert parts.sum() < 0.45 * mask.hull(points, 256).sum()
    nose = points[0, 4].round().long().tolist()
    assert parts[0, 0, nose[1], nose[0]] == 0
