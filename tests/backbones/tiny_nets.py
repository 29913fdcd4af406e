"""A tiny vision transformer and a tiny residual network with fixed random weights: as ONNX graphs, and again in plain numpy."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

Array = npt.NDArray[Any]

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
SIDES, PATCH, WIDTH, HEADS, PREFIX = (32, 48), 8, 12, 2, 2  # 4 x 6 cells; one class and one register token
VIT_LAYERS, RESNET_CHANNELS = (0, 2), {4: 5, 8: 7}
EPSILON = 1e-6


class _Graph:
    """Collects nodes; every call returns the name of what it puts out."""

    def __init__(self, weights: dict[str, Array]) -> None:
        self.constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
        self.nodes: list[Any] = []

    def __call__(self, kind: str, *inputs: str, to: str | None = None, **attributes: Any) -> str:
        name = to or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def shape(self, *values: int) -> str:
        name = f"shape{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(values, np.int64), name))
        return name

    def serialised(self, description: dict[str, Any], outputs: dict[str, list[Any]], sides: list[Any]) -> bytes:
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        start = [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, *sides])]
        graph = helper.make_graph(self.nodes, "tiny", start, ends, self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        helper.set_model_props(model, {"amiss": json.dumps({"mean": MEAN, "std": STD, **description})})
        return bytes(model.SerializeToString())


def normalised(images: Array) -> Array:
    """(N, H, W, 3) in 0..1 to what the network sees, (N, 3, H, W)."""
    return ((images - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2)


# -- the transformer ---------------------------------------------------------------------------------------------------


def vit_weights() -> dict[str, Array]:
    rng = np.random.default_rng(11)
    cells = SIDES[0] // PATCH * (SIDES[1] // PATCH)
    shapes = {"patch": (WIDTH, 3, PATCH, PATCH), "prefix": (1, PREFIX, WIDTH), "places": (1, cells, WIDTH)}
    for block in range(3):
        shapes |= {f"qkv{block}": (WIDTH, 3 * WIDTH), f"out{block}": (WIDTH, WIDTH)}
        shapes |= {f"up{block}": (WIDTH, 2 * WIDTH), f"down{block}": (2 * WIDTH, WIDTH)}
    for norm in ("final", *(f"{half}{block}" for block in range(3) for half in ("first", "second"))):
        shapes |= {f"{norm}.gain": (WIDTH,), f"{norm}.bias": (WIDTH,)}
    spread = {"patch": 0.1}
    return {
        name: (rng.standard_normal(shape) * spread.get(name, 0.4) + name.endswith("gain")).astype(np.float32)
        for name, shape in shapes.items()
    }


def vit_graph() -> bytes:
    """Fixed size 32 x 48; taps after blocks 0 and 2, final LayerNorm on each, prefix tokens dropped; token = class token."""
    node = _Graph(vit_weights() | {"scale": np.float32((WIDTH / HEADS) ** -0.5), "zero": np.float32(0)})
    x = node("Conv", "image", "patch", kernel_shape=[PATCH, PATCH], strides=[PATCH, PATCH])
    x = node("Transpose", node("Reshape", x, node.shape(0, WIDTH, -1)), perm=[0, 2, 1])
    nothing = node("Mul", node("ReduceMean", x, axes=[1], keepdims=1), "zero")  # (N, 1, C): repeats the prefix for each picture
    x = node("Concat", node("Add", nothing, "prefix"), node("Add", x, "places"), axis=1)
    for block in range(3):
        x = node("Add", x, _attention(node, _norm(node, x, f"first{block}"), block))
        hidden = node("Relu", node("MatMul", _norm(node, x, f"second{block}"), f"up{block}"))
        x = node("Add", x, node("MatMul", hidden, f"down{block}"))
        if block in VIT_LAYERS:
            last = _norm(node, x, "final")
            patches = node("Slice", last, node.shape(PREFIX), node.shape(10_000), node.shape(1))
            rows, columns = SIDES[0] // PATCH, SIDES[1] // PATCH
            grid = node("Reshape", node("Transpose", patches, perm=[0, 2, 1]), node.shape(0, WIDTH, rows, columns))
            node("Identity", grid, to=f"block{block}")
    node("Squeeze", node("Slice", last, node.shape(0), node.shape(1), node.shape(1)), node.shape(1), to="class_token")
    taps = [{"name": f"block{block}", "stride": PATCH, "layer": block} for block in VIT_LAYERS]
    outputs = {f"block{block}": ["n", WIDTH, None, None] for block in VIT_LAYERS} | {"class_token": ["n", WIDTH]}
    return node.serialised({"taps": taps, "token": "class_token", "size": SIDES}, outputs, list(SIDES))


def _norm(node: _Graph, x: str, name: str) -> str:
    return node("LayerNormalization", x, f"{name}.gain", f"{name}.bias", epsilon=EPSILON)


def _attention(node: _Graph, x: str, block: int) -> str:
    split = node("Reshape", node("MatMul", x, f"qkv{block}"), node.shape(0, 0, 3, HEADS, WIDTH // HEADS))
    parts = [node("Gather", split, node.shape(place), axis=2) for place in range(3)]
    query, key, value = (
        node("Transpose", node("Squeeze", part, node.shape(2)), perm=[0, 2, 1, 3] if place != 1 else [0, 2, 3, 1])
        for place, part in enumerate(parts)
    )
    weights = node("Softmax", node("Mul", node("MatMul", query, key), "scale"), axis=-1)
    mixed = node("Transpose", node("MatMul", weights, value), perm=[0, 2, 1, 3])
    return node("MatMul", node("Reshape", mixed, node.shape(0, 0, WIDTH)), f"out{block}")


def vit_oracle(image: Array) -> tuple[dict[int, Array], Array]:
    """The same transformer for one picture (H, W, 3): taps as (h, w, C), written cell by cell, and the class token."""
    w = {name: value.astype(np.float64) for name, value in vit_weights().items()}
    x = normalised(image[None])[0]
    rows, columns = SIDES[0] // PATCH, SIDES[1] // PATCH
    tokens = [*w["prefix"][0]]
    for row in range(rows):
        for column in range(columns):
            piece = x[:, row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH]
            tokens.append((w["patch"] * piece).sum(axis=(1, 2, 3)) + w["places"][0, row * columns + column])
    stream, taps = np.array(tokens), {}
    for block in range(3):
        stream = stream + _attended(_normed(stream, w, f"first{block}"), w, block)
        stream = stream + np.maximum(_normed(stream, w, f"second{block}") @ w[f"up{block}"], 0) @ w[f"down{block}"]
        final = _normed(stream, w, "final")
        taps[block] = np.array([[final[PREFIX + row * columns + c] for c in range(columns)] for row in range(rows)])
    return taps, final[0]


def _normed(x: Array, w: dict[str, Array], name: str) -> Array:
    centred = x - x.mean(axis=1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axis=1, keepdims=True) + EPSILON) * w[f"{name}.gain"] + w[f"{name}.bias"]


def _attended(x: Array, w: dict[str, Array], block: int) -> Array:
    size = WIDTH // HEADS
    heads = []
    for head in range(HEADS):
        columns = slice(head * size, (head + 1) * size)
        query, key, value = (part[:, columns] for part in np.split(x @ w[f"qkv{block}"], 3, axis=1))
        attention = np.exp(query @ key.T / np.sqrt(size))
        heads.append(attention / attention.sum(axis=1, keepdims=True) @ value)
    return np.concatenate(heads, axis=1) @ w[f"out{block}"]


# -- the residual network ----------------------------------------------------------------------------------------------


def resnet_weights() -> dict[str, Array]:
    rng = np.random.default_rng(12)
    shapes = {"stem": (5, 3, 3, 3), "a1": (5, 5, 3, 3), "a2": (5, 5, 3, 3)}
    shapes |= {"b1": (7, 5, 3, 3), "b2": (7, 7, 3, 3), "short": (7, 5, 1, 1)}
    return {name: (rng.standard_normal(shape) * 0.25).astype(np.float32) for name, shape in shapes.items()}


def resnet_graph() -> bytes:
    """Any size; stem and maximum pooling to stride 4, one plain block (tap 4), one that halves and projects (tap 8)."""
    node = _Graph(resnet_weights())

    def convolved(x: str, name: str, stride: int = 1, size: int = 3) -> str:
        return node("Conv", x, name, kernel_shape=[size, size], strides=[stride, stride], pads=[size // 2] * 4)

    x = node("Relu", convolved("image", "stem", 2))
    x = node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    x = node("Relu", node("Add", x, convolved(node("Relu", convolved(x, "a1")), "a2")), to="stride4")
    inner = convolved(node("Relu", convolved(x, "b1", 2)), "b2")
    node("Relu", node("Add", convolved(x, "short", 2, 1), inner), to="stride8")
    taps = [{"name": f"stride{stride}", "stride": stride} for stride in RESNET_CHANNELS]
    outputs = {f"stride{stride}": ["n", channels, None, None] for stride, channels in RESNET_CHANNELS.items()}
    return node.serialised({"taps": taps, "token": None, "size": None}, outputs, ["h", "w"])


def resnet_oracle(image: Array) -> dict[int, Array]:
    """The same network for one picture (H, W, 3): taps as (h, w, C)."""
    w = {name: value.astype(np.float64) for name, value in resnet_weights().items()}
    x = np.maximum(_convolved(normalised(image[None])[0], w["stem"], 2), 0)
    x = np.array([[[part.max() for part in row] for row in channel] for channel in _windows(x, 3, 2, -np.inf)])
    x = np.maximum(x + _convolved(np.maximum(_convolved(x, w["a1"]), 0), w["a2"]), 0)
    y = _convolved(x, w["short"], 2) + _convolved(np.maximum(_convolved(x, w["b1"], 2), 0), w["b2"])
    return {4: x.transpose(1, 2, 0), 8: np.maximum(y, 0).transpose(1, 2, 0)}


def _convolved(x: Array, kernel: Array, stride: int = 1) -> Array:
    return np.einsum("chwij,ocij->ohw", _windows(x, kernel.shape[2], stride, 0.0), kernel)


def _windows(x: Array, size: int, stride: int, outside: float) -> Array:
    """(C, h, w, size, size) windows around every stride-th place."""
    pad = size // 2
    padded = np.pad(x, ((0, 0), (pad, pad), (pad, pad)), constant_values=outside)
    return np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(1, 2))[:, ::stride, ::stride]
