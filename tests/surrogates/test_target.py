"""Target surrogates of painted faces: mean faces with skin, brows, irises and lips in flat colours."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest
import torch
from torch import Generator, Tensor

from cscs_core.ops import colour, geometry, head_pose, mask, mesh
from cscs_core.surrogates import target as target_surrogate
from cscs_core.surrogates.target import (
    DonorOptions,
    Judge,
    TargetOptions,
    erase_identity,
    from_donor,
    from_swapper,
    gaze,
    nearest_donor,
)
from cscs_core.types import Crops, join

SIZE = 128
PALE, DARK = (0.85, 0.70, 0.62), (0.45, 0.30, 0.22)
PLAIN = DonorOptions(
    shape=(0.0, 0.0), light=(0.08, 0.08), reach=(0.0, 0.0), seam=(0.03, 0.03), keep_eyes=0, keep_mouth=0
)


def crop(
    degrees: tuple[float, float] = (0.0, 0.0),
    skin: tuple[float, ...] = PALE,
    lips: tuple[float, ...] = (0.7, 0.3, 0.3),
    look: float = 0.0,
    mouth: float = 0.0,
    seed: int = 0,
) -> Crops:
    """A painted portrait; irises look so far aside, in eye widths; the mouth is open by so much of its width."""
    face = mesh.mean_face()[None]
    target = geometry.template("ffhq_512", SIZE)[None]
    face = geometry.transform(face, geometry.similarity(mesh.five(face), target))
    face = head_pose.rotate(face, *(torch.tensor([angle]) for angle in degrees))
    face[:, [95, 88, 178, 87, 14, 317, 402, 318, 324], 1] += mouth * (face[:, 308, 0] - face[:, 78, 0])
    noise = torch.rand(1, 3, SIZE, SIZE, generator=Generator().manual_seed(seed))
    pixels = colour.gaussian_blur(noise, 3)
    paint = torch.tensor(skin).view(1, 3, 1, 1) + 0.06 * (noise - 0.5)
    pixels = pixels + (paint - pixels) * mask.grow(mask.hull(face, SIZE), 6)
    grid = geometry.pixel_grid(SIZE, SIZE)
    for part, tint in ((mask.lips, lips), (mask.brows, (0.3, 0.2, 0.2)), (mask.eyes, (0.95, 0.95, 0.95))):
        pixels = pixels + (torch.tensor(tint).view(1, 3, 1, 1) - pixels) * part(face, SIZE)
    for a, b in ((33, 133), (362, 263)):
        width = face[0, b] - face[0, a]
        middle = (face[0, a] + face[0, b]) / 2 + look * width
        iris = ((grid - middle).norm(dim=-1) < 0.18 * width.norm()) * mask.eyes(face, SIZE)
        pixels = pixels * (1 - iris)
    return Crops(
        pixels.clamp(0, 1),
        torch.ones(1, 1, SIZE, SIZE),
        torch.eye(2, 3)[None],
        mesh.five(face),
        face,
        torch.tensor([0]),
    )


def same(a: Crops, b: Crops) -> bool:
    return all(torch.equal(getattr(a, field.name), getattr(b, field.name)) for field in fields(Crops))


@dataclass(frozen=True)
class Redness:
    """An encoder to which people are how red they are."""

    name: str = "fake"
    template: str = "arcface_112_v2"
    size: int = 32
    width: int = 2
    networks: tuple[torch.nn.Module, ...] = ()

    def __call__(self, crops: Tensor) -> Tensor:
        angle = 4 * (crops[:, 0] - crops[:, 2]).mean((1, 2))
        return torch.stack([angle.cos(), angle.sin()], -1)


@dataclass(frozen=True)
class Painter:
    """A swapper that paints the whole face in the person's colour."""

    template: str = "arcface_128"
    sizes: tuple[int, ...] = (64,)
    networks: tuple[torch.nn.Module, ...] = ()

    def encode(self, identity: Any) -> Any:
        return identity

    def __call__(self, crops: Crops, person: Any, strength: float = 1.0) -> Crops:
        paint = torch.tensor(person).view(1, 3, 1, 1).expand_as(crops.pixels)
        return replace(crops, pixels=paint, mask=strength * mask.hull(crops.mesh, crops.size))


FACES = join([crop(), crop((10.0, 0.0), skin=DARK, seed=1), crop((-8.0, 4.0), look=0.2, seed=2)])
DONORS = join(
    [crop((1.0, 1.0), lips=(0.2, 0.6, 0.2), seed=3), crop((12.0, 0.0), skin=DARK, lips=(0.2, 0.6, 0.2), seed=4)]
)


