from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from skimage.color import rgb2lab

from cscs_core.faces.align import align, is_aligned_to, resize
from cscs_core.faces.mask import MaskOptions, apply_mask, feather_mask
from cscs_core.faces.paste import match_colour, paste, paste_mask
from cscs_core.faces.swappers.base import editable_area
from cscs_core.ops import geometry, mask
from cscs_core.types import Crops, FaceSet


def test_the_five_points_land_on_the_template(faces, smooth):
    # A mean face is no FFHQ template; its own five points are the template's best fit, within a tenth of the side.
    crops = align(smooth(1, 200, 240), faces([(0, 120, 80, 50)], turn=0.4), size=128)
    assert (crops.landmarks[0] - geometry.template("ffhq_512", 128)).norm(dim=-1).max() < 13
    eyes = crops.landmarks[0, 1] - crops.landmarks[0, 0]
    assert eyes[1].abs() < 1  # upright


def test_a_crop_of_the_template_itself_is_the_picture(smooth):
    images = smooth(1, 64, 64)
    face = replace(FaceSet.empty(), frame=torch.zeros(1, dtype=torch.long), mesh=torch.zeros(1, 468, 2))
    face = replace(face, landmarks=geometry.template("ffhq_512", 64)[None])
    torch.testing.assert_close(align(images, face, size=64).pixels, images, atol=1e-3, rtol=0)


def test_points_move_with_the_pixels(faces):
    found = faces([(0, 60, 50, 30)], turn=-0.5)
    images = torch.zeros(1, 3, 120, 120)
    x, y = found.mesh[0, 4].round().long().tolist()
    images[0, :, y - 1 : y + 2, x - 1 : x + 2] = 1
    crops = align(images, found, size=200)
    weight = crops.pixels[0, 0] / crops.pixels[0, 0].sum()
    centre = (geometry.pixel_grid(200, 200) * weight[..., None]).sum((0, 1))
    assert (centre - geometry.transform(torch.tensor([[[x, y]]]).float(), crops.matrix)[0, 0]).norm() < 0.3
    assert (centre - crops.mesh[0, 4]).norm() < 0.75 * geometry.scale_of(crops.matrix)[0]


def test_faces_read_their_own_frames(faces, smooth):
    images = smooth(3, 90, 90)
    together = align(images, faces([(2, 40, 40, 20), (0, 50, 40, 25)]), size=48)
    alone = align(images[2:], faces([(0, 40, 40, 20)]), size=48)
    torch.testing.assert_close(together.pixels[:1], alone.pixels, atol=1e-5, rtol=0)
    assert together.frame.tolist() == [2, 0]


@pytest.mark.parametrize("frames", [0, 2])
def test_no_faces_flow_through(frames):
    images = torch.rand(frames, 3, 20, 30)
    crops = align(images, FaceSet.empty(), size=64)
    shapes = [tuple(value.shape) for value in (crops.pixels, crops.mask, crops.matrix, crops.landmarks, crops.mesh)]
    assert shapes == [(0, 3, 64, 64), (0, 1, 64, 64), (0, 2, 3), (0, 5, 2), (0, 468, 2)]
    assert torch.equal(paste(images, crops), images)
    assert torch.equal(paste_mask(images, crops), torch.zeros(frames, 1, 20, 30))


@pytest.mark.parametrize("size", [64, 256])  # the crop smaller and larger than its place
def test_align_then_paste_is_the_picture(faces, smooth, size):
    images = smooth(2, 240, 200)
    crops = align(images, faces([(0, 90, 90, 50), (1, 100, 110, 60)], turn=0.3), size=size)
    pasted = paste(images, crops)
    assert (pasted - images).abs().max() < 0.03
    assert (pasted - images).abs().mean() < 0.003


