"""FPFH against loops written from its formulas, and what it must not depend on."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.geometry import fpfh as module
from amiss.geometry.cloud import Neighbours, normals
from amiss.geometry.fpfh import WIDTH, fpfh, other_side, simple_histograms
from tests.geometry import made

Array = npt.NDArray[Any]

# -- slow loops: Rusu et al., with the differences that the module names ----------------------------------------------


def slow_bins(share: float, around: bool) -> list[float]:
    """A value in 0..1 shared out among 11 bins, in proportion to its distance from the two nearest middles."""
    bins = [0.0] * 11
    for number in range(-1, 12):
        part = 1 - abs(share * 11 - (number + 0.5))
        if part > 0:
            bins[number % 11 if around else min(max(number, 0), 10)] += part
    return bins


def slow_simple(points: Array, directions: Array, near: Neighbours, own: int) -> Array:
    total, pairs = np.zeros(33), 0
    for other in near.indices[own]:
        way = points[other] - points[own]
        length = math.sqrt(way @ way)
        u, n = directions[own], directions[other]
        if length == 0 or np.linalg.norm(np.cross(way / length, u)) < 1e-6:
            continue
        v = np.cross(way / length, u)
        v /= np.linalg.norm(v)
        w = np.cross(u, v)
        alpha, phi, theta = v @ n, u @ way / length, math.atan2(w @ n, u @ n)
        total += slow_bins((alpha + 1) / 2, False) + slow_bins((phi + 1) / 2, False) + slow_bins(theta / math.tau + 0.5, True)
        pairs += 1
    return total / max(pairs, 1)


def slow_fpfh(points: Array, directions: Array, near: Neighbours) -> Array:
    simple = [slow_simple(points, directions, near, own) for own in range(len(points))]
    found = []
    for own, (others, distances) in enumerate(zip(near.indices, near.distances, strict=True)):
        mean, total = float(np.mean(distances)), simple[own].copy()
        for other, distance in zip(others, distances, strict=True):
            if mean > 0:
                total += mean / max(float(distance), 0.1 * mean) * simple[other] / len(others)
        blocks = total.reshape(3, 11)
        found.append(np.concatenate([block / block.sum() if block.sum() else block for block in blocks]))
    return np.array(found)


def rough(seed: int, count: int = 40, k: int = 9) -> tuple[Array, Array, Neighbours]:
    """Points and directions at random: every angle occurs."""
    rng = np.random.default_rng(seed)
    points, directions = rng.random((count, 3)), rng.standard_normal((count, 3))
    return points, directions / np.linalg.norm(directions, axis=1, keepdims=True), Neighbours.of(points, k)


@pytest.mark.parametrize("block", [1, 50, 1 << 15])
def test_simple_histograms_are_those_of_the_loop(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BLOCK", block)
    points, directions, near = rough(0)
    expected = np.array([slow_simple(points, directions, near, own) for own in range(len(points))])
    np.testing.assert_allclose(simple_histograms(points, directions, near), expected, atol=2e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_descriptors_are_those_of_the_loop(seed: int) -> None:
    points, directions, near = rough(seed, 25, 6)
    np.testing.assert_allclose(fpfh(points, directions, near), slow_fpfh(points, directions, near), atol=5e-5)


def test_descriptors_are_those_of_the_loop_on_a_lattice_with_copies() -> None:
    # many pairs that make no frame: copies of a point, and neighbours straight above
    points = np.stack(np.meshgrid(np.arange(3.0), np.arange(3.0), [0.0, 1.0]), axis=-1).reshape(-1, 3)
    points = np.concatenate([points, points[:5]])
    directions = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    near = Neighbours.of(points, 7)
    np.testing.assert_allclose(fpfh(points, directions, near), slow_fpfh(points, directions, near), atol=1e-5)


# -- by hand -----------------------------------------------------------------------------------------------------------


def test_on_a_plane_all_angles_are_zero_and_fall_into_the_middle_bins() -> None:
    points = np.random.default_rng(0).random((50, 3)) * [1, 1, 0]
    found = fpfh(points, np.tile([0.0, 0.0, 1.0], (50, 1)), Neighbours.of(points, 8))
    expected = np.zeros(WIDTH)
    expected[[5, 16, 27]] = 1
    np.testing.assert_allclose(found, np.tile(expected, (50, 1)), atol=1e-6)


def test_one_pair_worked_by_hand() -> None:
    # from the origin with normal z to (1, 0, 0) with normal x: v = x by z = -y, w = z by -y = x
    # alpha = -y.x = 0, bin 5; phi = z.x = 0, bin 5; theta = atan2(x.x, z.x) = 90 degrees, which is
    # 8.25 bins from the start: three quarters for the bin whose middle is 8.5, the rest for that of 7.5
    points, directions = np.array([[0.0, 0, 0], [1, 0, 0]]), np.array([[0.0, 0, 1], [1, 0, 0]])
    found = simple_histograms(points, directions, Neighbours.of(points, 1))
    expected = np.zeros(WIDTH)
    expected[[5, 16]], expected[[29, 30]] = 1, [0.25, 0.75]
    np.testing.assert_allclose(found[0], expected, atol=1e-6)
    np.testing.assert_array_equal(found[1], 0)  # the way back is along its own normal: no frame


# -- laws --------------------------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-25, 1e-3, 1.0, 1e3, 1e25]), st.sampled_from([np.float32, np.float64]))
def test_descriptors_do_not_change_with_pose_unit_order_or_type(seed: int, unit: float, kind: type) -> None:
    rng = np.random.default_rng(seed)
    points = made.lump(400, np.random.default_rng(0))
    near = Neighbours.of(points, 20)
    expected = fpfh(points, normals(points, near.first(12)), near)
    order = rng.permutation(400)
    other = (((points @ made.rotation(rng).T + rng.uniform(-2, 2, 3)) * unit)[order]).astype(kind)
    again = Neighbours.of(other, 20)
    found = fpfh(other, normals(other, again.first(12)), again)
    assert np.abs(found - expected[order]).max() < 2e-3
    assert np.abs(expected - expected.mean(axis=0)).max() > 0.1  # points do differ from one another


def test_descriptors_change_little_with_noise() -> None:
    # what soft bins are for: with hard ones a value beside an edge takes all its weight to the next bin
    rng = np.random.default_rng(0)
    points = made.lump(1500, rng)
    near = Neighbours.of(points, 40)
    found = fpfh(points, normals(points, near.first(20)), near)
    noisy = points + 0.001 * rng.standard_normal(points.shape)  # a fortieth of the spacing
    again = Neighbours.of(noisy, 40)
    change = np.abs(fpfh(noisy, normals(noisy, again.first(20)), again) - found).sum(axis=1)
    apart = np.abs(found - rng.permutation(found)).sum(axis=1)
    assert np.median(change) < 0.15 * np.median(apart)


def test_turned_normals_give_the_descriptors_of_the_other_side() -> None:
    points, directions, near = rough(3)
    found = fpfh(points, directions, near)
    np.testing.assert_allclose(other_side(found), fpfh(points, -directions, near), atol=1e-5)
    assert np.abs(other_side(found) - found).max() > 0.01


def test_every_block_adds_up_to_one() -> None:
    points, directions, near = rough(4)
    np.testing.assert_allclose(fpfh(points, directions, near).reshape(-1, 3, 11).sum(axis=2), 1, atol=1e-5)


def test_equal_points_have_empty_descriptors() -> None:
    points = np.full((12, 3), 0.1)
    found = fpfh(points, np.tile([0.0, 0, 1], (12, 1)), Neighbours.of(points, 4))
    np.testing.assert_array_equal(found, 0)


def test_points_and_normals_are_left_as_they_were() -> None:
    points, directions, near = rough(5)
    before = points.copy(), directions.copy(), near.distances.copy()
    fpfh(points, directions, near)
    for array, old in zip((points, directions, near.distances), before, strict=True):
        np.testing.assert_array_equal(array, old)
