"""Mutual scoring of a pool: what few other samples can match is odd, although nobody said which samples are good.

Source: Li et al., MuSc (ICLR 2024), sections 3.1 and 3.2; MuSc-V2 (2026), arXiv 2511.10047. One matrix product of two samples
serves both directions: its row maxima lead to the distances from the first to the second, its column maxima to those back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_BLOCK = 1 << 22  # products held at once: 16 MB


def neighbourhoods(grid: Array, degrees: tuple[int, ...], *, similarity: bool, temperature: float = 1.0) -> list[Array]:
    """Weighted mean of each cell's r x r neighbourhood, for every degree r; what lies beyond the border counts as zeros.

    grid  (h, w, C)     degrees  odd     return  one (h * w, C) a degree
    similarity  weights exp(-distance to the middle / temperature) (SNAMD), or equal ones (LNAMD)
    """
    height, width, channels = grid.shape
    reach = max(degrees) // 2
    padded = np.pad(grid, ((reach, reach), (reach, reach), (0, 0)))
    sums = [np.zeros(grid.shape, np.float32) for _ in degrees]
    weights = [np.zeros((height, width, 1), np.float32) for _ in degrees]
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            moved = padded[reach + down : reach + down + height, reach + right : reach + right + width]
            weight = np.ones((height, width, 1), np.float32)
            if similarity:
                weight = np.exp(-np.linalg.norm(moved - grid, axis=2, keepdims=True) / np.float32(temperature))
            for index, degree in enumerate(degrees):
                if max(abs(down), abs(right)) <= degree // 2:
                    sums[index] += weight * moved
                    weights[index] += weight
    return [(total / weight).reshape(-1, channels) for total, weight in zip(sums, weights, strict=True)]


def standardised(grid: Array) -> Array:
    """A grid less its mean, divided by its standard deviation, both over all cells and channels (LayerNorm of MuSc v1)."""
    return np.asarray((grid - grid.mean()) / max(float(grid.std()), 1e-12), np.float32)


def pool_distances(vectors: Array, counts: Array, progress: Callable[[int, int], None]) -> Array:
    """Smallest distance of every vector of a pool to the vectors of every other sample in it.

    vectors  (sum of counts, C), sample after sample     counts  (N,)     progress  called with (done, N)
    return  (sum of counts, N) Euclidean; infinite where a vector would meet its own sample
    """
    half = 0.5 * np.einsum("ij,ij->i", vectors, vectors)
    starts = np.concatenate([[0], np.cumsum(counts)])
    out = np.full((len(vectors), len(counts)), np.inf, np.float32)
    for index in range(len(counts)):
        rows = slice(starts[index], starts[index + 1])
        for first, last in _blocks(counts, index + 1, int(counts[index])):
            columns = slice(starts[first], starts[last])
            closeness = vectors[rows] @ vectors[columns].T
            closeness -= half[columns]
            forth = np.maximum.reduceat(closeness, starts[first:last] - starts[first], axis=1)
            out[rows, first:last] = half[rows, None] - forth
            closeness -= half[rows, None]
            out[columns, index] = -closeness.max(axis=0)
        progress(index + 1, len(counts))
    return np.asarray(np.sqrt(np.maximum(2 * out, 0, out=out), out=out))


def distances(sample: Array, vectors: Array, counts: Array) -> Array:
    """Smallest distance of every vector of one sample to the vectors of every sample of a pool.

    sample  (L, C)     vectors, counts  as in pool_distances     return  (L, N) Euclidean
    """
    starts = np.concatenate([[0], np.cumsum(counts)])
    own = 0.5 * np.einsum("ij,ij->i", sample, sample)[:, None]
    out = np.empty((len(sample), len(counts)), np.float32)
    for first, last in _blocks(counts, 0, len(sample)):
        block = np.asarray(vectors[starts[first] : starts[last]], np.float32)
        closeness = sample @ block.T
        closeness -= 0.5 * np.einsum("ij,ij->i", block, block)
        out[:, first:last] = own - np.maximum.reduceat(closeness, starts[first:last] - starts[first], axis=1)
    return np.asarray(np.sqrt(np.maximum(2 * out, 0)))


def lowest_mean(values: Array, share: float, count: int) -> Array:
    """Mean of the lowest floor(share * count) values of every row, one at least (the interval average of MSM).

    values  (L, N), infinite where there is none     count  finite values in a row     return  (L,)
    """
    kept = max(1, int(share * count + 1e-9))
    return np.asarray(np.partition(values, kept - 1, axis=1)[:, :kept].mean(axis=1))


def constrained(
    scores: Array, descriptors: Array, windows: tuple[int, ...], low: float, high: float, rows: slice = slice(None)
) -> Array:
    """Scores drawn towards those of the most similar samples (RsCon).

    scores  (N,)     descriptors  (N, C) unit length     low, high  the range that scores are measured in
    windows  how many of the most similar samples, itself among them, are averaged; the results are averaged too
    rows  the samples whose scores are wanted
    return  (rows,), 0 at `low` and 1 at `high`, beyond them outside the range
    """
    span = (scores - low) / (high - low if high > low else 1.0)
    if not windows:
        return np.asarray(span[rows])
    similarity = np.asarray(descriptors[rows] @ descriptors.T, np.float64)
    return np.asarray(np.mean([_drawn(similarity, span, span[rows], min(k, len(scores))) for k in windows], axis=0))


def _drawn(similarity: Array, scores: Array, own: Array, k: int) -> Array:
    """Mean of the k most similar samples' scores, weighted by their similarity; where that is not positive, the own score."""
    order = np.argsort(-similarity, axis=1, kind="stable")[:, :k]
    weights = np.maximum(np.take_along_axis(similarity, order, 1), 0)
    total = weights.sum(axis=1)
    drawn = (weights * scores[order]).sum(axis=1) / np.maximum(total, 1e-12)
    return np.where(total > 0, drawn, own)


def _blocks(counts: Array, start: int, rows: int) -> Iterator[tuple[int, int]]:
    """Runs of samples whose product with `rows` vectors fits into a block, from `start` on."""
    first, held = start, 0
    for index in range(start, len(counts)):
        if held and (held + counts[index]) * rows > _BLOCK:
            yield first, index
            first, held = index, 0
        held += int(counts[index])
    if first < len(counts):
        yield first, len(counts)
