"""The encoder of Point-MAE in numpy, written from its description, slow and plain; float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import erf

Array = npt.NDArray[Any]


def tokens(
    weights: Mapping[str, Array], groups: Array, centres: Array, *, heads: int, taps: tuple[int, ...], batch: bool
) -> Array:
    """(G, M, 3) and (G, 3) to (G, taps * width); weights by the names of the authors' code."""
    w = {name: np.asarray(value, np.float64) for name, value in weights.items()}
    x = group_vectors(w, groups, batch=batch)
    positions = np.stack([linear(w, "pos_embed.2", gelu(linear(w, "pos_embed.0", centre))) for centre in centres])
    depth = 1 + max(int(name.split(".")[2]) for name in w if name.startswith("blocks."))
    found = []
    for number in range(depth):
        x = block(w, f"blocks.blocks.{number}", x + positions, heads)
        if number + 1 in taps:
            found.append(normalised(w, "norm", x))
    return np.concatenate(found, axis=1)


def group_vectors(w: Mapping[str, Array], groups: Array, *, batch: bool) -> Array:
    """(G, M, 3) to (G, width)."""
    count, members, _ = groups.shape
    points = groups.reshape(-1, 3)
    hidden = np.maximum(batch_norm(w, "encoder.first_conv.1", linear(w, "encoder.first_conv.0", points), batch), 0)
    local = linear(w, "encoder.first_conv.3", hidden)
    whole = local.reshape(count, members, -1).max(axis=1)
    joined = np.concatenate([np.repeat(whole, members, axis=0), local], axis=1)
    hidden = np.maximum(batch_norm(w, "encoder.second_conv.1", linear(w, "encoder.second_conv.0", joined), batch), 0)
    return linear(w, "encoder.second_conv.3", hidden).reshape(count, members, -1).max(axis=1)


def block(w: Mapping[str, Array], name: str, x: Array, heads: int) -> Array:
    x = x + linear(w, f"{name}.attn.proj", attention(w, name, normalised(w, f"{name}.norm1", x), heads))
    hidden = gelu(linear(w, f"{name}.mlp.fc1", normalised(w, f"{name}.norm2", x)))
    return x + linear(w, f"{name}.mlp.fc2", hidden)


def attention(w: Mapping[str, Array], name: str, x: Array, heads: int) -> Array:
    width = x.shape[1]
    side = width // heads
    queries, keys, values = (x @ part.T for part in np.split(w[f"{name}.attn.qkv.weight"], 3))
    out = np.empty_like(x)
    for head in range(heads):
        own = slice(head * side, (head + 1) * side)
        for row in range(len(x)):
            logits = keys[:, own] @ queries[row, own] / np.sqrt(side)
            share = np.exp(logits - logits.max())
            out[row, own] = share @ values[:, own] / share.sum()
    return out


def linear(w: Mapping[str, Array], name: str, x: Array) -> Array:
    matrix = w[f"{name}.weight"].reshape(len(w[f"{name}.weight"]), -1)
    return x @ matrix.T + w[f"{name}.bias"]


def batch_norm(w: Mapping[str, Array], name: str, x: Array, batch: bool) -> Array:
    mean, variance = (x.mean(axis=0), x.var(axis=0)) if batch else (w[f"{name}.running_mean"], w[f"{name}.running_var"])
    return (x - mean) / np.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def normalised(w: Mapping[str, Array], name: str, x: Array) -> Array:
    mean, variance = x.mean(axis=1, keepdims=True), x.var(axis=1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]


def gelu(x: Array) -> Array:
    return np.asarray(0.5 * x * (1 + erf(x / np.sqrt(2))))
