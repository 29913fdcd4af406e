"""Overlap of boxes against hand-worked cases and a count of small cells."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.geometry.boxes import overlaps


@st.composite
def boxes(draw, most=4):
    """(N, 2, 3) boxes with whole corners from 0 to 6, some of them flat."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return np.sort(rng.integers(0, 7, (draw(st.integers(1, most)), 2, 3)), axis=1)


def cells(box):
    """The unit cells inside a box, one by one."""
    (x0, y0, z0), (x1, y1, z1) = box
    return {(x, y, z) for x in range(x0, x1) for y in range(y0, y1) for z in range(z0, z1)}


def test_half_shifted_cubes_share_a_third():
    cube, shifted = [[0, 0, 0], [2, 2, 2]], [[1, 0, 0], [3, 2, 2]]  # 4 of 8 + 8 - 4
    assert overlaps(np.array([cube]), np.array([shifted, cube])).tolist() == [[pytest.approx(1 / 3), 1.0]]


def test_boxes_that_only_touch_share_nothing():
    cube, beside, away = [[0, 0, 0], [1, 1, 1]], [[1, 0, 0], [2, 1, 1]], [[5, 5, 5], [6, 6, 6]]
    assert overlaps(np.array([cube]), np.array([beside, away])).tolist() == [[0.0, 0.0]]


@settings(max_examples=60, deadline=None)
@given(boxes(), boxes())
def test_every_pair_equals_the_count_of_shared_cells(first, second):
    found = overlaps(first, second)
    assert found.shape == (len(first), len(second))
    for i, one in enumerate(first):
        for j, other in enumerate(second):
            both = cells(one) | cells(other)
            wanted = len(cells(one) & cells(other)) / len(both) if both else float(np.array_equal(one, other))
            assert found[i, j] == pytest.approx(wanted, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(boxes(), st.sampled_from([1e-3, 1e3]), st.integers(-50, 50))
def test_neither_unit_nor_place_plays_a_role(some, unit, shift):
    assert overlaps(unit * (some + shift), unit * (some + shift)) == pytest.approx(overlaps(some, some))


def test_no_boxes_give_an_empty_table():
    assert overlaps(np.empty((0, 2, 3)), np.zeros((4, 2, 3))).shape == (0, 4)
