from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from cscs_core.ops import geometry


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity of Umeyama 1991 by SVD, as the reference implementations compute it."""
    mean_s, mean_t = source.mean(0), target.mean(0)
    s, t = source - mean_s, target - mean_t
    u, d, vt = np.linalg.svd(t.T @ s / len(s))
    flip = np.array([1, np.sign(np.linalg.det(u @ vt))])
    rotation = u @ np.diag(flip) @ vt
    scale = (d * flip).sum() / s.var(0).sum()
    return np.column_stack([scale * rotation, mean_t - scale * rotation @ mean_s])


def test_similarity_is_that_of_umeyama():
    source, target = torch.rand(6, 5, 2) * 300, torch.rand(6, 5, 2) * 300
    target[3:] = source[3:] @ torch.tensor([[0.6, -0.8], [0.8, 0.6]]) * 1.7 + 9 + torch.randn(3, 5, 2)
    expected = [umeyama(s, t) for s, t in zip(source.double().numpy(), target.double().numpy(), strict=True)]
    torch.testing.assert_close(
        geometry.similarity(source, target), torch.tensor(np.stack(expected)).float(), atol=2e-3, rtol=1e-4
    )


def test_similarity_finds_the_turn_scale_and_shift_that_were_applied():
    matrix = torch.tensor([[[1.2, -0.5, 30.0], [0.5, 1.2, -4.0]]])
    source = torch.rand(1, 5, 2) * 100
    torch.testing.assert_close(
        geometry.similarity(source, geometry.transform(source, matrix)), matrix, atol=1e-3, rtol=1e-4
    )


def test_similarity_is_differentiable():
    source = (torch.rand(1, 5, 2) * 50).requires_grad_()
    target = torch.rand(1, 5, 2) * 50
    geometry.similarity(source, target).sum().backward()
    step = torch.zeros(1, 5, 2)
    step[0, 2, 1] = 0.05
    with torch.no_grad():
        high, low = (geometry.similarity(source + sign * step, target).sum() for sign in (1, -1))
    assert source.grad is not None
    torch.testing.assert_close(source.grad[0, 2, 1], (high - low) / 0.1, rtol=0.02, atol=1e-3)


def test_coincident_points_give_no_nan():
    assert geometry.similarity(torch.ones(1, 5, 2), torch.rand(1, 5, 2)).isfinite().all()


def test_there_and_back_is_the_identity():
    matrix = torch.randn(4, 2, 3) + torch.eye(2, 3) * 3
    points = torch.rand(4, 7, 2) * 100
    there = geometry.transform(points, matrix)
    torch.testing.assert_close(geometry.transform(there, geometry.invert(matrix)), points, atol=1e-2, rtol=1e-3)
    both = geometry.compose(matrix, geometry.invert(matrix))
    torch.testing.assert_close(both, torch.eye(2, 3).expand(4, 2, 3), atol=1e-4, rtol=0)


def test_compose_does_the_first_first():
    first, then, points = torch.randn(3, 2, 3), torch.randn(3, 2, 3), torch.randn(3, 4, 2)
    torch.testing.assert_close(
        geometry.transform(points, geometry.compose(first, then)),
        geometry.transform(geometry.transform(points, first), then),
        atol=1e-5,
        rtol=1e-4,
    )


# The FFHQ points at 512 pixels as VisoMaster has them.
FFHQ_AT_512 = (
    (192.98138, 239.94708),
    (318.90277, 240.1936),
    (256.63416, 314.01935),
    (201.26117, 371.41043),
    (313.08905, 371.15118),
)
# The points of ArcFace at 112 pixels as its authors publish them.
ARCFACE_AT_112 = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)


@pytest.mark.parametrize(
    ("name", "size", "points"), [("ffhq_512", 512, FFHQ_AT_512), ("arcface_112_v2", 112, ARCFACE_AT_112)]
)
def test_a_template_is_what_others_use(name, size, points):
    torch.testing.assert_close(geometry.template(name, size), torch.tensor(points), atol=2e-3, rtol=0)


def test_an_unknown_template_is_named():
    with pytest.raises(ValueError, match="no alignment template 'passport'"):
        geometry.template("passport", 256)


def test_whole_pixel_shift_is_a_slice():
    images = torch.rand(1, 3, 20, 30)
    shift = torch.tensor([[[1.0, 0, -7], [0, 1, -4]]])
    torch.testing.assert_close(geometry.warp(images, shift, (10, 12)), images[:, :, 4:14, 7:19], atol=1e-5, rtol=0)


def test_enlarging_is_that_of_opencv():
    image = torch.rand(1, 3, 24, 31)
    matrix = torch.tensor([[[1.9, -0.6, 3.3], [0.6, 1.9, -8.1]]])
    expected = cv2.warpAffine(
        image[0].movedim(0, -1).numpy(), matrix[0].double().numpy(), (40, 36), flags=cv2.INTER_LINEAR, borderValue=0
    )
    warped = geometry.warp(image, matrix, (36, 40), padding="zeros")[0].movedim(0, -1)
    # OpenCV rounds positions to 1/32 pixel.
    assert (warped - torch.tensor(expected)).abs().max() < 0.06
    assert (warped - torch.tensor(expected)).abs().mean() < 0.006


@pytest.mark.parametrize("scale", [0.5, 0.25, 0.13])
def test_a_checkerboard_shrinks_to_grey(scale):
    board = (torch.arange(128)[:, None] + torch.arange(128)).remainder(2).float().expand(1, 3, 128, 128)
    matrix = torch.tensor([[[scale, 0, 0.3], [0, scale, 0.1]]])
    shrunk = geometry.warp(board, matrix, 12)[..., 1:-1, 1:-1]
    assert (shrunk - 0.5).abs().max() < 0.2
    assert (shrunk.mean() - 0.5).abs() < 0.02


def test_each_matrix_reads_its_own_frame():
    images = torch.rand(3, 3, 16, 16)
    matrix = torch.tensor([[1.0, 0, -2], [0, 1, -1]]).expand(4, 2, 3)
    frame = torch.tensor([2, 0, 2, 1])
    torch.testing.assert_close(
        geometry.warp(images, matrix, 8, frame=frame), geometry.warp(images[frame], matrix, 8), atol=1e-6, rtol=0
    )


@pytest.mark.parametrize("framed", [True, False])
def test_how_a_face_looks_does_not_depend_on_the_faces_beside_it(framed):
    images = torch.rand(3, 3, 64, 64)
    matrix = torch.tensor([0.2, 1.5, 0.6])[:, None, None] * torch.eye(2, 3) + torch.tensor([0, 0, 0.5])
    frame = torch.arange(3) if framed else None
    together = geometry.warp(images, matrix, 12, frame=frame)
    alone = [geometry.warp(images[row : row + 1], matrix[row : row + 1], 12) for row in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=0)


def test_no_matrices_give_no_pictures():
    assert geometry.warp(torch.rand(2, 3, 9, 9), torch.zeros(0, 2, 3), (5, 6)).shape == (0, 3, 5, 6)


def test_a_face_of_nan_does_not_disturb_the_others():
    images = torch.rand(1, 3, 16, 16)
    good = torch.tensor([[1.0, 0, -2], [0, 1, -1]])
    both = geometry.warp(images, torch.stack([good, good * torch.nan]), 8, frame=torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(both[0], images[0, :, 1:9, 2:10], atol=1e-5, rtol=0)


def test_half_pictures_are_read_at_full_precision():
    ramp = torch.linspace(0, 1, 2048).expand(1, 1, 4, 2048)
    points = torch.tensor([[[[1501.25, 1.0]]]])
    torch.testing.assert_close(
        geometry.sample(ramp.half(), points).float(), geometry.sample(ramp, points), atol=6e-4, rtol=0
    )


def test_sub_pixel_centres_average_to_pixel_centres():
    fine = geometry.pixel_grid(3, 4, samples=2)
    coarse = fine.view(3, 2, 4, 2, 2).mean((1, 3))
    torch.testing.assert_close(coarse, geometry.pixel_grid(3, 4))
    assert coarse[0, 0].tolist() == [0, 0]
    assert coarse[2, 3].tolist() == [3, 2]


def test_scale_is_how_much_longer_things_become():
    angle = torch.tensor(0.7)
    matrix = (
        torch.stack([angle.cos(), -angle.sin(), angle * 0, angle.sin(), angle.cos(), angle * 0]).view(1, 2, 3) * 2.5
    )
    torch.testing.assert_close(geometry.scale_of(matrix), torch.tensor([2.5]))
