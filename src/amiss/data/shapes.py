"""Five made parts as closed surfaces, and points drawn evenly from them: no real data, everything from a seed.

    gear     a toothed disc with a lug in place of one tooth, a bore, a hub beside the middle and a hole
    jug      a bent, tapering capsule with a handle that sits askew
    lump     a wavy ellipsoid with four lobes of different sizes
    bracket  an angle plate with two bosses of different sizes, a rib and a hole
    loop     a pear-shaped ring whose tube swells and which does not lie flat

No rotation maps one to itself, so that registration has one right answer. Each is the zero level of a signed distance,
scaled to a bounding box with a diagonal of 1 in its own frame.

Even by area: a net of small patches is laid over the surface once; points are dealt out to the patches in proportion to
their area, one to each equal share of the whole along a path that visits neighbouring patches after one another, at random
within its patch. Then every point moves once away from its neighbours, and onto the surface. Nothing is drawn twice.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.data.solids import ball, block, cut, egg, join, plate, post, ring, turned
from amiss.errors import BadField

Array = npt.NDArray[Any]
Field = Callable[[Array], Array]

_ROOM = 2.0  # half the side of a box that holds any of the solids as they are written below
_CELLS = (40, 80)  # of the net along the longest side: first of that box, then of the shape
_STEP = 1e-4  # of the diagonal, half the way over which differences make a gradient
_CORNERS = np.array(((1, -1, -1), (-1, -1, 1), (-1, 1, -1), (1, 1, 1)), float)  # of a tetrahedron
_NEIGHBOURS, _REACH, _PUSH = 6, 1.5, 0.35  # in spacings: how far away points push each other, and by how much


class Shape:
    """A made part about the origin, the diagonal of its bounding box 1.

    name    one of SHAPES     extent  (3,) sides of the bounding box
    areas   (T,) of the patches that cover the surface     middles  (T, 3) of these
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._solid, self._middle, self._scale = _SOLIDS[name], np.zeros(3), 1.0
        self.extent = np.full(3, 2 * _ROOM)
        for cells in _CELLS:
            patches = _net(self.field, self.extent / 2, float(self.extent.max()) / cells)  # (T, 3, 3) corners
            low, high = patches.min(axis=(0, 1)), patches.max(axis=(0, 1))
            middle, size = (low + high) / 2, float(np.linalg.norm(high - low))
            self._middle, self._scale = self._middle + self._scale * middle, self._scale * size
            self._patches, self.extent = (patches - middle) / size, (high - low) / size
        across = np.cross(self._patches[:, 1] - self._patches[:, 0], self._patches[:, 2] - self._patches[:, 0])
        self.areas = np.linalg.norm(across, axis=1) / 2
        self.middles = self._patches.mean(axis=1)
        self._normals = unit(gradient(self.field, self._patches.reshape(-1, 3))).reshape(-1, 3, 3)  # at each corner

    def field(self, points: Array) -> Array:
        """Near the surface its distance, negative inside; (N, 3) -> (N,)."""
        x, y, z = np.ascontiguousarray((points * self._scale + self._middle).T)
        return np.asarray(self._solid(x, y, z) / self._scale)

    def facing(self, eye: Array, least: float) -> Array:
        """Areas of the patches, (T,), 0 for those whose normals are all turned away from a viewpoint.

        least  the cosine of normal and ray below which a place is turned away
        """
        towards = np.einsum("tkd,td->tk", self._normals, unit(eye - self.middles)).max(axis=1)
        return np.where(towards > least, self.areas, 0)

    def draw(self, rng: np.random.Generator, count: int, areas: Array | None = None) -> Array:
        """Points on the surface, even by area, in no order, (count, 3).

        areas  (T,) as from `facing`, to draw from a part of the surface
        """
        until = np.cumsum(self.areas if areas is None else areas)
        shares = (np.arange(count) + rng.random(count)) / count * until[-1]
        patch = np.searchsorted(until, shares, side="right").clip(max=len(until) - 1)
        far, side = np.sqrt(rng.random(count)), rng.random(count)
        weights = np.stack([1 - far, far * (1 - side), far * side], axis=1)
        points = np.einsum("nk,nkd->nd", weights, self._patches[patch])
        points = _apart(points, self._normals[patch, 0], float(np.sqrt(until[-1] / count)))
        return np.asarray(rng.permutation(settle(self.field, points, gradient(self.field, points))))


