"""Points on surfaces whose normals are known, and rigid motions, for the tests of this folder."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def rotation(rng: np.random.Generator) -> Array:
    """Any rotation, (3, 3)."""
    q, r = np.linalg.qr(rng.standard_normal((3, 3)))
    q *= np.sign(np.diag(r))
    return np.asarray(q * np.linalg.det(q))


def sphere(count: int) -> tuple[Array, Array]:
    """Points on the unit sphere along a spiral, evenly apart; their outer normals."""
    height = 1 - (2 * np.arange(count) + 1) / count
    angle = np.pi * (3 - np.sqrt(5)) * np.arange(count)
    ring = np.sqrt(1 - height**2)
    points = np.stack([ring * np.cos(angle), ring * np.sin(angle), height], axis=1)
    return points, points.copy()


def torus(count: int, rng: np.random.Generator, large: float = 1.0, small: float = 0.4) -> tuple[Array, Array]:
    """Points at random on a torus about z, even by area; their outer normals."""
    around, tube, kept = rng.uniform(0, 2 * np.pi, (3, 4 * count))
    fits = kept / (2 * np.pi) < (large + small * np.cos(tube)) / (large + small)
    around, tube = around[fits][:count], tube[fits][:count]
    normals = np.stack([np.cos(tube) * np.cos(around), np.cos(tube) * np.sin(around), np.sin(tube)], axis=1)
    middle = large * np.stack([np.cos(around), np.sin(around), np.zeros_like(around)], axis=1)
    return middle + small * normals, normals


def box(step: float, sides: tuple[float, float, float]) -> tuple[Array, Array]:
    """Points on the six faces of a box from the origin on, half a step from its edges; their outer normals."""
    points, normals = [], []
    for axis in range(3):
        one, other = (axis + 1) % 3, (axis + 2) % 3
        u, v = np.meshgrid(np.arange(step / 2, sides[one], step), np.arange(step / 2, sides[other], step))
        for at, sign in ((0.0, -1.0), (sides[axis], 1.0)):
            face, normal = np.empty((u.size, 3)), np.zeros((u.size, 3))
            face[:, axis], face[:, one], face[:, other] = at, u.ravel(), v.ravel()
            normal[:, axis] = sign
            points.append(face)
            normals.append(normal)
    return np.concatenate(points), np.concatenate(normals)


def lump(count: int, rng: np.random.Generator) -> Array:
    """Points on a closed body without any symmetry: a ball with bumps of several widths, about even by area."""
    directions = sphere(3 * count)[0] @ rotation(rng).T + 0.3 / np.sqrt(count) * rng.standard_normal((3 * count, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    bumps = np.random.default_rng(5).standard_normal((9, 3))
    bumps /= np.linalg.norm(bumps, axis=1, keepdims=True)
    heights, widths = np.linspace(0.6, 0.25, 9), np.linspace(2.0, 14.0, 9)
    radius = 0.7 + (heights * np.exp(widths * (directions @ bumps.T - 1))).sum(axis=1)
    return np.asarray((radius[:, None] * directions)[np.argsort(rng.random(3 * count) / radius**2)[:count]])