@pytest.mark.parametrize(
    ("wanted", "others"),
    [
        ({"degrees": (16.0, 0.0)}, [{}, {"degrees": (-16.0, 0.0)}, {"degrees": (4.0, 0.0)}]),
        ({"mouth": 0.3}, [{}, {"mouth": 0.1}]),
        ({"skin": DARK}, [{}, {"skin": (0.6, 0.5, 0.4)}]),
        ({"look": 0.25}, [{}, {"look": -0.25}]),
    ],
)
def test_the_nearest_donor_is_the_planted_one(wanted: dict[str, Any], others: list[dict[str, Any]]):
    planted = crop(**wanted, lips=(0.3, 0.5, 0.3), seed=9)
    planted = replace(planted, mesh=planted.mesh + 0.3)  # nobody's own mesh
    donors = join([crop(**other, seed=8) for other in others] + [planted])
    row, distance = nearest_donor(crop(**wanted), donors)
    assert row.tolist() == [len(others)]
    assert distance < 0.8


def test_nobody_is_their_own_donor():
    row, distance = nearest_donor(FACES, FACES)
    assert (row != torch.arange(3)).all()
    assert distance.isfinite().all()
    assert len(from_donor(FACES[:1], FACES[:1], Generator().manual_seed(0))) == 0


@pytest.mark.parametrize("look", [-0.25, 0.0, 0.25])
def test_gaze_is_where_the_irises_are(look: float):
    found = gaze(crop((6.0, 0.0), look=look))[0]
    assert found[0].item() == pytest.approx(look, abs=0.08)
    assert abs(found[1]) < 0.1


def test_a_donor_gives_the_face_and_nothing_else():
    made = from_donor(FACES, DONORS, Generator().manual_seed(0), PLAIN)
    assert made.rows.tolist() == [0, 1, 2]
    assert [what["donor"] for what in made.changes][:2] == [0, 1]
    outside = (mask.hull(FACES.mesh, SIZE) == 0).expand(-1, 3, -1, -1)
    assert torch.equal(made.crops.pixels[outside], FACES.pixels[outside])
    assert torch.equal(made.crops.mesh, FACES.mesh)
    lips = mask.lips(FACES.mesh, SIZE) > 0.9
    red, green = (made.crops.pixels[:, channel][lips[:, 0]].mean() for channel in (0, 1))
    assert green > red


def test_eyes_and_mouth_may_stay():
    laid, kept = (
        from_donor(FACES, DONORS, Generator().manual_seed(0), replace(PLAIN, keep_eyes=keep, keep_mouth=keep))
        for keep in (0.0, 1.0)
    )
    for part in (mask.eyes, mask.lips):
        inside = (part(FACES.mesh, SIZE) > 0.9).expand(-1, 3, -1, -1)
        apart = [(made.crops.pixels - FACES.pixels)[inside].abs().mean() for made in (laid, kept)]
        assert apart[1] < 0.4 * apart[0]
    assert all(what["keep_eyes"] and what["keep_mouth"] for what in kept.changes)


