from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest
import torch
from torch import Tensor

from cscs_core.types import Crops, FaceSet, Identity, join


def same(one: Tensor, other: Tensor) -> bool:
    """Bit for bit, NaN like NaN."""
    return one.dtype == other.dtype and torch.equal(one.nan_to_num(7e7), other.nan_to_num(7e7))


def test_what_is_not_given_is_unknown_and_stays_with_its_rows(faces):
    three = faces([(0, 10, 10, 5), (0, 20, 10, 5), (1, 30, 10, 5)])
    assert three.age.isnan().all() and three.age.dtype == torch.float32
    assert three.gender.tolist() == [-1, -1, -1] and three.gender.dtype == torch.int64
    told = replace(three, age=torch.tensor([20.0, 30, 40]), gender=torch.tensor([0, 1, -1]))
    chosen = join([told[[2, 0]], three[1:2]]).to("cpu")
    assert chosen.age[:2].tolist() == [40, 20] and chosen.age[2].isnan()
    assert chosen.gender.tolist() == [-1, 0, -1]
    assert replace(told, frame=told.frame + 1).age.tolist() == [20, 30, 40]


def test_rows_are_selected_alike_by_mask_list_and_slice(faces):
    all_of_them = faces([(0, 10, 10, 5), (0, 20, 10, 5), (1, 30, 10, 5)])
    chosen = [
        all_of_them[torch.tensor([False, True, True])],
        all_of_them[[1, 2]],
        all_of_them[1:],
        all_of_them[torch.tensor([1, 2])],
    ]
    for rows in chosen:
        assert len(rows) == 2
        for field in fields(FaceSet):
            assert same(getattr(rows, field.name), getattr(all_of_them, field.name)[1:])


def test_an_empty_list_selects_nothing(faces):
    assert len(faces([(0, 10, 10, 5)])[[]]) == 0


def test_an_empty_set_has_the_shapes_of_a_full_one(faces):
    empty, full = FaceSet.empty(), faces([(0, 10, 10, 5)])
    assert len(empty) == 0
    for field in fields(FaceSet):
        value, example = getattr(empty, field.name), getattr(full, field.name)
        assert value.shape == (0, *example.shape[1:])
        assert value.dtype == example.dtype


def test_values_are_frozen(faces):
    with pytest.raises(FrozenInstanceError):
        faces([(0, 10, 10, 5)]).score = torch.zeros(1)


def test_the_mean_of_an_identity_is_a_unit_vector_between_its_references():
    empty = torch.zeros(2)
    crops = Crops(empty, empty, empty, empty, empty, empty)
    mean = Identity(crops, torch.eye(2), torch.ones(2)).mean
    torch.testing.assert_close(mean, torch.full((2,), 0.5**0.5))


def test_joined_sets_are_their_rows_in_order(faces):
    whole = faces([(0, 10, 10, 5), (0, 20, 10, 5), (1, 30, 10, 5)])
    again = join([whole[:1], FaceSet.empty(), whole[1:]])
    for field in fields(FaceSet):
        assert same(getattr(again, field.name), getattr(whole, field.name))
