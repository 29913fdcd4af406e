"""Pictures of point clouds, drawn without any 3D library: a depth image, its shading, and the map over it.

Points are drawn into a depth image as coarse as they are dense, so that a surface has no gaps; heights and scores of what is
seen are evened between neighbours, and brought to the picture's size. Display only: no score is ever read from these pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.viz.camera import View
from amiss.viz.overlay import overlay, thumbnail

Array = npt.NDArray[Any]

PAPER = (240, 242, 244)
_FULL = 194  # light of a surface that faces the lamp; the colours of a map are to stand out from it
_GREYS = np.minimum(np.arange(256)[:, None] * (0.98, 1.0, 1.02), 255).astype(np.uint8)  # (256, 3); the first is paper
_GREYS[0] = PAPER
_FINER = 2  # pixels of the drawing to one of the picture, along an edge
_RADIUS = 4.0  # pixels of the depth image that a point fills, at most
_GAPLESS = 2.0  # radius in spacings of points strewn at random: one gap in 300,000 is left
_LIGHT = np.array((-0.5, 0.6, 0.62), np.float32)  # from the upper left: bulges and dents are told apart by habit
_AMBIENT = 0.3
_ROUND = 0.35  # how far light reaches round a corner, so that what is turned away still shows its shape
_NOTHING = -1e9  # height where there is no point
_LOOKED_AT = 50_000  # points that tell how dense they are


@dataclass(frozen=True, eq=False)
class Drawing:
    """A cloud from one side.

    surface  (S, S, 3) uint8 RGB, shaded     scores  (S, S) float32, NaN beside the cloud     side  pixels of the picture
    """

    surface: Array
    scores: Array
    side: int

    def plain(self) -> Array:
        """The part alone, (side, side, 3) uint8 RGB."""
        return thumbnail(self.surface, self.side)

    def coloured(self, low: float, high: float) -> Array:
        """The part under its map, (side, side, 3) uint8 RGB; colours are those of a picture's overlay."""
        return thumbnail(overlay(self.surface, self.scores, low=low, high=high), self.side)


def draw(points: Array, scores: Array, view: View, side: int) -> Drawing:
    """Draw a cloud.

    points  (N, 3) finite     scores  (N,), NaN counts as the lowest     side  of the square picture, pixels
    """
    fine, scores = side * _FINER, _numbers(scores)
    depth = _Depth.of(points, scores, view, fine)
    factor = fine / len(depth.height)
    height, over = _enlarged(_blurred(depth.height, 0.6 * depth.radius) * factor, fine), _enlarged(depth.scores, fine)
    inside = _enlarged(depth.filled.astype(np.float32), fine) > 0.5
    light = np.where(inside, _light(height), np.uint8(0))
    return Drawing(_GREYS[light], np.where(inside, over, np.float32(np.nan)), side)


@dataclass(frozen=True, eq=False)
class _Depth:
    """A depth image: height towards the viewer (D, D) in its pixels, scores (D, D), where there is a surface (D, D) bool."""

    height: Array
    scores: Array
    filled: Array
    radius: float

    @classmethod
    def of(cls, points: Array, scores: Array, view: View, most: int) -> _Depth:
        """most  pixels of a side, that it never exceeds"""
        import cv2

        side, radius = _resolution(view, points, most)
        column, row, height = view.placed(points, side)
        inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
        cells = row[inside].astype(np.int64) * side + column[inside].astype(np.int64)
        height, scores = height[inside], scores[inside]
        front: Array = np.full(side * side, _NOTHING, np.float32)
        np.maximum.at(front, cells, height)
        grown = cv2.dilate(front.reshape(side, side), _disc(radius))
        filled = cv2.erode((grown > _NOTHING).astype(np.uint8), _disc(radius - 1)) > 0  # a point alone stays visible
        front = cv2.erode(grown, _disc(radius)).ravel()
        seen = height >= front[cells] - radius
        sums = (np.bincount(cells[seen], values, side * side) for values in (None, height[seen], scores[seen]))
        count, high, over = (_blurred(values.reshape(side, side), 0.4 * radius) for values in sums)
        known = np.maximum(count, 1e-9)
        return cls(high / known, over / known, filled & (count > 1e-6), radius)


def _resolution(view: View, points: Array, most: int) -> tuple[int, float]:
    """Side of a depth image in which points fill a surface, and the radius in its pixels that they do it with.

    The density is that of what is in view, seen at a resolution at which cells that have any points have several.
    """
    some, side = points[:: -(-len(points) // _LOOKED_AT)] if len(points) else points, 128
    while True:
        column, row, _ = view.placed(some, side)
        inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
        held = np.zeros((side, side), bool)
        held[row[inside].astype(np.intp), column[inside].astype(np.intp)] = True
        if side <= 8 or inside.sum() >= 16 * held.sum():
            break
        side //= 2
    count = max(float(inside.mean()) * len(points), 1.0) if len(points) else 1.0
    spacing = np.sqrt(2 * max(held.mean(), 1 / side**2) / count)  # in sides of the picture; half of the points are behind
    finest = int(np.clip(_RADIUS / (_GAPLESS * spacing), 16, most))
    return finest, float(np.clip(_GAPLESS * spacing * finest, 1.0, _RADIUS))


def _blurred(image: Array, sigma: float) -> Array:
    import cv2

    return np.asarray(cv2.GaussianBlur(image.astype(np.float32, copy=False), (0, 0), sigma))


def _disc(radius: float) -> Array:
    import cv2

    side = 2 * int(np.ceil(radius)) + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)))


def _enlarged(image: Array, side: int) -> Array:
    """An image (D, D) as (side, side), smooth: doubled and evened step by step, since large blurs are slow."""
    import cv2

    while 2 * len(image) < side:
        image = _blurred(cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR), 1.0)
    return _blurred(cv2.resize(image, (side, side), interpolation=cv2.INTER_LINEAR), 0.8)


def _light(height: Array) -> Array:
    """How light a surface is that is lit from the upper left, and darker below its surroundings, (S, S) uint8 from 1 on.

    height  (S, S), pixels, towards the viewer
    """
    import cv2

    across, down = (cv2.Sobel(height, cv2.CV_32F, *order, ksize=3, scale=1 / 8) for order in ((1, 0), (0, 1)))
    lit = -across * _LIGHT[0] + down * _LIGHT[1] + _LIGHT[2]
    lit = np.maximum(lit / np.sqrt(across**2 + down**2 + 1) + _ROUND, 0) / (1 + _ROUND)
    reach = len(height) / 60
    coarse = cv2.resize(height, (120, 120), interpolation=cv2.INTER_AREA)  # the blur is of two of these pixels
    around = _enlarged(_blurred(coarse, 2), len(height))
    light = _AMBIENT + (1 - _AMBIENT) * lit + 0.3 * np.clip((height - around) / reach, -0.5, 0.25)
    return np.asarray(np.clip(light * _FULL, 1, 255), np.uint8)


def _numbers(scores: Array) -> Array:
    """Scores as finite float32."""
    values = np.asarray(scores, np.float32)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    return np.nan_to_num(values, nan=low, posinf=high, neginf=low)
