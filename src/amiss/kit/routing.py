"""One model for many kinds of parts: which kind a cloud is of, without being told.

What a cloud is like as a whole becomes a vector; the good clouds' vectors are clustered; a cloud goes to the nearest centre,
and to the second nearest as well where the two are about as near. A cloud that is far from all of them, a scan from one side
among whole ones, is known to be so, and may be routed by something else.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amiss.geometry.whole import distance_histogram, extents
from amiss.kit.clusters import k_means, silhouette, squared_distances
from amiss.kit.coreset import greedy_k_centre

Array = npt.NDArray[Any]
Clustering = Literal["means", "k-centre"]
log = logging.getLogger(__name__)

BINS = 64
_MOST = 20  # kinds that are looked for where their number is not given
_FAR = 3.0  # times as far as the farthest good cloud: new whole scans of made parts are up to 1.6, scans from one side 9 to 34
_CLEAR = 0.5  # least silhouette of several kinds; single kinds of made parts have 0.15 to 0.36, cut in two


def described(local: Array, places: Array, reach: float) -> list[Array]:
    """What a cloud is like as a whole, in blocks: mean and deviation of its local features, its sides, its distances.

    local  (P, C)     places  (P, 3)     reach  a length that stands for 1: the largest good cloud's diagonal
    return (C,), (C,), (3,) and (BINS,)
    """
    sides = extents(places) / reach
    return [
        local.mean(axis=0, dtype=np.float64),
        local.std(axis=0, dtype=np.float64),
        sides,
        distance_histogram(places, reach, BINS),
    ]


@dataclass(frozen=True)
class Route:
    """Where a cloud goes.

    centre     the nearest     used  it alone, or it and the second nearest
    distances  (K,) to all centres     far  whether it is unlike every good cloud
    """

    centre: int
    used: tuple[int, ...]
    distances: Array
    far: bool = False

    @classmethod
    def of(cls, distances: Array, soft: float) -> Route:
        """distances  (K,)     soft  the second nearest counts too where it is farther by less than this share"""
        order = np.argsort(distances, kind="stable")
        close = len(order) > 1 and distances[order[1]] - distances[order[0]] < soft * distances[order[0]]
        return cls(int(order[0]), tuple(order[: 1 + close].tolist()), distances)


@dataclass(frozen=True, eq=False)
class Router:
    """centres  (K, D) float64, blocks joined and divided     scales  (4,) what each block is divided by
    reaches  (K,) how far the farthest good cloud of each centre is from it
    """

    centres: Array
    scales: Array
    reaches: Array

    @classmethod
    def of(
        cls, clouds: Sequence[Sequence[Array]], count: int | None, rng: np.random.Generator, how: Clustering = "means"
    ) -> tuple[Router, Array]:
        """Learned from the blocks of good clouds; and which centre each of these goes to, (n,).

        Every block is divided by how far it spreads over the good clouds, so that none drowns the others.

        count  how many centres | None: as many as have the highest silhouette, one where that is low
        """
        scales = np.array([_spread(np.stack(block)) for block in zip(*clouds, strict=True)])
        vectors = np.stack([_joined(blocks, scales) for blocks in clouds])
        centres = _centres(vectors, count, rng, how)
        met, member = np.unique(squared_distances(vectors, centres).argmin(axis=1), return_inverse=True)
        centres = centres[met]  # those that any good cloud goes to
        distances = np.sqrt(squared_distances(vectors, centres))
        reaches = np.array([distances[member == k, k].max() for k in range(len(centres))])
        return cls(centres, scales, reaches), member

    def route(self, blocks: Sequence[Array], soft: float) -> Route:
        """By what a cloud is like as a whole; soft  as in Route.of"""
        found = Route.of(np.sqrt(squared_distances(_joined(blocks, self.scales)[None], self.centres)[0]), soft)
        return replace(found, far=bool(found.distances[found.centre] > _FAR * self.reaches[found.centre]))


def _spread(block: Array) -> float:
    """Root mean square distance of rows from their mean; 1 where there is none."""
    far = float(np.sqrt(((block - block.mean(axis=0)) ** 2).sum(axis=1).mean()))
    return far if far > 1e-9 * np.abs(block).max(initial=0) else 1.0


def _joined(blocks: Sequence[Array], scales: Array) -> Array:
    return np.concatenate([block / scale for block, scale in zip(blocks, scales, strict=True)])


def _centres(vectors: Array, count: int | None, rng: np.random.Generator, how: Clustering) -> Array:
    if count is not None:
        return _clustered(vectors, min(count, len(vectors)), rng, how)
    best, clear = _clustered(vectors, 1, rng, how), _CLEAR
    for number in range(2, min(_MOST, len(vectors) - 1) + 1):
        centres = _clustered(vectors, number, rng, how)
        member = squared_distances(vectors, centres).argmin(axis=1)
        value = silhouette(vectors, member) if len(set(member.tolist())) > 1 else 0.0
        log.debug("%d kinds of parts: silhouette %.3f", number, value)
        if value > clear:
            best, clear = centres, value
    return best


def _clustered(vectors: Array, count: int, rng: np.random.Generator, how: Clustering) -> Array:
    if how == "means":
        return k_means(vectors, count, rng)[0]
    middle = int(squared_distances(vectors, vectors.mean(axis=0)[None]).argmin())
    return np.asarray(vectors[greedy_k_centre(vectors, count, start=middle)[0]])
