"""k-means and silhouettes: by hand, by loops, and that a bad start is recovered from."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.errors import BadField
from amiss.kit.clusters import k_means, silhouette

Array = npt.NDArray[Any]


def heaps(count: int, each: int, seed: int = 0, width: float = 0.1) -> tuple[Array, Array]:
    """Vectors about the corners of a large cube, and which corner."""
    rng = np.random.default_rng(seed)
    corners = np.array(list(itertools.product((0, 5.0), repeat=3)))[:count]
    which = np.repeat(np.arange(count), each)
    return corners[which] + rng.normal(0, width, (len(which), 3)), which


def slow_silhouette(vectors: Array, member: Array) -> float:
    values = []
    for index, vector in enumerate(vectors):
        mean = {}
        for name in set(member.tolist()):
            others = [other for place, other in enumerate(vectors) if member[place] == name and place != index]
            mean[name] = np.mean([np.linalg.norm(vector - other) for other in others]) if others else None
        a = mean.pop(member[index])
        b = min(value for value in mean.values() if value is not None)
        values.append(0.0 if a is None else (b - a) / max(a, b))
    return float(np.mean(values))


def test_heaps_are_found_whatever_the_start() -> None:
    vectors, which = heaps(6, 4)
    for seed in range(20):
        centres, member = k_means(vectors, 6, np.random.default_rng(seed))
        assert len({(one, other) for one, other in zip(which, member, strict=True)}) == 6
        np.testing.assert_allclose(centres, [vectors[member == k].mean(axis=0) for k in range(6)])


def test_restarts_find_what_one_start_may_miss() -> None:
    vectors, _ = heaps(8, 3, width=0.8)

    def spread(restarts: int, seed: int) -> float:
        centres, member = k_means(vectors, 8, np.random.default_rng(seed), restarts=restarts)
        return float(((vectors - centres[member]) ** 2).sum())

    once, often = ([spread(restarts, seed) for seed in range(15)] for restarts in (1, 10))
    assert max(often) < max(once) - 1


def test_one_centre_is_the_mean() -> None:
    vectors, _ = heaps(3, 5)
    centres, member = k_means(vectors, 1, np.random.default_rng(0))
    np.testing.assert_allclose(centres, vectors.mean(axis=0)[None])
    assert (member == 0).all()


def test_copies_make_no_more_centres_than_there_are_different_vectors() -> None:
    vectors = np.repeat(np.eye(2), 5, axis=0)
    centres, member = k_means(vectors, 4, np.random.default_rng(0))
    assert len(centres) == 2 and len(set(member[:5])) == len(set(member[5:])) == 1


@pytest.mark.parametrize("count", [0, 5])
def test_an_impossible_number_of_clusters_is_refused(count: int) -> None:
    with pytest.raises(BadField, match=f"{count} clusters of 4"):
        k_means(np.eye(4), count, np.random.default_rng(0))


def test_the_silhouette_of_two_pairs_by_hand() -> None:
    vectors = np.array([[0.0], [1.0], [4.0], [6.0]])
    # a = 1, 1, 2, 2; b = 5, 4, 3.5, 5.5
    wanted = np.mean([4 / 5, 3 / 4, 1.5 / 3.5, 3.5 / 5.5])
    assert silhouette(vectors, np.array([3, 3, 7, 7])) == pytest.approx(wanted)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5))
def test_the_silhouette_equals_the_loops(seed: int, clusters: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, member = rng.standard_normal((12, 3)), rng.integers(clusters, size=12)
    member[:clusters] = np.arange(clusters)
    assert silhouette(vectors, member) == pytest.approx(slow_silhouette(vectors, member))


def test_the_right_number_of_heaps_has_the_highest_silhouette() -> None:
    vectors, _ = heaps(5, 4)
    values = {count: silhouette(vectors, k_means(vectors, count, np.random.default_rng(0))[1]) for count in range(2, 10)}
    assert max(values, key=values.__getitem__) == 5 and values[5] > 0.9
