"""What every reading of a point cloud begins with: a frame of its own, an even density, neighbours, normals.

Nothing here knows a unit: lengths are measured in the cloud's own, and whoever asks gives radii as multiples of a spacing.
What grows with points times neighbours is worked through in blocks, so that a million points fit into memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadSample

Array = npt.NDArray[Any]

_LINE = 1e-6  # deviation along the second principal axis, as a share of the first, below which points lie on a line
_ROUNDED = 4.0  # the same, in steps of the numbers that the coordinates are given in
_ALONG = np.array((0.48, 0.6, 0.64))  # a direction that no axis of a part is likely to have
_AROUND = 8  # other places that the spacing is found from
_ASKED = 20_000  # points whose nearest neighbours tell the spacing
_BLOCK = 1 << 20  # pairs of points looked at together
_MOST_KEYS = 1 << 62
_LINKS = 10  # neighbours from which a point may take its side
_SAME_VIEW = 2.0  # weight of facing the way the largest piece does, against a piece's own form
_NOISE = 1e-9  # of a cloud's reach: lengths that say nothing


def own_frame(points: Array) -> Array:
    """The cloud as it lies in its own frame, (N, 3) float64: centred, along its principal axes, the longer ones first.

    The longer tails lie on the positive sides; where that makes no right-handed frame, the axis with the most even tails is
    turned, so that mirrored parts stay different and a plane of symmetry does no harm. A moved or rotated cloud comes out the
    same but for the last digits, whatever the order of its points, and what is cut into cells afterwards is cut alike. A part
    that is round, or the same from several sides, has no frame of its own; it gets one of those that fit equally well.

    points  (N, 3)     raises  BadSample where all points are the same, or lie on a line
    """
    order = _by_content(points)  # sums taken in another order differ in their last digits
    ordered = np.asarray(points, np.float64)[order]
    ordered -= ordered.min(axis=0)  # first, or the mean of coordinates far from the origin is rounded
    ordered -= ordered.mean(axis=0)
    variances, axes = np.linalg.eigh(ordered.T @ ordered / len(ordered))  # ascending; one axis a column
    first, second = np.sqrt(np.maximum(variances[:0:-1], 0))
    if not second > max(_LINE * first, _ROUNDED * _step(points)):
        what = "lie on a line" if np.ptp(points, axis=0).max() > 0 else "are all the same"
        raise BadSample(f"the {len(points)} points of the cloud {what}, a surface is wanted; look at the scan")
    turned = ordered @ axes[:, ::-1]
    tails = ((turned / np.maximum(np.sqrt(np.maximum(variances[::-1], 0)), _NOISE * first)) ** 3).mean(axis=0)
    signs = np.where(tails < 0, -1.0, 1.0)
    if signs.prod() * np.linalg.det(axes[:, ::-1]) < 0:
        signs[np.abs(tails).argmin()] *= -1
    turned[order] = turned * signs
    return np.asarray(turned)


def diagonal(points: Array) -> float:
    """Length of the diagonal of the box along the cloud's own axes."""
    return float(np.linalg.norm(np.ptp(own_frame(points), axis=0)))


def outermost(points: Array) -> int:
    """Index of the point farthest from the middle of the cloud: where a greedy selection starts, whatever order or pose.

    Of points that are equally far, the one farthest along the first, then the second, then the third own axis.

    raises  as own_frame
    """
    frame = own_frame(points)
    reach = np.linalg.norm(frame, axis=1)
    far = np.flatnonzero(reach >= reach.max() * (1 - _NOISE))
    for axis in range(3):
        along = frame[far, axis]
        far = far[along >= along.max() - _NOISE * reach.max()]
    return int(far[0])


def gap(points: Array) -> float:
    """Median distance from a point to the nearest other place, over a sample of the points where there are many.

    raises  BadSample where all points are the same
    """
    return _middle_way(points, 1)[0]


def spacing(points: Array) -> float:
    """Side of the square that a point has to itself on the surface: the median over a sample of the points.

    It follows from how far the eighth nearest other place is: that circle holds eight squares. The nearest alone (`gap`) would
    say that points strewn at random lie half as far apart as as many on a grid.

    raises  BadSample where all points are the same
    """
    way, number = _middle_way(points, _AROUND)
    return way * float(np.sqrt(np.pi / number))


