"""Networks exported to ONNX in many ways come back as they were."""

from __future__ import annotations

import inspect
import logging
import math
import random
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cscs_core.hub.onnx import cscs_weights
from cscs_core.hub.onnx import names as onnx_names
from cscs_core.hub.onnx.dataflow import trace
from cscs_core.hub.onnx.layers import Unlike
from cscs_core.hub.onnx.reader import OnnxGraph, read_onnx
from cscs_core.io.files import BadInput
from cscs_core.models import aei, iresnet
from cscs_core.models.adapter import IdAdapter, IdAdapterConfig
from cscs_core.models.aei import AEIConfig, AEINet
from cscs_core.models.iresnet import IResNet, IResNetConfig

onnx = pytest.importorskip("onnx")

Model = Any  # onnx.ModelProto
Rewrite = Callable[[Model, random.Random], None]

FULL = {name: getattr(aei, name) for name in ("DOWN", "UP", "ATTRIBUTES", "WIDTHS")}
IDENTITY = 20
PRESERVE = {"do_constant_folding": False, "training": torch.onnx.TrainingMode.PRESERVE}  # leaves batch norms alone


@pytest.fixture(scope="module", autouse=True)
def _narrow(golden: Any) -> Iterator[None]:
    """Networks of the same build with few channels."""
    with pytest.MonkeyPatch.context() as patch:
        for name, widths in golden.NARROW.items():
            patch.setattr(aei, name, widths)
        patch.setattr(iresnet, "WIDTHS", golden.NARROW_IRESNET)
        yield


def _filled(build: Callable[[Any], nn.Module], config: Any) -> nn.Module:
    """Weights that follow from names and shapes alone: normal numbers by fan-in, batch norms near identity."""
    with torch.device("meta"):
        model = build(config)
    state = {}
    for name, old in model.state_dict().items():
        rng = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        noise = torch.randn(old.shape, generator=rng)
        if name.endswith("num_batches_tracked"):
            state[name] = torch.tensor(0)
        elif old.ndim > 1:
            state[name] = noise / math.sqrt(math.prod(old.shape[1:]))
        elif name.endswith("running_var"):
            state[name] = 1 + 0.1 * noise.abs()
        else:
            state[name] = 0.1 * noise + name.endswith("weight")
    model.load_state_dict(state, assign=True)
    return model.eval().requires_grad_(False)


def _network(kind: str) -> nn.Module:
    if kind == "aei":
        return _filled(AEINet, AEIConfig(IDENTITY))
    if kind == "iresnet":
        return _filled(IResNet, IResNetConfig(18, 16))
    return _filled(IdAdapter, IdAdapterConfig("add", 18, 16))


def _inputs(model: nn.Module) -> tuple[Tensor, ...]:
    size = 256 if isinstance(model, AEINet) else 112
    y, x = torch.meshgrid(torch.linspace(0, 1, size), torch.linspace(0, 1, size), indexing="ij")
    picture = torch.stack([(6 * x + 4 * y + c).sin() * (5 * y - 3 * x * c).cos() for c in (0.5, 1.0, 1.5)])[None]
    if not isinstance(model, AEINet):
        return (picture,)
    return picture, 1.4 * nn.functional.normalize(torch.arange(model.config.identity)[None].mul(0.37).sin())


def _export(model: nn.Module, path: Path, **options: Any) -> Any:
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    inputs = _inputs(model)
    options = {"dynamo": False, "opset_version": 17, **options}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.onnx.export(
            model, inputs, path, input_names=["input_1", "input_2"][: len(inputs)], output_names=["output"], **options
        )


def _read(path: Path) -> tuple[Any, dict[str, Tensor]]:
    return cscs_weights.recognised(trace(read_onnx(path)))


def _difference(model: nn.Module, path: Path) -> float:
    """The largest difference of the output if the file's weights are used, as a share of the largest output. In
    float64, as the instance norms at 2 px enlarge what float32 rounds away."""
    config, state = _read(path)
    assert config == model.config
    again = type(model)(config).eval()
    again.load_state_dict(state, strict=True)
    inputs = [value.double() for value in _inputs(model)]
    with torch.no_grad():
        before, after = model.double()(*inputs), again.double()(*inputs)
    return float((before - after).abs().max() / before.abs().max())


