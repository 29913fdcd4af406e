"""Where a scan from one side ends: what lies there looks odd to a model of whole parts, and is not.

A hole has a rim as well, and is a defect: so a rim counts as that of the scan where it is long, as part of the part's outline.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.geometry.border import border
from amiss.geometry.cloud import Neighbours
from amiss.geometry.components import components

Array = npt.NDArray[Any]

_LONG = 0.25  # extent of a rim as a share of the cloud's, from which on it is the scan's
_LINKED = 3.0  # cells between neighbours along a rim
SEEN = 5.0  # cells around a place in which the surface must go on: of points strewn at random some 50


def rims(places: Array, normals: Array, near: Neighbours, cell: float, reach: float) -> Array:
    """Which places have a long rim within reach, (P,) bool.

    places, normals  (P, 3)     near  neighbours within five cells or more     cell  edge of a thinning cell
    reach  from a rim, a length
    """
    from scipy.spatial import cKDTree

    ends = np.flatnonzero(border(places, normals, near.inside(SEEN * cell)))
    found = np.zeros(len(places), np.bool_)
    if not len(ends):
        return found
    piece = components(places[ends], _LINKED * cell)
    extent = np.linalg.norm(np.ptp(places, axis=0))
    for number in range(int(piece.max()) + 1):
        members = places[ends[piece == number]]
        if np.linalg.norm(np.ptp(members, axis=0)) >= _LONG * extent:
            distances, _ = cKDTree(members).query(places, distance_upper_bound=reach)
            found |= np.isfinite(distances)
    return found
