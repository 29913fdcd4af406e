"""Cubes of a few sizes about the cells of a grid: which of them fit a box, which of them to keep.

Lengths are in cells of the grid, of which cell (i, j, k) reaches from (i, j, k) to (i + 1, j + 1, k + 1). A defect on a surface
is thin, so that no cube overlaps much with its box: a cube is asked to overlap with the cube about the box, which has the
box's middle and its longest edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.geometry.boxes import overlaps
from amiss.kit.voting import Cells

Array = npt.NDArray[Any]

_FITS, _DIFFERS = 0.5, 0.2  # overlap from which on a cube fits a box, and below which it has nothing to do with it
_AROUND = 2.0  # cells around a box in which no cube is wrong: where exactly a defect ends nobody knows


def cubes(middles: Array, edges: Array) -> Array:
    """Low and high corners, (n, 2, 3), from middles (n, 3) and edges (n,)."""
    half = np.asarray(edges)[:, None] / 2
    return np.stack([middles - half, middles + half], axis=1)


def learned(edges: Sequence[float]) -> tuple[float, ...]:
    """Three sizes: the quantiles 0.25, 0.5 and 0.9 of the longest edges of boxes."""
    return tuple(float(edge) for edge in np.quantile(edges, (0.25, 0.5, 0.9)))


def labels(low: Array, side: int, anchors: Sequence[float], middles: Array, edges: Array) -> Array:
    """What the cube about every cell of a piece of the grid is, (S, side, side, side) int8: 1 fits a box, -1 none, 0 between.

    low  (3,) first cell of the piece     middles (J, 3), edges (J,)  of the boxes     Every box has its best cube, if inside
    """
    shape = (len(anchors), side, side, side)
    unsure, found = np.zeros(shape, np.bool_), np.full(shape, -1, np.int8)
    for middle, edge in zip(middles, edges, strict=True):
        ways = [np.arange(side) + start + 0.5 - centre for start, centre in zip(low, middle, strict=True)]
        share = np.stack([_shares(ways, anchor, edge) for anchor in anchors])
        found[share >= min(_FITS, share.max(initial=0) or np.inf)] = 1
        unsure |= share >= _DIFFERS
        near = [np.abs(way) < edge / 2 + _AROUND for way in ways]
        unsure |= near[0][:, None, None] & near[1][:, None] & near[2]
    found[unsure & (found < 1)] = 0
    return found


def _shares(ways: list[Array], first: float, second: float) -> Array:
    """Overlap of cubes of two sizes whose middles are so far apart along each axis, (X, Y, Z)."""
    shared = [np.clip(np.minimum(min(first, second), (first + second) / 2 - np.abs(way)), 0, None) for way in ways]
    common = shared[0][:, None, None] * shared[1][:, None] * shared[2]
    return np.asarray(common / (first**3 + second**3 - common), np.float32)


def kept(boxes: Array, scores: Array, overlap: float, most: int) -> Array:
    """Indices of the boxes that remain when each, the best first, drives out those that it overlaps with by more.

    boxes  (n, 2, D)     scores  (n,)     return  at most so many, the best first
    """
    order = np.argsort(-scores, kind="stable")
    found: list[int] = []
    while len(order) and len(found) < most:
        first, order = int(order[0]), order[1:]
        found.append(first)
        order = order[overlaps(boxes[[first]], boxes[order])[0] <= overlap]
    return np.array(found, np.int64)


def peaks(heads: Sequence[Cells], anchors: Sequence[float], overlap: float, most: int) -> tuple[Array, Array, Array]:
    """The best cubes of all sizes of which none overlaps with a better one by more than `overlap`.

    heads   scores (n, 1) of the cells, one grid a size     return  middles (m, 3), edges (m,), scores (m,), the best first
    """
    scores = np.concatenate([head.values[:, 0] for head in heads])
    edges = np.repeat(np.asarray(anchors), [len(head.keys) for head in heads])
    places = np.concatenate([head.places for head in heads]) + 0.5
    best = np.argsort(-scores, kind="stable")[:_LOOKED_AT]
    chosen = best[kept(cubes(places[best], edges[best]), scores[best], overlap, most)]
    return places[chosen], edges[chosen], scores[chosen]


_LOOKED_AT = 2000  # cells with the highest scores: a defect has some hundred
