"""Operators of ONNX compute in torch what they compute in onnxruntime, and files say what is wrong with them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cscs_core.hub.onnx.reader import last_initializer, read_ports
from cscs_core.hub.onnx.torch_graph import read_graph
from cscs_core.hub.weights import load_model, save_model
from cscs_core.io.files import BadInput
from cscs_core.models.graph import GraphConfig, GraphNet, Node, Port
from cscs_core.models.operators import OPERATORS

from .graphs import load_graph

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def assert_same(got: list[Tensor], expected: list[Tensor], tolerance: float = 1e-4) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, atol=tolerance, rtol=tolerance)


# Single operators, against onnxruntime.

X = torch.linspace(-2, 3, 2 * 4 * 7 * 9).reshape(2, 4, 7, 9).sin() * 2
W = torch.linspace(-1, 1, 6 * 4 * 3 * 3).reshape(6, 4, 3, 3).cos()
V = torch.linspace(0.5, 1.5, 4)


def ints(*values: int) -> Tensor:
    return torch.tensor(values, dtype=torch.int64)


CASES: list[tuple[str, int, list[Tensor | None], dict[str, Any]]] = [
    ("Conv", 11, [X, W], {"pads": [1, 0, 2, 1], "strides": [2, 1], "dilations": [1, 2]}),
    ("Conv", 11, [X, W, W[:, 0, 0, 0]], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("Conv", 11, [X, W], {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
    ("Conv", 11, [X, W], {"auto_pad": "VALID"}),
    ("Conv", 11, [X, W[:, :2].contiguous()], {"group": 2, "pads": [1, 1, 1, 1]}),
    ("Conv", 11, [X[..., 0], W[..., 0]], {"pads": [1, 1]}),
    ("ConvTranspose", 11, [X[:, :3], W[:3], V], {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ("ConvTranspose", 11, [X[:, :3], W[:3]], {"strides": [2, 3], "pads": [0, 1, 1, 2], "dilations": [1, 2]}),
    ("ConvTranspose", 11, [X, W[:4]], {"group": 2}),
    ("BatchNormalization", 9, [X, V, V.sin(), V.cos(), V * 2], {"epsilon": 1e-3}),
    ("InstanceNormalization", 6, [X, V, V.sin()], {"epsilon": 1e-3}),
    ("LpNormalization", 1, [X], {"axis": 1, "p": 1}),
    ("MaxPool", 12, [X], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1], "dilations": [2, 1]}),
    ("MaxPool", 12, [X], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("MaxPool", 12, [X], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    # Rounded up, a window would start behind the picture: there is none.
    ("MaxPool", 12, [X], {"kernel_shape": [2, 2], "strides": [7, 9], "pads": [0, 0, 1, 1], "ceil_mode": 1}),
    ("AveragePool", 11, [X], {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
    ("AveragePool", 11, [X], {"kernel_shape": [3, 3], "pads": [1, 1, 0, 1], "count_include_pad": 1}),
    ("AveragePool", 11, [X], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("AveragePool", 11, [X], {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1, "pads": [1, 1, 1, 1]}),
    ("GlobalAveragePool", 1, [X], {}),
    ("GlobalMaxPool", 1, [X], {}),
    ("PRelu", 9, [X, V.view(4, 1, 1)], {}),
    ("PRelu", 9, [X, X[0, 0, 0]], {}),  # along the width, as it is written
    ("PRelu", 9, [X[..., :4], V], {}),
    ("LeakyRelu", 6, [X], {"alpha": 0.3}),
    ("HardSigmoid", 6, [X], {"alpha": 0.3}),
    ("Clip", 6, [X], {"min": -0.5}),
    ("Clip", 11, [X, None, torch.tensor(0.5)], {}),
    ("Softmax", 11, [X], {"axis": 2}),
    ("Softmax", 11, [X], {}),
    ("Softmax", 13, [X], {"axis": 1}),
    ("Gemm", 11, [X[0, 0], X[1, 0], X[0, :, 0, 0].repeat(2)[:7]], {"transB": 1, "alpha": 0.5, "beta": 2.0}),
    ("Gemm", 11, [X[0, 0], X[1, 0]], {"transA": 1}),
    ("MatMul", 9, [X, X.mT.contiguous()], {}),
    ("Flatten", 11, [X], {"axis": 2}),
    ("Flatten", 11, [X], {"axis": 0}),
    ("Reshape", 5, [X, ints(0, -1, 9)], {}),
    ("Transpose", 1, [X], {}),
    ("Transpose", 1, [X], {"perm": [0, 2, 3, 1]}),
    ("Concat", 11, [X, X], {"axis": -3}),
    ("Split", 11, [X], {"axis": 1}),
    ("Split", 11, [X], {"axis": 3, "split": [2, 7]}),
    ("Split", 13, [X, ints(1, 6)], {"axis": 2}),
    ("Split", 18, [X], {"axis": 2, "num_outputs": 2}),
    ("Slice", 1, [X], {"starts": [1, -5], "ends": [9999, -1], "axes": [0, 3]}),
    ("Slice", 11, [X, ints(1, 8), ints(2**62, -(2**62)), ints(2, 3), ints(2, -3)], {}),
    ("Gather", 11, [X, ints(-1, 0, 2)], {"axis": 1}),
    ("Gather", 11, [X, ints(1).view(())], {"axis": 2}),
    ("Squeeze", 11, [X[:1, :, :1]], {"axes": [0, 2]}),
    ("Squeeze", 13, [X[:1, :, :1], ints(-2)], {}),
    ("Squeeze", 13, [X[:1, :, :1]], {}),
    ("Unsqueeze", 11, [X], {"axes": [5, 0]}),
    ("Unsqueeze", 13, [X, ints(-1)], {}),
    ("Expand", 8, [X[:, :, :1], ints(3, 1, 1, 7, 1)], {}),
    ("Pad", 2, [X], {"mode": "reflect", "pads": [0, 0, 3, 1, 0, 0, 2, 4]}),
    ("Pad", 11, [X, ints(0, 0, 0, 2, 0, 0, 0, 1)], {"mode": "edge"}),
    ("Pad", 11, [X, ints(1, 0, 0, 2, 0, 3, 0, 1), torch.tensor(2.5)], {}),
    ("Pad", 18, [X, ints(2, 1), None, ints(-1)], {"mode": "reflect"}),
    ("Upsample", 7, [X], {"scales": [1.0, 1.0, 2.0, 3.0]}),
    ("Upsample", 9, [X, torch.tensor([1.0, 1, 2, 2])], {"mode": "linear"}),
    ("Resize", 10, [X, torch.tensor([1.0, 1, 2, 2])], {}),
    *[
        ("Resize", 13, [X, None, torch.tensor([1.0, 1, high, wide])], {"mode": "linear", **where})
        for high, wide in ((2.0, 2.0), (0.6, 1.7))
        for where in (
            {},
            {"coordinate_transformation_mode": "align_corners"},
            {"coordinate_transformation_mode": "asymmetric"},
            {"coordinate_transformation_mode": "pytorch_half_pixel"},
        )
    ],
    *[
        ("Resize", 13, [X, None, None, ints(2, 4, high, wide)], {"coordinate_transformation_mode": where, **near})
        for high, wide in ((14, 18), (10, 4), (7, 1))
        for where in ("asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners")
        for near in ({"nearest_mode": "floor"}, {}, {"nearest_mode": "round_prefer_ceil"}, {"nearest_mode": "ceil"})
    ],
    ("Resize", 18, [X, None, None, ints(9, 3)], {"mode": "linear", "axes": [2, 3]}),
    ("ReduceMean", 11, [X], {"axes": [2, 3]}),
    ("ReduceMean", 18, [X, ints(1)], {"keepdims": 0}),
    ("ReduceSum", 13, [X, ints(-1, 1)], {}),
    ("ReduceSum", 13, [X], {}),
    ("ReduceSum", 13, [X], {"noop_with_empty_axes": 1}),
    ("ReduceL2", 11, [X], {"axes": [1]}),
    ("ReduceMax", 11, [X], {"axes": [1]}),
    ("ReduceMin", 11, [X], {"axes": [-1], "keepdims": 0}),
    ("Cast", 9, [X], {"to": 7}),
    ("Cast", 9, [X], {"to": 9}),
    ("Pow", 12, [X.abs(), torch.tensor(1.5)], {}),
    ("Pow", 12, [X, torch.tensor([2.0])], {}),
    ("Div", 13, [ints(7, -7, 9), ints(2)], {}),
    ("Equal", 11, [ints(1, 2, 3), ints(1, 3, 3)], {}),
    ("Where", 9, [X > 0, X, torch.tensor(0.25)], {}),
    ("Max", 12, [X, X.flip(0), torch.tensor(0.0)], {}),
    ("Min", 12, [X], {}),
    ("Sum", 8, [X, X, X], {}),
    ("Shape", 1, [X], {}),
    ("Shape", 15, [X], {"start": 1, "end": -1}),
    ("Range", 11, [ints(2).view(()), ints(11).view(()), ints(3).view(())], {}),
    *[(name, 13, [X, X.flip(0)], {}) for name in ("Add", "Sub", "Mul", "Div", "Greater", "Less")],
    *[(name, 14, [X], {}) for name in ("Abs", "Ceil", "Erf", "Exp", "Floor", "HardSwish", "Identity", "Neg", "Relu")],
    *[(name, 14, [X], {}) for name in ("Reciprocal", "Round", "Sigmoid", "Softplus", "Tanh")],
    *[(name, 14, [X.abs()], {}) for name in ("Log", "Sqrt")],
    ("Not", 1, [X > 0], {}),
]
CONSTANT = {"Reshape", "Resize", "Upsample", "Slice", "Pad", "Clip", "Split", "Squeeze", "Unsqueeze", "Expand"}


def written(path: Path, op: str, opset: int, inputs: list[Tensor | None], constant: int, **attributes: Any) -> Path:
    """A graph of one operator, whose inputs from `constant` on are kept in the file."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    names = ["" if value is None else f"in{index}" for index, value in enumerate(inputs)]
    outputs = ["a", "b"] if op == "Split" else ["a"]
    kinds = {torch.float32: 1, torch.int64: 7, torch.bool: 9}
    graph = helper.make_graph(
        [helper.make_node(op, names, outputs, **attributes)],
        "one",
        [
            helper.make_tensor_value_info(name, kinds[value.dtype], list(value.shape))
            for name, value in list(zip(names, inputs, strict=True))[:constant]
            if value is not None
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [
            numpy_helper.from_array(value.numpy(), name)
            for name, value in list(zip(names, inputs, strict=True))[constant:]
            if value is not None
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    typed = onnx.shape_inference.infer_shapes(model)
    for entry, value in zip(model.graph.output, typed.graph.output, strict=True):
        entry.CopyFrom(value)
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}-{case[3]}")
def test_an_operator_does_what_onnxruntime_does(tmp_path, by_onnxruntime, case):
    op, opset, inputs, attributes = case
    if "noop_with_empty_axes" in attributes:
        pytest.importorskip("onnxruntime", "1.24", reason="1.23, the last for Python 3.10, fails at it")
    inputs = [value if value is None else value.contiguous() for value in inputs]
    constant = 1 if op in CONSTANT or op in ("Conv", "Gather") or op.startswith("Reduce") else len(inputs)
    path = written(tmp_path / "a.onnx", op, opset, inputs, constant, **attributes)
    given = [value for value in inputs[:constant] if value is not None]
    assert_same(load_graph(path)(*given), by_onnxruntime(path, *given), 1e-5)


def test_every_operator_is_compared():
    compared = {case[0] for case in CASES} - {"Upsample"}  # read as Resize
    assert set(OPERATORS) - compared == {"ConstantOfShape"}


def test_a_shape_is_filled(tmp_path, by_onnxruntime):
    value = onnx.helper.make_tensor("v", 1, [1], [2.5])
    path = written(tmp_path / "a.onnx", "ConstantOfShape", 9, [ints(2, 3)], 1, value=value)
    assert_same(load_graph(path)(ints(2, 3)), [torch.full((2, 3), 2.5)], 0)


# What a file holds.


def test_what_depends_on_constants_alone_is_computed_once(tmp_path):
    config, tensors = read_graph(written(tmp_path / "a.onnx", "Transpose", 11, [W], 0, perm=[1, 0, 2, 3]))
    assert [node.op for node in config.nodes] == ["Transpose"]  # it makes the output
    helper = onnx.helper
    model = onnx.load(str(tmp_path / "a.onnx"))
    model.graph.node.append(helper.make_node("Neg", ["a"], ["b"]))
    model.graph.node.append(helper.make_node("Add", ["b", "x"], ["c"]))
    model.graph.input.append(helper.make_tensor_value_info("x", 1, [1]))
    model.graph.output[0].name = "c"
    onnx.save(model, str(tmp_path / "a.onnx"))
    config, tensors = read_graph(tmp_path / "a.onnx")
    assert [node.op for node in config.nodes] == ["Add"]
    assert torch.equal(tensors["weights.0"], -W.transpose(0, 1))


def test_the_last_weight_is_kept_though_no_step_reads_it(tmp_path, nets, export):
    path = export(tmp_path / "a.onnx", nets.swapping(), torch.rand(1, 3, 32, 32), torch.randn(1, 512))
    model = onnx.load(str(path))
    model.graph.initializer.append(onnx.numpy_helper.from_array(W[0, 0].numpy(), "beside"))
    onnx.save(model, str(path))
    graph = load_graph(path)
    assert torch.equal(graph.weights[-1], W[0, 0])
    assert torch.equal(last_initializer(path), W[0, 0])
    save_model(tmp_path / "a.safetensors", graph, torch.float32)
    loaded = load_model(tmp_path / "a.safetensors", GraphNet)
    assert isinstance(loaded, GraphNet) and torch.equal(loaded.weights[-1], W[0, 0])


def test_half_precision_becomes_single(tmp_path):
    model = onnx.load(str(written(tmp_path / "a.onnx", "Mul", 13, [X, V.view(4, 1, 1)], 1)))
    half = onnx.numpy_helper.from_array(V.half().view(4, 1, 1).numpy(), "in1")
    model.graph.initializer[0].CopyFrom(half)
    for entry in (*model.graph.input, *model.graph.output):
        entry.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    onnx.save(model, str(tmp_path / "a.onnx"))
    made = load_graph(tmp_path / "a.onnx")(X)[0]
    assert made.dtype == torch.float32
    assert torch.equal(made, X * V.half().float().view(4, 1, 1))


def test_weights_in_a_file_beside_are_read(tmp_path, by_onnxruntime):
    path = written(tmp_path / "a.onnx", "Conv", 11, [X, W], 1)
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="a.data", size_threshold=0)
    assert (tmp_path / "a.data").is_file()
    assert_same(load_graph(path)(X), by_onnxruntime(path, X), 1e-5)
    (tmp_path / "a.data").unlink()
    with pytest.raises(BadInput, match=r"a\.onnx: .*a\.data"):
        load_graph(path)


def test_a_function_of_the_file_is_written_out(tmp_path):
    helper = onnx.helper
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    twice = helper.make_function("own", "Twice", ["p"], ["q"], [helper.make_node("Add", ["p", "p"], ["q"])], opsets[:1])
    value = helper.make_tensor_value_info("x", 1, [3])
    out = helper.make_tensor_value_info("y", 1, [3])
    graph = helper.make_graph([helper.make_node("Twice", ["x"], ["y"], domain="own")], "g", [value], [out])
    onnx.save(helper.make_model(graph, opset_imports=opsets, functions=[twice]), str(tmp_path / "a.onnx"))
    assert torch.equal(load_graph(tmp_path / "a.onnx")(V[:3])[0], V[:3] * 2)


# What cannot be done is said at once.


@pytest.mark.parametrize(
    ("op", "opset", "attributes", "said"),
    [
        ("Acos", 13, {}, "operator Acos"),
        ("LeakyRelu", 13, {"alphabet": 1}, "LeakyRelu .*alphabet"),
        ("ConvTranspose", 11, {"output_shape": [9, 9]}, "ConvTranspose .*output_shape"),
        ("ConvTranspose", 11, {"auto_pad": "SAME_UPPER"}, "ConvTranspose .*auto_pad"),
        ("Resize", 13, {"mode": "cubic"}, "Resize .*mode='cubic'"),
        ("Resize", 18, {"antialias": 1}, "Resize .*antialias"),
        ("BatchNormalization", 14, {"training_mode": 1}, "BatchNormalization .*training_mode"),
        ("Cast", 13, {"to": 2}, "Cast .*UINT8"),
    ],
)
def test_what_does_not_run_in_torch_is_named_with_its_file(tmp_path, op, opset, attributes, said):
    helper = onnx.helper
    names = {"ConvTranspose": ["x", "x"], "BatchNormalization": ["x"] * 5, "Resize": ["x", "", "x"]}.get(op, ["x"])
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], **attributes)],
        "one",
        [helper.make_tensor_value_info("x", 1, [1])],
        [helper.make_tensor_value_info("y", 1, [1])],
    )
    path = tmp_path / "odd.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]), str(path))
    with pytest.raises(BadInput, match=rf"odd\.onnx: .*{said}") as caught:
        read_graph(path)
    assert "\n" not in str(caught.value)


