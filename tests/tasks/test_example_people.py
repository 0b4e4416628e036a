"""The people who come with the project."""

from __future__ import annotations

import torch

from cscs_core.faces.identity import embed_crops
from cscs_core.pipeline import load_models
from cscs_core.surrogates.target import identities_of
from cscs_core.tasks.example_people import EXAMPLES, example_crops


def test_every_example_shows_one_person_and_they_are_different_people() -> None:
    models = load_models()
    crops = example_crops(models, 96)
    assert len(crops) == len(list(EXAMPLES.glob("*.jpg"))) == 6 and crops.size == 96
    rows = embed_crops(crops, models.encoder)
    assert ((rows @ rows.T).fill_diagonal_(0) < 0.5).all()
    people = identities_of(crops, models.encoder)
    assert [len(person.crops) for person in people] == [1] * 6
    likeness = torch.stack([person.mean for person in people]) @ rows.T
    assert likeness.argmax(1).tolist() == list(range(6)) and (likeness.diag() > 0.9).all()
    assert all(person.encoder == models.encoder.name for person in people)
