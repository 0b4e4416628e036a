"""The `lite` swapper: `warp`, and a network that may change the face and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from cscs_core.faces.align import align, resize
from cscs_core.faces.swappers.base import editable_area, swap
from cscs_core.faces.swappers.lite import LEFT, SIDE, SIZE, TOP, LiteSwapper, change_weight, load_lite, window_mask
from cscs_core.faces.swappers.warp import WarpSwapper
from cscs_core.io import images
from cscs_core.models import Refiner, RefinerConfig
from cscs_core.ops import mask
from cscs_core.pipeline import Models, find, identity_from, load_models, prepare_source, swap_faces
from cscs_core.tasks.example_people import EXAMPLES
from cscs_core.types import Crops, Identity, join

PEOPLE = sorted(EXAMPLES.glob("*.jpg"))


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


@pytest.fixture(scope="module")
def lite() -> LiteSwapper:
    return load_lite()


@pytest.fixture(scope="module")
def person(models: Models) -> Identity:
    with torch.inference_mode():
        return identity_from([images.read(PEOPLE[0])], models)


@pytest.fixture(scope="module", params=(256, 512))
def crops(request: pytest.FixtureRequest, models: Models) -> Crops:
    with torch.inference_mode():
        picture = images.read(PEOPLE[1])
        return align(picture, find(picture, models), size=request.param)


class Painter(nn.Module):
    """A refiner that says the same everywhere, and remembers what it was shown."""

    def __init__(self, change: float):
        super().__init__()
        self.change = change
        self.seen: tuple[Tensor, ...] = ()

    def forward(self, target: Tensor, laid: Tensor, region: Tensor, z: Tensor) -> Tensor:
        self.seen = (target, laid, region, z)
        return torch.full_like(laid, self.change) * region


def hull(points: Tensor, size: int, grown: float = 0) -> Tensor:
    return mask.grow(mask.hull(points, size), grown)


def with_painter(lite: LiteSwapper, change: float) -> tuple[LiteSwapper, Painter]:
    painter = Painter(change)
    return replace(lite, refiner=painter), painter


def test_a_refiner_that_changes_nothing_leaves_what_warp_does(lite, person, crops):
    still, _ = with_painter(lite, 0.0)
    assert still(crops, still.encode(person)).pixels.equal(lite.warp(crops, person).pixels)


def test_nothing_changes_beyond_the_face(lite, person, crops):
    bright, _ = with_painter(lite, 0.2)
    laid, done = lite.warp(crops, person), bright(crops, bright.encode(person))
    outside = torch.nn.functional.max_pool2d(hull(crops.mesh, crops.size), 9, 1, 4) == 0
    assert done.pixels.where(outside, 0).equal(laid.pixels.where(outside, 0))
    inside = hull(crops.mesh, crops.size, -0.08 * crops.size) == 1
    apart = (done.pixels - laid.pixels)[inside.expand(-1, 3, -1, -1) & (laid.pixels < 0.75)]
    assert apart.mean() == pytest.approx(0.2, abs=2e-3)


def test_the_mask_covers_what_changes(lite, person, crops):
    bright, _ = with_painter(lite, 0.2)
    laid, done = lite.warp(crops, person), bright(crops, bright.encode(person))
    assert (done.mask >= laid.mask).all()
    assert (done.mask[hull(crops.mesh, crops.size, -0.05 * crops.size) == 1] > 0.99).all()
    assert done.mask[(hull(crops.mesh, crops.size, 4) == 0) & (laid.mask == 0)].max() < 1e-2


def test_strength_fades_the_mask_alone(lite, person, crops):
    known = lite.encode(person)
    whole, half = lite(crops, known), lite(crops, known, 0.5)
    assert half.pixels.equal(whole.pixels)
    assert torch.allclose(half.mask, whole.mask / 2)


def test_what_is_seen_has_a_soft_edge():
    frame = window_mask(torch.zeros(1, 3, SIZE, SIZE))[0, 0]
    rows, columns = frame.nonzero().T
    assert (int(rows.min()), int(rows.max())) == (TOP, TOP + SIDE - 1)
    assert (int(columns.min()), int(columns.max())) == (LEFT, LEFT + SIDE - 1)
    assert frame[TOP + 9 : TOP + SIDE - 9, LEFT + 9 : LEFT + SIDE - 9].min() > 0.999
    assert frame[TOP + 20, LEFT : LEFT + 5].diff().min() > 0.05


def test_the_refiner_sees_the_middle_of_256_pixels(lite, person, crops):
    bright, painter = with_painter(lite, 0.0)
    bright(crops, bright.encode(person))
    target, laid, region, z = painter.seen
    assert target.shape[-1] == laid.shape[-1] == region.shape[-1] == SIDE
    if crops.size == SIZE:
        assert target.equal(crops.pixels[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE])
    # Hardly anything may change at the border of what is seen: no edge is to show there.
    assert max(float(region[..., edge, :].max() + region[..., edge].max()) for edge in (0, -1)) < 0.05
    assert z.norm().item() == pytest.approx(1.0, abs=1e-5)


def test_who_it_is_does_not_depend_on_the_recogniser_that_the_identity_came_with(lite, person):
    other = replace(person, embedding=torch.eye(7)[:1], encoder="another")
    assert lite.encode(other).z.equal(lite.encode(person).z)


def test_a_photo_of_weight_nothing_does_not_count(lite, models, person):
    both = identity_from([images.read(PEOPLE[0]), images.read(PEOPLE[2])], models, weights=[1.0, 0.0])
    assert torch.allclose(lite.encode(both).z, lite.encode(person).z, atol=1e-6)
    assert len(lite.encode(both).photos.weight) == 1


def test_faces_do_not_change_each_other(lite, models, person):
    with torch.inference_mode():
        pictures = [images.read(file) for file in PEOPLE[1:4]]
        every = [align(picture, find(picture, models), size=256) for picture in pictures]
        done = swap(join(every), lite.encode(person), lite)
        for row, one in enumerate(every):
            alone = swap(one, lite.encode(person), lite)
            assert (alone.pixels[0] - done.pixels[row]).abs().max() < 1e-4


def test_no_face_is_no_work(lite, person, crops):
    assert len(lite(crops[[]], lite.encode(person))) == len(swap(crops[[]], lite.encode(person), lite)) == 0


@pytest.mark.parametrize("target", PEOPLE[1:], ids=lambda file: file.stem)
def test_the_bundled_swapper_makes_the_target_look_like_the_source(lite, models, person, target):
    with torch.inference_mode():
        done = swap_faces(images.read(target), prepare_source(person, lite, models), models)
        by_warp = swap_faces(images.read(target), prepare_source(person, WarpSwapper(), models), models)
    assert float(done.similarity_to_source[0]) > float(done.similarity_to_target[0])
    assert float(done.similarity_to_source[0]) > float(by_warp.similarity_to_source[0]) - 0.02


def test_a_new_refiner_changes_nothing():
    refiner = Refiner(RefinerConfig(identity=8, widths=(4, 6, 8), blocks=1))
    pictures = torch.rand(2, 3, 32, 32)
    assert refiner(pictures, pictures, torch.ones(2, 1, 32, 32), torch.rand(2, 8)).abs().max() == 0


def test_a_refiner_changes_nothing_outside_its_region():
    refiner = Refiner(RefinerConfig(identity=8, widths=(4, 6, 8), blocks=1))
    torch.nn.init.normal_(refiner.change.weight)
    region = torch.zeros(1, 1, 32, 32)
    region[..., 8:20, 8:20] = 1
    change = refiner(*torch.rand(2, 1, 3, 32, 32), region, torch.rand(1, 8))
    assert change[..., 8:20, 8:20].abs().min() > 0
    assert change.where(region == 0, 0).abs().max() == 0


def test_wherever_a_third_of_the_change_is_taken_the_mask_is_full(lite, person, crops):
    none = LaysNothing()
    bright = replace(with_painter(lite, 0.2)[0], warp=none)  # pyright: ignore[reportArgumentType]
    done, taken = bright(crops, bright.encode(person)).mask, change_weight(crops)
    assert (done[taken > 0.45] > 0.98).all()
    assert (done[(taken > 0.1) & (taken < 0.2)] < 0.8).all() and (done[taken == 0] < 0.01).all()


class LaysNothing(WarpSwapper):
    """A `warp` that covers nothing."""

    def __call__(self, crops: Crops, identity: Identity, strength: float = 1.0) -> Crops:
        return replace(crops, mask=crops.mask * 0)


def test_the_refiner_may_change_only_the_face_and_a_rim_around_it(lite, person, crops):
    bright, painter = with_painter(lite, 0.0)
    bright(crops, bright.encode(person))
    area = editable_area(resize(crops, SIZE))[..., TOP : TOP + SIDE, LEFT : LEFT + SIDE]
    assert not painter.seen[2][area == 0].any() and (painter.seen[2] <= area).all() and painter.seen[2].max() > 0.99


def test_the_change_fades_over_6_percent_of_the_crop(crops):
    taken, face = change_weight(crops), hull(crops.mesh, crops.size)
    line = round(float(crops.landmarks[0, 2, 1]))
    inner = (taken[0, 0, line] > 0.98).nonzero()[[0, -1], 0]
    outer = (face[0, 0, line] > 0.5).nonzero()[[0, -1], 0]
    assert ((inner - outer).abs() / crops.size).tolist() == pytest.approx([0.05, 0.05], abs=0.012)
