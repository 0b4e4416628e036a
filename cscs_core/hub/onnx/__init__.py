"""ONNX files: read once, then matched with the CSCS networks, converted to graphs for torch, or run by onnxruntime.

The operators themselves are in `models.operators`.
"""
