"""A bank of vectors that answers: which are nearest, and how far.

Exact blocked search in float32. Inside a block ||q - b||^2 is ranked by q.b - |b|^2 / 2, one matrix product, both moved
by the bank's mean; the winners are then measured by direct difference, so that the distances carry no cancellation error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadField

Array = npt.NDArray[Any]

_BLOCK = 1 << 22  # products held at once: 16 MB


@dataclass(frozen=True, eq=False)
class MemoryBank:
    """vectors  (N, C) float32     rows  (N, 3) int32: index of the sample, place within it, group"""

    vectors: Array
    rows: Array
    _centre: Array = field(init=False, repr=False)
    _ranked: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or not len(self.vectors) or self.rows.shape != (len(self.vectors), 3):
            raise BadField(f"a bank needs (N, C) vectors and (N, 3) rows; met {self.vectors.shape}, {self.rows.shape}")
        centre = self.vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        ranked = np.empty((len(self.vectors), len(centre) + 1), np.float32)
        centred = np.subtract(self.vectors, centre, out=ranked[:, :-1])  # close to the origin, so that products lose little
        ranked[:, -1] = -0.5 * np.einsum("ij,ij->i", centred, centred)
        object.__setattr__(self, "_centre", centre)
        object.__setattr__(self, "_ranked", ranked)

    def __len__(self) -> int:
        return len(self.vectors)

    def joined(self, other: MemoryBank) -> MemoryBank:
        """Both in one, the other's vectors after its own."""
        return MemoryBank(np.concatenate([self.vectors, other.vectors]), np.concatenate([self.rows, other.rows]))

    def nearest(self, queries: Array, k: int = 1, *, allowed: Array | None = None) -> tuple[Array, Array]:
        """The k nearest vectors of every query, nearest first.

        queries  (Q, C)     k  1..N     allowed  bool (N,) or (Q, N): which vectors may answer | None for all
        return  distances (Q, k) Euclidean (not squared), float32; indices (Q, k); where fewer than k vectors are
                allowed the distance is inf and the index -1
        raises  BadField when k is not in 1..N
        """
        if not 1 <= k <= len(self):
            raise BadField(f"k = {k} neighbours asked of a bank of {len(self)}; choose k from 1 to {len(self)}")
        lifted = np.ones((len(queries), len(self._centre) + 1), np.float32)
        np.subtract(queries, self._centre, out=lifted[:, :-1], casting="same_kind")
        step = max(1, _BLOCK // max(1, min(len(queries), 2048)))
        distances = np.empty((len(queries), k), np.float32)
        indices = np.empty((len(queries), k), np.int64)
        for first in range(0, len(queries), 2048):
            part = slice(first, first + 2048)
            mask = allowed if allowed is None or allowed.ndim == 1 else allowed[part]
            indices[part] = self._search(lifted[part], k, mask, step)
            distances[part] = self._distances(queries[part], indices[part])
        order = np.argsort(distances, axis=1, kind="stable")
        return np.take_along_axis(distances, order, 1), np.take_along_axis(indices, order, 1)

    def _search(self, lifted: Array, k: int, allowed: Array | None, step: int) -> Array:
        """Indices (Q, k) of the largest q.b - |b|^2 / 2, unordered; -1 where nothing is allowed."""
        rows = np.arange(len(lifted))[:, None]
        best = np.full((len(lifted), k), -np.inf, np.float32)
        winners = np.full((len(lifted), k), -1, np.int64)
        for start in range(0, len(self), step):
            closeness = lifted @ self._ranked[start : start + step].T  # (Q, block)
            if allowed is not None:
                closeness[~np.broadcast_to(allowed[..., start : start + step], closeness.shape)] = -np.inf
            found = _largest(closeness, min(k, closeness.shape[1]))
            values = np.concatenate([best, closeness[rows, found]], axis=1)
            places = np.concatenate([winners, found + start], axis=1)
            kept = _largest(values, k)
            best, winners = values[rows, kept], places[rows, kept]
        winners[np.isneginf(best)] = -1
        return winners

    def _distances(self, queries: Array, indices: Array) -> Array:
        out = np.empty(indices.shape, np.float32)
        for column in range(indices.shape[1]):
            difference = queries - self.vectors[indices[:, column]]
            out[:, column] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
        out[indices < 0] = np.inf
        return out


def _largest(values: Array, k: int) -> Array:
    """Indices (Q, k) of the k largest of every row; the first of equals where k is 1."""
    if k == 1:
        return np.asarray(values.argmax(axis=1))[:, None]
    if k == values.shape[1]:
        return np.asarray(np.broadcast_to(np.arange(k), values.shape))
    return np.asarray(np.argpartition(-values, k - 1, axis=1)[:, :k])
