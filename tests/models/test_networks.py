from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from cscs_core.models import FaceDetector, FaceMesh, IdentityEncoder, LandmarkNet, for_inference
from cscs_core.models.detector import STRIDES
from cscs_core.ops import mesh

SIDES: dict[Callable[[], nn.Module], int] = {FaceDetector: 96, LandmarkNet: 128, IdentityEncoder: 112}


@pytest.fixture
def silent() -> FaceDetector:
    """A detector whose last layer says nothing."""
    detector = FaceDetector().eval().requires_grad_(False)
    detector.out.weight.zero_()
    cast(Tensor, detector.out.bias).zero_()
    return detector


@pytest.mark.parametrize("build", SIDES)
def test_a_row_does_not_depend_on_the_rows_beside_it(build):
    model = build().eval()
    pictures = torch.rand(3, 3, SIDES[build], SIDES[build])
    with torch.no_grad():
        whole, alone = model(pictures), model(pictures[1:2])
    if not isinstance(whole, tuple):
        whole, alone = (whole,), (alone,)
    for all_rows, row in zip(whole[:3], alone[:3], strict=True):
        torch.testing.assert_close(all_rows[1:2], row, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("build", SIDES)
def test_no_pictures_give_no_rows(build):
    with torch.no_grad():
        out = build().eval()(torch.zeros(0, 3, SIDES[build], SIDES[build]))
    assert (out[0] if isinstance(out, tuple) else out).shape[0] == 0


def test_places_are_the_centres_of_their_cells(silent):
    *_, places = silent(torch.zeros(1, 3, 64, 96))
    for stride in STRIDES:
        ours = places[places[:, 2] == stride]
        assert len(ours) == (64 // stride) * (96 // stride)
        half = (stride - 1) / 2
        assert ours[0].tolist() == [half, half, stride]
        assert ours[1].tolist() == [half + stride, half, stride]  # row by row
        assert ours[-1].tolist() == [95 - half, 63 - half, stride]


def test_a_silent_detector_sees_a_box_of_two_strides_around_each_place(silent):
    scores, boxes, points, places = silent(torch.rand(2, 3, 64, 64))
    assert (scores == 0).all()
    centre, stride = places[:, :2], places[:, 2:]
    assert torch.equal(boxes, torch.cat([centre - stride, centre + stride], -1).expand(2, -1, 4))
    assert torch.equal(points, centre[:, None].expand(2, -1, 5, 2))


def test_box_sides_and_points_are_in_strides(silent):
    bias = cast(Tensor, silent.out.bias)
    bias[1:5] = torch.tensor([1.0, 2, 3, 4]).log()  # left, top, right, bottom
    bias[5:] = torch.arange(10.0)
    _, boxes, points, places = silent(torch.zeros(1, 3, 32, 32))
    centre, stride = places[:, :2], places[:, 2:]
    expected = torch.cat([centre, centre], -1) + torch.tensor([-1.0, -2, 3, 4]) * stride
    torch.testing.assert_close(boxes[0], expected)
    torch.testing.assert_close(points[0], centre[:, None] + torch.arange(10.0).view(5, 2) * stride[:, None])


def test_wild_sides_stay_finite(silent):
    cast(Tensor, silent.out.bias)[1:5] = torch.tensor([1e4, -1e4, 1e4, -1e4])
    _, boxes, _, _ = silent(torch.zeros(1, 3, 32, 32))
    assert boxes.isfinite().all()
    assert (boxes[..., 2:] > boxes[..., :2]).all()


def test_a_new_detector_expects_a_face_in_a_hundredth_of_the_places():
    bias = cast(Tensor, FaceDetector().out.bias)
    assert bias[0].sigmoid().item() == pytest.approx(0.01, rel=0.01)


def _started(ways: int) -> tuple[LandmarkNet, Tensor, Tensor]:
    net = LandmarkNet()
    mean, basis = mesh.mean_face() * 60 + 64, torch.randn(ways, mesh.POINTS, 2)
    net.start_at(mean, basis)
    return net.eval(), mean, basis


def _decoded(net: LandmarkNet, features: Tensor) -> Tensor:
    with torch.no_grad():
        return (net.head[-1](features).unflatten(-1, (mesh.POINTS, 2)) + 0.5) * net.config.size


def test_without_features_the_landmarks_are_the_mean_face():
    net, mean, _ = _started(7)
    torch.testing.assert_close(_decoded(net, torch.zeros(1, net.config.features))[0], mean, rtol=0, atol=1e-4)


def test_pairs_of_features_are_more_and_less_of_a_way_to_vary():
    net, mean, basis = _started(160)  # all features are taken
    with torch.no_grad():
        last = cast(nn.Linear, net.head[-1])
        noise = (last.weight[:, 0] + last.weight[:, 1]).abs().max() * net.config.size
    for feature, sign in ((0, 1), (1, -1), (6, 1), (319, -1)):
        one = torch.zeros(1, net.config.features)
        one[0, feature] = 1
        moved = _decoded(net, one)[0] - mean
        assert (moved - sign * basis[feature // 2]).abs().max() <= noise + 0.4
    assert noise < 0.8


def test_landmarks_start_within_the_crop():
    net, mean, _ = _started(0)
    with torch.no_grad():
        found = net(torch.rand(2, 3, 128, 128))
    assert found.shape == (2, mesh.POINTS, 2)
    assert (found - mean).norm(dim=-1).mean() < 10


def test_embeddings_are_unit_vectors():
    with torch.no_grad():
        found = IdentityEncoder().eval()(torch.rand(3, 3, 112, 112))
    assert found.shape == (3, 128)
    torch.testing.assert_close(found.norm(dim=-1), torch.ones(3))


def test_folded_networks_compute_the_same():
    for net, crops in (
        (FaceMesh().mouth, torch.rand(2, 3, 64, 64)),
        (IdentityEncoder(), torch.rand(2, 3, 112, 112)),
        (FaceDetector(), torch.rand(1, 3, 64, 96)),
    ):
        net.train()
        with torch.no_grad():
            net(crops)  # running statistics that are not 0 and 1
            net.eval()
            before = net(crops)
            after = for_inference(net)(crops)
        for one, other in zip(before, after, strict=True) if isinstance(before, tuple) else [(before, after)]:
            torch.testing.assert_close(one, other, atol=2e-3, rtol=1e-4)
