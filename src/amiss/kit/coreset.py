"""Greedy k-centre: the few vectors from which no other is far.

Gonzalez (1985): start somewhere, then always take the vector farthest from all taken so far. The plain loop reads every
vector once per pick. Here a stale distance is an upper bound of the true one (it can only fall as picks are added), so only
vectors whose bound is among the largest are brought up to date, and each only until it has fallen below the rest; a vector
that is covered closer than the final radius is hardly looked at again. The picks are those of the plain loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadField

Array = npt.NDArray[Any]

_ZERO = float(np.finfo(np.float32).tiny)  # squared distances below this are none


def project(vectors: Array, dimensions: int | None, rng: np.random.Generator) -> Array:
    """Gaussian random projection, which keeps distances in expectation (Johnson and Lindenstrauss, 1984).

    vectors  (N, C)     dimensions  target D, or None for no projection; never more than C
    return  (N, D) float32
    """
    if dimensions is None or dimensions >= vectors.shape[1]:
        return vectors
    matrix = rng.standard_normal((vectors.shape[1], dimensions)) / np.sqrt(dimensions)
    return np.asarray(vectors @ matrix.astype(np.float32), np.float32)


def greedy_k_centre(
    vectors: Array, count: int, *, start: int, progress: Callable[[int, int], None] | None = None
) -> tuple[Array, float]:
    """Indices of at most `count` vectors, greedily far from one another, the start first.

    vectors  (N, D) float32     count  1..N     start  index of the first pick
    progress  called with (picks so far, count)
    return  indices in the order they were picked, and the covering radius: the largest distance of any vector to its
            nearest pick. Fewer than `count` come back when they already cover everything at distance zero.
    raises  BadField for an impossible count or start
    """
    if not 1 <= count <= len(vectors) or not 0 <= start < len(vectors):
        raise BadField(f"{count} picks from {len(vectors)} vectors starting at {start}: not possible")
    return _Greedy(vectors, start).run(count, progress)


class _Greedy:
    """The state of one selection: picks, and for every vector a bound on its squared distance to them."""

    FRONT = 8192  # how many of the largest bounds are brought up to date before a round of picks
    GROUP = 512  # picks measured in one product, after which covered vectors drop out
    BLOCK = 4096  # vectors measured in one product
    CLOSE = 1e-3  # squared distances below this share of the squared norm have cancelled; they are measured directly

    def __init__(self, vectors: Array, start: int) -> None:
        self.points = vectors - vectors[start]  # close to the origin, so that products lose little
        self.norms = np.einsum("ij,ij->i", self.points, self.points)
        self.bounds = self.norms.copy()  # squared distance to the picks each vector has seen
        self.seen = np.ones(len(vectors), np.int32)  # how many picks that were
        self.picks = [start]

    def run(self, count: int, progress: Callable[[int, int], None] | None) -> tuple[Array, float]:
        while len(self.picks) < count:
            floor = self._floor()
            self._refresh(floor)
            picked = self._pick(floor, count)
            if progress is not None:
                progress(len(self.picks), count)
            if not picked and floor == _ZERO:
                break
        return np.asarray(self.picks), float(np.sqrt(self._radius()))

    def _floor(self) -> float:
        """The FRONT-th largest bound, above zero."""
        rank = max(0, len(self.bounds) - self.FRONT)
        return max(_ZERO, float(np.partition(self.bounds, rank)[rank]))

    def _refresh(self, floor: float) -> None:
        """Make every bound that is at least `floor` a true distance, or find that it is below."""
        stale = np.flatnonzero((self.bounds >= floor) & (self.seen < len(self.picks)))
        stale = stale[np.argsort(self.seen[stale], kind="stable")]
        for begin in range(0, len(stale), self.BLOCK):
            self._catch_up(stale[begin : begin + self.BLOCK], floor)

    def _catch_up(self, who: Array, floor: float) -> None:
        """Measure these vectors, sorted by `seen`, against the picks they missed, each until it falls below `floor`."""
        points, norms, bounds = self.points[who], self.norms[who], self.bounds[who]
        for first in range(int(self.seen[who[0]]), len(self.picks), self.GROUP):
            group = self.picks[first : first + self.GROUP]
            np.minimum(bounds, self._nearest(points, norms, group), out=bounds)
            self.bounds[who], self.seen[who] = bounds, first + len(group)
            far = bounds >= floor
            if not far.any():
                return
            if far.mean() < 0.75:  # a smaller block is worth its copy
                who, points, norms, bounds = who[far], points[far], norms[far], bounds[far]

    def _pick(self, floor: float, count: int) -> int:
        """Plain greedy while the largest distance is at least `floor`, which nobody outside reaches; the number picked."""
        front = np.flatnonzero(self.bounds >= floor)  # in index order, so that the first of equals is taken
        if not len(front):
            return 0
        before = len(self.picks)
        points, norms, distances = self.points[front], self.norms[front], self.bounds[front]
        while len(self.picks) < count and distances[best := int(distances.argmax())] >= floor:
            self.picks.append(int(front[best]))
            np.minimum(distances, self._nearest(points, norms, self.picks[-1:]), out=distances)
        self.bounds[front], self.seen[front] = distances, len(self.picks)
        return len(self.picks) - before

    def _nearest(self, points: Array, norms: Array, group: list[int]) -> Array:
        """Squared distance of each point to the nearest of some picks.

        points  (n, D)     norms  (n,) their squared lengths     return  (n,)
        """
        centres = self.points[group]
        products = points @ (-2.0 * centres.T)  # (n, G), and in place from here
        products += self.norms[group]
        nearest = np.asarray(products.min(axis=1) + norms)
        close = np.flatnonzero(nearest < self.CLOSE * norms)
        if len(close):
            place, pick = np.nonzero(products[close] < (self.CLOSE - 1) * norms[close, None])
            difference = points[close[place]] - centres[pick]
            exact = np.full(len(close), np.inf, nearest.dtype)
            np.minimum.at(exact, place, np.einsum("ij,ij->i", difference, difference))
            nearest[close] = exact
        return nearest

    def _radius(self) -> float:
        """The largest true squared distance to the picks."""
        while True:
            floor = self._floor()
            self._refresh(floor)
            largest = float(self.bounds.max())
            if not largest < floor or floor == _ZERO:
                return largest