def _unequal(state: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert state.keys() == other.keys()
    return [name for name, value in state.items() if not torch.equal(value, other[name])]


KINDS = ("aei", "adapter")  # an adapter is an IResNet and more


@pytest.mark.parametrize("opset", range(11, 21))
@pytest.mark.parametrize("kind", KINDS)
def test_folded_batch_norms_compute_the_same(kind, opset, exported, tmp_path):
    model = _network(kind)
    _export(model, tmp_path / "model.onnx", opset_version=opset)
    if opset == 17:
        assert _difference(model, tmp_path / "model.onnx") < 1e-5
    else:
        assert _unequal(_read(exported(kind, folded=True))[1], _read(tmp_path / "model.onnx")[1]) == []


@pytest.mark.parametrize("opset", (11, 15, 20))
@pytest.mark.parametrize("kind", KINDS)
def test_weights_come_back_exactly_where_nothing_was_folded(kind, opset, tmp_path):
    model = _network(kind)
    _export(model, tmp_path / "model.onnx", opset_version=opset, **PRESERVE)
    assert _unequal(model.state_dict(), _read(tmp_path / "model.onnx")[1]) == []


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Callable[..., Path]:
    """Files of our networks, made once: with batch norms folded or as they are."""
    folder = tmp_path_factory.mktemp("exported")

    def file(kind: str, folded: bool = False) -> Path:
        path = folder / f"{kind}_{folded}.onnx"
        if not path.exists():
            _export(_network(kind), path, **({} if folded else PRESERVE))
        return path

    return file


@pytest.mark.parametrize("kind", ("aei", "adapter"))
def test_the_other_exporter_writes_what_can_be_read(kind, tmp_path):
    pytest.importorskip("onnxscript")
    if "optimize" not in inspect.signature(torch.onnx.export).parameters:
        pytest.skip("the exporter of torch 2.6 and newer")
    model, plain, optimised = _network(kind), tmp_path / "plain.onnx", tmp_path / "optimised.onnx"
    program = _export(model, tmp_path / "any.onnx", dynamo=True, opset_version=20, optimize=False, verbose=False)
    program.save(plain)
    program.optimize()
    program.save(optimised)
    ops = [{node.op for node in trace(read_onnx(path)).made.values()} for path in (plain, optimised)]
    assert [("ConvTranspose" in found or kind == "adapter", "Expand" in found) for found in ops] == [
        (True, True),
        (True, False),
    ]
    assert _unequal(model.state_dict(), _read(plain)[1]) == []
    assert _difference(model, optimised) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_newer_operators_of_a_converted_file(kind, exported, tmp_path):
    model = onnx.version_converter.convert_version(onnx.load(exported(kind)), 21)
    onnx.save(model, tmp_path / "model.onnx")
    assert _unequal(_network(kind).state_dict(), _read(tmp_path / "model.onnx")[1]) == []


# Other ways to write the same graph


def _rename(model: Model, rng: random.Random) -> None:
    names: dict[str, str] = {"": ""}
    new = lambda name: names.setdefault(name, f"v{rng.getrandbits(64)}")  # noqa: E731
    for value in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        value.name = new(value.name)
    for node in model.graph.node:
        node.name = f"n{rng.getrandbits(64)}"
        node.input[:] = [new(name) for name in node.input]
        node.output[:] = [new(name) for name in node.output]


def _shuffle(model: Model, rng: random.Random) -> None:
    waiting, known = list(model.graph.node), {"", *(v.name for v in (*model.graph.input, *model.graph.initializer))}
    ordered = []
    while waiting:
        node = rng.choice([node for node in waiting if known.issuperset(node.input)])
        waiting.remove(node)
        known.update(node.output)
        ordered.append(node)
    _replace(model, ordered)
    initialisers = list(model.graph.initializer)
    rng.shuffle(initialisers)
    del model.graph.initializer[:]
    model.graph.initializer.extend(initialisers)


def _swap_operands(model: Model, rng: random.Random) -> None:
    for node in model.graph.node:
        if node.op_type in ("Add", "Mul") and rng.random() < 0.7:
            node.input[:] = reversed(node.input)


def _insert_identities(model: Model, rng: random.Random) -> None:
    nodes = []
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name and rng.random() < 0.5:
                kind = (
                    rng.choice(("Identity", "Cast")) if node.op_type in ("Conv", "Add", "Mul", "Gemm") else "Identity"
                )
                options = {"to": onnx.TensorProto.FLOAT} if kind == "Cast" else {}
                nodes.append(onnx.helper.make_node(kind, [name], [new := f"{name}_{len(nodes)}"], **options))
                node.input[index] = new
        nodes.append(node)
    _replace(model, nodes)


def _constants_in_nodes(model: Model, rng: random.Random) -> None:
    constants = [
        onnx.helper.make_node("Constant", [], [tensor.name], value=tensor) for tensor in model.graph.initializer
    ]
    _replace(model, [*constants, *model.graph.node])
    del model.graph.initializer[:]


def _transpose_weights(model: Model, rng: random.Random) -> None:
    nodes = []
    for tensor in list(model.graph.initializer):
        if (rank := len(tensor.dims)) > 1:
            order = rng.sample(range(rank), rank)
            value = onnx.numpy_helper.to_array(tensor).transpose([order.index(axis) for axis in range(rank)])
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, f"{tensor.name}_turned"))
            name = tensor.name.removesuffix("_turned")
            nodes.append(onnx.helper.make_node("Transpose", [tensor.name], [name], perm=order))
    _replace(model, [*nodes, *model.graph.node])


