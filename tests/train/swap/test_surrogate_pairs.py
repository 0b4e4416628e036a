"""Proxies made while training, of the example people."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as nnf
from torch import Generator, Tensor

from cscs_core.faces.align import align, realign
from cscs_core.io import images
from cscs_core.io.files import BadInput
from cscs_core.pipeline import Models, find, load_models
from cscs_core.surrogates.adapt import AdaptOptions
from cscs_core.surrogates.base import Surrogate, unfiltered
from cscs_core.surrogates.recipe import Pool, Recipe
from cscs_core.tasks.example_people import EXAMPLES
from cscs_core.train.people import People, crops_of
from cscs_core.train.swap.data import Pairs, PairSource, folder_data
from cscs_core.train.swap.surrogate_pairs import SurrogatePairs, surrogate_pairs
from cscs_core.types import Crops, join

SIZE = 64
BENT = AdaptOptions(face=1.0)


@pytest.fixture(scope="module")
def models() -> Models:
    return load_models()


@pytest.fixture(scope="module")
def pool(models: Models) -> Pool:
    pictures = [images.read(path) for path in sorted(EXAMPLES.glob("*.jpg"))]
    crops = join([align(picture, find(picture, models)[:1], size=SIZE) for picture in pictures])
    return Pool.of(replace(crops, pixels=crops.pixels.mul(255).round().byte()))


@pytest.fixture(scope="module")
def recipe(models: Models) -> Recipe:
    return Recipe(models.encoder, models.landmarks)


def who(pool: Pool, pictures: Tensor) -> list[int]:
    """Which photograph of the pool each picture is, bit by bit; -1 none."""
    every = pool[torch.arange(len(pool))].pixels
    same = (pictures[:, None] == every).flatten(2).all(-1)
    return torch.where(same.any(1), same.int().argmax(1), -1).tolist()


def same(a: Pairs, b: Pairs) -> bool:
    return all(torch.equal(getattr(a, name), getattr(b, name)) for name in ("y", "x_src", "x_tgt", "known"))


@pytest.fixture(scope="module")
def made(pool: Pool, recipe: Recipe) -> Pairs:
    source: PairSource = SurrogatePairs(pool, recipe, SIZE)
    return source.batch(Generator().manual_seed(0), 6)


def test_results_are_photographs_and_the_others_are_made_of_them(
    made: Pairs, pool: Pool, recipe: Recipe, models: Models
):
    numbers = who(pool, made.y)
    assert len(made) == 6 and made.known.all() and min(numbers) >= 0 and len(set(numbers)) > 2
    assert who(pool, made.x_src) == who(pool, made.x_tgt) == [-1] * 6
    faces = pool[torch.tensor(numbers)]

    def cosine(pictures: Tensor) -> Tensor:
        encoder = models.encoder
        first, second = (
            encoder(realign(replace(faces, pixels=pixels), encoder.template, encoder.size))
            for pixels in (made.y, pictures)
        )
        return (first * second).sum(-1)

    assert cosine(made.x_src).mean() > cosine(made.x_tgt).mean() + 0.2


def test_a_batch_depends_on_its_generator_and_its_share(made: Pairs, pool: Pool, recipe: Recipe):
    source = SurrogatePairs(pool, replace(recipe, target=None), SIZE)
    whole, again = (source.batch(Generator().manual_seed(1), 4) for _ in range(2))
    assert same(whole, again)
    first, second = (source.batch(Generator().manual_seed(1), 4, slice(rank, None, 2)) for rank in range(2))
    assert len(first) == len(second) == 2
    assert not torch.equal(first.x_src, second.x_src)
    generator = Generator().manual_seed(1)
    assert not same(source.batch(generator, 4), source.batch(generator, 4))


def test_without_a_surrogate_the_photograph_takes_its_place(pool: Pool, recipe: Recipe):
    neither = replace(recipe, source=None, target=None)
    plain = SurrogatePairs(pool, neither, SIZE, adapt=None).batch(Generator().manual_seed(0), 5)
    assert torch.equal(plain.x_src, plain.y) and torch.equal(plain.x_tgt, plain.y)
    bent = SurrogatePairs(pool, neither, SIZE, adapt=BENT).batch(Generator().manual_seed(0), 5)
    assert torch.equal(bent.x_src, bent.y)
    assert ((bent.x_tgt - bent.y).abs().amax((1, 2, 3)) > 0.05).all()
    assert torch.equal(bent.x_tgt[..., 0], bent.y[..., 0])  # the border stays
    half = SurrogatePairs(pool, neither, SIZE).batch(Generator().manual_seed(0), 200)
    straight = (half.x_tgt == half.y).flatten(1).all(1).float().mean()
    assert 0.35 < straight < 0.65


@dataclass(frozen=True)
class Picky:
    """A recipe whose sources of odd, and targets of the third photograph never pass."""

    most: int = 100

    def sources(self, crops: Crops, *_: Any) -> Surrogate:
        return self._some(crops, crops.frame % 2 == 0)

    def targets(self, crops: Crops, *_: Any) -> Surrogate:
        return self._some(crops, crops.frame != 2)

    def _some(self, crops: Crops, which: Tensor) -> Surrogate:
        return unfiltered(crops, [{} for _ in range(len(crops))])[which & (crops.frame < self.most)]


def test_what_is_rejected_is_made_up_for(pool: Pool):
    numbered = Pool(replace(pool.crops, frame=torch.arange(len(pool))), pool.traits)
    source = SurrogatePairs(numbered, cast(Recipe, Picky()), SIZE, adapt=None)
    for count in (0, 1, 7):
        pairs = source.batch(Generator().manual_seed(count), count)
        assert len(pairs) == len(pairs.known) == count
        numbers = who(pool, pairs.y)
        assert set(numbers) <= {0, 4}
        assert who(pool, pairs.x_src) == who(pool, pairs.x_tgt) == numbers
    hopeless = SurrogatePairs(numbered, cast(Recipe, Picky(most=0)), SIZE)
    with pytest.raises(BadInput, match="all surrogates were rejected in 8 rounds"):
        hopeless.batch(Generator().manual_seed(0), 2)


def test_pairs_have_the_size_asked_for(pool: Pool, recipe: Recipe):
    small = SurrogatePairs(pool, replace(recipe, source=None, target=None), SIZE // 2, adapt=None)
    pairs = small.batch(Generator().manual_seed(0), 2)
    large = SurrogatePairs(small.photographs, small.recipe, SIZE, adapt=None).batch(Generator().manual_seed(0), 2)
    assert pairs.y.shape == (2, 3, SIZE // 2, SIZE // 2)
    torch.testing.assert_close(pairs.y.mean((2, 3)), large.y.mean((2, 3)), rtol=0, atol=0.01)


def test_people_are_cut_out_of_the_middle_of_their_pictures():
    pixels = torch.zeros(2, 3, 320, 320, dtype=torch.uint8)
    pixels[:, :, 132, 142] = 255
    points = torch.tensor([142.0, 132.0]).expand(2, 468, 2)
    crops = crops_of(People(pixels, points[:, :5], points, torch.zeros(2, 128), torch.ones(2)))
    assert crops.size == 256
    x, y = crops.mesh[1, 0].tolist()
    assert crops.pixels[1, 0, int(y), int(x)] == 255
    assert torch.equal(crops.landmarks, crops.mesh[:, :5])


def test_photographs_become_proxies_without_any_made_beforehand(tmp_path):
    (tmp_path / "normal_data").mkdir()
    for path in sorted(EXAMPLES.glob("*.jpg")):
        (tmp_path / "normal_data" / path.name).write_bytes(path.read_bytes())
    data = folder_data(tmp_path, SIZE, ["ordinary", "proxy"], partial(surrogate_pairs, size=SIZE))
    learned, held_out = data.train["proxy"], data.held_out["proxy"]
    assert isinstance(learned, SurrogatePairs) and len(learned.photographs) == 4
    assert len(held_out) == 2 and bool(held_out.known.all())
    # Who is held out is nobody to learn from: no photograph of theirs is in the pool.
    known = learned.photographs[torch.arange(4)]
    for y in held_out.y:
        assert (nnf.interpolate(known.pixels, SIZE, mode="area") - y).abs().mean((1, 2, 3)).min() > 0.05
    assert len(learned.batch(Generator().manual_seed(1), 3)) == 3


def test_one_face_is_too_few_to_make_surrogates_of():
    with pytest.raises(BadInput, match="1 of 1 photographs show a face; surrogates need at least two"):
        surrogate_pairs([EXAMPLES / "person_1.jpg"], SIZE)
