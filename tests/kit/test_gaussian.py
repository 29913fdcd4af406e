"""Streaming Gaussians against the batch formulas of numpy in float64."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.kit.gaussian import Gaussians, mahalanobis, whitening
from amiss.kit.threads import one_thread
from tests.papers import oracles

Array = npt.NDArray[Any]


def learned(data: Array) -> tuple[Array, Array]:
    """Mean and covariance after one pass over (N, P, d)."""
    gaussians = Gaussians(*data.shape[1:])
    for vectors in data:
        gaussians.add(vectors)
    mean = gaussians.mean()
    return mean, gaussians.covariance()


def agree(data: Array) -> None:
    """Every mean to 1e-5 of the spread or of float32, every covariance to 1e-5 of what its two variances allow."""
    mean, covariance = learned(data)
    for place in range(data.shape[1]):
        vectors = data[:, place].astype(float)
        spread = vectors.std(axis=0)
        expected = np.atleast_2d(np.cov(vectors, rowvar=False)) if len(vectors) > 1 else np.zeros(covariance.shape[1:])
        assert (abs(mean[place] - vectors.mean(axis=0)) <= 1e-5 * spread + 1e-7 * abs(vectors).max(axis=0)).all()
        assert (abs(covariance[place] - expected) <= 1e-5 * np.outer(spread, spread) + 1e-30).all()


@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 40])
def test_one_pass_gives_the_mean_and_the_covariance_of_the_batch(count: int) -> None:
    agree(np.random.default_rng(count).standard_normal((count, 3, 4)).astype(np.float32))


@pytest.mark.parametrize("count", [2, 17, 40])
def test_channels_of_very_different_size_do_not_spoil_each_other(count: int) -> None:
    data = np.random.default_rng(count).standard_normal((count, 3, 4)) * np.array([1e-3, 1, 10, 1e3])
    agree(data.astype(np.float32))


@pytest.mark.parametrize("count", [2, 16, 17, 40])
def test_vectors_far_from_the_origin_lose_no_accuracy(count: int) -> None:
    data = 1000 + np.random.default_rng(count).standard_normal((count, 3, 4))
    agree(data.astype(np.float32))


def test_a_drift_from_batch_to_batch_is_part_of_the_spread() -> None:
    data = np.random.default_rng(0).standard_normal((40, 2, 3)) + np.arange(40)[:, None, None] * 50
    agree(data.astype(np.float32))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 50), st.integers(1, 3), st.integers(1, 4), st.integers(-500, 500), st.integers(0, 99))
def test_any_count_of_whole_numbers_agrees(count: int, places: int, channels: int, offset: int, seed: int) -> None:
    data = np.random.default_rng(seed).integers(-9, 10, (count, places, channels)) + offset
    agree(data.astype(np.float32))


def test_one_vector_is_its_own_mean_and_spreads_nowhere() -> None:
    mean, covariance = learned(np.array([[[3.0, 4.0]]]))
    assert mean.tolist() == [[3, 4]] and covariance.tolist() == [[[0, 0], [0, 0]]]


def test_the_covariance_is_divided_by_one_less_than_the_count() -> None:
    _, covariance = learned(np.array([[[0.0, 0.0]], [[2.0, 4.0]]]))
    np.testing.assert_allclose(covariance[0], [[2, 4], [4, 8]])  # (1, 2) and (-1, -2) about the mean, twice, over 1


def test_adding_changes_nobody_elses_vectors() -> None:
    data = np.random.default_rng(0).standard_normal((40, 2, 3)).astype(np.float32)
    before = data.copy()
    learned(data)
    np.testing.assert_array_equal(data, before)


def test_the_distance_is_that_of_the_dense_inverse() -> None:
    rng = np.random.default_rng(0)
    data, queries = rng.standard_normal((12, 5, 4)) * [1, 2, 3, 0.1], rng.standard_normal((5, 4))
    means, covariances = zip(*(oracles.gaussian(data[:, place], 0.01) for place in range(5)), strict=True)
    whiten = whitening(np.array(covariances, np.float32), lambda done, total: None)
    found = mahalanobis(queries.astype(np.float32), np.array(means, np.float32), whiten)
    expected = [oracles.mahalanobis(queries[place], means[place], covariances[place]) for place in range(5)]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_a_distance_worked_by_hand() -> None:
    whiten = whitening(np.array([[[4.0, 0.0], [0.0, 9.0]]], np.float32), lambda done, total: None)
    found = mahalanobis(np.array([[3.0, 7.0]]), np.array([[1.0, 1.0]]), whiten)
    np.testing.assert_allclose(found, [np.sqrt(2**2 / 4 + 6**2 / 9)], rtol=1e-6)


def test_fewer_samples_than_channels_have_a_distance_once_the_diagonal_is_raised() -> None:
    data = np.random.default_rng(0).standard_normal((3, 1, 8)).astype(np.float32)
    _, covariance = learned(data)
    mean, expected = oracles.gaussian(data[:, 0].astype(float), 0.01)
    covariance += np.float32(0.01) * np.eye(8, dtype=np.float32)
    found = mahalanobis(data[0] + 1, mean[None].astype(np.float32), whitening(covariance, lambda done, total: None))
    np.testing.assert_allclose(found, [oracles.mahalanobis(data[0, 0] + 1.0, mean, expected)], rtol=1e-3)


def test_what_learning_holds_is_what_was_said_and_does_not_grow_with_the_count() -> None:
    vectors = np.ones((100, 40), np.float32)
    peaks = []
    for count in (20, 120):
        tracemalloc.start()
        gaussians = Gaussians(100, 40)
        for _ in range(count):
            gaussians.add(vectors.copy())
        gaussians.covariance()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] * 1.1 and max(peaks) < Gaussians.bytes(100, 40) * 1.25


def test_small_matrices_run_on_one_thread_and_the_others_get_theirs_back() -> None:
    from threadpoolctl import threadpool_info

    def threads() -> list[int]:
        return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]

    before = threads()
    with one_thread():
        assert set(threads()[:1]) <= {1}
    assert threads() == before
