"""FPFH: how the normals around a point lie to one another, as 33 numbers that no rotation or translation changes.

Rusu, Blodow, Beetz: Fast Point Feature Histograms (FPFH) for 3D Registration, ICRA 2009.

What we follow: the Darboux frame at the point, its three angles to each neighbour, 11 bins for each, and the neighbours' own
histograms added by inverse distance. Where we differ: a value between two bins counts for both, so that noise and the last
digits of a rotation move little; the frame stands on the point itself, not on whichever of the two has the smaller angle;
distances are measured by their mean around the point, so that the unit plays no role, and none counts as less than a tenth of
that, so that a copy of the point does not outweigh all others.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.geometry.cloud import Neighbours

Array = npt.NDArray[Any]

BINS = 11
WIDTH = 3 * BINS
_BLOCK = 1 << 15  # pairs of points looked at together: their numbers fit into a processor's cache
_CLOSEST = 0.1  # of the mean distance
_STRAIGHT = 1e-6  # sine of the angle between normal and way to a neighbour, up to which the two make no frame
_ENDS, _AROUND = (0, -1), (-1, 0)  # bins beyond the outer ones: those themselves; for angles each other


def fpfh(points: Array, normals: Array, near: Neighbours) -> Array:
    """One descriptor a point, (N, 33) float32: 11 bins each of alpha, phi and theta, every block adding up to 1.

    All zeros come back for a point without any neighbour in another place than itself and than straight above it, of which
    the same is true of all its neighbours.

    points  (N, 3)     normals  (N, 3) unit length     near  the neighbours that are looked at
    """
    found = simple_histograms(points, normals, near)
    held = near.held
    lengths, count = np.where(held, near.distances, np.float32(0)), held.sum(axis=1, keepdims=True, dtype=np.float32)
    mean = lengths.sum(axis=1, keepdims=True) / np.maximum(count, 1)
    closest = np.maximum(_CLOSEST * mean, np.finfo(np.float32).tiny)
    found += near.weights(held * mean / np.maximum(lengths, closest) / np.maximum(count, 1)) @ found
    blocks = found.reshape(len(points), 3, BINS)
    blocks /= np.maximum(blocks.sum(axis=2, keepdims=True), np.float32(1e-12))
    return found


def simple_histograms(points: Array, normals: Array, near: Neighbours) -> Array:
    """SPFH, (N, 33) float32: the angles to the neighbours alone, every block adding up to 1, or 0 where no pair has a frame."""
    count, k = near.indices.shape
    scale = max(float(near.distances[near.held].mean()), np.finfo(np.float32).tiny)
    columns = np.ascontiguousarray((np.asarray(points, np.float64) / scale).T)
    directions = np.ascontiguousarray(normals.T, np.float32)
    out = np.empty((count, WIDTH), np.float32)
    step = max(1, _BLOCK // k)
    for start in range(0, count, step):
        others = near.indices[start : start + step]
        alpha, phi, theta, whole = _angles(columns, directions, others, slice(start, start + len(others)))
        half = np.float32(0.5)
        found = [_binned(half * cosine + half, whole, _ENDS) for cosine in (alpha, phi)]
        found.append(_binned(theta / np.float32(2 * np.pi) + half, whole, _AROUND))
        out[start : start + step] = np.concatenate(found, axis=1) / np.maximum(whole.sum(axis=1, keepdims=True), 1)
    return out


def other_side(descriptors: Array) -> Array:
    """The descriptors of the same points with all normals turned round: phi and theta change their signs."""
    blocks = descriptors.reshape(-1, 3, BINS)
    return np.concatenate([blocks[:, :1], blocks[:, 1:, ::-1]], axis=1).reshape(descriptors.shape)


def _angles(points: Array, normals: Array, others: Array, own: slice) -> tuple[Array, Array, Array, Array]:
    """alpha and phi as cosines, theta in radians, and whether the pair has a frame at all, each (n, k).

    points, normals  (3, N)     others  (n, k) indices of the neighbours     own  which points these are neighbours of
    """
    d = [(axis[others] - axis[own, None]).astype(np.float32) for axis in points]
    u = [axis[own, None] for axis in normals]
    n = [axis[others] for axis in normals]
    length = np.maximum(np.sqrt(_dot(d, d)), np.finfo(np.float32).tiny)
    d = [axis / length for axis in d]
    across = [d[1] * u[2] - d[2] * u[1], d[2] * u[0] - d[0] * u[2], d[0] * u[1] - d[1] * u[0]]  # v, but for its length
    sine = np.sqrt(_dot(across, across))
    whole = sine > _STRAIGHT  # copies of a point have d = 0, so no frame either
    sine = np.maximum(sine, np.float32(_STRAIGHT))
    phi, along = _dot(u, d), _dot(u, n)
    theta = np.arctan2((_dot(d, n) - phi * along) / sine, along)  # w = u x v = (d - phi u) / sine
    return _dot(across, n) / sine, phi, theta, whole


def _dot(one: list[Array], other: list[Array]) -> Array:
    return np.asarray(one[0] * other[0] + one[1] * other[1] + one[2] * other[2])


def _binned(share: Array, whole: Array, beyond: tuple[int, int]) -> Array:
    """Histograms (n, BINS) of values (n, k) in 0..1, each counted for the two bins whose middles it lies between.

    whole  which values count     beyond  which bins stand before the first and behind the last
    """
    place = share * np.float32(BINS) + np.float32(0.5)  # 1 at the middle of the first bin
    low = place.astype(np.int32).clip(0, BINS)
    upper_part = place - low
    low += (np.arange(len(share), dtype=np.int32) * (BINS + 1))[:, None]
    if not whole.all():
        low, upper_part = low[whole], upper_part[whole]
    size = len(share) * (BINS + 1)
    upper = np.bincount(low.ravel(), upper_part.ravel(), size).reshape(-1, BINS + 1)
    lower = np.bincount(low.ravel(), None, size).reshape(-1, BINS + 1) - upper
    out = lower[:, 1:] + upper[:, :-1]
    out[:, beyond[0]] += lower[:, 0]
    out[:, beyond[1]] += upper[:, -1]
    return np.asarray(out)