@lru_cache(maxsize=8)
def shape(name: str) -> Shape:
    """The shape of that name; made once, in a few tenths of a second.

    raises  BadField for an unknown name
    """
    if name not in _SOLIDS:
        raise BadField(f"shape {name!r}: wanted one of {', '.join(SHAPES)}")
    return Shape(name)


def _apart(points: Array, normals: Array, spacing: float) -> Array:
    """Points moved a little away from those of their neighbours that lie on the same side of the part, (N, 3)."""
    from scipy.spatial import cKDTree

    ranks = np.arange(1, min(_NEIGHBOURS + 1, len(points)) + 1)
    ways, nearest = cKDTree(points).query(points, ranks, distance_upper_bound=_REACH * spacing)
    nearest = nearest.clip(max=len(points) - 1)  # where there is no neighbour, the way to it is infinite
    push = np.maximum(1 - ways / (_REACH * spacing), 0) / np.maximum(ways, 1e-12)
    push *= np.maximum(np.einsum("nd,nkd->nk", normals, normals[nearest]), 0)
    return np.asarray(
        points + _PUSH * spacing * (points * push.sum(axis=1)[:, None] - np.einsum("nk,nkd->nd", push, points[nearest]))
    )


def gradient(field: Field, points: Array) -> Array:
    """Of a field at points, (N, 3), from its values at the corners of a small tetrahedron."""
    values = np.stack([field(points + _STEP * corner) for corner in _CORNERS])
    return np.asarray(values.T @ _CORNERS / (4 * _STEP))


