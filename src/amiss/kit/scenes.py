"""Clouds as grids of cells with features, with or without defects: what a voting network sees, and what it is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadField
from amiss.kit.anchors import labels
from amiss.kit.oddness import Surface
from amiss.kit.synthesis import FLAWS, Ranges, spoiled
from amiss.kit.voting import Cells

Array = npt.NDArray[Any]

FEATURES = ("occupied", "fine", "fine varies", "coarse", "rim", "linearity", "sphericity", "places")
COARSER = 2.0  # edge of a cell of the grid, in cells of the thinning
_FEWEST = 5  # places that a defect must have to be one
_SHARES, _HEIGHTS = (0.001, 0.012), (0.15, 0.6)  # of made defects: share of the points, height in reaches
_DEPTHS = (0.3, 2.5)  # of made cracks, in half widths: from a scratch to a cleft
_SHOWS = 0.1  # share of a made defect's largest movement below which a point does not belong to it
_FLOOR = 0.01  # variance of a logarithm below which nothing varies


@dataclass(frozen=True, eq=False)
class Scene:
    """One cloud on its grid.

    cells      (n, 3) occupied cells, none twice, from 0     values  (n, 8) of FEATURES
    positions  (P, 3) of the places, in cells     owners  (P,) to which cell each belongs     odd  (P, 3) in each way
    marks      (P,) number of the defect that a place belongs to, 0 for none
    """

    cells: Array
    values: Array
    positions: Array
    owners: Array
    odd: Array
    marks: Array

    @classmethod
    def of(cls, surface: Surface, odd: Array, marks: Array | None = None) -> Scene:
        positions = (surface.places - surface.places.min(axis=0)) / (COARSER * surface.cell)
        cells, owners, counts = np.unique(np.floor(positions).astype(np.int64), axis=0, return_inverse=True, return_counts=True)
        owners = owners.reshape(-1)

        def mean(values: Array) -> Array:
            return np.asarray(np.bincount(owners, values) / counts)

        fine, (linear, ball) = mean(odd[:, 0]), surface.spread.T
        varies = np.log(mean((odd[:, 0] - fine[owners]) ** 2) + _FLOOR)
        share = np.log(counts / counts.mean())
        columns = (np.ones(len(cells)), fine, varies, mean(odd[:, 1]), mean(odd[:, 2]), mean(linear), mean(ball), share)
        none = np.zeros(len(positions), np.int64)
        return cls(cells, np.column_stack(columns).astype(np.float32), positions, owners, odd, none if marks is None else marks)

    def scaled(self, mean: Array, deviation: Array) -> Scene:
        """Every feature but the first standardised."""
        values = (self.values - mean) / deviation
        values[:, 0] = 1
        return replace(self, values=values.astype(np.float32))

    def grid(self, margin: int) -> Cells:
        """The cells with so many empty ones around them."""
        shape = tuple((self.cells.max(axis=0) + 1 + 2 * margin).tolist())
        return Cells.at(self.cells + margin, self.values, shape)

    @cached_property
    def members(self) -> Array:
        """Which cells hold a place that belongs to a defect, (n,) bool."""
        found = np.zeros(len(self.cells), np.bool_)
        found[self.owners[self.marks > 0]] = True
        return found

    @cached_property
    def boxes(self) -> tuple[Array, Array, Array]:
        """Of the defects that have enough places: numbers (J,), middles (J, 3) and longest edges (J,), in cells."""
        numbers, sizes = np.unique(self.marks[self.marks > 0], return_counts=True)
        numbers = numbers[sizes >= _FEWEST]
        inside = [self.positions[self.marks == number] for number in numbers]
        low = np.array([each.min(axis=0) for each in inside]).reshape(-1, 3)
        high = np.array([each.max(axis=0) for each in inside]).reshape(-1, 3)
        return numbers, (low + high) / 2, (high - low).max(axis=1, initial=0)


def defects(points: Array, normals: Array, count: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """A cloud with so many made defects, (M, 3), and which of them each point belongs to, (M,), 0 for none.

    points, normals  (N, 3) of a good cloud
    """
    marks = np.zeros(len(points), np.int64)
    for number in range(1, count + 1):
        share = _drawn(_SHARES, rng)
        kind = FLAWS[int(rng.integers(len(FLAWS)))]
        made = spoiled(points, normals, rng, (kind,), Ranges(share=(share, share), height=_HEIGHTS))
        moves = (made.points - points[made.kept]) * (_drawn(_DEPTHS, rng) if kind == "crack" else 1)
        moved = np.linalg.norm(moves, axis=1)
        marks, normals, points = marks[made.kept], normals[made.kept], points[made.kept] + moves
        marks[made.marked & (moved >= _SHOWS * moved.max())] = number
    return points, marks


def _drawn(limits: tuple[float, float], rng: np.random.Generator) -> float:
    """Between two limits, even in its logarithm."""
    return float(np.exp(rng.uniform(*np.log(limits))))


def boxed(points: Array, boxes: Sequence[tuple[Sequence[float], Sequence[float]]], mask: Array | None = None) -> Array:
    """In which box each point lies, (N,), from 1, 0 for none; of several the last.

    points  (N, 3)     boxes  low and high corners     mask  (N,) bool, the points that belong to a defect where that is known
    raises  BadField for boxes of other dimensions, or a mask of another length
    """
    marks = np.zeros(len(points), np.int64)
    if mask is not None and len(mask) != len(points):
        raise BadField(f"it marks {len(mask)} points of a cloud of {len(points)}; give one mark for each point")
    for number, (low, high) in enumerate(boxes, start=1):
        if len(low) != 3:
            raise BadField(f"its boxes have {len(low)} coordinates, wanted 3; give boxes in the cloud's own coordinates")
        corners = np.array((low, high), points.dtype)  # or a corner that is a point would lie outside
        inside = ((points >= corners[0]) & (points <= corners[1])).all(axis=1)
        marks[inside if mask is None else inside & mask] = number
    return marks


def highest(marks: Array, went: Array) -> Array:
    """The mark of a place: the largest of its points that is not 0, (P,)."""
    found = np.zeros(int(went.max()) + 1, np.int64)
    np.maximum.at(found, went, marks)
    return found


@dataclass(frozen=True, eq=False)
class Crop:
    """A cubic piece of a scene, and what is to be said of its inside, t = s - 2 border.

    grid  (8, s, s, s)     members  (t, t, t) 1, -1, 0 where it is empty     cubes  (S, t, t, t) 1, -1, 0 where nobody asks
    """

    grid: Array
    members: Array
    cubes: Array


@dataclass(frozen=True)
class Cropper:
    """How pieces are cut.

    side  cells of an edge     border  cells from each side within which scores are not complete: nobody asks there
    anchors  edges of the cubes     reaches  how far from an occupied cell each head can be reached
    """

    side: int
    border: int
    anchors: Sequence[float]
    reaches: Sequence[int]

    def __call__(self, scene: Scene, rng: np.random.Generator) -> Crop:
        """A piece about a defect, an odd place, or any place, turned by quarters and mirrored."""
        _, middles, edges = scene.boxes
        low = np.round(self._middle(scene, middles, rng) + rng.uniform(-4, 4, 3)).astype(np.int64) - self.side // 2
        inside = ((scene.cells >= low) & (scene.cells < low + self.side)).all(axis=1)
        places = tuple((scene.cells[inside] - low).T)
        grid = np.zeros((len(FEATURES), self.side, self.side, self.side), np.float32)
        members = np.zeros((self.side,) * 3, np.float32)
        grid[:, places[0], places[1], places[2]] = scene.values[inside].T
        members[places] = np.where(scene.members[inside], 1, -1)
        inner = (slice(self.border, self.side - self.border),) * 3
        asked = (slice(None), *inner)
        cubes = labels(low, self.side, self.anchors, middles, edges)[asked]
        for one, reach in zip(cubes, self.reaches, strict=True):
            one[~_widened(members != 0, reach)[inner]] = 0
        return _turned(Crop(grid, members[inner], cubes), rng)

    def _middle(self, scene: Scene, middles: Array, rng: np.random.Generator) -> Array:
        if len(middles) and rng.random() < 0.75:
            return np.asarray(middles[rng.integers(len(middles))])
        odd = scene.values[:, 1] + scene.values[:, 3]
        hard = np.argsort(-odd)[: max(1, len(odd) // 20)] if rng.random() < 0.5 else np.arange(len(odd))
        return np.asarray(scene.cells[hard[rng.integers(len(hard))]], np.float64)


def _widened(filled: Array, reach: int) -> Array:
    """Cells within so many of a filled one along every axis, bool."""
    from scipy.ndimage import maximum_filter

    return np.asarray(maximum_filter(filled, 2 * reach + 1, mode="constant"))


def _turned(crop: Crop, rng: np.random.Generator) -> Crop:
    axes = rng.permutation(3)
    flips = [axis for axis in range(3) if rng.random() < 0.5]

    def turn(array: Array) -> Array:
        lead = array.ndim - 3
        turned: Array = array.transpose(*range(lead), *(axes + lead))
        return np.ascontiguousarray(np.flip(turned, tuple(axis + lead for axis in flips)))

    return Crop(turn(crop.grid), turn(crop.members), turn(crop.cubes))
