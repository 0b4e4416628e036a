"""The `cscs` swapper does what the release does, and what users ask of it beyond."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from cscs_core.faces import align
from cscs_core.faces.align import resize
from cscs_core.faces.swappers.base import NoAttention, attention, blend_identity, editable_area, swap
from cscs_core.faces.swappers.cscs import CSCSPerson, CSCSSwapper, face_view
from cscs_core.faces.swappers.warp import WarpSwapper
from cscs_core.models import (
    AEIConfig,
    AEINet,
    EncoderConfig,
    FusedAEINet,
    IdAdapter,
    IdAdapterConfig,
    IdentityEncoder,
    IResNet,
    IResNetConfig,
    SmallGenerator,
    SmallGeneratorConfig,
    iresnet,
)
from cscs_core.ops import geometry, mesh
from cscs_core.types import Crops, FaceSet, Identity


@pytest.fixture(scope="module", autouse=True)
def _no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module")
def swapper(golden: Any) -> CSCSSwapper:
    return CSCSSwapper(
        FusedAEINet(golden.filled(AEINet, AEIConfig())),
        golden.filled(IResNet, IResNetConfig()),
        golden.filled(IdAdapter, IdAdapterConfig("add")),
    )


@pytest.fixture(scope="module")
def small(golden: Any) -> CSCSSwapper:
    """With narrow encoders of depth 18, for what does not need the golden ones, and a generator that paints z."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(iresnet, "WIDTHS", golden.NARROW_IRESNET)
        return CSCSSwapper(
            Painter(),  # pyright: ignore[reportArgumentType]
            golden.filled(IResNet, IResNetConfig(18)),
            golden.filled(IdAdapter, IdAdapterConfig("concat", 18)),
        )


class Painter(nn.Module):
    """A generator that paints the first three numbers of z all over."""

    def prepare(self, z: Tensor) -> Tensor:
        return z

    def forward(self, target: Tensor, prepared: Tensor) -> Tensor:
        return prepared[:, :3, None, None].expand(len(target), -1, *target.shape[2:])


def released(picture: Tensor) -> Tensor:
    """The release's own step from an aligned picture in [-1, 1] to 256 px in 0..1: eight bits, bilinear."""
    eight = ((picture[0].movedim(0, -1) * 0.5 + 0.5) * 255).clamp(0, 255).byte().numpy()  # cut off, not rounded
    resized = Image.fromarray(eight).resize((256, 256), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.array(resized)).movedim(-1, 0)[None].float() / 255


def crops_of(pixels: Tensor) -> Crops:
    """Crops that show the mean face, by its landmarks."""
    count, size = len(pixels), pixels.shape[-1]
    points = (mesh.mean_face() * 0.36 * size + torch.tensor([0.5, 0.47]) * size).expand(count, -1, -1)
    eye = torch.eye(2, 3).expand(count, -1, -1)
    return Crops(pixels, torch.ones_like(pixels[:, :1]), eye, mesh.five(points), points, torch.arange(count))


def person_of(pixels: Tensor, *weight: float) -> Identity:
    weights = torch.tensor(weight) if weight else torch.ones(len(pixels))
    return Identity(crops_of(pixels), torch.ones(len(pixels), 1), weights)


def test_z_and_the_picture_are_the_golden_ones(golden, swapper):
    expected = golden.numbers()["inference_add"]
    source, target = released(golden.image(640, 1, 0.3)), released(golden.image(640, 1, 1.7))
    person = swapper.encode(person_of(source))
    golden.check(person.z, expected["z"])
    done = swap(crops_of(target), person, swapper)
    golden.check(done.pixels * 2 - 1, expected["output"], golden.PICTURES)


def test_pictures_are_resized_in_float_within_two_levels_and_a_half_of_the_release(golden):
    """The release stores the resized picture in eight bits, and PIL an intermediate one too."""
    picture = golden.image(640, 1, 0.3)
    exact = nn.functional.interpolate(picture * 0.5 + 0.5, (256, 256), mode="bilinear", antialias=True)
    assert (exact - released(picture)).abs().max() <= 2.5 / 255


def test_the_parts_are_unit_and_their_sum_is_not_normalised(small, golden, narrow):
    swapper = replace(small, adapter=golden.filled(IdAdapter, IdAdapterConfig("add", 18)))
    z = swapper.encode(person_of(torch.rand(1, 3, 256, 256))).z
    first, second = swapper.parts(torch.rand(1, 3, 256, 256))
    assert z.norm() < 1.999
    joined = swapper.joined(nn.functional.normalize(first), nn.functional.normalize(first))
    torch.testing.assert_close(joined.norm(), torch.tensor(2.0))
    assert first.shape == second.shape == (1, 512)


