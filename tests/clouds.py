"""Small clouds for tests that only need some asymmetric surface: a wavy ellipsoid, whole, in any pose."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.types import Sample

Array = npt.NDArray[Any]


def surface(rng: np.random.Generator, count: int = 3000, bump: float = 0.0) -> tuple[Array, Array]:
    """Points (N, 3) about the origin, some 4 across, and which of them belong to a bump of that height and radius."""
    ways = rng.standard_normal((count, 3))
    x, y, z = (ways / np.linalg.norm(ways, axis=1, keepdims=True)).T
    radius = 1 + 0.15 * np.sin(3 * x + 1) + 0.1 * np.cos(4 * y) * z + 0.2 * x * y + 0.1 * z
    points = np.column_stack([1.6 * x, y, 0.7 * z]) * radius[:, None]
    points += rng.normal(0, 0.002, points.shape)
    middle = points[int(rng.integers(count))]
    far = np.linalg.norm(points - middle, axis=1)
    marked = far < bump
    points[marked] *= 1 + (bump / np.linalg.norm(middle) * (1 - (far[marked] / bump) ** 2))[:, None] if bump else 1
    return points, marked


def turned(points: Array, rng: np.random.Generator) -> Array:
    """The points in another pose."""
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    return np.asarray(points @ (turn * np.sign(np.linalg.det(turn))).T + rng.uniform(-5, 5, 3))


def good_clouds(count: int, seed: int = 0, points: int = 3000) -> list[Sample]:
    made = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        made.append(Sample(id=f"good {number}", points=turned(surface(rng, points)[0], rng).astype(np.float32)))
    return made


def bad_clouds(count: int, seed: int = 100, points: int = 3000, bump: float = 0.3) -> list[tuple[Sample, Array]]:
    """With which points are marked."""
    made = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        cloud, marked = surface(rng, points, bump)
        made.append((Sample(id=f"bad {number}", points=turned(cloud, rng).astype(np.float32)), marked))
    return made
