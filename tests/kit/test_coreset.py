"""The lazy selection against the plain loop in float64: the same picks on whole numbers, the same radius on any."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from amiss.errors import BadField
from amiss.kit.coreset import _Greedy, greedy_k_centre, project

Array = npt.NDArray[Any]


def plain(vectors: Array, count: int, start: int) -> tuple[list[int], float]:
    """Gonzalez's loop as it stands in the paper; the first of equally far vectors is taken."""
    points = vectors.astype(float)
    picks = [start]
    squared = ((points - points[start]) ** 2).sum(axis=1)
    while len(picks) < count and squared.max() > 0:
        picks.append(int(squared.argmax()))
        np.minimum(squared, ((points - points[picks[-1]]) ** 2).sum(axis=1), out=squared)
    return picks, float(np.sqrt(squared.max()))


def covering_radius(vectors: Array, picks: Array) -> float:
    squared = np.full(len(vectors), np.inf)
    for pick in picks:
        np.minimum(squared, ((vectors.astype(float) - vectors[pick].astype(float)) ** 2).sum(axis=1), out=squared)
    return float(np.sqrt(squared.max()))


@contextmanager
def sizes(front: int, group: int, block: int) -> Iterator[None]:
    """Small parts, so that bounds go stale and are refreshed all the time."""
    with patch.multiple(_Greedy, FRONT=front, GROUP=group, BLOCK=block):
        yield


whole = arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 4)), elements=st.integers(-5, 5).map(float))


@settings(max_examples=300, deadline=None)
@given(whole, st.integers(1, 40), st.integers(0, 39), st.integers(1, 9), st.integers(1, 4), st.integers(1, 9))
def test_picks_are_those_of_the_plain_loop_ties_included(
    vectors: Array, count: int, start: int, front: int, group: int, block: int
) -> None:
    count, start = min(count, len(vectors)), min(start, len(vectors) - 1)
    with sizes(front, group, block):
        picks, radius = greedy_k_centre(vectors, count, start=start)
    expected, farthest = plain(vectors, count, start)
    assert picks.tolist() == expected
    assert radius == pytest.approx(farthest)


@pytest.mark.parametrize(("front", "group", "block"), [(64, 8, 32), (500, 16, 100), (8192, 512, 4096)])
def test_picks_are_those_of_the_plain_loop_beyond_one_front(front: int, group: int, block: int) -> None:
    vectors = np.random.default_rng(1).integers(-4, 5, (9000, 5)).astype(np.float32)
    with sizes(front, group, block):
        picks, radius = greedy_k_centre(vectors, 400, start=17)
    expected, farthest = plain(vectors, 400, 17)
    assert picks.tolist() == expected
    assert radius == pytest.approx(farthest)


def clouds() -> dict[str, Array]:
    rng = np.random.default_rng(2)
    middles, which = rng.standard_normal((12, 8)) * 5, rng.integers(0, 12, 4000)
    return {
        "gaussian": rng.standard_normal((4000, 16)),
        "clustered": middles[which] + rng.standard_normal((4000, 8)) * rng.random((4000, 1)) ** 3,
        "tiny clusters and one outlier": np.vstack([rng.standard_normal((2000, 4)) * 1e-3, np.full((1, 4), 500.0)]),
        "far from the origin": 1000 + rng.standard_normal((2000, 8)),
        "a line": np.linspace(0, 1, 3000)[:, None] * np.ones((1, 3)),
    }


@pytest.mark.parametrize("name", clouds())
@pytest.mark.parametrize("front", [50, 8192])
def test_the_radius_is_that_of_the_plain_loop_on_any_numbers(name: str, front: int) -> None:
    vectors = clouds()[name].astype(np.float32)
    with sizes(front, 16, 256):
        picks, radius = greedy_k_centre(vectors, 150, start=3)
    _, farthest = plain(vectors, 150, 3)
    assert len(set(picks.tolist())) == 150
    assert radius == pytest.approx(farthest, rel=1e-4)
    assert radius == pytest.approx(covering_radius(vectors, picks), rel=1e-4)


