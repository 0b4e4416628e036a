from __future__ import annotations

import pytest
import torch
from scipy.ndimage import gaussian_filter
from skimage.color import lab2rgb, rgb2lab

from cscs_core.ops import colour


def test_lab_is_that_of_scikit_image():
    rgb = torch.rand(2, 3, 20, 20)
    rgb[0, :, :2] *= 0.03  # the straight piece of both curves
    rgb[1, :, 0, 0], rgb[1, :, 0, 1] = 0, 1
    expected = torch.tensor(rgb2lab(rgb.double().movedim(1, -1).numpy())).movedim(-1, 1).float()
    torch.testing.assert_close(colour.to_lab(rgb), expected, atol=1e-3, rtol=0)
    back = torch.tensor(lab2rgb(expected.double().movedim(1, -1).numpy())).movedim(-1, 1).float()
    torch.testing.assert_close(colour.from_lab(expected), back, atol=1e-3, rtol=0)


def test_lab_there_and_back_is_the_picture():
    rgb = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(colour.from_lab(colour.to_lab(rgb)), rgb, atol=1e-4, rtol=0)


@pytest.mark.parametrize("level", [0.0, 0.001, 0.04, 0.5, 1.0])
def test_lab_has_a_slope_everywhere(level):
    rgb = torch.full((1, 3, 1, 1), level, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(colour.to_lab, rgb + 1e-4, atol=1e-3, rtol=1e-3)
    colour.from_lab(colour.to_lab(rgb)).sum().backward()
    assert rgb.grad is not None
    assert rgb.grad.isfinite().all()


def test_matched_statistics_are_those_of_the_reference():
    pixels, reference = 0.3 + 0.2 * torch.rand(2, 3, 24, 24), 0.45 + 0.15 * torch.rand(2, 3, 24, 24)
    inside = torch.zeros(2, 1, 24, 24)
    inside[..., 4:20, 4:20] = 1
    matched = colour.to_lab(colour.match_statistics(pixels, reference, inside))[..., 4:20, 4:20]
    goal = colour.to_lab(reference)[..., 4:20, 4:20]
    torch.testing.assert_close(matched.mean((2, 3)), goal.mean((2, 3)), atol=0.02, rtol=0)
    torch.testing.assert_close(matched.std((2, 3)), goal.std((2, 3)), atol=0.02, rtol=0)


def test_matching_a_picture_to_itself_changes_nothing():
    pixels = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(
        colour.match_statistics(pixels, pixels, torch.ones(1, 1, 16, 16)), pixels, atol=1e-3, rtol=0
    )


def test_an_empty_mask_changes_nothing():
    pixels, inside = torch.rand(2, 3, 16, 16), torch.ones(2, 1, 16, 16)
    inside[0] = 0
    matched = colour.match_statistics(pixels, pixels * 0.5, inside)
    assert torch.equal(matched[0], pixels[0])
    assert not torch.equal(matched[1], pixels[1])


def test_a_flat_picture_gives_no_nan():
    flat = torch.full((1, 3, 8, 8), 0.5)
    assert colour.match_statistics(flat, torch.rand(1, 3, 8, 8), torch.ones(1, 1, 8, 8)).isfinite().all()


@pytest.mark.parametrize(("size", "sigma"), [((40, 33), 0.8), ((40, 33), 3.0), ((5, 3), 4.0), ((1, 3), 2.0)])
def test_the_blur_is_that_of_scipy(size, sigma):
    x = torch.rand(2, 3, *size)
    expected = gaussian_filter(x.double().numpy(), (0, 0, sigma, sigma), mode="mirror", truncate=4.0)
    torch.testing.assert_close(colour.gaussian_blur(x, sigma), torch.tensor(expected).float(), atol=1e-5, rtol=0)


def test_no_blur_is_the_picture():
    x = torch.rand(1, 3, 8, 8)
    assert colour.gaussian_blur(x, 0) is x


@pytest.mark.parametrize("size", [(64, 64), (37, 50), (1, 1), (3, 20)])
@pytest.mark.parametrize("levels", [1, 4, 9])
def test_a_blend_of_whole_masks_is_one_of_the_two(size, levels):
    a, b = torch.rand(2, 3, *size), torch.rand(2, 3, *size)
    one = torch.ones(2, 1, *size)
    torch.testing.assert_close(colour.laplacian_blend(a, b, one, levels), a, atol=1e-5, rtol=0)
    assert torch.equal(colour.laplacian_blend(a, b, one * 0, levels), b)


def test_a_blend_of_a_picture_with_itself_is_that_picture():
    a = torch.rand(1, 3, 48, 48)
    assert torch.equal(colour.laplacian_blend(a, a, torch.rand(1, 1, 48, 48), 5), a)


def test_one_level_is_a_plain_blend():
    a, b, share = torch.rand(1, 3, 20, 20), torch.rand(1, 3, 20, 20), torch.rand(1, 1, 20, 20)
    torch.testing.assert_close(colour.laplacian_blend(a, b, share, 1), torch.lerp(b, a, share))


def test_more_levels_make_a_softer_seam():
    a, b = torch.ones(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)
    half = (torch.arange(64) < 32).float().expand(1, 1, 64, 64)
    steepest = [colour.laplacian_blend(a, b, half, levels)[0, 0, 32].diff().abs().max() for levels in (1, 3, 5)]
    assert steepest[0] == 1
    assert steepest[0] > steepest[1] > steepest[2]
