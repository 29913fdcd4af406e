"""Pooling, unfolding, squeezing and regridding against loops that go cell by cell in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.kit.patches import pool, regrid, squeeze, unfold
from tests.kit.oracles import bins, neighbourhoods, resampled

Array = npt.NDArray[Any]

SHAPES = ((1, 1), (1, 7), (5, 1), (3, 4), (7, 5), (2, 2))


def made(h: int, w: int, channels: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal((h, w, channels)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("border", ["zero", "replicate", "reflect"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_pool_is_the_mean_of_each_cells_neighbourhood(shape: tuple[int, int], border: str, size: int) -> None:
    grid = made(*shape)
    expected = neighbourhoods(grid, size, border).mean(axis=(3, 4))
    np.testing.assert_allclose(pool(grid, size, border=border), expected, atol=1e-6)


def test_padding_counts_as_features_under_a_zero_border() -> None:
    one = np.full((1, 1, 1), 9, np.float32)
    assert pool(one, 3, border="zero").item() == 1.0  # 9 and eight zeros
    assert pool(one, 3, border="replicate").item() == 9.0
    row = np.array([1, 2, 6], np.float32).reshape(1, 3, 1)
    # mirrored at the edge of the cell, not at its centre: 1 | 1 2 6 | 6, every row the same
    np.testing.assert_allclose(pool(row, 3, border="reflect").ravel(), [4 / 3, 3, 14 / 3], rtol=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("border", ["zero", "replicate", "reflect"])
@pytest.mark.parametrize("size", [1, 3, 5])
def test_unfold_lays_out_each_neighbourhood_channel_by_channel(shape: tuple[int, int], border: str, size: int) -> None:
    grid = made(*shape)
    expected = neighbourhoods(grid, size, border).reshape(*shape, -1)
    np.testing.assert_array_equal(unfold(grid, size, border=border), expected.astype(np.float32))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("border", ["zero", "replicate", "reflect"])
def test_the_mean_of_the_unfolded_neighbourhood_is_the_pooled_one(shape: tuple[int, int], border: str) -> None:
    grid = made(*shape)
    means = unfold(grid, 3, border=border).reshape(*shape, 3, 9).mean(axis=3)
    np.testing.assert_allclose(means, pool(grid, 3, border=border), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 60), st.integers(0, 5))
def test_squeeze_is_adaptive_pooling_over_the_vector(width: int, channels: int, seed: int) -> None:
    vectors = made(2, 3, width, seed)
    expected = np.stack([vectors[..., a:b].astype(float).mean(axis=-1) for a, b in bins(width, channels)], axis=-1)
    squeezed = squeeze(vectors, channels)
    assert squeezed.shape == (2, 3, channels) and squeezed.dtype == np.float32
    np.testing.assert_allclose(squeezed, expected, atol=1e-5)


def test_squeezing_five_values_to_two_shares_the_middle_one() -> None:
    # bins 0..3 and 2..5
    np.testing.assert_allclose(squeeze(np.array([[1, 2, 3, 4, 5]], np.float32), 2), [[2, 4]])


def test_squeezing_two_values_to_three_repeats_their_mean_in_the_middle() -> None:
    np.testing.assert_allclose(squeeze(np.array([[1, 5]], np.float32), 3), [[1, 3, 5]])


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 14), st.integers(1, 14), st.integers(0, 5))
def test_regrid_matches_a_walk_along_each_axis(h: int, w: int, rows: int, columns: int, seed: int) -> None:
    grid = made(h, w, 2, seed)
    again = regrid(grid, (rows, columns))
    assert again.shape == (rows, columns, 2)
    np.testing.assert_allclose(again, resampled(grid, (rows, columns)), atol=1e-5)


def test_growing_interpolates_between_cell_centres_and_clamps_at_the_edge() -> None:
    grid = np.array([0, 4], np.float32).reshape(1, 2, 1)
    # four cells have their centres at -1/4, 1/4, 3/4 and 5/4 of the old ones
    np.testing.assert_allclose(regrid(grid, (1, 4)).ravel(), [0, 1, 3, 4])


def test_shrinking_takes_the_mean_of_all_cells_it_covers() -> None:
    grid = np.arange(16, dtype=np.float32).reshape(4, 4, 1)
    np.testing.assert_allclose(regrid(grid, (2, 2))[..., 0], [[2.5, 4.5], [10.5, 12.5]])


def test_the_same_number_of_cells_changes_nothing() -> None:
    grid = made(4, 6)
    np.testing.assert_array_equal(regrid(grid, (4, 6)), grid)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 8), st.integers(1, 8), st.floats(-1e3, 1e3, width=32), st.sampled_from([1, 3, 5]),
    st.sampled_from(["replicate", "reflect"]), st.tuples(st.integers(1, 12), st.integers(1, 12)),
)  # fmt: skip
def test_a_constant_grid_stays_constant(h: int, w: int, value: float, size: int, border: str, shape: tuple[int, int]) -> None:
    grid = np.full((h, w, 2), value, np.float32)
    for changed in (pool(grid, size, border=border), unfold(grid, size, border=border), regrid(grid, shape), squeeze(grid, 5)):
        np.testing.assert_allclose(changed, value, rtol=1e-5, atol=1e-30)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 12), st.integers(1, 12), st.integers(0, 9))
def test_regridding_and_pooling_never_leave_the_range_of_the_values(h: int, w: int, rows: int, columns: int, seed: int) -> None:
    grid = made(h, w, 2, seed)
    for changed in (regrid(grid, (rows, columns)), pool(grid, 3, border="reflect")):
        assert changed.min() >= grid.min() - 1e-5 and changed.max() <= grid.max() + 1e-5
