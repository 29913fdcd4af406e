"""Eigenvalue features against numpy's own covariances, by hand, and what they must not depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.geometry import cloud
from amiss.geometry.cloud import Neighbours
from amiss.geometry.eigen import FEATURES, eigen_features
from tests.geometry import made

Array = npt.NDArray[Any]


def slow(points: Array, near: Neighbours, scales: tuple[int, ...]) -> Array:
    rows = []
    for own in range(len(points)):
        row: list[float] = []
        for scale in scales:
            around = points[[own, *near.indices[own, :scale].tolist()]]
            l3, l2, l1 = np.linalg.eigvalsh(np.cov(around.T, bias=True))
            offset = np.linalg.norm(points[own] - around.mean(axis=0)) / np.sqrt(l1 + l2 + l3)
            row += [(l1 - l2) / l1, (l2 - l3) / l1, l3 / l1, l3 / (l1 + l2 + l3), offset]
        rows.append(row)
    return np.array(rows)


@pytest.mark.parametrize("scales", [(4, 8, 15), (15, 4), (8,)])
@pytest.mark.parametrize("block", [1, 100, 1 << 20])
def test_features_are_those_of_the_loop(scales: tuple[int, ...], block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "_BLOCK", block)
    points = np.random.default_rng(0).random((50, 3)) * [3, 2, 1]
    near = Neighbours.of(points, 15)
    found = eigen_features(points, near, scales)
    assert found.shape == (50, len(FEATURES) * len(scales)) and found.dtype == np.float32
    np.testing.assert_allclose(found, slow(points, near, scales), atol=1e-6)


def test_the_end_of_a_line_worked_by_hand() -> None:
    points = np.array([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]])
    found = eigen_features(points, Neighbours.of(points, 2), (2,))
    # mean 1, variance (1 + 0 + 1) / 3; the end lies 1 from the mean, the middle on it
    np.testing.assert_allclose(found, [[1, 0, 0, 0, np.sqrt(1.5)], [1, 0, 0, 0, 0], [1, 0, 0, 0, np.sqrt(1.5)]], atol=1e-6)


def test_the_middle_of_a_plane_and_of_a_ball_worked_by_hand() -> None:
    cross = np.concatenate([np.zeros((1, 3)), np.eye(3), -np.eye(3)])  # a point and six neighbours, all alike
    flat = cross[[0, 1, 2, 4, 5]]
    ball = eigen_features(cross, Neighbours.of(cross, 6), (6,))[0]
    plane = eigen_features(flat, Neighbours.of(flat, 4), (4,))[0]
    np.testing.assert_allclose(ball, [0, 0, 1, 1 / 3, 0], atol=1e-6)
    np.testing.assert_allclose(plane, [0, 1, 0, 0, 0], atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-9, 1.0, 1e3, 1e9]))
def test_features_do_not_change_with_pose_unit_or_order(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    points, order = made.lump(200, np.random.default_rng(0)), rng.permutation(200)
    other = ((points @ made.rotation(rng).T + rng.uniform(-9, 9, 3)) * unit)[order]
    found, again = (eigen_features(each, Neighbours.of(each, 16), (8, 16)) for each in (points, other))
    np.testing.assert_allclose(again, found[order], atol=1e-4)


def test_features_keep_their_digits_far_from_the_origin() -> None:
    points = np.random.default_rng(0).integers(0, 256, (60, 3)) / 64.0
    near = Neighbours.of(points, 8)
    np.testing.assert_allclose(eigen_features(points + 2.0**40, near, (8,)), eigen_features(points, near, (8,)), atol=1e-6)


def test_copies_of_one_point_have_no_features() -> None:
    points = np.full((9, 3), 0.1)
    np.testing.assert_array_equal(eigen_features(points, Neighbours.of(points, 4), (2, 4)), 0)
