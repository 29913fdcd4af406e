"""Which places inside a cube belong to the defect: a border between two classes, learned from defects that are known.

What is known of a place is a few numbers, higher for odder ones. A defect ends where they have fallen from their peak by
a certain share, and not where they reach a certain height: a deep crack blurs farther than a flat dent is seen at all. So each
number counts as it is, by the peak, and by how far it lies below the peak, whose square and whose product with the peak count
too. Ours; the paper's boxes are as large as their class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.geometry.boxes import overlaps

Array = npt.NDArray[Any]

FEWEST = 5  # places that a box is put about, and those that a peak is the mean of
_CUTS = np.arange(-2, 2.01, 0.25)  # of the line's values, tried for the best boxes
_ROUNDS, _RIDGE = 25, 1e-3  # of Newton's method for the logistic loss, and its weight decay
_GOOD = 0.25  # overlap of a good box
_POSES = 8  # in which boxes are tried: a part comes in any
TERMS = 5  # weights for each number


@dataclass(frozen=True, eq=False)
class Inside:
    """The places in one cube of which it is known whether they belong: numbers (k, D), positions (k, 3), belongs (k,) bool."""

    numbers: Array
    positions: Array
    belongs: Array


@dataclass(frozen=True, eq=False)
class Members:
    """weights  (TERMS D + 1,), the last without a factor     cut  value from which on a place belongs"""

    weights: Array
    cut: float

    @classmethod
    def learned(cls, known: Sequence[Inside]) -> Members:
        """The border of least logistic loss, every cube counting alike, and the cut whose boxes fit best."""
        rows = np.concatenate([_relative(each.numbers) for each in known])
        wanted = np.concatenate([each.belongs for each in known]).astype(np.float64)
        shares = np.concatenate([np.full(len(each.belongs), 1 / len(each.belongs)) for each in known]) / len(known)
        weights = _logistic(rows, wanted, shares)
        poses = _poses()
        fits = [np.mean([_fit(each, cls(weights, float(cut)), poses) for each in known]) for cut in _CUTS]
        return cls(weights, float(_CUTS[int(np.argmax(fits))]))

    def __call__(self, numbers: Array) -> Array:
        """Which of the places in a cube belong, (k,) bool; some always do.

        numbers  (k, D)
        """
        values = _relative(numbers) @ self.weights
        enough = np.sort(values)[-min(FEWEST, len(values))]
        return np.asarray(values >= min(self.cut, enough))


def _relative(numbers: Array) -> Array:
    """(k, TERMS D + 1): numbers, how far below their peaks, the peaks; squares and products of these two; and one."""
    numbers = np.asarray(numbers, np.float64)
    peak = np.sort(numbers, axis=0)[-FEWEST:].mean(axis=0)
    below, ones = numbers - peak, np.ones((len(numbers), 1))
    return np.concatenate([numbers, below, np.broadcast_to(peak, numbers.shape), below**2, below * peak, ones], axis=1)


def _logistic(rows: Array, wanted: Array, shares: Array) -> Array:
    """Weights of least logistic loss, by Newton's method; the columns may depend on one another."""
    spans = np.maximum(rows.std(axis=0), 1e-6)
    spans[-1] = 1
    rows = rows / spans
    weights = np.zeros(rows.shape[1])
    ridge = _RIDGE * np.eye(len(weights))
    for _ in range(_ROUNDS):
        likely = 1 / (1 + np.exp(-np.clip(rows @ weights, -30, 30)))
        slope = rows.T @ (shares * (likely - wanted)) + ridge @ weights
        bend = (rows * (shares * likely * (1 - likely))[:, None]).T @ rows + ridge
        weights = weights - np.linalg.solve(bend, slope)
    return np.asarray(weights / spans)


def _fit(known: Inside, members: Members, poses: Array) -> float:
    """How well the box about those taken fits the true one: whether it is good, and by how much it overlaps; mean of poses."""
    found, true = (
        np.stack([span(known.positions[which] @ pose) for pose in poses]) for which in (members(known.numbers), known.belongs)
    )
    shares = np.array([overlaps(one[None], other[None])[0, 0] for one, other in zip(found, true, strict=True)])
    return float(np.mean((shares >= _GOOD) + shares))


def _poses() -> Array:
    """Rotations, always the same, (_POSES, 3, 3)."""
    return np.linalg.qr(np.random.default_rng(0).standard_normal((_POSES, 3, 3)))[0]


def span(positions: Array) -> Array:
    """Low and high corner, (2, 3)."""
    return np.stack([positions.min(axis=0), positions.max(axis=0)])
