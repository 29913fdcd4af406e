"""How well a score ranks bad above good: AUROC, average precision, best F1, and an interval for each.

All of them depend on the order of the scores only. As a threshold falls past good scores nothing but false alarms grows,
so every figure is determined by what happens at the distinct scores of the bad. `Steps` counts that once; the same
counts serve pictures here and pixels in `regions`. Ties are exact: equal scores pass a threshold together.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    Where the classes do not overlap every draw is perfect too, and the interval has no width: that is no certainty,
    see `separated_bound`.
    scores  (N,) raw, higher is more anomalous     labels  (N,) bool or 0/1, true is bad
    level   share of intervals meant to hold the true value     draws  resampled data sets
    return  low and high end
    raises  BadSample, UndefinedMetric as auroc; BadField for a level outside (0, 1) or fewer than one draw
    """
    return _interval(_auroc_of, _sorted_classes(scores, labels), level=level, draws=draws, seed=seed)


def average_precision_interval(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The same interval for the average precision; the share of bad samples stays what it is. Arguments as above."""
    return _interval(_average_precision_of, _sorted_classes(scores, labels), level=level, draws=draws, seed=seed)


def f1_max_interval(
    scores: npt.ArrayLike, labels: npt.ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """An interval for the best F1; every draw chooses its own threshold. Arguments as above.

    A best value runs high, and that of resampled data higher still, so the percentiles are reflected at the figure (the basic
    bootstrap); even so the interval is a little short: on 80 + 80 normal scores it held the true value in 90 of 100 cases.
    """
    low, high = _interval(_f1_max_of, _sorted_classes(scores, labels), level=level, draws=draws, seed=seed)
    figure = f1_max(scores, labels)
    return min(figure, max(0.0, 2 * figure - high)), max(figure, min(1.0, 2 * figure - low))


def mean_auroc_interval(
    scores: npt.ArrayLike, kinds: npt.ArrayLike, *, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """The same interval for the mean of the AUROCs of several kinds of bad samples, each against all good ones.

    The good samples of a draw serve all kinds.
    scores  (N,) raw     kinds  (N,) 0 for good, then a number for each kind; other arguments and errors as above
    """
    values, numbers = _numbers(scores, "scores"), _numbers(kinds, "kinds")
    pairs = [(numbers == 0) | (numbers == kind) for kind in np.unique(numbers[numbers != 0])]
    classes = [_sorted_classes(values[some], numbers[some] != 0) for some in pairs]
    if not classes:
        raise UndefinedMetric(f"none of the {len(values)} samples is bad; a ranking needs both good and bad ones")

    def figure(good: Array, *bad: Array) -> Array:
        return np.asarray(np.mean([_auroc_of(good, kind) for kind in bad], axis=0))

    return _interval(figure, (classes[0][0], *(bad for _, bad in classes)), level=level, draws=draws, seed=seed)


def separated_bound(good: int, bad: int, *, level: float = 0.95) -> float:
    """The smallest AUROC that a perfect ranking of so few samples does not rule out.

    Pair good and bad samples so that none is used twice: min(good, bad) independent pairs, each won with the probability that
    the AUROC is. All were won, so the lower end of Clopper and Pearson's interval (1934) is ((1 - level) / 2) ^ (1 / pairs).
    Pairs that share a sample are not counted, so the bound is a cautious one.
    """
    return float(((1 - level) / 2) ** (1 / min(good, bad)))


def _interval(
    figure: Callable[..., Array], classes: Sequence[Array], *, level: float, draws: int, seed: int
) -> tuple[float, float]:
    """figure  of (draws, width) counts of each class, the good one first, at each distinct score, ascending: (draws,)"""
    check_interval(level, draws)
    values = np.unique(np.concatenate(classes))
    places = [np.searchsorted(values, some) for some in classes]
    width, rng = len(values), np.random.default_rng(seed)
    rows = max(1, _CHUNK // sum(map(len, classes)))
    parts = []
    for first in range(0, draws, rows):
        count = min(rows, draws - first)
        parts.append(figure(*[_resampled_counts(place, count, width, rng=rng) for place in places]))
    low, high = np.quantile(np.concatenate(parts), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def check_interval(level: float, draws: int) -> None:
    """raises  BadField for a level outside (0, 1) or fewer than one draw"""
    if not 0 < level < 1:
        raise BadField(f"level = {level}: the share of intervals meant to hold the true value, between 0 and 1, e.g. 0.95")
    if draws < 1:
        raise BadField(f"draws = {draws}: wanted 1 or more resampled data sets, e.g. 2000")


def _auroc_of(good: Array, bad: Array) -> Array:
    below = 2 * good.cumsum(axis=1) - good  # (draws, width) twice the good scores beaten, a tie counting once
    return np.asarray(np.einsum("ij,ij->i", bad, below) / (2 * good[0].sum() * bad[0].sum()))


def _average_precision_of(good: Array, bad: Array) -> Array:
    caught, reached = _passed(good, bad)
    return np.asarray((bad[:, ::-1] * (caught / np.maximum(caught + reached, 1))).sum(axis=1) / bad[0].sum())


def _f1_max_of(good: Array, bad: Array) -> Array:
    caught, reached = _passed(good, bad)
    return np.asarray((2 * caught / (caught + reached + bad[0].sum())).max(axis=1))


def _passed(good: Array, bad: Array) -> tuple[Array, Array]:
    """(draws, width) how many bad and how many good samples reach each distinct score, the largest score first."""
    return bad[:, ::-1].cumsum(axis=1), good[:, ::-1].cumsum(axis=1)


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
