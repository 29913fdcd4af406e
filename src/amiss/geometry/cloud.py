"""What every reading of a point cloud begins with: a frame of its own, an even density, neighbours, normals, curvature.

Nothing here knows a unit: lengths are measured in the cloud's own, and whoever asks gives radii as multiples of a spacing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadSample

Array = npt.NDArray[Any]

_LINE = 1e-6  # deviation along the second principal axis, as a share of the first, below which points lie on a line
_ASKED = 20_000  # points whose nearest neighbours tell the spacing
_LINKED = 10  # neighbours along which normals are made to agree


def own_frame(points: Array) -> Array:
    """The cloud as it lies in its own frame, (N, 3) float64: centred, along its principal axes, the longer tails positive.

    A moved or rotated cloud comes out the same, whatever the order of its points, so that what is cut into cells afterwards is
    cut alike. The frame is right-handed: mirrored parts stay different.

    points  (N, 3)     raises  BadSample where all points are the same, or lie on a line
    """
    centred = np.asarray(points, np.float64)
    centred = centred - centred.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred)  # ascending; one axis a column
    if not variances[1] > _LINE**2 * variances[2]:
        what = "lie on a line" if np.ptp(points, axis=0).max() > 0 else "are all the same"
        raise BadSample(f"the {len(points)} points of the cloud {what}, a surface is wanted; look at the scan")
    turned = centred @ axes[:, ::-1]
    signs = np.where((turned**3).sum(axis=0) < 0, -1.0, 1.0)
    signs[2] = signs[0] * signs[1] * np.sign(np.linalg.det(axes[:, ::-1]))
    return np.asarray(turned * signs)


def diagonal(points: Array) -> float:
    """Length of the diagonal of the box along the cloud's own axes."""
    return float(np.linalg.norm(np.ptp(own_frame(points), axis=0)))


