from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cscs_core.ops import geometry, head_pose, mesh
from cscs_core.train.depth import estimate

DEGREES = torch.tensor([[0.0, 0, 0], [25, 0, 0], [-12, 9, 4], [8, -14, -20], [-30, -6, 10]])


def seen(degrees: Tensor, scale: float = 88.0) -> Tensor:
    """The template held like that, (F, 468, 2) pixels."""
    shift = torch.tensor([128.0, 140.0]).expand(len(degrees), 2)
    pose = head_pose.Pose(head_pose.rotation(degrees), torch.full((len(degrees),), scale), shift)
    return pose.project(head_pose.template()[None])


def people(count: int) -> Tensor:
    """Faces of their own, held in different ways."""
    degrees = torch.randn(count, 3) * torch.tensor([12.0, 6.0, 3.0])
    return seen(degrees) + 2 * torch.randn(count, 1, 2) + torch.randn(count, mesh.POINTS, 2)


def test_the_depth_is_that_of_a_head():
    depth = head_pose.template()[:, 2]
    # The nose's tip before the outer eye corners and the ears' front; the cheeks behind the mouth; both sides alike.
    assert 0.5 < depth[4] - depth[33] < 0.7
    assert 1.1 < depth[4] - depth[234] < 1.3
    assert depth[13] > depth[61] > depth[172]
    torch.testing.assert_close(depth, depth[mesh.mirror()], rtol=0, atol=1e-5)


def test_depth_is_found_in_pictures_of_turned_heads():
    shape = head_pose.template() * torch.tensor([1.0, 1.0, 0.8])
    degrees = torch.randn(40, 3) * torch.tensor([15.0, 8.0, 3.0])
    pictures = (shape @ head_pose.rotation(degrees).mT)[..., :2] * 90 + 128
    found = estimate(pictures)
    torch.testing.assert_close(found, shape[:, 2] - shape[:, 2].mean(), rtol=0, atol=0.02)


def test_normals_look_out_of_the_face():
    normals = head_pose.normals()
    torch.testing.assert_close(normals.norm(dim=-1), torch.ones(mesh.POINTS))
    assert normals[234, 0] < -0.5
    assert normals[454, 0] > 0.5
    assert normals[152, 1] > 0.2
    assert normals[9, 2] > 0.9


def test_a_held_template_has_the_pose_it_is_held_in():
    pose = head_pose.fit(seen(DEGREES))
    torch.testing.assert_close(pose.degrees, DEGREES, rtol=0, atol=1e-2)
    torch.testing.assert_close(pose.scale, torch.full((5,), 88.0), rtol=1e-4, atol=0)
    torch.testing.assert_close(pose.project(head_pose.template()[None]), seen(DEGREES), rtol=0, atol=1e-2)


def test_yaw_turns_the_nose_right_pitch_raises_it_and_roll_is_clockwise():
    still = seen(torch.zeros(1, 3))[0]
    right, up, tilted = (seen(torch.eye(3)[i : i + 1] * 10)[0] for i in range(3))
    assert right[4, 0] > still[4, 0] + 3
    assert up[4, 1] < still[4, 1] - 3
    assert tilted[263, 1] > still[263, 1] + 3


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_head_turned_by_an_angle_is_measured_turned_by_it(sign: float):
    points = people(8)
    on = torch.full((8,), 15.0 * sign)
    before = head_pose.fit(points).degrees
    yaw, pitch = (head_pose.fit(head_pose.rotate(points, *turns)).degrees for turns in ((on, on * 0), (on * 0, on)))
    torch.testing.assert_close(yaw[:, 0] - before[:, 0], on, rtol=0, atol=0.6)
    torch.testing.assert_close(yaw[:, 1], before[:, 1], rtol=0, atol=0.6)
    torch.testing.assert_close(pitch[:, 1] - before[:, 1], on, rtol=0, atol=0.6)
    torch.testing.assert_close(pitch[:, 0], before[:, 0], rtol=0, atol=0.6)


def test_no_turn_moves_no_point():
    points = people(3)
    assert torch.equal(head_pose.rotate(points, torch.zeros(3), torch.zeros(3)), points)


def test_a_turn_and_the_turn_back_meet():
    points, on = people(4), torch.full((4,), 12.0)
    back = head_pose.rotate(head_pose.rotate(points, on, on * 0), -on, on * 0)
    assert (back - points).norm(dim=-1).mean() < 1.0


def test_a_turned_head_is_cut_out_as_before():
    points = people(4)
    turned = head_pose.rotate(points, torch.full((4,), 18.0), torch.full((4,), -8.0))
    matrix = geometry.similarity(mesh.five(turned), mesh.five(points))
    torch.testing.assert_close(matrix, torch.eye(2, 3).expand(4, 2, 3), rtol=0, atol=1e-3)


def test_what_is_near_is_drawn_last():
    triangles = head_pose.triangles_far_to_near()
    depth = head_pose.template()[triangles, 2].mean(-1)
    assert (depth.diff() >= 0).all()
    assert set(map(tuple, triangles.sort(-1).values.tolist())) == set(
        map(tuple, mesh.triangles().sort(-1).values.tolist())
    )


def test_each_head_turns_alone():
    points, on = people(3), torch.tensor([5.0, -10.0, 0.0])
    together = head_pose.rotate(points, on, on)
    for row in range(3):
        one = slice(row, row + 1)
        torch.testing.assert_close(head_pose.rotate(points[one], on[one], on[one]), together[one], rtol=0, atol=1e-3)


def test_no_heads_turn_into_none():
    none = torch.zeros(0)
    assert head_pose.rotate(torch.zeros(0, mesh.POINTS, 2), none, none).shape == (0, mesh.POINTS, 2)
    assert head_pose.fit(torch.zeros(0, mesh.POINTS, 2)).degrees.shape == (0, 3)
