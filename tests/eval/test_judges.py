"""The judges against known turns, known shifts and known spreads; the teachers themselves where the data folder is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cscs_core import mesh, turn
from cscs_core.eval.evidence_data import cut
from cscs_core.eval.judges import (
    angle,
    expression_error,
    interval,
    load_judges,
    outline_error,
    pose_error,
    retrieved,
    rotation,
)
from cscs_core.files import BadInput
from cscs_core.source_surrogate import Change, changed
from cscs_core.train.people import load_people

DATA = Path(os.environ.get("CSCS_DATA", "no data"))  # faces and teachers, for those who have them


def landmarks(degrees: torch.Tensor, scale: float = 80.0, x: float = 130.0) -> torch.Tensor:
    """The 68 points of the mean head turned so, (N, 3) -> (N, 68, 2)."""
    count = len(degrees)
    pose = turn.Pose(turn.rotation(degrees), torch.full((count,), scale), torch.tensor([[x, 120.0]]).expand(count, 2))
    return pose.project(turn.template()[None])[:, list(mesh.IBUG68)]


@pytest.fixture(scope="module")
def judges():
    pytest.importorskip("onnxruntime")
    if not DATA.is_dir():
        pytest.skip("CSCS_DATA names no folder")
    return load_judges(DATA)


@pytest.fixture(scope="module")
def people(judges):
    return load_people(DATA, "validation", ("fake",))


def test_a_known_turn_of_the_mean_head_is_read_exactly():
    degrees = torch.tensor([[0.0, 0, 0], [20, 0, 0], [0, -15, 0], [-10, 8, 5]])
    assert torch.allclose(rotation(landmarks(degrees)), turn.rotation(degrees), atol=1e-4)


def test_the_angle_of_a_rotation_about_any_axis():
    zero = turn.rotation(torch.zeros(4, 3))
    turned = turn.rotation(torch.tensor([[0.01, 0, 0], [0, 7.0, 0], [0, 0, 90], [179, 0, 0]]))
    expected = torch.tensor([0.01, 7.0, 90.0, 179.0])
    assert torch.allclose(angle(turned, zero), expected, atol=1e-3)
    assert torch.allclose(angle(zero, turned), expected, atol=1e-3)
    assert float(angle(zero[:1], zero[:1])) == 0


def test_the_angle_counts_from_any_pose():
    start = torch.tensor([[12.0, -7.0, 30.0]])
    first = turn.rotation(start)
    second = turn.rotation(torch.tensor([[0.0, 11.0, 0.0]])) @ first
    assert float(angle(first, second)) == pytest.approx(11, abs=1e-3)


def test_pose_does_not_depend_on_where_a_face_is_or_how_large():
    degrees = torch.tensor([[14.0, -6.0, 3.0]])
    assert float(pose_error(landmarks(degrees), landmarks(degrees, 31.0, -500.0))) < 0.01


def test_a_roll_counts_as_pose():
    error = pose_error(landmarks(torch.tensor([[0.0, 0, 9]])), landmarks(torch.zeros(1, 3)))
    assert float(error) == pytest.approx(9, abs=0.01)


def test_the_outline_does_not_tell_the_pose():
    face = landmarks(torch.tensor([[5.0, 5, 0]]))
    wider = face.clone()
    wider[:, :17] += torch.randn(1, 17, 2) * 10
    assert torch.equal(rotation(wider), rotation(face))


def test_an_expression_is_the_same_wherever_the_face_is():
    face = landmarks(torch.tensor([[5.0, 3, 0]]))
    linear = torch.tensor([[0.6, -0.8], [0.8, 0.6]]) * 1.7
    assert float(expression_error(face @ linear.T + 40, face)) < 1e-5


def test_brows_lids_and_lips_are_the_expression_and_nothing_else():
    face = landmarks(torch.zeros(1, 3))
    other = face.clone()
    other[:, [*range(17), *range(27, 36)]] += torch.randn(1, 26, 2) * 20
    assert float(expression_error(other, face)) < 1e-5
    other = face.clone()
    other[:, 57] += torch.tensor([0.0, 10.0])  # the lower lip alone; the similarity takes a little of it
    unit = float((face[0, 36] - face[0, 45]).norm())
    assert 10 / unit / 42 < float(expression_error(other, face)) < 3 * 10 / unit / 42


def test_an_outline_that_was_moved_a_tenth_lies_a_tenth_off():
    face = landmarks(torch.tensor([[4.0, 0, 0]]))
    unit = (face[0, 36] - face[0, 45]).norm()
    other = face.clone()
    other[:, :17, 0] += 0.1 * unit
    assert float(outline_error(other, face)) == pytest.approx(0.1, abs=1e-4)


def test_retrieval_asks_for_the_nearest_of_all():
    everyone = torch.eye(3)
    found = torch.tensor([[0.9, 0.1, 0.0], [0.6, 0.5, 0.0]])
    assert retrieved(found, everyone, torch.tensor([0, 1])).tolist() == [True, False]


def test_an_interval_over_people_is_that_of_the_standard_error():
    values = torch.randn(400) * 2 + 5
    found = interval(values)
    reach = 1.96 * float(values.std()) / 20
    assert found.mean == pytest.approx(float(values.mean()), abs=1e-6)
    assert found.high - found.mean == pytest.approx(reach, rel=0.1)
    assert found.mean - found.low == pytest.approx(reach, rel=0.1)
    assert interval(values) == found  # drawn from one seed


def test_seeds_that_disagree_widen_an_interval():
    people = torch.randn(200)
    alike = interval(people.expand(3, -1))
    assert alike.high - alike.low == pytest.approx(interval(people).high - interval(people).low, rel=0.1)
    apart = interval(people + torch.tensor([[-1.0], [0.0], [1.0]]))
    assert apart.low < -0.8 and apart.high > 0.8


def test_what_never_differs_has_no_width():
    found = interval(torch.full((2, 30), 0.25))
    assert (found.low, found.mean, found.high) == (0.25, 0.25, 0.25)
    assert str(found) == "0.250 (0.250 to 0.250)"


def test_missing_teachers_are_named(tmp_path):
    with pytest.raises(BadInput, match=r"recogniser_b\.onnx: no such file"):
        load_judges(tmp_path)


def test_the_recogniser_sees_what_the_data_say_it_saw(judges, people):
    table = np.load(DATA / "faces" / "fake.npz")
    stored = torch.from_numpy(table["embedding_b"]).float()
    found = judges.identity(people.pixels[:6].float() / 255, people.mesh[:6])
    best = (found @ stored.T).sort(1, descending=True)
    assert (best.values[:, 0] > 0.8).all()  # theirs were aligned by a detector's points
    assert (best.values[:, 1] < 0.65).all()
    assert (best.indices[:, 0] % 10 == 1).all()  # rows of the validation split


def test_landmarks_lie_on_the_mesh(judges, people):
    points = judges.points(people.pixels[:8].float() / 255, mesh.box(people.mesh[:8]))
    wanted = people.mesh[:8][:, list(mesh.IBUG68)]
    apart = (points - wanted).norm(dim=-1).mean(-1) / mesh.interocular(people.mesh[:8])
    assert float(apart.mean()) < 0.06


@pytest.mark.parametrize(("yaw", "pitch"), [(12.0, 0.0), (0.0, 12.0)])
def test_most_of_a_known_turn_is_read(judges, people, yaw, pitch):
    facing = (turn.fit(people.mesh).degrees[:, :2].abs() < 8).all(1).nonzero()[:12, 0]
    crops = cut(people, facing, 256)
    count = torch.ones(len(crops))
    nothing = Change.none(len(crops))
    turned = changed(crops, replace(nothing, yaw=yaw * count, pitch=pitch * count), crops)
    before = judges.points(crops.pixels, mesh.box(crops.mesh))
    after = judges.points(turned.pixels, mesh.box(turned.mesh))
    assert 10 < float(pose_error(after, before).mean()) < 13


def test_colour_and_a_little_noise_are_no_pose(judges, people):
    pictures, box = people.pixels[:8].float() / 255, mesh.box(people.mesh[:8])
    warmer = (pictures * torch.tensor([1.08, 1.0, 0.9]).view(1, 3, 1, 1)).clamp(0, 1)
    noisy = (warmer + 0.02 * torch.randn_like(warmer)).clamp(0, 1)
    assert float(pose_error(judges.points(noisy, box), judges.points(pictures, box)).mean()) < 1