def _products_and_sums(model: Model, rng: random.Random) -> None:
    """Gemm(x, W) as MatMul(x, transposed W) + b."""
    nodes = []
    for node in model.graph.node:
        if node.op_type != "Gemm":
            nodes.append(node)
            continue
        x, weight, bias = node.input
        out = node.output[0]
        nodes.append(onnx.helper.make_node("Transpose", [weight], [f"{out}_w"], perm=[1, 0]))
        nodes.append(onnx.helper.make_node("MatMul", [x, f"{out}_w"], [f"{out}_p"]))
        nodes.append(onnx.helper.make_node("Add", [bias, f"{out}_p"], [out]))
    _replace(model, nodes)


def _scale_products(model: Model, rng: random.Random) -> None:
    """Gemm with W untransposed and halved, b doubled."""
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Gemm":
            weight, bias = (onnx.numpy_helper.to_array(values[name]) for name in node.input[1:])
            values[node.input[1]].CopyFrom(onnx.numpy_helper.from_array(weight.T / 2, node.input[1]))
            values[node.input[2]].CopyFrom(onnx.numpy_helper.from_array(bias[None] * 2, node.input[2]))
            del node.attribute[:]
            node.attribute.extend(
                onnx.helper.make_attribute(key, value) for key, value in {"alpha": 2.0, "beta": 0.5}.items()
            )


def _biases_apart(model: Model, rng: random.Random) -> None:
    """Convolution(x, W, b) as convolution(x, W) + b."""
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = []
    for node in model.graph.node:
        nodes.append(node)
        if node.op_type in ("Conv", "ConvTranspose") and len(node.input) == 3:
            bias = onnx.numpy_helper.to_array(values[node.input.pop()])
            rank = len(values[node.input[1]].dims) - 2
            out = node.output[0]
            node.output[0] = f"{out}_p"
            bias = bias.reshape(-1, *[1] * rank)
            model.graph.initializer.append(onnx.numpy_helper.from_array(bias, f"{out}_b"))
            nodes.append(onnx.helper.make_node("Add", [f"{out}_p", f"{out}_b"], [out]))
    _replace(model, nodes)


