from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from cscs_core.faces.swappers.base import blend_identity, editable_area, largest_size, swap
from cscs_core.ops import mask, mesh
from cscs_core.ops.batching import OutOfMemory
from cscs_core.types import Crops, Identity


@dataclass(frozen=True)
class Paint:
    """Paints the crops white where it is told to."""

    mask: float = 1.0
    template: str = "ffhq_512"
    sizes: tuple[int, ...] = (16, 32)
    networks: tuple[nn.Module, ...] = ()

    def encode(self, identity: Identity) -> str:
        return "somebody"

    def __call__(self, crops: Crops, person: str, strength: float) -> Crops:
        assert person == "somebody"
        return replace(crops, pixels=torch.ones_like(crops.pixels), mask=crops.mask * self.mask * strength)


def _crops(count: int, size: int = 16) -> Crops:
    points = torch.rand(count, 468, 2) * size
    return Crops(
        torch.rand(count, 3, size, size),
        torch.rand(count, 1, size, size),
        torch.eye(2, 3).expand(count, 2, 3),
        points[:, :5],
        points,
        torch.zeros(count, dtype=torch.long),
    )


PERSON = "somebody"


def test_a_wrong_size_is_named_with_the_right_ones():
    with pytest.raises(ValueError, match="crops are 20 px; this swapper takes 16 or 32"):
        swap(_crops(1, 20), PERSON, Paint())


def test_full_strength_is_what_the_swapper_says():
    crops = _crops(2)
    done = swap(crops, PERSON, Paint(0.7))
    assert (done.pixels == 1).all()
    assert torch.equal(done.mask, crops.mask * 0.7)


def test_the_strength_reaches_the_swapper():
    crops = _crops(2)
    done = swap(crops, PERSON, Paint(), strength=0.5)
    assert (done.pixels == 1).all()
    assert torch.equal(done.mask, crops.mask * 0.5)


def test_no_strength_changes_nothing_and_asks_no_swapper():
    crops = _crops(2, 20)
    done = swap(crops, PERSON, Paint(), strength=0.0)
    assert torch.equal(done.pixels, crops.pixels)
    assert done.mask.shape == crops.mask.shape
    assert not done.mask.any()


def test_no_faces_flow_through():
    assert len(swap(_crops(0), PERSON, Paint())) == 0


def test_the_crops_given_are_not_changed():
    crops = _crops(1)
    kept = replace(crops, pixels=crops.pixels.clone(), mask=crops.mask.clone())
    swap(crops, PERSON, Paint(), strength=0.5)
    assert torch.equal(crops.pixels, kept.pixels)
    assert torch.equal(crops.mask, kept.mask)


def test_a_crowd_is_worked_on_a_few_faces_at_a_time():
    seen = []

    class Counting(Paint):
        def __call__(self, crops: Crops, person: str, strength: float) -> Crops:
            seen.append(len(crops))
            return super().__call__(crops, person, strength)

    crops, pauses = _crops(20), []
    done = swap(crops, PERSON, Counting(0.7), check_cancel=lambda: pauses.append(len(seen)))
    assert seen == [1] * 20 and pauses == [*range(20)]
    assert torch.equal(done.mask, crops.mask * 0.7)


@pytest.mark.parametrize("strength", [-0.1, 1.1])
def test_a_strength_beyond_0_and_1_is_refused(strength):
    with pytest.raises(ValueError, match="between 0 and 1"):
        swap(_crops(2), PERSON, Paint(), strength)


def test_faces_that_do_not_fit_into_memory_together_are_swapped_in_smaller_parts(monkeypatch):
    monkeypatch.setattr("cscs_core.faces.swappers.base.max_batch", lambda device: 8)  # as on a graphics card
    seen = []

    class Large(Paint):
        def __call__(self, crops: Crops, person: str, strength: float) -> Crops:
            seen.append(len(crops))
            if len(crops) > 3:
                raise OutOfMemory("no room")
            return super().__call__(crops, person, strength)

    crops = _crops(5)
    done = swap(crops, PERSON, Large(0.7))
    assert torch.equal(done.mask, crops.mask * 0.7)
    assert seen == [5, 2, 2, 1]


@pytest.mark.parametrize(("most", "side"), [(1024, 512), (512, 512), (300, 256), (64, 128)])
def test_crops_are_as_large_as_allowed_but_never_smaller_than_the_swapper_takes(most: int, side: int):
    assert largest_size(SimpleNamespace(sizes=(128, 256, 512)), most) == side  # pyright: ignore[reportArgumentType]


def test_the_editable_area_ends_a_little_beyond_the_face():
    size = 256
    points = (mesh.mean_face() * 0.36 * size + torch.tensor([0.5, 0.47]) * size)[None]
    crops = replace(_crops(1, size), mesh=points)
    line = round(float(points[0, list(mesh.OVAL), 1].mean()))
    rows = [area[0, 0, line] for area in (editable_area(crops), mask.hull(points, size))]
    # Grown by 4 % of the side and faded over 6 % inwards: half of it is left a little over 2 % beyond the outline.
    half = [(row > 0.5).nonzero()[[0, -1], 0] for row in rows]
    ends = (rows[0] > 0).nonzero()[[0, -1], 0]
    out = torch.tensor([-1, 1])
    assert ((half[0] - half[1]) * out / size).tolist() == pytest.approx([0.023, 0.023], abs=0.006)
    assert ((ends - half[1]) * out / size).tolist() == pytest.approx([0.04, 0.04], abs=0.006)


def test_between_two_identities_the_norm_goes_from_one_to_the_other():
    own, other = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([[0.0, 5.0]])
    for strength in (0.0, 0.25, 1.0):
        expected = torch.tensor([3.0, 1.0]).lerp(torch.tensor(5.0), strength)
        torch.testing.assert_close(blend_identity(own, other, strength).norm(dim=-1), expected)