def test_masks_differ_from_draw_to_draw():
    first, second = (from_donor(FACES, DONORS, Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.equal(first.crops.pixels != FACES.pixels, second.crops.pixels != FACES.pixels)


def test_seeds_repeat():
    for way in (lambda g: from_donor(FACES, DONORS, g), lambda g: erase_identity(FACES, g)):
        first, again, other = (way(Generator().manual_seed(seed)) for seed in (4, 4, 5))
        assert same(first.crops, again.crops)
        assert first.changes == again.changes
        assert first.changes != other.changes
        assert json.loads(json.dumps(first.changes)) == first.changes


def test_a_row_of_a_batch_is_that_face_alone():
    together = from_donor(FACES, DONORS, Generator().manual_seed(0), PLAIN).crops
    for row in range(3):
        alone = from_donor(FACES[[row]], DONORS, Generator().manual_seed(0), PLAIN).crops
        torch.testing.assert_close(alone.pixels, together.pixels[[row]], rtol=0, atol=1e-3)


def test_a_judge_lets_only_others_pass():
    every = from_donor(FACES, DONORS, Generator().manual_seed(0), PLAIN, Judge(Redness(), most=1.0))
    assert every.similarity is not None
    most = float(every.similarity.sort().values[:2].mean())
    passed = from_donor(FACES, DONORS, Generator().manual_seed(0), PLAIN, Judge(Redness(), most=most))
    assert passed.rows.tolist() == (every.similarity <= most).nonzero()[:, 0].tolist()
    assert len(passed) == 1


def test_a_judge_lets_nobody_pass_whose_mouth_moved(monkeypatch: pytest.MonkeyPatch):
    made = FACES.mesh.clone()
    made[1, 14, 1] += 0.3 * (made[1, 308, 0] - made[1, 78, 0])
    made[2] += 3.0  # as a whole
    found = [FACES.mesh, made]

    def find(*_: object) -> Tensor:
        return found.pop(0)

    monkeypatch.setattr(target_surrogate, "locate", find)
    judge = Judge(landmarks=object(), shift=0.06)  # pyright: ignore[reportArgumentType]
    assert judge(FACES, FACES, torch.arange(3), [{}, {}, {}]).rows.tolist() == [0]


def test_an_erased_face_is_coarse_and_the_rest_is_not():
    made = erase_identity(FACES, Generator().manual_seed(0), strength=0.0)
    inner = mask.grow(mask.hull(FACES.mesh, SIZE), -0.08 * SIZE)

    def detail(pixels: Tensor) -> Tensor:
        return ((pixels - colour.gaussian_blur(pixels, 2)).abs() * inner).sum() / inner.sum()

    assert detail(made.crops.pixels) < 0.15 * detail(FACES.pixels)
    outside = (mask.hull(FACES.mesh, SIZE) == 0).expand(-1, 3, -1, -1)
    assert torch.equal(made.crops.pixels[outside], FACES.pixels[outside])
    mean = [(pixels * inner).sum() / inner.sum() for pixels in (made.crops.pixels, FACES.pixels)]
    assert mean[0].item() == pytest.approx(mean[1].item(), rel=0.02)
    assert all(8 <= what["pixels"] <= 16 for what in made.changes)


def test_an_erased_face_has_another_shape():
    made = erase_identity(FACES, Generator().manual_seed(0))
    assert ((made.crops.mesh - FACES.mesh).norm(dim=-1).amax(1) > 1).all()
    assert torch.equal(made.crops.pixels[..., 0, :], FACES.pixels[..., 0, :])
    assert {"jaw", "nose", "eyes"} <= set(made.changes[0])


def test_a_swapper_puts_one_of_its_people_on_each_face():
    people = [(1.0, 0.0, 0.0), (0.0, 0.0, 1.0)]
    many = FACES[[0, 1, 2, 0, 1, 2]]
    made = from_swapper(many, Painter(), people, Generator().manual_seed(0))
    numbers = [what["person"] for what in made.changes]
    assert set(numbers) == {0, 1}
    inside = mask.grow(mask.hull(many.mesh, SIZE), -4)
    colours = (made.crops.pixels * inside).sum((2, 3)) / inside.sum((2, 3))
    torch.testing.assert_close(colours, torch.tensor([people[number] for number in numbers]), rtol=0, atol=0.02)
    outside = (mask.grow(mask.hull(many.mesh, SIZE), 3) == 0).expand(-1, 3, -1, -1)
    assert torch.equal(made.crops.pixels[outside], many.pixels[outside])


def test_ways_are_drawn_and_rows_stay_in_order():
    many = FACES[[0, 1, 2] * 4]
    options = TargetOptions(donor=1.0, erased=1.0, swapper=1.0)
    made = target_surrogate.target_surrogate(
        many, DONORS, Generator().manual_seed(0), options, swapper=Painter(), people=[(1.0, 0.0, 0.0)]
    )
    assert made.rows.tolist() == list(range(12))
    assert {what["way"] for what in made.changes} == {"donor", "erased", "swapper"}
    alone = target_surrogate.target_surrogate(many, FACES[[]], Generator().manual_seed(0), options)
    assert {what["way"] for what in alone.changes} == {"erased"}  # no donors, no swapper


def test_no_faces_give_no_pictures():
    none, judge = FACES[[]], Judge(Redness())
    generator = Generator().manual_seed(0)
    for made in (
        from_donor(none, DONORS, generator, judge=judge),
        from_donor(FACES, none, generator, judge=judge),
        erase_identity(none, generator, judge=judge),
        from_swapper(none, Painter(), [(1.0, 0.0, 0.0)], generator, judge=judge),
        target_surrogate.target_surrogate(none, DONORS, generator, judge=judge),
    ):
        assert len(made) == 0
        assert made.changes == []
        assert made.crops.pixels.shape == (0, 3, SIZE, SIZE)


def test_points_found_where_the_face_was_bent_are_in_their_place(monkeypatch: pytest.MonkeyPatch):
    bent = FACES.mesh.clone()
    bent[:, list(mesh.OVAL), 0] += 4.0
    bent[:, 60:90] += 6.0
    found = {"where it was bent": bent, "where it was": FACES.mesh}
    passed = {}
    for where, points in found.items():
        answers = [FACES.mesh, points]
        monkeypatch.setattr(target_surrogate, "locate", lambda *_, answers=answers: answers.pop(0))
        judge = Judge(landmarks=object(), shift=0.01, gap=1.0)  # pyright: ignore[reportArgumentType]
        passed[where] = judge(FACES, replace(FACES, mesh=bent), torch.arange(3), [{}, {}, {}]).rows.tolist()
    assert passed == {"where it was bent": [0, 1, 2], "where it was": []}


@pytest.mark.parametrize(("share", "count"), [(0.04, 3), (0.06, 0)])
def test_points_may_be_off_by_a_twentieth_of_the_eyes_distance(
    monkeypatch: pytest.MonkeyPatch, share: float, count: int
):
    off = torch.tensor([share, 0.0]) * mesh.interocular(FACES.mesh)[:, None, None]
    answers = [FACES.mesh, FACES.mesh + off]
    monkeypatch.setattr(target_surrogate, "locate", lambda *_: answers.pop(0))
    judge = Judge(landmarks=object())  # pyright: ignore[reportArgumentType]
    assert len(judge(FACES, FACES, torch.arange(3), [{}, {}, {}])) == count


def test_a_donor_of_the_same_tone_comes_before_one_held_a_little_more_alike():
    donors = join([crop((0.5, 0.0), skin=DARK, seed=8), crop((7.0, 0.0), seed=9)])
    assert nearest_donor(crop(), donors)[0].tolist() == [1]


def test_an_erased_face_may_be_more_alike_and_is_not_asked_for_its_points(monkeypatch: pytest.MonkeyPatch):
    judges = []

    def erase(some: Crops, generator: Generator, judge: Judge) -> Any:
        judges.append(judge)
        return erase_identity(some, generator)

    monkeypatch.setattr(target_surrogate, "erase_identity", erase)
    judge = Judge(landmarks=object())  # pyright: ignore[reportArgumentType]
    options = TargetOptions(donor=0.0, erased=1.0)
    target_surrogate.target_surrogate(FACES, DONORS, Generator().manual_seed(0), options, judge)
    assert (judges[0].most, judges[0].landmarks) == (0.6, None) and judge.most == 0.5


def test_without_donors_every_face_is_made_in_another_way():
    many, options = FACES[[0, 1, 2] * 4], TargetOptions(donor=1.0, erased=1.0)
    for donors in (FACES[[]], FACES[:1]):  # one donor might be the face itself
        made = target_surrogate.target_surrogate(many, donors, Generator().manual_seed(0), options)
        assert made.rows.tolist() == list(range(12))


def test_a_wider_seam_fades_more_of_the_part_that_is_laid():
    hard, soft = (
        from_donor(FACES[:1], DONORS, Generator().manual_seed(0), replace(PLAIN, seam=(seam, seam))).crops.pixels
        for seam in (0.0, 0.1)
    )
    shown = [(pixels - FACES.pixels[:1]).abs() for pixels in (hard, soft)]
    inside = mask.hull(FACES.mesh[:1], SIZE)
    rim, middle = inside - mask.grow(inside, -3), mask.grow(inside, -20)
    assert (shown[1] * rim).sum() < 0.3 * (shown[0] * rim).sum()
    assert (shown[1] * middle).sum() > 0.95 * (shown[0] * middle).sum()


def test_a_swapper_works_at_the_side_nearest_to_that_of_the_crops():
    sides: list[int] = []

    @dataclass(frozen=True)
    class Several(Painter):
        sizes: tuple[int, ...] = (32, 100, 512)

        def __call__(self, crops: Crops, person: Any, strength: float = 1.0) -> Crops:
            sides.append(crops.size)
            return super().__call__(crops, person, strength)

    from_swapper(FACES[:1], Several(), [(1.0, 0.0, 0.0)], Generator().manual_seed(0))
    assert sides == [100]
