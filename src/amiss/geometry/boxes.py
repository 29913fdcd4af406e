"""Axis-aligned boxes: how much they share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def overlaps(first: Array, second: Array) -> Array:
    """Intersection over union of every pair of boxes, (N, M) float64 in 0..1.

    A box without volume overlaps with nothing but its equal.
    first, second  (N, 2, D) and (M, 2, D): the low and the high corner of each box, low <= high
    """
    one, other = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)[None]
    low, high = np.maximum(one[:, :, 0], other[:, :, 0]), np.minimum(one[:, :, 1], other[:, :, 1])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    union = _volumes(one) + _volumes(other) - shared
    equal = (one == other).all(axis=(2, 3)).astype(np.float64)
    return np.asarray(np.divide(shared, union, out=equal, where=union > 0))


def _volumes(boxes: Array) -> Array:
    return np.asarray((boxes[..., 1, :] - boxes[..., 0, :]).prod(axis=-1))
