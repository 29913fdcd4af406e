"""A small encoder of points made by hand: a token is the mean of its group, then where its centre lies."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from amiss.backbones.points import ENTRY, Encoding

SMALL = Encoding(taps=(1,), channels=6, groups=64, members=12)


def encoder(encoding: Encoding = SMALL, *, entry: str | None = None, output: str = "tokens", times: float = 1.0) -> bytes:
    """entry  the metadata in place of what describes it; "" for none     times  what tokens are multiplied by"""
    nodes = [
        helper.make_node("ReduceMean", ["groups", "axes"], ["means"], keepdims=0),
        helper.make_node("Concat", ["means", "centres"], ["joined"], axis=2),
        helper.make_node("Mul", ["joined", "times"], [output]),
    ]
    constants = [numpy_helper.from_array(np.array([2], np.int64), "axes"), numpy_helper.from_array(np.float32(times), "times")]
    inputs = [
        helper.make_tensor_value_info("groups", TensorProto.FLOAT, [1, "g", "m", 3]),
        helper.make_tensor_value_info("centres", TensorProto.FLOAT, [1, "g", 3]),
    ]
    outputs = [helper.make_tensor_value_info(output, TensorProto.FLOAT, [1, "g", 6])]
    model: Any = helper.make_model(
        helper.make_graph(nodes, "means", inputs, outputs, constants), opset_imports=[helper.make_opsetid("", 18)]
    )
    model.ir_version = 8
    told = encoding.to_json() if entry is None else entry
    if told:
        helper.set_model_props(model, {ENTRY: told})
    checker.check_model(model)
    return bytes(model.SerializeToString())
