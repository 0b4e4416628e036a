from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Generator, Tensor

from cscs_core.ops import geometry
from cscs_core.train import augment

DAMAGE: dict[str, Callable[[Tensor, Generator], Tensor]] = {
    "light": augment.light,
    "blur": lambda x, generator: augment.blur(x, 2.5, generator),
    "coarse": lambda x, generator: augment.coarse(x, 0.25, generator),
    "jpeg": lambda x, generator: augment.jpeg(x, 25, generator),
    "occlude": lambda x, generator: augment.occlude(x, x.roll(1, 0), generator),
    "degrade": augment.degrade,
    "degrade_scene": augment.degrade_scene,
}


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def waves(count: int, side: int = 64) -> Tensor:
    """Slow waves, every picture its own, (N, 3, S, S) 0.1..0.9."""
    grid = geometry.pixel_grid(side, side) / side * 9
    phase = torch.rand(count, 3, 1, 1, generator=seeded(7)) * 6
    return 0.5 + 0.4 * (grid[..., 0] + phase).sin() * (grid[..., 1] - phase).cos()


def ramp(count: int, side: int) -> Tensor:
    """Brightness is the position, (N, 3, S, S) 0..1 from left to right."""
    return (geometry.pixel_grid(side, side)[..., 0] / (side - 1)).expand(count, 3, side, side)


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_stays_in_range_and_leaves_its_input_alone(name):
    before = torch.rand(16, 3, 48, 48, generator=seeded(1)).round(decimals=1)  # with blacks and whites
    kept = before.clone()
    after = DAMAGE[name](before, seeded())
    assert torch.equal(before, kept)
    assert after.shape == before.shape
    assert after.min() >= -1e-6
    assert after.max() <= 1 + 1e-6
    assert not torch.equal(after, before)


@pytest.mark.parametrize("name", DAMAGE)
def test_the_generator_alone_decides(name):
    pictures = waves(6, 32)
    torch.manual_seed(1)
    one = DAMAGE[name](pictures, seeded(3))
    torch.manual_seed(2)
    assert torch.equal(DAMAGE[name](pictures, seeded(3)), one)
    assert not torch.equal(DAMAGE[name](pictures, seeded(4)), one)


@pytest.mark.parametrize("name", [name for name in DAMAGE if name != "coarse"])
def test_every_picture_is_damaged_its_own_way(name):
    same = waves(1).expand(12, -1, -1, -1).clone()
    after = DAMAGE[name](same, seeded())
    assert len({row.numpy().tobytes() for row in after}) > 6


def test_jitter_by_nothing_is_a_stretch_across_the_centre():
    matrix = augment.jitter(50, 64, 0, 1.0, 0.0, seeded())
    centre = torch.full((50, 1, 2), 31.5)
    torch.testing.assert_close(geometry.transform(centre, matrix), centre)
    assert torch.equal(matrix[:, [0, 1], [1, 0]], torch.zeros(50, 2))
    assert (matrix[:, 1, 1] == 1).all()
    assert (matrix[:, 0, 0] - 1).abs().max() <= 0.06


def test_jitter_keeps_its_limits():
    matrix = augment.jitter(400, 64, 30, 1.25, 0.1, seeded())
    roll = torch.rad2deg(torch.atan2(matrix[:, 1, 0], matrix[:, 1, 1]))
    zoom = matrix[:, 1, :2].norm(dim=-1)
    centre = geometry.transform(torch.full((400, 1, 2), 31.5), matrix)[:, 0] - 31.5
    for value, limit in ((roll, 30), (zoom.log(), torch.tensor(1.25).log()), (centre, 6.4)):
        assert value.abs().max() <= limit + 1e-3
        assert value.max() > 0.9 * limit
        assert value.min() < -0.9 * limit


def test_smooth_fields_are_as_large_as_asked_and_smooth():
    field = augment.smooth_field(200, 40, 0.05, seeded())
    assert field.shape == (200, 2, 40, 40)
    assert 1.2 < field.std() < 2.2  # 0.05 of 40 px at the cells' centres, less between
    assert field.diff(dim=-1).abs().mean() < 0.3 * field.abs().mean()