def test_zero_mask_changes_nothing_bit_for_bit(faces):
    images = torch.rand(2, 3, 120, 100)
    crops = align(images, faces([(0, 50, 50, 30), (1, 20, 30, 25)], turn=0.2), size=96)
    noise = replace(crops, pixels=torch.rand_like(crops.pixels) * torch.nan, mask=torch.zeros_like(crops.mask))
    for dtype in (torch.float32, torch.float16):
        assert torch.equal(paste(images.to(dtype), noise), images.to(dtype))


def test_only_the_pixels_under_the_mask_change(faces):
    images = torch.rand(1, 3, 150, 150)
    crops = align(images, faces([(0, 75, 60, 40)], turn=0.5), size=128)
    crops = replace(crops, mask=mask.feather(mask.hull(crops.mesh, 128), 8), pixels=1 - crops.pixels)
    changed = (paste(images, crops) != images).any(1, keepdim=True)
    covered = paste_mask(images, crops)
    assert changed.any()
    assert not changed[covered == 0].any()
    assert 0 < (covered > 0).float().mean() < 0.5
    assert covered.min() >= 0
    assert covered.max() <= 1


def test_the_mask_is_the_share_of_the_crop(faces):
    images = torch.rand(1, 3, 100, 100)
    crops = align(images, faces([(0, 50, 45, 30)]), size=128)
    crops = replace(crops, mask=mask.feather(crops.mask, 20), pixels=torch.full_like(crops.pixels, 0.25))
    expected = torch.lerp(images, torch.full_like(images, 0.25), paste_mask(images, crops))
    torch.testing.assert_close(paste(images, crops), expected)


def test_two_faces_in_one_frame_are_laid_in_order(faces):
    images = torch.zeros(1, 3, 100, 120)
    crops = align(images, faces([(0, 50, 45, 30), (0, 60, 45, 30)]), size=64)
    levels = torch.tensor([0.3, 0.8])[:, None, None, None]
    crops = replace(crops, pixels=levels.expand_as(crops.pixels))
    assert paste(images, crops)[0, 0, 50, 55] == pytest.approx(0.8)
    assert paste(images, crops[[1, 0]])[0, 0, 50, 55] == pytest.approx(0.3)


def test_identical_faces_are_laid_twice_without_harm(faces, smooth):
    images = smooth(1, 100, 100)
    twice = align(images, faces([(0, 50, 45, 30)] * 2), size=96)
    torch.testing.assert_close(paste(images, twice), paste(images, twice[:1]), atol=0.01, rtol=0)


def test_inputs_are_never_changed(faces):
    images = torch.rand(1, 3, 80, 80)
    crops = align(images, faces([(0, 40, 35, 25)]), size=64)
    crops = replace(crops, pixels=1 - crops.pixels)
    before = images.clone(), crops.pixels.clone(), crops.mask.clone()
    paste(images, crops)
    paste_mask(images, crops)
    for value, kept in zip((images, crops.pixels, crops.mask), before, strict=True):
        assert torch.equal(value, kept)
    assert paste(images, crops[[]]) is not images


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_the_type_of_the_pictures_is_kept(faces, dtype):
    images = torch.rand(1, 3, 80, 80).to(dtype)
    crops = align(images, faces([(0, 40, 35, 25)]), size=64)
    assert crops.pixels.dtype == torch.float32
    assert paste(images, crops).dtype == dtype


@pytest.mark.parametrize("place", [(-10, 40), (85, 40), (40, -15), (40, 95), (-300, -300)])
def test_faces_cut_by_the_border_change_only_what_is_left_of_them(faces, smooth, place):
    images = smooth(1, 80, 80)
    crops = align(images, faces([(0, *place, 30)]), size=64)
    assert crops.pixels.isfinite().all()
    pasted = paste(images, crops)
    assert (pasted - images).abs().max() < 0.03
    black = paste(images, replace(crops, pixels=torch.zeros_like(crops.pixels)))
    assert torch.equal(black != images, (paste_mask(images, crops) > 0).expand_as(images))


