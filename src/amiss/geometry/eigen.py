"""How the neighbours of a point spread: line, plane, ball, edge; five numbers a scale that no rigid motion changes.

After Weinmann, Jutzi, Mallet: Feature relevance assessment for the semantic interpretation of 3D point cloud data, ISPRS 2013,
and Pauly, Gross, Kobbelt: Efficient simplification of point-sampled surfaces, IEEE Visualization 2002. All are shares, so that
the unit plays no role.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.geometry.cloud import Neighbours, blocks

Array = npt.NDArray[Any]

FEATURES = ("linearity", "planarity", "sphericity", "surface variation", "offset")


def eigen_features(points: Array, near: Neighbours, scales: Sequence[int]) -> Array:
    """Five features for each scale, (N, 5 len(scales)) float32, the scales one after another.

    Of the eigenvalues l1 >= l2 >= l3 of the covariance of a point and its neighbours: linearity (l1 - l2) / l1, planarity
    (l2 - l3) / l1, sphericity l3 / l1, surface variation l3 / (l1 + l2 + l3), and how far the point lies from their mean, in
    units of their deviation. All are 0 where the neighbours are copies of the point.

    near  as many neighbours as the largest scale     scales  how many of them are looked at, in any order
    """
    points = np.asarray(points, np.float64)
    out = np.empty((len(points), len(scales), len(FEATURES)), np.float32)
    for part in blocks(len(points), max(scales)):
        sums, squares, before = np.zeros((1, 3)), np.zeros((1, 3, 3)), 0
        for place, scale in sorted(enumerate(scales), key=lambda pair: pair[1]):
            offsets = points[near.indices[part, before:scale]] - points[part, None]  # what the smaller scales left
            sums = sums + offsets.sum(axis=1)
            squares = squares + offsets.transpose(0, 2, 1) @ offsets
            out[part, place] = _features(sums / (scale + 1), squares / (scale + 1))
            before = scale
    return out.reshape(len(points), -1)


def _features(mean: Array, square: Array) -> Array:
    """(n, 5) from the mean (n, 3) and the mean square (n, 3, 3) of what lies around points, relative to them."""
    values = np.maximum(np.linalg.eigvalsh(square - mean[:, :, None] * mean[:, None, :]), 0)
    third, second, first = values.T
    least = np.finfo(float).tiny
    shares = np.stack([first - second, second - third, third], axis=1) / np.maximum(first, least)[:, None]
    total = np.maximum(values.sum(axis=1), least)
    return np.column_stack([shares, third / total, np.linalg.norm(mean, axis=1) / np.sqrt(total)])
