"""ONNX files as networks of torch."""

from __future__ import annotations

from pathlib import Path

import torch

from cscs_core.hub.onnx.torch_graph import read_graph
from cscs_core.models.graph import GraphNet


def load_graph(path: Path) -> GraphNet:
    """The network of an ONNX file, in evaluation mode. Raises BadInput as `read_graph` does."""
    config, tensors = read_graph(path)
    with torch.device("meta"):
        network = GraphNet(config)
    network.load_state_dict(tensors, strict=True, assign=True)
    return network.eval().requires_grad_(False)