def test_three_picks_on_a_line_worked_by_hand() -> None:
    line = np.array([[0], [1], [4], [9], [10]], np.float32)
    picks, radius = greedy_k_centre(line, 3, start=0)
    assert picks.tolist() == [0, 4, 2]  # 10 is farthest from 0; then 4 is 4 away from 0, 9 only 1 from 10
    assert radius == 1.0


def test_the_start_comes_first() -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 3)).astype(np.float32)
    for start in (0, 7, 49):
        assert greedy_k_centre(vectors, 5, start=start)[0][0] == start
    assert greedy_k_centre(vectors, 1, start=7)[0].tolist() == [7]


def test_picking_everything_leaves_nothing_uncovered() -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 3)).astype(np.float32)
    picks, radius = greedy_k_centre(vectors, 60, start=0)
    assert sorted(picks.tolist()) == list(range(60)) and radius == 0


@pytest.mark.parametrize("front", [3, 8192])
def test_fewer_come_back_when_the_distinct_vectors_run_out(front: int) -> None:
    rng = np.random.default_rng(0)
    distinct = rng.standard_normal((7, 24)).astype(np.float32) * np.float32([[1e-3], [1], [1], [1], [30], [1], [1]])
    which = np.concatenate([np.arange(7), rng.integers(0, 7, 400)])
    with sizes(front, 4, 64):
        picks, radius = greedy_k_centre(distinct[which], 100, start=0)
    assert sorted(which[picks].tolist()) == list(range(7)) and radius == 0


def test_of_equal_vectors_one_is_enough() -> None:
    picks, radius = greedy_k_centre(np.full((30, 4), 0.1, np.float32), 10, start=5)
    assert picks.tolist() == [5] and radius == 0


def test_the_vectors_are_left_as_they_were() -> None:
    vectors = np.random.default_rng(0).standard_normal((80, 3)).astype(np.float32)
    before = vectors.copy()
    greedy_k_centre(vectors, 20, start=1)
    np.testing.assert_array_equal(vectors, before)


def test_progress_grows_to_the_count() -> None:
    told: list[tuple[int, int]] = []
    vectors = np.random.default_rng(0).standard_normal((300, 3)).astype(np.float32)
    with sizes(16, 4, 32):
        greedy_k_centre(vectors, 40, start=0, progress=lambda done, total: told.append((done, total)))
    done = [step for step, _ in told]
    assert done == sorted(done) and told[-1] == (40, 40) and len(told) > 2


@pytest.mark.parametrize(("count", "start"), [(0, 0), (-1, 0), (11, 0), (3, 10), (3, -1)])
def test_an_impossible_count_or_start_is_refused(count: int, start: int) -> None:
    with pytest.raises(BadField, match=f"{count} picks from 10 vectors starting at {start}"):
        greedy_k_centre(np.zeros((10, 2), np.float32), count, start=start)


# -- projection --------------------------------------------------------------------------------------------------------


def test_projection_has_the_asked_width_and_follows_its_seed() -> None:
    vectors = np.random.default_rng(0).standard_normal((20, 50)).astype(np.float32)
    first, again, other = (project(vectors, 8, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first.shape == (20, 8) and first.dtype == np.float32
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)


@pytest.mark.parametrize("dimensions", [None, 6, 7])
def test_projection_to_no_fewer_dimensions_changes_nothing(dimensions: int | None) -> None:
    vectors = np.random.default_rng(0).standard_normal((5, 6)).astype(np.float32)
    np.testing.assert_array_equal(project(vectors, dimensions, np.random.default_rng(0)), vectors)


def test_projection_roughly_keeps_distances() -> None:
    vectors = np.random.default_rng(0).standard_normal((60, 500)).astype(np.float32)
    reduced = project(vectors, 200, np.random.default_rng(1))
    pairs = np.triu_indices(60, 1)
    before, after = (np.linalg.norm(v[pairs[0]] - v[pairs[1]], axis=1) for v in (vectors, reduced))
    ratio = after / before  # standard deviation 1 / sqrt(2 * 200) = 0.05; 1,770 pairs
    assert ratio.min() > 0.75 and ratio.max() < 1.25 and abs(ratio.mean() - 1) < 0.02
