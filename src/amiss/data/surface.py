"""From a mesh to points: its vertices where they lie dense enough to be measurements, points spread over its facets where not.

A scan saved as STL has a vertex wherever the scanner measured; a CAD model has a few at its corners and nothing between. A mesh
is taken for a scan when at least nine tenths of its area lie in facets whose longest edge is at most a fiftieth of the diagonal
of its bounding box. Else SAMPLED points are spread evenly by area, drawn with a seed that comes from the mesh itself, so that
the same mesh gives the same points.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.data.cloud import Cloud, unit_normals
from amiss.data.headers import Damaged

Array = npt.NDArray[Any]

SAMPLED = 100_000
NO_FACES: Array = np.empty((0, 3), np.int64)
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


def with_normals(vertices: Cloud, faces: Array) -> Cloud:
    """All vertices, with normals from the facets around them where every one has some; both as cloud_of_mesh takes them."""
    faces = _kept(vertices, faces)
    a, b, c = (vertices.points[faces[:, corner]] for corner in range(3))
    return dataclasses.replace(vertices, normals=_vertex_normals(len(vertices.points), faces, np.cross(b - a, c - a)))


def triangles(polygons: Array) -> Array:
    """Polygons (F, K) as triangles (F (K - 2), 3) around their first corner."""
    sides = range(1, polygons.shape[1] - 1)
    return np.concatenate([polygons[:, [0, side, side + 1]] for side in sides] or [NO_FACES])


def fans(polygons: Iterable[Array]) -> Array:
    """Triangles (F, 3) of polygons of any length, (K,) each; points and lines among them have none."""
    alike: dict[int, list[Array]] = defaultdict(list)
    for polygon in polygons:
        alike[len(polygon)].append(polygon)
    found = [triangles(np.stack(some).astype(np.int64)) for sides, some in alike.items() if sides > 2]
    return np.concatenate([NO_FACES, *found])


def distinct(corners: Array) -> tuple[Array, Array]:
    """Equal rows (M, 3) float32 joined: the distinct ones in order of appearance, and which of them each row is."""
    with np.errstate(invalid="ignore"):  # a signalling NaN
        bits = (corners + np.float32(0)).view(np.uint32)  # -0 becomes 0
    key = _key(bits)
    order = np.argsort(key)
    starts = _starts(bits[order])
    if (starts[1:] > _starts(key[order, None])[1:]).any():  # two rows with one key: sort by the rows themselves
        order = np.lexsort(bits.T)
        starts = _starts(bits[order])
    first = np.minimum.reduceat(order, np.flatnonzero(starts))  # where each distinct row appears first
    appearance = np.argsort(first)
    rank = np.empty(len(first), np.int64)
    rank[appearance] = np.arange(len(first))
    which = np.empty(len(corners), np.int64)
    which[order] = rank[np.cumsum(starts) - 1]
    return corners[first[appearance]], which


def _starts(rows: Array) -> Array:
    """Where a row differs from the one before it, (M,) bool."""
    starts = np.zeros(len(rows), bool)
    starts[0] = True
    for column in rows.T:
        starts[1:] |= column[1:] != column[:-1]
    return starts


def _key(bits: Array) -> Array:
    """A number for each row (M,) that hardly two different rows share; the multipliers are odd and arbitrary."""
    key = np.zeros(len(bits), np.uint64)
    for column, factor in zip(bits.T, (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9), strict=True):
        key ^= key >> np.uint64(29)
        key += column
        key *= np.uint64(factor)
    return key


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
