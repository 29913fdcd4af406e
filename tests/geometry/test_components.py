"""Pieces against a plain search through all pairs, however dense, however far apart."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from amiss.geometry import components as module
from amiss.geometry.components import components
from tests.geometry import made

Array = npt.NDArray[Any]


def slow(points: Array, radius: float) -> list[int]:
    """Joins the pieces of every linked pair; then the largest first, of equal ones that with the lowest point."""
    piece = list(range(len(points)))
    for one, other in combinations(range(len(points)), 2):
        if ((points[one] - points[other]) ** 2).sum() <= radius**2:
            piece = [piece[one] if number == piece[other] else number for number in piece]
    members = {number: [points[i].tolist() for i in range(len(points)) if piece[i] == number] for number in set(piece)}
    order = sorted(members, key=lambda number: (-len(members[number]), min(members[number])))
    return [order.index(number) for number in piece]


eighths = arrays(float, st.tuples(st.integers(1, 24), st.just(3)), elements=st.integers(-12, 12).map(lambda n: n / 8))


@settings(max_examples=60, deadline=None)
@given(eighths, st.integers(1, 12), st.sampled_from([1, 5, 1 << 20]))
def test_pieces_are_those_of_all_pairs(points: Array, eighth: int, pairs: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PAIRS", pairs)
        assert components(points, eighth / 8).tolist() == slow(points, eighth / 8)


def test_points_exactly_a_radius_apart_are_linked() -> None:
    line = np.arange(5.0)[:, None] * [1, 0, 0]
    assert components(line, 1.0).tolist() == [0] * 5
    assert components(line, 0.999).tolist() == [0, 1, 2, 3, 4]


def test_the_largest_piece_comes_first_and_of_equal_ones_the_lower() -> None:
    points = np.array([[9.0, 0, 0], [5, 5, 0], [5, 1, 0], [2, 0, 0], [2.5, 0, 0], [3, 0, 0]])
    assert components(points, 0.6).tolist() == [3, 2, 1, 0, 0, 0]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-9, 1.0, 1e9]))
def test_neither_order_nor_unit_changes_the_numbers(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    points, order = rng.random((80, 3)), rng.permutation(80)
    found = components(points, 0.17)
    assert found.max() > 3
    np.testing.assert_array_equal(components((points * unit)[order], 0.17 * unit), found[order])


def test_two_spheres_with_a_gap_are_two_pieces() -> None:
    one, other = made.sphere(3000)[0], made.sphere(1000)[0] * 0.5 + [1.75, 0, 0]
    points = np.concatenate([other, one]).astype(np.float32)
    assert components(points, 0.2).tolist() == [1] * 1000 + [0] * 3000
    assert components(points, 0.3).max() == 0


def test_a_radius_with_far_too_many_links_is_no_trouble() -> None:
    # 10^10 links, were they listed; the two heaps are 2 apart at their closest
    rng = np.random.default_rng(0)
    points = rng.random((150_000, 3))
    points[100_000:, 0] += 3
    assert np.bincount(components(points, 1.9)).tolist() == [100_000, 50_000]
    assert np.bincount(components(points, 2.2)).tolist() == [150_000]


def test_far_outliers_are_pieces_of_their_own() -> None:
    points = np.concatenate([np.random.default_rng(0).random((50, 3)), np.eye(3) * 1e15, -np.eye(3) * 1e15])
    assert np.bincount(components(points, 0.9)).tolist() == [50, 1, 1, 1, 1, 1, 1]


def test_no_points_have_no_pieces() -> None:
    assert components(np.empty((0, 3)), 1.0).tolist() == []


def test_copies_of_one_point_are_one_piece() -> None:
    assert components(np.full((40, 3), 0.1, np.float32), 1e-3).tolist() == [0] * 40
