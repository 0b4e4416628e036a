"""Exported networks compute in torch what they compute in onnxruntime."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cscs_core.hub.weights import load_model, save_model
from cscs_core.models.graph import GraphNet

from .graphs import load_graph

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")


def assert_same(got: list[Tensor], expected: list[Tensor], tolerance: float = 1e-4) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        assert one.std() > 0  # it makes something
        torch.testing.assert_close(one, other, atol=tolerance, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"opset": 11},
        {"opset": 11, "batched": True, "folded": False},
        {"opset": 13},
        {"opset": 17, "folded": False},
        {"opset": 18, "dynamo": True},
    ],
    ids=str,
)
def test_a_detector_runs_at_any_size(tmp_path, nets, export, by_onnxruntime, options):
    options = dict(options)
    network = nets.scrfd(batched=options.pop("batched", False))
    if not options.pop("folded", True):
        options |= {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    path = export(tmp_path / "a.onnx", network, torch.randn(1, 3, 64, 64), free=(2, 3), **options)
    graph = load_graph(path)
    for size in ((64, 64), (96, 160)):
        picture = torch.randn(1, 3, *size)
        assert_same(graph(picture), by_onnxruntime(path, picture))


@pytest.mark.parametrize("options", [{"opset": 11}, {"opset": 17}, {"opset": 18, "dynamo": True}], ids=str)
def test_a_swapper_makes_the_same_picture(tmp_path, nets, export, by_onnxruntime, options):
    inputs = torch.rand(1, 3, 32, 32), torch.randn(1, 512)
    path = export(tmp_path / "a.onnx", nets.swapping(), *inputs, **options)
    assert_same(load_graph(path)(*inputs), by_onnxruntime(path, *inputs), 1e-5)


def test_an_encoder_says_the_same(tmp_path, nets, export, by_onnxruntime):
    faces = torch.randn(2, 3, 112, 112)
    network = nets.iresnet()
    path = export(tmp_path / "a.onnx", network, faces)
    graph = load_graph(path)
    assert_same(graph(faces), by_onnxruntime(path, faces))
    assert_same(graph(faces), [network(faces)])


def test_a_converted_file_computes_the_same(tmp_path, nets, export):
    inputs = torch.rand(1, 3, 32, 32), torch.randn(1, 512)
    graph = load_graph(export(tmp_path / "a.onnx", nets.swapping(), *inputs))
    save_model(tmp_path / "a.safetensors", graph, torch.float32)
    loaded = load_model(tmp_path / "a.safetensors", GraphNet)
    assert isinstance(loaded, GraphNet)
    assert loaded.config == graph.config
    assert_same(loaded(*inputs), graph(*inputs), 1e-6)


def test_half_precision_does_not_reach_small_constants(tmp_path, nets, export):
    # 1e-8, which keeps a norm finite where a map is even, is 0 in float16.
    inputs = torch.full((1, 3, 32, 32), 0.5), torch.randn(1, 512)
    graph = load_graph(export(tmp_path / "a.onnx", nets.swapping(), *inputs))
    save_model(tmp_path / "a.safetensors", graph, torch.float16)
    picture = load_model(tmp_path / "a.safetensors", GraphNet)(*inputs)[0]
    torch.testing.assert_close(picture, graph(*inputs)[0], atol=0.01, rtol=0)


def test_sizes_stay_on_the_cpu_and_no_step_waits_for_a_device(tmp_path, nets, export):
    # Tensors of the device "meta" have no values: whoever asks for one fails.
    path = export(tmp_path / "a.onnx", nets.scrfd(batched=True), torch.randn(1, 3, 64, 64), free=(0, 2, 3))
    rows = load_graph(path).to("meta")(torch.randn(2, 3, 96, 64, device="meta"))
    assert [tuple(value.shape) for value in rows[:3]] == [(2, 192, 1), (2, 48, 1), (2, 12, 1)]
    assert all(value.device.type == "meta" for value in rows)


class Narrow(nn.Module):
    """Weights of one number each, beside numbers that belong to no weight and sizes that are computed."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(1, 1, 1), nn.PReLU(1), nn.BatchNorm2d(1), nn.ConvTranspose2d(1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(x * 2.5).clamp(-1.0, 1.0)
        share = (x.shape[2] * torch.ones(1)) / 7
        return torch.cat([x, (x * share).clamp_min(0.25), torch.where(x > 0.5, x, 0.75)], 1).flatten(1)


def test_weights_of_one_number_are_on_the_device_too(tmp_path, nets, export, by_onnxruntime):
    network, picture = nets.settled(Narrow()), torch.rand(1, 1, 8, 8)
    options = {"training": torch.onnx.TrainingMode.PRESERVE, "do_constant_folding": False}
    path = export(tmp_path / "a.onnx", network, picture, free=(2, 3), opset=13, **options)
    graph = load_graph(path)
    assert_same(graph(picture), by_onnxruntime(path, picture), 1e-6)
    assert graph.to("meta")(picture.to("meta"))[0].shape == (1, 192)
