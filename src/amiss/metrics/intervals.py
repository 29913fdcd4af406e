"""Intervals for pixel figures: a bootstrap over pictures, not over pixels, because pixels of one picture are not independent.

A resampled set of pictures would mean sorting all its pixels again. Instead each picture is reduced once to counts between
K thresholds that are the same for all: how many of its fine pixels, how many of its defective ones, and how much region
overlap lies between two of them. A draw is then a weighted sum of pictures. The thresholds are scores at even ranks of the
defective pixels, and scores of fine pixels at false-positive rates that thin out towards 1 (quantisation by rank). That
costs a little: on the thresholds alone a figure differs from the exact one, usually in the fourth decimal. So the ends of the
interval are moved by (exact - quantised): the figure stays exact, its interval is quantised.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.metrics.ranking import check_interval
from amiss.metrics.regions import PixelScores, region_shares

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
    def collect(cls, pixels: PixelScores, maps: Iterable[Array], masks: Iterable[Array]) -> PictureCounts:
        """Read the pairs that `pixels` was made of once more, one at a time."""
        levels = thresholds(pixels)
        rows = [_counts(levels, scores, mask) for scores, mask in zip(maps, masks, strict=True)]
        fine, defective, overlap = (np.array([row[part] for row in rows]) for part in range(3))
        return cls(fine=fine, defective=defective, overlap=overlap, regions=np.array([row[3] for row in rows]))

    def figures(self, weights: Array, limit: float) -> Array:
        """(draws, 3) quantised AUROC, average precision and AUPRO; weights (draws, N), how often each picture was drawn."""
        fine, caught, overlap = (
            np.asarray(weights @ part, np.float64).cumsum(axis=1) for part in (self.fine, self.defective, self.overlap)
        )
        rate, recall = fine / fine[:, -1:], caught / caught[:, -1:]
        precision = caught / np.maximum(caught + fine, 1)
        gained = np.diff(recall, axis=1, prepend=0)
        height = overlap / (weights @ self.regions)[:, None]
        return np.stack([_areas(rate, recall, 1.0), (gained * precision).sum(axis=1), _areas(rate, height, limit)], axis=1)

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
        rng = np.random.default_rng(seed)
        kinds = [np.flatnonzero(self.regions > 0), np.flatnonzero(self.regions == 0)]
        found = []
        for first in range(0, draws, _CHUNK):
            weights = np.zeros((min(_CHUNK, draws - first), len(self.regions)), np.float32)
            for members in kinds:
                if len(members):
                    weights[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), len(weights))
            found.append(self.figures(weights, limit))
        shift = np.array(exact) - self.figures(np.ones((1, len(self.regions)), np.float32), limit)[0]
        ends = np.quantile(np.concatenate(found), [(1 - level) / 2, (1 + level) / 2], axis=0) + shift  # (2, 3)
        return [(float(low), float(high)) for low, high in np.clip(ends, 0, 1).T]


def thresholds(pixels: PixelScores, count: int = THRESHOLDS) -> Array:
    """(K,) distinct scores, ascending: half at even ranks of defective pixels, half at rates of fine ones, dense near 0."""
    ranks = np.linspace(0, len(pixels.defective) - 1, count // 2).round().astype(np.int64)
    rates = np.concatenate([[0.0], np.geomspace(1e-5, 1, count // 2 - 1)])
    places = ((1 - rates) * (len(pixels.fine) - 1)).round().astype(np.int64)
    return np.unique(np.concatenate([pixels.defective[ranks], pixels.fine[places]]))


def _counts(levels: Array, scores: Array, mask: Array) -> tuple[Array, Array, Array, int]:
    """Pixels and overlap of one picture between the levels, the highest first."""
    size = len(levels) + 1
    place = len(levels) - np.searchsorted(levels, scores, side="right")  # 0 at or above the highest level
    fine = np.bincount(place[~mask], minlength=size).astype(np.float32)
    if not mask.any():
        empty = np.zeros(size, np.float32)
        return fine, empty, empty, 0
    shares, regions = region_shares(mask)
    defective = np.bincount(place[mask], minlength=size).astype(np.float32)
    return fine, defective, np.bincount(place[mask], weights=shares, minlength=size).astype(np.float32), regions


def _areas(x: Array, y: Array, limit: float) -> Array:
    """(draws,) areas below polylines from (0, 0) up to x = limit, divided by the limit; x and y ascend along axis 1."""
    left, low = np.pad(x, ((0, 0), (1, 0)))[:, :-1], np.pad(y, ((0, 0), (1, 0)))[:, :-1]
    width = x - left
    inside = np.clip(limit - left, 0, width)
    share = np.divide(inside, width, out=np.zeros_like(width), where=width > 0)
    return np.asarray((inside * (low + 0.5 * (y - low) * share)).sum(axis=1) / limit)
