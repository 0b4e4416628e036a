from __future__ import annotations

import pytest
import torch

from cscs_core.ops import mesh

RINGS = {
    "LEFT_EYE": mesh.LEFT_EYE,
    "RIGHT_EYE": mesh.RIGHT_EYE,
    "LIPS": mesh.LIPS,
    "MOUTH": mesh.MOUTH,
    "LEFT_BROW": mesh.LEFT_BROW,
    "RIGHT_BROW": mesh.RIGHT_BROW,
    "OVAL": mesh.OVAL,
}
FLIP = torch.tensor([-1.0, 1.0])


def _doubled_areas() -> torch.Tensor:
    a, b, c = mesh.mean_face()[mesh.triangles()].unbind(1)
    return (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]


def _area(ring: torch.Tensor) -> torch.Tensor:
    after = ring.roll(-1, 0)
    return (ring[:, 0] * after[:, 1] - ring[:, 1] * after[:, 0]).sum().abs() / 2


def test_the_mirror_of_the_mirror_is_the_point():
    mirror = mesh.mirror()
    assert torch.equal(mirror[mirror], torch.arange(mesh.POINTS))


def test_the_mean_face_is_its_own_mirror_image():
    torch.testing.assert_close(mesh.mean_face()[mesh.mirror()] * FLIP, mesh.mean_face(), rtol=0, atol=1e-6)


def test_the_right_half_is_numbered_like_the_left():
    mirror = mesh.mirror()
    left = (mirror > torch.arange(mesh.POINTS)).nonzero().flatten()
    assert (mirror[left].diff() > 0).all()
    assert torch.equal(mirror[left], torch.arange(248, 468))  # as published: 3 and 248, 7 and 249, ... 247 and 467


def test_the_midline_mirrors_to_itself():
    points = [10, 168, 4, 0, 13, 14, 17, 152]  # forehead, nose, lips, chin
    assert mesh.mirror()[points].tolist() == points
    assert mesh.mean_face()[points, 0].abs().max() < 1e-6


@pytest.mark.parametrize(("left", "right"), [("LEFT_EYE", "RIGHT_EYE"), ("LEFT_BROW", "RIGHT_BROW")])
def test_what_is_left_mirrors_to_what_is_right(left, right):
    assert set(mesh.mirror()[list(RINGS[left])].tolist()) == set(RINGS[right])


@pytest.mark.parametrize("name", ["LIPS", "MOUTH", "OVAL"])
def test_middle_rings_mirror_to_themselves(name):
    assert set(mesh.mirror()[list(RINGS[name])].tolist()) == set(RINGS[name])


def test_the_mean_face_is_upright_with_eyes_a_unit_apart():
    mean = mesh.mean_face()
    assert mean.shape == (mesh.POINTS, 2)
    torch.testing.assert_close(mean[[33, 263]], torch.tensor([[-0.5, 0], [0.5, 0]]), rtol=0, atol=1e-6)
    torch.testing.assert_close(mesh.interocular(mean[None]), torch.ones(1))
    assert mean[10, 1] < mean[4, 1] < mean[0, 1] < mean[152, 1]


def test_triangles_use_every_point():
    assert torch.equal(mesh.triangles().unique(), torch.arange(mesh.POINTS))


def test_triangles_have_area_and_do_not_overlap():
    areas = _doubled_areas().abs() / 2
    assert areas.min() > 1e-7
    hull = mesh.mean_face()[list(mesh.OVAL)]
    torch.testing.assert_close(areas.sum(), _area(hull), rtol=0.02, atol=0)


def test_triangles_share_each_edge_with_at_most_one_other():
    faces = mesh.triangles()
    edges = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]).sort(1).values
    assert edges.unique(dim=0, return_counts=True)[1].max() == 2


@pytest.mark.parametrize("name", RINGS)
def test_rings_are_distinct_points_of_the_mesh(name):
    ring = RINGS[name]
    assert len(set(ring)) == len(ring)
    assert min(ring) >= 0
    assert max(ring) < mesh.POINTS


@pytest.mark.parametrize("name", RINGS)
def test_rings_are_in_order(name):
    """In any other order the way round is longer: no two neighbours can be exchanged to shorten it."""
    ring = mesh.mean_face()[list(RINGS[name])]

    def way(points: torch.Tensor) -> float:
        return float((points - points.roll(-1, 0)).norm(dim=-1).sum())

    swapped = list(range(len(ring)))
    for at in range(len(ring)):
        order = swapped.copy()
        order[at], order[at - 1] = order[at - 1], order[at]
        assert way(ring[order]) > way(ring)


def test_ibug_has_68_points_in_the_order_of_its_parts():
    points = mesh.mean_face()[list(mesh.IBUG68)]
    assert len(set(mesh.IBUG68)) == 68
    torch.testing.assert_close(points[8, 0], torch.tensor(0.0), rtol=0, atol=1e-6)  # the chin ends the left half
    assert points[8, 1] == points[:, 1].max()
    flipped = [*range(16, -1, -1), *range(26, 16, -1)]  # jaw and brows run from side to side
    assert mesh.mirror()[list(mesh.IBUG68)][:27].tolist() == [mesh.IBUG68[row] for row in flipped]
    assert set(mesh.IBUG68[36:42]) <= set(mesh.LEFT_EYE)
    assert set(mesh.IBUG68[42:48]) <= set(mesh.RIGHT_EYE)
    assert set(mesh.IBUG68[48:60]) <= set(mesh.LIPS)
    assert set(mesh.IBUG68[60:]) <= set(mesh.MOUTH)


def test_the_five_points_of_the_mean_face_are_symmetric():
    five = mesh.five(mesh.mean_face()[None])[0]
    torch.testing.assert_close(five[[1, 0, 2, 4, 3]] * FLIP, five, rtol=0, atol=1e-6)
    assert five[0, 0] < five[2, 0] < five[1, 0]
    assert five[0, 1] < five[2, 1] < five[3, 1]


def test_the_box_is_the_outermost_points():
    points = torch.rand(3, mesh.POINTS, 2) * 100
    found = mesh.box(points)
    assert torch.equal(found[:, 0], points[..., 0].min(1).values)
    assert torch.equal(found[:, 3], points[..., 1].max(1).values)


def test_tables_first_read_in_inference_mode_still_pass_gradients():
    mesh._tables.cache_clear()
    with torch.inference_mode():
        mesh.triangles()
    assert not mesh.triangles().is_inference()
    assert not mesh.mean_face().is_inference()


def test_flipping_twice_is_no_change_and_once_swaps_the_eyes():
    points = torch.rand(2, 468, 2) * 100
    once = mesh.flipped(points, 100)
    torch.testing.assert_close(mesh.flipped(once, 100), points)
    torch.testing.assert_close(once[:, 33], torch.tensor([99.0, 0.0]) - points[:, 263] * torch.tensor([1.0, -1.0]))
