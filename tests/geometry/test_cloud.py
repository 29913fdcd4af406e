"""Frames, thinning and neighbours against slow loops; what a rigid motion, another unit or order must not change."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from amiss.errors import BadSample
from amiss.geometry import cloud
from amiss.geometry.cloud import (
    Neighbours,
    averaged,
    covariances,
    diagonal,
    gap,
    middlemost,
    outermost,
    own_frame,
    spacing,
    thinned,
)
from tests.geometry import made

Array = npt.NDArray[Any]

seeds = st.integers(0, 2**32 - 1)
units = st.sampled_from([1e-3, 1.0, 1e3, 1e6])


def some(rng: np.random.Generator, count: int = 60) -> Array:
    """Points without any symmetry, most of them on one side."""
    return np.asarray(rng.gamma(1.0, 1.0, (count, 3)) * [3, 2, 1])


def moved(points: Array, rng: np.random.Generator, unit: float) -> Array:
    return np.asarray((points @ made.rotation(rng).T + rng.uniform(-20, 20, 3)) * unit)


# -- a frame of its own ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(seeds, units)
def test_a_moved_cloud_in_another_unit_lies_the_same_in_its_own_frame(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    points = some(rng)
    np.testing.assert_allclose(own_frame(moved(points, rng, unit)), own_frame(points) * unit, atol=1e-9 * unit)


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_the_order_of_points_changes_nothing_not_even_the_last_digit(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, order = some(rng), rng.permutation(60)
    np.testing.assert_array_equal(own_frame(points[order]), own_frame(points)[order])


def test_the_order_changes_nothing_where_a_cube_has_no_axes_of_its_own() -> None:
    corners = np.stack(np.meshgrid(*[[-1.0, 1.0]] * 3), axis=-1).reshape(-1, 3) + 0.1
    order = np.random.default_rng(0).permutation(8)
    np.testing.assert_array_equal(own_frame(corners[order]), own_frame(corners)[order])


@settings(max_examples=30, deadline=None)
@given(seeds)
def test_the_own_frame_is_a_rigid_motion_and_no_mirror(seed: int) -> None:
    points = some(np.random.default_rng(seed), 20)
    frame = own_frame(points)
    motion, *_ = np.linalg.lstsq(points - points.mean(axis=0), frame, rcond=None)
    np.testing.assert_allclose(motion @ motion.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(motion) == pytest.approx(1)


def test_axes_go_from_long_to_short_with_the_longer_tails_positive() -> None:
    # spread most along z, then x, then y; tails towards -z and +x
    points = np.array(
        [[0, 0, -6], [0, 0, 2], [0, 0, 2], [0, 0, 2], [2, 0, 0], [-1, 0, 0], [-1, 0, 0], [0, 0.5, 0], [0, -0.5, 0]]
    )
    frame = own_frame(points)
    np.testing.assert_allclose(frame[0], [6, 0, 0], atol=1e-9)  # z turned round
    np.testing.assert_allclose(frame[4], [0, 2, 0], atol=1e-9)  # x
    np.testing.assert_allclose(frame[7], [0, 0, -0.5], atol=1e-9)  # -z by x is -y


def test_the_axis_without_a_tail_yields_to_the_right_hand() -> None:
    # a part with a plane of symmetry across its longest axis: nothing tells +x from -x but the two clear tails
    rng = np.random.default_rng(3)
    half = some(rng, 40)
    part = np.concatenate([half, half * [-1, 1, 1]]) * [4, 1, 1]
    frame = own_frame(part)
    for seed in range(20):
        again = own_frame(moved(part, np.random.default_rng(seed), 1.0))
        np.testing.assert_allclose(again[:, 1:], frame[:, 1:], atol=1e-9)
        np.testing.assert_allclose(again[:, 0], frame[:, 0], atol=1e-9)


def test_a_mirrored_part_is_another_part() -> None:
    points = some(np.random.default_rng(0))
    assert np.abs(own_frame(points * [-1, 1, 1]) - own_frame(points)).max() > 0.1


def test_the_frame_keeps_its_digits_far_from_the_origin() -> None:
    points = some(np.random.default_rng(0))
    far = points + 2.0**30  # leaves 2^-22 = 2.4e-7 of a double's digits
    np.testing.assert_allclose(own_frame(far), own_frame(points), atol=1e-6)


def test_a_flat_cloud_has_a_frame() -> None:
    points = some(np.random.default_rng(0)) * [1, 1, 0]
    np.testing.assert_allclose(own_frame(points)[:, 2], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("points", "what"),
    [
        (np.full((30, 3), 0.1, np.float32), "are all the same"),
        (np.ones((1, 3)), "are all the same"),
        (np.linspace(0, 1, 30)[:, None] * [1, 2, 3], "lie on a line"),
        (np.linspace(0, 1, 30)[:, None] * [1, 2, 3] + 1e6, "lie on a line"),
        ((np.linspace(0, 1, 30)[:, None] * [1, 2, 3] + 5000).astype(np.float32), "lie on a line"),
        (np.array([[0, 0, 0], [1, 2, 3]], np.int64), "lie on a line"),
    ],
)
def test_a_cloud_without_a_surface_is_refused(points: Array, what: str) -> None:
    with pytest.raises(BadSample, match=f"the {len(points)} points of the cloud {what}, a surface is wanted"):
        own_frame(points)


def test_a_narrow_strip_is_no_line() -> None:
    strip = np.linspace(0, 1, 200)[:, None] * [1, 0, 0] + np.random.default_rng(0).random((200, 3)) * [0, 1e-3, 0]
    assert np.ptp(own_frame(strip.astype(np.float32)), axis=0)[1] == pytest.approx(1e-3, rel=0.05)


def test_the_diagonal_of_a_turned_box() -> None:
    corners = np.stack(np.meshgrid([0, 12.0], [0, 4.0], [0, 3.0]), axis=-1).reshape(-1, 3)
    assert diagonal(moved(corners, np.random.default_rng(0), 1000.0)) == pytest.approx(13_000)  # 144 + 16 + 9 = 169


# -- where a greedy selection starts -----------------------------------------------------------------------------------


def test_the_outermost_point_is_farthest_from_the_middle() -> None:
    points = some(np.random.default_rng(1))
    farthest = max(range(60), key=lambda i: float(((points[i] - points.mean(axis=0)) ** 2).sum()))
    assert outermost(points) == farthest


@settings(max_examples=40, deadline=None)
@given(seeds, units)
def test_of_equally_far_points_the_one_on_the_longer_tail_is_outermost_in_any_pose(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    # the middle is the origin; x cubed sums to 125 - 125 + 64 - 8 - 8 = 48, so the tail is where x is 5
    points = np.array([[5.0, 0, 0], [-5, 0, 0], [4, 0, 0], [-2, -3, 0], [-2, 3, 0]])
    order = rng.permutation(5)
    assert order[outermost(moved(points[order], rng, unit))] == 0


@given(st.integers(1, 40), st.integers(1, 5), seeds)
def test_the_middlemost_of_a_group_are_its_points_in_the_middle_along_a_line(count: int, most: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    frame, groups = rng.standard_normal((count, 3)), np.unique(rng.integers(0, 5, count), return_inverse=True)[1]
    found = middlemost(frame, groups, most)
    for group in range(int(groups.max()) + 1):
        own = sorted(np.flatnonzero(groups == group), key=lambda row: float(frame[row] @ (0.48, 0.6, 0.64)))
        middle = (len(own) - 1) // 2
        wanted = own[max(0, middle - (most - 1) // 2) : middle + most // 2 + 1]
        assert [row for row in found if groups[row] == group] == wanted
    assert len(middlemost(frame, groups)) == groups.max() + 1


# -- spacing -----------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(arrays(np.float32, st.tuples(st.integers(2, 30), st.just(3)), elements=st.integers(-3, 3).map(float)))
def test_gap_and_spacing_follow_from_the_ways_to_the_first_and_the_eighth_other_place(points: Array) -> None:
    places = np.array(sorted({tuple(point) for point in points.tolist()}))
    if len(places) < 2:
        for measure in (gap, spacing):
            with pytest.raises(BadSample, match="all the same"):
                measure(points)
        return
    ways = np.sort(np.linalg.norm(places[:, None] - places[None], axis=2), axis=1)
    k = min(8, len(places) - 1)
    assert gap(points) == pytest.approx(np.median(ways[:, 1]))
    assert spacing(points) == pytest.approx(np.median(ways[:, k]) * np.sqrt(np.pi / k))


@pytest.mark.parametrize("even", [False, True])
def test_spacing_is_the_side_of_the_square_that_a_point_has_to_itself(even: bool) -> None:
    side = np.arange(100) / 100
    at = np.stack(np.meshgrid(side, side), axis=2).reshape(-1, 2) if even else np.random.default_rng(0).random((10_000, 2))
    assert spacing(np.column_stack([at, np.zeros(len(at))])) == pytest.approx(0.01, rel=0.13)


def test_copies_do_not_make_a_scan_dense() -> None:
    points = np.repeat(made.sphere(300)[0], 3, axis=0)
    assert spacing(points) == pytest.approx(spacing(points[::3])) and spacing(points) > 0.05


def test_the_spacing_of_a_sample_is_the_same_in_any_pose_and_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "_ASKED", 100)
    rng = np.random.default_rng(2)
    points = some(rng, 1000)
    for unit in (1.0, 1e3):
        assert spacing(moved(points[rng.permutation(1000)], rng, unit)) == pytest.approx(unit * spacing(points), rel=1e-9)


# -- thinning ----------------------------------------------------------------------------------------------------------


def cells_of(points: Array, cell: float) -> dict[tuple[int, ...], list[int]]:
    low = points.min(axis=0)
    found: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, point in enumerate(points):
        found[tuple(int((value - least) // cell) for value, least in zip(point, low, strict=True))].append(index)
    return found


def assert_thinned(points: Array, cell: float) -> None:
    """As a dictionary of cells says, in the order of the grid."""
    means, inverse = thinned(points, cell)
    cells = cells_of(points, cell)
    assert len(means) == len(cells)
    for number, place in enumerate(sorted(cells)):
        assert np.flatnonzero(inverse == number).tolist() == cells[place]
        np.testing.assert_allclose(means[number], points[cells[place]].mean(axis=0), rtol=1e-12, atol=1e-12)


@settings(max_examples=60, deadline=None)
@given(arrays(float, st.tuples(st.integers(1, 40), st.just(3)), elements=st.integers(-40, 40).map(lambda n: n / 8)))
def test_thinning_takes_the_mean_of_every_cell(points: Array) -> None:
    assert_thinned(points, 1.0)


def test_a_far_outlier_takes_no_other_point_into_its_cell() -> None:
    rng = np.random.default_rng(0)
    near = rng.random((200, 3))
    far = np.array([[2.0**24, -(2.0**23), 2.0**22]])  # 2^26 by 2^25 by 2^24 cells of a quarter: more than a number has places
    assert_thinned(np.concatenate([near, far, far + 0.125]), 0.25)


def test_thinning_keeps_its_digits_far_from_the_origin() -> None:
    points = np.random.default_rng(0).integers(0, 256, (300, 3)) / 64.0
    means, inverse = thinned(points + 2.0**40, 1.0)
    expected, same = thinned(points, 1.0)
    np.testing.assert_array_equal(inverse, same)
    np.testing.assert_allclose(means - 2.0**40, expected, atol=2.0**-12)


def test_a_denser_scan_thins_to_about_as_many_points() -> None:
    rng = np.random.default_rng(0)
    few, many = (len(thinned(made.torus(count, rng)[0], 0.1)[0]) for count in (40_000, 160_000))
    assert many == pytest.approx(few, rel=0.05)


def test_the_mean_of_groups_worked_by_hand() -> None:
    values = np.array([[1.0, 10], [3, 30], [5, 50]])
    np.testing.assert_array_equal(averaged(values, np.array([1, 0, 1])), [[3, 30], [3, 30]])


# -- neighbours --------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    arrays(float, st.tuples(st.integers(2, 25), st.just(3)), elements=st.integers(-2, 2).map(float)),
    st.integers(1, 24),
    st.sampled_from([1, 7, 1 << 20]),
)
def test_neighbours_are_the_nearest_others_copies_included(points: Array, k: int, block: int) -> None:
    k = min(k, len(points) - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cloud, "_BLOCK", block)
        near = Neighbours.of(points, k)
    ways = np.linalg.norm(points[:, None] - points[None], axis=2)
    for index, row in enumerate(near.indices.tolist()):
        assert index not in row and len(set(row)) == k
        np.testing.assert_allclose(near.distances[index], ways[index, row], rtol=1e-6)
        np.testing.assert_allclose(near.distances[index], np.sort(np.delete(ways[index], index))[:k], rtol=1e-6)


def test_the_first_neighbours_are_those_of_a_smaller_search() -> None:
    points = some(np.random.default_rng(0))
    few, more = Neighbours.of(points, 4), Neighbours.of(points, 9).first(4)
    np.testing.assert_array_equal(few.indices, more.indices)
    np.testing.assert_array_equal(few.distances, more.distances)


def test_a_cloud_with_fewer_points_than_neighbours_is_refused() -> None:
    with pytest.raises(BadSample, match="the cloud has 5 points after thinning, 5 neighbours of each are wanted"):
        Neighbours.of(np.eye(5, 3), 5)


@pytest.mark.parametrize("block", [1, 40, 1 << 20])
def test_covariances_are_those_of_numpy(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloud, "_BLOCK", block)
    points = some(np.random.default_rng(0), 30).astype(np.float32)
    near = Neighbours.of(points, 6)
    means, found = covariances(points, near)
    for index in range(30):
        own = points[[index, *near.indices[index].tolist()]].astype(float)
        np.testing.assert_allclose(means[index], own.mean(axis=0))
        np.testing.assert_allclose(found[index], np.cov(own.T, bias=True), atol=1e-12)


def test_covariances_keep_their_digits_far_from_the_origin() -> None:
    points = np.random.default_rng(0).integers(0, 256, (60, 3)) / 64.0
    near = Neighbours.of(points, 8)
    np.testing.assert_allclose(covariances(points + 2.0**40, near)[1], covariances(points, near)[1], atol=1e-9)
