"""Networks of others behind one face, whichever kind of file they are in."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cscs_core.hub.onnx.runner import last_weight, load_runner
from cscs_core.hub.weights import save_model
from cscs_core.io.files import BadInput
from cscs_core.models import IdentityEncoder, iresnet
from cscs_core.models.graph import Port

from .graphs import load_graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


class Mixed(nn.Module):
    """Pictures plus a number of each row's vector; flattened with the batch, as some exports are."""

    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(5, 3)

    def forward(self, picture: Tensor, vector: Tensor) -> tuple[Tensor, Tensor]:
        out = picture + self.dense(vector)[:, :, None, None]
        return out, out.permute(0, 2, 3, 1).reshape(-1, 3)


@pytest.fixture
def files(tmp_path, export) -> dict[str, Path]:
    """One network: for one row at a time or for many, as ONNX and converted."""
    network, inputs = Mixed().eval(), (torch.rand(1, 3, 4, 4), torch.rand(1, 5))
    free = {"dynamic_axes": {"x": {0: "n"}, "y": {0: "n"}}}
    made = {}
    for name, options in (("one", {}), ("many", free)):
        path = export(tmp_path / f"{name}.onnx", network, *inputs, **options)
        save_model(tmp_path / f"{name}.safetensors", load_graph(path), torch.float32)
        made |= {f"{name}.onnx": path, f"{name}.safetensors": tmp_path / f"{name}.safetensors"}
    return made


@pytest.mark.parametrize("name", ["one.onnx", "many.onnx", "one.safetensors", "many.safetensors"])
def test_rows_come_out_as_they_went_in(files, name):
    runner = load_runner(files[name])
    assert len(runner.networks) == name.endswith(".safetensors")  # what runs in torch
    rows = 1 if name.startswith("one") else None
    assert runner.inputs == (Port("x", (rows, 3, 4, 4)), Port("y", (rows, 5)))
    pictures, vectors = torch.rand(3, 3, 4, 4), torch.rand(3, 5)
    whole, flat = runner(pictures, vectors)
    assert (whole.shape, flat.shape) == ((3, 3, 4, 4), (48, 3))
    for row in range(3):
        one, pixels = runner(pictures[row : row + 1], vectors[row : row + 1])
        torch.testing.assert_close(whole[row : row + 1], one)
        torch.testing.assert_close(flat[16 * row : 16 * row + 16], pixels)


@pytest.mark.parametrize("name", ["one.onnx", "many.onnx", "one.safetensors", "many.safetensors"])
def test_one_row_goes_with_all(files, name):
    runner = load_runner(files[name])
    pictures, vector = torch.rand(3, 3, 4, 4), torch.rand(1, 5)
    torch.testing.assert_close(runner(pictures, vector)[0], runner(pictures, vector.repeat(3, 1))[0])


def test_both_kinds_of_file_say_the_same(files):
    inputs = torch.rand(2, 3, 4, 4), torch.rand(2, 5)
    expected = load_runner(files["many.onnx"])(*inputs)
    for name in files:
        for one, other in zip(load_runner(files[name])(*inputs), expected, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    weights = [last_weight(load_runner(path)) for path in files.values()]
    assert all(torch.equal(weight, weights[0]) for weight in weights)


def test_an_encoder_of_ours_runs_as_its_export_does(tmp_path, nets, export, monkeypatch):
    monkeypatch.setattr(iresnet, "WIDTHS", nets.narrow)
    network, faces = nets.iresnet(), torch.randn(2, 3, 112, 112)
    save_model(tmp_path / "a.safetensors", network, torch.float32)
    converted = load_runner(tmp_path / "a.safetensors")
    exported = load_runner(export(tmp_path / "a.onnx", network, faces, free=(0,)))
    assert [port.shape for port in converted.inputs] == [port.shape for port in exported.inputs]
    torch.testing.assert_close(converted(faces), exported(faces), atol=1e-4, rtol=0)


def test_half_precision_is_taken_and_given_as_single(tmp_path):
    helper = onnx.helper
    value, out = (helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT16, [1, 2]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "twice", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "a.onnx"))
    made = load_runner(tmp_path / "a.onnx")(torch.tensor([[0.1, 0.2]]))[0]
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, torch.tensor([[0.2, 0.4]]), atol=1e-3, rtol=0)


