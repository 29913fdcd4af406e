"""Which points of a cloud are seen from somewhere, without a surface: hidden points are removed by spherical flipping.

Katz, Tal, Basri: Direct Visibility of Point Sets, SIGGRAPH 2007, https://doi.org/10.1145/1275808.1276407.

What we follow: every point is mirrored across a sphere about the viewpoint, along its ray; seen is what then lies on the
convex hull of all of them and the viewpoint (sections 3 and 4). Where we differ: the sphere's radius is not a power of ten
times the farthest distance, to be set by hand for each cloud. A flat piece that faces the viewpoint at the distance D sinks by
R (s / D)^2 or so between mirrored points that are s apart, so this is how far a point may lie behind its neighbours and still
be seen. Here that depth is given in spacings, and R follows: D^2 depth / spacing. Unit and density change nothing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadField, BadSample

Array = npt.NDArray[Any]

_FEWEST = 4  # different points; with the viewpoint they make a hull


def visible(points: Array, viewpoint: Array, *, depth: float = 6.0) -> Array:
    """Indices of the points that are seen from a viewpoint, ascending.

    points  (N, 3)     viewpoint  (3,), anywhere but on a point
    depth   how many spacings a point may lie behind its neighbours and be seen: less hides points on noisy or inclined
            surfaces, more lets what is behind the surface shine through. A spacing is the median way to the nearest point
    raises  BadField for a depth that is not above 0, BadSample for fewer than four different points, for a point at the
            viewpoint, and where points and viewpoint lie in one plane
    """
    from scipy.spatial import ConvexHull, QhullError

    if not depth > 0:
        raise BadField(f"depth = {depth}: wanted above 0")
    different, copies = np.unique(np.asarray(points, np.float64), axis=0, return_inverse=True)
    if len(different) < _FEWEST:
        raise BadSample(f"{len(different)} different points; hidden points cannot be told from fewer than {_FEWEST}")
    flipped = _flipped(different - np.asarray(viewpoint, np.float64), depth)
    try:
        hull = ConvexHull(np.concatenate([flipped, np.zeros((1, 3))]))
    except QhullError as error:
        raise BadSample("points and viewpoint lie in one plane; look at the points from beside it") from error
    seen = np.zeros(len(different) + 1, bool)
    seen[hull.vertices] = True
    return np.flatnonzero(seen[copies.ravel()])


def _flipped(ways: Array, depth: float) -> Array:
    """Points about the viewpoint mirrored along their rays, the nearest farthest out, (N, 3)."""
    from scipy.spatial import cKDTree

    distances = np.linalg.norm(ways, axis=1, keepdims=True)
    if not distances.all():
        raise BadSample("a point lies at the viewpoint; move the viewpoint, or drop the point")
    spacing = np.median(cKDTree(ways).query(ways, k=2)[0][:, 1])
    radius = max(float(np.median(distances)) ** 2 * depth / spacing, float(distances.max()))
    return np.asarray(ways * (2 * radius / distances - 1))