def _middle_way(points: Array, number: int) -> tuple[float, int]:
    """Median distance to the other place of that number by distance, or to the last where there are fewer; and its number."""
    from scipy.spatial import cKDTree

    distinct = _distinct(points)
    if len(distinct) < 2:
        raise BadSample(f"the {len(points)} points of the cloud are all the same, a surface is wanted; look at the scan")
    reach = np.linalg.norm(distinct - distinct.mean(axis=0), axis=1)
    asked = distinct[np.argsort(reach, kind="stable")[:: -(-len(distinct) // _ASKED)]]  # the same in every pose
    number = min(number, len(distinct) - 1)
    distances, _ = cKDTree(distinct, balanced_tree=False).query(asked, k=[number + 1], workers=-1)
    return float(np.median(distances)), number


def thinned(points: Array, cell: float) -> tuple[Array, Array]:
    """One point for every occupied cell of a cubic grid: the mean of those inside.

    points  (N, 3), best in their own frame     cell  edge of a cell
    return  means (M, 3) float64, in the order of the grid; which of them each point went to (N,)
    """
    points = np.asarray(points, np.float64)
    low = points.min(axis=0)
    _, inverse = np.unique(_keys(np.floor((points - low) / cell).astype(np.int64)), return_inverse=True)
    return averaged(points, inverse), inverse


def averaged(values: Array, groups: Array) -> Array:
    """Mean of the values of each group, (M, D) float64.

    values  (N, D)     groups  (N,) 0..M-1, each at least once
    """
    counts = np.bincount(groups)[:, None]
    means = np.stack([np.bincount(groups, column) for column in values.T], axis=1) / counts
    rest = values - means[groups]  # what the sums of large numbers have lost
    return means + np.stack([np.bincount(groups, column) for column in rest.T], axis=1) / counts


def middlemost(frame: Array, groups: Array, most: int = 1) -> Array:
    """Indices of those points of each group that lie in the middle of it along a fixed direction, so many or all it has.

    Of two points none is nearer to their mean, and rounding would choose; along a line one comes first.

    frame  (N, 3) in the cloud's own frame     groups  (N,) 0..M-1, each at least once     return  group by group
    """
    order = np.lexsort((frame @ _ALONG, groups))
    counts = np.bincount(groups)
    ranks = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    off = ranks - np.repeat((counts - 1) // 2, counts)  # 0 in the middle, the lower one of two
    return np.asarray(order[(off >= -((most - 1) // 2)) & (off <= most // 2)])


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

    indices  (N, k) int32; the point itself where it has fewer     distances  (N, k) float32; infinite there
    """

    indices: Array
    distances: Array

    @classmethod
    def of(cls, points: Array, k: int) -> Neighbours:
        """One search with the largest k; fewer are taken with `first`. Copies of a point do not count as the point itself.

        raises  BadSample where there are not k other points
        """
        from scipy.spatial import cKDTree

        count = len(points)
        if count <= k:
            raise BadSample(
                f"the cloud has {count} points after thinning, {k} neighbours of each are wanted; scan it more densely, "
                "or fit with fewer neighbours"
            )
        tree = cKDTree(points)
        near = cls(np.empty((count, k), np.int32), np.empty((count, k), np.float32))
        for part in blocks(count, k):
            distances, indices = tree.query(points[part], k=k + 1, workers=-1)
            own = indices == np.arange(count)[part, None]
            own[~own.any(axis=1), -1] = True  # a point among more copies of itself than were asked for
            near.indices[part], near.distances[part] = indices[~own].reshape(-1, k), distances[~own].reshape(-1, k)
        return near

    @classmethod
    def around(cls, points: Array, radius: float, *, least: int = 6, most: int = 160) -> Neighbours:
        """All within a radius, but no fewer than `least` and no more than `most`; smaller radii are taken with `inside`.

        raises  BadSample where there are not `least` other points
        """
        k = min(most, len(points) - 1) if len(points) > least else least
        return cls.of(points, k).inside(radius, least=least)

    @property
    def held(self) -> Array:
        """(N, k) bool: which of them are there."""
        return np.isfinite(self.distances)

    def first(self, k: int) -> Neighbours:
        """The k nearest of them."""
        return Neighbours(self.indices[:, :k], self.distances[:, :k])

    def inside(self, radius: float, *, least: int = 6) -> Neighbours:
        """Those within a smaller radius, but the nearest `least` in any case."""
        held = self.held & ((self.distances <= radius) | (np.arange(self.distances.shape[1]) < least))
        width = int(held.sum(axis=1).max())
        held = held[:, :width]
        own = np.arange(len(held), dtype=np.int32)[:, None]
        distances = np.where(held, self.distances[:, :width], np.float32(np.inf))
        return Neighbours(np.where(held, self.indices[:, :width], own), distances)

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


def blocks(count: int, k: int) -> Iterator[slice]:
    """Parts of `count` points that have not too many pairs with their k neighbours."""
    step = max(1, _BLOCK // max(k, 1))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def covariances(points: Array, near: Neighbours) -> tuple[Array, Array]:
    """Mean (N, 3) and covariance (N, 3, 3) of every point together with its neighbours."""
    count, k = near.indices.shape
    points = np.asarray(points, np.float64)
    means, found = np.empty((count, 3)), np.empty((count, 3, 3))
    for part in blocks(count, k):
        offsets = points[near.indices[part]] - points[part, None]  # (n, k, 3); relative, so that nothing cancels
        share = 1 / (np.isfinite(near.distances[part]).sum(axis=1) + 1.0)[:, None]  # those that are not there are 0
        mean = offsets.sum(axis=1) * share
        means[part] = points[part] + mean
        found[part] = offsets.transpose(0, 2, 1) @ offsets * share[..., None] - mean[:, :, None] * mean[:, None, :]
    return means, found


def normals(points: Array, near: Neighbours) -> Array:
    """Unit normals (N, 3), all of a surface on one side of it: the outer one.

    The direction is that along which the neighbours spread least. Sides are made to agree from neighbour to neighbour along
    the paths on which they agree best (a spanning tree, after Hoppe et al., SIGGRAPH 1992). Two normals agree where one is the
    other's mirror image in the plane between their points, as on an arc through both (Koenig, Gumhold, VMV 2009): that holds
    on flat and curved places, around edges, and between the two sides of a thin sheet. What is outside is settled by `_outer`.

    near  10 to 30 neighbours
    """
    points = np.asarray(points, np.float64)
    _, covariance = covariances(points, near)
    directions = np.linalg.eigh(covariance)[1][:, :, 0]
    close = float(np.median(near.distances[:, 0]))
    tree = _tree(points, directions, near.first(min(_LINKS, near.indices.shape[1])), close)
    sides, piece = _carried(points, directions, tree, close)
    directions *= sides[:, None]
    return np.asarray(directions * _outer(points, directions, near, piece)[piece, None])


def _by_content(points: Array) -> Array:
    """The order of points by a number made of their coordinates, (N,): the same points come in the same order."""
    x, y, z = np.asarray(points, np.float64).T
    return np.argsort(x + np.sqrt(2) * y + np.sqrt(3) * z)


def _distinct(points: Array) -> Array:
    """Points without their copies, (M, 3) float64."""
    ordered = np.asarray(points, np.float64)[_by_content(points)]
    fresh = np.ones(len(ordered), bool)
    fresh[1:] = (np.diff(ordered, axis=0) != 0).any(axis=1)
    return np.asarray(ordered[fresh])


def _step(points: Array) -> float:
    """From one number to the next at the largest coordinate, in the type that the points came in."""
    kind = points.dtype if points.dtype.kind == "f" else np.dtype(np.float64)
    return float(np.finfo(kind).eps * np.abs(points).max())


def _keys(places: Array) -> Array:
    """A number for every cell of a grid, (N,), in the order of the grid; places (N, 3) from 0 on."""
    x, y, z = places.T
    sides = [int(side) + 1 for side in places.max(axis=0)]
    if sides[0] * sides[1] * sides[2] > _MOST_KEYS:  # a far outlier: only the occupied planes and columns are numbered
        x, y, z = (np.unique(axis, return_inverse=True)[1] for axis in (x, y, z))
        x, y = np.unique(x * (y.max() + 1) + y, return_inverse=True)[1], np.zeros_like(y)
        sides = [int(axis.max()) + 1 for axis in (x, y, z)]
    return np.asarray((x * sides[1] + y) * sides[2] + z)


def _tree(points: Array, directions: Array, near: Neighbours, close: float) -> Any:
    """The links between neighbours along which normals agree best, a sparse (N, N) matrix with one tree a piece."""
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import minimum_spanning_tree

    count, k = near.indices.shape
    bends = np.empty((count, k), np.float32)
    for part in blocks(count, k):
        own = np.arange(count)[part, None]
        bends[part] = 1 - np.abs(_agreement(points, directions, own, near.indices[part], close))
    weights = np.maximum(bends, 0) + np.float32(1e-6)  # zeros would be no links
    graph = csr_array((weights.ravel(), near.indices.ravel(), np.arange(0, count * k + 1, k)), shape=(count, count))
    return minimum_spanning_tree(graph)


def _agreement(points: Array, directions: Array, one: Array, other: Array, close: float) -> Array:
    """The cosine between each normal's mirror image and the other normal; below 0 where their sides differ.

    Of points closer than most nearest neighbours are, noise says which way leads from one to the other, so it counts less.
    """
    ways = points[other] - points[one]
    ways /= np.maximum(np.linalg.norm(ways, axis=-1, keepdims=True), max(close, np.finfo(float).tiny))
    mine, others = directions[one], directions[other]
    across = np.einsum("...i,...i->...", mine, ways) * np.einsum("...i,...i->...", others, ways)
    return np.asarray(np.einsum("...i,...i->...", np.broadcast_to(mine, others.shape), others) - 2 * across)


def _carried(points: Array, directions: Array, tree: Any, close: float) -> tuple[Array, Array]:
    """Sides carried along every tree from its first point: 1 or -1 for each point, (N,); which piece it belongs to, (N,)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import breadth_first_order, connected_components

    count = len(points)
    _, piece = connected_components(tree, directed=False)
    roots = np.unique(piece, return_index=True)[1]
    links = tree.tocoo()
    rows, columns = np.append(links.row, np.full(len(roots), count)), np.append(links.col, roots)
    joined = coo_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(count + 1, count + 1)).tocsr()
    before = breadth_first_order(joined, count, directed=False)[1][:count]
    before[roots] = roots
    sides = np.where(_agreement(points, directions, before, np.arange(count), close) < 0, -1.0, 1.0)
    sides[roots] = 1
    while (before != (further := before[before])).any():  # each round doubles the way that a side has come
        sides *= sides[before]
        before = further
    return sides, piece


def _outer(points: Array, directions: Array, near: Neighbours, piece: Array) -> Array:
    """For each piece 1 where its normals point outwards, else -1.

    Of a closed surface the outer normals point away from its middle in the mean (the divergence theorem). A scan from one side
    is open: at its borders it turns away from the scanner, as solid bodies do at their silhouettes. The more one-sided the
    normals, the more the borders count. Smaller pieces, which a scan shows beside the largest or through its gaps, face the way
    that one does, unless their own form speaks clearly against it.
    """
    arms = points - averaged(points, piece)[piece]
    slack = max(_NOISE * float(np.linalg.norm(arms, axis=1).max()), np.finfo(float).tiny)
    facing = averaged(directions, piece)  # (pieces, 3)
    lean = np.linalg.norm(facing, axis=1)  # 0 of a closed surface, 1 of a plane
    bulge = _net(np.einsum("ni,ni->n", arms, directions), piece, slack)
    form = (1 - lean) * bulge + lean * _net(_turns(points, directions, near), piece, slack)
    main = int(np.bincount(piece).argmax())
    front = facing[main] * (1 if form[main] >= 0 else -1)
    others = np.arange(len(form)) != main
    return np.where(form + _SAME_VIEW * others * (facing @ front) < 0, -1.0, 1.0)


def _turns(points: Array, directions: Array, near: Neighbours) -> Array:
    """Above 0 where a surface turns away from its normals on the way out over its border, next to 0 inside it, (N,)."""
    found = np.empty(len(points))
    for part in blocks(*near.indices.shape):
        own, others = directions[part], near.indices[part]
        ways = points[part] - points[others].mean(axis=1)
        ways -= np.einsum("ni,ni->n", ways, own)[:, None] * own
        found[part] = np.einsum("ni,ni->n", own - directions[others].mean(axis=1), ways)
    return found


def _net(values: Array, piece: Array, slack: float) -> Array:
    """Sum of the values of each piece as a share of the sum of their sizes, (pieces,) -1..1."""
    return np.asarray(np.bincount(piece, values) / np.bincount(piece, np.abs(values) + slack))
