"""Intervals for figures of places (pixels, points): a bootstrap over parts, because places of one part are not independent.

A resampled set of parts would mean sorting all its places again. Instead each part is reduced once to counts between
K thresholds that are the same for all: how many of its fine places, how many of its defective ones, and how much region
overlap lies between two of them. A draw is then a weighted sum of parts. The thresholds are scores at even ranks of the
defective places, and scores of fine places at false-positive rates that thin out towards 1 (quantisation by rank). That
costs a little: on the thresholds alone a figure differs from the exact one, usually in the fourth decimal. So the ends of the
interval are moved by (exact - quantised): the figure stays exact, its interval is quantised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.metrics.ranking import check_interval
from amiss.metrics.regions import Overlap, Part

Array = npt.NDArray[Any]

THRESHOLDS = 1024
_CHUNK = 200  # draws summed at once


@dataclass(frozen=True, eq=False, kw_only=True)
class PartCounts:
    """What each of N parts has between K thresholds, the highest score first; made by `collect`.

    fine, defective  (N, K + 1) places     overlap  (N, K + 1) sum over its regions of the share of each region
    regions  (N,) how many regions it has
    """

    fine: Array
    defective: Array
    overlap: Array
    regions: Array

    @classmethod
    def collect(cls, gathered: Overlap, parts: Iterable[Part]) -> PartCounts:
        """Read the parts that `gathered` was made of once more, one at a time."""
        levels = thresholds(gathered)
        rows = [_counts(levels, part) for part in parts]
        fine, defective, overlap = (np.array([row[column] for row in rows]) for column in range(3))
        return cls(fine=fine, defective=defective, overlap=overlap, regions=np.array([row[3] for row in rows]))

    def figures(self, weights: Array, limit: float) -> Array:
        """(draws, 3) quantised AUROC, average precision and AUPRO; weights (draws, N), how often each part was drawn."""
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
        """The PRO curve of all parts: false-positive rates (points,), dense near 0, and the mean overlap at each."""
        fine, overlap = (part.sum(axis=0).cumsum() for part in (self.fine, self.overlap))
        rate = np.concatenate([[0.0], fine / fine[-1]])
        wanted = np.linspace(0, 1, points) ** 2
        return wanted, np.interp(wanted, rate, np.concatenate([[0.0], overlap / self.regions.sum()]))

    def intervals(
        self, exact: tuple[float, float, float], limit: float, *, level: float = 0.95, draws: int = 1000, seed: int = 0
    ) -> list[tuple[float, float]]:
        """Percentile bootstrap intervals of AUROC and average precision over places and of AUPRO.

        Parts with and without defective places are drawn with replacement each from their own kind.
        exact  the three figures over all places     limit  of the false-positive rate in AUPRO
        """
        check_interval(level, draws)
        drawn = [self.figures(weights, limit) for weights in _draws(self.regions > 0, draws, seed)]
        quantised = self.figures(np.ones((1, len(self.regions)), np.float32), limit)
        return _ends(np.concatenate(drawn), np.array(exact) - quantised, level)


def averaged_intervals(
    counts: Sequence[PartCounts],
    kinds: Array,
    exact: Sequence[float],
    limit: float,
    *,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Percentile bootstrap intervals of the area under the overlap for each kind of defect, and last for their mean.

    Good parts and those of each kind are drawn each from their own; the good ones of a draw serve all kinds.
    counts  of the good parts and those of kind k = 1, 2, ..., in the order of the parts
    kinds   (N,) of each part, 0 for good     exact  the areas over all places, one a kind
    """
    check_interval(level, draws)
    members = [np.flatnonzero((kinds == 0) | (kinds == kind)) for kind in range(1, len(counts) + 1)]

    def areas(weights: Array) -> Array:
        each = [one.areas(weights[:, some], limit) for one, some in zip(counts, members, strict=True)]
        return np.stack([*each, np.mean(each, axis=0)], axis=1)

    drawn = [areas(weights) for weights in _draws(kinds, draws, seed)]
    shift = np.array([*exact, np.mean(exact)]) - areas(np.ones((1, len(kinds)), np.float32))
    return _ends(np.concatenate(drawn), shift, level)


def part_interval(
    figure: Callable[[Array], Array], kinds: Array, *, level: float = 0.95, draws: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of any figure that knows how often each part was drawn.

    figure  of (draws, N) weights: (draws,)     kinds  (N,) parts of one kind are drawn with replacement from their own
    raises  BadField for a level outside (0, 1) or fewer than one draw
    """
    check_interval(level, draws)
    return _ends(np.concatenate([figure(weights) for weights in _draws(kinds, draws, seed)])[:, None], np.zeros(1), level)[0]


def mean_interval(values: Array, *, level: float = 0.95, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """The same for the plain mean of a figure that each part has on its own; values (N,) in 0..1, arguments as above."""
    return part_interval(
        lambda weights: weights @ values / len(values), np.zeros(len(values)), level=level, draws=draws, seed=seed
    )


def _draws(kinds: Array, draws: int, seed: int) -> Iterator[Array]:
    """(some draws, N) how often each part is drawn, each kind with replacement from its own; the last kind draws first."""
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


def thresholds(gathered: Overlap, count: int = THRESHOLDS) -> Array:
    """(K,) distinct scores, ascending: half at even ranks of defective places, half at rates of fine ones, dense near 0."""
    ranks = np.linspace(0, len(gathered.defective) - 1, count // 2).round().astype(np.int64)
    rates = np.concatenate([[0.0], np.geomspace(1e-5, 1, count // 2 - 1)])
    places = ((1 - rates) * (len(gathered.fine) - 1)).round().astype(np.int64)
    return np.unique(np.concatenate([gathered.defective[ranks], gathered.fine[places]]))


def _counts(levels: Array, part: Part) -> tuple[Array, Array, Array, int]:
    """Places and overlap of one part between the levels, the highest first."""

    def counted(scores: Array, weights: Array | None = None) -> Array:
        place = len(levels) - np.searchsorted(levels, scores, side="right")  # 0 at or above the highest level
        return np.bincount(place, weights, minlength=len(levels) + 1).astype(np.float32)

    return counted(part.fine), counted(part.marked), counted(part.marked, part.shares), part.regions


def _areas(x: Array, y: Array, limit: float) -> Array:
    """(draws,) areas below polylines from (0, 0) up to x = limit, divided by the limit; x and y ascend along axis 1."""
    left, low = np.pad(x, ((0, 0), (1, 0)))[:, :-1], np.pad(y, ((0, 0), (1, 0)))[:, :-1]
    width = x - left
    inside = np.clip(limit - left, 0, width)
    share = np.divide(inside, width, out=np.zeros_like(width), where=width > 0)
    return np.asarray((inside * (low + 0.5 * (y - low) * share)).sum(axis=1) / limit)