def test_each_part_is_averaged_over_the_photos_by_itself(small):
    photos = torch.rand(3, 3, 256, 256)
    z = small.encode(person_of(photos, 1.0, 0.0, 3.0)).z
    unit = [nn.functional.normalize(part, dim=-1) for part in small.parts(photos)]
    means = [nn.functional.normalize(part[0] + 3 * part[2], dim=0) for part in unit]
    torch.testing.assert_close(z[0], torch.cat(means), atol=1e-5, rtol=1e-4)


def test_kinds_of_adapters_join_as_they_are_called(small, golden):
    a, b = torch.randn(2, 512), torch.randn(2, 512)
    for kind, expected in (("add", a + b), ("concat", torch.cat([a, b], -1)), ("replace", b)):
        with torch.device("meta"):
            adapter = IdAdapter(IdAdapterConfig(kind, 18))
        assert torch.equal(replace(small, adapter=adapter).joined(a, b), expected)


def test_encoder_and_adapter_can_count_differently(small):
    person = person_of(torch.rand(1, 3, 256, 256))
    plain, changed = (
        replace(small, encoder_weight=a, adapter_weight=b).encode(person).z for a, b in ((1.0, 1.0), (0.5, 2.0))
    )
    torch.testing.assert_close(changed[:, :512], plain[:, :512] * 0.5)
    torch.testing.assert_close(changed[:, 512:], plain[:, 512:] * 2)


def test_strength_mixes_in_the_targets_own_identity(small):
    photo, targets = torch.rand(1, 3, 256, 256), torch.rand(2, 3, 256, 256)
    person, crops = small.encode(person_of(photo)), crops_of(targets)
    own = torch.cat([small.encode(person_of(target[None])).z for target in targets])
    done = swap(crops, person, small, strength=0.3)
    shown = blend_identity(own, person.z, 0.3)[:, :3] * 0.5 + 0.5
    torch.testing.assert_close(done.pixels[:, :, 0, 0], shown, atol=1e-5, rtol=0)


def test_mixing_keeps_the_norm_and_ends_at_both():
    own, other = torch.randn(4, 64), torch.randn(1, 64)
    own, other = (nn.functional.normalize(z, dim=-1) * 1.4 for z in (own, other))
    for strength in (0.0, 0.25, 0.5, 1.0):
        torch.testing.assert_close(blend_identity(own, other, strength).norm(dim=-1), torch.full((4,), 1.4))
    torch.testing.assert_close(blend_identity(own, other, 0.0), own)
    torch.testing.assert_close(blend_identity(own, other, 1.0), other.expand(4, -1))


def test_references_of_any_size_are_the_same_person(small, golden):
    photo = golden.image(512) * 0.5 + 0.5
    half = nn.functional.interpolate(photo, (256, 256), mode="bilinear", antialias=True)
    one, other = (small.encode(person_of(picture)).z for picture in (half, photo))
    assert nn.functional.cosine_similarity(one, other) > 0.9999


def test_only_the_face_and_a_rim_around_it_may_change():
    crops = crops_of(torch.rand(1, 3, 256, 256))
    allowed = editable_area(crops)[0, 0]
    x, y = crops.mesh[0, list(mesh.OVAL)].T
    assert allowed[int(crops.landmarks[0, 2, 1]), int(crops.landmarks[0, 2, 0])] == 1
    assert allowed.nonzero().amin(0).tolist() >= [int(y.min()) - 12, int(x.min()) - 12]
    assert not allowed[0].any() and not allowed[:, 0].any() and not allowed[:, -1].any()


def test_the_square_of_ffhq_is_the_published_one(faces: Callable[..., FaceSet]):
    """Corner by corner as the paper's appendix says it, for upright and for turned faces."""
    found = faces([(0, 120.0, 90.0, 50.0), (0, 300.0, 200.0, 80.0)], turn=0.4)
    points = found.mesh[:, list(mesh.IBUG68)]
    matrix = align.ffhq_quad(points, 256)
    for row, face in enumerate(points.double().numpy()):
        left, right = face[36:42].mean(0), face[42:48].mean(0)
        eye, to_mouth = (left + right) / 2, (face[48] + face[54]) / 2 - (left + right) / 2
        x = (right - left) - np.flipud(to_mouth) * [-1, 1]
        x *= max(np.hypot(*(right - left)) * 2.0, np.hypot(*to_mouth) * 1.8) / np.hypot(*x)
        y = np.flipud(x) * [-1, 1]
        centre = eye + to_mouth * 0.1
        corners = torch.tensor(np.stack([centre - x - y, centre - x + y, centre + x + y, centre + x - y])).float()
        laid = align.transform(corners[None], matrix[row : row + 1])[0]
        square = torch.tensor([[-0.5, -0.5], [-0.5, 255.5], [255.5, 255.5], [255.5, -0.5]])
        torch.testing.assert_close(laid, square, atol=2e-3, rtol=0)


