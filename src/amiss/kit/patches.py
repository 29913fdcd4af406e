"""Feature grids to patch vectors: neighbourhood pooling, and several layers on one grid.

Source: Roth et al., PatchCore (2022), section 3.1; every routine here is separable, so each axis is one small matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amiss.kit.extract import Features

Array = npt.NDArray[Any]
Upsampling = Literal["bilinear", "nearest"]

BORDERS = {"zero": "constant", "replicate": "edge", "reflect": "symmetric"}


def on_grid(
    features: Features,
    shape: tuple[int, int],
    *,
    pooling: int = 1,
    border: str = "zero",
    upsampling: Upsampling = "bilinear",
) -> list[Array]:
    """Every layer of a sample on one grid, each patch the mean of its neighbourhood on the layer's own grid.

    shape  (rows, columns)     return  one (P, C_l) float32 a layer
    """
    grids = (pool(features.grid(index), pooling, border=border) for index in range(len(features.layers)))
    return [regrid(grid, shape, upsampling).reshape(shape[0] * shape[1], -1) for grid in grids]


def unit(vectors: Array) -> Array:
    """Rows divided by their length; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, 1e-12), np.float32)


def evened(vectors: Array) -> Array:
    """Rows divided by their mean length, which takes out exposure: (P, C)."""
    return np.asarray(vectors / max(float(np.linalg.norm(vectors, axis=1).mean()), 1e-12))


def pool(grid: Array, size: int, *, border: str) -> Array:
    """Mean of each cell's size x size neighbourhood.

    grid  (h, w, C)     size  odd, cells     border  "zero" (padding counts as features), "replicate" or "reflect"
    return  (h, w, C)
    """
    if size == 1:
        return grid
    padded = _padded(grid, size // 2, border)
    height, width = grid.shape[:2]
    rows = sum((padded[i : i + height] for i in range(1, size)), start=padded[:height])
    total = sum((rows[:, j : j + width] for j in range(1, size)), start=rows[:, :width])
    return np.asarray(total / np.float32(size * size), grid.dtype)


def unfold(grid: Array, size: int, *, border: str) -> Array:
    """Each cell's whole neighbourhood, channel by channel.

    grid  (h, w, C)     return  (h, w, C * size * size), channel-major as torch's unfold
    """
    padded = _padded(grid, size // 2, border)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), axis=(0, 1))  # (h, w, C, size, size)
    return windows.reshape(*grid.shape[:2], -1)


def cell_box(place: int, frame: Sequence[int] | Array) -> tuple[int, int, int, int]:
    """The box (top, left, bottom, right) in pixels of one grid cell.

    place  flat index     frame  grid rows, grid columns, picture height, picture width
    """
    rows, columns, height, width = (int(value) for value in frame)
    row, column = divmod(place, columns)
    return (
        row * height // rows, column * width // columns,
        -(-(row + 1) * height // rows), -(-(column + 1) * width // columns),
    )  # fmt: skip


def _padded(grid: Array, reach: int, border: str) -> Array:
    """The grid with `reach` more cells on each side."""
    if border == "reflect" and reach > min(grid.shape[:2]):
        border = "replicate"  # a grid smaller than the neighbourhood has nothing to mirror
    padded: Array = np.pad(grid, ((reach, reach), (reach, reach), (0, 0)), mode=BORDERS[border])  # type: ignore[call-overload]
    return padded


def squeeze(vectors: Array, channels: int) -> Array:
    """Adaptive mean over the last axis: C values to `channels` values, overlapping bins as torch's adaptive pooling.

    vectors  (..., C)     return  (..., channels)
    """
    return np.asarray(vectors @ _area(vectors.shape[-1], channels).T, np.float32)


def regrid(grid: Array, shape: tuple[int, int], upsampling: Upsampling = "bilinear") -> Array:
    """A feature grid brought to another number of cells: bilinear or nearest where it grows, area mean where it shrinks.

    grid  (h, w, C)     shape  (h', w')     return  (h', w', C) float32
    """
    if grid.shape[:2] == shape:
        return grid
    rows = np.tensordot(_resample(grid.shape[0], shape[0], upsampling), grid, axes=(1, 0))  # (h', w, C)
    columns = _resample(grid.shape[1], shape[1], upsampling)
    return np.ascontiguousarray(np.matmul(columns, rows), dtype=np.float32)  # (h', w', C)


def places(features: Features, stride: int | None) -> tuple[int, int]:
    """Rows and columns of a grid with one cell every `stride` pixels of what the network saw; the finest layer's for None."""
    if stride is None:
        return max(features.grids)
    return max(1, -(-features.size[0] // stride)), max(1, -(-features.size[1] // stride))


def _resample(source: int, target: int, upsampling: Upsampling) -> Array:
    if target < source:
        return _area(source, target)
    return _bilinear(source, target) if upsampling == "bilinear" else _nearest(source, target)


@lru_cache(maxsize=256)
def _nearest(source: int, target: int) -> Array:
    """(target, source) weights that copy the source cell under each target cell's centre."""
    weights = np.zeros((target, source), np.float32)
    weights[np.arange(target), ((np.arange(target) + 0.5) * source / target).astype(int)] = 1
    return weights


@lru_cache(maxsize=256)
def _bilinear(source: int, target: int) -> Array:
    """(target, source) weights of linear interpolation between cell centres; edges replicate."""
    centres = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    low = np.minimum(centres.astype(int), max(source - 2, 0))
    share = centres - low
    weights = np.zeros((target, source), np.float32)
    weights[np.arange(target), low] = 1 - share
    weights[np.arange(target), np.minimum(low + 1, source - 1)] += share
    return weights


@lru_cache(maxsize=256)
def _area(source: int, target: int) -> Array:
    """(target, source) weights of the mean over each target bin; bins are rounded outwards to whole cells."""
    weights = np.zeros((target, source), np.float32)
    for i in range(target):
        start, stop = i * source // target, -(-(i + 1) * source // target)
        weights[i, start:stop] = 1 / (stop - start)
    return weights
