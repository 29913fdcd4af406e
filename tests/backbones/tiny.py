"""A tiny convolutional network as an ONNX backbone, made here with fixed random weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

CHANNELS = {4: 6, 8: 10}
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
DESCRIPTION: dict[str, Any] = {
    "taps": [{"name": "fine", "stride": 4}, {"name": "coarse", "stride": 8}],
    "mean": MEAN, "std": STD, "token": None, "size": None,
}  # fmt: skip


def graph(description: dict[str, Any] | str | None = DESCRIPTION, *, side: int | None = None) -> bytes:
    """A serialised ONNX model: fine (N, 6, h / 4, w / 4) and coarse (N, 10, h / 8, w / 8), both after a ReLU.

    description  what the metadata entry `amiss` says; text as it is, None for no entry     side  a fixed input side
    """
    rng = np.random.default_rng(5)
    kernels = {"k4": rng.standard_normal((6, 3, 5, 5)) * 0.3, "k8": rng.standard_normal((10, 6, 3, 3)) * 0.3}
    constants = [numpy_helper.from_array(value.astype(np.float32), name) for name, value in kernels.items()]
    nodes = [
        helper.make_node("Conv", ["image", "k4"], ["a"], strides=[4, 4], auto_pad="SAME_UPPER"),
        helper.make_node("Relu", ["a"], ["fine"]),
        helper.make_node("Conv", ["fine", "k8"], ["b"], strides=[2, 2], auto_pad="SAME_UPPER"),
        helper.make_node("Relu", ["b"], ["coarse"]),
        helper.make_node("GlobalAveragePool", ["coarse"], ["c"]),
        helper.make_node("Flatten", ["c"], ["token"]),
    ]
    feature = TensorProto.FLOAT
    sides = ["h", "w"] if side is None else [side, side]
    outputs = [
        helper.make_tensor_value_info("fine", feature, ["n", 6, None, None]),
        helper.make_tensor_value_info("coarse", feature, ["n", 10, None, None]),
        helper.make_tensor_value_info("token", feature, ["n", 10]),
    ]
    inputs = [helper.make_tensor_value_info("image", feature, ["n", 3, *sides])]
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, outputs, constants), opset_imports=[helper.make_opsetid("", 17)]
    )
    model.ir_version = 8
    if description is not None:
        text = description if isinstance(description, str) else json.dumps(description)
        helper.set_model_props(model, {"amiss": text})
    return bytes(model.SerializeToString())


def saved(folder: Path, description: dict[str, Any] | str | None = DESCRIPTION, *, side: int | None = None) -> str:
    """The path of the graph in a file."""
    path = folder / "tiny.onnx"
    path.write_bytes(graph(description, side=side))
    return str(path)
