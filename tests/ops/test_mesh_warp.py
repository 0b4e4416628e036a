from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from scipy.interpolate import RBFInterpolator
from skimage.transform import PiecewiseAffineTransform
from torch import Tensor

from cscs_core.ops import mesh, mesh_warp
from cscs_core.ops.geometry import Padding, pixel_grid, sample

SQUARE = torch.tensor([[10.0, 10], [40, 10], [10, 40], [40, 40]])
HALVES = torch.tensor([[0, 1, 2], [3, 2, 1]])


def piecewise_affine(
    images: Tensor, source: Tensor, target: Tensor, triangles: Tensor, size: int, padding: Padding = "border"
) -> tuple[Tensor, Tensor]:
    """Images whose source points moved to the target points, (F, C, H, W), (F, P, 2) twice -> (F, C, S, S), inside.

    Inside (F, 1, S, S) bool is where a triangle lies; the rest of the picture is 0.
    """
    points, inside = mesh_warp.interpolate(source.float(), target, triangles, size)
    warped = sample(images, points.movedim(1, -1), padding)
    return warped.where(inside, 0), inside


def warp_thin_plate(
    images: Tensor,
    source: Tensor,
    target: Tensor,
    size: int,
    regularisation: float = 0.0,
    padding: Padding = "border",
) -> Tensor:
    """Images whose source points moved to the target points, (F, C, H, W), (F, P, 2) twice -> (F, C, S, S)."""
    grid = pixel_grid(size, size, images.device).reshape(1, -1, 2).expand(len(images), -1, -1)
    spline = mesh_warp.thin_plate(target, source, regularisation)
    # Solved in float64, read in float32: good to a thousandth of a pixel and several times faster.
    spline = mesh_warp.ThinPlate(*(getattr(spline, field.name).float() for field in fields(spline)))
    points = spline(grid)
    return sample(images, points.unflatten(1, (size, size)), padding)


def _shapes(size: int, noise: float, count: int = 1) -> torch.Tensor:
    points = (mesh.mean_face() * 0.35 + torch.tensor([0.5, 0.4])) * size
    return points + torch.randn(count, *points.shape) * noise


def test_a_square_of_two_triangles_has_no_hole_and_no_fringe():
    owner = mesh_warp.triangle_map(SQUARE[None], HALVES, 64)
    expected = torch.zeros(64, 64, dtype=torch.bool)
    expected[10:41, 10:41] = True
    assert torch.equal(owner[0] >= 0, expected)


def test_each_pixel_belongs_to_the_triangle_around_it():
    points, triangles = torch.rand(2, 30, 2) * 70 - 5, torch.randint(0, 30, (40, 3))
    owner = mesh_warp.triangle_map(points, triangles, 60)
    a, b, c = points.double()[:, triangles][:, :, None, None].unbind(-2)  # (F, T, 1, 1, 2)
    grid = pixel_grid(60, 60).double()

    def cross(u, v):
        return u[..., 0] * v[..., 1] - u[..., 1] * v[..., 0]

    distance = torch.stack(
        [
            cross(v - u, grid - u) * cross(b - a, c - a).sign() / (v - u).norm(dim=-1)
            for u, v in ((a, b), (b, c), (c, a))
        ]
    ).amin(0)  # (F, T, S, S) pixels inside
    distance = distance.nan_to_num(-1.0)
    certain = (distance.abs() > 2e-3).all(1)
    numbers = torch.arange(40)[:, None, None].expand_as(distance)
    expected = numbers.where(distance > 0, -1).amax(1)
    assert certain.float().mean() > 0.98
    assert torch.equal(owner[certain], expected[certain])


def test_a_triangle_larger_than_the_picture_covers_it():
    huge = torch.tensor([[[-500.0, -500], [1500, -500], [-500, 1500]]])
    assert (mesh_warp.triangle_map(huge, torch.tensor([[0, 1, 2]]), 33) == 0).all()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 3.0])
def test_triangles_of_nothing_cover_nothing(bad):
    points = torch.tensor([[[3.0, 3], [bad, bad], [3, 3]]])
    assert (mesh_warp.triangle_map(points, torch.tensor([[0, 1, 2], [0, 0, 0]]), 9) == -1).all()


def test_a_flat_triangle_gives_no_nan_in_values_or_gradients():
    points = torch.cat([SQUARE, SQUARE[:1] + 5, SQUARE[:1] + 5])[None].requires_grad_()
    triangles = torch.cat([HALVES, torch.tensor([[4, 5, 4], [0, 4, 5], [0, 1, 1]])])
    source = points.detach().clone().requires_grad_()
    warped, _ = piecewise_affine(torch.rand(1, 3, 48, 48), source, points, triangles, 48)
    warped.sum().backward()
    assert warped.isfinite().all()
    for leaf in (points, source):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


def test_points_at_rest_leave_the_picture():
    images, points = torch.rand(2, 3, 64, 64), _shapes(64, 0.5, 2)
    warped, inside = piecewise_affine(images, points, points, mesh.triangles(), 64)
    torch.testing.assert_close(warped, images * inside, atol=5e-3, rtol=0)
    assert inside.float().mean() > 0.2


def test_an_affine_map_of_the_points_is_that_of_the_pixels():
    target = _shapes(96, 0.3)
    matrix = torch.tensor([[1.1, 0.2], [-0.1, 0.9]])
    read, inside = mesh_warp.interpolate(target @ matrix.T + 3, target, mesh.triangles(), 96)
    expected = (pixel_grid(96, 96) @ matrix.T + 3).movedim(-1, 0)[None]
    assert ((read - expected) * inside).abs().max() < 5e-3


