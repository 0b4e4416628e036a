from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from cscs_core.faces.align import align
from cscs_core.faces.mask import KEEP_MASK, KINDS, MaskOptions, apply_mask, feather_mask, warp_limit
from cscs_core.ops import geometry, mask
from cscs_core.types import Crops, FaceSet

SIZE = 96


@pytest.fixture
def crops(faces, smooth) -> Crops:
    cut = align(smooth(2, 120, 130), faces([(0, 60, 50, 30), (1, 66, 44, 24)]), size=SIZE)
    return replace(cut, mask=torch.rand_like(cut.mask))


def at(crops: Crops, point: int, row: int = 0) -> float:
    """The mask at one of the five landmarks: eyes 0 1, nose 2, mouth corners 3 4."""
    x, y = crops.landmarks[row, point].round().long().tolist()
    return float(crops.mask[row, 0, y, x])


@pytest.mark.parametrize("combine", ["multiply", "replace"])
def test_the_whole_crop_leaves_the_mask_or_makes_it_white(crops, combine):
    done = apply_mask(crops, MaskOptions("whole", combine=combine))
    assert torch.equal(done.mask, crops.mask if combine == "multiply" else torch.ones_like(crops.mask))
    assert torch.equal(done.pixels, crops.pixels) and torch.equal(done.matrix, crops.matrix)


@pytest.mark.parametrize("grow", [-0.1, 0.0, 0.05])
def test_the_hull_is_the_outline_of_the_face_grown_and_feathered(crops, grow):
    outline = mask.feather(mask.grow(mask.hull(crops.mesh, SIZE), grow * SIZE), 0.04 * SIZE)
    done = apply_mask(crops, MaskOptions("hull", grow, 0.04))
    torch.testing.assert_close(done.mask, crops.mask * outline)


@pytest.mark.parametrize("grow", [-0.1, 0.0, 0.05])
def test_the_box_is_the_rectangle_around_the_mesh(crops, grow):
    done = apply_mask(crops, MaskOptions("box", grow, combine="replace")).mask
    low, high = crops.mesh.amin(1) - grow * SIZE, crops.mesh.amax(1) + grow * SIZE
    torch.testing.assert_close(done.sum((1, 2, 3)), (high - low).prod(-1), rtol=1e-2, atol=0)
    for row in range(len(crops)):
        inside = (done[row, 0] >= 0.5).nonzero().float()
        torch.testing.assert_close(inside.amin(0).flip(0), low[row], atol=1.0, rtol=0)
        torch.testing.assert_close(inside.amax(0).flip(0), high[row], atol=1.0, rtol=0)


def test_shrinking_takes_from_the_whole_crop_too_and_may_leave_nothing(crops):
    inner = apply_mask(crops, MaskOptions("whole", -0.25, combine="replace")).mask
    assert torch.equal(inner[..., 24:72, 24:72], torch.ones(2, 1, 48, 48)) and inner.sum() == 2 * 48 * 48
    for kind in ("hull", "box", "whole"):
        assert not apply_mask(crops, MaskOptions(kind, -0.5)).mask.any(), kind


@pytest.mark.parametrize("kind", ["hull", "box", "whole"])
def test_eyes_and_mouth_are_kept_and_the_nose_is_not(crops, kind):
    white = replace(crops, mask=torch.ones_like(crops.mask))
    eyes = apply_mask(white, MaskOptions(kind, 0.1, keep_eyes=True))
    mouth = apply_mask(white, MaskOptions(kind, 0.1, keep_mouth=True))
    both = apply_mask(white, MaskOptions(kind, 0.1, keep_eyes=True, keep_mouth=True))
    for row in range(2):
        for done, expected in ((eyes, [0, 0, 1, 1, 1]), (mouth, [1, 1, 1, 0, 0]), (both, [0, 0, 1, 0, 0])):
            assert [at(done, point, row) for point in range(5)] == pytest.approx(expected, abs=0.01)
    lids = mask.eyes(crops.mesh, SIZE)
    assert not eyes.mask[lids > 0].any()


def test_a_limit_says_where_anything_may_change(crops):
    limit = torch.zeros(1, 1, SIZE, SIZE)
    limit[..., :48] = 0.5
    for combine in ("multiply", "replace"):
        free, bound = (apply_mask(crops, MaskOptions(combine=combine), area) for area in (None, limit))
        torch.testing.assert_close(bound.mask, free.mask * limit)


def test_attention_is_stretched_from_its_least_to_its_most(crops):
    slope = torch.linspace(0.4, 0.5, SIZE).expand(2, 1, SIZE, SIZE)
    done = apply_mask(crops, MaskOptions("attention", combine="replace"), attention=slope).mask
    assert not done[..., :4].any() and (done[..., -4:] == 1).all()
    torch.testing.assert_close(done[..., 48], torch.full((2, 1, SIZE), 0.5), atol=0.02, rtol=0)


def test_attention_that_is_the_same_everywhere_limits_nothing(crops):
    done = apply_mask(crops, MaskOptions("attention"), attention=torch.full_like(crops.mask, 0.3))
    assert torch.equal(done.mask, crops.mask)


def test_attention_without_a_swapper_is_told_what_is_missing(crops):
    with pytest.raises(ValueError, match="connect a swapper and an identity"):
        apply_mask(crops, MaskOptions("attention"))


@pytest.mark.parametrize("kind", KINDS)
def test_no_faces_flow_through(kind):
    none = align(torch.rand(1, 3, 20, 30), FaceSet.empty(), size=SIZE)
    assert len(apply_mask(none, MaskOptions(kind, 0.1, 0.1, True, True))) == 0
    assert len(feather_mask(none, 0.1)) == 0


