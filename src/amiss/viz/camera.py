"""From where a cloud is best looked at: so that its worst place faces the viewer, and from three quarters of that.

Views are without perspective: what is as long lies as many pixels apart, wherever it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_TRIED = 48  # directions all round; the surface's own normal comes on top
_LOOKED_AT = 20_000  # points that a view is chosen with
_PLACE = 0.03  # radius of what is called the worst place, in diagonals
_AROUND = 0.06  # radius of the surface whose normal counts, in diagonals
_AIR = 1.08  # from the middle to the border, in halves of the part's extent
_ROUND, _RISEN = np.deg2rad(38), np.deg2rad(24)  # a three-quarter view against the one that faces the place
UP = (0.0, 0.0, 1.0)


@dataclass(frozen=True, eq=False)
class View:
    """axes   (3, 3), rows: to the right, up, towards the viewer; of unit length, right-handed
    middle  (3,), what is in the middle of the picture     reach  from there to its borders, in the unit of the points
    """

    axes: Array
    middle: Array
    reach: float

    def along(self, points: Array) -> Array:
        """Points (N, 3) along the axes, from the middle, (3, N) float32 in their unit."""
        offsets = points - self.middle.astype(points.dtype)  # first, so that nothing is lost far from the origin
        return np.asarray(self.axes.astype(np.float32) @ offsets.T.astype(np.float32, copy=False))

    def placed(self, points: Array, side: int) -> Array:
        """Where points lie in a picture of `side` x `side` pixels: column, row, and height towards the viewer in pixels.

        points  (N, 3)     return  (3, N) float32
        """
        places = self.along(points) * np.float32(side / 2 / self.reach)
        places[0] += side / 2
        places[1] = side / 2 - places[1]
        return np.asarray(places)

    def close(self, place: Array, reach: float) -> View:
        """The same view of a place and what lies around it."""
        return View(self.axes, np.asarray(place, np.float64), reach)


def views(points: Array, worst: Array, *, up: Array | None = None, eye: Array | None = None) -> tuple[View, View]:
    """The view in which the worst place faces the viewer, and one from three quarters in which it is still seen.

    points  (N, 3), N > 0     worst  (3,)     up  what shall be up, z where None
    eye     from where the cloud was measured, where that is known: it has no other side
    """
    up = np.asarray(UP if up is None else up, np.float64)
    scene = _Scene.of(points, np.asarray(worst, np.float64))
    tried = np.vstack((scene.normal, -scene.normal, _all_round(_TRIED)))
    if eye is not None:
        tried = tried[tried @ (eye - scene.worst) > 0]
    towards = max(tried, key=scene.shows)
    facing = _axes(towards, up)
    turns = [(about, risen) for about in (_ROUND, -_ROUND) for risen in (_RISEN, -_RISEN)]
    aside = max((_turned(facing, *turn) for turn in turns), key=scene.shows)
    return whole(points, facing), whole(points, _axes(aside, up))


def whole(points: Array, axes: Array) -> View:
    """A view along these axes of all points, (N, 3)."""
    middle = np.asarray(points[len(points) // 2], np.float64)
    corners = _corners(View(axes, middle, 1.0).along(points))
    reach = float(np.max(corners[1, :2] - corners[0, :2])) / 2 * _AIR
    return View(axes, middle + axes.T @ corners.mean(axis=0), reach or 1.0)


@dataclass(frozen=True, eq=False)
class _Scene:
    """Some of the points, enough to tell what hides what.

    points  (N, 3), about the middle of the cloud, in diagonals     place  (N,) bool, which of them are the worst place
    worst   (3,), in the cloud's own coordinates     at  (3,), the same among the points
    """

    points: Array
    place: Array
    worst: Array
    at: Array

    @classmethod
    def of(cls, points: Array, worst: Array) -> _Scene:
        corners = _corners(points.T)
        middle, diagonal = corners.mean(axis=0), float(np.linalg.norm(corners[1] - corners[0])) or 1.0
        offsets = points - worst.astype(points.dtype)
        distances = np.einsum("nd,nd->n", offsets, offsets)
        place = distances <= max((_PLACE * diagonal) ** 2, float(distances.min()))
        rest, hot = np.flatnonzero(~place), np.flatnonzero(place)
        some = np.concatenate((rest[:: -(-len(points) // _LOOKED_AT)], hot[:: -(-len(hot) // _LOOKED_AT)]))
        return cls((points[some] - middle) / diagonal, place[some], worst, (worst - middle) / diagonal)

    @cached_property
    def normal(self) -> Array:
        """The direction in which the surface around the worst place spreads least, (3,)."""
        offsets = self.points - self.at
        around = offsets[np.einsum("nd,nd->n", offsets, offsets) <= _AROUND**2]
        _, axes = np.linalg.eigh(np.cov(around.T, bias=True) if len(around) > 3 else np.eye(3))
        return np.asarray(axes[:, 0])

    def shows(self, towards: Array) -> float:
        """How well a direction shows the worst place: seen from it, not aslant, and on the near side of the cloud."""
        side = int(np.clip(0.6 * np.sqrt(len(self.points)), 12, 128))  # coarse, so that there is no looking through gaps
        column, row, height = View(_axes(towards, np.asarray(UP)), np.zeros(3), 0.5).placed(self.points, side)
        cells = np.clip(row, 0, side - 1).astype(np.int64) * side + np.clip(column, 0, side - 1).astype(np.int64)
        front = np.full(side * side, -np.inf, np.float32)
        np.maximum.at(front, cells, height)
        seen = (height >= front[cells] - 2)[self.place].mean()
        return float(seen * (0.3 + abs(towards @ self.normal)) + 0.2 * towards @ self.at)


def _corners(coordinates: Array) -> Array:
    """The least and the largest of each of three coordinates, (3, N) to (2, 3) float64."""
    return np.array([[row.min() for row in coordinates], [row.max() for row in coordinates]], np.float64)


def _axes(towards: Array, up: Array) -> Array:
    """Axes of a view (3, 3) in which `towards` points at the viewer and `up` is up, as far as that goes together."""
    towards = towards / np.linalg.norm(towards)
    if abs(towards @ up) > 0.97 * np.linalg.norm(up):
        up = np.roll(up, 2)  # y where z is looked along
    right = np.cross(up, towards)
    right /= np.linalg.norm(right)
    return np.stack((right, np.cross(towards, right), towards))


def _turned(axes: Array, about: float, risen: float) -> Array:
    """Towards the viewer, having walked round by an angle and risen by another."""
    right, up, towards = axes
    level = np.cos(about) * towards + np.sin(about) * right
    return np.asarray(np.cos(risen) * level + np.sin(risen) * up)


def _all_round(count: int) -> Array:
    """Directions (count, 3), evenly spread: a spiral by the golden angle."""
    steps = np.arange(count)
    z = 1 - (2 * steps + 1) / count
    angle = steps * np.pi * (3 - np.sqrt(5))
    return np.stack((np.sqrt(1 - z**2) * np.cos(angle), np.sqrt(1 - z**2) * np.sin(angle), z), axis=1)
