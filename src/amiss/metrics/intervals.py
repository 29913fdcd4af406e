"""Intervals for pixel figures: a bootstrap over pictures, not over pixels, because pixels of one picture are not independent.

A resampled set of pictures would mean sorting all its pixels again. Instead each picture is reduced once to counts between
K thresholds that are the same for all: how many of its fine pixels, how many of its defective ones, and how much region
overlap lies between two of them. A draw is then a weighted sum of pictures. The thresholds are scores at even ranks of the
defective pixels, and scores of fine pixels at false-positive rates that thin out towards 1 (quantisation by rank). That
costs a little: on the thresholds alone a figure differs from the exact one, usually in the fourth decimal. So the ends of the
interval are moved by (exact - quantised): the figure stays exact, its interval is quantised.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.metrics.ranking import check_interval
from amiss.metrics.regions import Overlap, Picture

Array = npt.NDArray[Any]

THRESHOLDS = 1024
_CHUNK = 200  # draws summed at once


@dataclass(frozen=True, eq=False, kw_only=True)
class PictureCounts:
    """What each of N pictures has between K thresholds, the highest score first; made by `collect`.

    fine, defective  (N, K + 1) pixels     overlap  (N, K + 1) sum over its regions of the share of each region
    regions  (N,) how many regions it has
    """

    fine: Array
    defective: Array
    overlap: Array
    regions: Array

    @classmethod
    def collect(cls, pixels: Overlap, pictures: Iterable[Picture]) -> PictureCounts:
        """Read the pictures that `pixels` was gathered from once more, one at a time."""
        levels = thresholds(pixels)
        rows = [_counts(levels, picture) for picture in pictures]
        fine, defective, overlap = (np.array([row[part] for row in rows]) for part in range(3))
        return cls(fine=fine, defective=defective, overlap=overlap, regions=np.array([row[3] for row in rows]))

    def figures(self, weights: Array, limit: float) -> Array:
        """(draws, 3) quantised AUROC, average precision and AUPRO; weights (draws, N), how often each picture was drawn."""
        fine, caught = _summed(weights, self.fine), _summed(weights, self.defective)
        rate, recall = fine / fine[:, -1:], caught / caught[:, -1:]
        precision = caught / np.maximum(caught + fine, 1)
        gained = np.diff(recall, axis=1, prepend=0)
        areas = _areas(rate, recall, 1.0), (gained * precision).sum(axis=1), self.areas(weights, limit)
        return np.stack(areas, axis=1)

    def areas(self, weights: Array, limit: float) -> Array:
        """(draws,) quantised areas under the mean overlap; weights as above."""
        fine, overlap = _summed(weights, self.fine), _summed(weights, self.overlap)
        return _areas(fine / fine[:, -1:], overlap / (weights @ self.regions)[:, None], limit)

    def curve(self, points: int = 201) -> tuple[Array, Array]:
        """The PRO curve of all pictures: false-positive rates (points,), dense near 0, and the mean overlap at each."""
        fine, overlap = (part.sum(axis=0).cumsum() for part in (self.fine, self.overlap))
        rate = np.concatenate([[0.0], fine / fine[-1]])
        wanted = np.linspace(0, 1, points) ** 2
        return wanted, np.interp(wanted, rate, np.concatenate([[0.0], overlap / self.regions.sum()]))

    def intervals(
        self, exact: tuple[float, float, float], limit: float, *, level: float = 0.95, draws: int = 1000, seed: int = 0
    ) -> list[tuple[float, float]]:
        """Percentile bootstrap intervals of pixel AUROC, pixel average precision and AUPRO.

        Pictures with and without defective pixels are drawn with replacement each from their own kind.
        exact  the three figures over all pixels     limit  of the false-positive rate in AUPRO
        """
        check_interval(level, draws)
        drawn = [self.figures(weights, limit) for weights in _drawn(self.regions > 0, draws, seed)]
        quantised = self.figures(np.ones((1, len(self.regions)), np.float32), limit)
        return _ends(np.concatenate(drawn), np.array(exact) - quantised, level)


def averaged_intervals(
    counts: Sequence[PictureCounts],
    kinds: Array,
    exact: Sequence[float],
    limit: float,
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Percentile bootstrap intervals of the area under the overlap for each kind of defect, and last for their mean.

    Good pictures and those of each kind are drawn each from their own; the good ones of a draw serve all kinds.
    counts  of the good pictures and those of kind k = 1, 2, ..., in the order of the pictures
    kinds   (N,) of each picture, 0 for good     exact  the areas over all pixels, one a kind
    """
    check_interval(level, draws)
    members = [np.flatnonzero((kinds == 0) | (kinds == kind)) for kind in range(1, len(counts) + 1)]

    def areas(weights: Array) -> Array:
        each = [one.areas(weights[:, some], limit) for one, some in zip(counts, members, strict=True)]
        return np.stack([*each, np.mean(each, axis=0)], axis=1)

    drawn = [areas(weights) for weights in _drawn(kinds, draws, seed)]
    shift = np.array([*exact, np.mean(exact)]) - areas(np.ones((1, len(kinds)), np.float32))
    return _ends(np.concatenate(drawn), shift, level)