def unit(vectors: Array) -> Array:
    """Vectors of length 1, (N, 3)."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def settle(field: Field, points: Array, slopes: Array, rounds: int = 3) -> Array:
    """Points near a surface moved onto it along given gradients of its field, (N, 3)."""
    steps = slopes / np.maximum(np.einsum("nd,nd->n", slopes, slopes), 0.1)[:, None]
    for _ in range(rounds):
        points = points - field(points)[:, None] * steps
    return points


def _net(field: Field, half: Array, cell: float) -> Array:
    """Triangles over the surface inside a box of these half lengths, neighbours close in order, (T, 3, 3).

    Each edge of a grid that pierces the surface gives a patch: the square between the middles of the four cells about that
    edge, its corners moved onto the surface.
    """
    axes = [np.arange(-length - 2 * cell, length + 2.5 * cell, cell) for length in half]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    inside = (field(grid.reshape(-1, 3)) < 0).reshape(grid.shape[:3])
    squares = np.concatenate([_squares(inside, axis) for axis in range(3)])  # (Q, 4, 3) cells
    squares = squares[np.argsort(_path(squares.min(axis=1)), kind="stable")]
    cells, place = np.unique(np.ravel_multi_index(tuple(squares.reshape(-1, 3).T), inside.shape), return_inverse=True)
    corners = np.stack(np.unravel_index(cells, inside.shape), axis=1) * cell + [axis[0] + cell / 2 for axis in axes]
    for _ in range(3):
        corners = settle(field, corners, gradient(field, corners), 1)
    return np.asarray(corners[place.reshape(-1, 4)][:, (0, 1, 2, 0, 2, 3)].reshape(-1, 3, 3))


def _squares(inside: Array, axis: int) -> Array:
    """The four cells about every edge along an axis whose ends lie on different sides, (Q, 4, 3)."""
    edges = np.argwhere(np.diff(inside, axis=axis))
    one, other = np.delete(np.eye(3, dtype=int), axis, axis=0)
    return np.asarray(edges[:, None] - np.stack([0 * one, one, one + other, other]))


def _path(cells: Array) -> Array:
    """The place of each cell on a curve that fills space (Morton's), (N,): the bits of its coordinates in turn."""
    code = np.zeros(len(cells), np.int64)
    for bit in range(int(cells.max()).bit_length()):
        for axis in range(3):
            code |= (cells[:, axis] >> bit & 1) << (3 * bit + axis)
    return code


def _gear(x: Array, y: Array, z: Array) -> Array:
    sector = 2 * np.pi / 10
    angle, radius, flat = np.arctan2(y, x), np.hypot(x, y), np.zeros_like(x)
    near = angle - np.round(angle / sector) * sector  # every tooth is the one about the x axis
    tooth = block(radius * np.cos(near) - 1.0, radius * np.sin(near), flat, (0.26, 0.15, 1), 0.07)
    lug = block(x - 1.05, y, flat, (0.42, 0.3, 1), 0.1)
    body = plate(join(join(radius - 1.0, tooth, 0.12), lug, 0.15), z, 0.24, 0.07)
    body = join(body, post(x - 0.1, y + 0.08, z - 0.4, 0.5, 0.32, 0.07), 0.12)
    body = cut(body, np.hypot(x - 0.1, y + 0.08) - 0.26, 0.1)
    return cut(body, np.hypot(x + 0.52, y - 0.38) - 0.19, 0.1)


def _jug(x: Array, y: Array, z: Array) -> Array:
    angle = np.clip(np.arctan2(y, x), -0.9, 0.9)  # of the nearest point of an arc of radius 1.2
    body = ball(x - 1.2 * np.cos(angle), y - 1.2 * np.sin(angle), z, 0.46 + 0.12 * np.sin(np.pi / 1.8 * angle))
    u, v = turned(x - 1.62, y - 0.3, 0.35)
    v, w = turned(v, z, 0.5)
    return join(body, ring(u, w, v, 0.42, 0.14), 0.12)


def _lump(x: Array, y: Array, z: Array) -> Array:
    body = egg(x, y, z, (1.0, 0.72, 0.55))
    for (u, v, w), radius in _LOBES:
        body = join(body, ball(x - u, y - v, z - w, radius), 0.25)
    return np.asarray(body + 0.03 * np.sin(5 * x + 1) * np.sin(4 * y + 2 * z))


def _bracket(x: Array, y: Array, z: Array) -> Array:
    body = block(x, y, z, (1.0, 0.65, 0.13), 0.06)
    body = join(body, block(x + 0.7, y - 0.05, z - 0.58, (0.14, 0.5, 0.55), 0.06), 0.12)
    body = join(body, block(x + 0.45, y - 0.22, z - 0.25, (0.26, 0.1, 0.22), 0.06), 0.1)
    body = join(body, post(x - 0.52, y - 0.22, z - 0.3, 0.3, 0.26, 0.06), 0.1)
    body = join(body, post(x - 0.1, y + 0.36, z - 0.22, 0.18, 0.18, 0.06), 0.1)
    body = cut(body, np.hypot(x - 0.52, y - 0.22) - 0.14, 0.08)
    return cut(body, post(z - 0.79, y - 0.05, x + 0.7, 0.19, 0.4, 0.01), 0.08)


def _loop(x: Array, y: Array, z: Array) -> Array:
    angle = np.arctan2(y, x)
    radius = 0.95 + 0.22 * np.cos(angle) + 0.06 * np.sin(2 * angle)
    thick = 0.3 + 0.1 * np.sin(angle + 0.6)
    height = 0.2 * np.sin(2 * angle + 0.5)
    way = np.hypot(np.hypot(x, y) - radius, z - height) - thick
    return np.asarray(way * 0.9)


# middles and radii
_LOBES = (((0.85, 0.35, 0.1), 0.42), ((-0.55, -0.55, 0.2), 0.36), ((-0.2, 0.45, 0.5), 0.28), ((0.2, -0.3, -0.55), 0.22))
_SOLIDS: dict[str, Callable[[Array, Array, Array], Array]] = {
    "gear": _gear, "jug": _jug, "lump": _lump, "bracket": _bracket, "loop": _loop,
}  # fmt: skip
SHAPES = tuple(_SOLIDS)