def _call_functions(model: Model, rng: random.Random) -> None:
    """Activations as calls of functions that the file brings along."""
    for op in ("Relu", "PRelu"):
        arguments = ["x", "slope"][: 1 + (op == "PRelu")]
        body = [onnx.helper.make_node(op, arguments, ["y"])]
        opsets = [onnx.helper.make_opsetid("", 17)]
        model.functions.append(onnx.helper.make_function("mine", f"my_{op}", arguments, ["y"], body, opsets))
    model.opset_import.append(onnx.helper.make_opsetid("mine", 1))
    for node in model.graph.node:
        if node.op_type in ("Relu", "PRelu"):
            node.op_type, node.domain = f"my_{node.op_type}", "mine"


def _replace(model: Model, nodes: list[Any]) -> None:
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)


REWRITES: tuple[Rewrite, ...] = (
    _rename,
    _shuffle,
    _swap_operands,
    _insert_identities,
    _constants_in_nodes,
    _transpose_weights,
    _products_and_sums,
    _scale_products,
    _biases_apart,
    _call_functions,
)


def _rewritten(path: Path, folder: Path, *rewrites: Rewrite, seed: int = 0) -> Path:
    model = onnx.load(path)
    for rewrite in rewrites:
        rewrite(model, random.Random(seed))
    del model.graph.value_info[:]
    onnx.checker.check_model(model)
    onnx.save(model, folder / "rewritten.onnx")
    return folder / "rewritten.onnx"


@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: rewrite.__name__)
@pytest.mark.parametrize("folded", (False, True))
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_graph_in_other_words_has_the_same_weights(kind, folded, rewrite, exported, tmp_path):
    path = exported(kind, folded)
    config, state = _read(path)
    again = _read(_rewritten(path, tmp_path, rewrite))
    assert again[0] == config
    assert _unequal(state, again[1]) == []


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", KINDS)
def test_all_rewritings_at_once(kind, seed, exported, tmp_path):
    order = (_biases_apart, _products_and_sums, _transpose_weights, _insert_identities, _swap_operands)
    order += (_constants_in_nodes, _call_functions, _shuffle, _rename)
    path = _rewritten(exported(kind), tmp_path, *order, seed=seed)
    assert _unequal(_network(kind).state_dict(), _read(path)[1]) == []


@pytest.mark.parametrize("kind", KINDS)
def test_half_floats_come_back_as_they_are(kind, exported, tmp_path):
    def halve(model: Model, rng: random.Random) -> None:
        nodes = []
        for tensor in model.graph.initializer:
            value = onnx.numpy_helper.to_array(tensor).astype("float16")
            tensor.CopyFrom(onnx.numpy_helper.from_array(value, f"{tensor.name}_half"))
            name = tensor.name.removesuffix("_half")
            nodes.append(onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT))
        _replace(model, [*nodes, *model.graph.node])

    state = _read(_rewritten(exported(kind), tmp_path, halve))[1]
    expected = {
        name: value.half().float() if value.ndim else value for name, value in _network(kind).state_dict().items()
    }
    assert _unequal(expected, state) == []


@pytest.mark.parametrize("kind", KINDS)
def test_batch_norms_written_as_a_product_and_a_sum(kind, exported, tmp_path):
    def take_apart(model: Model, rng: random.Random) -> None:
        values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
        nodes = []
        for node in model.graph.node:
            if node.op_type != "BatchNormalization":
                nodes.append(node)
                continue
            weight, bias, mean, var = (values[name].astype("float64") for name in node.input[1:])
            scale = weight / (var + 1e-5) ** 0.5
            out = node.output[0]
            axes = (-1,) if len(weight) == 16 else (-1, 1, 1)  # the embedding's is the only one of this width
            for name, value in {"s": scale, "t": bias - mean * scale}.items():
                value = value.astype("float32").reshape(axes)
                model.graph.initializer.append(onnx.numpy_helper.from_array(value, f"{out}_{name}"))
            nodes.append(onnx.helper.make_node("Mul", [f"{out}_s", node.input[0]], [f"{out}_p"]))
            nodes.append(onnx.helper.make_node("Add", [f"{out}_p", f"{out}_t"], [out]))
        _replace(model, nodes)

    path = _rewritten(exported(kind), tmp_path, take_apart)
    assert _difference(_network(kind), path) < 1e-5