def test_a_weight_of_another_type_is_named_if_a_node_reads_it(tmp_path):
    model = onnx.load(str(written(tmp_path / "a.onnx", "Mul", 13, [X, V.view(4, 1, 1)], 1)))
    counts = onnx.numpy_helper.from_array(V.byte().view(4, 1, 1).numpy(), "counts")
    model.graph.initializer.append(counts)
    onnx.save(model, str(tmp_path / "a.onnx"))
    assert torch.equal(load_graph(tmp_path / "a.onnx")(X)[0], X * V.view(4, 1, 1))
    model.graph.node[0].input[1] = "counts"
    onnx.save(model, str(tmp_path / "a.onnx"))
    with pytest.raises(BadInput, match=r"a\.onnx: cannot be converted: 'counts' is uint8"):
        read_graph(tmp_path / "a.onnx")


def test_inputs_and_outputs_are_read_without_the_weights(tmp_path):
    path = written(tmp_path / "a.onnx", "Conv", 11, [X, W], 1)
    onnx.save(onnx.load(str(path)), str(path), save_as_external_data=True, location="a.data", size_threshold=0)
    (tmp_path / "a.data").unlink()
    assert read_ports(path) == ((Port("in0", (2, 4, 7, 9)),), (Port("a", (2, 6, 5, 7)),))


