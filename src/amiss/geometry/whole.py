"""What a cloud is like as a whole: how long its sides are, and how far its points lie from one another.

Osada, Funkhouser, Chazelle, Dobkin: Shape distributions, ACM Transactions on Graphics 2002: the histogram of distances between
pairs of points, D2, tells rigid shapes apart in any pose. Where we differ: not random pairs but all pairs of some points, so
that the same cloud has the same histogram.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.geometry.cloud import own_frame

Array = npt.NDArray[Any]

_PAIRED = 1000  # points of which all pairs are measured: 4 MB of distances


def extents(points: Array) -> Array:
    """Sides of the box along the cloud's own axes, (3,), the shortest first; raises BadSample as own_frame."""
    return np.asarray(np.sort(np.ptp(own_frame(points), axis=0)))


def distance_histogram(points: Array, reach: float, bins: int = 64) -> Array:
    """D2: which share of the pairs of points lies how far apart, (bins,), adding up to 1.

    Of many points those at even ranks by their distance from the middle are taken, which neither pose nor order changes.

    points  (N, 3), two or more, evenly spread     reach  distance at which the last bin ends; what lies farther counts in it
    """
    from scipy.spatial.distance import pdist

    centred = np.asarray(points, np.float64) - np.mean(points, axis=0, dtype=np.float64)
    ranked = centred[np.argsort(np.linalg.norm(centred, axis=1), kind="stable")]
    picks = np.unique(np.linspace(0, len(ranked) - 1, min(_PAIRED, len(ranked))).round().astype(int))
    place = np.minimum(pdist(ranked[picks]) * (bins / reach), bins - 1).astype(np.int64)
    return np.asarray(np.bincount(place, minlength=bins) / len(place))
