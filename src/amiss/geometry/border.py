"""Where an open surface ends: the rim of a scan from one side, or of a hole."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.geometry.cloud import Neighbours, blocks

Array = npt.NDArray[Any]

_WIDE = np.pi / 2  # between the ways to two neighbours, without another between them
_NONE = 4.0  # larger than any angle


def border(points: Array, normals: Array, near: Neighbours) -> Array:
    """Which points lie on the rim of an open surface, (N,) bool: a quarter turn or more around them has no neighbour.

    normals  (N, 3) unit length     near  about 30 neighbours of evenly spread points
    """
    return widest_gap(points, normals, near) > _WIDE


def widest_gap(points: Array, normals: Array, near: Neighbours) -> Array:
    """The largest angle between the ways to two neighbours that follow one another around the normal, (N,) 0..2 pi.

    Neighbours that face the other way, as those beyond a thin sheet, and copies of the point do not count.
    """
    points = np.asarray(points, np.float64)
    count, k = near.indices.shape
    out = np.empty(count)
    for part in blocks(count, k):
        others, up = near.indices[part], np.asarray(normals[part], np.float64)
        ways = points[others] - points[part, None]  # (n, k, 3)
        right, ahead = _tangents(up)
        x, y = np.einsum("nki,ni->nk", ways, right), np.einsum("nki,ni->nk", ways, ahead)
        counts = (np.einsum("nki,ni->nk", normals[others], up) >= 0) & ((x != 0) | (y != 0))
        angles = np.sort(np.where(counts, np.arctan2(y, x), _NONE), axis=1)
        last = np.take_along_axis(angles, counts.sum(axis=1, keepdims=True) - 1, axis=1)
        between = np.diff(np.minimum(angles, last), axis=1).max(axis=1, initial=0)
        out[part] = np.maximum(between, angles[:, 0] + 2 * np.pi - last[:, 0])
    return out


def _tangents(normals: Array) -> tuple[Array, Array]:
    """Two unit vectors at right angles to each normal and to each other, both (n, 3)."""
    least = np.eye(3)[np.abs(normals).argmin(axis=1)]
    right = np.cross(normals, least)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return right, np.cross(normals, right)