@pytest.mark.parametrize("folded", (False, True))
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_changed_places_are_found_in_their_new_ones(kind, folded, exported, tmp_path):
    runtime = pytest.importorskip("onnxruntime")

    def mix(model: Model, rng: random.Random) -> None:
        shapes: dict[tuple[int, ...], list[Any]] = {}
        for tensor in model.graph.initializer:
            if len(tensor.dims) > 1:
                shapes.setdefault(tuple(tensor.dims), []).append(tensor)
        for tensors in shapes.values():
            for tensor, content in zip(tensors, rng.sample([t.raw_data for t in tensors], len(tensors)), strict=True):
                tensor.raw_data = content

    path = _rewritten(exported(kind, folded), tmp_path, mix, _rename, _shuffle)
    config, state = _read(path)
    model = type(_network(kind))(config).eval()
    model.load_state_dict(state)
    inputs = _inputs(model)
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    fed = {port.name: value.numpy() for port, value in zip(session.get_inputs(), inputs, strict=True)}
    expected = torch.from_numpy(session.run(None, fed)[0])
    with torch.no_grad():
        assert float((model(*inputs) - expected).abs().max() / expected.abs().max()) < 1e-3
        assert float((_network(kind)(*inputs) - expected).abs().max() / expected.abs().max()) > 0.05


# Other ways to write AAD layers


def _as_published(self: Any, h: Tensor, attributes: Tensor, z: Tensor, masks: list[Tensor]) -> Tensor:
    """With everything brought to full size first: the file then has pictures of ones, and shapes from Shape."""
    h = nn.functional.instance_norm(h)
    gamma, beta = (fc(z).reshape(h.shape[0], -1, 1, 1).expand_as(h) for fc in (self.fc1, self.fc2))
    a = self.conv1(attributes) * h + self.conv2(attributes)
    m = self.conv_h(h).sigmoid()
    return (torch.ones_like(m) - m) * a + m * (gamma * h + beta)


def _interpolated(self: Any, h: Tensor, attributes: Tensor, z: Tensor, masks: list[Tensor]) -> Tensor:
    h = nn.functional.instance_norm(h)
    a = self.conv2(attributes) + h * self.conv1(attributes)
    i = self.fc2(z)[..., None, None] + h * self.fc1(z)[..., None, None]
    return a - (a - i) * self.conv_h(h).sigmoid()


def _mixed_first(self: Any, h: Tensor, attributes: Tensor, z: Tensor, masks: list[Tensor]) -> Tensor:
    h = nn.functional.instance_norm(h)
    m = self.conv_h(h).sigmoid()
    gamma = m * self.fc1(z)[..., None, None] - (m - 1) * self.conv1(attributes)
    beta = self.conv2(attributes) + m * (self.fc2(z)[..., None, None] - self.conv2(attributes))
    return beta + gamma * h


def _identity_and_attributes_exchanged(self: Any, h: Tensor, attributes: Tensor, z: Tensor, masks: Any) -> Tensor:
    h = nn.functional.instance_norm(h)
    a = self.conv1(attributes) * h + self.conv2(attributes)
    i = self.fc1(z)[..., None, None] * h + self.fc2(z)[..., None, None]
    m = self.conv_h(h).sigmoid()
    return m * a + (1 - m) * i