def spacing(points: Array) -> float:
    """Median distance from a point to the nearest other place, over a sample of the points where there are many.

    raises  BadSample where all points are the same
    """
    from scipy.spatial import cKDTree

    distinct = np.unique(points, axis=0)
    if len(distinct) < 2:
        raise BadSample(f"the {len(points)} points of the cloud are all the same, a surface is wanted; look at the scan")
    asked = distinct[:: -(-len(distinct) // _ASKED)]
    distances, _ = cKDTree(distinct).query(asked, k=2, workers=-1)
    return float(np.median(distances[:, 1]))


def thinned(points: Array, cell: float) -> tuple[Array, Array]:
    """One point for every occupied cell of a cubic grid: the mean of those inside.

    points  (N, 3), best in their own frame     cell  edge of a cell
    return  means (M, 3) float64, in the order of the grid; which of them each point went to (N,)
    """
    points = np.asarray(points, np.float64)
    places = np.floor((points - points.min(axis=0)) / cell).astype(np.int64)
    sides = places.max(axis=0) + 1
    keys = (places[:, 0] * sides[1] + places[:, 1]) * sides[2] + places[:, 2]
    _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    sums = [np.bincount(inverse, points[:, axis]) for axis in range(3)]
    return np.stack(sums, axis=1) / counts[:, None], inverse


def reduced(points: Array, most: int) -> Array:
    """The cloud itself where it has no more than so many points, else thinned until it has, (M, 3)."""
    thin, cell = points, spacing(points)
    while len(thin) > most:
        cell *= 1.2
        thin, _ = thinned(points, cell)
    return thin


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Other points around every point, nearest first.

    indices  (N, k); the point itself where it has fewer     distances  (N, k); infinite there
    """

    indices: Array
    distances: Array

    @classmethod
    def around(cls, points: Array, radius: float, *, least: int = 6, most: int = 160) -> Neighbours:
        """All within a radius, but no fewer than `least` and no more than `most`; smaller radii are taken with `inside`.

        Copies of a point count as others. raises  BadSample where there are not `least` other points
        """
        from scipy.spatial import cKDTree

        if len(points) <= least:
            raise BadSample(
                f"the cloud has {len(points)} points after thinning, {least} neighbours of each are wanted; scan it more "
                "densely, or fit with smaller cells"
            )
        k = min(most, len(points) - 1)
        distances, indices = cKDTree(points).query(points, k=k + 1, workers=-1)
        own = indices == np.arange(len(points))[:, None]
        own[~own.any(axis=1), -1] = True  # a point among more copies of itself than were asked for
        return cls(indices[~own].reshape(-1, k), distances[~own].reshape(-1, k)).inside(radius, least=least)

    @property
    def held(self) -> Array:
        """(N, k) bool: which of them are there."""
        return np.isfinite(self.distances)

    def inside(self, radius: float, *, least: int = 6) -> Neighbours:
        """Those within a smaller radius, but the nearest `least` in any case."""
        held = self.held & ((self.distances <= radius) | (np.arange(self.distances.shape[1]) < least))
        width = int(held.sum(axis=1).max())
        held = held[:, :width]
        own = np.arange(len(held))[:, None]
        return Neighbours(np.where(held, self.indices[:, :width], own), np.where(held, self.distances[:, :width], np.inf))

    def weights(self, values: Array) -> Any:
        """A sparse (N, N) matrix that sums over the neighbours; values (N, k), of which those that are not there are 0."""
        from scipy.sparse import csr_array

        count, k = self.indices.shape
        return csr_array((values.ravel(), self.indices.ravel(), k * np.arange(count + 1)), shape=(count, count))


def mean_around(values: Array, near: Neighbours) -> Array:
    """Mean over every point and its neighbours; values (N, C), return (N, C) float32."""
    held = near.held
    share = (1 / (held.sum(axis=1) + 1)).astype(np.float32)[:, None]
    return np.asarray(near.weights(held * share) @ values + values * share, np.float32)


def covariances(points: Array, near: Neighbours) -> tuple[Array, Array]:
    """Mean (N, 3) and covariance (N, 3, 3) of every point together with its neighbours."""
    offsets = points[near.indices] - points[:, None]  # (N, k, 3), zero for those not there; relative, so nothing cancels
    count = near.held.sum(axis=1) + 1
    mean = offsets.sum(axis=1) / count[:, None]
    covariance = np.einsum("nki,nkj->nij", offsets, offsets) / count[:, None, None] - mean[:, :, None] * mean[:, None, :]
    return points + mean, covariance


def normals(points: Array, near: Neighbours) -> Array:
    """Unit normals (N, 3), all of a surface on one side of it: the outer one of a closed surface.

    The direction is that along which the neighbours spread least. Sides are made to agree from neighbour to neighbour along the
    smoothest paths (a spanning tree, after Hoppe et al., SIGGRAPH 1992); then each connected piece is turned so that its
    normals point away from its middle in the mean, which for a closed surface is outwards (the divergence theorem) and for a
    scan from one side is towards the scanner where the part bulges towards it.
    """
    _, covariance = covariances(points, near)
    _, axes = np.linalg.eigh(covariance)
    directions: Array = axes[:, :, 0]
    sides = _agreeing_sides(points, directions, near.indices[:, :_LINKED])
    return np.asarray(directions * sides[:, None])


def _agreeing_sides(points: Array, directions: Array, near: Array) -> Array:
    """(N,) of 1 and -1; near (N, k) indices."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components, minimum_spanning_tree

    count, k = near.shape
    rows, columns = np.repeat(np.arange(count), k), near.ravel()
    bends = 1 - np.abs(np.einsum("nki,ni->nk", directions[near], directions)).ravel()
    weights = np.maximum(bends, 0) + 1e-6  # zeros would be no edges
    low, high = np.minimum(rows, columns), np.maximum(rows, columns)
    graph = coo_array((weights, (low, high)), shape=(count, count)).tocsr()
    graph.data = np.minimum(graph.data, 2.0)
    tree = minimum_spanning_tree(graph)
    pieces, piece = connected_components(tree, directed=False)
    sides = np.ones(count)
    for number in range(pieces):
        members = np.flatnonzero(piece == number)
        order, before = breadth_first_order(tree, members[0], directed=False)
        agree = np.einsum("ni,ni->n", directions[order[1:]], directions[before[order[1:]]]) >= 0
        sides[order] = _carried(order, before, agree)
        outward = (directions[members] * sides[members, None] * (points[members] - points[members].mean(axis=0))).sum()
        sides[members] *= 1 if outward >= 0 else -1
    return sides


def _carried(order: Array, before: Array, agree: Array) -> list[float]:
    """Sides along a tree from its root; `agree`: whether each but the root lies as the one before it."""
    sides = dict.fromkeys(order[:1].tolist(), 1.0)
    for place, parent, same in zip(order[1:].tolist(), before[order[1:]].tolist(), agree.tolist(), strict=True):
        sides[place] = sides[parent] if same else -sides[parent]
    return list(sides.values())
