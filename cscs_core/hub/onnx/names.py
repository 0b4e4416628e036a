"""What the network in an ONNX file seems to be, from the shapes that go in and out: for messages only."""

from __future__ import annotations

from collections.abc import Iterable

from .dataflow import Graph, Shape

# Without the batch; several inputs or outputs in the order of the alphabet.
_NAMES = {
    "3x128x128 512 -> 3x128x128": "inswapper",
    "3x256x256 512 -> 1x256x256 3x256x256": "HyperSwap or HifiFace",
    "3x256x256 512 -> 3x256x256": "Ghost or another relative of AEI-Net",
    "3x512x512 512 -> 3x512x512": "SimSwap",
    "3x112x112 3x256x256 -> 3x256x256": "BlendSwap",
    "3x256x256 3x256x256 -> 3x256x256": "UniFace",
    "512 -> 512": "CrossFace",
    "3x112x112 -> 512": "an encoder that is no IResNet",
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
# Detectors: how many outputs, and their last lengths, of scores, boxes and points.
_DETECTORS = {(9, "1 10 4"): "SCRFD", (6, "1 4"): "SCRFD", (3, "10 2 4"): "RetinaFace", (12, "1 10 4"): "YuNet"}
_EMAP = (512, 512)  # the last initialiser of inswapper and its relatives projects the embedding


def described(graph: Graph) -> str:
    """A network's name, or "an unknown network" and what goes in and out."""
    inputs, outputs = _listed(graph.inputs.values()), _listed(graph.outputs.values())
    ends = " ".join(sorted({str(shape[-1]) for shape in graph.outputs.values() if shape}))
    if len(graph.inputs) == 1 and (name := _DETECTORS.get((len(graph.outputs), ends))):
        return name
    if inputs == "3x512x512 number":
        return "CodeFormer"
    if inputs == "3x256x256 512" and graph.stored and graph.constants[graph.stored[-1]].shape == _EMAP:
        return "InStyleSwapper"
    return _NAMES.get(f"{inputs} -> {outputs}") or f"an unknown network ({inputs or 'nothing'} -> {outputs})"


def _listed(shapes: Iterable[Shape]) -> str:
    return " ".join(sorted("x".join(str(n or "?") for n in shape[1:]) or "number" for shape in shapes))
