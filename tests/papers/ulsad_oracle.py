"""ULSAD once more: plain float64 loops written from its equations and its table of layers, one place after another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.kit.oracles import bins
from tests.papers.oracles import cells, cosine

Array = npt.NDArray[Any]


def difference(first: Array, second: Array, balance: float = 0.5) -> Array:
    """D of two grids (C, h, w): the mean over channels of (u - v)^2, plus balance (1 - cos(u, v)); (h, w)."""
    out = np.zeros(first.shape[1:])
    for place in cells(*out.shape):
        u, v = first[(slice(None), *place)].astype(float), second[(slice(None), *place)].astype(float)
        out[place] = sum((a - b) ** 2 for a, b in zip(u, v, strict=True)) / len(u) + balance * (
            1 - (cosine(u, v) if u.any() and v.any() else 0.0)
        )
    return out


def attended(queries: Array, teacher: Array) -> Array:
    """softmax(Q Z^T / sqrt(d)) Z over the places of (C, h, w): no projections, one query after another."""
    out = np.zeros(queries.shape)
    places = cells(*queries.shape[1:])
    tokens = [teacher[(slice(None), *place)].astype(float) for place in places]
    for place in places:
        query = queries[(slice(None), *place)].astype(float)
        logits = np.array([query @ token / np.sqrt(len(query)) for token in tokens])
        weights = np.exp(logits - logits.max())
        out[(slice(None), *place)] = sum(w * token for w, token in zip(weights / weights.sum(), tokens, strict=True))
    return out


def losses(teacher: Array, rebuilt: Array, guessed: Array, told: Array, balance: float = 0.5) -> tuple[float, float, float]:
    """L_pl, L_pg, L_lg of batches (N, C, h, w): means over pictures and places of D(Z, Zl), D(T, C) and D(A, Gl)."""
    parts = []
    for z, local, guess, answer in zip(teacher, rebuilt, guessed, told, strict=True):
        parts.append(
            [
                difference(z, local, balance).mean(),
                difference(attended(z, z), attended(answer, z), balance).mean(),
                difference(answer, guess, balance).mean(),
            ]
        )
    picked, linked, agreed = np.mean(parts, axis=0)
    return float(picked), float(linked), float(agreed)


def levels(maps: Sequence[Array]) -> tuple[float, float]:
    """The 0.90 and 0.995 quantiles of all values of the good parts' maps, linear between ranks."""
    ranked = sorted(float(value) for grid in maps for value in np.ravel(grid))
    out = []
    for share in (0.90, 0.995):
        rank = share * (len(ranked) - 1)
        below = int(np.floor(rank))
        above = min(below + 1, len(ranked) - 1)
        out.append(ranked[below] + (rank - below) * (ranked[above] - ranked[below]))
    return out[0], out[1]


def normalised(grid: Array, quantiles: Sequence[float]) -> Array:
    """0.1 (map - qa) / (qb - qa)."""
    low, high = quantiles
    return 0.1 * (grid - low) / (high - low)


def pooled(grid: Array, channels: int) -> Array:
    """(C, h, w) to that many channels: the mean of each adaptive bin along the channels."""
    return np.stack([grid[start:stop].mean(axis=0) for start, stop in bins(len(grid), channels)])


def moments(grids: Sequence[Array]) -> tuple[Array, Array]:
    """Mean and deviation of each channel (C,) over all places of all pictures (C, h, w); 1 where a channel never varies."""
    count = sum(grid[0].size for grid in grids)
    mean = sum(grid.astype(float).sum(axis=(1, 2)) for grid in grids) / count
    spread = sum(((grid.astype(float) - mean[:, None, None]) ** 2).sum(axis=(1, 2)) for grid in grids) / count
    return np.asarray(mean), np.sqrt(np.where(spread > 0, spread, 1))


# -- the networks' layers ----------------------------------------------------------------------------------------------

# kind, channels in, channels out, kernel, stride, padding, followed by
LOCAL = [
    ("conv", 384, 768, 3, 2, 1, "norm, relu"),
    ("conv", 768, 1536, 3, 2, 1, "norm, relu"),
    ("conv", 1536, 1536, 3, 1, 1, "norm"),
    ("deconv", 1536, 768, 4, 2, 1, "norm, relu"),
    ("deconv", 768, 384, 4, 2, 1, "norm, relu"),
    ("deconv", 384, 768, 5, 1, 2, "norm, relu"),
]
ENCODER = [(3, 32, 4, 2, 1), (32, 32, 4, 2, 1), (32, 64, 4, 2, 1), (64, 64, 4, 2, 1), (64, 64, 4, 2, 1), (64, 64, 8, 1, 0)]


def local_weights() -> int:
    """Weights of the convolutions of the local network, without biases and norms."""
    return sum(a * b * kernel**2 for _, a, b, kernel, _, _, _ in LOCAL)


def global_sizes(side: int) -> list[tuple[int, int]]:
    """Input and output side of every convolution of the global network, for a picture of that side."""
    sizes, now = [], side
    for _, _, kernel, stride, padding in [*ENCODER[:5], (64, 64, side // 32, 1, 0)]:
        after = (now + 2 * padding - kernel) // stride + 1
        sizes.append((now, after))
        now = after
    for target in (side // 64 - 1, side // 32, side // 16 - 1, side // 8 - 1, side // 4 - 1):
        sizes.append((target, target + 2 * 2 - 4 + 1))
    return [*sizes, (side // 8, side // 8), (side // 8, side // 8)]
