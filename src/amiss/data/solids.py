"""What made parts are put together from: signed distances of simple bodies, negative inside, and how bodies join.

Every body is a function of x, y, z, each (N,), and returns (N,); lengths are in the caller's unit. Distances are exact or
nearly so beside the surface, and never far too long away from it, so that a ray may go on by a share of them. Edges and
joints are round: a scanner's points have a normal everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def ball(x: Array, y: Array, z: Array, radius: Array | float) -> Array:
    """A ball; `radius` may differ from point to point where it changes slowly."""
    return np.asarray(np.sqrt(x * x + y * y + z * z) - radius)


def egg(x: Array, y: Array, z: Array, radii: tuple[float, float, float]) -> Array:
    """An ellipsoid; its level function over the length of the gradient, so exact to first order at the surface."""
    a, b, c = radii
    level = np.sqrt((x / a) ** 2 + (y / b) ** 2 + (z / c) ** 2)
    slope = np.sqrt((x / a**2) ** 2 + (y / b**2) ** 2 + (z / c**2) ** 2)
    return np.asarray(level * (level - 1) / np.maximum(slope, 1e-9))


def block(x: Array, y: Array, z: Array, half: tuple[float, float, float], edge: float) -> Array:
    """A box of these half lengths, its edges rounded with the radius `edge`."""
    dx, dy, dz = (np.abs(way) - length + edge for way, length in zip((x, y, z), half, strict=True))
    outside = np.sqrt(np.maximum(dx, 0) ** 2 + np.maximum(dy, 0) ** 2 + np.maximum(dz, 0) ** 2)
    return np.asarray(outside + np.minimum(np.maximum(np.maximum(dx, dy), dz), 0) - edge)


def plate(outline: Array, z: Array, half: float, edge: float) -> Array:
    """A flat body from -half to half, its rims rounded with the radius `edge`.

    outline  (N,) signed distance from the body's outline in the plane of x and y
    """
    across, along = outline + edge, np.abs(z) - half + edge
    outside = np.hypot(np.maximum(across, 0), np.maximum(along, 0))
    return np.asarray(outside + np.minimum(np.maximum(across, along), 0) - edge)


def post(x: Array, y: Array, z: Array, radius: float, half: float, edge: float) -> Array:
    """A round post about z from -half to half, its rims rounded with the radius `edge`."""
    return plate(np.hypot(x, y) - radius, z, half, edge)


def ring(x: Array, y: Array, z: Array, radius: float, thick: Array | float) -> Array:
    """A torus about z: `radius` to the middle of its tube, `thick` the tube's own radius."""
    return np.asarray(np.hypot(np.hypot(x, y) - radius, z) - thick)


def join(first: Array, second: Array, fillet: float) -> Array:
    """Both bodies; the corner between them is filled over about `fillet`.

    The smaller distance, less a parabola in their difference that meets it without a kink where they differ by `fillet`.
    """
    overlap = np.maximum(fillet - np.abs(first - second), 0)
    return np.asarray(np.minimum(first, second) - overlap * overlap / (4 * fillet))


def cut(first: Array, second: Array, fillet: float) -> Array:
    """The first body without the second; the edge between them is rounded over about `fillet`."""
    return -join(-first, second, fillet)


def turned(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """x and y along axes that lie `angle` radians further round."""
    cos, sin = np.cos(angle), np.sin(angle)
    return x * cos + y * sin, y * cos - x * sin
