"""A map on a grid brought back to the picture, against scipy's blur."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from amiss.spread import GridSpread, PointSpread
from tests.kit.oracles import resampled

sides = st.tuples(st.integers(1, 70), st.integers(1, 70))


@settings(max_examples=60, deadline=None)
@given(sides, sides, st.tuples(st.integers(1, 9), st.integers(1, 9)), st.floats(0, 9), st.floats(-100, 100, width=32))
def test_a_constant_map_stays_constant_at_any_size(
    shape: tuple[int, int], size: tuple[int, int], grid: tuple[int, int], sigma: float, value: float
) -> None:
    full = GridSpread(shape, size, sigma)(np.full(grid, value))
    assert full.shape == shape and full.dtype == np.float32
    np.testing.assert_allclose(full, value, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 4.0, 10.0])
@pytest.mark.parametrize("size", [(48, 64), (32, 32), (7, 90)])
def test_the_blur_is_scipys_with_mirrored_borders_cut_at_four_sigma(size: tuple[int, int], sigma: float) -> None:
    grid = np.random.default_rng(0).random(size).astype(np.float32)
    expected = gaussian_filter(grid.astype(float), sigma, mode="reflect", truncate=4)
    np.testing.assert_allclose(GridSpread(size, size, sigma)(grid), expected, atol=1e-5)


def test_without_blur_a_grown_map_is_interpolated_between_cell_centres() -> None:
    grid = np.random.default_rng(0).random((4, 6)).astype(np.float32)
    expected = resampled(grid[..., None], (32, 48))[..., 0]
    np.testing.assert_allclose(GridSpread((32, 48), (32, 48), 0)(grid), expected, atol=1e-5)


def test_the_blur_happens_at_the_size_the_network_saw() -> None:
    grid = np.zeros((8, 8), np.float32)
    grid[4, 4] = 1
    seen = GridSpread((64, 64), (64, 64), 4)(grid)
    larger = GridSpread((256, 256), (64, 64), 4)(grid)
    np.testing.assert_allclose(larger.reshape(64, 4, 64, 4).mean(axis=(1, 3)), seen, atol=5e-3)


def test_a_hot_cell_stays_where_it_is_in_a_picture_that_is_not_square() -> None:
    grid = np.zeros((4, 12), np.float32)
    grid[1, 9] = 1
    full = GridSpread((100, 300), (64, 192), 4)(grid)
    row, column = np.unravel_index(full.argmax(), full.shape)
    assert 25 <= row < 50 and 225 <= column < 250


def test_the_map_that_was_given_is_left_as_it_was() -> None:
    grid = np.random.default_rng(0).random((4, 6))
    before = grid.copy()
    GridSpread((32, 48), (32, 48), 4)(grid)
    np.testing.assert_array_equal(grid, before)


def test_a_spread_without_its_points_finds_them_again() -> None:
    rng = np.random.default_rng(0)
    whole = PointSpread(rng.random((5, 3)), rng.random((40, 3)))
    small = whole.over(np.empty((0, 3)))
    values = rng.random(5)
    assert small.points.size == 0 and small.places is whole.places
    np.testing.assert_array_equal(small.over(whole.points)(values), whole(values))
