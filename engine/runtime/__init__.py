"""Graphs run by ONNX Runtime, and made fast for it."""