@pytest.mark.parametrize(("opset", "folded"), ((17, True), (11, False)))
@pytest.mark.parametrize("forward", (_as_published, _interpolated, _mixed_first))
def test_other_algebra_of_the_same_layer(forward, opset, folded, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(aei.AADLayer, "forward", forward)
    _export(_network("aei"), tmp_path / "model.onnx", opset_version=opset, **({} if folded else PRESERVE))
    monkeypatch.undo()
    assert _unequal(_read(exported("aei", folded))[1], _read(tmp_path / "model.onnx")[1]) == []


def test_a_layer_that_takes_the_mask_the_other_way_is_another(tmp_path, monkeypatch):
    monkeypatch.setattr(aei.AADLayer, "forward", _identity_and_attributes_exchanged)
    _export(_network("aei"), tmp_path / "model.onnx")
    with pytest.raises(Unlike):
        _read(tmp_path / "model.onnx")


def test_an_instance_norm_may_serve_two_layers(exported):
    model = onnx.load(exported("aei"))
    assert [node.op_type for node in model.graph.node].count("InstanceNormalization") == 16  # of 21 layers


# Other networks


def _change(op: str, **attributes: Any) -> Rewrite:
    """Other attributes for the first node of the kind."""

    def change(model: Model, rng: random.Random) -> None:
        node = next(node for node in model.graph.node if node.op_type == op)
        kept = [attribute for attribute in node.attribute if attribute.name not in attributes]
        new = [onnx.helper.make_attribute(name, value) for name, value in attributes.items()]
        del node.attribute[:]
        node.attribute.extend([*kept, *new])

    return change


def _retype(op: str, other: str, inputs: int | None = None) -> Rewrite:
    """Another operator in place of the first node of the kind."""

    def retype(model: Model, rng: random.Random) -> None:
        node = next(node for node in model.graph.node if node.op_type == op)
        node.op_type = other
        del node.input[inputs:]

    return retype


def _reverse_inputs(op: str) -> Rewrite:
    def reverse(model: Model, rng: random.Random) -> None:
        node = next(node for node in model.graph.node if node.op_type == op)
        node.input[:] = reversed(node.input)

    return reverse


def _double_scale(model: Model, rng: random.Random) -> None:
    """Instance norms with a weight of 2."""
    name = next(node.input[1] for node in model.graph.node if node.op_type == "InstanceNormalization")
    node = next(node for node in model.graph.node if node.output[0] == name)
    value = 2 * onnx.numpy_helper.to_array(node.attribute[0].t)
    node.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(value))


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        ("aei", _change("LeakyRelu", alpha=0.2)),
        ("aei", _change("Resize", coordinate_transformation_mode="half_pixel")),
        ("aei", _change("Resize", mode="nearest")),
        ("aei", _change("InstanceNormalization", epsilon=1e-3)),
        ("aei", _change("Conv", pads=[0, 0, 2, 2])),
        ("aei", _change("ConvTranspose", dilations=[2, 2])),
        ("aei", _double_scale),
        ("aei", _reverse_inputs("Concat")),
        ("aei", _reverse_inputs("Sub")),
        ("aei", _retype("Sigmoid", "HardSigmoid")),
        ("aei", _retype("Relu", "Elu")),
        ("aei", _retype("Tanh", "Softsign")),
        ("iresnet", _retype("PRelu", "Relu", 1)),
        ("iresnet", _change("Conv", strides=[2, 2])),
        ("iresnet", _change("BatchNormalization", training_mode=1)),
        ("adapter", _retype("Flatten", "Softmax")),
        ("adapter", _change("Gather", axis=1)),
    ],
)
def test_a_network_that_computes_something_else_is_not_taken_for_ours(kind, change, exported, tmp_path):
    path = tmp_path / "changed.onnx"
    model = onnx.load(exported(kind))
    change(model, random.Random(0))
    onnx.save(model, path)
    with pytest.raises(Unlike):
        _read(path)


def test_residual_blocks_are_counted(tmp_path, monkeypatch):
    monkeypatch.setitem(iresnet.DEPTHS, 18, (2, 2, 3, 2))
    _export(_network("iresnet"), tmp_path / "model.onnx")
    monkeypatch.undo()
    with pytest.raises(Unlike, match=r"2 \+ 2 \+ 3 \+ 2 residual blocks"):
        _read(tmp_path / "model.onnx")


@pytest.mark.parametrize("depth", (18, 34, 50, 100))
def test_the_depth_follows_from_the_blocks(depth, tmp_path):
    model = _filled(IResNet, IResNetConfig(depth, 16))
    _export(model, tmp_path / "model.onnx")
    assert _difference(model, tmp_path / "model.onnx") < 1e-5


