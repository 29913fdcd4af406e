"""Cubes about cells: which of them fit a box, and which remain of those that overlap."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.geometry.boxes import overlaps
from amiss.kit.anchors import cubes, kept, labels, learned, peaks
from amiss.kit.voting import Cells

Array = npt.NDArray[Any]


def slow_label(cell: Array, anchor: float, middles: Array, edges: Array) -> tuple[float, bool]:
    """The largest overlap of the cube about one cell with a box's cube, and whether the cell lies at a box, one by one."""
    own = cubes(cell[None] + 0.5, np.array([anchor]))
    shares = overlaps(own, cubes(middles, edges))[0]
    near = (np.abs(cell + 0.5 - middles) < edges[:, None] / 2 + 2).all(axis=1)
    return float(shares.max()), bool(near.any())


def test_cubes_have_their_middles_and_edges() -> None:
    np.testing.assert_array_equal(cubes(np.array([[1.0, 2.0, 3.0]]), np.array([2.0])), [[[0, 1, 2], [2, 3, 4]]])


def test_sizes_are_quantiles_of_the_longest_edges() -> None:
    assert learned(range(101)) == (25, 50, 90)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_labels_are_what_overlaps_say_cell_by_cell(seed: int) -> None:
    rng = np.random.default_rng(seed)
    low, side, anchors = rng.integers(-5, 5, 3), 7, (2.0, 3.5, 5.0)
    middles, edges = low + rng.uniform(0, side, (2, 3)), rng.uniform(2, 5, 2)
    found = labels(low, side, anchors, middles, edges)
    assert found.shape == (3, side, side, side)
    for number, anchor in enumerate(anchors):
        for place in np.ndindex(side, side, side):
            share, near = slow_label(low + place, anchor, middles, edges)
            one = found[(number, *place)]
            if share >= 0.5 + 1e-6:
                assert one == 1
            elif share >= 0.2 or near:
                assert one in (0, 1)  # 1 where no cube fits a box better
            else:
                assert one in (-1, 1) and (one == -1 or share > 0)


def test_a_box_that_no_cube_fits_still_has_its_best_one() -> None:
    found = labels(np.zeros(3, np.int64), 9, (2.0, 3.0), np.array([[4.5, 4.5, 4.5]]), np.array([9.0]))
    assert np.argwhere(found == 1)[:, 0].tolist() and set(np.argwhere(found == 1)[:, 0].tolist()) == {1}  # the larger ones
    assert found[1, 4, 4, 4] == 1


def test_a_box_far_outside_the_piece_has_no_cube() -> None:
    found = labels(np.zeros(3, np.int64), 5, (2.0,), np.array([[50.0, 50.0, 50.0]]), np.array([2.0]))
    assert (found == -1).all()


def test_without_boxes_no_cube_fits() -> None:
    assert (labels(np.zeros(3, np.int64), 4, (2.0, 3.0), np.empty((0, 3)), np.empty(0)) == -1).all()


def test_of_boxes_that_overlap_the_best_remains() -> None:
    boxes = cubes(np.array([[0.0, 0, 0], [0.5, 0, 0], [5, 0, 0]]), np.full(3, 2.0))
    assert kept(boxes, np.array([1.0, 2.0, 0.5]), 0.3, 9).tolist() == [1, 2]  # 0 and 1 share 6 of 10
    assert kept(boxes, np.array([1.0, 2.0, 0.5]), 0.61, 9).tolist() == [1, 0, 2]
    assert kept(boxes, np.array([1.0, 2.0, 0.5]), 0.3, 1).tolist() == [1]
    assert kept(boxes[:0], np.empty(0), 0.3, 9).tolist() == []


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), overlap=st.sampled_from([0.0, 0.2, 0.5]))
def test_nothing_that_remains_overlaps_and_everything_dropped_does(seed: int, overlap: float) -> None:
    rng = np.random.default_rng(seed)
    boxes, scores = cubes(rng.uniform(0, 4, (12, 3)), rng.uniform(1, 3, 12)), rng.random(12)
    chosen = kept(boxes, scores, overlap, 99)
    shares = overlaps(boxes, boxes)
    assert (np.diff(scores[chosen]) <= 0).all()
    for one in range(12):
        better = [other for other in chosen if scores[other] > scores[one]]
        assert (one in chosen) == (not (shares[one, better] > overlap).any())


@pytest.mark.parametrize("most", [1, 9])
def test_peaks_are_the_best_cubes_of_all_sizes(most: int) -> None:
    small = Cells.at(np.array([[1, 1, 1], [2, 1, 1], [8, 8, 8]]), np.array([[1.0], [3.0], [0.5]]), (10, 10, 10))
    large = Cells.at(np.array([[1, 1, 2]]), np.array([[2.0]]), (10, 10, 10))
    middles, edges, scores = peaks((small, large), (2.0, 4.0), 0.1, most)
    assert scores.tolist() == [3.0, 0.5][:most] and edges.tolist() == [2.0, 2.0][:most]
    assert middles.tolist() == [[2.5, 1.5, 1.5], [8.5, 8.5, 8.5]][:most]
