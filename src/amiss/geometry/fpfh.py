"""FPFH: how the normals around a point lie to one another, as 33 numbers that no rotation or translation changes.

Rusu, Blodow, Beetz: Fast Point Feature Histograms (FPFH) for 3D Registration, ICRA 2009.

What we follow: the Darboux frame at the point, its three angles to each neighbour, 11 bins for each, and the neighbours' own
histograms added by inverse distance. Where we differ: a value between two bins counts for both, so that noise and the last
digits of a rotation move little; the frame stands on the point itself, not on whichever of the two has the smaller angle;
distances are measured by their mean around the point, so that the unit plays no role.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.geometry.cloud import Neighbours

Array = npt.NDArray[Any]

BINS = 11
WIDTH = 3 * BINS
_BLOCK = 1 << 19  # pairs of points looked at together


def fpfh(points: Array, normals: Array, near: Neighbours) -> Array:
    """One descriptor a point, (N, 33) float32: 11 bins each of alpha, phi and theta, every block adding up to 1.

    points  (N, 3)     normals  (N, 3) unit length     near  the neighbours that are looked at
    """
    held = near.held
    simple = simple_histograms(points, normals, near)
    lengths = np.where(held, near.distances, 0.0)
    count = np.maximum(held.sum(axis=1, keepdims=True), 1)
    mean = lengths.sum(axis=1, keepdims=True) / count
    weights = held * mean / np.maximum(lengths, 0.1 * mean + np.finfo(float).tiny) / count
    found = (simple + near.weights(weights.astype(np.float32)) @ simple).reshape(-1, 3, BINS)
    return np.asarray(found / np.maximum(found.sum(axis=2, keepdims=True), 1e-12), np.float32).reshape(-1, WIDTH)


def simple_histograms(points: Array, normals: Array, near: Neighbours) -> Array:
    """SPFH, (N, 33) float32: the angles to the neighbours alone, every block adding up to 1, or 0 where no pair has a frame."""
    count, k = near.indices.shape
    out = np.empty((count, WIDTH), np.float32)
    step = max(1, _BLOCK // k)
    for start in range(0, count, step):
        part = slice(start, start + step)
        alpha, phi, theta, whole = _angles(points, normals, near.indices[part], np.arange(count)[part])
        share = whole / np.maximum(whole.sum(axis=1, keepdims=True), 1)
        out[part] = np.concatenate(
            [
                _binned((alpha + 1) / 2, share, around=False),
                _binned((phi + 1) / 2, share, around=False),
                _binned(theta / (2 * np.pi) + 0.5, share, around=True),
            ],
            axis=1,
        )
    return out


def _angles(points: Array, normals: Array, others: Array, own: Array) -> tuple[Array, Array, Array, Array]:
    """alpha and phi as cosines, theta in radians, and whether the pair has a frame at all, each (n, k).

    others  (n, k) indices of the neighbours     own  (n,) indices of the points
    """
    d = (points[others] - points[own][:, None]).astype(np.float32)
    length = np.sqrt(np.einsum("nki,nki->nk", d, d))
    d /= np.maximum(length, np.finfo(np.float32).tiny)[..., None]
    u = normals[own].astype(np.float32)[:, None]  # (n, 1, 3)
    v = np.cross(d, u)
    across = np.sqrt(np.einsum("nki,nki->nk", v, v))
    v /= np.maximum(across, np.finfo(np.float32).tiny)[..., None]
    w = np.cross(u, v)
    n = normals[others].astype(np.float32)
    alpha = np.einsum("nki,nki->nk", v, n)
    phi = np.einsum("nki,nki->nk", np.broadcast_to(u, d.shape), d)
    theta = np.arctan2(np.einsum("nki,nki->nk", w, n), np.einsum("nki,nki->nk", np.broadcast_to(u, n.shape), n))
    return alpha, phi, theta, ((length > 0) & (across > 1e-6)).astype(np.float32)


def _binned(share: Array, weights: Array, *, around: bool) -> Array:
    """Histograms (n, BINS) of values (n, k) in 0..1, each counted for the two bins whose middles it lies between.

    around  whether the last bin meets the first, as angles do; else what lies beyond the outer middles counts for one bin
    """
    place = share * BINS - 0.5
    low = np.floor(place)
    high_part = (place - low).astype(np.float32)
    lower = low.astype(np.int64)
    upper = lower + 1
    if around:
        lower, upper = lower % BINS, upper % BINS
    else:
        lower, upper = np.clip(lower, 0, BINS - 1), np.clip(upper, 0, BINS - 1)
    base = np.arange(len(share))[:, None] * BINS
    size = len(share) * BINS
    counts = np.bincount((base + lower).ravel(), (weights * (1 - high_part)).ravel(), size)
    counts += np.bincount((base + upper).ravel(), (weights * high_part).ravel(), size)
    return np.asarray(counts.reshape(-1, BINS), np.float32)
