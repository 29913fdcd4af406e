"""The bank against brute force in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.errors import BadField
from amiss.kit import memory
from amiss.kit.memory import MemoryBank

Array = npt.NDArray[Any]


def bank_of(vectors: Array) -> MemoryBank:
    rows = np.zeros((len(vectors), 3), np.int32)
    rows[:, 1] = np.arange(len(vectors))
    return MemoryBank(np.asarray(vectors, np.float32), rows)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def all_distances(queries: Array, vectors: Array) -> Array:
    """(Q, N), by direct difference."""
    difference = queries.astype(float)[:, None] - vectors.astype(float)[None]
    return np.sqrt((difference**2).sum(axis=2))


def agree(found: tuple[Array, Array], queries: Array, vectors: Array, allowed: Array | None = None) -> None:
    """Distances are the smallest there are, ascending; every index names a vector at that distance, none twice."""
    distances, indices = found
    truth = all_distances(queries, vectors)
    if allowed is not None:
        truth = np.where(np.broadcast_to(allowed, truth.shape), truth, np.inf)
    np.testing.assert_allclose(distances, np.sort(truth, axis=1)[:, : distances.shape[1]], rtol=1e-5, atol=1e-6)
    for row, (places, lengths) in enumerate(zip(indices, distances, strict=True)):
        real = places[places >= 0]
        assert len(set(real.tolist())) == len(real) and np.isinf(lengths[places < 0]).all()
        np.testing.assert_allclose(truth[row, real], lengths[places >= 0], rtol=1e-5, atol=1e-6)


@pytest.fixture(params=[1, 7, 1 << 20], ids=["one vector a block", "small blocks", "one block"])
def block(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many vectors a block holds when there are 5 queries."""
    monkeypatch.setattr(memory, "_BLOCK", request.param * 5)
    return int(request.param)


@pytest.mark.parametrize("k", range(1, 24))
def test_every_k_agrees_with_brute_force(block: int, k: int) -> None:
    queries, vectors = normal(5, 6, seed=1), normal(23, 6)
    agree(bank_of(vectors).nearest(queries, k), queries, vectors)


def test_more_queries_than_are_searched_at_once() -> None:
    queries, vectors = normal(4500, 3, seed=1), normal(40, 3)
    distances, indices = bank_of(vectors).nearest(queries, 2)
    truth = all_distances(queries, vectors)
    np.testing.assert_allclose(distances, np.sort(truth, axis=1)[:, :2], rtol=1e-4, atol=1e-6)
    np.testing.assert_array_equal(indices[:, 0], truth.argmin(axis=1))


def test_distances_worked_by_hand() -> None:
    distances, indices = bank_of(np.array([[0, 0], [3, 4], [6, 8]])).nearest(np.array([[0.0, 0.0], [6.0, 7.0]]), 2)
    np.testing.assert_allclose(distances, [[0, 5], [1, np.sqrt(18)]])
    assert indices.tolist() == [[0, 1], [2, 1]]


@pytest.mark.parametrize("k", [1, 3, 9])
def test_a_mask_over_the_bank_holds_for_every_query(block: int, k: int) -> None:
    queries, vectors = normal(5, 4, seed=1), normal(12, 4)
    allowed = np.arange(12) % 3 > 0  # 8 of 12
    found = bank_of(vectors).nearest(queries, k, allowed=allowed)
    agree(found, queries, vectors, allowed)
    assert not np.isin(found[1], [0, 3, 6, 9]).any()
    assert (found[1][:, 8:] == -1).all()


@pytest.mark.parametrize("k", [1, 3, 12])
def test_a_mask_for_each_query_holds_for_that_query(block: int, k: int) -> None:
    queries, vectors = normal(5, 4, seed=1), normal(12, 4)
    allowed = np.random.default_rng(3).random((5, 12)) < 0.4
    allowed[2] = False
    agree(bank_of(vectors).nearest(queries, k, allowed=allowed), queries, vectors, allowed)


def test_masks_follow_their_queries_beyond_the_first_two_thousand() -> None:
    vectors = normal(3, 2)
    queries = np.repeat(vectors[:1], 2100, axis=0)
    allowed = np.ones((2100, 3), bool)
    allowed[2099, 0] = False
    _, indices = bank_of(vectors).nearest(queries, 1, allowed=allowed)
    assert (indices[:2099] == 0).all() and indices[2099] != 0


