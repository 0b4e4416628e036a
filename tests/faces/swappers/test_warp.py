"""The warp swapper on painted faces: mean faces with skin, brows, eyes and lips in flat colours."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cscs_core.faces.align import align
from cscs_core.faces.paste import paste, paste_mask
from cscs_core.faces.swappers.warp import (
    WarpSwapper,
    hair_cover,
    hair_prior,
    mirror_share,
    nearest_pose,
    openness,
    pose,
    proportions,
    relight,
)
from cscs_core.ops import colour, geometry, mask, mesh
from cscs_core.types import Crops, Identity

SIZE = 256
SKIN, LIPS, BROW, EYE = (0.80, 0.62, 0.52), (0.70, 0.35, 0.35), (0.35, 0.25, 0.20), (0.9, 0.9, 0.9)


def points(turn: float = 0.0, size: int = SIZE) -> Tensor:
    """The mean face in an ffhq_512 crop; turned ones have everything but the outline moved sideways by its depth."""
    face = mesh.mean_face()[None].clone()
    depth = (1 - (face[..., 0] / 0.75).square() - ((face[..., 1] - 0.4) / 1.1).square()).clamp_min(0)
    face[..., 0] += turn * depth
    target = geometry.template("ffhq_512", size)[None]
    return geometry.transform(face, geometry.similarity(mesh.five(mesh.mean_face()[None]), target))


def mirrored(face: Tensor, size: int = SIZE) -> Tensor:
    return face[:, mesh.mirror()] * torch.tensor([-1.0, 1.0]) + torch.tensor([size - 1.0, 0.0])


def paint(face: Tensor, skin: tuple[float, ...] = SKIN, seed: int = 0) -> Tensor:
    """A picture of that mesh with pores, (F, 3, S, S)."""
    pores = torch.rand(len(face), 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) - 0.5
    out = torch.tensor(skin).view(1, 3, 1, 1) + 0.1 * colour.gaussian_blur(pores, 1)
    for part, paints in ((mask.lips, LIPS), (mask.brows, BROW), (mask.eyes, EYE)):
        cover = part(face, SIZE)
        out = out + (torch.tensor(paints).view(1, 3, 1, 1) - out) * cover
    return out


def crops(face: Tensor, pixels: Tensor) -> Crops:
    return Crops(
        pixels,
        torch.ones(len(face), 1, SIZE, SIZE),
        torch.eye(2, 3).expand(len(face), 2, 3).clone(),
        mesh.five(face),
        face,
        torch.zeros(len(face), dtype=torch.long),
    )


def person(face: Tensor, pixels: Tensor) -> Identity:
    embedding = torch.nn.functional.normalize(torch.ones(len(face), 8), dim=-1)
    return Identity(crops(face, pixels), embedding, torch.ones(len(face)))


def background(seed: int = 5) -> Tensor:
    noise = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return 0.3 + 0.4 * colour.gaussian_blur(noise, 3)


def portrait(face: Tensor, skin: tuple[float, ...] = SKIN, seed: int = 0) -> Tensor:
    """A painted face on a background."""
    head = mask.grow(mask.hull(face, SIZE), 12)
    return background() + (paint(face, skin, seed) - background()) * head


SWAPPER = WarpSwapper()


def test_a_face_swapped_with_itself_changes_little():
    one = crops(points(), portrait(points()))
    done = SWAPPER(one, Identity(one, torch.ones(1, 8), torch.ones(1)))
    inside = mask.hull(one.mesh, SIZE).expand(1, 3, -1, -1) > 0.5
    apart = (done.pixels - one.pixels).abs()
    assert apart[inside].mean() < 0.004
    assert apart[inside].max() < 0.1
    assert done.mask.mean() > 0.1


def test_nothing_changes_outside_the_face(faces):
    image = torch.rand(1, 3, 300, 320)
    found = faces([(0, 150.0, 110.0, 90.0)], turn=0.2)
    cut = align(image, found, size=SIZE)
    done = SWAPPER(cut, person(points(), portrait(points())))
    assert (done.mask[mask.grow(mask.hull(cut.mesh, SIZE), 0.03 * SIZE) == 0] == 0).all()
    pasted, touched = paste(image, done), paste_mask(image, done).expand_as(image) > 0
    assert torch.equal(pasted[~touched], image[~touched])
    assert (pasted[touched] != image[touched]).float().mean() > 0.9
    inside = torch.zeros(300, 320, dtype=torch.bool)
    x1, y1, x2, y2 = (found.box[0] + torch.tensor([-10, -10, 10, 10])).long().tolist()
    inside[y1:y2, x1:x2] = True
    assert not touched[0, 0][~inside].any()


def test_the_mask_keeps_what_the_crop_forbids():
    one = crops(points(), portrait(points()))
    one.mask[..., : SIZE // 2] = 0
    assert not SWAPPER(one, person(points(), portrait(points()))).mask[..., : SIZE // 2].any()


def test_the_sources_light_does_not_matter():
    target = crops(points(0.05), portrait(points(0.05)))
    source = paint(points(), (0.7, 0.5, 0.4), seed=3)
    ramp = torch.linspace(0.6, 1.0, SIZE)
    bright, dark, lit = (SWAPPER(target, person(points(), source * light)).pixels for light in (1, 0.6, ramp))
    inside = mask.hull(target.mesh, SIZE).expand(1, 3, -1, -1) > 0.5
    assert (bright - dark).abs()[inside].mean() < 0.012
    assert (bright - lit).abs()[inside].mean() < 0.012


@pytest.mark.parametrize("skin", [(0.35, 0.22, 0.15), (0.95, 0.8, 0.75), (0.3, 0.4, 0.8)])
def test_the_targets_colour_stays(skin):
    target = crops(points(), portrait(points()))
    done = SWAPPER(target, person(points(), paint(points(), skin, seed=2)))
    cheek = mask.hull(target.mesh, SIZE) * (1 - SWAPPER.features(target.mesh, SIZE))
    before, after = (((x * cheek).sum((2, 3)) / cheek.sum((2, 3))) for x in (target.pixels, done.pixels))
    assert (before - after).abs().max() < 0.02


def test_a_black_and_white_target_stays_black_and_white():
    grey = portrait(points()).mean(1, keepdim=True).expand(-1, 3, -1, -1)
    target = crops(points().repeat(2, 1, 1), torch.cat([grey, portrait(points())]))
    done = SWAPPER(target, person(points(), paint(points(), (0.9, 0.6, 0.4), seed=2)))
    apart = (done.pixels.amax(1) - done.pixels.amin(1)).amax((1, 2))
    assert apart[0] < 1e-4
    assert apart[1] > 0.1


def test_a_mole_of_the_source_comes_to_its_place():
    source = portrait(points(0.1))
    spot = points(0.1)[0, 50].round().long().tolist()  # a mole on the left cheek
    source[..., spot[1] - 3 : spot[1] + 4, spot[0] - 3 : spot[0] + 4] *= 0.3
    done = SWAPPER(crops(points(), portrait(points())), person(points(0.1), source))
    x, y = points()[0, 50].round().long().tolist()
    assert done.pixels[0, :, y, x].mean() < 0.8 * done.pixels[0, :, y, x + 14].mean()


def test_a_batch_is_its_rows():
    face = torch.cat([points(), points(0.15), mirrored(points(0.2)) + 3])
    target = crops(face, torch.cat([portrait(row[None], seed=n) for n, row in enumerate(face)]))
    who = person(torch.cat([points(), points(0.2)]), torch.cat([portrait(points(), seed=8), portrait(points(0.2))]))
    whole = SWAPPER(target, who)
    for row in range(3):
        alone = SWAPPER(target[[row]], who)
        torch.testing.assert_close(whole.pixels[[row]], alone.pixels, rtol=0, atol=2e-3)
        torch.testing.assert_close(whole.mask[[row]], alone.mask, rtol=0, atol=2e-3)


def test_no_faces_flow_through():
    none = crops(points(), portrait(points()))[[]]
    assert len(SWAPPER(none, person(points(), portrait(points())))) == 0


@pytest.mark.parametrize("spoilt", ["target", "source", "both"])
@pytest.mark.parametrize("how", ["point", "line", "nan", "far", "upside down"])
def test_spoilt_meshes_give_numbers(how, spoilt):
    bad = {
        "point": points() * 0 + 100,
        "line": points() * torch.tensor([1.0, 0.0]) + torch.tensor([0.0, 90.0]),
        "nan": points() * torch.nan,
        "far": points() + 1e5,
        "upside down": points() * torch.tensor([1.0, -1.0]) + torch.tensor([0.0, SIZE - 1.0]),
    }[how]
    target, source = (bad if spoilt in (side, "both") else points() for side in ("target", "source"))
    done = SWAPPER(crops(target, background()), person(source, portrait(points())))
    assert done.pixels.isfinite().all()
    assert done.mask.isfinite().all()


def test_a_photo_of_another_size_is_the_same_person():
    target = crops(points(), portrait(points()))
    source = crops(points(), colour.gaussian_blur(portrait(points(), seed=4), 2))
    double = torch.nn.functional.interpolate(source.pixels, scale_factor=2.0, mode="bilinear")
    large = replace(source, pixels=double, mesh=source.mesh * 2 + 0.5)
    small, big = (SWAPPER(target, Identity(one, torch.ones(1, 8), torch.ones(1))).pixels for one in (source, large))
    assert (small - big).abs().mean() < 0.002


def test_eyes_and_mouth_are_kept_where_asked():
    target = crops(points(), portrait(points()))
    source = paint(points(), seed=9)
    source = source + (1 - 2 * source) * torch.maximum(mask.eyes(points(), SIZE), mask.lips(points(), SIZE))
    plain = (SWAPPER(target, person(points(), source)).pixels - target.pixels).abs()
    kept = replace(SWAPPER, keep_eyes=True, keep_mouth=True)
    after = (kept(target, person(points(), source)).pixels - target.pixels).abs()
    for part in (mask.eyes, mask.lips):
        inside = part(points(), SIZE).expand(1, 3, -1, -1) > 0.9
        assert plain[inside].mean() > 0.1
        assert after[inside].mean() < 0.25 * plain[inside].mean()  # broad bands of the blend reach in


def test_a_shut_source_keeps_the_open_targets_eyes_and_teeth():
    opened = points()
    opened[:, 14, 1] += 20
    shut = points()
    lids = [(159, 145), (386, 374)]
    for upper, lower in lids:
        shut[:, [upper, lower]] = shut[:, [upper, lower]].mean(1, keepdim=True)
    kept = SWAPPER.preserved_mask(shut, opened, opened, SIZE)
    for part in (mask.mouth, mask.eyes):
        inside = part(opened, SIZE) == 1
        assert inside.any()
        assert (kept[inside] == 1).all()
    assert not SWAPPER.preserved_mask(opened, opened, opened, SIZE).any()


def test_the_mean_face_looks_straight_ahead():
    assert pose(points())[0, 0].abs() < 1e-3


def test_turns_change_sign_in_the_mirror_and_nods_do_not():
    face = points(0.3)
    turn, nod = pose(face)[0].tolist()
    assert turn > 0.1
    assert pose(mirrored(face))[0].tolist() == pytest.approx([-turn, nod], abs=1e-4)


def test_pose_does_not_depend_on_place_roll_or_size():
    face = points(0.2)
    angle = torch.tensor(0.4)
    roll = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()]).view(2, 2)
    torch.testing.assert_close(pose(face @ roll.T * 1.7 + 20), pose(face), rtol=0, atol=1e-4)


def test_the_mirrored_photo_is_taken_for_the_other_side():
    photo = portrait(points(0.3))
    pixels, face = nearest_pose(mirrored(points(0.3)), crops(points(0.3), photo))
    assert torch.equal(pixels, photo.flip(-1))
    torch.testing.assert_close(face, mirrored(points(0.3)))


def test_each_face_takes_the_photo_turned_most_like_it():
    poses = torch.cat([points(turn) for turn in (0.0, 0.3, -0.3)])
    references = crops(poses, torch.arange(3.0).view(3, 1, 1, 1).expand(3, 3, SIZE, SIZE))
    wanted = torch.cat([points(turn) for turn in (-0.28, 0.02, 0.31, -0.4)])
    pixels, face = nearest_pose(wanted, references)
    assert pixels[:, 0, 0, 0].tolist() == [2, 0, 1, 2]
    assert torch.equal(face, poses[[2, 0, 1, 2]])


def test_a_small_turn_the_other_way_is_no_reason_to_mirror():
    photo = portrait(points(0.02))
    assert torch.equal(nearest_pose(points(-0.02), crops(points(0.02), photo))[0], photo)


def test_a_frontal_face_borrows_nothing_from_its_mirror_image():
    assert mirror_share(points()).max() < 1e-3


def test_the_squeezed_side_is_borrowed():
    face = points()
    middle = face[:, 4:5, 0]
    away = face[..., 0] - middle
    face[..., 0] = torch.where(away < 0, middle + 0.2 * away, face[..., 0])  # the viewer's left is turned away
    share = mirror_share(face)[0]
    left, right = mesh.mean_face()[:, 0] < -0.25, mesh.mean_face()[:, 0] > 0.3
    assert share[left].min() > 0.9
    assert share[right].max() < 0.02


def test_openings_are_gap_over_width():
    face = torch.zeros(2, mesh.POINTS, 2)
    face[:, 78], face[:, 308] = torch.tensor([10.0, 50]), torch.tensor([50.0, 50])
    face[0, 13], face[0, 14] = torch.tensor([30.0, 45]), torch.tensor([30.0, 55])
    face[1, 13] = face[1, 14] = torch.tensor([30.0, 50])
    assert openness(face, "mouth").tolist() == [0.25, 0]
    face[:, 33], face[:, 133] = torch.tensor([0.0, 0]), torch.tensor([20.0, 0])
    face[:, 263], face[:, 362] = torch.tensor([60.0, 0]), torch.tensor([40.0, 0])
    face[0, 159], face[0, 145] = torch.tensor([10.0, -3]), torch.tensor([10.0, 3])  # 0.3 open
    face[0, 386], face[0, 374] = torch.tensor([50.0, -1]), torch.tensor([50.0, 1])  # 0.1 open
    assert openness(face, "eyes").tolist() == pytest.approx([0.2, 0])


def test_proportions_by_nothing_are_the_targets():
    source = points() * torch.tensor([1.1, 0.9]) + 4 * torch.randn(1, mesh.POINTS, 2)
    torch.testing.assert_close(proportions(source, points(), 0.0), points(), rtol=0, atol=1e-2)


def test_proportions_of_the_same_face_in_another_place_are_the_targets():
    source = points() * torch.tensor([1.2, 0.9]) + 11
    torch.testing.assert_close(proportions(source, points(), 1.0), points(), rtol=0, atol=0.05)


def test_parts_move_towards_the_sources_proportions_and_the_outline_stays():
    eyes = [list(mesh.LEFT_EYE), list(mesh.RIGHT_EYE)]
    source = points()
    source[:, eyes[0], 0] -= 5
    source[:, eyes[1], 0] += 5  # eyes wide apart

    def apart(face: Tensor) -> float:
        return float((face[0, eyes[1]] - face[0, eyes[0]]).mean(0)[0])

    target = points()
    half, full = (proportions(source, target, amount) for amount in (0.5, 1.0))
    assert apart(target) + 2 < apart(half) < apart(full) - 1 < apart(source)
    outline = list(mesh.OVAL)
    assert (full[:, outline] - target[:, outline]).norm(dim=-1).max() < 0.7


def _skin(face: Tensor) -> Tensor:
    return mask.hull(face, SIZE) * (1 - SWAPPER.features(face, SIZE))


def test_plain_skin_under_a_lamp_from_the_side_is_no_hair():
    face = points()
    bare = torch.tensor(SKIN).view(1, 3, 1, 1)
    grid = geometry.pixel_grid(SIZE, SIZE)
    lamp = 0.75 + 0.4 * (grid[..., 0] / SIZE - 0.5) - 0.2 * (grid[..., 1] / SIZE - 0.5)
    assert hair_cover(bare * lamp, _skin(face), hair_prior(face, SIZE)).max() < 0.1


def test_a_dark_band_on_the_forehead_is_hair_and_the_skin_below_is_not():
    face = points()
    picture = paint(face)
    line = int(face[0, 9, 1])
    picture[..., :line, :] = torch.tensor([0.12, 0.08, 0.06]).view(3, 1, 1)
    found = hair_cover(picture, _skin(face), hair_prior(face, SIZE))
    top = mask.hull(face, SIZE)[0, 0] * (geometry.pixel_grid(SIZE, SIZE)[..., 1] < face[0, 151, 1])
    assert found[0, 0][top > 0.5].mean() > 0.8
    assert found[..., line + 12 :, :].max() < 0.1


def test_hair_lies_on_the_forehead_and_the_sides_only():
    region = hair_prior(points(), SIZE)[0, 0]
    assert region.min() >= 0
    assert region.max() <= 1 + 1e-5
    for number, least, most in ((10, 0.9, 1), (234, 0.9, 1), (4, 0, 0.01), (0, 0, 0.01), (152, 0, 0.01)):
        x, y = points()[0, number].round().long().tolist()
        near = region[y - 3 : y + 4, x - 3 : x + 4].max()
        assert least <= near <= most + 1e-5, number


def test_light_that_is_already_there_changes_nothing():
    pixels, slow = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8) * 0.5 + 0.2
    torch.testing.assert_close(relight(pixels, slow, slow), pixels, rtol=0, atol=1e-5)


def test_flat_pixels_become_the_wanted_light():
    own, wanted = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    torch.testing.assert_close(relight(own, own, wanted), wanted, rtol=0, atol=1e-5)


def test_a_photo_of_no_weight_is_not_used():
    photos = crops(points().expand(2, -1, -1), torch.rand(2, 3, SIZE, SIZE))
    both = Identity(photos, torch.ones(2, 8), torch.tensor([0.0, 1.0]))
    kept = SWAPPER.encode(both)
    assert torch.equal(kept.crops.pixels, photos.pixels[1:]) and kept.weight.tolist() == [1.0]


@pytest.mark.parametrize(("share", "kept"), [(0.4, True), (0.6, False)])
def test_eyes_are_shut_from_less_than_half_as_open_as_the_targets(share, kept):
    narrow = points()
    for upper, lower in ((159, 145), (386, 374)):
        middle = narrow[:, [upper, lower]].mean(1, keepdim=True)
        narrow[:, [upper, lower]] = middle + (narrow[:, [upper, lower]] - middle) * share
    assert openness(narrow, "eyes") == pytest.approx(share * openness(points(), "eyes"), rel=0.01)
    assert SWAPPER.preserved_mask(narrow, points(), points(), SIZE).any() == kept


def test_the_proportions_of_a_head_turned_otherwise_count_less():
    wide = points()
    eyes = [*mesh.LEFT_EYE, *mesh.RIGHT_EYE]
    wide[:, eyes, 0] += (wide[:, eyes, 0] - SIZE / 2).sign() * 8
    moved = [
        (proportions(wide, target, 1.0) - target)[:, eyes].norm(dim=-1).mean() for target in (points(), points(0.3))
    ]
    assert moved[1] < 0.3 * moved[0] and moved[0] > 2


def test_a_highlight_keeps_its_strength_in_more_light_and_a_shadow_its_depth():
    own, wanted = torch.full((1, 3, 2, 2), 0.2), torch.full((1, 3, 2, 2), 0.5)
    highlight = relight(own + 0.2, own, wanted)
    torch.testing.assert_close(highlight, wanted + 0.2)
    shadow = relight(own - 0.1, own, wanted)
    torch.testing.assert_close((shadow + 0.03) / (wanted + 0.03), (own - 0.07) / (own + 0.03))


def test_a_pale_target_is_no_black_and_white_one():
    pale = crops(points(), portrait(points()) * 0.1 + torch.tensor([0.50, 0.47, 0.45]).view(1, 3, 1, 1))
    assert 0.02 < (pale.pixels.amax(1) - pale.pixels.amin(1)).mean() < 0.08
    red = paint(points(), seed=2)
    done = SWAPPER(pale, person(points(), red)).pixels
    lips = mask.lips(points(), SIZE)[0, 0] > 0.99
    colourful, before = (one[0, 0][lips].mean() - one[0, 1][lips].mean() for one in (done, pale.pixels))
    assert colourful > before + 0.03
