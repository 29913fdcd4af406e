"""Pieces of a point cloud: points are linked that lie within a radius of one another, and what is linked belongs together.

The links themselves are never listed, for their number grows with the square of the density. Points are put into cells so
small that all in one cell are linked; then only cells close to one another are compared that are not in one piece yet.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_REACH = 2  # cells away that a linked point can lie: an edge is the radius by the root of three
_PAIRS = 1 << 20  # pairs of points compared at once
_TOWARDS = sorted(
    (way for way in product(range(-_REACH, _REACH + 1), repeat=3) if way > (0, 0, 0)), key=lambda way: sum(map(abs, way))
)  # one of every two opposite ways, the nearest first


def components(points: Array, radius: float) -> Array:
    """The number of the piece that each point belongs to, (N,): 0 is the one with the most points.

    Of equally large pieces the one that begins at the lower x, then y, then z comes first, so that the order of the points
    plays no role.

    points  (N, 3), also none at all     radius  up to which two points are linked, itself included
    """
    if not len(points):
        return np.zeros(0, np.int64)
    points = np.asarray(points, np.float64)
    points = points - points.min(axis=0)
    cells = _Cells(points, radius)
    piece = np.arange(cells.count)
    for way in _TOWARDS:
        one, other = cells.neighbours(way)
        apart = piece[one] != piece[other]
        one, other = one[apart], other[apart]
        linked = cells.linked(one, other)
        piece = _joined(piece, one[linked], other[linked])
    return _numbered(points, piece[cells.cell])


class _Cells:
    """Points in cubic cells.

    count  how many cells have points     cell  (N,) which of them each point is in
    """

    def __init__(self, points: Array, radius: float):
        edge = radius / np.sqrt(3) * (1 - 1e-9)  # its diagonal is no longer than the radius
        x, y, z = (_close(np.floor(axis / edge)) for axis in points.T)
        self._wide, self._high = int(y.max()) + 1 + _REACH, int(z.max()) + 1 + _REACH  # rooms between rows and columns
        self._columns, column = np.unique(x * self._wide + y, return_inverse=True)
        self._keys, self.cell = np.unique(column * self._high + z, return_inverse=True)
        self.count, self._radius = len(self._keys), radius
        self._sizes = np.bincount(self.cell)
        self._starts = np.cumsum(self._sizes) - self._sizes
        self._points = points[np.argsort(self.cell, kind="stable")]

    def neighbours(self, way: tuple[int, ...]) -> tuple[Array, Array]:
        """The cells that have one with points this way of them, and those."""
        column, height = np.divmod(self._keys, self._high)
        beside, there = _found(self._columns, self._columns + way[0] * self._wide + way[1])
        key = beside[column] * self._high + height + way[2]
        cell, full = _found(self._keys, key)
        full &= there[column]
        return np.flatnonzero(full), cell[full]

    def linked(self, one: Array, other: Array) -> Array:
        """For each pair of cells whether a point of the one is linked to a point of the other, (n,) bool."""
        found = np.zeros(len(one), bool)
        work = self._sizes[one] * self._sizes[other]
        for part in _parts(work):
            if work[part].sum() > _PAIRS:  # a single pair of very full cells
                found[part] = self._near(int(one[part][0]), int(other[part][0]))
            else:
                found[part] = self._compared(one[part], other[part], work[part])
        return found

    def _compared(self, one: Array, other: Array, work: Array) -> Array:
        pair = np.repeat(np.arange(len(work)), work)
        place = np.arange(len(pair)) - np.repeat(np.cumsum(work) - work, work)
        mine, others = np.divmod(place, self._sizes[other][pair])
        ways = self._points[self._starts[one][pair] + mine] - self._points[self._starts[other][pair] + others]
        close = np.einsum("ni,ni->n", ways, ways) <= self._radius**2
        return np.bincount(pair[close], minlength=len(work)) > 0

    def _near(self, one: int, other: int) -> bool:
        from scipy.spatial import cKDTree

        mine, others = (self._points[self._starts[cell] :][: self._sizes[cell]] for cell in (one, other))
        return bool(cKDTree(mine).query(others)[0].min() <= self._radius)


def _close(places: Array) -> Array:
    """Places along an axis as whole numbers from 0 on, wide gaps narrowed to one that still separates."""
    at, inverse = np.unique(places, return_inverse=True)
    steps = np.minimum(np.diff(at, prepend=at[:1]), _REACH + 1).astype(np.int64)
    return np.asarray(np.cumsum(steps)[inverse])


def _found(values: Array, wanted: Array) -> tuple[Array, Array]:
    """Where in sorted values each wanted one stands, or another index, and whether it is there at all."""
    place = np.searchsorted(values, wanted).clip(max=len(values) - 1)
    return place, values[place] == wanted


def _parts(work: Array) -> Iterator[slice]:
    """Parts of a list that have up to _PAIRS of work each, or a single item."""
    until = np.cumsum(work)
    start = 0
    while start < len(work):
        done = until[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(until, done + _PAIRS, side="right")))
        yield slice(start, stop)
        start = stop


def _joined(piece: Array, one: Array, other: Array) -> Array:
    """Pieces (count,) after cells `one` have been linked to cells `other`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(one):
        return piece
    count = int(piece.max()) + 1
    links = coo_array((np.ones(len(one), np.int8), (piece[one], piece[other])), shape=(count, count))
    return np.asarray(connected_components(links, directed=False)[1][piece])


def _numbered(points: Array, piece: Array) -> Array:
    """Pieces from the largest to the smallest."""
    order = np.lexsort(points.T[::-1])
    _, first, inverse, counts = np.unique(piece[order], return_index=True, return_inverse=True, return_counts=True)
    rank = np.empty(len(first), np.int64)
    rank[np.lexsort((first, -counts))] = np.arange(len(first))
    numbers = np.empty(len(points), np.int64)
    numbers[order] = rank[inverse]
    return numbers
