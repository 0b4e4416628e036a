"""Packs of models that insightface opens, without its ever looking for them elsewhere."""

from __future__ import annotations

import json
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as nnf
from torch import Tensor, nn

from cscs_core.faces.detectors.base import detect
from cscs_core.faces.detectors.insightface import load_pack, packs
from cscs_core.faces.detectors.scrfd import SCRFD
from cscs_core.hub.onnx.runner import load_runner
from cscs_core.io.files import BadInput
from cscs_core.models import FaceMesh

pytest.importorskip("onnx")


class Landmarks(nn.Module):
    """What packs hold beside: here a network for landmarks, by its size."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Colours(nn.Module):
    """A small recogniser: the colours of 16 parts of a face."""

    def forward(self, faces: Tensor) -> Tensor:
        return nnf.avg_pool2d(faces, 28).flatten(1)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory, nets: Any, export: Callable[..., Path]) -> Path:
    """A folder as buffalo_l is one, with networks of made-up weights."""
    folder = tmp_path_factory.mktemp("root") / "models" / "buffalo_x"
    folder.mkdir(parents=True)
    export(folder / "det_10g.onnx", nets.scrfd(), torch.randn(1, 3, 64, 64), free=(2, 3))
    export(folder / "w600k_r50.onnx", nets.iresnet(), torch.randn(1, 3, 112, 112), free=(0,))
    export(folder / "2d106det.onnx", Landmarks(), torch.randn(1, 3, 192, 192))
    export(folder / "genderage.onnx", Landmarks(), torch.randn(1, 3, 96, 96))
    return folder


@pytest.fixture
def insightface(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The package, on a machine where nobody answers."""
    package = pytest.importorskip("insightface")

    def refuse(*_: object) -> None:
        raise AssertionError("insightface looks for something in the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return package


def noise(count: int, side: int) -> Tensor:
    """Pictures of whole levels in patches."""
    small = torch.randint(0, 256, (count, 3, side // 16, side // 16)).float() / 255
    return small.repeat_interleave(16, 2).repeat_interleave(16, 3)


def test_a_pack_finds_faces_and_tells_people_apart(pack, insightface, capfd):
    detector, encoder = load_pack(pack)
    assert encoder is not None
    assert (encoder.template, encoder.size, encoder.width) == ("arcface_112_v2", 112, 512)
    assert detector.networks == encoder.networks == ()
    images = noise(2, 640)
    frame, box, points, score = detector(images, 0.5)
    assert frame.tolist() == sorted(frame.tolist()) and {*frame.tolist()} == {0, 1}
    for one in (0, 1):
        assert score[frame == one].tolist() == sorted(score[frame == one].tolist(), reverse=True)
    assert (score > 0.5).all() and (box.shape[1], *points.shape[1:]) == (4, 5, 2)
    runner = load_runner(pack / "w600k_r50.onnx")
    crops = noise(3, 112)
    expected = nnf.normalize(runner((crops * 255 - 127.5) / 127.5)[0], dim=-1)
    torch.testing.assert_close(encoder(crops), expected, atol=1e-5, rtol=0)
    assert capfd.readouterr() == ("", "")


def test_its_faces_are_those_of_our_own_reading(pack, insightface):
    # Pictures of patches survive the small look, which is averaged here and picked out there, only roughly.
    images = noise(1, 640)
    model = load_pack(pack)[0]
    model.model.input_sizes = [(640, 640)]  # pyright: ignore[reportAttributeAccessIssue]
    _, box, points, score = model(images, 0.6)
    ours = SCRFD(load_runner(pack / "det_10g.onnx")).look(images, (640, 640), 0.6)
    assert len(score) > 5
    for row in range(len(score)):
        same = (ours[1] - box[row]).abs().amax(1).argmin()
        torch.testing.assert_close(ours[1][same], box[row], atol=2e-3, rtol=0)
        torch.testing.assert_close(ours[2][same], points[row], atol=2e-3, rtol=0)
        torch.testing.assert_close(ours[3][same], score[row], atol=1e-5, rtol=0)


def test_a_pack_with_a_network_for_age_and_gender_fills_them(pack, insightface):
    # The made-up network says the mean colour, red and green for the gender and blue for the age, less a half.
    detector, _ = load_pack(pack)
    red, green, blue = ([0.9, 0.2, 0.7], [0.1, 0.8, 0.9], [0.6, 0.5, 0.1])
    images = torch.ones(2, 3, 300, 300) * torch.tensor(red).view(1, 3, 1, 1)
    images[1, :, :, :150] = torch.tensor(green).view(3, 1, 1)
    images[1, :, :, 150:] = torch.tensor(blue).view(3, 1, 1)
    box = torch.tensor([[200.0, 100, 260, 160], [100, 100, 150, 160], [30, 100, 90, 160]])
    age, gender = detector.attributes(images, torch.tensor([1, 0, 1]), box)  # pyright: ignore[reportAttributeAccessIssue]
    assert gender.tolist() == [0, 0, 1]
    expected = [max(0.0, (255 * value - 127.5) / 128) * 100 for value in (0.1, 0.7, 0.9)]
    torch.testing.assert_close(age, torch.tensor(expected), atol=1.0, rtol=0)


def test_what_is_found_with_a_pack_knows_it_only_where_the_pack_does(tmp_path, pack, insightface, monkeypatch):
    shutil.copy(pack / "det_10g.onnx", tmp_path)
    monkeypatch.setattr("cscs_core.faces.detectors.base.locate", lambda _, frame, *__: torch.zeros(len(frame), 468, 2))
    with_it, without = (
        detect(noise(1, 640), load_pack(folder)[0], FaceMesh(), threshold=0.6) for folder in (pack, tmp_path)
    )
    assert len(with_it) and set(with_it.gender.tolist()) <= {0, 1} and with_it.age.isfinite().all()
    assert len(without) and set(without.gender.tolist()) == {-1} and without.age.isnan().all()


def test_colours_are_not_swapped(pack, insightface):
    _, encoder = load_pack(pack)
    assert encoder is not None
    crops = noise(2, 112)
    model = encoder.model  # pyright: ignore[reportAttributeAccessIssue]
    bgr = (crops[0] * 255).round().byte().flip(0).movedim(0, -1).numpy()
    expected = nnf.normalize(torch.from_numpy(model.get_feat(np.ascontiguousarray(bgr))), dim=-1)
    torch.testing.assert_close(encoder(crops)[:1], expected, atol=1e-5, rtol=0)


def test_no_pictures_are_no_faces(pack, insightface):
    frame, box, points, score = load_pack(pack)[0](torch.zeros(0, 3, 64, 64), 0.5)
    assert (frame.shape, box.shape, points.shape, score.shape) == ((0,), (0, 4), (0, 5, 2), (0,))


@pytest.mark.parametrize("free", [(), (0,)])
def test_a_recogniser_gets_one_face_at_a_time_where_it_must(tmp_path, pack, insightface, export, free):
    shutil.copy(pack / "det_10g.onnx", tmp_path)
    export(tmp_path / "r.onnx", Colours(), torch.randn(1, 3, 112, 112), free=free)
    encoder, crops = load_pack(tmp_path)[1], noise(3, 112)
    assert encoder is not None and encoder.width == 48
    expected = nnf.normalize(Colours()((crops * 255 - 127.5) / 127.5), dim=-1)
    torch.testing.assert_close(encoder(crops), expected, atol=1e-5, rtol=0)


def test_a_pack_without_a_recogniser_still_detects(tmp_path, pack, insightface):
    shutil.copy(pack / "det_10g.onnx", tmp_path)
    detector, encoder = load_pack(tmp_path)
    assert encoder is None
    assert len(detector(noise(1, 640), 0.5)[3])


def test_a_pack_with_a_manifest_says_itself_what_its_files_are(tmp_path, pack, insightface, export):
    shutil.copy(pack / "det_10g.onnx", tmp_path / "a.onnx")
    export(tmp_path / "b.onnx", Colours(), torch.randn(1, 3, 112, 112), free=(0,))
    tasks = {"detection": {"file": "a.onnx"}, "recognition": {"file": "b.onnx"}}
    manifest = {"manifest_version": 2, "model_id": "x", "license": "MODEL.LICENSE", "tasks": tasks}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    detector, encoder = load_pack(tmp_path)
    assert encoder is not None and encoder.width == 48
    images = noise(1, 640)
    for one, other in zip(detector(images, 0.5), load_pack(pack)[0](images, 0.5), strict=True):
        torch.testing.assert_close(one, other)
    manifest["tasks"]["recognition"]["sha256"] = "0" * 64
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match=r"its manifest does not match its files \(.*SHA-256") as caught:
        load_pack(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_wrong_with_a_pack_is_said(tmp_path, pack, insightface):
    shutil.copy(pack / "w600k_r50.onnx", tmp_path)
    with pytest.raises(BadInput, match="has no detector with five points"):
        load_pack(tmp_path)
    (tmp_path / "det.onnx").write_bytes((pack / "det_10g.onnx").read_bytes()[:2000])
    with pytest.raises(BadInput, match=r"det\.onnx: is damaged or no ONNX file") as caught:
        load_pack(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_pack_that_is_not_there_is_never_looked_for_elsewhere(tmp_path, insightface):
    for name in ("buffalo_l", "antelopev2"):
        with pytest.raises(BadInput, match=rf"{name}: contains no insightface pack.*bundled detector"):
            load_pack(tmp_path / name)


def test_without_insightface_a_line_says_what_to_install(pack, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "insightface"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "insightface", None)
    with pytest.raises(
        BadInput, match=r"insightface 2\.1: pip install insightface onnxruntime .*bundled detector"
    ) as caught:
        load_pack(pack)
    assert "\n" not in str(caught.value)


def test_packs_are_named_by_their_folders(tmp_path, pack):
    nested = tmp_path / "models" / "antelopev2" / "antelopev2"  # as its zip unpacks
    nested.mkdir(parents=True)
    (nested / "glintr100.onnx").touch()
    again = tmp_path / "models" / "buffalo_x"
    again.mkdir()
    (again / "a.onnx").touch()
    (tmp_path / "models" / "empty").mkdir()
    (tmp_path / "models" / "inswapper_128.onnx").touch()
    root = pack.parents[1]
    assert packs([root, tmp_path, tmp_path / "nowhere"]) == {"buffalo_x": pack, "antelopev2": nested}
    assert packs([tmp_path, root])["buffalo_x"] == again
    assert packs([]) == {}
