"""Frozen networks that turn a picture into feature grids: ONNX graphs that describe themselves."""
