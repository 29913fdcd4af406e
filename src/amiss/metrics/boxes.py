"""How well boxes find defects: average precision, recall, false boxes, and hits of the centre.

Boxes of a part take truths greedily: the one with the highest score first takes, of the truths still free, the one that it
fits best. What takes none is false. Fitting is an intersection over union of at least `iou`; for hits, that the box's centre
lies in the truth. (In the code of PASCAL VOC a box asks only for the truth it overlaps most, taken or not; of two defects
close together that can lose one.)

Average precision is that of PASCAL VOC since 2010: the area below the precision, made monotone from the right, over recall.
Equal scores pass a threshold together. No box at all finds nothing, so it scores 0; without a truth nothing is defined.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadField, BadSample, UndefinedMetric
from amiss.geometry.boxes import overlaps
from amiss.metrics.intervals import part_interval
from amiss.types import Box

Array = npt.NDArray[Any]
Boxes = Sequence[Box]

IOU = 0.25
_EDGE = 1e-9  # a rate times a number of parts may miss a whole number by its rounding


@dataclass(frozen=True, eq=False, kw_only=True)
class Matches:
    """The D boxes found on N parts, the highest score first, and which of them took a truth.

    scores  (D,)     hits  (D,) bool     owners  (D,) the part of each     truths  (N,) how many each part has
    """

    scores: Array
    hits: Array
    owners: Array
    truths: Array

    @classmethod
    def by_overlap(cls, found: Iterable[Boxes], truths: Iterable[Boxes], *, iou: float = IOU) -> Matches:
        """Match the boxes found on each part with its true ones.

        iou  intersection over union from which on a box fits, above 0 and at most 1
        raises  BadField for another iou; BadSample for more of one than of the other, or boxes of unlike dimensions
        """
        if not 0 < iou <= 1:
            raise BadField(f"iou = {iou}: the overlap from which on a box counts, above 0 and at most 1, e.g. {IOU}")

        def fits(boxes: Array, true: Array) -> Array:
            shares = overlaps(boxes, true)
            return np.where(shares >= iou, shares, 0)

        return cls._gathered(found, truths, fits)

    @classmethod
    def by_centre(cls, found: Iterable[Boxes], truths: Iterable[Boxes]) -> Matches:
        """The same, where a box fits a truth that its centre lies in, the better the nearer their centres; errors as above."""
        return cls._gathered(found, truths, _centred)

    @classmethod
    def _gathered(cls, found: Iterable[Boxes], truths: Iterable[Boxes], fits: Callable[[Array, Array], Array]) -> Matches:
        scores, hits, owners, counts = [np.empty(0)], [np.empty(0, bool)], [np.empty(0, np.int64)], []
        missing: Any = object()
        for index, (boxes, true) in enumerate(zip_longest(found, truths, fillvalue=missing)):
            if boxes is missing or true is missing:
                raise BadSample(
                    f"boxes for {index} parts only; give the boxes found and the true ones of each part, () for none"
                )
            scores.append(np.array([box.score for box in boxes]))
            hits.append(_taken(scores[-1], fits(*_corners(boxes, true, index))))
            owners.append(np.full(len(boxes), index))
            counts.append(len(true))
        order = np.argsort(-np.concatenate(scores), kind="stable")
        sorted_, took, whose = (np.concatenate(some)[order] for some in (scores, hits, owners))
        if not sum(counts):
            raise UndefinedMetric(f"none of the {len(counts)} parts has a true box, so there is nothing to find")
        return cls(scores=sorted_, hits=took, owners=whose, truths=np.array(counts))

    def average_precision(self) -> float:
        """Area below the precision over recall, precision made monotone from the right."""
        return float(self._precision(self._once)[0])

    def recall(self, threshold: float = -np.inf) -> float:
        """Share of the truths that boxes of at least that score have taken."""
        return float(self.hits[self.scores >= threshold].sum() / self.truths.sum())

    def false_boxes(self, threshold: float = -np.inf) -> float:
        """Boxes of at least that score for each part without a true one.

        raises  UndefinedMetric where every part has one
        """
        return float(self._alarming[self.scores >= threshold].sum() / self._good())

    def recall_at(self, rate: float) -> float:
        """The largest recall at which parts without a true box have at most so many boxes on average; errors as above."""
        return float(self._recall(self._once, self._alarming, self.truths == 0, rate)[0])

    def hits_at(self, rate: float) -> float:
        """The largest recall at which all parts, good and defective, have at most so many false boxes on average."""
        return float(self._recall(self._once, ~self.hits, np.ones(len(self.truths), bool), rate)[0])

    def average_precision_interval(self) -> tuple[float, float]:
        """95 % by a bootstrap over parts, those with and without true boxes drawn each from their own kind."""
        return part_interval(self._precision, self.truths > 0)

    def recall_at_interval(self, rate: float) -> tuple[float, float]:
        """The same for `recall_at`; every draw has a threshold of its own."""
        good = self.truths == 0
        return part_interval(lambda weights: self._recall(weights, self._alarming, good, rate), ~good)

    # -- figures of (draws, N) weights: how often each part was drawn --------------------------------------------------

    @property
    def _once(self) -> Array:
        return np.ones((1, len(self.truths)))

    @property
    def _alarming(self) -> Array:
        """(D,) whether a box lies in a part without a true one."""
        return np.asarray(self.truths[self.owners] == 0)

    def _good(self) -> int:
        count = int((self.truths == 0).sum())
        if not count:
            raise UndefinedMetric("every part has a true box, so no part tells how many false ones a good part gets")
        return count

    def _passed(self, weights: Array, counted: Array) -> Array:
        """(draws, K) how many of the boxes that count reach each of the K distinct scores, the highest first."""
        last = np.append(self.scores[1:] != self.scores[:-1], [True] * (len(self.scores) > 0)).astype(bool)
        return np.asarray((weights[:, self.owners] * counted).cumsum(axis=1)[:, last])

    def _precision(self, weights: Array) -> Array:
        caught, wrong = self._passed(weights, self.hits), self._passed(weights, ~self.hits)
        precision = caught / np.maximum(caught + wrong, 1)
        best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        return np.asarray((np.diff(caught, axis=1, prepend=0) * best).sum(axis=1) / (weights @ self.truths))

    def _recall(self, weights: Array, alarming: Array, among: Array, rate: float) -> Array:
        if not rate >= 0:
            raise BadField(f"rate = {rate}: false boxes that a part may have on average, 0 or more, e.g. 0.1")
        if not among.any():
            self._good()
        allowed = self._passed(weights, alarming) <= rate * weights[:, among].sum(axis=1, keepdims=True) + _EDGE
        caught = np.pad(self._passed(weights, self.hits), ((0, 0), (1, 0)))
        return np.asarray(caught[np.arange(len(weights)), allowed.sum(axis=1)] / (weights @ self.truths))


def average_precision(found: Iterable[Boxes], truths: Iterable[Boxes], *, iou: float = IOU) -> float:
    """Average precision at an overlap.

    found   the boxes of each part     truths  its true ones, () for a good part     iou, errors  as Matches.by_overlap
    """
    return Matches.by_overlap(found, truths, iou=iou).average_precision()


def recall(found: Iterable[Boxes], truths: Iterable[Boxes], *, iou: float = IOU, threshold: float = -np.inf) -> float:
    """Share of the true boxes that are found by boxes of at least a score; arguments and errors as above."""
    return Matches.by_overlap(found, truths, iou=iou).recall(threshold)


def false_boxes(found: Iterable[Boxes], truths: Iterable[Boxes], *, threshold: float = -np.inf) -> float:
    """Boxes of at least a score for each good part; arguments as above, UndefinedMetric also without a good part."""
    return Matches.by_overlap(found, truths).false_boxes(threshold)


def centre_recall(found: Iterable[Boxes], truths: Iterable[Boxes], *, rate: float = 1.0) -> float:
    """Share of the true boxes that the centre of a box lies in, at the score where a part has `rate` false boxes on average."""
    return Matches.by_centre(found, truths).hits_at(rate)


def _taken(scores: Array, fits: Array) -> Array:
    """(D,) whether a box takes a truth; fits (D, T) above 0 where it can. Of equal scores the better fit comes first."""
    took = np.zeros(len(scores), bool)
    free = fits.copy()
    for row in np.lexsort((-fits.max(axis=1, initial=0), -scores)):
        if free.shape[1] and (best := int(free[row].argmax())) >= 0 and free[row, best] > 0:
            took[row] = True
            free[:, best] = 0
    return took


def _corners(boxes: Boxes, true: Boxes, index: int) -> tuple[Array, Array]:
    """Both as (n, 2, D) corners."""
    widths = {len(box.low) for box in (*boxes, *true)} or {3}
    if len(widths) > 1:
        raise BadSample(f"part {index} has boxes of {' and '.join(map(str, sorted(widths)))} dimensions; give all the same")
    width = widths.pop()
    first, second = (
        np.array([(box.low, box.high) for box in some], np.float64).reshape(-1, 2, width) for some in (boxes, true)
    )
    return first, second


def _centred(boxes: Array, true: Array) -> Array:
    """(D, T) above 0 where the centre of a box lies in a truth."""
    centres = boxes.mean(axis=1)[:, None]
    inside = ((true[:, 0] <= centres) & (centres <= true[:, 1])).all(axis=2)
    return np.where(inside, 1 / (1 + np.linalg.norm(centres - true.mean(axis=1), axis=2)), 0)