@pytest.mark.filterwarnings("ignore:`estimate`:FutureWarning")
def test_the_map_is_that_of_scikit_image():
    places = np.array([[5, 5], [50, 8], [8, 52], [55, 55], [30, 28]], dtype=float)
    moved = places + np.array([[1, 2], [-3, 1], [2, -2], [-1, -4], [6, 5]])
    oracle = PiecewiseAffineTransform()
    oracle.estimate(places, moved)
    delaunay = oracle._tesselation  # the same triangles, or the comparison means nothing
    assert delaunay is not None
    read, inside = mesh_warp.interpolate(
        torch.tensor(moved).float()[None],
        torch.tensor(places).float()[None],
        torch.tensor(delaunay.simplices).long(),
        60,
    )
    grid = pixel_grid(60, 60)
    rows = grid[inside[0, 0]]
    got = read[0].movedim(0, -1)[inside[0, 0]]
    ours = torch.tensor(oracle(rows.double().numpy())).float()
    known = (ours >= 0).all(1)  # scikit-image answers -1 outside
    assert known.float().mean() > 0.95
    torch.testing.assert_close(got[known], ours[known], atol=5e-3, rtol=0)


def test_the_batch_is_its_rows():
    images, source, target = torch.rand(3, 3, 48, 48), _shapes(48, 0.4, 3), _shapes(48, 0.4, 3)
    together, _ = piecewise_affine(images, source, target, mesh.triangles(), 48)
    for row in range(3):
        one = slice(row, row + 1)
        alone, _ = piecewise_affine(images[one], source[one], target[one], mesh.triangles(), 48)
        torch.testing.assert_close(together[one], alone, atol=1e-4, rtol=0)


@pytest.mark.parametrize("warp", ["affine", "plate"])
@pytest.mark.parametrize("leaf", ["images", "source", "target"])
def test_gradients_are_those_of_finite_differences(smooth, leaf, warp):
    source = SQUARE + torch.tensor([[1.3, 0.2], [-2.1, 1.7], [0.4, -1.1], [2.2, -0.6]])
    values = {"images": smooth(1, 48, 48).double(), "source": source[None], "target": SQUARE[None] + 0.37}
    weight = torch.rand(1, 3, 48, 48)
    for rim in (weight, weight.mT):  # where pixels come and go as the points move
        rim[..., :12], rim[..., 39:] = 0, 0

    def total(**changed):
        given = values | changed
        if warp == "plate":
            warped = warp_thin_plate(given["images"], given["source"], given["target"], 48)
        else:
            warped, _ = piecewise_affine(given["images"], given["source"], given["target"], HALVES, 48)
        return (warped * weight).sum()

    value = values[leaf].clone().requires_grad_()
    total(**{leaf: value}).backward()
    direction, step = torch.randn_like(values[leaf]), 2e-2
    high, low = (total(**{leaf: values[leaf] + sign * step * direction}) for sign in (1, -1))
    assert value.grad is not None
    torch.testing.assert_close((value.grad * direction).sum().double(), (high - low) / (2 * step), rtol=0.05, atol=0.05)


def test_no_faces_give_no_pictures():
    none = torch.zeros(0, 4, 2)
    warped, inside = piecewise_affine(torch.zeros(0, 3, 8, 8), none, none, HALVES, 8)
    assert warped.shape == (0, 3, 8, 8)
    assert inside.shape == (0, 1, 8, 8)
    assert warp_thin_plate(torch.zeros(0, 3, 8, 8), none, none, 8).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("smoothing", [0.0, 40.0])
def test_the_thin_plate_is_that_of_scipy(smoothing):
    source, query = torch.rand(2, 20, 2) * 200, torch.rand(2, 50, 2) * 220
    target = source + torch.randn(2, 20, 2) * 6
    ours = mesh_warp.thin_plate(source, target, smoothing)(query)
    for row in range(2):
        oracle = RBFInterpolator(
            source[row].double().numpy(), target[row].double().numpy(), kernel="thin_plate_spline", smoothing=smoothing
        )
        expected = torch.tensor(oracle(query[row].double().numpy())).float()
        torch.testing.assert_close(ours[row], expected, atol=1e-3, rtol=0)


def test_the_thin_plate_meets_its_points():
    source = torch.rand(2, 68, 2) * 512
    target = source + torch.randn(2, 68, 2) * 10
    torch.testing.assert_close(mesh_warp.thin_plate(source, target)(source), target, atol=1e-3, rtol=0)


def test_the_thin_plate_of_an_affine_map_is_that_map():
    source = torch.rand(1, 9, 2) * 100
    matrix, query = torch.tensor([[0.8, 0.3], [-0.4, 1.2]]), torch.rand(1, 40, 2) * 400 - 100
    plate = mesh_warp.thin_plate(source, source @ matrix.T + 11)
    torch.testing.assert_close(plate(query), query @ matrix.T + 11, atol=1e-3, rtol=0)


def test_coincident_control_points_are_no_error():
    points = torch.rand(2, 6, 2) * 50
    points[:, 1] = points[:, 0]
    points[1] = 7.0
    assert mesh_warp.thin_plate(points, points + 1)(torch.rand(2, 5, 2) * 50).isfinite().all()


def test_a_thin_plate_warp_of_a_shift_is_a_slice():
    images, points = torch.rand(1, 3, 40, 40), torch.rand(1, 12, 2) * 30 + 5
    warped = warp_thin_plate(images, points, points - torch.tensor([3.0, 5]), 24)
    torch.testing.assert_close(warped, images[:, :, 5:29, 3:27], atol=2e-3, rtol=0)
