"""Bundled networks as ONNX: onnxruntime says what torch does."""

from __future__ import annotations

import sys
from argparse import Namespace

import pytest
import torch

from cscs_core.commands.export import SIGNATURES, export, run
from cscs_core.hub import weights
from cscs_core.io.files import BadInput


@pytest.mark.parametrize("name", SIGNATURES)
def test_an_exported_network_computes_the_same_for_any_batch(name, tmp_path):
    pytest.importorskip("onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    export(name, tmp_path / "network.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(tmp_path / "network.onnx"), options, providers=["CPUExecutionProvider"])
    network = weights.load_any(weights.LITE / f"{name}.safetensors")
    for faces in (1, 3):
        given = {key: torch.rand(faces, *shape) for key, shape in SIGNATURES[name].inputs.items()}
        (found,) = session.run([SIGNATURES[name].output], {key: value.numpy() for key, value in given.items()})
        with torch.inference_mode():
            wanted = network(*given.values())
        assert torch.allclose(torch.from_numpy(found), wanted, atol=1e-4)
        assert wanted.abs().max() > 1e-2


def test_a_file_of_another_kind_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"must end in \.onnx"):
        run(Namespace(name="refiner", file=tmp_path / "refiner.pt"))


def test_without_onnx_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BadInput, match=r"pip install onnx"):
        export("refiner", tmp_path / "refiner.onnx")
    assert list(tmp_path.iterdir()) == []
