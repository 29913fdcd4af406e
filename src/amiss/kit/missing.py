"""Surface that a scan should show and does not: a hole, a broken edge.

What is there and should not be lies off the good surface. What should be there and is not has no point at all, and shows from
the other side alone: places of the good surface without a point of the scan nearby. A scan from one side leaves most of the
surface without points, and rightly so. Then only a piece counts that is in sight from where the scan was made, all of it: what
the part itself hides, or what is turned away, goes on to where nothing is in sight. From where a scan was made is not in the
file; it is the direction from which the good surface shows most of what the scan does and least of what it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.geometry.components import components
from amiss.geometry.visible import visible
from amiss.kit.sides import FAR, directions

Array = npt.NDArray[Any]

_ASKED = 6  # nearest places of the scan, of which one must face as the surface does
_CLEAR = 1.3  # times farther from the nearest place than almost all good surface is, from which on it is missing
_LINKED = 2.0  # cells between places of one piece
_FEWEST = 2  # places that make a piece: a single one is chance
_IN_SIGHT = 0.9  # share of a piece that must be
_MOST = 10.0  # cells, more are as good
_SLACK = 1.0  # cells around a missing place, besides the way to the nearest place: what is marked of the scan
COVERED = 1.5  # cells from the scan up to which a place of the surface is shown by it
_WAYS, _LIKELY, _ROUND = 200, 24, 8  # directions over the sphere; of them those that the scan faces most; around the best
_STEPS = (0.12, 0.06)  # radians to those around the best
_FEW = 1_500  # places that directions are told apart by
_BEST, _EQUAL = 4, 0.03  # directions that must agree on what is in sight: the best ones, no more worse than that


@dataclass(frozen=True)
class Piece:
    """Missing surface: its middle (3,), and how far across it is, in the unit of the surface."""

    middle: Array
    across: float


def gaps(surface: Array, outer: Array, points: Array, normals: Array, cell: float) -> Array:
    """How far places of a surface have the nearest place of a scan that faces their way, in cells, (F,), `_MOST` at most.

    surface, outer  (F, 3) places and normals     points, normals  (P, 3) of the scan, laid onto it
    """
    from scipy.spatial import cKDTree

    ways, near = cKDTree(points).query(surface, k=range(1, min(_ASKED, len(points)) + 1))
    faces = np.einsum("fki,fi->fk", normals[near], outer) > 0
    return np.asarray(np.minimum(np.where(faces, ways, np.inf).min(axis=1) / cell, _MOST))


def in_sight(surface: Array, covered: Array, normals: Array) -> Array:
    """Which places of a surface are seen from where a scan was made, (F,) bool.

    surface  (F, 3)     covered  (F,) bool, which of it the scan shows     normals  (P, 3) of the scan, laid onto the surface
    """
    middle, far = (surface.min(axis=0) + surface.max(axis=0)) / 2, FAR * np.linalg.norm(np.ptp(surface, axis=0))
    some = np.random.default_rng(0).permutation(len(surface))[:_FEW]

    def seen(places: Array, way: Array) -> Array:
        found = np.zeros(len(places), np.bool_)
        found[visible(places, middle + far * way)] = True
        return found

    def agreed(ways: Array) -> Array:
        """How much of what is seen or shown is both."""
        sights = np.stack([seen(surface[some], way) for way in ways])
        return np.asarray((sights & covered[some]).sum(axis=1) / np.maximum((sights | covered[some]).sum(axis=1), 1))

    ways = directions(_WAYS)
    ways = ways[np.argsort(-(normals @ ways.T > 0).mean(axis=0), kind="stable")[:_LIKELY]]
    shares = agreed(ways)
    for step in _STEPS:
        more = _around(ways[shares.argmax()], step)
        ways, shares = np.concatenate([ways, more]), np.concatenate([shares, agreed(more)])
    best = np.argsort(-shares, kind="stable")[:_BEST]
    sights = np.stack([seen(surface, ways[each]) for each in best if shares[each] >= shares.max() - _EQUAL])
    return np.asarray(sights.all(axis=0))


def missing(surface: Array, far: Array, usual: float, sight: Array, points: Array, cell: float) -> tuple[Array, list[Piece]]:
    """For each place of a scan how far the middle of missing surface beside it is from the scan, in cells, (P,); 0 where
    nothing is missing. And the pieces, the largest first.

    surface  (F, 3) places of the good surface     far  (F,) its gaps     usual  what few good gaps exceed
    sight    (F,) which of it must show            points  (P, 3) of the scan, laid onto the surface
    """
    from scipy.spatial import cKDTree

    found, pieces = np.zeros(len(points)), []
    bare = np.flatnonzero(far > _CLEAR * usual)
    number = components(surface[bare], _LINKED * cell)
    tree = cKDTree(points)
    for each in range(int(number.max(initial=-1)) + 1):
        piece = bare[number == each]
        if len(piece) < _FEWEST or sight[piece].mean() < _IN_SIGHT:
            continue
        for near in tree.query_ball_point(surface[piece], (far[piece] + _SLACK) * cell):
            found[near] = np.maximum(found[near], far[piece].max())
        across = float(np.linalg.norm(np.ptp(surface[piece], axis=0)))
        pieces.append(Piece(surface[piece].mean(axis=0), across))
    return found, sorted(pieces, key=lambda piece: -piece.across)


def _around(way: Array, step: float) -> Array:
    """Directions around another, (8, 3)."""
    one = np.cross(way, np.eye(3)[np.abs(way).argmin()])
    one /= np.linalg.norm(one)
    other, turns = np.cross(way, one), 2 * np.pi * np.arange(_ROUND)[:, None] / _ROUND
    ways = way + step * (np.cos(turns) * one + np.sin(turns) * other)
    return np.asarray(ways / np.linalg.norm(ways, axis=1, keepdims=True))