def test_a_network_that_runs_on_the_cpu_instead_says_so_once(files, caplog, monkeypatch):
    import onnxruntime

    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with caplog.at_level(logging.WARNING):
        runner = load_runner(files["many.onnx"], "cuda")
        runner(torch.rand(2, 3, 4, 4), torch.rand(2, 5))
    assert [record.getMessage() for record in caplog.records] == [
        f"{files['many.onnx']} runs on the CPU: this onnxruntime has no CUDA (onnxruntime-gpu has)"
    ]
    caplog.clear()
    load_runner(files["many.onnx"], "cpu")
    assert not caplog.records


def test_cuda_is_asked_for_by_its_number(files, monkeypatch):
    import onnxruntime

    asked = []
    session = onnxruntime.InferenceSession

    def spy(path: str, options: object, providers: list) -> object:
        asked.append(providers)
        return session(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxruntime, "InferenceSession", spy)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])
    load_runner(files["many.onnx"], "cuda:1")
    assert asked == [[("CUDAExecutionProvider", {"device_id": 1}), "CPUExecutionProvider"]]


def test_without_onnxruntime_a_line_says_what_to_do(files, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BadInput, match=r"pip install onnxruntime, or convert .*`cscs convert .*one\.onnx`") as caught:
        load_runner(files["one.onnx"])
    assert "\n" not in str(caught.value)
    load_runner(files["one.safetensors"])  # which does not need it


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_a_damaged_file_is_one_line(tmp_path, files, keep):
    path = tmp_path / "broken.onnx"
    path.write_bytes(files["one.onnx"].read_bytes()[:keep])
    with pytest.raises(BadInput, match=r"broken\.onnx: is damaged or no ONNX file .*; fetch it again$") as caught:
        load_runner(path)
    assert "\n" not in str(caught.value)


def test_other_files_are_named(tmp_path, files):
    with pytest.raises(BadInput, match=r"a\.bin: is neither \.safetensors nor \.onnx"):
        load_runner(tmp_path / "a.bin")
    with pytest.raises(BadInput, match=r"a\.onnx: no such file"):
        load_runner(tmp_path / "a.onnx")
    save_model(tmp_path / "bundled.safetensors", IdentityEncoder())
    with pytest.raises(
        BadInput,
        match=r"bundled\.safetensors: is of the architecture identity_encoder; needed here is iresnet or graph",
    ):
        load_runner(tmp_path / "bundled.safetensors")
    bytes_in = onnx.load(str(files["one.onnx"]))
    bytes_in.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    bytes_in.graph.node.insert(0, onnx.helper.make_node("Cast", ["x"], ["single"], to=1))
    for node in list(bytes_in.graph.node)[1:]:
        node.input[:] = ["single" if name == "x" else name for name in node.input]
    onnx.save(bytes_in, str(tmp_path / "double.onnx"))
    with pytest.raises(BadInput, match=r"double\.onnx: input 'x' is tensor\(double\)"):
        load_runner(tmp_path / "double.onnx")


def test_an_operator_that_onnxruntime_lacks_is_named(tmp_path, files):
    model = onnx.load(str(files["one.onnx"]))
    model.graph.node[0].op_type = "Unheard"
    file = tmp_path / ("a folder whose name alone would fill the line " * 4) / "odd.onnx"
    file.parent.mkdir()
    onnx.save(model, str(file))
    with pytest.raises(BadInput, match=r"odd\.onnx: onnxruntime cannot run it \(.*Unheard"):
        load_runner(file)
