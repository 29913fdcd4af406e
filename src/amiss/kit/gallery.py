"""Whole pictures kept for comparison: which are most alike, and where in them lies the nearest patch.

A bank without a coreset. The patches of a layer lie position by position, (P, N, C): all pictures' vectors of one cell are
neighbours in memory, so that a search that looks at a few cells reads a few blocks. Every cell is read once a query picture:
the queries whose window holds the cell are multiplied with it together.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amiss.contract import State
from amiss.errors import BadField, BadModelFile
from amiss.kit.threads import one_thread

Array = npt.NDArray[Any]
Precision = Literal["half", "single"]
log = logging.getLogger(__name__)

_BLOCK = 1 << 20  # bank values widened at once, and products held at once, unless one cell of all pictures takes more


@dataclass(frozen=True, eq=False)
class Gallery:
    """layers  one (P_l, N, C_l) float16 or float32 a layer     tokens  (N, C) float32     grids  each layer's (rows, columns)

    The vectors are those of `layers`; where they fit into memory a search uses a float32 copy, for widening half precision
    anew in every search costs time. Searches subtract a layer's centre first, so that products lose little far from the origin.
    """

    layers: tuple[Array, ...]
    tokens: Array
    grids: tuple[tuple[int, int], ...]
    wide: tuple[Array, ...] | None = None
    _norms: dict[int, Array] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        for layer, grid in zip(self.layers, self.grids, strict=True):
            if layer.ndim != 3 or layer.shape[:2] != (grid[0] * grid[1], len(self.tokens)) or not len(self.tokens):
                raise BadField(f"a gallery of {len(self.tokens)} pictures on a grid {grid} needs (P, N, C); met {layer.shape}")

    def __len__(self) -> int:
        return len(self.tokens)

    def arrays(self) -> dict[str, Array]:
        """What a model file keeps."""
        layers = {f"layer_{index}": layer for index, layer in enumerate(self.layers)}
        return {**layers, "tokens": self.tokens, "grids": np.array(self.grids, np.int32)}

    @classmethod
    def restored(cls, state: State, *, memory: int) -> Gallery:
        """The gallery in a model file.

        memory  bytes of float32 copies that may be held     raises  BadModelFile
        """
        tokens, grids = state.array("tokens", (None, None)), state.array("grids", (None, 2), kind="i")
        cells = [(int(rows), int(columns)) for rows, columns in grids]
        if not len(tokens) or not cells or grids.min() < 1 or f"layer_{len(cells)}" in state.arrays:
            raise BadModelFile("its gallery does not fit its pictures; fit it again")
        layers = [state.array(f"layer_{i}", (r * c, len(tokens), None)) for i, (r, c) in enumerate(cells)]
        return cls(tuple(layers), tokens, tuple(cells), _wide(layers, memory))

    def alike(self, token: Array, k: int) -> tuple[Array, Array]:
        """The k pictures whose descriptors lie nearest, nearest first; all of them where there are fewer.

        token  (C,)     return  Euclidean distances (k,), indices (k,)
        """
        distances = np.linalg.norm(self.tokens - token, axis=1)
        order = np.argsort(distances, kind="stable")[:k]
        return distances[order], order

    def nearest(self, layer: int, queries: Array, images: Array, *, radius: int | None, k: int = 1) -> tuple[Array, Array]:
        """The k nearest vectors of every query among some pictures, within a window around the query's own place.

        queries  (P, C), one a cell     images  (K,) indices     radius  cells, Chebyshev; None for anywhere
        k  cut to the number of pictures; without a window to that of all their vectors
        return  Euclidean distances (P, k), nearest first; sources (P, k, 2): picture, place
        """
        bank, grid, images = (self.wide or self.layers)[layer], self.grids[layer], np.asarray(images)
        centre = self._centre(layer)
        searched = images if 2 * len(images) < len(self) else np.arange(len(self))  # leaving few out costs less than a copy
        bias = self._half_norms(layer)[:, searched]  # (P, K)
        if len(searched) > len(images):
            left_out = np.full(len(self), np.inf, np.float32)
            left_out[images] = 0
            bias = bias + left_out
        if radius is None or radius >= max(grid) - 1:
            winners = _anywhere(bank, queries - centre, searched, bias, min(k, len(bank) * len(images)))
        else:
            winners = _within(bank, queries - centre, searched, bias, min(k, len(images)), _windows(grid, radius))
        return _measured(bank, queries, winners, searched)

    def _centre(self, layer: int) -> Array:
        """The mean vector of the first picture, (C,): near enough to all of them."""
        return np.asarray(self.layers[layer][:, 0].mean(axis=0, dtype=np.float64), np.float32)

    def _half_norms(self, layer: int) -> Array:
        """Half the squared length of every vector of a layer, (P, N); computed when first asked for."""
        if layer not in self._norms:
            bank, centre = (self.wide or self.layers)[layer], self._centre(layer)
            step = max(1, _BLOCK // bank[0].size)
            parts = (np.asarray(bank[start : start + step], np.float32) - centre for start in range(0, len(bank), step))
            self._norms[layer] = np.concatenate([0.5 * np.einsum("ckj,ckj->ck", part, part) for part in parts])
        return self._norms[layer]


class Shelves:
    """Where a gallery grows, picture by picture: in memory while the budget allows it, else in a file without a name."""

    def __init__(self, count: int, *, precision: Precision, memory: int) -> None:
        """count  pictures that will be added     memory  bytes"""
        self._count, self._memory, self._filled = count, memory, 0
        self._dtype = np.dtype(np.float16 if precision == "half" else np.float32)
        self._layers: list[Array] = []
        self._tokens: list[Array] = []

    def add(self, layers: Sequence[Array], token: Array) -> None:
        """layers  one (P_l, C_l) each     token  (C,)"""
        if not self._layers:
            size = self._count * self._dtype.itemsize * sum(layer.size for layer in layers)
            log.info("the bank takes %.2f GB", size / 2**30)
            self._layers = [self._room((len(layer), self._count, layer.shape[1]), size > self._memory) for layer in layers]
        for shelf, layer in zip(self._layers, layers, strict=True):
            if self._dtype == np.float16 and float(np.abs(layer).max(initial=0)) > float(np.finfo(np.float16).max):
                raise BadField("the backbone's features exceed what half precision holds (65504); set precision to single")
            shelf[:, self._filled] = layer
        self._tokens.append(token)
        self._filled += 1

    def _room(self, shape: tuple[int, ...], on_disk: bool) -> Array:
        if not on_disk:
            return np.empty(shape, self._dtype)
        log.warning("the bank is larger than memory allows and is kept in a temporary file")
        with tempfile.TemporaryFile() as file:  # the map keeps a handle of its own
            return np.memmap(file, self._dtype, "w+", shape=shape)

    def gallery(self, grids: Sequence[tuple[int, int]]) -> Gallery:
        """What was gathered; grids  (rows, columns) of each layer"""
        layers = [shelf[:, : self._filled] for shelf in self._layers]
        return Gallery(tuple(layers), np.stack(self._tokens), tuple(grids), _wide(layers, self._memory))


def _wide(layers: Sequence[Array], memory: int) -> tuple[Array, ...] | None:
    """float32 copies of half-precision layers where those fit."""
    half = any(layer.dtype == np.float16 for layer in layers)
    if not half or 4 * sum(layer.size for layer in layers) > memory:
        return None
    return tuple(np.asarray(layer, np.float32) for layer in layers)


def _anywhere(bank: Array, queries: Array, images: Array, bias: Array, k: int) -> Array:
    """Flat winners (P, k): position of the picture in `images` + K * place; running best over blocks of cells.

    queries  centred; the vectors need not be, for q.(b - c) and q.b rank alike
    bias  (P, K) half the squared length of each centred vector, infinite for a picture that is left out
    """
    count = len(images)
    step = max(1, _BLOCK // (count * max(bank.shape[2], len(queries))))  # neither the vectors nor the products outgrow a block
    best = np.full((len(queries), k), -np.inf, np.float32)
    winners = np.zeros((len(queries), k), np.int64)
    rows = np.arange(len(queries))[:, None]
    for start in range(0, len(bank), step):
        part = slice(start, start + step)
        block = _block(bank, part, images).reshape(-1, bank.shape[2])  # (c * K, C)
        closeness = queries @ block.T
        closeness -= bias[part].reshape(-1)
        found = _largest(closeness, min(k, len(block)))
        values = np.concatenate([best, closeness[rows, found]], axis=1)
        candidates = np.concatenate([winners, found + start * count], axis=1)
        kept = _largest(values, k)
        best, winners = values[rows, kept], candidates[rows, kept]
    return winners


def _within(bank: Array, queries: Array, images: Array, bias: Array, k: int, windows: tuple[Array, Array]) -> Array:
    """As _anywhere, for the window around each query's place; k is at most the number of pictures."""
    cells, inside = windows  # (P, w): the cells of each window, which are by symmetry the queries that see a cell
    count, width = len(images), cells.shape[1]
    best = np.full((len(bank), width, k), -np.inf, np.float32)  # of every query, in every cell of its window
    picture = np.zeros((len(bank), width, k), np.int64)
    mirror = np.arange(width)[::-1]  # a query sees a cell at the offset opposite to the one at which the cell sees it
    step = max(1, _BLOCK // (count * bank.shape[2]))
    for start in range(0, len(bank), step):
        part = slice(start, start + step)
        block = _block(bank, part, images)  # (c, K, C)
        sight = np.ascontiguousarray(queries[cells[part]].transpose(0, 2, 1))  # (c, C, w); this order multiplies fastest
        with one_thread():
            closeness = np.matmul(block, sight)  # (c, K, w)
        closeness = np.subtract(closeness.transpose(0, 2, 1), bias[part, None], order="C").reshape(-1, count)  # (c * w, K)
        found, valid = _largest(closeness, k), inside[part].ravel()
        seer, offset = cells[part].ravel()[valid], np.tile(mirror, len(block))[valid]
        best[seer, offset] = np.take_along_axis(closeness, found, 1)[valid]
        picture[seer, offset] = found[valid]
    winner = _largest(best.reshape(len(bank), -1), k)
    place = np.take_along_axis(cells, winner // k, 1)
    return np.asarray(np.take_along_axis(picture.reshape(len(bank), -1), winner, 1) + place * count)


@lru_cache(maxsize=16)
def _windows(grid: tuple[int, int], radius: int) -> tuple[Array, Array]:
    """Cells in the window around every cell, (P, w), and which of them lie inside the grid."""
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    down, right = np.mgrid[-radius : radius + 1, -radius : radius + 1].reshape(2, -1)
    row, column = rows[:, None] + down, columns[:, None] + right
    inside = (row >= 0) & (row < grid[0]) & (column >= 0) & (column < grid[1])
    return np.where(inside, row * grid[1] + column, 0), inside


def _block(bank: Array, cells: slice, images: Array) -> Array:
    """Some cells of some pictures as float32, (c, K, C)."""
    block = bank[cells]
    if len(images) < block.shape[1]:
        block = block[:, images]
    return np.asarray(block, np.float32)


def _measured(bank: Array, queries: Array, winners: Array, images: Array) -> tuple[Array, Array]:
    """The winners' distances by direct difference, so that they carry no cancellation error; nearest first."""
    places, order = np.divmod(winners, len(images))
    pictures = images[order]
    distances = np.empty(winners.shape, np.float32)
    for column in range(winners.shape[1]):
        difference = queries - bank[places[:, column], pictures[:, column]].astype(np.float32)
        distances[:, column] = np.sqrt(np.einsum("ij,ij->i", difference, difference))
    ranked = np.argsort(distances, axis=1, kind="stable")
    sources = np.stack([pictures, places], axis=2)
    return np.take_along_axis(distances, ranked, 1), np.take_along_axis(sources, ranked[..., None], 1)


def _largest(values: Array, k: int) -> Array:
    """Indices (Q, k) of the k largest of every row."""
    if k == 1:
        return np.asarray(values.argmax(axis=1))[:, None]
    if k == values.shape[1]:
        return np.asarray(np.broadcast_to(np.arange(k), values.shape))
    return np.asarray(np.argpartition(-values, k - 1, axis=1)[:, :k])
