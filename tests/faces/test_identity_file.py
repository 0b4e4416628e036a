"""People in files: what comes back, and what hostile, foreign and damaged files are told."""

from __future__ import annotations

import json
import os
import pickle
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as nnf
from safetensors.torch import load_file, save_file
from torch import Tensor

from cscs_core import pipeline
from cscs_core.faces.align import align
from cscs_core.faces.identity import LiteEncoder, embed_crops, embedded_by
from cscs_core.faces.identity_file import LARGEST, listing, load_identity, named, save_identity, within
from cscs_core.io.files import BadInput
from cscs_core.models import IdentityEncoder
from cscs_core.tasks.blend import blend
from cscs_core.types import Identity

OURS = {"format": "cscs-identity", "version": "1", "encoder": "lite"}
Change = Callable[[dict[str, Tensor]], Any]


@pytest.fixture
def person(faces: Any, smooth: Any) -> Identity:
    found = faces([(0, 60.0, 50.0, 30.0), (0, 150.0, 60.0, 36.0)])
    embedding = nnf.normalize(torch.randn(2, 128), dim=-1)
    return Identity(align(smooth(1, 128, 220), found, size=64), embedding, torch.tensor([1.0, 0.5]))


@pytest.fixture
def file(person: Identity, tmp_path: Path) -> Path:
    path = tmp_path / "one.safetensors"
    save_identity(path, person)
    return path


def reactor(path: Path, **others: Tensor) -> Path:
    """A face model with the keys and kinds that ReActor writes."""
    tensors = {
        "bbox": torch.rand(4),
        "kps": torch.rand(5, 2),
        "det_score": torch.tensor(0.9),
        "landmark_3d_68": torch.rand(68, 3),
        "pose": torch.rand(3),
        "landmark_2d_106": torch.rand(106, 2),
        "embedding": torch.arange(512.0),
        "gender": torch.tensor(1),
        "age": torch.tensor(30),
    }
    save_file(tensors | others, path)
    return path


def test_a_person_comes_back_to_the_eighth_bit(person: Identity, file: Path) -> None:
    again = load_identity(file)
    assert (again.crops.pixels - person.crops.pixels).abs().max() <= 0.5 / 255 + 1e-6
    for name in ("matrix", "landmarks", "mesh"):
        assert torch.equal(getattr(again.crops, name), getattr(person.crops, name))
    assert again.crops.frame.tolist() == [0, 1] and (again.crops.mask == 1).all()
    assert torch.equal(again.embedding, person.embedding) and torch.equal(again.weight, person.weight)
    assert again.encoder == "lite"


def test_what_another_encoder_sees_in_the_file_it_saw_before(person: Identity, file: Path) -> None:
    other = LiteEncoder(IdentityEncoder().eval(), "other")
    with torch.no_grad():
        before, after = embed_crops(person.crops, other), embedded_by(load_identity(file), other).embedding
    assert (before * after).sum(-1).min() > 0.9999


def test_the_file_holds_the_person_and_nothing_else(file: Path) -> None:
    raw = file.read_bytes()
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert header.pop("__metadata__") == OURS
    assert sorted(header) == ["embedding", "landmarks", "matrix", "mesh", "pixels", "weight"]
    assert len(raw) < 2 * (3 * 64 * 64 + 468 * 8 + 128 * 4) + 1500


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such bits")
def test_only_its_owner_can_read_it(file: Path) -> None:
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_is_replaced_only_when_asked(person: Identity, file: Path) -> None:
    before = file.read_bytes()
    heavier = replace(person, weight=torch.tensor([1.0, 2.0]))
    with pytest.raises(BadInput, match="already exists"):
        save_identity(file, heavier)
    assert file.read_bytes() == before
    save_identity(file, heavier, overwrite=True)
    assert load_identity(file).weight.tolist() == [1, 2]
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_nothing_is_left_behind_by_what_cannot_be_saved(person: Identity, tmp_path: Path) -> None:
    broken = replace(person, weight=torch.tensor([1.0, float("nan")]))
    with pytest.raises(BadInput, match="NaN or infinite"):
        save_identity(tmp_path / "one.safetensors", broken)
    assert list(tmp_path.iterdir()) == []


def write(path: Path, tensors: dict[str, Tensor], **metadata: str) -> None:
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, OURS | metadata)


