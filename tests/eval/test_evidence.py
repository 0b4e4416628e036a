"""The comparison of ways to train: what each learns from, that nothing else differs, and how it is summed up."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import torch
from torch import Generator, nn

from cscs_core.eval.evidence import MEASURES, kept, sheet, summary
from cscs_core.eval.evidence_data import Made, build
from cscs_core.eval.evidence_student import Remembering, SmallStudent, laid_back
from cscs_core.eval.evidence_train import VARIANTS, pairs, preset, recogniser, student
from cscs_core.io.files import BadInput
from cscs_core.ops import mask, mesh
from cscs_core.pipeline import load_models
from cscs_core.train.people import load_people
from cscs_core.types import Crops

DATA = Path(__file__).parents[3] / "shared" / "data"
VALUES = {
    "photographs": 5,
    "y": 10,
    "x_src": 20,
    "x_tgt": 30,
    "thin": 40,
    "chubby": 50,
    "own_thin": 60,
    "own_chubby": 70,
}


@pytest.fixture
def made() -> Made:
    """Pictures that say by their grey what they are."""
    pictures = {name: torch.full((4, 3, 64, 64), value, dtype=torch.uint8) for name, value in VALUES.items()}
    return Made.of(pictures | {"source_similarity": torch.ones(4), "target_similarity": torch.zeros(4)})


def crops_of(points: torch.Tensor, pixels: torch.Tensor) -> Crops:
    count = len(points)
    matrix = torch.eye(2, 3).expand(count, 2, 3)
    return Crops(pixels, torch.ones_like(pixels[:, :1]), matrix, mesh.five(points), points, torch.arange(count))


def greys(pictures: torch.Tensor) -> set[int]:
    return set((pictures * 255).round().int().flatten().tolist())


@pytest.mark.parametrize(
    ("variant", "source", "target"),
    [
        ("full", {20}, {30, 40, 50}),
        ("ordinary", {5}, {5}),
        ("no_source", {10}, {30, 40, 50}),
        ("no_target", {20}, {10, 60, 70}),
        ("no_shape", {20}, {30}),
    ],
)
def test_what_each_way_to_train_learns_from(made, variant, source, target):
    batch = pairs(variant, made).batch(Generator().manual_seed(0), 200)
    assert greys(batch.x_src) == source
    assert greys(batch.x_tgt) == target
    assert greys(batch.y) == ({5} if variant == "ordinary" else {10})


def test_every_way_has_its_name(made):
    assert all(len(pairs(variant.pairs, made).batch(Generator(), 2)) == 2 for variant in VARIANTS.values())


def test_ordinary_and_proxy_pairs_are_as_many_and_identity_counts_alike_for_both():
    ordinary, proxy = preset(10, 0.5).parts
    assert ordinary.batch == proxy.batch
    assert ordinary.weights.identity == proxy.weights.identity


def test_a_view_is_laid_back_where_it_came_from():
    y, x = torch.meshgrid(torch.arange(64) / 9, torch.arange(64) / 11, indexing="ij")
    picture = torch.stack([x.sin(), y.cos(), (x + y).sin()])[None]
    known = recogniser()
    back = laid_back(known.view(picture)) * 2 - 1
    assert float((back - picture)[..., 20:-14, 18:-18].abs().max()) < 0.05


def test_a_recogniser_that_remembers_says_the_same_and_looks_once():
    class Counting(nn.Module):
        looked = 0

        def forward(self, view: torch.Tensor) -> torch.Tensor:
            self.looked += len(view)
            return view.flatten(1)[:, :8]

    network = Counting()
    known = Remembering(network, 8)
    view = torch.rand(3, 3, 112, 112)
    with torch.no_grad():
        first, again = known.of_view(view), known.of_view(view.flip(0))
    assert torch.equal(first, again.flip(0))
    assert network.looked == 3
    assert torch.allclose(first, nn.functional.normalize(view.flatten(1)[:, :8], dim=-1))
    view.requires_grad_(True)
    known.of_view(view).sum().backward()
    assert view.grad is not None and network.looked == 6


def test_a_student_is_made_once_and_alike_from_the_same_seed(made, tmp_path):
    pytest.importorskip("accelerate.state").AcceleratorState._reset_state(True)  # what other tests have set
    known = recogniser()
    files = [tmp_path / f"{name}.safetensors" for name in ("one", "other", "later")]
    first = student("full", made, known, 2, 0, files[0])
    other = student("full", made, known, 2, 0, files[1])
    later = student("full", made, known, 2, 1, files[2])
    written = files[0].read_bytes()
    again = student("full", made, known, 2, 0, files[0])
    assert files[0].read_bytes() == written
    for one, same, loaded in zip(first.parameters(), other.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, same) and torch.equal(one, loaded)
    assert not torch.equal(first.stem.weight, later.stem.weight)
    with pytest.raises(BadInput, match=r"one\.safetensors: was trained for 2 steps, not 3"):
        student("full", made, known, 3, 0, files[0])


def test_a_student_sees_source_target_and_identity():
    network = SmallStudent(8).eval()
    target, view, z = torch.rand(1, 3, 64, 64), torch.rand(1, 3, 112, 112), torch.rand(1, 8)
    out = network(target, view, z)
    assert out.shape == target.shape and float(out.detach().abs().max()) <= 1
    for changed in ((target.flip(-1), view, z), (target, view.flip(-1), z), (target, view, z.flip(-1))):
        assert not torch.allclose(network(*changed), out)


def test_differences_are_taken_pair_by_pair():
    spread = torch.randn(60) * 10
    found = {
        way: [{measure: spread - number for measure in MEASURES} for _ in range(2)]
        for number, way in enumerate(VARIANTS)
    }
    report = summary(found)
    assert report["ordinary"]["pose"]["high"] - report["ordinary"]["pose"]["low"] > 3  # people differ
    difference = report["ordinary - full"]["pose"]
    assert difference["low"] == pytest.approx(-1, abs=1e-5) == difference["high"]


def test_what_is_kept_is_told_apart_around_the_face_and_in_it():
    points = mesh.mean_face()[None] * 16 + torch.tensor([31.5, 28.0])
    targets = crops_of(points, torch.full((1, 3, 64, 64), 0.5))
    face = mask.hull(points, 64)
    darker, other = targets.pixels - 0.2 * face, targets.pixels + 0.3 * (1 - face)
    assert float(kept(darker, targets)["tone"]) == pytest.approx(0.2, abs=0.01)
    assert float(kept(darker, targets)["surroundings"]) < 0.01
    assert float(kept(other, targets)["surroundings"]) == pytest.approx(0.3, abs=0.01)
    assert float(kept(other, targets)["tone"]) < 0.01


def test_a_sheet_has_a_row_for_each_pair():
    page = sheet([[torch.zeros(3, 8, 8), torch.ones(3, 8, 8)]] * 3, side=10)
    assert page.size == (20, 30)
    assert page.getpixel((5, 25)) == (0, 0, 0) and page.getpixel((15, 25)) == (255, 255, 255)


def test_proxies_are_made_once_and_by_their_rules(tmp_path):
    if not (DATA / "faces").is_dir():
        pytest.skip("the people are not here")
    people, models = load_people(DATA, "validation", ("fake",)), load_models()
    made = build(people, models, tmp_path, 5)
    assert len(made.photographs) == 5
    assert 1 <= len(made.y) <= 5
    assert float(made.source_similarity.min()) >= 0.5
    assert float(made.target_similarity.max()) <= 0.6
    same = (made.y[:, None] == made.photographs[None]).flatten(2).all(-1)
    assert same.any(1).all()  # a proxy's result is one of the photographs
    (file,) = tmp_path.iterdir()
    when = file.stat().st_mtime_ns
    again = build(people, models, tmp_path, 5)
    assert file.stat().st_mtime_ns == when
    assert all(torch.equal(getattr(made, field.name), getattr(again, field.name)) for field in fields(Made))