def test_blur_keeps_the_mean_and_plain_colour():
    pictures = waves(16)
    after = augment.blur(pictures, 2.5, seeded())
    torch.testing.assert_close(after.mean((2, 3)), pictures.mean((2, 3)), rtol=0, atol=0.02)
    assert (after.var((2, 3)) <= pictures.var((2, 3)) + 1e-4).all()
    plain = torch.rand(16, 3, 1, 1, generator=seeded(2)).expand(16, 3, 32, 32)
    torch.testing.assert_close(augment.blur(plain, 2.5, seeded()), plain)


def test_blur_moves_nothing():
    point = torch.zeros(32, 3, 33, 33)
    point[..., 16, 16] = 1
    after = augment.blur(point, 2.0, seeded())
    torch.testing.assert_close(after, after.flip(-1))
    torch.testing.assert_close(after, after.flip(-2))
    wide = (after[:, 0] > 1e-3).sum(-1).amax(-1) - (after[:, 0] > 1e-3).sum(-2).amax(-1)
    assert (wide > 0).any()  # some move across,
    assert (wide < 0).any()  # some along,
    assert (wide == 0).any()  # some are only out of focus


@pytest.mark.parametrize("side", [64, 100, 128])
def test_low_resolution_moves_nothing(side):
    before = ramp(1, side)
    middle = slice(side // 4, -side // 4)
    for seed in range(8):
        after = augment.coarse(before, 0.25, seeded(seed))
        apart = (after - before)[..., middle] * (side - 1)
        assert apart.mean().abs() < 0.02, seed  # px
        assert apart.abs().max() < 0.5, seed


def test_low_resolution_of_one_pixel_is_no_error():
    assert augment.coarse(torch.rand(1, 3, 2, 2), 0.1, seeded()).shape == (1, 3, 2, 2)


def test_good_jpeg_is_close_and_bad_jpeg_is_not_far():
    pictures = waves(6)
    good, bad = (augment.jpeg(pictures, lowest, seeded()) for lowest in (90, 10))
    assert (good - pictures).abs().mean() < 0.01
    assert (good - pictures).abs().max() < 0.12  # at the border, where half of the chroma is from one side alone
    assert (good - pictures).abs().mean() < (bad - pictures).abs().mean() < 0.05


def test_every_picture_is_covered_in_part():
    pictures = torch.zeros(100, 3, 48, 48)
    changed = augment.occlude(pictures, pictures + 1, seeded()).amax(1).flatten(1)
    share = (changed > 0.5).float().mean(1)
    assert share.max() < 0.75
    assert (share < 0.5).float().mean() > 0.9
    assert (share > 0).float().mean() > 0.9
    untouched = (changed < 0.02).float().mean(1)
    assert (untouched > 0.25).float().mean() > 0.85


def test_what_covers_is_the_other_picture_or_one_colour():
    before = torch.zeros(60, 3, 32, 32)
    after = augment.occlude(before, before + torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1), seeded())
    green = (after[:, 0] == 0).all(-1).all(-1) & (after[:, 2] == 0).all(-1).all(-1)
    assert 0.4 < green.float().mean() < 0.8


@pytest.mark.parametrize(("probability", "least", "most"), [(0.0, 0, 0), (0.5, 30, 70), (1.0, 100, 100)])
def test_some_pictures_are_changed_and_the_others_are_not(probability, least, most):
    before = torch.rand(100, 1, 1, 1)
    other = torch.arange(100.0).view(100, 1, 1, 1)
    after = augment.some(before, probability, seeded(), lambda x, rows, scale, _: rows * scale, other, 10)
    changed = (after != before).flatten()
    assert least <= changed.sum() <= most
    assert torch.equal(after[changed], other[changed] * 10)  # arguments go with their rows


def test_black_stays_dark_and_nothing_is_not_a_number():
    for value in (0.0, 1.0):
        after = augment.degrade(torch.full((32, 3, 32, 32), value), seeded())
        assert after.isfinite().all()
    assert augment.light(torch.zeros(32, 3, 16, 16), seeded()).max() < 0.1
