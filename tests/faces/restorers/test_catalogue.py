"""Restorers by name, faces restored in place, and what the bundled network does with people it never saw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as nnf
from torch import Generator, Tensor, nn

from cscs_core.faces.align import align
from cscs_core.faces.identity import encode
from cscs_core.faces.restorers import catalogue as restorers
from cscs_core.faces.restorers.base import Restoration, restore, restore_faces
from cscs_core.faces.restorers.catalogue import LiteRestorer, available, load_restorer
from cscs_core.hub.store import Store
from cscs_core.io import images
from cscs_core.io.files import BadInput
from cscs_core.models import FaceRestorer, FaceRestorerConfig
from cscs_core.ops.camera import jpeg
from cscs_core.ops.colour import gaussian_blur
from cscs_core.pipeline import Models, find, load_models
from cscs_core.tasks.example_people import EXAMPLES
from cscs_core.types import FaceSet

WORTH = 0.9  # squared difference that may be left, of all there was
KEPT = 0.006  # 0..1, root of the squared difference to a clear face
PEOPLE = sorted(EXAMPLES.glob("*.jpg"))


# Names


def test_the_bundled_restorer_is_always_there_and_others_once_their_converted_files_are(tmp_path: Path):
    assert available(Store(tmp_path / "none")) == ["lite"]
    (tmp_path / "GFPGANv1.4.pth").touch()
    assert available(Store(tmp_path)) == ["lite"]
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "GFPGANv1.4.safetensors").touch()
    (tmp_path / "codeformer.safetensors").touch()
    assert available(Store(tmp_path)) == ["lite", "gfpgan_1.4", "codeformer"]


def test_every_restorer_of_the_registry_has_a_name_and_a_licence():
    known = {name for name, spec in restorers.MODELS.items() if spec.role == "restorer"}
    assert set(restorers.RESTORERS) == known | {"lite"}
    assert all(restorers.licence(name) for name in restorers.RESTORERS)


def test_a_restorer_that_is_not_here_says_what_to_do(tmp_path: Path):
    with pytest.raises(BadInput, match=r"restorer codeformer: codeformer\.safetensors is not in .* `cscs convert`"):
        load_restorer("codeformer", Store(tmp_path))


def test_an_unknown_name_is_answered_with_those_there_are(tmp_path: Path):
    with pytest.raises(BadInput, match=r"unknown restorer 'magic'; choose one of lite, gfpgan_1\.4, "):
        load_restorer("magic", Store(tmp_path))


@pytest.mark.parametrize("name", ["gone.safetensors", "folder"])
def test_a_path_is_a_file(tmp_path: Path, name: str):
    (tmp_path / "folder").mkdir()
    with pytest.raises(BadInput, match=name):
        load_restorer(str(tmp_path / name), Store(tmp_path))


# The bundled one


class Says(nn.Module):
    """A network that says the same of every picture, and keeps what it saw."""

    def __init__(self, change: Tensor):
        super().__init__()
        self.change, self.seen = change, torch.zeros(0)

    def forward(self, pictures: Tensor) -> Tensor:
        self.seen = pictures
        return self.change.expand_as(pictures)


@pytest.mark.parametrize("size", [256, 512])
def test_what_a_crop_shows_stays_beneath_the_change(faces, smooth, size: int):
    network = Says(torch.full((1, 1, 1, 1), 0.25))
    crops = align(smooth(1, 120, 120), faces([(0, 60, 50, 30)]), size=size)
    fine = replace(crops, pixels=torch.rand(1, 3, size, size, generator=Generator().manual_seed(0)) / 2)
    done = restore(fine, LiteRestorer(network), blend=1.0)  # pyright: ignore[reportArgumentType]
    assert network.seen.shape == (1, 3, 256, 256)
    torch.testing.assert_close(done.pixels, fine.pixels + 0.25)


def test_pictures_stay_in_their_range():
    bright = LiteRestorer(Says(torch.ones(1, 1, 1, 1)))  # pyright: ignore[reportArgumentType]
    assert bright(torch.full((1, 3, 256, 256), 0.5), 0.5).max() == 1


def test_an_untrained_network_changes_nothing():
    network = FaceRestorer(FaceRestorerConfig(widths=(4, 6), blocks=1))
    pictures = torch.rand(2, 3, 32, 32, generator=Generator().manual_seed(0))
    assert not network(pictures).any()


def test_every_face_by_itself():
    restorer = load_restorer("lite", Store(Path("nowhere")))
    pictures = torch.rand(2, 3, 64, 64, generator=Generator().manual_seed(0))
    pictures = nnf.interpolate(pictures, (256, 256), mode="bicubic").clamp(0, 1)
    both = restorer(pictures, 0.5)
    torch.testing.assert_close(both[1:], restorer(pictures[1:], 0.5), atol=1e-5, rtol=0)


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


@dataclass(frozen=True)
class Everyone:
    """The example people: photographs (6, 3, 512, 512), the same damaged, and the damaged ones restored."""

    faces: FaceSet
    clear: Tensor
    damaged: Tensor
    restored: Tensor

    def crops(self, pictures: Tensor) -> Tensor:
        return align(pictures, self.faces, size=256).pixels


@pytest.fixture(scope="module")
def everyone(models: Models) -> Everyone:
    clear = torch.cat([images.read(file) for file in PEOPLE])
    faces = find(clear, models)
    assert len(faces) == len(PEOPLE)
    small = nnf.interpolate(gaussian_blur(clear, 5.0), (256, 256), mode="bilinear", antialias=True)
    small = (small + 0.02 * torch.randn(small.shape, generator=Generator().manual_seed(0))).clamp(0, 1)
    small = jpeg(small, torch.full((len(small),), 50.0)).clamp(0, 1)
    damaged = nnf.interpolate(small, (512, 512), mode="bilinear")
    restoration = Restoration(load_restorer("lite", Store(Path("nowhere"))), blend=1.0)
    return Everyone(faces, clear, damaged, restore_faces(damaged, faces, restoration)[0])


def test_damaged_faces_become_more_like_what_they_were(everyone: Everyone):
    truth = everyone.crops(everyone.clear)
    before, after = (
        (everyone.crops(pictures) - truth).square().mean((1, 2, 3))
        for pictures in (everyone.damaged, everyone.restored)
    )
    assert (after < before).all()
    assert (after / before).mean() < WORTH


def test_a_clearer_face_is_nobody_else(everyone: Everyone, models: Models):
    own, before, after = (
        encode(pictures, everyone.faces, models.encoder)
        for pictures in (everyone.clear, everyone.damaged, everyone.restored)
    )
    before, after = (before * own).sum(-1), (after * own).sum(-1)
    assert after.mean() > before.mean()
    assert (after - before).min() > -0.02


def test_a_clear_face_stays_nearly_as_it_is(everyone: Everyone, models: Models):
    restoration = Restoration(load_restorer("lite", Store(Path("nowhere"))), blend=1.0)
    again, _ = restore_faces(everyone.clear, everyone.faces, restoration)
    change = everyone.crops(again) - everyone.crops(everyone.clear)
    assert change.square().mean((1, 2, 3)).max() < KEPT**2
    alike = (
        encode(again, everyone.faces, models.encoder) * encode(everyone.clear, everyone.faces, models.encoder)
    ).sum(-1)
    assert alike.min() > 0.97


# In place


@dataclass(frozen=True)
class Adds:
    """A restorer that makes everything brighter by so much."""

    much: float
    template: str = "ffhq_512"
    size: int = 64

    def __call__(self, pixels: Tensor, weight: float) -> Tensor:
        return pixels + self.much


@pytest.fixture
def two(faces, smooth) -> tuple[Tensor, FaceSet]:
    """A picture with two faces, both larger than the crops of `Adds`."""
    picture = smooth(1, 300, 400) * 0.5 + 0.2 * torch.rand(1, 3, 300, 400, generator=Generator().manual_seed(1))
    return picture, faces([(0, 110, 140, 40), (0, 280, 150, 40)])


def test_a_restorer_that_changes_nothing_changes_not_a_bit_although_its_crops_are_coarser(two):
    picture, faces = two
    done, touched = restore_faces(picture, faces, Restoration(Adds(0.0), blend=1.0))
    assert torch.equal(done, picture) and touched.max() == 1


def test_only_faces_change_and_as_much_as_the_mask_says(two):
    picture, faces = two
    done, touched = restore_faces(picture, faces[:1], Restoration(Adds(0.25), blend=1.0))
    torch.testing.assert_close(done, picture + 0.25 * touched, atol=2e-3, rtol=0)
    assert torch.equal(done[(touched == 0).expand_as(done)], picture[(touched == 0).expand_as(done)])
    x, y = faces.landmarks[1].mean(0).round().long().tolist()
    assert touched[0, 0, y, x] == 0


def test_blend_is_how_much_of_the_change_is_laid_over(two):
    picture, faces = two
    whole, half = (restore_faces(picture, faces, Restoration(Adds(0.2), blend=blend))[0] for blend in (1.0, 0.5))
    torch.testing.assert_close(half - picture, (whole - picture) / 2, atol=1e-5, rtol=0)


def test_a_limit_keeps_what_is_black(two):
    picture, faces = two
    limit = torch.zeros(1, 1, 300, 400)
    limit[..., 200:] = 1
    done, touched = restore_faces(picture, faces, Restoration(Adds(0.25)), limit)
    assert torch.equal(done[..., :190], picture[..., :190]) and not touched[..., :190].any()
    assert (done - picture)[..., 210:].max() > 0.1


@pytest.mark.parametrize("blend", [0.0, 0.8])
def test_nothing_to_do_gives_the_picture_itself(two, blend: float):
    picture, faces = two
    done, touched = restore_faces(picture, faces if blend == 0 else FaceSet.empty(), Restoration(Adds(0.25), blend))
    assert done is picture and touched.shape == (1, 1, 300, 400) and not touched.any()


def test_faces_of_several_pictures_are_laid_into_their_own(two):
    picture, faces = two
    several = torch.cat([picture, picture])
    rows = FaceSet(torch.tensor([0, 1]), faces.box, faces.landmarks, faces.mesh, faces.score, faces.track)
    done, touched = restore_faces(several, rows, Restoration(Adds(0.25)))
    for row in range(2):
        alone, mask = restore_faces(picture, faces[row : row + 1], Restoration(Adds(0.25)))
        torch.testing.assert_close(done[row : row + 1], alone)
        torch.testing.assert_close(touched[row : row + 1], mask)


def test_a_limit_only_ever_takes_away(two):
    picture, faces = two
    free, white, grey = (
        restore_faces(picture, faces, Restoration(Adds(0.25)), limit)[1]
        for limit in (None, torch.ones(1, 1, 300, 400), torch.full((1, 1, 300, 400), 0.5))
    )
    torch.testing.assert_close(white, free)
    torch.testing.assert_close(grey, free / 2)
