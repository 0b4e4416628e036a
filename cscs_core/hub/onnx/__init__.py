"""ONNX files: read as graphs for torch, matched with the CSCS networks, or run by onnxruntime.

The operators themselves are in `models.operators`.
"""