def test_an_operator_of_another_vendor_is_named(tmp_path):
    model = onnx.load(str(written(tmp_path / "a.onnx", "Relu", 13, [X], 1)))
    model.graph.node[0].domain = "com.microsoft"
    model.graph.node[0].op_type = "FusedConv"
    onnx.save(model, str(tmp_path / "a.onnx"))
    with pytest.raises(BadInput, match=r"operator com\.microsoft\.FusedConv"):
        read_graph(tmp_path / "a.onnx")


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"<html>" * 99])
def test_a_damaged_file_is_one_line(tmp_path, damage: Callable[[bytes], bytes]):
    path = written(tmp_path / "a.onnx", "Conv", 11, [X, W], 1)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(BadInput, match=r"a\.onnx: is damaged or no ONNX file .*fetch it again") as caught:
        read_graph(path)
    assert "\n" not in str(caught.value)


def test_no_file_is_said(tmp_path):
    with pytest.raises(BadInput, match=r"none\.onnx: no such file"):
        read_graph(tmp_path / "none.onnx")
    with pytest.raises(BadInput, match="cannot be read"):
        read_graph(tmp_path)


def test_without_package_onnx_a_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BadInput, match=r"pip install onnx$"):
        read_graph(tmp_path / "a.onnx")


def test_a_converted_file_of_a_newer_version_is_refused(tmp_path, nets, export):
    graph = load_graph(export(tmp_path / "a.onnx", nets.swapping(), torch.rand(1, 3, 32, 32), torch.randn(1, 512)))
    object.__setattr__(graph.config.nodes[0], "op", "Einsum")
    save_model(tmp_path / "a.safetensors", graph)
    with pytest.raises(BadInput, match=r"a\.safetensors: .*operator Einsum"):
        load_model(tmp_path / "a.safetensors", GraphNet)


