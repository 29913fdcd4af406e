"""Sides and distances of whole clouds: by hand, by loops, and in any pose, unit and order of the points."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.errors import BadSample
from amiss.geometry import whole
from amiss.geometry.whole import distance_histogram, extents
from tests.clouds import surface, turned

Array = npt.NDArray[Any]


def slow_histogram(points: Array, reach: float, bins: int) -> Array:
    counts = np.zeros(bins)
    for one, other in itertools.combinations(points, 2):
        counts[min(int(float(np.linalg.norm(one - other)) / reach * bins), bins - 1)] += 1
    return np.asarray(counts / counts.sum())


def cloud(seed: int = 0, count: int = 3000) -> Array:
    return surface(np.random.default_rng(seed), count)[0]


def test_a_boxes_sides_are_found_in_any_pose() -> None:
    corners = np.array(list(itertools.product((0, 1.0), (0, 2.0), (0, 5.0))))
    np.testing.assert_allclose(extents(turned(corners, np.random.default_rng(0))), [1, 2, 5], rtol=1e-6)


def test_the_distances_of_a_squares_corners_by_hand() -> None:
    square = np.array([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    # four sides of 1 and two diagonals of 1.41, in bins of a half; beyond the reach of 1.25 all count in the last
    np.testing.assert_allclose(distance_histogram(square, 2.0, 4), [0, 0, 1, 0])
    np.testing.assert_allclose(distance_histogram(square, 3.0, 10), np.eye(10)[[3, 3, 3, 3, 4, 4]].mean(axis=0))
    np.testing.assert_allclose(distance_histogram(square, 1.25, 4), [0, 0, 0, 1])


def test_the_histogram_equals_the_loops() -> None:
    points = cloud(count=60)
    np.testing.assert_allclose(distance_histogram(points, 4.0, 16), slow_histogram(points, 4.0, 16), atol=1e-12)


def test_neither_pose_nor_order_nor_unit_nor_place_changes_it() -> None:
    points, rng = cloud(), np.random.default_rng(5)
    here = distance_histogram(points, 4.0)
    assert here.sum() == pytest.approx(1) and (here > 0).sum() > 30
    for other, reach in (
        (points[rng.permutation(len(points))], 4.0), (turned(points, rng), 4.0), (1000 * points, 4000.0), (points + 1e4, 4.0),
    ):  # fmt: skip
        assert np.abs(distance_histogram(other, reach) - here).sum() < 1e-3


def test_another_scan_of_a_part_is_closer_than_another_part() -> None:
    again, stretched = cloud(seed=1), cloud(seed=1) * [1.15, 1, 1]
    here = distance_histogram(cloud(), 5.0)
    assert np.abs(distance_histogram(again, 5.0) - here).sum() < 0.4 * np.abs(distance_histogram(stretched, 5.0) - here).sum()


def test_of_many_points_some_stand_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    some = distance_histogram(cloud(), 4.0, 16)
    monkeypatch.setattr(whole, "_PAIRED", 10**9)
    assert 0 < np.abs(distance_histogram(cloud(), 4.0, 16) - some).sum() < 0.05


def test_a_line_has_no_sides() -> None:
    with pytest.raises(BadSample, match="lie on a line"):
        extents(np.linspace(0, 1, 50)[:, None] * [1.0, 2, 3])
