"""Source surrogates of painted faces: mean faces with skin, brows, eyes and lips in flat colours."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, fields, replace

import pytest
import torch
from PIL import Image
from torch import Generator, Tensor

from cscs_core.faces.bend import bend_to_mesh, displacement, flipped
from cscs_core.faces.swappers.warp import openness
from cscs_core.ops import colour, geometry, head_pose, mask, mesh
from cscs_core.ops.camera import jpeg
from cscs_core.ops.mesh import NOSE
from cscs_core.surrogates.base import Surrogate
from cscs_core.surrogates.source import Chance, SourceOptions, draw_change, source_surrogate
from cscs_core.surrogates.source_change import Change, apply_change, change_expression, grade_colours, relight
from cscs_core.types import Crops

SIZE = 128
SKIN = (0.80, 0.62, 0.52)
CHANGES = [field.name for field in fields(SourceOptions)]
NOTHING = SourceOptions(*(Chance(0.0) for _ in CHANGES))
EVERYTHING = SourceOptions(*(Chance(1.0) for _ in CHANGES))


def points(degrees: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """The mean face in an ffhq_512 crop, turned and raised, (1, 468, 2)."""
    face = mesh.mean_face()[None]
    target = geometry.template("ffhq_512", SIZE)[None]
    face = geometry.transform(face, geometry.similarity(mesh.five(face), target))
    return head_pose.rotate(face, *(torch.tensor([angle]) for angle in degrees))


def crops(*faces: Tensor) -> Crops:
    """Painted portraits, each on its own background."""
    face = torch.cat(faces)
    count = len(face)
    noise = torch.rand(count, 3, SIZE, SIZE, generator=Generator().manual_seed(1))
    pixels = colour.gaussian_blur(noise, 3)
    head = mask.grow(mask.hull(face, SIZE), 8)
    skin = torch.tensor(SKIN).view(1, 3, 1, 1) + 0.05 * (noise - 0.5)
    pixels = pixels + (skin - pixels) * head
    for part, paint in ((mask.lips, (0.7, 0.3, 0.3)), (mask.brows, (0.3, 0.2, 0.2)), (mask.eyes, (0.1, 0.2, 0.9))):
        pixels = pixels + (torch.tensor(paint).view(1, 3, 1, 1) - pixels) * part(face, SIZE)
    return Crops(
        pixels.clamp(0, 1),
        torch.ones(count, 1, SIZE, SIZE),
        torch.eye(2, 3).expand(count, 2, 3).clone(),
        mesh.five(face),
        face,
        torch.arange(count),
    )


def change(count: int = 1, **what: float) -> Change:
    nothing = Change.none(count)
    kinds = {"seed": torch.long, "other": torch.long, "flip": torch.bool}
    return replace(
        nothing, **{name: torch.full((count,), value).to(kinds.get(name, torch.float)) for name, value in what.items()}
    )


def same(a: Crops, b: Crops) -> bool:
    return all(torch.equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(Crops))


@dataclass(frozen=True)
class Brightness:
    """An encoder to which people are their mean brightness."""

    name: str = "fake"
    template: str = "arcface_112_v2"
    size: int = 32
    width: int = 2
    networks: tuple[torch.nn.Module, ...] = ()

    def __call__(self, crops: Tensor) -> Tensor:
        angle = 6 * crops.mean((1, 2, 3))
        return torch.stack([angle.cos(), angle.sin()], -1)


FACES = crops(points(), points((12.0, 0.0)), points((-8.0, 6.0)))


def test_nothing_to_be_done_leaves_every_bit():
    assert same(apply_change(FACES, Change.none(3), FACES), FACES)
    made = source_surrogate(FACES, Generator().manual_seed(0), NOTHING)
    assert same(made.crops, FACES)
    assert made.rows.tolist() == [0, 1, 2]
    assert [list(what) for what in made.changes] == [["seed"]] * 3


@pytest.mark.parametrize("name", CHANGES)
def test_strength_nothing_leaves_every_bit(name: str):
    options = replace(NOTHING, **{name: Chance(1.0, 0.0)})
    assert same(source_surrogate(FACES, Generator().manual_seed(0), options).crops, FACES)


@pytest.mark.parametrize("name", CHANGES)
def test_each_chance_changes_pixels(name: str):
    made = source_surrogate(FACES, Generator().manual_seed(3), replace(NOTHING, **{name: Chance(1.0)}))
    assert ((made.crops.pixels - FACES.pixels).abs().amax((1, 2, 3)) > 0.01).all()
    assert made.crops.pixels.isfinite().all()


def test_an_expression_leaves_contour_and_nose():
    what = draw_change(FACES, FACES, Generator().manual_seed(2), replace(NOTHING, expression=Chance(1.0)))
    what = replace(what, jaw=torch.tensor([1.0, -1.0, 0.5]))
    moved = (change_expression(FACES.mesh, what)[0] - FACES.mesh).norm(dim=-1)
    assert moved[:, [*mesh.OVAL, *NOSE]].max() < 0.05
    assert moved.amax(1).min() > 1
    assert (change_expression(FACES.mesh, Change.none(3))[0] == FACES.mesh).all()


def test_lids_shut_and_open_wider():
    gaps = [
        openness(change_expression(points(), change(left_lid=lid, right_lid=lid))[0], "eyes")
        / openness(points(), "eyes")
        for lid in (0.9, 0.5, -0.3)
    ]
    torch.testing.assert_close(torch.cat(gaps), torch.tensor([0.1, 0.5, 1.3]), rtol=0, atol=0.01)


def test_the_jaw_opens_a_shut_mouth_and_shuts_an_open_one():
    shut = change_expression(points(), change(jaw=-1.0))[0]
    open_ = change_expression(shut, change(jaw=1.0))[0]
    assert openness(shut, "mouth") < 0.005
    assert openness(open_, "mouth") > 0.15
    assert openness(change_expression(open_, change(jaw=-1.0))[0], "mouth") < 0.01


def test_a_smile_draws_the_corners_out_and_up():
    moved = (change_expression(points(), change(smile=1.0))[0] - points())[0]
    assert moved[61, 0] < -1
    assert moved[291, 0] > 1
    assert (moved[[61, 291], 1] < -1.5).all()


def test_a_lid_slides_over_the_eyeball():
    one = FACES[:1]
    # An iris that would be flattened if the eye were squeezed.
    x, y = one.mesh[0, [159, 145]].mean(0).round().long().tolist()
    one.pixels[..., y, x - 8 : x + 8] = 1.0
    half = apply_change(one, change(left_lid=0.5), one)
    inside = (mask.polygon(half.mesh[:, list(mesh.LEFT_EYE)], SIZE) == 1).expand(1, 3, -1, -1)
    assert inside.sum() >= 30
    torch.testing.assert_close(half.pixels[inside], one.pixels[inside], rtol=0, atol=1e-4)
    shut = apply_change(one, change(left_lid=0.95), one)
    lid = one.mesh[0, [159, 145]].mean(0).round().long() - torch.tensor([0, 2])
    assert (shut.pixels[0, :, lid[1], lid[0]] - torch.tensor(SKIN)).abs().max() < 0.2


def test_an_opened_mouth_is_dark_below_the_teeth():
    shut = bend_to_mesh(FACES[:1], change_expression(points(), change(jaw=-1.0))[0])
    opened = apply_change(shut, change(jaw=1.0), shut)
    upper, lower = opened.mesh[0, 13], opened.mesh[0, 14]
    teeth, dark = (
        opened.pixels[0, :, int(place[1].round()), int(place[0].round())]
        for place in (upper.lerp(lower, 0.25), upper.lerp(lower, 0.6))
    )
    assert dark.mean() < 0.35 < 0.5 < teeth.mean()


def test_a_lamp_brightens_its_side():
    one = FACES[:1]
    done = relight(one, change(lamp=1.0, lamp_yaw=60.0))
    gain = done / one.pixels.clamp_min(0.05)
    left, right = (
        gain[0, :, int(one.mesh[0, i, 1]), int(one.mesh[0, i, 0])].mean() for i in (50, 280)
    )  # the viewer's left and right cheek
    assert left < 0.9 < 1.1 < right


def test_a_stop_of_exposure_doubles_the_light():
    grey = torch.full((1, 3, 4, 4), 0.25)
    done = grade_colours(grey, change(exposure=1.0))
    torch.testing.assert_close(done**2.2 / grey**2.2, torch.full_like(grey, 2.0), rtol=1e-3, atol=0)


@pytest.mark.parametrize("quality", [30, 75, 92])
def test_jpeg_is_nearly_that_of_a_file(quality: int):
    picture = FACES.pixels[:1, :, :100, :100]  # no whole number of blocks
    file = io.BytesIO()
    bytes_ = (picture[0] * 255).round().byte().movedim(0, -1)
    Image.fromarray(bytes_.numpy()).save(file, "JPEG", quality=quality, subsampling=2)
    with Image.open(file) as opened:
        expected = torch.frombuffer(bytearray(opened.convert("RGB").tobytes()), dtype=torch.uint8)
    expected = expected.view(100, 100, 3).movedim(-1, 0).float() / 255
    done = jpeg(bytes_.movedim(-1, 0)[None] / 255, torch.tensor([float(quality)]))[0]
    assert (done - expected).abs().mean() < 1.2 / 255
    assert (done - expected).abs().mean() < 0.35 * (expected - picture[0]).abs().mean()


def test_new_surroundings_leave_the_face():
    one, others = FACES[:1], crops(points((5.0, 0.0)))
    others.pixels[..., :20, :20] = torch.tensor([0.0, 1.0, 0.0]).view(3, 1, 1)
    done = apply_change(one, change(seed=4, reach=0.25, other=0), others).pixels
    face = (mask.hull(one.mesh, SIZE) > 0).expand(1, 3, -1, -1)
    torch.testing.assert_close(done[face], one.pixels[face], rtol=0, atol=5e-3)
    assert done[0, 1, 5, 5] > 0.5 > done[0, 0, 5, 5]
    cloud = apply_change(one, change(seed=4, reach=0.25, other=-1), others).pixels
    torch.testing.assert_close(cloud[face], one.pixels[face], rtol=0, atol=5e-3)
    assert (cloud - done)[..., :10, :10].abs().mean() > 0.05


def test_nobody_borrows_their_own_surroundings():
    options = replace(NOTHING, surroundings=Chance(1.0))
    assert draw_change(FACES[:1], FACES[:1], Generator().manual_seed(0), options).other.tolist() == [-1]
    many = FACES[[0, 1] * 8]
    other = draw_change(many, many, Generator().manual_seed(0), options).other
    assert (other >= 0).sum() > 5
    assert ((other % 2 != torch.arange(16) % 2) | (other < 0)).all()


def test_a_turned_head_is_not_turned_back():
    away = crops(*(points((28.0, 0.0)) for _ in range(32)))
    what = draw_change(away, away, Generator().manual_seed(0), replace(NOTHING, turn=Chance(1.0)))
    assert what.yaw.min() > -1
    assert what.yaw.max() > 1
    front = crops(*(points() for _ in range(32)))
    free = draw_change(front, front, Generator().manual_seed(0), replace(NOTHING, turn=Chance(1.0)))
    assert free.yaw.abs().max() > 12
    assert free.yaw.abs().max() <= 20


def test_flipped_twice_is_the_face():
    twice = flipped(flipped(FACES))
    for field in fields(Crops):
        torch.testing.assert_close(getattr(twice, field.name), getattr(FACES, field.name), rtol=0, atol=1e-4)
    assert torch.equal(twice.pixels, FACES.pixels)


def test_a_mirrored_face_has_its_points_where_they_are_seen():
    done = flipped(FACES, torch.tensor([True, False, True]))
    assert same(done[[1]], FACES[[1]])
    torch.testing.assert_close(mesh.five(done.mesh), done.landmarks, rtol=0, atol=1e-3)
    assert (done.landmarks[:, 0, 0] < done.landmarks[:, 1, 0]).all()
    image = geometry.warp(done.pixels, geometry.invert(done.matrix), SIZE)  # the matrix still says where it came from
    torch.testing.assert_close(image, FACES.pixels, rtol=0, atol=1e-4)


def test_seeds_repeat():
    first, again, other = (source_surrogate(FACES, Generator().manual_seed(s), EVERYTHING) for s in (7, 7, 8))
    assert same(first.crops, again.crops)
    assert first.changes == again.changes
    assert not same(first.crops, other.crops)


def test_what_was_done_is_json():
    changes = source_surrogate(FACES, Generator().manual_seed(7), EVERYTHING).changes
    assert json.loads(json.dumps(changes)) == changes
    assert {"left_lid", "yaw", "lamp", "lamp_yaw", "noise", "jpeg", "flip", "reach", "other"} <= set(changes[0])


def test_somebody_else_is_rejected():
    options = replace(NOTHING, colour=Chance(1.0))
    faces = crops(*(points() for _ in range(12)))
    every = source_surrogate(faces, Generator().manual_seed(1), options, Brightness(), least=-1.0)
    kept = source_surrogate(faces, Generator().manual_seed(1), options, Brightness(), least=0.9)
    assert every.similarity is not None
    assert kept.similarity is not None
    assert kept.rows.tolist() == (every.similarity >= 0.9).nonzero()[:, 0].tolist()
    assert 0 < len(kept) < 12
    assert kept.changes == [every.changes[row] for row in kept.rows.tolist()]
    assert torch.equal(kept.crops.pixels, every.crops.pixels[kept.rows])


def test_a_row_of_a_batch_is_that_face_alone():
    what = draw_change(FACES, FACES, Generator().manual_seed(5), EVERYTHING)
    together = apply_change(FACES, what, FACES)
    for row in range(3):
        alone = apply_change(FACES[[row]], what[[row]], FACES)
        torch.testing.assert_close(alone.mesh, together.mesh[[row]], rtol=0, atol=1e-3)
        assert (alone.pixels - together.pixels[[row]]).abs().mean() < 1e-4  # JPEG rounds


def test_no_faces_give_no_pictures():
    none = source_surrogate(FACES[[]], Generator().manual_seed(0), EVERYTHING, Brightness())
    assert len(none) == 0
    assert none.changes == []
    assert none.crops.pixels.shape == (0, 3, SIZE, SIZE)
    assert len(source_surrogate(FACES[[]], Generator().manual_seed(0), EVERYTHING, others=FACES)) == 0
    assert len(source_surrogate(FACES, Generator().manual_seed(0), EVERYTHING, others=FACES[[]])) == 3


def test_points_move_as_told_and_the_border_stays():
    target = FACES.mesh + 3 * torch.sin(FACES.mesh.flip(-1) / 9)
    done = bend_to_mesh(FACES, target)
    border = torch.ones(SIZE, SIZE, dtype=torch.bool)
    border[1:-1, 1:-1] = False
    assert torch.equal(done.pixels[..., border], FACES.pixels[..., border])
    # A picture of its own places says from where each pixel was read.
    places = geometry.pixel_grid(SIZE, SIZE).movedim(-1, 0).expand(3, -1, -1, -1)
    read = geometry.sample(places, geometry.pixel_grid(SIZE, SIZE) + displacement(FACES.mesh, target, SIZE))
    found = geometry.sample(read, target[:, None])[:, :, 0].mT
    inner = [*mesh.LEFT_EYE, *mesh.LIPS, *NOSE]
    assert (found - FACES.mesh)[:, inner].norm(dim=-1).mean() < 0.15
    assert (found - FACES.mesh)[:, list(mesh.OVAL)].norm(dim=-1).mean() < 0.5


def test_what_came_first_is_counted_and_told_first():
    first = Surrogate(FACES[[2, 0]], torch.tensor([2, 0]), [{"a": 1}, {"a": 2}], None)
    then = Surrogate(FACES[[0]], torch.tensor([1]), [{"b": 3}], torch.tensor([0.5]))
    both = then.after(first)
    assert both.rows.tolist() == [0]
    assert both.changes == [{"a": 2, "b": 3}]


def test_a_head_at_35_degrees_is_not_turned_further():
    away = crops(*(points((36.0, 0.0)) for _ in range(16)))
    assert head_pose.fit(away.mesh).degrees[:, 0].min() > 35
    what = draw_change(away, away, Generator().manual_seed(0), replace(NOTHING, turn=Chance(1.0)))
    assert what.yaw.max() <= 0
    assert what.pitch.abs().max() > 3  # up and down it may


def test_a_head_is_raised_by_14_degrees_at_most():
    front = crops(*(points() for _ in range(64)))
    free = draw_change(front, front, Generator().manual_seed(0), replace(NOTHING, turn=Chance(1.0)))
    assert 10 < free.pitch.abs().max() <= 14


def test_both_lids_do_nearly_the_same():
    front = crops(*(points() for _ in range(32)))
    what = draw_change(front, front, Generator().manual_seed(0), replace(NOTHING, expression=Chance(1.0)))
    assert 0.01 < (what.left_lid - what.right_lid).abs().max() <= 0.16


def test_surroundings_begin_as_far_from_the_face_whatever_the_strength():
    front = crops(*(points() for _ in range(16)))
    whole, half = (
        draw_change(front, front, Generator().manual_seed(0), replace(NOTHING, surroundings=Chance(1.0, strength)))
        for strength in (1.0, 0.5)
    )
    assert torch.equal(whole.reach, half.reach) and whole.reach.min() >= 0.04


def test_more_jpeg_loses_more():
    lost = [
        (apply_change(FACES[:1], change(jpeg=amount), FACES).pixels - FACES.pixels[:1]).abs().mean()
        for amount in (0.05, 1.0)
    ]
    assert 0 < 1.5 * lost[0] < lost[1]


def test_blur_is_that_of_a_crop_of_256_px():
    done = apply_change(FACES[:1], change(blur=2.0), FACES).pixels
    torch.testing.assert_close(done, colour.gaussian_blur(FACES.pixels[:1], 2.0 * SIZE / 256))


def test_skin_of_new_surroundings_is_as_light_as_the_face():
    one = replace(FACES[:1], pixels=FACES.pixels[:1] * 0.7)
    darker = replace(one, pixels=one.pixels * 0.7)  # the same picture: its hair, made lighter, is the face's own
    done = apply_change(one, change(seed=4, reach=0.1, other=0), darker).pixels
    torch.testing.assert_close(done, one.pixels, rtol=0, atol=2e-3)


def test_a_warm_lamp_is_orange_and_a_cold_one_blue():
    one = FACES[:1]
    warm, cold = (relight(one, change(lamp=1.0, lamp_warmth=warmth)).mean((2, 3))[0] for warmth in (1.0, -1.0))
    assert warm[0] > cold[0] and warm[2] < cold[2]


def test_grain_is_that_of_the_faces_own_seed():
    three = FACES[[0, 0, 0]]
    noisy = replace(change(3, noise=0.05), seed=torch.tensor([5, 6, 5]))
    grain = apply_change(three, noisy, three).pixels - three.pixels
    assert torch.equal(grain[0], grain[2]) and not torch.equal(grain[0], grain[1])
    assert float(grain[0].std()) == pytest.approx(0.05, rel=0.2)


def test_a_frown_draws_the_inner_ends_of_the_brows_together_and_down():
    moved = (change_expression(points(), change(frown=1.0))[0] - points())[0]
    inner = [
        min(mesh.LEFT_BROW, key=lambda point: -mesh.mean_face()[point, 0]),
        min(mesh.RIGHT_BROW, key=lambda point: mesh.mean_face()[point, 0]),
    ]
    assert moved[inner[0], 0] > 0.5 > -0.5 > moved[inner[1], 0]
    assert (moved[inner, 1] > 1).all()


def test_a_mouth_that_shuts_slides_over_what_it_showed():
    face = change_expression(change_expression(points(), change(jaw=-1.0))[0], change(jaw=1.0))[0]
    wide = crops(face)
    green = torch.tensor([0.0, 1.0, 0.0]).view(1, 3, 1, 1)
    wide = replace(wide, pixels=torch.where(mask.grow(mask.mouth(face, SIZE), 2) > 0, green, wide.pixels))
    done = apply_change(wide, change(jaw=-0.4), wide)
    inside = (mask.grow(mask.mouth(done.mesh, SIZE), -1) > 0.99).expand(-1, 3, -1, -1)
    assert inside.sum() > 60
    torch.testing.assert_close(done.pixels[inside], green.expand_as(done.pixels)[inside], rtol=0, atol=0.1)
