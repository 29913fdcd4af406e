"""Aggregation, mutual scoring and constrained scores against loops in float64 and against hand numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.kit import mutual
from amiss.kit.mutual import constrained, distances, lowest_mean, neighbourhoods, pool_distances
from amiss.metrics.ranking import auroc
from tests.papers import oracles

Array = npt.NDArray[Any]
SIZES = (3, 1, 5, 2)


def normal(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def pool(sizes: Sequence[int], channels: int = 4) -> list[Array]:
    return [normal(size, channels, seed=seed) for seed, size in enumerate(sizes)]


def found(samples: list[Array]) -> Array:
    counts = np.array([len(sample) for sample in samples])
    return pool_distances(np.concatenate(samples), counts, lambda done, total: None)


# -- SNAMD and LNAMD ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 5), (1, 1), (1, 6), (2, 2), (7, 3)])
@pytest.mark.parametrize("degrees", [(1, 3, 5), (3,), (5, 1)])
def test_neighbourhoods_are_weighed_by_likeness_to_the_middle(shape: tuple[int, int], degrees: tuple[int, ...]) -> None:
    grid = normal(*shape, 3)
    means = neighbourhoods(grid, degrees, similarity=True)
    joined = np.mean(means, axis=0)
    joined /= np.linalg.norm(joined, axis=1, keepdims=True)
    np.testing.assert_allclose(joined.reshape(grid.shape), oracles.snamd(grid.astype(float), degrees), atol=2e-5)


def test_likeness_worked_by_hand_with_zeros_beyond_the_border() -> None:
    (mean,) = neighbourhoods(np.array([[[2.0]]], np.float32), (3,), similarity=True)
    weight = np.exp(-2)  # of each of the eight zeros
    np.testing.assert_allclose(mean, [[2 / (1 + 8 * weight)]], rtol=1e-6)


def test_a_temperature_divides_the_distances() -> None:
    (mean,) = neighbourhoods(np.array([[[2.0]]], np.float32), (3,), similarity=True, temperature=4.0)
    np.testing.assert_allclose(mean, [[2 / (1 + 8 * np.exp(-0.5))]], rtol=1e-6)


def test_degree_one_is_the_cell_itself() -> None:
    grid = normal(3, 4, 2)
    for similarity in (True, False):
        np.testing.assert_allclose(neighbourhoods(grid, (1,), similarity=similarity)[0], grid.reshape(12, 2), rtol=1e-6)


@pytest.mark.parametrize("degree", [1, 3, 5])
def test_plain_neighbourhoods_are_means_in_which_zeros_count(degree: int) -> None:
    grid = normal(4, 5, 3)
    (means,) = neighbourhoods(grid, (degree,), similarity=False)
    expected = [np.mean(oracles.block(grid, *cell, degree), axis=0) for cell in oracles.cells(4, 5)]
    np.testing.assert_allclose(means, expected, atol=1e-6)


# -- MSM ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [1, 12, 1 << 22])
@pytest.mark.parametrize("sizes", [SIZES, (1, 1), (4, 4, 4), (1, 9, 1, 2, 7)])
def test_one_product_serves_both_directions(block: int, sizes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutual, "_BLOCK", block)
    samples = pool(sizes)
    apart = np.split(found(samples), np.cumsum(sizes)[:-1])
    for index, (own, expected) in enumerate(zip(apart, oracles.mutual(samples), strict=True)):
        assert np.isinf(own[:, index]).all()
        np.testing.assert_allclose(np.delete(own, index, axis=1), expected, rtol=1e-5, atol=1e-5)


def test_distances_between_samples_worked_by_hand() -> None:
    samples = [np.array([[0.0, 0], [9, 0]], np.float32), np.array([[3.0, 4]], np.float32)]
    np.testing.assert_allclose(found(samples), [[np.inf, 5], [np.inf, np.sqrt(52)], [5, np.inf]], rtol=1e-6)


@pytest.mark.parametrize("block", [1, 12, 1 << 22])
def test_a_new_sample_meets_every_member_of_the_pool(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutual, "_BLOCK", block)
    samples, own = pool(SIZES), normal(6, 4, seed=9)
    met = distances(own, np.concatenate(samples), np.array(SIZES))
    np.testing.assert_allclose(met, oracles.against(own, samples), rtol=1e-5, atol=1e-5)


def test_equal_vectors_lie_at_next_to_no_distance() -> None:
    vectors = normal(5, 64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert found([vectors, vectors])[:5, 1].max() < 2e-3  # a float32 product of unit vectors errs by 1e-7, its root by this


@pytest.mark.parametrize(("count", "kept"), [(2, 1), (3, 1), (4, 1), (5, 1), (7, 1), (8, 2), (9, 2), (11, 3), (21, 6)])
def test_the_lowest_three_tenths_are_averaged_one_at_least(count: int, kept: int) -> None:
    values = np.random.default_rng(count).permutation(count - 1).astype(np.float32)[None]  # N - 1 others: 0, 1, 2, ...
    assert lowest_mean(np.append(values, [[np.inf]], axis=1), 0.3, count - 1) == pytest.approx((kept - 1) / 2)


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_mutual_scores_equal_the_loops(count: int) -> None:
    samples = pool([4] * count)
    scores = lowest_mean(found(samples), 0.3, count - 1)
    expected = [oracles.lowest(each) for each in oracles.mutual(samples)]
    np.testing.assert_allclose(scores, np.concatenate(expected), rtol=1e-5)


def test_planted_odd_cells_stand_out_from_a_pool_nobody_labelled() -> None:
    rng = np.random.default_rng(0)
    words = rng.standard_normal((6, 16))
    grids = words[rng.integers(0, 6, (10, 5, 5))] + 0.1 * rng.standard_normal((10, 5, 5, 16))  # each arranged in its own way
    odd = np.zeros((10, 5, 5), bool)
    for sample in (1, 4, 8):
        row, column = rng.integers(0, 5, 2)
        odd[sample, row, column] = True
        grids[sample, row, column] = 1.5 * rng.standard_normal(16)
    unit = (grids / np.linalg.norm(grids, axis=3, keepdims=True)).astype(np.float32)
    samples = [neighbourhoods(grid, (1,), similarity=True)[0] for grid in unit]
    scores = lowest_mean(found(samples), 0.3, 9).reshape(odd.shape)
    assert auroc(scores.ravel(), odd.ravel()) == 1.0
    assert auroc(scores.max(axis=(1, 2)), odd.any(axis=(1, 2))) == 1.0


# -- RsCon -------------------------------------------------------------------------------------------------------------

LIKE = np.array([[1, 0], [0.6, 0.8], [0, 1]])  # inner products 0.6, 0 and 0.8


def test_scores_are_drawn_towards_those_of_the_most_alike() -> None:
    drawn = constrained(np.array([10.0, 15.0, 20.0]), LIKE, (2,), 10.0, 20.0)  # in the range: 0, 1/2, 1
    np.testing.assert_allclose(drawn, [0.6 * 0.5 / 1.6, (0.5 + 0.8 * 1) / 1.8, (1 + 0.8 * 0.5) / 1.8])


def test_windows_are_averaged() -> None:
    scores = np.array([10.0, 15.0, 20.0])
    one, two, both = (constrained(scores, LIKE, windows, 10.0, 20.0) for windows in ((1,), (2,), (1, 2)))
    np.testing.assert_allclose(both, (one + two) / 2)
    np.testing.assert_allclose(both, oracles.rscon(oracles.ranged(scores), LIKE, (1, 2)))


def test_a_window_of_one_and_no_window_leave_the_ranged_scores() -> None:
    for windows in ((1,), ()):
        np.testing.assert_allclose(constrained(np.array([3.0, 4.0, 7.0]), LIKE, windows, 3.0, 7.0), [0, 0.25, 1])


def test_a_window_wider_than_the_pool_takes_the_whole_pool() -> None:
    scores = np.array([3.0, 4.0, 7.0])
    np.testing.assert_allclose(*(constrained(scores, LIKE, (k,), 3.0, 7.0) for k in (3, 50)))


def test_equal_scores_give_numbers() -> None:
    assert constrained(np.full(3, 4.0), LIKE, (1, 2), 4.0, 4.0).tolist() == [0, 0, 0]


def test_random_pools_are_drawn_as_the_loops_draw_them() -> None:
    rng = np.random.default_rng(0)
    for count in (2, 3, 9, 12):
        like = np.abs(rng.standard_normal((count, 5)))
        like /= np.linalg.norm(like, axis=1, keepdims=True)
        scores = rng.random(count)
        drawn = constrained(scores, like, (1, 7), float(scores.min()), float(scores.max()))
        np.testing.assert_allclose(drawn, oracles.rscon(oracles.ranged(scores), like, (1, 7)), rtol=1e-6)