@pytest.mark.parametrize("options", [{"kind": "oval"}, {"combine": "add"}, {"grow": 0.6}, {"feather": -0.1}])
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(ValueError, match=next(str(value) for value in options.values())):
        MaskOptions(**options)


def test_options_for_nothing_are_the_mask_as_it_is(crops):
    assert torch.equal(apply_mask(crops, KEEP_MASK).mask, crops.mask)


def test_a_mask_of_the_pictures_is_seen_as_the_pictures_are(crops, faces):
    masks = torch.rand(2, 1, 120, 130)
    there = warp_limit(masks, crops)
    cut = align(masks.expand(-1, 3, -1, -1), faces([(0, 60, 50, 30), (1, 66, 44, 24)]), size=SIZE)
    assert torch.equal(there, cut.pixels[:, :1])
    alone = warp_limit(masks[:1], crops)  # the last one serves the pictures beyond it
    assert torch.equal(alone[1:], geometry.warp(masks[:1], crops.matrix[1:], SIZE))


def test_a_mask_of_another_size_than_the_pictures_is_refused(crops):
    with pytest.raises(ValueError, match="the mask is 64 x 32 and a face lies outside it"):
        warp_limit(torch.ones(1, 1, 32, 64), crops)
    with pytest.raises(ValueError, match="It is all black, as from Load Image without a painted mask: disconnect"):
        warp_limit(torch.zeros(1, 1, 32, 64), crops)


def test_softening_leaves_soft_masks_of_the_face_alone_and_ends_before_the_border(crops):
    face = replace(crops, mask=mask.feather(mask.hull(crops.mesh, SIZE), 4))
    assert torch.equal(feather_mask(face, 0).mask, face.mask)
    square = feather_mask(replace(crops, mask=torch.ones_like(crops.mask)), 0).mask
    assert not square[..., 0, :].any() and not square[..., :, -1].any() and (square[..., 6:-6, 6:-6] == 1).all()
    softer = feather_mask(face, 0.1).mask
    assert (softer <= face.mask).all() and softer.sum() < 0.8 * face.mask.sum()


def test_what_is_kept_ends_softly(crops):
    white = replace(crops, mask=torch.ones_like(crops.mask))
    kept = apply_mask(white, MaskOptions("whole", keep_eyes=True, keep_mouth=True)).mask
    steps = torch.maximum(kept.diff(dim=-1).abs().amax(), kept.diff(dim=-2).abs().amax())
    assert steps < 0.75 and ((kept > 0.1) & (kept < 0.9)).sum() > 50


def test_the_teeth_of_an_open_mouth_are_kept_with_the_lips(crops):
    points = crops.mesh.clone()
    points[:, [95, 88, 178, 87, 14, 317, 402, 318, 324], 1] += 12  # the lower lip's inner edge
    points[:, [146, 91, 181, 84, 17, 314, 405, 321, 375], 1] += 12
    wide = replace(crops, mesh=points, mask=torch.ones_like(crops.mask))
    teeth = mask.mouth(points, SIZE) > 0.5
    assert teeth.sum() > 100
    assert not apply_mask(wide, MaskOptions("whole", keep_mouth=True)).mask[teeth].any()


def test_attention_is_blurred_by_the_feather_and_ends_before_the_border(crops):
    step = torch.zeros_like(crops.mask)
    step[..., SIZE // 2 :] = 1
    hard, soft = (
        apply_mask(crops, MaskOptions("attention", 0.0, feather, combine="replace"), attention=step).mask
        for feather in (0.0, 0.1)
    )
    assert torch.equal(hard, step)
    rise = soft[0, 0, SIZE // 2]
    assert rise.diff().max() < 0.15 and rise[SIZE // 2 - 1 : SIZE // 2 + 1].mean() == pytest.approx(0.5, abs=0.01)
    assert not soft[..., 0, :].any() and not soft[..., -1].any()


def test_every_crop_has_its_own_limit(crops):
    limits = torch.stack([torch.zeros(1, SIZE, SIZE), torch.ones(1, SIZE, SIZE)])
    done = apply_mask(crops, KEEP_MASK, limits).mask
    assert not done[0].any() and torch.equal(done[1], crops.mask[1])


def test_a_face_far_to_the_right_of_a_wide_picture_lies_in_it(faces, smooth):
    cut = align(smooth(1, 60, 200), faces([(0, 150, 30, 15)]), size=SIZE)
    assert (warp_limit(torch.ones(1, 1, 60, 200), cut) > 0.999).all()
    with pytest.raises(ValueError, match="the mask is 60 x 200 and a face lies outside"):
        warp_limit(torch.ones(1, 1, 200, 60), cut)


def test_a_limit_is_a_share(crops):
    there = warp_limit(torch.rand(2, 1, 120, 130) * 3 - 1, crops)
    assert there.min() == 0 and there.max() == 1


def test_kept_parts_are_black_to_the_last_bit_in_small_crops_too(faces, smooth):
    small = align(smooth(1, 120, 130), faces([(0, 60, 50, 30)]), size=37)  # a blur of ones is not always one there
    lids = mask.eyes(small.mesh, 37) > 0
    assert not apply_mask(small, MaskOptions("whole", keep_eyes=True)).mask[lids].any()


@pytest.mark.parametrize("shift", [(0.0, 24.0), (40.0, 0.0), (-40.0, 0.0)])
def test_a_mouth_at_the_border_of_its_crop_is_kept_to_the_border(crops, shift):
    moved = replace(crops, mesh=crops.mesh + torch.tensor(shift), mask=torch.ones_like(crops.mask))
    lips = mask.lips(moved.mesh, SIZE) > 0
    assert torch.stack([lips[..., -1, :].any(), lips[..., 0].any(), lips[..., -1].any()]).any()
    assert not apply_mask(moved, MaskOptions("whole", keep_mouth=True)).mask[lips].any()
