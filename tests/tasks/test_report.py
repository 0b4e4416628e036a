"""Measures of faces against known turns, shifts, edges and likenesses."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor

from cscs_core.faces.swappers.warp import WarpSwapper
from cscs_core.io import images
from cscs_core.ops import head_pose, mesh
from cscs_core.ops.mask import feather
from cscs_core.pipeline import FaceFilter, Models, find, identity_from, load_models, prepare_source, swap_faces
from cscs_core.tasks.example_people import EXAMPLES
from cscs_core.tasks.report import (
    FaceMeasures,
    angle,
    expression_error,
    match_faces,
    outline_error,
    pose_error,
    report,
    rotation,
    seam,
    sentences,
)
from cscs_core.types import FaceSet, Identity, join

PEOPLE = sorted(EXAMPLES.glob("*.jpg"))
NO_NETWORKS = cast(Models, SimpleNamespace(encoder=None))


def landmarks(degrees: torch.Tensor, scale: float = 80.0, x: float = 130.0) -> torch.Tensor:
    """The 68 points of the mean head turned so, (N, 3) -> (N, 68, 2)."""
    count = len(degrees)
    pose = head_pose.Pose(
        head_pose.rotation(degrees), torch.full((count,), scale), torch.tensor([[x, 120.0]]).expand(count, 2)
    )
    return pose.project(head_pose.template()[None])[:, list(mesh.IBUG68)]


def test_a_known_turn_of_the_mean_head_is_read_exactly():
    degrees = torch.tensor([[0.0, 0, 0], [20, 0, 0], [0, -15, 0], [-10, 8, 5]])
    assert torch.allclose(rotation(landmarks(degrees)), head_pose.rotation(degrees), atol=1e-4)


def test_the_angle_of_a_rotation_about_any_axis():
    zero = head_pose.rotation(torch.zeros(4, 3))
    turned = head_pose.rotation(torch.tensor([[0.01, 0, 0], [0, 7.0, 0], [0, 0, 90], [179, 0, 0]]))
    expected = torch.tensor([0.01, 7.0, 90.0, 179.0])
    assert torch.allclose(angle(turned, zero), expected, atol=1e-3)
    assert torch.allclose(angle(zero, turned), expected, atol=1e-3)
    assert float(angle(zero[:1], zero[:1])) == 0


def test_the_angle_counts_from_any_pose():
    start = torch.tensor([[12.0, -7.0, 30.0]])
    first = head_pose.rotation(start)
    second = head_pose.rotation(torch.tensor([[0.0, 11.0, 0.0]])) @ first
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


# Seam


def bordered(radius: float, contrast: float, smooth) -> tuple[Tensor, Tensor, Tensor]:
    """A smooth picture with a brighter disc laid over, feathered so far: result, target, mask."""
    target = smooth(1, 96, 96)
    y, x = torch.meshgrid(torch.arange(96.0) - 48, torch.arange(96.0) - 48, indexing="ij")
    mask = feather((y.square() + x.square() < 30**2).float()[None, None], radius)
    return torch.lerp(target, target + contrast, mask), target, mask


def test_nothing_changed_is_a_seam_of_one(smooth):
    _, target, mask = bordered(6, 0.2, smooth)
    assert float(seam(target, target, mask)) == 1


def test_a_hard_edge_shows_far_more_than_a_feathered_one_and_more_contrast_more(smooth):
    hard, soft, softer = (float(seam(*bordered(radius, 0.2, smooth))) for radius in (0, 6, 14))
    faint = float(seam(*bordered(0, 0.05, smooth)))
    assert hard > 3 * soft and soft > softer > 1 and hard > faint > 1


def test_an_edge_away_from_the_border_is_no_seam(smooth):
    _, target, mask = bordered(0, 0.2, smooth)
    result = target.clone()
    result[..., 40:56, 40:56] += 0.3  # well within the mask
    assert float(seam(result, target, mask)) == 1


def test_a_known_step_is_counted_by_the_definition():
    target = torch.full((1, 3, 8, 8), 0.5)
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1
    assert float(seam(target + 0.1 * mask, target, mask)) == pytest.approx((0.1 + 1 / 255) * 255, rel=1e-4)


def test_a_step_there_before_that_is_smoothed_away_is_less_than_one():
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1
    target = 0.5 + 0.2 * mask.expand(1, 3, 8, 8)
    assert float(seam(torch.full_like(target, 0.5), target, mask)) < 0.1


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_mask_without_a_border_has_no_seam(value):
    assert seam(torch.ones(1, 3, 8, 8), torch.ones(1, 3, 8, 8), torch.full((1, 1, 8, 8), value)).isnan().all()


# Before and after


def test_faces_are_matched_by_overlap_within_their_frame(faces):
    old = faces([(0, 40, 40, 20), (0, 140, 40, 20), (1, 40, 40, 20), (1, 140, 40, 20)])
    new = faces([(1, 42, 41, 20), (0, 139, 40, 21), (0, 43, 40, 20), (0, 40, 40, 20)])
    assert match_faces(old, new).tolist() == [3, 1, 0, -1]


def test_with_no_faces_on_one_side_none_is_matched(faces):
    assert match_faces(faces([(0, 40, 40, 20)]), FaceSet.empty()).tolist() == [-1]
    assert match_faces(FaceSet.empty(), faces([(0, 40, 40, 20)])).tolist() == []


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


@pytest.fixture(scope="module")
def two(models: Models) -> tuple[Tensor, FaceSet]:
    """Two example people side by side, (1, 3, H, W), and their faces from left to right."""
    photos = [images.read(file)[..., :512, :512] for file in PEOPLE[1:3]]
    low = min(photo.shape[-2] for photo in photos)
    picture = torch.cat([photo[..., :low, :] for photo in photos], -1)
    faces = find(picture, models)
    return picture, faces[faces.box[:, 0].argsort()]


def test_the_same_picture_is_the_same_faces(models, two):
    picture, faces = two
    rows = report(picture, picture, faces, models)
    assert [row.face for row in rows] == [0, 1]
    for row in rows:
        assert row.found and not row.changed and row.seam is None and row.similarity_to_source is None
        assert row.similarity_to_before == pytest.approx(1, abs=1e-5)
        assert row.pose == pytest.approx(0, abs=0.01) and row.expression == pytest.approx(0, abs=1e-5)


def known(*figures: float | None) -> list[float]:
    """Figures that must be there."""
    assert None not in figures
    return [figure for figure in figures if figure is not None]


def test_a_swap_brings_likeness_to_the_source_and_leaves_the_other_face(models, two):
    picture, faces = two
    person = identity_from([images.read(PEOPLE[0])], models)
    done = swap_faces(
        picture, prepare_source(person, WarpSwapper(), models), models, face_filter=FaceFilter("left-right", [0])
    )
    left, right = report(picture, done.images, faces, models, person, done.mask)
    assert left.changed and not right.changed
    to_source, to_before, stayed = known(
        left.similarity_to_source, left.similarity_to_before, right.similarity_to_before
    )
    assert to_source == pytest.approx(float(done.similarity_to_source[0]), abs=0.05)
    assert to_source > to_before and stayed > 0.99
    pose, expression, edge = known(left.pose, left.expression, left.seam)
    assert pose < 10 and expression < 0.2 and 0.5 < edge < 2
    cut_out = torch.where(done.mask > 0.3, picture * 0.6, picture)
    assert known(report(picture, cut_out, faces, models, mask=done.mask)[0].seam)[0] > 1.3 * edge


def test_a_face_that_is_gone_is_not_found_again(models, two):
    picture, faces = two
    left, top, right, bottom = (round(side) for side in faces.box[0].tolist())
    after = picture.clone()
    after[..., top - 40 : bottom + 40, max(0, left - 40) : right + 40] = 0.5
    row, other = report(picture, after, faces, models, identity_from([images.read(PEOPLE[0])], models))
    assert row.changed and not row.found and other.found
    assert (row.similarity_to_source, row.similarity_to_before, row.pose, row.expression) == (None,) * 4
    assert "no face was found here" in "\n".join(sentences(row))


def test_frames_are_measured_each_with_its_own_faces(models, two):
    picture, faces = two
    both = join([faces, replace(faces, frame=faces.frame + 1)])[[0, 3]]  # the left one of frame 0, the right of frame 1
    after = torch.cat([picture, picture.roll(60, -1)])
    first, second = report(picture.expand(2, -1, -1, -1), after, both, models)
    assert (first.frame, first.face, second.frame, second.face) == (0, 0, 1, 0)
    assert not first.changed and second.changed


def test_pictures_without_faces_give_no_rows_and_other_sizes_are_refused(models, two):
    picture, faces = two
    assert report(picture, picture, FaceSet.empty(), models) == []
    with pytest.raises(ValueError, match="must have the same size"):
        report(picture, picture[..., 1:], faces, models)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, faces):
    """A report on one face without networks: its change by so many steps of 8 bits, found again so far aside."""

    def rows(steps: float = 0.0, aside: float = 0.0) -> FaceMeasures:
        face = faces([(0, 60.0, 50.0, 40.0)])
        wide = float(face.box[0, 2] - face.box[0, 0])
        again = replace(face, box=face.box + torch.tensor([aside * wide, 0.0, aside * wide, 0.0]))
        monkeypatch.setattr("cscs_core.tasks.report.find", lambda *_: again)
        monkeypatch.setattr("cscs_core.tasks.report.encode", lambda images, some, encoder: torch.ones(len(some), 1))
        before = torch.full((1, 3, 120, 130), 0.5)
        return report(before, before + steps / 255, face, NO_NETWORKS)[0]

    return rows


@pytest.mark.parametrize(("steps", "changed"), [(0.05, False), (0.2, True), (1.0, True), (-1.0, True)])
def test_a_face_is_changed_from_an_eighth_of_a_step_on(told, steps, changed):
    assert told(steps=steps).changed == changed


@pytest.mark.parametrize(("aside", "found"), [(1 / 3, True), (0.6, False)])  # IoU 0.5 and 0.25
def test_a_face_that_moved_by_a_third_is_the_same_one(told, aside, found):
    assert told(aside=aside).found == found


def test_no_face_found_is_used_twice(faces):
    found = faces([(0, 40, 40, 20), (0, 140, 40, 20)])
    assert match_faces(faces([(0, 42, 40, 20), (0, 41, 40, 20)]), found).tolist() == [-1, 0]


def test_a_face_of_another_frame_is_never_the_same(faces):
    for old, new in ((0, 1), (1, 0)):
        assert match_faces(faces([(old, 40, 40, 20)]), faces([(new, 40, 40, 20)])).tolist() == [-1]


def test_faces_are_numbered_within_their_frame(told, faces, monkeypatch):
    told()
    four = faces([(0, 40, 40, 20), (1, 40, 40, 20), (0, 90, 40, 20), (1, 90, 40, 20)])
    monkeypatch.setattr("cscs_core.tasks.report.find", lambda *_: four)
    rows = report(torch.zeros(2, 3, 80, 130), torch.zeros(2, 3, 80, 130), four, NO_NETWORKS)
    assert [(row.frame, row.face) for row in rows] == [(0, 0), (1, 0), (0, 1), (1, 1)]


def test_pose_and_expression_are_those_of_the_face_after(told, faces, monkeypatch):
    told()
    face = faces([(0, 60.0, 50.0, 40.0)])
    turned = head_pose.rotate(face.mesh, torch.tensor([10.0]), torch.tensor([0.0]))
    monkeypatch.setattr("cscs_core.tasks.report.find", lambda *_: replace(face, mesh=turned))
    row = report(torch.zeros(1, 3, 120, 130), torch.zeros(1, 3, 120, 130), face, NO_NETWORKS)[0]
    assert row.pose == pytest.approx(10, abs=2) and row.expression is not None and row.expression > 0.005


def test_brows_count_as_expression():
    face = landmarks(torch.zeros(1, 3))
    raised = face.clone()
    raised[:, 17:27, 1] -= 10
    unit = float((face[0, 36] - face[0, 45]).norm())
    assert float(expression_error(raised, face)) > 0.5 * 10 * (10 / 42) / unit


def test_the_seam_is_looked_for_beyond_the_box_of_the_landmarks(told, faces):
    told()
    face = faces([(0, 100.0, 90.0, 40.0)])
    x1, y1, x2, y2 = face.box[0].round().long().tolist()
    before, mask = torch.rand(1, 3, 220, 230), torch.zeros(1, 1, 220, 230)
    mask[..., y1 - 10 : y2 + 10, x1 - 10 : x2 + 10] = 1
    assert report(before, before, face, NO_NETWORKS, mask=mask)[0].seam == 1


def test_a_source_from_another_recogniser_is_read_anew(told, faces, monkeypatch):
    told()
    face = faces([(0, 60.0, 50.0, 40.0)])
    monkeypatch.setattr("cscs_core.tasks.report.find", lambda *_: face)
    known = Identity(None, torch.eye(3), torch.ones(3), "another")  # pyright: ignore[reportArgumentType]
    monkeypatch.setattr(
        "cscs_core.tasks.report.embedded_by", lambda person, encoder: replace(person, embedding=torch.ones(3, 1))
    )
    moved = replace(known, crops=face)  # pyright: ignore[reportArgumentType]
    row = report(torch.zeros(1, 3, 120, 130), torch.zeros(1, 3, 120, 130), face, NO_NETWORKS, moved)[0]
    assert row.similarity_to_source == pytest.approx(1)
