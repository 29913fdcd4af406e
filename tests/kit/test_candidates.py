"""A growing sample that stays within its capacity and is uniform over all it has seen."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.kit.candidates import Candidates

Array = npt.NDArray[Any]


def numbered(first: int, count: int, channels: int = 2) -> tuple[Array, Array]:
    """Vectors that carry their number in every channel, and rows that carry it as well."""
    numbers = np.arange(first, first + count)
    rows = np.column_stack([numbers // 10, numbers % 10, numbers]).astype(np.int32)
    return np.repeat(numbers[:, None], channels, axis=1).astype(np.float32), rows


def gathered(capacity: int, parts: list[int], seed: int = 0) -> Candidates:
    candidates, first = Candidates(capacity, np.random.default_rng(seed)), 0
    for count in parts:
        candidates.add(*numbered(first, count))
        first += count
    return candidates


def kept(candidates: Candidates) -> Array:
    return candidates.rows()[:, 2]


def test_everything_is_kept_in_order_below_the_capacity() -> None:
    candidates = gathered(100, [30, 70])
    assert kept(candidates).tolist() == list(range(100))
    assert not candidates.sampled and candidates.seen == 100


def test_one_more_than_the_capacity_starts_sampling() -> None:
    candidates = gathered(100, [100, 1])
    assert candidates.sampled and candidates.seen == 101 and len(kept(candidates)) <= 100


@pytest.mark.parametrize("capacity", [1, 2, 3, 10, 64])
@pytest.mark.parametrize("parts", [[1] * 150, [7] * 30, [500], [3, 400, 1, 1]])
def test_the_capacity_is_never_exceeded_and_rows_stay_with_their_vectors(capacity: int, parts: list[int]) -> None:
    candidates, first = Candidates(capacity, np.random.default_rng(1)), 0
    for count in parts:
        candidates.add(*numbered(first, count))
        first += count
        vectors, rows = candidates.vectors(), candidates.rows()
        assert 0 < len(vectors) == len(rows) <= capacity
        np.testing.assert_array_equal(vectors[:, 0], rows[:, 2])
        np.testing.assert_array_equal(vectors[:, 1], rows[:, 0] * 10 + rows[:, 1])
        assert len(set(rows[:, 2].tolist())) == len(rows)
    assert candidates.seen == sum(parts)


def test_sampling_never_throws_away_half_of_the_capacity() -> None:
    for seed in range(20):
        assert len(kept(gathered(200, [50] * 40, seed))) >= 0.6 * 200


@pytest.mark.parametrize("parts", [[40] * 25, [1000], [5] * 200, [900, 100]], ids=["parts", "whole", "few at a time", "uneven"])
def test_every_vector_has_the_same_chance_wherever_it_came(parts: list[int]) -> None:
    runs = 300
    times = np.zeros(1000)
    for seed in range(runs):
        times[kept(gathered(100, parts, seed))] += 1
    chance = times.sum() / runs / 1000
    spread = np.sqrt(runs * chance * (1 - chance))  # binomial
    assert np.abs(times - runs * chance).max() < 4.5 * spread  # 1,000 vectors: expected maximum 3.3
    thirds = times[:999].reshape(3, 333).sum(axis=1)
    assert np.abs(thirds / thirds.mean() - 1).max() < 0.05  # first, middle and last alike


def test_the_same_seed_keeps_the_same_vectors() -> None:
    one, same, other = (kept(gathered(50, [40] * 10, seed)).tolist() for seed in (3, 3, 4))
    assert one == same != other


def test_nothing_added_is_an_empty_matrix() -> None:
    candidates = Candidates(5, np.random.default_rng(0))
    assert len(candidates.vectors()) == len(candidates.rows()) == candidates.seen == 0


def test_vectors_are_a_view_and_may_be_scaled_in_place() -> None:
    candidates = gathered(100, [50])
    vectors = candidates.vectors()
    assert np.shares_memory(vectors, candidates.vectors())
    vectors *= 2
    assert candidates.vectors()[7, 0] == 14


def test_memory_does_not_double_while_the_sample_shrinks() -> None:
    capacity, channels = 40_000, 64
    candidates = Candidates(capacity, np.random.default_rng(0))
    part = numbered(0, 4000, channels)
    tracemalloc.start()
    for _ in range(30):  # three times the capacity
        candidates.add(*part)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert candidates.sampled
    assert peak < 1.25 * capacity * channels * 4
