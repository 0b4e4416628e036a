"""Pairs from tensors and from folders laid out as the release has them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from cscs_core.io import images
from cscs_core.io.files import BadInput
from cscs_core.train.swap.data import (
    Data,
    FileProxies,
    MemoryPictures,
    MemoryProxies,
    OrdinaryPairs,
    PairSource,
    folder_data,
    held_out_pairs,
    read_pictures,
)

SIZE = 8


def flat(values: list[float] | Tensor) -> Tensor:
    """Pictures of one grey each, (N, 3, 8, 8)."""
    return torch.as_tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, 3, SIZE, SIZE).contiguous()


def grey(pictures: Tensor) -> list[float]:
    return [round(value, 3) for value in pictures.mean((1, 2, 3)).tolist()]


def write(path: Path, level: float, size: int = SIZE) -> None:
    images.write(path, torch.full((3, size, size), level))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 photographs of level n/100, and 20 proxies: y n/100, sources + 0.2 and + 0.3, target + 0.4, bent + 0.5, 0.6.
    The y of proxy n has the name of photograph n + 10."""
    for n in range(20):
        write(tmp_path / "normal_data" / f"{n:02d}.png", n / 100)
        name = f"{n + 10:02d}.png"
        inside = tmp_path / "proxy_data" / name
        write(inside / name, n / 100)
        for kind, more in (("a_gensrc", 0.2), ("b_gensrc", 0.3), ("c_gendst", 0.4)):
            write(inside / f"{kind}.jpg", n / 100 + more)
        write(inside / "c_gendst.jpg_facethin.jpg", n / 100 + 0.5)
        write(inside / "c_facechubby.jpg", n / 100 + 0.6)
    return tmp_path


def test_the_first_half_of_an_ordinary_batch_is_the_same_photograph_twice():
    source = OrdinaryPairs(MemoryPictures(flat([n / 10 for n in range(5)])))
    for seed in range(5):
        pairs = source.batch(Generator().manual_seed(seed), 8)
        assert pairs.known.tolist() == [True] * 4 + [False] * 4
        assert torch.equal(pairs.y, pairs.x_tgt)
        same = [one == other for one, other in zip(grey(pairs.x_src), grey(pairs.x_tgt), strict=True)]
        assert same == pairs.known.tolist()  # never the same person in the other half
    assert source.batch(Generator(), 1).known.tolist() == [True]


def test_every_photograph_is_drawn_as_often_as_any_other():
    pairs = OrdinaryPairs(MemoryPictures(flat([n / 10 for n in range(5)]))).batch(Generator().manual_seed(3), 2000)
    for pictures in (pairs.x_src[1000:], pairs.x_tgt):
        counts = torch.tensor([grey(pictures).count(n / 10) for n in range(5)]) / len(pictures)
        assert (counts - 0.2).abs().max() < 0.03


def proxies(bent: bool = True) -> MemoryProxies:
    y = torch.arange(10) / 100
    return MemoryProxies(flat(y), flat(y + 0.2), flat(y + 0.4), (flat(y + 0.5), flat(y + 0.6)) if bent else ())


def test_half_of_the_targets_have_another_shape():
    pairs = proxies().batch(Generator().manual_seed(0), 4000)
    more = ((pairs.x_tgt - pairs.y).mean((1, 2, 3)) * 10).round()
    shares = [float((more == kind).float().mean()) for kind in (4, 5, 6)]
    assert shares == pytest.approx([0.5, 0.25, 0.25], abs=0.03)
    assert torch.allclose(pairs.x_src - pairs.y, torch.tensor(0.2))
    assert pairs.known.all()
    plain = proxies(bent=False).batch(Generator().manual_seed(0), 50)
    assert torch.allclose(plain.x_tgt - plain.y, torch.tensor(0.4))


def test_bytes_become_shares():
    pictures = MemoryPictures(torch.tensor([0, 255, 51], dtype=torch.uint8)[:, None, None, None].expand(3, 3, 2, 2))
    assert grey(pictures[torch.tensor([2, 0, 1])]) == [0.2, 0.0, 1.0]