@pytest.mark.parametrize("shape", [(1, 1), (40, 3), (3, 40)])
def test_the_smallest_pictures_are_no_error(faces, smooth, shape):
    images = smooth(1, *shape)
    crops = align(images, faces([(0, 1, 1, 20)]), size=64)
    assert crops.pixels.isfinite().all()
    assert (paste(images, crops) - images).abs().max() < 0.05


def test_the_smallest_crop_is_no_error(faces):
    images = torch.rand(1, 3, 60, 60)
    crops = align(images, faces([(0, 30, 25, 20)]), size=1)
    assert paste(images, crops).isfinite().all()


def test_nan_pixels_stay_in_the_rectangle_of_their_face(faces):
    images = torch.rand(2, 3, 120, 200)
    images[0, :, 50:55, 40:45] = torch.nan
    crops = align(images, faces([(0, 42, 50, 20), (0, 150, 50, 20), (1, 42, 50, 20)]), size=64)
    assert crops.pixels[1:].isfinite().all()
    pasted = paste(images, crops)
    assert pasted[0, :, :, 100:].isfinite().all()
    assert pasted[1].isfinite().all()
    touched = paste_mask(images, crops[:1]) > 0
    assert not pasted[:1].isnan().any(1, keepdim=True)[~touched[:1]].any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 7.0])  # the last: all points in one
def test_a_face_without_a_place_changes_nothing(faces, bad):
    images = torch.rand(1, 3, 40, 40)
    found = faces([(0, 20, 18, 12), (0, 20, 18, 12)])
    landmarks = found.landmarks.clone()
    landmarks[0] = bad
    crops = align(images, replace(found, landmarks=landmarks), size=32)
    assert torch.equal(paste(images, crops[:1]), images)
    torch.testing.assert_close(crops.pixels[1:], align(images, found[1:], size=32).pixels)


def test_a_fine_crop_is_averaged_into_a_coarse_place(faces):
    images = torch.zeros(1, 3, 60, 60)
    crops = align(images, faces([(0, 30, 25, 12)]), size=256)
    board = (torch.arange(256)[:, None] + torch.arange(256)).remainder(2).float()
    pasted = paste(images, replace(crops, pixels=board.expand_as(crops.pixels)))
    solid = geometry.warp(crops.mask, geometry.invert(crops.matrix), (60, 60), padding="zeros") == 1
    assert (pasted[solid.expand_as(pasted)] - 0.5).abs().max() < 0.2


def test_paste_is_differentiable_in_the_crops(faces):
    images = torch.rand(1, 3, 50, 50)
    crops = align(images, faces([(0, 25, 22, 15)]), size=32)
    pixels = crops.pixels.clone().requires_grad_()
    paste(images, replace(crops, pixels=pixels)).sum().backward()
    assert pixels.grad is not None
    assert pixels.grad.sum() > 0