def _drawn(kinds: Array, draws: int, seed: int) -> Iterator[Array]:
    """(some draws, N) how often each picture is drawn, each kind with replacement from its own; the last kind draws first."""
    rng = np.random.default_rng(seed)
    groups = [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)[::-1]]
    for first in range(0, draws, _CHUNK):
        weights = np.zeros((min(_CHUNK, draws - first), len(kinds)), np.float32)
        for members in groups:
            weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), len(weights))
        yield weights


def _ends(drawn: Array, shift: Array, level: float) -> list[tuple[float, float]]:
    """The percentiles of each column, moved by exact - quantised."""
    ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], axis=0) + shift  # (2, figures)
    return [(float(low), float(high)) for low, high in np.clip(ends, 0, 1).T]


def _summed(weights: Array, counts: Array) -> Array:
    """(draws, K + 1) what reaches each threshold in each draw."""
    return np.asarray(weights @ counts, np.float64).cumsum(axis=1)


def thresholds(pixels: Overlap, count: int = THRESHOLDS) -> Array:
    """(K,) distinct scores, ascending: half at even ranks of defective pixels, half at rates of fine ones, dense near 0."""
    ranks = np.linspace(0, len(pixels.defective) - 1, count // 2).round().astype(np.int64)
    rates = np.concatenate([[0.0], np.geomspace(1e-5, 1, count // 2 - 1)])
    places = ((1 - rates) * (len(pixels.fine) - 1)).round().astype(np.int64)
    return np.unique(np.concatenate([pixels.defective[ranks], pixels.fine[places]]))


def _counts(levels: Array, picture: Picture) -> tuple[Array, Array, Array, int]:
    """Pixels and overlap of one picture between the levels, the highest first."""

    def counted(scores: Array, weights: Array | None = None) -> Array:
        place = len(levels) - np.searchsorted(levels, scores, side="right")  # 0 at or above the highest level
        return np.bincount(place, weights, minlength=len(levels) + 1).astype(np.float32)

    return counted(picture.fine), counted(picture.marked), counted(picture.marked, picture.shares), picture.regions


def _areas(x: Array, y: Array, limit: float) -> Array:
    """(draws,) areas below polylines from (0, 0) up to x = limit, divided by the limit; x and y ascend along axis 1."""
    left, low = np.pad(x, ((0, 0), (1, 0)))[:, :-1], np.pad(y, ((0, 0), (1, 0)))[:, :-1]
    width = x - left
    inside = np.clip(limit - left, 0, width)
    share = np.divide(inside, width, out=np.zeros_like(width), where=width > 0)
    return np.asarray((inside * (low + 0.5 * (y - low) * share)).sum(axis=1) / limit)
