"""Greedy k-centre: the few vectors from which no other is far.

Gonzalez (1985): start somewhere, then always take the vector farthest from all taken so far. The plain loop reads every
vector once per pick. Here a stale distance is an upper bound of the true one (it can only fall as picks are added), so
only vectors whose bound still reaches the present radius are brought up to date, in one matrix product per group of
picks; a vector that is covered closer than the final radius is never looked at again. The picks are those of the plain loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadField

Array = npt.NDArray[Any]


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

    FRONT = 8192  # how many candidates are kept exactly up to date; they fit in cache
    GROUP = 256  # most picks before the candidates are chosen anew

    def __init__(self, vectors: Array, start: int) -> None:
        self.points = vectors - vectors[start]  # close to the origin, so that products lose little
        self.norms = np.einsum("ij,ij->i", self.points, self.points)
        self.bounds = self.norms.copy()  # squared distance to the picks each vector has seen
        self.seen = np.ones(len(vectors), np.int32)  # how many picks that were
        self.picks = [start]
        self.noise = float(self.norms.max()) * 1e-6

    def run(self, count: int, progress: Callable[[int, int], None] | None) -> tuple[Array, float]:
        while True:
            front, floor = self._front()
            finished = self._pick_within(front, floor, count)
            if progress is not None:
                progress(len(self.picks), count)
            if finished:
                return np.asarray(self.picks), float(np.sqrt(max(self._radius(), 0.0)))

    def _front(self) -> tuple[Array, float]:
        """The vectors with the largest true distances, in index order, and a bound that all others stay below."""
        size = min(self.FRONT, len(self.bounds))
        target = len(self.bounds) - size
        while True:
            floor = float(np.partition(self.bounds, target)[target])
            front = np.flatnonzero(self.bounds >= floor)
            stale = front[self.seen[front] < len(self.picks)]
            if not len(stale):
                return front, floor
            self._refresh(stale)

    def _refresh(self, stale: Array) -> None:
        """Measure these vectors against every pick they have not seen."""
        stale = stale[np.argsort(self.seen[stale], kind="stable")]
        done = self.seen[stale]
        for first in range(int(done[0]), len(self.picks), self.GROUP):
            group = self.picks[first : first + self.GROUP]
            late = stale[: np.searchsorted(done, first + len(group))]
            self._measure(late, group)
        self.seen[stale] = len(self.picks)

    def _measure(self, who: Array, group: list[int]) -> None:
        centres = self.points[group]
        for begin in range(0, len(who), 4096):
            part = who[begin : begin + 4096]
            nearest = (self.norms[group] - 2.0 * (self.points[part] @ centres.T)).min(axis=1) + self.norms[part]
            self.bounds[part] = np.minimum(self.bounds[part], nearest)

    def _pick_within(self, front: Array, floor: float, count: int) -> bool:
        """Plain greedy on the front while its largest distance is above everything outside; True when done."""
        points, norms = self.points[front], self.norms[front]
        distances = self.bounds[front]
        most = min(count, len(self.picks) + self.GROUP)
        while True:
            best = int(distances.argmax())
            covered = distances[best] <= self.noise
            if covered or len(self.picks) == most or distances[best] < floor:
                break
            self.picks.append(int(front[best]))
            fresh = norms - 2.0 * (points @ points[best]) + norms[best]
            fresh[best] = 0.0
            np.minimum(distances, fresh, out=distances)
        self.bounds[front] = distances
        self.seen[front] = len(self.picks)
        return covered or len(self.picks) == count

    def _radius(self) -> float:
        """Squared covering radius: the largest true bound. Whoever could hold it is brought up to date first."""
        while True:
            top = int(self.bounds.argmax())
            if self.seen[top] == len(self.picks):
                return float(self.bounds[top])
            self._refresh(np.flatnonzero((self.bounds >= self.bounds[top] * 0.9) & (self.seen < len(self.picks))))