def test_a_graph_that_reads_what_nothing_makes_is_refused():
    with pytest.raises(ValueError, match="no node outputs the value 'b'"):
        GraphConfig((), (), (Node("Relu", ("b",), ("a",)),), {}, {})


EVEN = X[..., :6, :8].contiguous()
# Sides and sums that come out even above: here one side gets a pixel more, and rounding down is not rounding.
ODD: list[tuple[str, int, list[Tensor | None], dict[str, Any]]] = [
    *[("Conv", 11, [EVEN, W], {"auto_pad": f"SAME_{side}", "strides": [2, 2]}) for side in ("UPPER", "LOWER")],
    ("MaxPool", 12, [EVEN], {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_LOWER"}),
    ("Resize", 13, [X, None, torch.tensor([1.0, 1, 0.65, 1.3])], {"mode": "linear"}),
    ("ReduceSum", 13, [X, ints(1)], {"noop_with_empty_axes": 1}),
    ("HardSigmoid", 6, [X], {}),
    ("Gather", 11, [X, ints(-2, -1)], {"axis": -1}),
    ("Reshape", 5, [X, ints(2, 0, 0, -1)], {}),
    ("Softmax", 13, [X], {}),
    ("LeakyRelu", 6, [X], {}),
]


@pytest.mark.parametrize("case", ODD, ids=lambda case: f"{case[0]}-{case[1]}-{case[3]}")
def test_an_operator_rounds_and_defaults_as_onnxruntime_does(tmp_path, by_onnxruntime, case):
    op, opset, inputs, attributes = case
    constant = 1 if op in CONSTANT or op in ("Conv", "Gather") or op.startswith("Reduce") else len(inputs)
    path = written(tmp_path / "a.onnx", op, opset, inputs, constant, **attributes)
    assert_same(load_graph(path)(inputs[0]), by_onnxruntime(path, inputs[0]), 1e-5)
