"""The grid routines once more, cell by cell in float64, straight from their definitions."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def met(grid: Array, row: int, column: int, border: str) -> Array:
    """The features at a place that may lie outside the grid."""
    h, w, channels = grid.shape
    if border == "zero":
        return grid[row, column].astype(float) if 0 <= row < h and 0 <= column < w else np.zeros(channels)
    return grid[inside(row, h, border), inside(column, w, border)].astype(float)


def inside(index: int, length: int, border: str) -> int:
    if border == "replicate":
        return min(max(index, 0), length - 1)
    return -index - 1 if index < 0 else 2 * length - 1 - index if index >= length else index


def neighbourhoods(grid: Array, size: int, border: str) -> Array:
    """(h, w, C, size, size), one cell after another."""
    h, w, channels = grid.shape
    reach = size // 2
    if border == "reflect" and reach > min(h, w):
        border = "replicate"  # nothing left to mirror
    out = np.zeros((h, w, channels, size, size))
    for r in range(h):
        for c in range(w):
            for i in range(size):
                for j in range(size):
                    out[r, c, :, i, j] = met(grid, r + i - reach, c + j - reach, border)
    return out


def bins(length: int, count: int) -> list[tuple[int, int]]:
    """Where torch's adaptive pooling starts and stops: floor(i L / n) to ceil((i + 1) L / n)."""
    return [(int(np.floor(i * length / count)), int(np.ceil((i + 1) * length / count))) for i in range(count)]


def along(values: Array, target: int) -> Array:
    """One axis (the first) resampled: mean over bins where it shrinks, linear between cell centres where it grows."""
    source = len(values)
    if target <= source:
        return np.stack([values[a:b].mean(axis=0) for a, b in bins(source, target)])
    out = []
    for i in range(target):
        y = min(max((i + 0.5) * source / target - 0.5, 0.0), source - 1.0)
        below = int(np.floor(y))
        above = min(below + 1, source - 1)
        out.append(values[below] + (y - below) * (values[above] - values[below]))
    return np.stack(out)


def resampled(grid: Array, shape: tuple[int, int]) -> Array:
    rows = along(grid.astype(float), shape[0])
    return along(rows.swapaxes(0, 1), shape[1]).swapaxes(0, 1)
