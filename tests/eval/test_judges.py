"""The judges against known turns, known shifts and known spreads; the teachers themselves where the data folder is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cscs_core.eval.evidence_data import cut
from cscs_core.eval.judges import interval, load_judges, retrieved
from cscs_core.io.files import BadInput
from cscs_core.ops import head_pose, mesh
from cscs_core.surrogates.source_change import Change, apply_change
from cscs_core.tasks.report import pose_error
from cscs_core.train.people import load_people

DATA = Path(os.environ.get("CSCS_DATA", "no data"))  # faces and teachers, for those who have them


@pytest.fixture(scope="module")
def judges():
    pytest.importorskip("onnxruntime")
    if not DATA.is_dir():
        pytest.skip("CSCS_DATA names no folder")
    return load_judges(DATA)


@pytest.fixture(scope="module")
def people(judges):
    return load_people(DATA, "validation", ("fake",))


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
    facing = (head_pose.fit(people.mesh).degrees[:, :2].abs() < 8).all(1).nonzero()[:12, 0]
    crops = cut(people, facing, 256)
    count = torch.ones(len(crops))
    nothing = Change.none(len(crops))
    turned = apply_change(crops, replace(nothing, yaw=yaw * count, pitch=pitch * count), crops)
    before = judges.points(crops.pixels, mesh.box(crops.mesh))
    after = judges.points(turned.pixels, mesh.box(turned.mesh))
    assert 10 < float(pose_error(after, before).mean()) < 13


def test_colour_and_a_little_noise_are_no_pose(judges, people):
    pictures, box = people.pixels[:8].float() / 255, mesh.box(people.mesh[:8])
    warmer = (pictures * torch.tensor([1.08, 1.0, 0.9]).view(1, 3, 1, 1)).clamp(0, 1)
    noisy = (warmer + 0.02 * torch.randn_like(warmer)).clamp(0, 1)
    assert float(pose_error(judges.points(noisy, box), judges.points(pictures, box)).mean()) < 1