def sources(folder: Path) -> list[PairSource]:
    pictures = MemoryPictures(flat([n / 10 for n in range(5)]))
    return [OrdinaryPairs(pictures), proxies(), folder_data(folder, SIZE, ["proxy"]).train["proxy"]]


def test_shares_of_a_batch_are_its_rows(folder):
    for source in sources(folder):
        whole = source.batch(Generator().manual_seed(5), 8)
        for rank in range(2):
            part = source.batch(Generator().manual_seed(5), 8, slice(rank, None, 2))
            for name in ("y", "x_src", "x_tgt", "known"):
                assert torch.equal(getattr(part, name), getattr(whole, name)[rank::2])


def test_the_released_layout_is_read_as_it_is(folder):
    found = folder_data(folder, SIZE, ["ordinary", "proxy"]).train["proxy"]
    assert isinstance(found, FileProxies)
    pairs = found.batch(Generator().manual_seed(0), 200)
    kinds = {
        (round(float(src - y), 1), round(float(tgt - y), 1))
        for y, src, tgt in zip(*(p.mean((1, 2, 3)) for p in (pairs.y, pairs.x_src, pairs.x_tgt)), strict=True)
    }
    assert kinds == {(src, tgt) for src in (0.2, 0.3) for tgt in (0.4, 0.5, 0.6)}


def test_nobody_held_out_is_learned_from(folder):
    data = folder_data(folder, SIZE, ["ordinary", "proxy"])
    ordinary, proxy = data.train["ordinary"], data.train["proxy"]
    assert isinstance(ordinary, OrdinaryPairs)
    assert isinstance(proxy, FileProxies)
    left = {path.name for path in ordinary.pictures.files}  # pyright: ignore[reportAttributeAccessIssue]
    faces = {files.y.name for files in proxy.files}
    assert {"00.png", "10.png"} & (left | faces) == set()  # photographs 0 and 10 of 20
    assert {"10.png", "20.png"} & (left | faces) == set()  # proxies 0 and 10 of 20
    assert len(left) == 18 and len(faces) == 18
    assert grey(data.held_out["proxy"].y) == pytest.approx([0, 0.1], abs=0.01)


def test_held_out_photographs_meet_themselves_and_the_next():
    pairs = held_out_pairs(MemoryPictures(flat([0.1, 0.2, 0.3])))
    assert grey(pairs.x_tgt) == [0.1, 0.2, 0.3] * 2
    assert grey(pairs.x_src) == [0.1, 0.2, 0.3, 0.2, 0.3, 0.1]
    assert pairs.known.tolist() == [True] * 3 + [False] * 3


def test_pictures_are_brought_to_size_and_have_to_be_square(tmp_path):
    write(tmp_path / "large.png", 0.4, 20)
    assert read_pictures([tmp_path / "large.png"], SIZE).shape == (1, 3, SIZE, SIZE)
    images.write(tmp_path / "wide.png", torch.zeros(3, 8, 12))
    with pytest.raises(BadInput, match=r"wide.png: is not square"):
        read_pictures([tmp_path / "wide.png"], SIZE)


def test_folders_that_lack_something_are_left_out(folder, caplog):
    (folder / "proxy_data" / "12.png" / "12.png").unlink()
    (folder / "proxy_data" / "13.png" / "c_gendst.jpg").unlink()
    with caplog.at_level(logging.WARNING):
        data: Data = folder_data(folder, SIZE, ["proxy"])
    assert isinstance(data.train["proxy"], FileProxies)
    names = {files.y.name for files in data.train["proxy"].files}
    assert len(names) == 16 and not {"12.png", "13.png"} & names
    assert "2 folders" in caplog.text


def test_missing_data_are_one_line(folder, tmp_path):
    with pytest.raises(BadInput, match=r"nowhere/normal_data: no such folder; training data are normal_data and proxy"):
        folder_data(tmp_path / "nowhere", SIZE, ["ordinary", "proxy"])
    for path in sorted((folder / "normal_data").iterdir())[5:]:
        path.unlink()
    with pytest.raises(BadInput, match=r"normal_data: 3 photographs for training; at least 4 are needed"):
        folder_data(folder, SIZE, ["ordinary"])
