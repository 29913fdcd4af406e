"""Which things belong together: k-means from spread seeds, and how well a number of clusters fits.

Arthur, Vassilvitskii: k-means++, SODA 2007; Rousseeuw: Silhouettes, Journal of Computational and Applied Mathematics 1987.
Own code, because scikit-learn takes a second to import and some dozens of vectors take none.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadField

Array = npt.NDArray[Any]

_RESTARTS = 10
_ROUNDS = 100


def squared_distances(vectors: Array, centres: Array) -> Array:
    """(N, K) of vectors (N, D) and centres (K, D), by direct difference, one centre at a time."""
    return np.stack([((vectors - centre) ** 2).sum(axis=1) for centre in centres], axis=1)


def k_means(vectors: Array, count: int, rng: np.random.Generator, *, restarts: int = _RESTARTS) -> tuple[Array, Array]:
    """Centres (K, D) float64 and which of them each vector belongs to, (N,): the best of some restarts.

    vectors  (N, D)     count  1..N; fewer centres come back where there are not so many different vectors
    raises   BadField for an impossible count
    """
    if not 1 <= count <= len(vectors):
        raise BadField(f"{count} clusters of {len(vectors)} vectors: not possible")
    vectors = np.asarray(vectors, np.float64)
    best = min((_settled(vectors, _seeds(vectors, count, rng)) for _ in range(restarts)), key=lambda found: found[2])
    return best[0], best[1]


def _seeds(vectors: Array, count: int, rng: np.random.Generator) -> Array:
    """Centres to begin with: each is drawn with a chance that grows with its squared distance from those before it."""
    picks = [int(rng.integers(len(vectors)))]
    far = squared_distances(vectors, vectors[picks])[:, 0]
    while len(picks) < count and far.max() > 0:
        picks.append(int(rng.choice(len(vectors), p=far / far.sum())))
        far = np.minimum(far, squared_distances(vectors, vectors[picks[-1:]])[:, 0])
    return np.asarray(vectors[picks])


def _settled(vectors: Array, centres: Array) -> tuple[Array, Array, float]:
    """Lloyd's rounds until no vector changes sides: centres, members and the sum of squared distances."""
    member = np.full(len(vectors), -1)
    for _ in range(_ROUNDS):
        nearest = squared_distances(vectors, centres).argmin(axis=1)
        if (nearest == member).all():
            break
        member = nearest
        centres = np.stack([vectors[member == k].mean(axis=0) if (member == k).any() else old for k, old in enumerate(centres)])
    return centres, member, float(((vectors - centres[member]) ** 2).sum())


def silhouette(vectors: Array, member: Array) -> float:
    """Mean over vectors of (b - a) / max(a, b): a the mean distance to the own cluster's others, b to the nearest other one's.

    1 for clusters that are points far apart, 0 where they touch; a vector that is alone in its cluster counts 0.

    vectors  (N, D)     member  (N,) with two clusters or more
    """
    apart = np.sqrt(squared_distances(np.asarray(vectors, np.float64), np.asarray(vectors, np.float64)))  # (N, N)
    names = np.unique(member)
    sums = np.stack([apart[:, member == name].sum(axis=1) for name in names], axis=1)  # (N, K)
    sizes = np.array([(member == name).sum() for name in names])
    own = np.searchsorted(names, member)
    every = np.arange(len(member))
    inner = sums[every, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[every, own] = np.inf
    outer = means.min(axis=1)
    value = (outer - inner) / np.maximum(np.maximum(inner, outer), np.finfo(float).tiny)
    return float(np.where(sizes[own] > 1, value, 0).mean())
