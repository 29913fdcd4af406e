"""From a mesh to points: its vertices where they lie dense enough to be measurements, points spread over its facets where not.

A scan saved as STL has a vertex wherever the scanner measured; a CAD model has a few at its corners and nothing between. A mesh
is taken for a scan when at least nine tenths of its area lie in facets whose longest edge is at most a fiftieth of the diagonal
of its bounding box. Else SAMPLED points are spread evenly by area, drawn with a seed that comes from the mesh itself, so that
the same mesh gives the same points.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.data.cloud import Cloud, unit_normals
from amiss.data.headers import Damaged

Array = npt.NDArray[Any]

SAMPLED = 100_000
_EDGE = 1 / 50  # of the diagonal
_SHARE = 0.9  # of the area
_GOLDEN = (5**0.5 - 1) / 2


def cloud_of_mesh(vertices: Cloud, faces: Array) -> Cloud:
    """Points on the surface of a mesh, with normals from its facets where the vertices have none.

    vertices  as cloud_of made them     faces  (F, 3) whole numbers, rows of the file; none for a plain cloud
    return    the vertices as they are, or points spread over the facets, which are no rows of the file
    raises    Damaged where a face names a vertex that is not there
    """
    faces = _kept(vertices, faces)
    if not len(faces):
        return vertices
    a, b, c = (vertices.points[faces[:, corner]] for corner in range(3))  # each (F, 3)
    doubled = np.cross(b - a, c - a)  # facet normals, twice the area long
    area = np.sqrt(np.einsum("ij,ij->i", doubled, doubled, dtype=np.float64)) / 2
    if not area.sum() > 0:
        return vertices
    if _is_fine(vertices.points, (a, b, c), area):
        normals = _vertex_normals(len(vertices.points), faces, doubled) if vertices.normals is None else vertices.normals
        return dataclasses.replace(vertices, normals=normals)
    points, facet = _spread(a, b, c, area, _seed(vertices.points, faces))
    return Cloud(points=points, normals=unit_normals(doubled[facet]))


def triangles(polygons: Array) -> Array:
    """Polygons (F, K) as triangles (F (K - 2), 3) around their first corner."""
    sides = range(1, polygons.shape[1] - 1)
    return np.concatenate([polygons[:, [0, side, side + 1]] for side in sides] or [np.empty((0, 3), np.int64)])


def distinct(corners: Array) -> tuple[Array, Array]:
    """Equal rows (M, 3) float32 joined: the distinct ones in order of appearance, and which of them each row is."""
    bits = (corners + np.float32(0)).view(np.uint32)  # -0 becomes 0
    key = _key(bits)
    order = np.argsort(key, kind="stable")
    differs = (bits[order][1:] != bits[order][:-1]).any(axis=1)
    if (differs & (key[order][1:] == key[order][:-1])).any():  # two rows with one key: sort by the rows themselves
        order = np.lexsort(bits.T)
        differs = (bits[order][1:] != bits[order][:-1]).any(axis=1)
    starts = np.concatenate([[True], differs])
    first = order[starts]  # the earliest of each group, since both sorts are stable
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    which = np.empty(len(corners), np.int64)
    which[order] = rank[np.cumsum(starts) - 1]
    return corners[np.sort(first)], which


def _key(bits: Array) -> Array:
    """A number for each row (M,) that hardly two different rows share; the multipliers are odd and arbitrary."""
    mixed = bits.astype(np.uint64) * np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
    mixed ^= mixed >> np.uint64(29)
    return np.asarray(mixed[:, 0] ^ (mixed[:, 1] << np.uint64(1)) ^ (mixed[:, 2] << np.uint64(2)))


def _kept(vertices: Cloud, faces: Array) -> Array:
    """Faces by the points that are left, without those that lost a corner."""
    total = len(vertices.points) if vertices.kept is None else len(vertices.kept)
    if len(faces) and (faces.min() < 0 or faces.max() >= total):
        wrong = int(faces.min()) if faces.min() < 0 else int(faces.max())
        raise Damaged(f"a face names vertex {wrong:,}, and there are {total:,} counted from 0", "export it again or remove it")
    if vertices.kept is None or vertices.kept.all():
        return faces
    return np.asarray((np.cumsum(vertices.kept) - 1)[faces[vertices.kept[faces].all(axis=1)]])


def _is_fine(points: Array, corners: tuple[Array, Array, Array], area: Array) -> bool:
    a, b, c = corners
    limit = _EDGE * float(np.linalg.norm(points.max(axis=0) - points.min(axis=0)))
    fine = np.ones(len(a), bool)
    for one, other in ((a, b), (b, c), (c, a)):
        edge = one - other
        fine &= np.einsum("ij,ij->i", edge, edge) <= limit**2
    return float(area[fine].sum()) >= _SHARE * float(area.sum())


def _vertex_normals(count: int, faces: Array, doubled: Array) -> Array | None:
    """The mean of the facets around each vertex, weighted by their area; None where a vertex has no facet."""
    sums = np.zeros((count, 3))
    for corner in range(3):
        for axis in range(3):
            sums[:, axis] += np.bincount(faces[:, corner], doubled[:, axis], count)
    return unit_normals(sums)


def _seed(points: Array, faces: Array) -> int:
    state = hashlib.blake2b(np.ascontiguousarray(points).data, digest_size=8)
    state.update(np.ascontiguousarray(faces, np.int64).data)
    return int.from_bytes(state.digest(), "little")


def _spread(a: Array, b: Array, c: Array, area: Array, seed: int) -> tuple[Array, Array]:
    """Points (SAMPLED, 3) and the facet of each.

    The facets are laid end to end by area and cut into equal lengths, each with one point: where it falls says the facet, and
    how far across it the point lies. The other direction is stepped along by the golden ratio, which leaves no gaps or clumps.
    """
    rng = np.random.default_rng(seed)
    ends = np.cumsum(area)
    steps = np.arange(SAMPLED)
    places = (steps + rng.random(SAMPLED)) / SAMPLED * ends[-1]
    facet = np.minimum(np.searchsorted(ends, places, side="right"), np.flatnonzero(area)[-1])
    across = np.sqrt(np.clip(1 - (ends[facet] - places) / area[facet], 0, 1))[:, None]
    along = ((steps * _GOLDEN + rng.random()) % 1)[:, None]
    points = (1 - across) * a[facet] + across * ((1 - along) * b[facet] + along * c[facet])
    return points.astype(np.float32), facet
