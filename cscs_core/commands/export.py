"""`cscs export NAME FILE.onnx`: writes a bundled network as ONNX. The model card describes inputs and outputs."""

from __future__ import annotations

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch

from ..faces.swappers.lite import SIDE
from ..hub import weights
from ..io.console import say
from ..io.files import BadInput, check_writable, placed
from ..models import for_inference

_OPSET = 17


@dataclass(frozen=True)
class Signature:
    """Inputs by name, each (N, *shape), and the name of the output."""

    inputs: dict[str, tuple[int, ...]]
    output: str


SIGNATURES = {
    "encoder": Signature({"crops": (3, 112, 112)}, "embedding"),
    "refiner": Signature(
        {"target": (3, SIDE, SIDE), "laid": (3, SIDE, SIDE), "region": (1, SIDE, SIDE), "z": (128,)}, "change"
    ),
    "restorer": Signature({"crops": (3, 256, 256)}, "change"),
}


def run(options: argparse.Namespace) -> int:
    """Writes the ONNX file, with a dynamic batch size. Raises BadInput if that fails."""
    if options.file.suffix.lower() != ".onnx":
        raise BadInput(f"{options.file}: must end in .onnx")
    check_writable(options.file)
    export(options.name, options.file)
    say(f"{options.file}: {options.name}, opset {_OPSET}, float32")
    return 0


def export(name: str, path: Path) -> None:
    """Writes the bundled network of that name as ONNX. Raises BadInput if the onnx package is missing."""
    try:
        import onnx  # noqa: F401 # torch's exporter would fail only while it writes the file
    except ImportError:
        raise BadInput("cscs export: needs onnx, which is not installed; pip install onnx") from None
    signature = SIGNATURES[name]
    network = for_inference(weights.load_any(weights.LITE / f"{name}.safetensors"))
    example = tuple(torch.rand(2, *shape) for shape in signature.inputs.values())
    names = [*signature.inputs, signature.output]
    with placed(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # such as the deprecation of this exporter, which needs no further package
        torch.onnx.export(
            network.to(memory_format=torch.contiguous_format),  # pyright: ignore[reportCallIssue]
            example,
            str(temporary),
            input_names=names[:-1],
            output_names=names[-1:],
            dynamic_axes={each: {0: "faces"} for each in names},
            opset_version=_OPSET,
            dynamo=False,
        )
