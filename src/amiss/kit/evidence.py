"""How odd a score is among those of held-out good parts, on a footing that scores of many kinds can be joined on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_FEW, _LEAST, _LEAST_OF_FEW = 8, 0.02, 0.2


def log_spread(scores: Array) -> tuple[float, float]:
    """Mean and deviation of the logarithms of held-out scores (n,), the deviation never below 0.02, with few scores 0.2."""
    logs = np.log(np.maximum(scores, _floor(scores)))
    return float(logs.mean()), max(float(logs.std()), _LEAST if len(scores) >= _FEW else _LEAST_OF_FEW)


def beyond(score: npt.ArrayLike, spread: Array) -> Array:
    """-log(1 - Phi(z)) with z the score's logarithm in held-out deviations: one-sided evidence against a good part.

    Fisher's way of joining tests: near zero for what good parts score, growing as z^2 / 2 beyond, so that crops which see
    nothing odd add little noise and one that does is not averaged away.

    score  any shape, not negative     spread  (..., 2) mean and deviation of the logarithm
    """
    from scipy.special import log_ndtr

    logs = np.log(np.maximum(score, np.finfo(np.float64).tiny))
    return np.asarray(-log_ndtr((spread[..., 0] - logs) / spread[..., 1]))


def _floor(scores: Array) -> float:
    return float(max(1e-6 * scores.mean(), np.finfo(np.float64).tiny))