HOSTILE: dict[str, tuple[Change, str]] = {
    "no pixels": (lambda t: t.pop("pixels"), "missing tensor 'pixels'"),
    "no weight": (lambda t: t.pop("weight"), "missing tensor 'weight'"),
    "something more": (lambda t: t.update(name=torch.zeros(3)), "unexpected tensor 'name'"),
    "a long name": (lambda t: t.update({"x" * 999: torch.zeros(3)}), "unexpected tensor 'x{40}'"),
    "no references": (lambda t: t.update({k: v[:0] for k, v in t.items()}), "0 reference crops"),
    "no dimensions": (lambda t: t.update(pixels=torch.tensor(1, dtype=torch.uint8)), "0 reference crops"),
    "a crowd": (lambda t: t.update({k: v[:1].expand(513, *v.shape[1:]) for k, v in t.items()}), "513 reference crops"),
    "an endless side": (lambda t: t.update(pixels=torch.zeros(2, 3, 0, 2**40, dtype=torch.uint8)), "1 to 2048 px"),
    "an endless embedding": (lambda t: t.update(embedding=torch.zeros(0, 2**40)), "1 to 4096 numbers"),
    "oblong crops": (lambda t: t.update(pixels=t["pixels"][..., :60, :]), "pixels is 2 x 3 x 60 x 64"),
    "grey crops": (lambda t: t.update(pixels=t["pixels"][:, :1]), "instead of 2 x 3 x 64 x 64"),
    "float crops": (lambda t: t.update(pixels=t["pixels"].float()), "float32 instead of 2 x 3 x 64 x 64 uint8"),
    "half embeddings": (lambda t: t.update(embedding=t["embedding"].half()), "float16 instead of"),
    "whole weights": (lambda t: t.update(weight=t["weight"].long()), "int64 instead of"),
    "fewer weights": (lambda t: t.update(weight=t["weight"][:1]), "weight is 1 float32 instead of 2"),
    "another mesh": (lambda t: t.update(mesh=t["mesh"][:, :400]), "instead of 2 x 468 x 2"),
    "NaN": (lambda t: t["embedding"].fill_(float("nan")), "NaN"),
    "infinity": (lambda t: t["landmarks"].fill_(float("inf")), "infinite"),
    "negative weights": (lambda t: t["weight"].neg_(), "weights must not be negative"),
    "no weight at all": (lambda t: t["weight"].zero_(), "must not be negative or all 0"),
    "weights that add up to infinity": (lambda t: t["weight"].fill_(3e38), "weights must"),
    "embeddings of no length": (lambda t: t["embedding"].zero_(), "not unit vectors"),
    "a far mesh": (lambda t: t["mesh"].fill_(1e30), "mesh points do not form a face"),
    "landmarks in one place": (lambda t: t["landmarks"].fill_(32), "landmarks points do not form a face"),
    "a wild matrix": (lambda t: t["matrix"].fill_(1e20), "matrices are out of range"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_is_refused_by_its_name_and_reason(file: Path, case: str) -> None:
    change, reason = HOSTILE[case]
    tensors = load_file(file)
    change(tensors)
    write(file, tensors)
    with pytest.raises(BadInput, match=reason) as error:
        load_identity(file)
    assert str(error.value).startswith(f"{file}: ") and "\n" not in str(error.value)


METADATA = {
    "format": ("cscs-model", "is not an identity"),
    "version": ("2", "has format version 2, but this CSCS reads version 1; update CSCS"),
    "encoder": ("../../etc", "does not name the encoder"),
}


@pytest.mark.parametrize("key", METADATA)
def test_metadata_that_do_not_fit_are_refused(file: Path, key: str) -> None:
    value, reason = METADATA[key]
    write(file, load_file(file), **{key: value})
    with pytest.raises(BadInput, match=reason):
        load_identity(file)


@pytest.mark.parametrize("version", ["", "0", "-1", "1.5", "9" * 400])
def test_no_version_but_ours_is_read(file: Path, version: str) -> None:
    write(file, load_file(file), version=version)
    with pytest.raises(BadInput, match="version"):
        load_identity(file)


def test_absurd_metadata_are_refused_before_they_are_read(file: Path) -> None:
    write(file, load_file(file), comment="x" * 100_000)
    with pytest.raises(BadInput, match="has a header larger than"):
        load_identity(file)


def test_a_file_larger_than_any_identity_is_not_opened(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.truncate(LARGEST + 2**20)  # sparse: takes no room
    with pytest.raises(BadInput, match=r"is 257 MB; an identity file has at most 256 MB"):
        load_identity(file)


def test_a_shape_that_is_not_in_the_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.safetensors"
    claim = {"pixels": {"dtype": "U8", "shape": [2**20, 3, 2048, 2048], "data_offsets": [0, 3 * 2**42]}}
    header = json.dumps(claim | {"__metadata__": OURS}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(BadInput, match="truncated"):
        load_identity(path)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_a_truncated_file_is_refused(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(BadInput, match=r"one\.safetensors: is (empty|truncated|not)"):
        load_identity(file)


def test_a_pickle_with_the_ending_is_not_run(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "ran",)

    path = tmp_path / "bomb.safetensors"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(BadInput, match="is a pickle"):
        load_identity(path)
    assert not (tmp_path / "ran").exists()


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        load_identity(tmp_path / "none.safetensors")
    with pytest.raises(BadInput, match="is a folder"):
        load_identity(tmp_path)


def test_a_file_that_changes_later_changes_nobody(person: Identity, file: Path) -> None:
    again = load_identity(file)
    file.write_bytes(bytes(file.stat().st_size))
    assert torch.equal(again.embedding, person.embedding)


# Names and places


@pytest.mark.parametrize("name", ["a", "Anna 2", "a-b_c", "0", "x" * 100])
def test_a_plain_name_is_a_file_in_the_folder(tmp_path: Path, name: str) -> None:
    assert named(tmp_path, name) == tmp_path / f"{name}.safetensors"


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a ",
        "..",
        "../a",
        "a/b",
        "a\\b",
        "C:a",
        "a.safetensors",
        ".a",
        "a\n",
        "a\0",
        "caf\u00e9",
        "CON",
        "x" * 101,
    ],
)
def test_more_than_a_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInput, match="cannot be used as a file name"):
        named(tmp_path, name)


def test_files_are_listed_without_their_ending_and_others_are_not(tmp_path: Path) -> None:
    for name in ("b.safetensors", "a.safetensors", ".hidden.safetensors", "c.txt"):
        (tmp_path / name).touch()
    assert listing(tmp_path) == ["a", "b"]
    assert listing(tmp_path / "none") == []


@pytest.mark.parametrize("name", ["../secret.safetensors", "deeper/../../secret.safetensors", "..\\secret.safetensors"])
def test_a_path_out_of_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.safetensors").touch()
    (tmp_path / "people" / "deeper").mkdir(parents=True)
    with pytest.raises(BadInput, match="lies outside"):
        within(tmp_path / "people", name)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_out_of_the_folder_is_refused_and_a_linked_folder_is_not(tmp_path: Path) -> None:
    (tmp_path / "secret.safetensors").touch()
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "a.safetensors").symlink_to(tmp_path / "secret.safetensors")
    (tmp_path / "people" / "b.safetensors").touch()
    with pytest.raises(BadInput, match="lies outside"):
        within(tmp_path / "people", "a.safetensors")
    (tmp_path / "linked").symlink_to(tmp_path / "people")
    assert within(tmp_path / "linked", "b.safetensors").is_file()


# Face models of ReActor


def test_a_face_model_is_an_embedding_of_buffalo_l_and_no_picture(tmp_path: Path) -> None:
    person = load_identity(reactor(tmp_path / "her.safetensors"))
    assert len(person.crops) == 0 and person.encoder == "buffalo_l"
    expected = torch.arange(512.0) / torch.arange(512.0).norm()
    torch.testing.assert_close(person.mean, expected)
    assert person.weight.tolist() == [1]


@pytest.mark.parametrize(
    "embedding",
    [torch.rand(128), torch.rand(2, 512), torch.zeros(512), torch.full((512,), 1e20), torch.ones(512).half()],
)
def test_a_face_model_with_another_embedding_is_refused(tmp_path: Path, embedding: Tensor) -> None:
    with pytest.raises(BadInput, match="not a valid face model of ReActor"):
        load_identity(reactor(tmp_path / "her.safetensors", embedding=embedding))


def test_a_face_model_can_be_matched_and_nothing_else(tmp_path: Path, person: Identity) -> None:
    her = load_identity(reactor(tmp_path / "her.safetensors"))
    encoder = LiteEncoder(IdentityEncoder().eval())
    assert embedded_by(her, replace(encoder, name="buffalo_l")) is her
    swapper: Any = None  # must not be asked
    models: Any = type("Models", (), {"device": "cpu", "encoder": replace(encoder, name="buffalo_l")})
    tries: list[Callable[[], Any]] = [
        lambda: embedded_by(her, encoder),
        lambda: pipeline.prepare_source(her, swapper, models),
        lambda: blend([her, person], [1, 1], encoder),
        lambda: save_identity(tmp_path / "again.safetensors", her),
    ]
    for forbidden in tries:
        with pytest.raises(BadInput, match=r"saved by ReActor and holds no photo: .* buffalo_l"):
            forbidden()