def test_the_square_of_ffhq_is_a_template_of_align(faces: Callable[..., FaceSet], smooth: Callable[..., Tensor]):
    found, picture = faces([(0, 120.0, 90.0, 50.0)]), smooth(1, 240, 260)
    crops = align.align(picture, found, "ffhq_quad", 128)
    again = align.realign(crops, "ffhq_quad", 128)  # it lies as it lay
    torch.testing.assert_close(again, crops.pixels, atol=1e-3, rtol=0)
    torch.testing.assert_close(align.transform(found.mesh, crops.matrix), crops.mesh)


def test_attention_is_the_mean_of_the_masks_of_the_plain_networks_finest_blocks(golden, small, narrow_aei):
    target, z = (golden.image(256, 2) * 0.5 + 0.5).double(), golden.vector(20).double() * 1.4
    masks: list[list[Tensor]] = []
    narrow_aei(target * 2 - 1, z.expand(2, -1), masks)
    raised = [nn.functional.interpolate(one, (256, 256), mode="bilinear") for block in masks[-3:] for one in block]
    assert len(raised) == 9
    expected = torch.stack(raised).mean(0)
    swapper = replace(small, generator=FusedAEINet(narrow_aei))
    crops, person = crops_of(target), CSCSPerson(z, swapper.generator.prepare(z))
    found = attention(crops, person, swapper)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)
    assert expected.std() > 0.005
    large = attention(resize(crops[:1], 384), person, swapper)
    assert large.shape == (1, 1, 384, 384)
    torch.testing.assert_close(large.mean(), expected[:1].mean(), atol=5e-3, rtol=0)


def test_swappers_without_attention_say_which_have_it(golden):
    crops = crops_of(torch.rand(1, 3, 64, 64))
    small = CSCSSwapper(
        SmallGenerator(SmallGeneratorConfig()),
        IdentityEncoder(EncoderConfig()),
        IdentityEncoder(EncoderConfig()),
        sizes=(64,),
    )
    for one in (WarpSwapper(), small):
        with pytest.raises(NoAttention, match="only cscs and AEI generators"):
            attention(crops, "somebody", one)


class Means(nn.Module):
    """An encoder that says the mean colour of 16 parts of a picture."""

    def forward(self, pictures: Tensor) -> Tensor:
        return nn.functional.adaptive_avg_pool2d(pictures, 4).flatten(1)


def test_a_person_is_read_in_the_alignment_of_the_swapper():
    pixels = torch.rand(1, 3, 8, 8)
    known = person_of(nn.functional.interpolate(pixels, (256, 256), mode="bilinear"))
    seen: dict[str, Tensor] = {}
    for template in ("ffhq_512", "ffhq_quad"):
        made: Any = (Painter(), Means(), Means())
        swapper = CSCSSwapper(*made, template=template, gate=nn.Linear(48, 48, bias=False).requires_grad_(False))
        cut = align.realign(known.crops, template, 256) if template == "ffhq_quad" else known.crops.pixels
        unit = [nn.functional.normalize(part, dim=-1) for part in swapper.parts(cut)]
        seen[template] = swapper.encode(known).z
        torch.testing.assert_close(seen[template], swapper.joined(*unit), atol=1e-5, rtol=0)
    assert not torch.allclose(seen["ffhq_512"], seen["ffhq_quad"], atol=1e-3)


def test_an_encoder_of_ours_sees_the_aligned_face_in_0_to_1():
    pictures = torch.rand(2, 3, 64, 64)
    ours = IdentityEncoder(EncoderConfig(widths=(4, 4, 4, 4), depths=(0, 0, 0, 0)))
    ffhq, arcface = geometry.template("ffhq_512", 64)[None], geometry.template("arcface_112_v2", 112)[None]
    matrix = geometry.similarity(ffhq, arcface).expand(2, -1, -1)
    torch.testing.assert_close(
        face_view(ours, pictures * 2 - 1), geometry.warp(pictures, matrix, 112), atol=1e-5, rtol=0
    )
    whole = nn.functional.interpolate(pictures * 2 - 1, (112, 112), mode="bilinear")
    torch.testing.assert_close(face_view(Means(), pictures * 2 - 1), whole)
