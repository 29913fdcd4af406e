"""Pieces of a cloud: points that hang together by steps no longer than a radius."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def components(points: Array, radius: float) -> Array:
    """The number of the piece that each point belongs to, (N,) from 0: two points at most a radius apart share one.

    points  (N, 3)     radius  in their unit
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    count = len(points)
    if not count:
        return np.empty(0, np.int32)
    pairs = cKDTree(points).query_pairs(radius, output_type="ndarray")
    graph = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    _, labels = connected_components(graph, directed=False)
    return np.asarray(labels)