@pytest.mark.parametrize("k", [1, 2])
def test_where_nothing_is_allowed_the_distance_is_infinite_and_the_index_minus_one(block: int, k: int) -> None:
    distances, indices = bank_of(normal(4, 2)).nearest(normal(5, 2, seed=1), k, allowed=np.zeros(4, bool))
    assert np.isinf(distances).all() and (indices == -1).all()


def test_the_first_of_equally_near_vectors_answers(block: int) -> None:
    vectors = np.array([[9, 9], [1, 0], [-1, 0], [0, 1], [1, 0]])
    distances, indices = bank_of(vectors).nearest(np.zeros((5, 2)), 1)
    assert (distances == 1).all() and (indices == 1).all()


@pytest.mark.parametrize("k", [1, 3, 5, 6])
def test_exact_duplicates_are_found_at_distance_zero_each_once(block: int, k: int) -> None:
    vectors = np.repeat(normal(2, 3), 3, axis=0)  # three copies of either
    queries = vectors[[0, 3, 0, 3, 0]]
    found = bank_of(vectors).nearest(queries, k)
    agree(found, queries, vectors)
    assert (found[0][:, : min(k, 3)] == 0).all()


def test_bank_of_one_vector_returns_it_for_every_query() -> None:
    queries = normal(6, 4, seed=1)
    found = bank_of(normal(1, 4)).nearest(queries)
    agree(found, queries, normal(1, 4))
    assert (found[1] == 0).all()


@pytest.mark.parametrize("k", [1, 3])
def test_vectors_far_from_the_origin_lose_no_accuracy(k: int) -> None:
    rng = np.random.default_rng(0)
    vectors = (1000 + rng.standard_normal((300, 16))).astype(np.float32)
    queries = (1000 + rng.standard_normal((50, 16))).astype(np.float32)
    distances, _ = bank_of(vectors).nearest(queries, k)
    truth = np.sort(all_distances(queries, vectors), axis=1)[:, :k]
    np.testing.assert_allclose(distances, truth, rtol=1e-5)


def test_a_query_very_near_a_vector_is_measured_by_direct_difference() -> None:
    vectors = normal(200, 64) * 100
    queries = vectors[:20] + np.float32(1e-3)
    distances, indices = bank_of(vectors).nearest(queries)
    assert indices[:, 0].tolist() == list(range(20))
    truth = np.linalg.norm(queries.astype(float) - vectors[:20].astype(float), axis=1)  # about 8e-3, norms about 800
    np.testing.assert_allclose(distances[:, 0], truth, rtol=1e-5)


def test_queries_may_be_of_double_precision() -> None:
    queries, vectors = np.random.default_rng(1).standard_normal((5, 6)), normal(23, 6)
    found = bank_of(vectors).nearest(queries, 4)
    assert found[0].dtype == np.float32
    agree(found, queries, vectors)


def test_no_queries_give_no_answers() -> None:
    distances, indices = bank_of(normal(3, 2)).nearest(np.empty((0, 2)), 2)
    assert distances.shape == indices.shape == (0, 2)


@pytest.mark.parametrize("k", [0, -1, 4])
def test_a_k_the_bank_cannot_serve_is_refused_with_the_bounds(k: int) -> None:
    with pytest.raises(BadField, match=r"bank of 3; choose k from 1 to 3"):
        bank_of(normal(3, 2)).nearest(normal(1, 2), k)


@pytest.mark.parametrize(("vectors", "rows"), [((0, 2), (0, 3)), ((3,), (3, 3)), ((3, 2), (2, 3)), ((3, 2), (3, 2))])
def test_vectors_and_rows_must_belong_together(vectors: tuple[int, ...], rows: tuple[int, ...]) -> None:
    with pytest.raises(BadField, match="a bank needs"):
        MemoryBank(np.zeros(vectors, np.float32), np.zeros(rows, np.int32))


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 12), st.integers(1, 8), st.integers(1, 3), st.integers(1, 12), st.integers(0, 99))
def test_small_whole_numbers_with_many_ties_agree_exactly(n: int, q: int, channels: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = rng.integers(-2, 3, (n, channels)), rng.integers(-2, 3, (q, channels))
    allowed = rng.random((q, n)) < 0.7
    agree(bank_of(vectors).nearest(queries, min(k, n), allowed=allowed), queries, vectors, allowed)
