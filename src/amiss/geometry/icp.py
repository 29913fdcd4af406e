"""Many poses at once: fitted to matched points, refined step by step, judged by how much of a scan they lay on a surface.

Kabsch: A solution for the best rotation to relate two sets of vectors, Acta Cryst. A32, 1976.
Chen, Medioni: Object modelling by registration of multiple range images, 1992: the distance that is made small is the one to
the plane through the nearest point of the surface, so that points may slide along it.

All lengths are cells of the template.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_ON, _ABREAST, _FACING = 0.5, 2.0, 0.7  # on the surface: distance from its plane, from its nearest point; cosine of normals
_FEWEST = 6  # pairs of points that a step rests on
_SLIDING = 1e-6  # added to all directions, as a share, so that a step along which nothing changes is none


@dataclass(frozen=True, eq=False)
class Source:
    """What is laid: points and normals, (N, 3)."""

    points: Array
    normals: Array

    def first(self, count: int) -> Source:
        return Source(self.points[:count], self.normals[:count])


@dataclass(frozen=True, eq=False)
class Target:
    """What it is laid on: a surface, points in a KD-tree, normals (N, 3)."""

    tree: Any
    normals: Array


@dataclass(frozen=True, eq=False)
class Poses:
    """Rigid motions.

    rotations  (H, 3, 3)     shifts  (H, 3)
    """

    rotations: Array
    shifts: Array

    def __len__(self) -> int:
        return len(self.shifts)

    def __getitem__(self, which: Array | slice | list[int]) -> Poses:
        return Poses(self.rotations[which], self.shifts[which])

    def __call__(self, points: Array) -> Array:
        """Points (P, 3) as every pose lays them, (H, P, 3)."""
        return np.asarray(points @ self.rotations.transpose(0, 2, 1) + self.shifts[:, None])

    def and_then(self, rotations: Array, shifts: Array) -> Poses:
        """The same poses with another motion behind each."""
        return Poses(rotations @ self.rotations, np.einsum("hij,hj->hi", rotations, self.shifts) + shifts)


def kabsch(products: Array) -> Array:
    """Rotations (H, 3, 3), never mirrors, that turn vectors a onto vectors b best.

    products  (H, 3, 3) sums of the outer products of a and b
    """
    left, _, right = np.linalg.svd(products)
    mirrored = np.linalg.det(left @ right) < 0
    left[mirrored, :, 2] *= -1
    return np.asarray((left @ right).transpose(0, 2, 1))


def fitness(poses: Poses, source: Source, target: Target, slack: float = 1.0) -> Array:
    """Share of the points that each pose lays on the surface, facing as it does, (H,).

    slack  by how much farther away than usual from the surface a point may be
    """
    off, away, facing, _ = _pairs(poses, source, target, slack * _ABREAST)
    return np.asarray((np.isfinite(away) & (np.abs(off) <= slack * _ON) & (facing >= _FACING)).mean(axis=1))


def refined(poses: Poses, source: Source, target: Target, reaches: Sequence[float]) -> Poses:
    """Poses after a step for each reach: how far away, in cells, the nearest point of the surface may be to count."""
    for reach in reaches:
        off, away, facing, near = _pairs(poses, source, target, reach)
        counts = np.isfinite(away) & (facing > 0)
        counts &= counts.sum(axis=1, keepdims=True) >= _FEWEST
        poses = _step(poses, source.points, target.normals[near], off, counts)
    return poses


def _pairs(poses: Poses, source: Source, target: Target, reach: float) -> tuple[Array, Array, Array, Array]:
    """How every pose lays every point, each (H, P): distance from the plane through the nearest point of the surface, above 0
    outside; distance from that point, inf beyond reach; cosine between both normals; which point it is.
    """
    laid = poses(source.points)
    away, near = target.tree.query(laid, distance_upper_bound=reach)
    near = np.where(np.isfinite(away), near, 0)
    planes = target.normals[near]
    off = np.einsum("hpi,hpi->hp", laid - target.tree.data[near], planes)
    return off, away, np.einsum("hpi,hpi->hp", source.normals @ poses.rotations.transpose(0, 2, 1), planes), near


def _step(poses: Poses, points: Array, planes: Array, off: Array, counts: Array) -> Poses:
    """One motion that takes points to their planes, its rotation made small and linear; about the middle of what counts."""
    laid, share = poses(points), counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    middle = np.einsum("hp,hpi->hi", share, laid)
    arms = laid - middle[:, None]
    scale = np.maximum(np.sqrt(np.einsum("hp,hpi,hpi->h", share, arms, arms)), 1e-9)[:, None]
    rows = np.concatenate([np.cross(arms / scale[:, None], planes), planes], axis=2)  # (H, P, 6)
    weighted = rows * share[..., None]
    square = weighted.transpose(0, 2, 1) @ rows
    square += (_SLIDING * np.trace(square, axis1=1, axis2=2)[:, None, None] + 1e-12) * np.eye(6)
    motion = np.linalg.solve(square, -np.einsum("hpi,hp->hi", weighted, off)[..., None])[..., 0]
    turns = _turns(motion[:, :3] / scale)
    return poses.and_then(turns, middle + motion[:, 3:] - np.einsum("hij,hj->hi", turns, middle))


def _turns(vectors: Array) -> Array:
    """Rotations (H, 3, 3) about vectors (H, 3) by their lengths in radians (Rodrigues)."""
    angle = np.linalg.norm(vectors, axis=1)[:, None, None]
    x, y, z = vectors.T
    none = np.zeros_like(x)
    cross = np.stack([none, -z, y, z, none, -x, -y, x, none], axis=1).reshape(-1, 3, 3)
    return np.asarray(np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * cross @ cross)
