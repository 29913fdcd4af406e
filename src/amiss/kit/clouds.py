"""Clouds to descriptors of their places: the one spot where point clouds are thinned and measured.

A gauge is learned from the good clouds: the edge of a thinning cell, a multiple of their spacing. Every cloud is thinned to it,
in a frame of its own, so that a denser scan of the same part, another unit for all of them, another pose or order of the
points mean the same thing. A cell is stood for by one of its points, not by their mean: that has the less noise the more points
there are, and good scans fifteen times as dense scored like defects.

Horwitz, Hoshen: Back to the Feature, CVPR Workshops 2023, https://arxiv.org/abs/2203.05550, showed that FPFH needs no learning
to find defects; descriptors at two scales, averaged over neighbours, are the recipe of Simple3D (AAAI 2026).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from amiss.errors import BadModelFile, BadSample
from amiss.geometry.cloud import Neighbours, diagonal, mean_around, middlemost, normals, own_frame, spacing, thinned
from amiss.geometry.fpfh import fpfh
from amiss.kit.extract import remember, remembered
from amiss.kit.rims import SEEN, rims
from amiss.spread import PointSpread
from amiss.types import Sample

Array = npt.NDArray[Any]
T = TypeVar("T")
log = logging.getLogger(__name__)

_EDITION = 2  # of what is measured: when it changes, what caches hold is measured anew
_LOOKED_AT = 25  # good clouds that the gauge is learned from
_ODD = 2.0  # times larger or smaller than any good cloud, from which on a scan is named
_ONE_SIDED = 0.05  # share of places near a rim
_USUAL, _ENOUGH = 0.75, 0.8  # quantile of what places have around them; share of it from which on a place counts in full
_SPARSE = 1.4  # times as far apart as the points of good clouds, or as cells are wide, from which on a scan is named
_MEASURES = {"cell", "spacing", "low", "high"}
_FITTED = 3.0  # cells, the radius of what a normal is fitted to
_LEANT = (2.2, 3.5)  # cells, the radii of what a place may lean from


@dataclass(frozen=True)
class Gauge:
    """What clouds are measured with, in the unit of the good ones.

    cell  edge of a thinning cell     spacing  of the middle good cloud     low, high  diagonals of the smallest and the largest
    """

    cell: float
    spacing: float
    low: float
    high: float

    @classmethod
    def of(cls, clouds: Sequence[Sample], cells: float, most: int) -> Gauge:
        """cells  edge of a cell in spacings of the good clouds     most  points that the middle one may have after thinning"""
        picks = np.unique(np.linspace(0, len(clouds) - 1, min(_LOOKED_AT, len(clouds))).round().astype(int)).tolist()
        frames, spacings = [], []
        for pick in picks:
            points = points_of(clouds[pick])
            spacings.append(_named(clouds[pick], spacing, points))
            frames.append(_named(clouds[pick], own_frame, points))
        usual = float(np.median(spacings))
        cell = cells * usual
        while (count := float(np.median([len(thinned(frame, cell)[0]) for frame in frames]))) > most:
            cell *= 1.02 * np.sqrt(count / most)  # a surface has as many cells as the square of their edge says
        lengths = [float(np.linalg.norm(np.ptp(frame, axis=0))) for frame in frames]
        return cls(cell, usual, min(lengths), max(lengths))

    @classmethod
    def restored(cls, fact: Any) -> Gauge:
        """From what a model file holds; raises BadModelFile where it is anything else."""
        if not isinstance(fact, dict) or set(fact) != _MEASURES or not _lengths(list(fact.values())):
            raise BadModelFile(f"its gauge is {fact!r}, wanted cell, spacing, low and high, lengths above zero; fit it again")
        return cls(**fact)

    def doubts(self, points: Array) -> list[str]:
        """What is odd about the scale of a cloud, in plain words."""
        length, gap = diagonal(points), spacing(points)
        found = []
        if not self.low / _ODD <= length <= self.high * _ODD:
            found.append(
                f"it is {length:.4g} across, the good ones are {self.low:.4g} to {self.high:.4g}: another unit, another part, "
                "or background in the scan"
            )
        if gap > _SPARSE * max(self.spacing, self.cell):
            found.append(
                f"its points lie {gap:.4g} apart, those of the good ones {self.spacing:.4g}, and the model looks at cells of "
                f"{self.cell:.4g}: scan it more densely"
            )
        return found


@dataclass(frozen=True, eq=False)
class CloudFeatures:
    """What is seen of one cloud.

    layers  one (P, 33) array of descriptors a scale; (P, 66) with changes; a last one (P, 4) with leans, weighed
    places, normals  (P, 3) float32, in the cloud's own coordinates     rim  (P,) bool, near the rim of a scan from one side
    around  (P,) float32, how much surface it has around it as far as descriptors look, as a share of what most places have
    spread  the way back to all points     doubts  what is odd about its scale
    """

    layers: list[Array]
    places: Array
    normals: Array
    rim: Array
    around: Array
    spread: PointSpread
    doubts: list[str]

    @property
    def one_sided(self) -> bool:
        """Whether it is a scan from one side: made ones have a fifth and more of their places near a rim, whole ones none."""
        return float(self.rim.mean()) > _ONE_SIDED

    @property
    def weights(self) -> Array:
        """What the descriptors of places count, (P,) float32 up to 1: less where a scan from one side shows little around them.

        Thin strips that are seen through gaps, and corners of the scan, look like nothing that any other view shows.
        """
        return np.minimum(self.around / np.float32(_ENOUGH), 1) if self.one_sided else np.ones(len(self.places), np.float32)


class CloudExtractor:
    """FPFH at several scales, averaged over neighbours, and leans, with an optional cache on disk."""

    def __init__(self, scales: tuple[float, ...], averaged: float, gauge: Gauge, *, changes: bool = False, lean: float = 0):
        """scales  radii that a descriptor looks at     averaged  radius that it is averaged over, 0 for none; all in cells
        changes  whether the most that it changes by within that radius is joined to it
        lean    weight of how far what lies around a place leans away from it, 0 for none
        """
        self.scales, self.averaged, self.gauge, self.changes, self.lean = scales, averaged, gauge, changes, lean
        self._leant = _LEANT if lean else ()
        self._names = [f"scale{number}" for number in range(len(scales))] + ["lean"] * bool(lean)

    @property
    def channels(self) -> list[int]:
        """Of every layer."""
        return [66 if self.changes else 33] * len(self.scales) + [2 * len(_LEANT)] * bool(self.lean)

    def __call__(self, sample: Sample, *, cache: Path | None = None) -> CloudFeatures:
        """Descriptors of one sample that has points; a scan whose scale does not fit the good ones is named in the log.

        cache   folder to look in first and to write to, keyed by content, scales and gauge
        raises  BadSample for a cloud of too few points, or without a surface
        """
        points = points_of(sample)
        doubts = _named(sample, self.gauge.doubts, points)
        for doubt in doubts:
            log.warning("%s: %s", sample.id, doubt)
        told = f"fpfh {_EDITION} {self.scales} {self.averaged} {self.changes} {self._leant} {self.gauge.cell!r}"
        path = (
            None
            if cache is None
            else cache / f"{sample.digest}-{hashlib.blake2b(told.encode(), digest_size=8).hexdigest()}.npz"
        )
        found = None if path is None else remembered(path)
        if found is None or set(found) != {*self._names, "places", "normals", "rim", "around"}:
            found = _named(sample, self._measured, points, doubts)
            if path is not None:
                remember(path, found)
        places, layers = found["places"], [found[name] for name in self._names]
        if self.lean:
            layers[-1] = layers[-1] * np.float32(self.lean)
        spread = PointSpread(places, points)
        return CloudFeatures(layers, places, found["normals"], found["rim"], found["around"], spread, doubts)

    def _measured(self, points: Array) -> dict[str, Array]:
        """Descriptors by scale, and places."""
        cell, origin = self.gauge.cell, points.mean(axis=0, dtype=np.float64)
        frame = own_frame(points)
        places = points[middlemost(frame, thinned(frame, cell)[1])] - origin
        near = Neighbours.around(places, cell * max(*self.scales, *self._leant, self.averaged, _FITTED, SEEN))
        directions = normals(places, near.inside(cell * _FITTED))
        found = {"places": (places + origin).astype(np.float32), "normals": directions.astype(np.float32)}
        found["rim"] = rims(places, directions, near, cell, cell * max(self.scales))
        counts = near.inside(cell * max(self.scales), least=0).held.sum(axis=1)
        found["around"] = (counts / max(np.quantile(counts, _USUAL), 1)).astype(np.float32)
        close = near.inside(cell * self.averaged, least=0)
        for name, radius in zip(self._names, self.scales, strict=False):  # leans have the last name
            descriptors = fpfh(places, directions, near.inside(cell * radius))
            found[name] = mean_around(descriptors, close) if self.averaged else descriptors
            if self.changes:
                found[name] = np.concatenate([found[name], most_change(descriptors, close)], axis=1)
        if self._leant:
            leans = [lean(places, directions, near.inside(cell * radius), cell * radius) for radius in self._leant]
            found["lean"] = mean_around(np.concatenate(leans, axis=1), close)
        return found


def lean(points: Array, directions: Array, near: Neighbours, radius: float) -> Array:
    """How far the mean of what lies within a radius is from each point: along its normal, and across it; in radii, (P, 2).

    Across it is nothing inside an even surface and much at a rim, be it of a hole or of the scan, which FPFH hardly sees:
    what is not there turns no normal. Along it is the bend.

    points  (P, 3) about the origin     directions  (P, 3) unit normals     near  those within the radius
    """
    away = (mean_around(points, near) - points) / radius
    along = np.einsum("ni,ni->n", away, directions)
    across = np.linalg.norm(away - along[:, None] * directions, axis=1)
    return np.stack([along, across], axis=1).astype(np.float32)


def most_change(descriptors: Array, near: Neighbours) -> Array:
    """The largest difference to a neighbour, channel by channel, (P, C)."""
    found = np.zeros_like(descriptors)
    for column in range(near.indices.shape[1]):  # a neighbour that is not there is the place itself
        np.maximum(found, np.abs(descriptors[near.indices[:, column]] - descriptors), out=found)
    return found


def _lengths(values: list[Any]) -> bool:
    return all(isinstance(value, float) and 0 < value < np.inf for value in values)


def points_of(sample: Sample) -> Array:
    """(N, 3) of a sample that has them."""
    assert sample.points is not None  # the detector has checked what it sees
    return sample.points


def _named(sample: Sample, look: Callable[[Array], T], points: Array, doubts: Sequence[str] = ()) -> T:
    """What is seen of the points; an error says whose they are, and what was odd about them before."""
    try:
        return look(points)
    except BadSample as error:
        raise BadSample("; ".join((f"{sample.id}: {error}", *doubts))) from error
