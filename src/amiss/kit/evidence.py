"""How odd a score is among those of held-out good parts, on a footing that scores of many kinds can be joined on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_LEAST = 0.05  # of a logarithm's deviation: that few parts happen to agree to a twentieth says nothing
_FREEDOM = 30  # most degrees of freedom: tails are never taken to be as thin as a normal distribution's


def log_spread(scores: Array, resolution: float) -> tuple[float, float]:
    """Mean and deviation of the logarithm of held-out scores.

    scores  (n,), not negative     resolution  added to each: a score of that size is still nothing
    """
    logs = _logs(scores, resolution)
    return float(logs.mean()), max(float(logs.std(ddof=1)), _LEAST)


def beyond(scores: npt.ArrayLike, spread: Array, resolution: npt.ArrayLike, count: int) -> Array:
    """-log of the chance that a good part scores as high: one-sided evidence, zero or more, higher is odder.

    The logarithm of a score is compared with Student's t, which a normal variable follows whose mean and deviation are known
    from n values alone. Fisher's way of joining tests adds such evidence up: what good parts score adds next to nothing, so
    views that see nothing odd add little noise, and one that does is not averaged away.

    scores, resolution  any shape     spread  (..., 2) from log_spread of `count` scores
    """
    from scipy.special import stdtr

    z = (_logs(scores, resolution) - spread[..., 0]) / (spread[..., 1] * np.sqrt(1 + 1 / count))
    return np.asarray(-np.log(np.maximum(stdtr(min(count - 1, _FREEDOM), -z), np.finfo(np.float64).tiny)))


def _logs(scores: npt.ArrayLike, resolution: npt.ArrayLike) -> Array:
    return np.asarray(np.log(np.asarray(scores, np.float64) + np.maximum(resolution, np.finfo(np.float64).tiny)))