@pytest.mark.parametrize("size", [37, 96, 300])
def test_resized_crops_show_the_same_places(faces, size):
    # Every pixel of the picture holds its own place, so the crop says where each of its pixels comes from.
    images = torch.cat([geometry.pixel_grid(120, 160) / 160, torch.zeros(120, 160, 1)], -1).movedim(-1, 0)[None]
    found = faces([(0, 80, 55, 25), (0, 70, 60, 18)], turn=0.4)
    crops = resize(align(images, found, size=128), size)
    grid = geometry.pixel_grid(size, size).view(1, -1, 2)
    expected = geometry.transform(grid, geometry.invert(crops.matrix)).view(2, size, size, 2)
    inner = slice(size // 16, -(size // 16))  # a pixel at the edge has neighbours on one side only
    shown = crops.pixels[:, :2].movedim(1, -1) * 160
    torch.testing.assert_close(shown[:, inner, inner], expected[:, inner, inner], atol=0.02, rtol=0)


@pytest.mark.parametrize("size", [37, 96, 300])
def test_resized_points_agree_with_the_resized_matrix(faces, size):
    images, found = torch.rand(1, 3, 120, 160), faces([(0, 80, 55, 25), (0, 70, 60, 18)], turn=0.4)
    crops = resize(align(images, found, size=128), size)
    torch.testing.assert_close(crops.landmarks, geometry.transform(found.landmarks, crops.matrix), atol=1e-3, rtol=0)
    torch.testing.assert_close(crops.mesh, geometry.transform(found.mesh, crops.matrix), atol=1e-3, rtol=0)
    assert torch.equal(crops.frame, found.frame)


@pytest.mark.parametrize("size", [96, 300])
def test_resized_crops_are_pasted_in_the_same_place(faces, smooth, size):
    images = smooth(2, 240, 200)
    crops = align(images, faces([(0, 90, 90, 50), (1, 100, 110, 60)], turn=0.3), size=160)
    crops = replace(crops, pixels=1 - crops.pixels, mask=mask.feather(mask.hull(crops.mesh, 160), 20))
    resized = resize(crops, size)
    assert (paste(images, resized) - paste(images, crops)).abs().max() < 0.03
    assert (paste_mask(images, resized) - paste_mask(images, crops)).abs().max() < 0.05


def test_crops_of_that_size_are_returned_as_they_are(faces):
    crops = align(torch.rand(1, 3, 60, 60), faces([(0, 30, 25, 20)]), size=48)
    assert resize(crops, 48) is crops


def test_what_is_too_fine_for_a_smaller_crop_is_averaged(faces):
    crops = align(torch.zeros(1, 3, 60, 60), faces([(0, 30, 25, 20)]), size=255)
    board = (torch.arange(255)[:, None] + torch.arange(255)).remainder(2).float()
    small = resize(replace(crops, pixels=board.expand_as(crops.pixels), mask=board[None, None]), 85)
    assert (small.pixels - 0.5).abs().max() < 0.1
    assert (small.mask - 0.5).abs().max() < 0.1


def test_a_full_or_empty_mask_stays_so(faces):
    crops = align(torch.zeros(1, 3, 60, 60), faces([(0, 30, 25, 20)]), size=100)
    for size in (37, 512):
        torch.testing.assert_close(resize(crops, size).mask, torch.ones(1, 1, size, size))
        assert not resize(replace(crops, mask=crops.mask * 0), size).mask.any()


def test_no_crops_are_resized_to_no_crops():
    crops = resize(align(torch.rand(1, 3, 20, 30), FaceSet.empty(), size=64), 512)
    assert crops.size == 512
    assert len(crops) == len(crops.mesh) == 0


@pytest.mark.parametrize("template", [*geometry.TEMPLATES, "ffhq_quad"])
def test_crops_lie_in_their_own_template_and_in_no_other(faces, smooth, template):
    crops = align(smooth(1, 200, 200), faces([(0, 90, 80, 40), (0, 110, 60, 20)], turn=0.2), template, 64)
    assert is_aligned_to(crops, template)
    assert is_aligned_to(resize(crops, 96), template)
    others = {"ffhq_512", "arcface_128", "arcface_112_v1", "mtcnn_512", "dfl_whole_face"} - {template}
    assert not any(is_aligned_to(crops, other) for other in others)


def test_no_crops_lie_in_every_template():
    assert is_aligned_to(align(torch.rand(1, 3, 20, 30), FaceSet.empty(), size=16), "arcface_128")


def _lab(pixels, weight):
    """CIELAB mean and deviation under a mask, by scikit-image."""
    lab = torch.from_numpy(rgb2lab(pixels[0].movedim(0, -1).double().numpy()))[weight[0, 0] == 1]
    return torch.cat([lab.mean(0), lab.std(0, unbiased=False)])


def test_matched_crops_have_the_colours_of_what_lies_under_them(faces, smooth):
    images = smooth(1, 120, 130) * 0.5 + 0.2
    crops = align(images, faces([(0, 60, 50, 30)]), size=64)
    inside = (mask.hull(crops.mesh, 64) == 1).float()
    tinted = replace(crops, pixels=crops.pixels * torch.tensor([0.6, 0.5, 0.7])[:, None, None] + 0.1, mask=inside)
    done, half = (match_colour(images, tinted, strength) for strength in (1.0, 0.5))
    torch.testing.assert_close(_lab(done.pixels, inside), _lab(crops.pixels, inside), atol=0.1, rtol=0)
    assert (_lab(tinted.pixels, inside) - _lab(crops.pixels, inside)).abs().max() > 5
    torch.testing.assert_close(half.pixels, (tinted.pixels + done.pixels) / 2)
    assert torch.equal(done.mask, tinted.mask)


def test_each_crop_is_matched_to_its_own_picture(faces, smooth):
    images = torch.cat([smooth(1, 120, 130) * 0.3, smooth(1, 120, 130) * 0.3 + 0.6])
    crops = align(images, faces([(0, 60, 50, 30), (1, 60, 50, 30)]), size=64)
    swapped = replace(crops, pixels=crops.pixels.flip(0))
    assert (swapped.pixels - crops.pixels).abs().mean() > 0.5
    assert (match_colour(images, swapped).pixels - crops.pixels).abs().mean() < 0.01


def test_no_colour_match_is_the_crops(faces, smooth):
    crops = align(smooth(1, 120, 130), faces([(0, 60, 50, 30)]), size=64)
    assert match_colour(smooth(1, 120, 130), crops, 0) is crops
    with pytest.raises(ValueError, match="between 0 and 1"):
        match_colour(smooth(1, 120, 130), crops, 1.5)


def _crowd(faces):
    return faces([(frame, 60.0 + 3 * place, 50.0, 20.0 + place) for place in range(5) for frame in (0, 1)])


@pytest.mark.parametrize("most", [3, 8])
def test_faces_look_the_same_however_many_are_worked_on_together(faces, smooth, monkeypatch, most):
    def work():
        crops = align(images, _crowd(faces), size=64)
        crops = feather_mask(
            apply_mask(replace(crops, mask=editable_area(crops)), MaskOptions("box", 0.02, 0.05, True, True)), 0.05
        )
        return match_colour(images, replace(crops, pixels=crops.pixels * 0.7), 0.8)

    images = smooth(2, 120, 130)
    one = work()
    for module in ("align", "swappers.base", "mask", "paste"):
        monkeypatch.setattr(f"cscs_core.faces.{module}.max_batch", lambda device: most)
    torch.testing.assert_close(work().pixels, one.pixels, atol=1e-5, rtol=0)
    torch.testing.assert_close(work().mask, one.mask, atol=1e-5, rtol=0)


def test_every_step_can_be_stopped_between_two_faces(faces, smooth):
    images, crowd, asked = smooth(2, 120, 130), _crowd(faces), []
    crops = align(images, crowd, size=64)
    steps = {
        "align": lambda check_cancel: align(images, crowd, size=64, check_cancel=check_cancel),
        "reach": lambda check_cancel: editable_area(crops, check_cancel),
        "masked": lambda check_cancel: apply_mask(crops, MaskOptions(), check_cancel=check_cancel),
        "softened": lambda check_cancel: feather_mask(crops, 0.1, check_cancel),
        "match_colour": lambda check_cancel: match_colour(images, crops, 1.0, check_cancel),
        "paste": lambda check_cancel: paste(images, crops, check_cancel),
        "paste_mask": lambda check_cancel: paste_mask(images, crops, check_cancel),
    }
    for name, step in steps.items():
        asked.clear()
        step(lambda: asked.append(1))
        assert len(asked) == len(crowd), name


def test_a_large_face_is_laid_back_in_bands(faces, smooth, monkeypatch):
    images, asked = smooth(1, 240, 200), []
    crops = align(images, faces([(0, 90, 90, 50)], turn=0.3), size=160)
    crops = replace(crops, pixels=1 - crops.pixels, mask=mask.feather(mask.hull(crops.mesh, 160), 20))
    whole = paste(images, crops)
    monkeypatch.setattr("cscs_core.faces.paste._BAND", 1000)
    banded = paste(images, crops, lambda: asked.append(1))
    torch.testing.assert_close(banded, whole, atol=1e-4, rtol=0)
    assert len(asked) > 10


def test_only_what_the_mask_shows_is_worked_on(faces, smooth, monkeypatch):
    images, sizes = smooth(1, 240, 200), []
    crops = align(images, faces([(0, 90, 90, 50), (0, 90, 90, 50)]), size=160)
    areas = torch.zeros_like(crops.mask)
    areas[0, 0, 70:90, 60:100] = 1
    warp = geometry.warp
    monkeypatch.setattr("cscs_core.faces.paste.warp", lambda *a, **k: (sizes.append(a[2]), warp(*a, **k))[1])
    crops = replace(crops, pixels=1 - crops.pixels, mask=areas)
    done = paste(images, crops)
    scale = 1 / geometry.scale_of(crops.matrix[:1]).item()
    assert len(sizes) == 2 and sizes[0] == pytest.approx((21 * scale, 41 * scale), abs=3)
    changed = paste_mask(images, crops) > 0
    assert torch.equal(done.where(~changed, 0), images.where(~changed, 0)) and (done != images).any()
    assert changed.sum() == pytest.approx(20 * 40 * scale**2, rel=0.15)


@pytest.mark.parametrize("shift", [(40.0, 0.0), (-40.0, 0.0), (0.0, 40.0), (0.0, -40.0)])
def test_a_crop_beside_the_picture_changes_nothing(shift: tuple[float, float]):
    image = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    matrix = torch.tensor([[[1.0, 0.0, shift[0]], [0.0, 1.0, shift[1]]]])
    points = torch.zeros(1, 5, 2)
    white = torch.ones(1, 1, 8, 8)
    crops = Crops(torch.ones(1, 3, 8, 8), white, matrix, points, points[:, :1].expand(1, 468, 2), torch.tensor([0]))
    assert torch.equal(paste(image, crops), image)


@pytest.mark.parametrize("turn", [0.0, 0.4])
@pytest.mark.parametrize("size", [16, 64, 300])  # crops smaller and larger than their place
def test_the_mask_of_a_paste_is_a_warp_over_the_whole_frame(faces, smooth, size, turn):
    images = smooth(1, 120, 130)
    crops = align(images, faces([(0, 60, 50, 30)], turn=turn), size=size)
    hard = torch.zeros_like(crops.mask)
    hard[..., size // 3 : -size // 4, size // 4 : -size // 5] = 1
    expected = geometry.warp(hard, geometry.invert(crops.matrix), (120, 130), padding="zeros")
    torch.testing.assert_close(paste_mask(images, replace(crops, mask=hard)), expected, atol=1e-4, rtol=0)


def test_not_a_number_under_a_hole_of_the_mask_stays_out_of_the_picture(faces, smooth):
    images = smooth(1, 120, 130)
    crops = align(images, faces([(0, 60, 50, 30)], turn=0.4), size=64)
    hole, bad = crops.mask.clone(), crops.pixels.clone()
    hole[..., 20:44, 20:44] = 0
    bad[..., 24:40, 24:40] = torch.nan
    assert paste(images, replace(crops, mask=hole, pixels=bad)).isfinite().all()


def test_a_face_of_which_nothing_is_laid_does_not_stop_the_others(faces, smooth):
    images = smooth(1, 120, 130)
    crops = align(images, faces([(0, 60, 50, 30), (0, 70, 60, 25)]), size=64)
    crops = replace(crops, mask=crops.mask * torch.tensor([0.0, 1.0]).view(2, 1, 1, 1), pixels=1 - crops.pixels)
    assert torch.equal(paste(images, crops), paste(images, crops[1:]))
