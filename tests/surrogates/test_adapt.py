"""Adaptation of painted faces: mean faces with skin, brows, eyes and lips in flat colours."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest
import torch
from torch import Generator, Tensor

from cscs_core.faces.bend import flipped
from cscs_core.ops import colour, geometry, head_pose, mask, mesh
from cscs_core.surrogates import adapt, glasses
from cscs_core.surrogates.adapt import AdaptOptions, adapt_randomly
from cscs_core.surrogates.beard import draw_beard
from cscs_core.surrogates.face_shape import Shape, reshape_faces
from cscs_core.surrogates.glasses import Glasses, draw_glasses
from cscs_core.surrogates.makeup import Makeup, draw_makeup
from cscs_core.types import Crops

SIZE = 256
SKIN, LIPS = (0.80, 0.62, 0.52), (0.7, 0.4, 0.4)
PARTS = [field.name for field in fields(Shape)]


def crops(*degrees: float) -> Crops:
    """Painted portraits, their heads turned by so many degrees."""
    count = len(degrees)
    face = mesh.mean_face()[None]
    target = geometry.template("ffhq_512", SIZE)[None]
    face = geometry.transform(face, geometry.similarity(mesh.five(face), target)).expand(count, -1, -1)
    face = head_pose.rotate(face, torch.tensor(degrees), torch.zeros(count))
    noise = torch.rand(1, 3, SIZE, SIZE, generator=Generator().manual_seed(1)).expand(count, -1, -1, -1)
    pixels = colour.gaussian_blur(noise, 4)
    skin = torch.tensor(SKIN).view(1, 3, 1, 1) + 0.04 * (noise - 0.5)
    pixels = pixels + (skin - pixels) * mask.grow(mask.hull(face, SIZE), 12)
    for part, paint in ((mask.lips, LIPS), (mask.brows, (0.3, 0.2, 0.2)), (mask.eyes, (0.9, 0.9, 0.9))):
        pixels = pixels + (torch.tensor(paint).view(1, 3, 1, 1) - pixels) * part(face, SIZE)
    return Crops(
        pixels.clamp(0, 1),
        torch.ones(count, 1, SIZE, SIZE),
        torch.eye(2, 3).expand(count, 2, 3).clone(),
        mesh.five(face),
        face,
        torch.arange(count),
    )


FACES = crops(0.0, 14.0, -9.0)
BORDER = torch.ones(SIZE, SIZE, dtype=torch.bool)
BORDER[1:-1, 1:-1] = False


def same(a: Crops, b: Crops) -> bool:
    return all(torch.equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(Crops))


def width(points: Tensor, a: int, b: int) -> Tensor:
    return (points[:, b] - points[:, a]).norm(dim=-1)


def colour_at(pixels: Tensor, points: Tensor, number: int) -> Tensor:
    """The colour around a mesh point, (F, 3)."""
    grid = points[:, number, None, None] + geometry.pixel_grid(5, 5) - 2
    return geometry.sample(pixels, grid).mean((2, 3))


def test_what_is_told_is_done_one_after_another():
    paint, pair = Makeup(lips=1.0), Glasses("wire")
    done = adapt.adapt_all(FACES, Generator().manual_seed(2), {"jaw": 0.5}, 0.7, paint, pair)
    seeds = torch.randint(1, 1 << 62, (3,), generator=Generator().manual_seed(2)).tolist()
    bent = reshape_faces(FACES, Shape.of(3, jaw=0.5)).crops
    grown = draw_beard(bent, torch.full((3,), 0.7), seeds).crops
    assert same(done.crops, draw_glasses(draw_makeup(grown, [paint] * 3).crops, [pair] * 3).crops)
    assert [list(what) for what in done.changes] == [["jaw", "beard", "makeup", "glasses", "tint"]] * 3
    assert done.rows.tolist() == [0, 1, 2]


def test_told_nothing_leaves_every_bit():
    done = adapt.adapt_all(FACES, Generator())
    assert same(done.crops, FACES) and done.changes == [{}, {}, {}]


def test_no_change_of_shape_leaves_every_bit():
    done = reshape_faces(FACES, Shape.of(3))
    assert same(done.crops, FACES)
    assert done.changes == [{}, {}, {}]
    assert done.rows.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("part", "pair"),
    [("face", (58, 288)), ("face", (172, 397)), ("cheeks", (93, 323)), ("jaw", (136, 365)), ("nose", (129, 358))],
)
@pytest.mark.parametrize("amount", [-1.0, 0.5, 1.0])
def test_a_part_changes_by_a_fifth_of_its_width(part: str, pair: tuple[int, int], amount: float):
    done = reshape_faces(FACES[:1], Shape.of(1, **{part: amount})).crops
    ratio = width(done.mesh, *pair) / width(FACES.mesh[:1], *pair)
    assert ratio.item() == pytest.approx(1 + 0.2 * amount, abs=0.02 * abs(amount))


def test_eyes_move_apart_as_wholes():
    done = reshape_faces(FACES[:1], Shape.of(1, eyes=1.0)).crops
    middles = [
        points[:, list(ring)].mean(1)
        for points in (done.mesh, FACES.mesh[:1])
        for ring in (mesh.LEFT_EYE, mesh.RIGHT_EYE)
    ]
    ratio = (middles[1] - middles[0]).norm() / (middles[3] - middles[2]).norm()
    assert ratio.item() == pytest.approx(1.2, abs=0.01)
    torch.testing.assert_close(width(done.mesh, 33, 133), width(FACES.mesh[:1], 33, 133), rtol=1e-3, atol=0)


@pytest.mark.parametrize("part", PARTS)
def test_what_a_part_does_not_touch_stays(part: str):
    done = reshape_faces(FACES, Shape.of(3, **{part: 1.0})).crops
    assert torch.equal(done.pixels[..., BORDER], FACES.pixels[..., BORDER])
    moved = (done.mesh - FACES.mesh).norm(dim=-1)
    assert moved[:, 10].max() < 0.1  # the forehead's middle
    assert moved[:, list(mesh.LIPS)].max() < 0.1
    if part != "eyes":
        assert moved[:, [*mesh.LEFT_EYE, *mesh.RIGHT_EYE]].max() < 0.1
    torch.testing.assert_close(mesh.five(done.mesh), done.landmarks, rtol=0, atol=1e-3)


def test_a_thin_face_is_background_where_cheeks_were():
    done = reshape_faces(FACES[:1], Shape.of(1, face=-1.0)).crops
    # The skin reaches 12 px beyond the outline: the outline of the thin face is 13 px further in.
    x, y = FACES.mesh[0, 172].round().long().tolist()
    before, after = ((one.pixels[0, :, y, x - 10] - torch.tensor(SKIN)).abs().max() for one in (FACES[:1], done))
    assert before < 0.05 < 0.1 < after


def test_each_face_has_its_own_amount():
    amounts = torch.tensor([1.0, 0.0, -0.5])
    done = reshape_faces(FACES, Shape.of(3, jaw=amounts))
    assert [what.get("jaw") for what in done.changes] == [1.0, None, -0.5]
    assert torch.equal(done.crops.pixels[1], FACES.pixels[1])
    alone = reshape_faces(FACES[[2]], Shape.of(1, jaw=-0.5)).crops
    torch.testing.assert_close(alone.pixels, done.crops.pixels[[2]], rtol=0, atol=1e-4)


@pytest.mark.parametrize("style", list(adapt.STYLES))
def test_glasses_have_a_dark_rim_around_clear_lenses(style: str):
    worn = [Glasses(style, frame=(0.0, 0.0, 0.0))] * 3
    done = draw_glasses(FACES, worn)
    assert done.changes == [{"glasses": style, "tint": 0.0}] * 3
    drawn = (FACES.pixels - done.crops.pixels).amax(1)
    for row in range(3):
        assert (drawn[row] > 0.4).sum() > 150
        eyes = FACES.mesh[row, [159, 145, 386, 374]].round().long()
        assert drawn[row, eyes[:, 1], eyes[:, 0]].max() < 0.15
        nose = FACES.mesh[row, 168].round().long()
        assert drawn[row, nose[1] - 8 : nose[1] + 12, nose[0]].max() > 0.3  # the bridge
    below = int(FACES.mesh[:, 2, 1].min())
    assert torch.equal(done.crops.pixels[..., below:, :], FACES.pixels[..., below:, :])
    assert torch.equal(done.crops.pixels[..., :40, :], FACES.pixels[..., :40, :])
    assert torch.equal(done.crops.mesh, FACES.mesh)


def test_dark_lenses_hide_the_eyes():
    shades = [
        colour_at(draw_glasses(FACES, [Glasses("square", tint=tint)] * 3).crops.pixels, FACES.mesh, 159).mean()
        for tint in (0.0, 0.5, 1.0)
    ]
    assert shades[0] > shades[1] + 0.15 > shades[2] + 0.3


def test_glasses_turn_with_the_head():
    worn = [Glasses("square", frame=(0.0, 0.0, 0.0))]
    faces = crops(16.0)
    done = draw_glasses(faces, worn).crops.pixels
    mirrored = flipped(draw_glasses(flipped(faces), worn).crops).pixels
    assert (done - mirrored).abs().mean() < 2e-3  # but for what the lenses reflect
    dark = (done - faces.pixels).amin(1)[0] < -0.3
    left, right = (
        dark[:, int(faces.mesh[0, a, 0]) : int(faces.mesh[0, b, 0])].any(0).sum() for a, b in ((127, 168), (168, 356))
    )
    assert left > 1.3 * right  # turned to the right: no arm is seen there


def test_a_beard_darkens_chin_and_upper_lip_alone():
    done = draw_beard(FACES, torch.full((3,), 1.0), [1, 2, 3]).crops
    for number, least in ((199, 0.1), (164, 0.05), (136, 0.05)):
        assert (colour_at(FACES.pixels - done.pixels, FACES.mesh, number).mean(1) > least).all()
    for number in (10, 4, 50, 280, 11, 16):  # forehead, nose, cheeks, lips
        assert colour_at(done.pixels - FACES.pixels, FACES.mesh, number).abs().max() < 0.05
    outside = (mask.grow(mask.hull(FACES.mesh, SIZE), 14) == 0).expand(-1, 3, -1, -1)
    assert (done.pixels - FACES.pixels)[outside].abs().max() < 1e-3


def test_a_drawn_beard_can_be_shaved():
    bearded = draw_beard(FACES, torch.full((3,), 1.0), [1, 2, 3]).crops
    shaved = draw_beard(bearded, torch.full((3,), -1.0), [1, 2, 3]).crops
    clean, dark, after = (colour_at(one.pixels, FACES.mesh, 199) for one in (FACES, bearded, shaved))
    assert ((after - clean).abs().mean(1) < 0.5 * (dark - clean).abs().mean(1)).all()
    assert (shaved.pixels - bearded.pixels)[..., :100, :].abs().max() < 1e-3  # brows and eyes are no beard


def test_a_clean_face_has_nothing_to_be_shaved():
    done = draw_beard(FACES, torch.full((3,), -1.0), [1, 2, 3]).crops
    assert (done.pixels - FACES.pixels).abs().mean() < 1e-3


def test_make_up_lies_where_it_belongs():
    red = draw_makeup(FACES, [Makeup(lips=1.0, lip_colour=(0.7, 0.0, 0.1))] * 3).crops
    change = red.pixels - FACES.pixels
    assert (colour_at(change, FACES.mesh, 17)[:, 1] < -0.05).all()
    assert torch.equal(red.pixels[..., :140, :], FACES.pixels[..., :140, :])
    lids = draw_makeup(FACES, [Makeup(shadow=1.0, shadow_colour=(0.2, 0.2, 0.7))] * 3).crops
    change = lids.pixels - FACES.pixels
    assert (colour_at(change, FACES.mesh, 27)[:, 0] < -0.03).all()  # the upper lid
    assert colour_at(change, FACES.mesh, 17).abs().max() < 1e-3
    line = draw_makeup(FACES, [Makeup(liner=1.0)] * 3).crops
    assert ((FACES.pixels - line.pixels).amax((1, 2, 3)) > 0.3).all()
    cheeks = draw_makeup(FACES, [Makeup(blush=1.0)] * 3).crops
    assert (colour_at(cheeks.pixels - FACES.pixels, FACES.mesh, 205)[:, 1] < -0.02).all()


def test_amounts_of_nothing_leave_every_bit():
    assert same(draw_beard(FACES, torch.zeros(3), [1, 2, 3]).crops, FACES)
    assert same(draw_makeup(FACES, [Makeup()] * 3).crops, FACES)
    options = AdaptOptions(face=0.0)
    done = adapt_randomly(FACES, Generator().manual_seed(0), options)
    assert same(done.crops, FACES)
    assert done.changes == [{}, {}, {}]


def test_a_row_of_a_batch_is_that_face_alone():
    verbs = (
        lambda some, rows: draw_glasses(some, [Glasses(list(adapt.STYLES)[row], tint=0.2 * row) for row in rows]),
        lambda some, rows: draw_beard(some, torch.tensor([1.0, -1.0, 0.5])[rows], [7 + row for row in rows]),
        lambda some, rows: draw_makeup(
            some, [Makeup(0.3 * row, shadow=0.5, liner=0.4, blush=0.2 * row) for row in rows]
        ),
    )
    for verb in verbs:
        together = verb(FACES, [0, 1, 2])
        for row in range(3):
            alone = verb(FACES[[row]], [row])
            assert alone.changes == [together.changes[row]]
            torch.testing.assert_close(alone.crops.pixels, together.crops.pixels[[row]], rtol=0, atol=1e-3)


def test_adaptation_is_drawn_and_repeats():
    options = AdaptOptions(face=0.5, parts=0.5, glasses=0.5, beard=0.4, shave=0.4, makeup=0.5)
    many = FACES[[0, 1, 2] * 3]
    first, again, other = (adapt_randomly(many, Generator().manual_seed(seed), options) for seed in (1, 1, 2))
    assert same(first.crops, again.crops)
    assert first.changes == again.changes != other.changes
    assert json.loads(json.dumps(first.changes)) == first.changes
    names = {name for what in first.changes for name in what}
    assert {"face", "jaw", "glasses", "beard", "makeup"} <= names
    for row, what in enumerate(first.changes):
        assert torch.equal(first.crops.pixels[row], many.pixels[row]) == (not what)


def test_strength_bounds_the_shape():
    done = adapt_randomly(FACES[[0] * 16], Generator().manual_seed(0), AdaptOptions(face=1.0, strength=0.4))
    amounts = torch.tensor([what["face"] for what in done.changes])
    assert amounts.abs().max() <= 0.4
    assert amounts.min() < 0 < amounts.max()


def test_no_faces_stay_none():
    none = FACES[[]]
    for done in (
        reshape_faces(none, Shape.of(0, face=1.0)),
        draw_glasses(none, []),
        draw_beard(none, torch.zeros(0), []),
        draw_makeup(none, []),
        adapt_randomly(none, Generator().manual_seed(0), AdaptOptions(glasses=1.0)),
    ):
        assert len(done) == 0
        assert done.crops.pixels.shape == (0, 3, SIZE, SIZE)


def test_a_tinted_lens_dims_what_is_behind_it():
    clear = draw_glasses(FACES[:1], [Glasses("square", lens=(1.0, 1.0, 1.0))]).crops.pixels
    dark = draw_glasses(FACES[:1], [Glasses("square", lens=(1.0, 1.0, 1.0), tint=1.0)]).crops.pixels
    x, y = FACES.mesh[0, 145].round().long().tolist()  # below the eye: no colour of the lens, only its tint
    behind = (slice(None), slice(None), slice(y - 2, y + 3), slice(x - 5, x + 6))
    assert float((dark[behind] / clear[behind]).min()) == pytest.approx(0.55, abs=0.1)


def test_half_a_shave_is_half_of_the_change():
    bearded = draw_beard(FACES[:1], torch.tensor([1.0]), [3]).crops
    half, whole = (draw_beard(bearded, torch.tensor([amount]), [3]).crops.pixels for amount in (-0.5, -1.0))
    torch.testing.assert_close(half, (bearded.pixels + whole) / 2, atol=1e-5, rtol=0)
    assert (whole - bearded.pixels).abs().max() > 0.1


def test_a_liner_lies_above_the_lid_and_not_in_the_eye():
    done = draw_makeup(FACES[:1], [Makeup(liner=1.0)]).crops.pixels
    darker = (FACES.pixels[:1] - done).mean(1, keepdim=True)
    inside = mask.eyes(FACES.mesh[:1], SIZE)
    assert (darker * (1 - inside)).sum() > 2 * (darker * inside).sum() > 0


def test_a_shave_takes_seven_tenths_of_the_beard_at_least():
    many = FACES[[0] * 4]
    told = adapt_randomly(many, Generator().manual_seed(0), AdaptOptions(face=0.0, shave=1.0)).changes
    assert all(-1.0 <= what["beard"] <= -0.7 for what in told)
    told = adapt_randomly(many, Generator().manual_seed(0), AdaptOptions(face=0.0, beard=1.0)).changes
    assert all(0.4 <= what["beard"] <= 1.0 for what in told)


def test_the_arm_of_the_glasses_behind_a_turned_head_is_hidden():
    turned = crops(30.0)  # the nose to the right: the viewer's right side is hidden
    fitted, style = glasses._Fit(turned.mesh), [glasses.STYLES["square"]]
    left, right = (float(fitted.arm(style, side, SIZE).sum()) for side in (-1, 1))
    assert left > 100 and right == 0
