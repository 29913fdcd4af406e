"""How well a score ranks bad above good: AUROC, average precision, best F1, and an interval for the AUROC.

All of them depend on the order of the scores only. As a threshold falls past good scores nothing but false alarms grows,
so every figure is determined by what happens at the distinct scores of the bad. `Steps` counts that once; the same
counts serve pictures here and pixels in `regions`. Ties are exact: equal scores pass a threshold together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadField, BadSample, UndefinedMetric

Array = npt.NDArray[Any]

_CHUNK = 1 << 20  # resampled scores held at once by the bootstrap, 8 MB an array


@dataclass(frozen=True, eq=False)
class Steps:
    """What passes each threshold (score >= threshold) when it falls through the K distinct scores of the bad.

    above   (K,) how many good scores lie above the threshold     reached  (K,) the same with those equal to it
    caught  (K,) how many bad scores reach it, the last entry being all of them     good  how many good scores there are
    """

    above: Array
    reached: Array
    caught: Array
    good: int

    @classmethod
    def between(cls, good: Array, bad: Array) -> Steps:
        """good, bad  (N,) and (M,) scores, both ascending, not empty, finite and of one dtype"""
        fresh = np.ones(len(bad), bool)
        np.not_equal(bad[1:], bad[:-1], out=fresh[1:])
        starts = np.flatnonzero(fresh)  # (K,) where each distinct score begins
        thresholds = bad[starts]
        above, reached = (np.searchsorted(good, thresholds, side=side) for side in ("right", "left"))
        for counts, total in ((above, len(good)), (reached, len(good)), (starts, len(bad))):
            np.subtract(total, counts, out=counts)  # from how many lie below to how many do not
        return cls(above[::-1], reached[::-1], starts[::-1], len(good))

    def auroc(self) -> float:
        """Share of (good, bad) pairs in which the bad one scores higher, ties one half (Mann and Whitney, 1947)."""
        below = 2 * self.good - self.above - self.reached  # twice the good scores beaten, a tie counting once
        wins = int(np.diff(self.caught, prepend=0) @ below)
        return wins / (2 * self.good * int(self.caught[-1]))

    def average_precision(self) -> float:
        """Precision at each step, weighted by the recall it adds; no interpolation between steps."""
        precision = self.caught / (self.caught + self.reached)
        return float(np.diff(self.caught, prepend=0) @ precision / self.caught[-1])

    def f1_max(self) -> float:
        """Largest 2 TP / (2 TP + FP + FN) over all thresholds."""
        return float((2 * self.caught / (self.caught + self.reached + self.caught[-1])).max())


def auroc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Area under the ROC curve: how often a bad sample scores higher than a good one, ties counting half.

    scores  (N,) raw, higher is more anomalous     labels  (N,) bool or 0/1, true is bad
    raises  BadSample for shapes or values that cannot be ranked; UndefinedMetric where one class is missing
    """
    return Steps.between(*_sorted_classes(scores, labels)).auroc()


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Area under the precision-recall curve as a sum of steps, samples with equal scores entering together.

    scores  (N,) raw, higher is more anomalous     labels  (N,) bool or 0/1, true is bad
    raises  BadSample for shapes or values that cannot be ranked; UndefinedMetric where one class is missing
    """
    return Steps.between(*_sorted_classes(scores, labels)).average_precision()


def f1_max(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The best F1 that any threshold on the scores reaches: chosen with the labels in sight, so an upper bound.

    scores  (N,) raw, higher is more anomalous     labels  (N,) bool or 0/1, true is bad
    raises  BadSample for shapes or values that cannot be ranked; UndefinedMetric where one class is missing
    """
    return Steps.between(*_sorted_classes(scores, labels)).f1_max()


def auroc_interval(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """Percentile bootstrap interval of the AUROC (Efron, 1979).

    Good and bad samples are drawn with replacement each from their own class, so that every draw has both.
    Where the classes do not overlap every draw is perfect too, and the interval has no width: that is no certainty.
    scores  (N,) raw, higher is more anomalous     labels  (N,) bool or 0/1, true is bad
    level   share of intervals meant to hold the true value     draws  resampled data sets
    return  low and high end
    raises  BadSample, UndefinedMetric as auroc; BadField for a level outside (0, 1) or fewer than one draw
    """
    good, bad = _sorted_classes(scores, labels)
    if not 0 < level < 1:
        raise BadField(f"level = {level}: the share of intervals meant to hold the true value, between 0 and 1, e.g. 0.95")
    if draws < 1:
        raise BadField(f"draws = {draws}: wanted 1 or more resampled data sets, e.g. 2000")
    values = np.unique(np.concatenate([good, bad]))
    places = np.searchsorted(values, good), np.searchsorted(values, bad)
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // (len(good) + len(bad)))
    parts = [_resampled_aurocs(*places, min(rows, draws - first), rng=rng) for first in range(0, draws, rows)]
    low, high = np.quantile(np.concatenate(parts), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _resampled_aurocs(good: Array, bad: Array, draws: int, *, rng: np.random.Generator) -> Array:
    """(draws,) AUROCs of resampled data; good and bad hold each sample's place among the distinct scores."""
    width = int(max(good[-1], bad[-1])) + 1
    good_counts = _resampled_counts(good, draws, width, rng=rng)
    bad_counts = _resampled_counts(bad, draws, width, rng=rng)
    below = 2 * good_counts.cumsum(axis=1) - good_counts  # (draws, width) twice the good scores beaten, a tie counting once
    return np.asarray(np.einsum("ij,ij->i", bad_counts, below) / (2 * len(good) * len(bad)))


def _resampled_counts(places: Array, draws: int, width: int, *, rng: np.random.Generator) -> Array:
    """(draws, width) how often each distinct score occurs when the samples are drawn with replacement."""
    drawn = places[rng.integers(0, len(places), (draws, len(places)))]
    drawn += np.arange(draws)[:, None] * width
    return np.bincount(drawn.ravel(), minlength=draws * width).reshape(draws, width)


def _sorted_classes(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Array, Array]:
    """The scores of the good and of the bad samples, each ascending."""
    values, truth = _numbers(scores, "scores"), _numbers(labels, "labels")
    if len(values) != len(truth):
        raise BadSample(f"{len(values)} scores for {len(truth)} labels; give one label a score")
    strange = np.flatnonzero((truth != 0) & (truth != 1))
    if len(strange):
        raise BadSample(f"label {strange[0]} is {truth[strange[0]]}; wanted true or 1 for bad, false or 0 for good")
    odd = np.flatnonzero(~np.isfinite(values))
    if len(odd):
        raise BadSample(f"score {odd[0]} is {values[odd[0]]} ({len(odd)} of {len(values)} are not finite); drop or repair it")
    bad = truth == 1
    for present, kind in ((~bad, "good"), (bad, "bad")):
        if not present.any():
            raise UndefinedMetric(f"none of the {len(values)} samples is {kind}; a ranking needs both good and bad ones")
    return np.sort(values[~bad]), np.sort(values[bad])


def _numbers(raw: npt.ArrayLike, name: str) -> Array:
    try:
        array = np.asarray(raw)
    except (ValueError, TypeError):
        raise BadSample(f"{name} do not form an array; wanted (N,) numbers") from None
    if array.ndim != 1 or (array.dtype.kind not in "biuf" and array.size):
        raise BadSample(f"{name} have shape {array.shape} and type {array.dtype}; wanted (N,) numbers, flatten or convert them")
    return array