def test_the_generator_in_the_proportions_of_the_release(tmp_path, monkeypatch):
    """An eighth of its channels: which of them are equal, in layers of different kinds, is what wide networks add."""
    for name, widths in FULL.items():
        monkeypatch.setattr(aei, name, tuple(max(3, width // 8) for width in widths))
    model = _filled(AEINet, AEIConfig(512 // 8))
    _export(model, tmp_path / "model.onnx", **PRESERVE)
    config, state = _read(tmp_path / "model.onnx")
    assert config == model.config
    assert _unequal(model.state_dict(), state) == []


# Files


@pytest.mark.parametrize("share", (0, 0.01, 0.3, 0.9, 0.9999))
def test_truncated_files_are_named(share, exported, tmp_path):
    content = exported("adapter").read_bytes()
    _says(tmp_path, content[: int(len(content) * share)], "damaged or no ONNX file")


@pytest.mark.parametrize(
    "content",
    [
        b"not a protobuf at all",
        b"\x89PNG\r\n\x1a\n" + bytes(99),
        onnx.helper.make_graph([], "graph", [], []).SerializeToString(),
        onnx.numpy_helper.from_array(torch.zeros(9).numpy(), "tensor").SerializeToString(),
    ],
    ids=("text", "picture", "graph", "tensor"),
)
def test_other_files_are_named(content, tmp_path):
    _says(tmp_path, content, "damaged or no ONNX file")


def test_random_damage_ends_in_one_line(exported, tmp_path):
    """Any of the bytes that say what the file is, not those of the weights."""
    model = onnx.load(exported("adapter"))
    for tensor in model.graph.initializer:
        tensor.raw_data = bytes(len(tensor.raw_data))
    content, rng = model.SerializeToString(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(3):
            damaged[rng.choice((rng.randrange(2000), rng.randrange(len(damaged))))] = rng.randrange(256)
        (tmp_path / "model.onnx").write_bytes(damaged)
        try:
            _read(tmp_path / "model.onnx")
        except (BadInput, Unlike) as error:
            assert "\n" not in str(error)


def _lose_a_value(model: Model) -> None:
    model.graph.node[5].input[0] = "nothing"


def _turn_in_a_circle(model: Model) -> None:
    model.graph.node[5].input[0] = model.graph.node[5].output[0]


def _make_a_value_twice(model: Model) -> None:
    model.graph.node[6].output[0] = model.graph.node[5].output[0]


def _lose_the_output(model: Model) -> None:
    model.graph.output[0].name = "nothing"


def _lose_numbers(model: Model) -> None:
    model.graph.initializer[0].raw_data = model.graph.initializer[0].raw_data[:-1]


def _lose_the_operators(model: Model) -> None:
    del model.opset_import[:]


@pytest.mark.parametrize(
    "damage",
    (_lose_a_value, _turn_in_a_circle, _make_a_value_twice, _lose_the_output, _lose_numbers, _lose_the_operators),
)
def test_graphs_that_make_no_sense_are_named(damage, exported, tmp_path):
    model = onnx.load(exported("adapter"))
    damage(model)
    _says(tmp_path, model.SerializeToString(), "damaged or no ONNX file")


def _says(folder: Path, content: bytes, *words: str) -> None:
    path = folder / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(BadInput) as caught:
        read_onnx(path)
    for word in (str(path), *words):
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def apart(exported, tmp_path) -> Path:
    """An ONNX file with its weights in another file beside it."""
    folder = tmp_path / "apart"
    folder.mkdir()
    options = {"save_as_external_data": True, "location": "weights.bin", "size_threshold": 0}
    onnx.save(onnx.load(exported("adapter")), folder / "model.onnx", **options)
    return folder / "model.onnx"


def test_weights_in_another_file_are_found(apart):
    assert _unequal(_network("adapter").state_dict(), _read(apart)[1]) == []


def test_both_files_may_be_links_into_a_store(apart, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "store").mkdir()
    for index, name in enumerate(("model.onnx", "weights.bin")):
        stored = (apart.parent / name).rename(tmp_path / "store" / str(index))
        (tmp_path / "links" / name).symlink_to(stored)
    assert _unequal(_network("adapter").state_dict(), _read(tmp_path / "links" / "model.onnx")[1]) == []


def test_weights_that_are_missing_or_cut_short_are_named(apart):
    weights = apart.parent / "weights.bin"
    content = weights.read_bytes()
    weights.write_bytes(content[:-10])
    with pytest.raises(BadInput, match=r"weights\.bin: is truncated"):
        read_onnx(apart)
    weights.unlink()
    with pytest.raises(BadInput, match=r"model\.onnx: its weights are in weights\.bin, which is not beside it"):
        read_onnx(apart)


@pytest.mark.parametrize("place", ("../secret.bin", "{}/secret.bin", "C:\\secret.bin", "a/../../secret.bin", "", "x\0"))
def test_weights_elsewhere_are_not_read(place, apart, tmp_path):
    (tmp_path / "secret.bin").write_bytes((apart.parent / "weights.bin").read_bytes())
    model = onnx.load(apart, load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = place.format(tmp_path)
    apart.write_bytes(model.SerializeToString())
    with pytest.raises(BadInput, match="not in its folder; refused"):
        read_onnx(apart)


def test_a_link_out_of_the_folder_is_not_followed(apart, tmp_path):
    (apart.parent / "weights.bin").rename(tmp_path / "secret.bin")
    (apart.parent / "weights.bin").symlink_to(tmp_path / "secret.bin")
    with pytest.raises(BadInput, match="not in its folder; refused"):
        read_onnx(apart)


def test_without_the_package_the_user_is_told_to_install_it(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(BadInput, match="pip install onnx"):
        read_onnx(exported("adapter"))


# Names of networks of others


@pytest.mark.parametrize(
    ("inputs", "outputs", "name"),
    [
        ([(1, 3, 128, 128), (1, 512)], [(1, 3, 128, 128)], "inswapper"),
        ([(1, 512), (1, 3, 256, 256)], [(1, 3, 256, 256), (1, 1, 256, 256)], "HyperSwap or HifiFace"),
        ([(1, 3, 256, 256), (1, 512)], [(1, 3, 256, 256)], "Ghost or another relative of AEI-Net"),
        ([("N", 3, 640, 640)], [(n, w) for w in (1, 4, 10) for n in (12800, 3200, 800)], "SCRFD"),
        ([(1, 3, "H", "W")], [("n", w) for w in (1, 4) for _ in range(3)], "SCRFD"),
        ([(1, 3, 512, 512), ()], [(1, 3, 512, 512)], "CodeFormer"),
        ([(1, 3, 512, 512)], [(1, 3, 512, 512)], "GFPGAN, GPEN or RestoreFormer"),
        ([(1, 3, 224, 224)], [(1, 1000)], "an unknown network (3x224x224 -> 1000)"),
        ([("N", "C")], [("N", 7, "L")], "an unknown network (? -> 7x?)"),
    ],
)
def test_networks_of_others_are_told_by_their_ends(inputs, outputs, name, tmp_path):
    assert onnx_names.described(_ends(tmp_path / "model.onnx", inputs, outputs)) == name


def test_the_projection_that_stands_last_tells_the_relatives_of_inswapper(tmp_path):
    shapes = [(1, 3, 256, 256), (1, 512)], [(1, 3, 256, 256)]
    assert onnx_names.described(_ends(tmp_path / "model.onnx", *shapes, projection=True)) == "InStyleSwapper"


def _ends(path: Path, inputs: list, outputs: list, projection: bool = False) -> OnnxGraph:
    """A graph with these inputs and outputs and nothing worth mentioning between."""
    helper, number = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [helper.make_node("Relu", ["i0"], [f"o{index}"]) for index in range(len(outputs))]
    ports = [
        [helper.make_tensor_value_info(f"{letter}{index}", number, shape) for index, shape in enumerate(shapes)]
        for letter, shapes in (("i", inputs), ("o", outputs))
    ]
    graph = helper.make_graph(nodes, "graph", *ports)
    if projection:
        graph.initializer.append(onnx.numpy_helper.from_array(torch.zeros(512, 512).numpy(), "emap"))
    onnx.save(helper.make_model(graph), path)
    return read_onnx(path)
