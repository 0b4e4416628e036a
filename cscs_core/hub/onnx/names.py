"""Guesses what network an ONNX file holds from the shapes of its inputs and outputs; for messages only."""

from __future__ import annotations

from collections.abc import Iterable

from ...models.graph import Port
from .reader import OnnxGraph

# Shapes without the batch; several inputs or outputs are sorted as text.
_NAMES = {
    "3x128x128 512 -> 3x128x128": "inswapper",
    "3x256x256 512 -> 1x256x256 3x256x256": "HyperSwap or HifiFace",
    "3x256x256 512 -> 3x256x256": "Ghost or another relative of AEI-Net",
    "3x512x512 512 -> 3x512x512": "SimSwap",
    "3x112x112 3x256x256 -> 3x256x256": "BlendSwap",
    "3x256x256 3x256x256 -> 3x256x256": "UniFace",
    "512 -> 512": "CrossFace",
    "3x112x112 -> 512": "a face encoder that is not an IResNet",
    "3x256x256 -> 3x256x256": "GPEN",
    "3x512x512 -> 3x512x512": "GFPGAN, GPEN or RestoreFormer",
    "3x1024x1024 -> 3x1024x1024": "GPEN",
    "3x2048x2048 -> 3x2048x2048": "GPEN",
    "5x512x512 -> 3x512x512": "FRAN",
    "3x192x192 -> 212": "2d106det",
    "3x192x192 -> 3309": "1k3d68",
    "3x96x96 -> 3": "genderage",
    "3x640x640 -> 20x8400": "YOLO-face",
}
# Detectors: the number of outputs, and their last dimensions: scores, boxes and landmarks.
_DETECTORS = {(9, "1 10 4"): "SCRFD", (6, "1 4"): "SCRFD", (3, "10 2 4"): "RetinaFace", (12, "1 10 4"): "YuNet"}
_EMAP = (512, 512)  # the last initializer of inswapper and its relatives is a projection of the embedding


def described(graph: OnnxGraph) -> str:
    """A network's name, or "an unknown network" and the shapes of its inputs and outputs."""
    inputs, outputs = _listed(graph.inputs), _listed(graph.outputs)
    ends = " ".join(sorted({str(port.shape[-1]) for port in graph.outputs if port.shape}))
    if len(graph.inputs) == 1 and (name := _DETECTORS.get((len(graph.outputs), ends))):
        return name
    if inputs == "3x512x512 number":
        return "CodeFormer"
    last = next(reversed(graph.initializers.values()), None)
    if inputs == "3x256x256 512" and last is not None and last.shape == _EMAP:
        return "InStyleSwapper"
    return _NAMES.get(f"{inputs} -> {outputs}") or f"an unknown network ({inputs or 'nothing'} -> {outputs})"


def _listed(ports: Iterable[Port]) -> str:
    return " ".join(sorted("x".join(str(n or "?") for n in port.shape[1:]) or "number" for port in ports))
