"""Defects of made parts: where the surface of a shape is raised, sunk, cut or missing.

    bulge    a round dome, 0.2 of its size high     sink     the same inwards
    hole     a round piece of the surface where nothing is measured
    crack    a jagged cut with steep walls, 0.25 of its size deep and up to 0.22 of its size wide
    scratch  a slightly bowed groove, 0.08 of its size deep, ridges of half that height beside it; 0.35 of its size wide

The size is the extent of a flaw, the diameter or the length, measured straight through the part, in the unit of the shape
(the diagonal of its bounding box). Marked is what is moved by a tenth of the height or depth and more, a scratch over its
whole width; of a hole the rim, 1.5 spacings wide, where a spacing is the side of the square that a point has to itself.
Points are moved along their own normals. Where an edge is rounder than a sink or crack is deep, that is well; edges have radii
of 0.02, so sinks and cracks above 0.1 make the surface of an edge cross itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from amiss.data.shapes import Array, Shape, gradient, unit

Kind = Literal["bulge", "sink", "hole", "crack", "scratch"]
KINDS: tuple[Kind, ...] = get_args(Kind)

HEIGHT, CRACK, SCRATCH = 0.2, 0.25, 0.08  # of the size: height of a bulge, depths
CRACK_WIDTH, SCRATCH_WIDTH = 0.24, 0.35  # of the size
RIM = 1.5  # spacings
MARKED = 0.1  # of the height: what is moved less is not marked
_DOME = 0.5 / np.sqrt(1 - np.sqrt(MARKED))  # in sizes: where a dome ends whose tenth is at half a size
_TENTH = 0.196  # _smooth of this is a tenth
_FURTHEST = 0.75  # sizes from the middle of a flaw beyond which it moves nothing


@dataclass(frozen=True, eq=False, kw_only=True)
class Flaw:
    """One defect at one place.

    at    (3,) on the surface     frame  (3, 3) two tangents and the outward normal there, the first along the flaw
    rim   how far around a hole points are marked     bends  (9,) of unit variance, what makes a path crooked
    """

    kind: str
    at: Array
    frame: Array
    size: float
    rim: float
    bends: Array

    def near(self, points: Array) -> Array:
        """Which points it may move, mark or take away, (N,) bool."""
        reach = max(_FURTHEST * self.size, self.size / 2 + self.rim)
        return np.asarray(np.linalg.norm(points - self.at, axis=1) < reach)

    def moved(self, points: Array, normals: Array) -> tuple[Array, Array]:
        """How far outwards points of the good surface are moved, and their share of the flaw, 0 to 1; (N,) each."""
        along, across, same = self._places(points, normals)
        if self.kind == "hole":
            return np.zeros(len(points)), same * (np.hypot(along, across) < 0.5 + self.rim / self.size)
        height, cover = _PROFILES[self.kind](along, across, self.bends)
        return height * same * self.size, cover * same

    def gone(self, points: Array, normals: Array) -> Array:
        """Which points of the good surface are missing, (N,) bool."""
        along, across, same = self._places(points, normals)
        return np.asarray((self.kind == "hole") & (same >= MARKED) & (np.hypot(along, across) < 0.5))

    def _places(self, points: Array, normals: Array) -> tuple[Array, Array, Array]:
        """Places of points along and across the flaw in sizes, and how far the surface faces as in its middle; (N,) each.

        Ways are as long as the straight ones through the part, so that a flaw is as large on a bent surface as on a flat one.
        """
        ways = points - self.at
        along, across = self.frame[:2] @ ways.T
        stretch = np.linalg.norm(ways, axis=1) / np.maximum(np.hypot(along, across), 1e-12) / self.size
        return along * stretch, across * stretch, _smooth(normals @ self.frame[2] / 0.4)


def flaw_at(rng: np.random.Generator, kind: str, at: Array, normal: Array, size: float, rim: float) -> Flaw:
    """A flaw at a place of the surface, in a random direction."""
    along = unit(np.cross(normal, rng.standard_normal(3))[None])[0]
    frame = np.stack([along, np.cross(normal, along), normal])
    return Flaw(kind=kind, at=at, frame=frame, size=size, rim=rim, bends=rng.standard_normal(9))


@dataclass(frozen=True, eq=False)
class Body:
    """A part as it is: a shape, and a flaw where it has one."""

    shape: Shape
    flaw: Flaw | None = None

    def field(self, points: Array) -> Array:
        """Near its surface the distance, negative inside; (N, 3) -> (N,)."""
        values = self.shape.field(points)
        if self.flaw is None or not (near := self.flaw.near(points)).any():
            return values
        slopes = gradient(self.shape.field, points[near])
        steep = np.maximum(np.linalg.norm(slopes, axis=1), 0.3)
        normals = slopes / steep[:, None]
        feet = points[near] - normals * (values[near] / steep)[:, None]
        values[near] -= self.flaw.moved(feet, normals)[0] * steep
        return values

    def strides(self, points: Array, values: Array) -> Array:
        """How far one may go from points without missing the surface by more than a little, given their fields; (N,)."""
        ways = np.maximum(0.8 * values, 0.004)
        if self.flaw is None:
            return ways
        size = self.flaw.size
        gap = np.linalg.norm(points - self.flaw.at, axis=1) - _FURTHEST * size
        careful = np.maximum(values / 4, 0.02 * size)  # no wall of a flaw is steeper
        return np.where(gap < 0, careful, np.minimum(ways, np.maximum(gap, 0.02 * size)))

    def put(self, points: Array) -> tuple[Array, Array, Array]:
        """Points of the good surface moved onto this one, (N, 3); which are marked and which are missing, (N,) bool each."""
        points, marked, gone = points.copy(), np.zeros(len(points), bool), np.zeros(len(points), bool)
        if self.flaw is None or not (near := self.flaw.near(points)).any():
            return points, marked, gone
        normals = unit(gradient(self.shape.field, points[near]))
        height, cover = self.flaw.moved(points[near], normals)
        gone[near] = self.flaw.gone(points[near], normals)
        marked[near] = (cover >= MARKED) & ~gone[near]
        points[near] += height[:, None] * normals
        return points, marked, gone


def _smooth(way: Array) -> Array:
    """From 0 at 0 to 1 at 1, level at both, (N,)."""
    way = np.clip(way, 0, 1)
    return np.asarray(way * way * (3 - 2 * way))


def _ends(along: Array) -> Array:
    """1 in the middle of a path, a tenth where it ends, half a size away, and 0 soon after, (N,)."""
    return _smooth((0.5 - np.abs(along)) / 0.2 + _TENTH)


def _bulge(along: Array, across: Array, bends: Array) -> tuple[Array, Array]:
    dome = np.maximum(1 - (along**2 + across**2) / _DOME**2, 0) ** 2
    return HEIGHT * dome, dome


def _sink(along: Array, across: Array, bends: Array) -> tuple[Array, Array]:
    height, cover = _bulge(along, across, bends)
    return -height, cover


def _scratch(along: Array, across: Array, bends: Array) -> tuple[Array, Array]:
    """Across it the second derivative of a bell, which throws up as much as it takes away."""
    off = np.abs(across - 0.1 * bends[0] * (along**2 - 0.08)) * 2 / SCRATCH_WIDTH
    squared, ends = (2.93 * off) ** 2, _ends(along)  # at 2.93 the ridges have fallen to a tenth of the depth
    return -SCRATCH * (1 - squared) * np.exp(-squared / 2) * ends, ends * (off < 1)


def _crack(along: Array, across: Array, bends: Array) -> tuple[Array, Array]:
    """Across it a wedge, narrower towards its ends, along a path with corners."""
    path = np.interp(along, np.linspace(-0.5, 0.5, 9), 0.04 * (bends - bends[4]))
    half = CRACK_WIDTH / 2 * np.sqrt(np.maximum(1 - (along / 0.55) ** 2, 0.05))
    wedge = np.maximum(1 - np.abs(across - path) / half, 0) * _ends(along)
    return -CRACK * wedge, wedge


_PROFILES: dict[str, Callable[[Array, Array, Array], tuple[Array, Array]]] = {
    "bulge": _bulge, "sink": _sink, "crack": _crack, "scratch": _scratch,
}  # fmt: skip
