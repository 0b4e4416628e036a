"""`cscs export NAME FILE.onnx`: a bundled network for other programs. What it takes and gives is in the model card."""

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
    """Inputs by name, each (N, *shape), and the output."""

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
    """Writes the ONNX file, for any batch."""
    if options.file.suffix.lower() != ".onnx":
        raise BadInput(f"{options.file}: must end in .onnx")
    check_writable(options.file)
    export(options.name, options.file)
    say(f"{options.file}: {options.name}, opset {_OPSET}, float32")
    return 0


def export(name: str, path: Path) -> None:
    """The bundled network of that name. Raises BadInput if the package that writes ONNX is missing."""
    try:
        import onnx  # noqa: F401 # torch's exporter asks for it only when the file is being written
    except ImportError:
        raise BadInput("cscs export: needs onnx, which is not installed; pip install onnx") from None
    signature = SIGNATURES[name]
    network = for_inference(weights.load_model(weights.LITE / f"{name}.safetensors"))
    example = tuple(torch.rand(2, *shape) for shape in signature.inputs.values())
    names = [*signature.inputs, signature.output]
    with placed(path) as beside, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no further package says that it is old, and more
        torch.onnx.export(
            network.to(memory_format=torch.contiguous_format),  # pyright: ignore[reportCallIssue]
            example,
            str(beside),
            input_names=names[:-1],
            output_names=names[-1:],
            dynamic_axes={each: {0: "faces"} for each in names},
            opset_version=_OPSET,
            dynamo=False,
        )
