"""Many poses at once against scipy's single ones and against figures worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from amiss.geometry.icp import Poses, Source, Target, _turns, fitness, kabsch, refined
from tests.geometry import made

Array = npt.NDArray[Any]

NONE = np.eye(3)[None]


def surface(step: float = 1.0) -> Target:
    """The faces of a box of 24 by 16 by 10."""
    points, normals = made.box(step, (24.0, 16.0, 10.0))
    return Target(cKDTree(points), normals)


def degrees(one: Array, other: Array) -> float:
    return float(np.degrees(Rotation.from_matrix(one @ other.T).magnitude()))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_kabsch_turns_vectors_as_scipy_does(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 5, 3))  # nothing in common, so that mirrors would often fit better
    expected, _ = Rotation.align_vectors(b, a)
    np.testing.assert_allclose(kabsch((a.T @ b)[None])[0], expected.as_matrix(), atol=1e-6)


def test_kabsch_never_mirrors() -> None:
    rng = np.random.default_rng(0)
    a = rng.standard_normal((30, 8, 3))
    turns = np.stack([made.rotation(rng) for _ in range(30)])
    found = kabsch(a.transpose(0, 2, 1) @ (a @ turns.transpose(0, 2, 1)))
    np.testing.assert_allclose(found, turns, atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(kabsch(a.transpose(0, 2, 1) @ (a * [1, 1, -1]))), 1)


def test_turns_are_those_of_scipy_down_to_none_at_all() -> None:
    vectors = np.concatenate([np.random.default_rng(0).standard_normal((20, 3)), np.zeros((1, 3)), np.full((1, 3), 1e-12)])
    np.testing.assert_allclose(_turns(vectors), Rotation.from_rotvec(vectors).as_matrix(), atol=1e-12)


def test_a_motion_behind_another_is_both_of_them() -> None:
    rng = np.random.default_rng(0)
    points = rng.random((4, 3))
    one, other = (Poses(np.stack([made.rotation(rng) for _ in range(2)]), rng.random((2, 3))) for _ in range(2))
    both = one.and_then(other.rotations, other.shifts)
    for pose in range(2):
        np.testing.assert_allclose(both(points)[pose], other[[pose]](one(points)[pose])[0])


def test_fitness_is_the_share_of_points_on_the_surface_worked_by_hand() -> None:
    target = Target(cKDTree([[0.0, 0, 0], [1, 0, 0]]), np.array([[0.0, 0, 1], [0, 0, 1]]))
    points = np.array([[0.0, 0, 0.4], [0, 0, -0.6], [1, 1.9, 0], [1, 2.1, 0], [1, 0, 0], [0, 0, 0]])
    normals = np.array([[0.0, 0, 1]] * 4 + [[0, 0, -1.0], [0, 0.8, 0.6]])
    # on it: the first, and the third, 1.9 beside; not: too deep, too far beside, the other side out, tilted by 53 degrees
    poses = Poses(np.concatenate([NONE, NONE]), np.array([[0.0, 0, 0], [0, 0, 0.2]]))
    # lifted by 0.2 the first is too high, the second on it
    np.testing.assert_allclose(fitness(poses, Source(points, normals), target), [2 / 6, 2 / 6])
    # twice as lenient, by which the second and the fourth come in
    np.testing.assert_allclose(fitness(poses[[0]], Source(points, normals), target, slack=2.0), [4 / 6])


@pytest.mark.parametrize("seed", range(5))
def test_steps_take_poses_from_beside_the_surface_onto_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, normals = made.box(1.7, (24.0, 16.0, 10.0))
    turn, middle, shift = made.rotation(rng), np.array([12.0, 8, 5]), rng.uniform(-50, 50, 3)
    source = Source((points - shift) @ turn, normals @ turn)  # laid by p -> turn p + shift
    off = Rotation.from_rotvec(np.radians(8) * rng.uniform(-1, 1, (6, 3))).as_matrix()
    start = Poses(off @ turn, (shift - middle) @ off.transpose(0, 2, 1) + middle + rng.uniform(-1, 1, (6, 3)))
    poses = refined(start, source, surface(), (4.0,) * 6 + (2.0,) * 6)
    assert fitness(start, source, surface()).max() < 0.9
    for rotation, laid in zip(poses.rotations, poses(source.points), strict=True):
        assert degrees(rotation, turn) < 0.05
        np.testing.assert_allclose(laid, points, atol=0.05)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)


def test_a_pose_with_nothing_in_reach_stays_where_it_is() -> None:
    points, normals = made.box(2.0, (24.0, 16.0, 10.0))
    far = Poses(NONE, np.full((1, 3), 1000.0))
    found = refined(far, Source(points, normals), surface(), (3.0, 3.0))
    np.testing.assert_array_equal(found.shifts, far.shifts)
    np.testing.assert_array_equal(found.rotations, far.rotations)


def test_along_a_plane_nothing_moves() -> None:
    # a plane holds a pose in three of six directions only; in the others it has no reason to move
    points = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0), [0.0]), axis=-1).reshape(-1, 3)
    up = np.tile([0.0, 0, 1], (400, 1))
    target = Target(cKDTree(points), up)
    inner = (np.abs(points - points.mean(axis=0)) < 6).all(axis=1)
    found = refined(Poses(NONE, np.array([[0.3, 0.2, 0.9]])), Source(points[inner], up[inner]), target, (2.0,) * 4)
    np.testing.assert_allclose(found.shifts, [[0.3, 0.2, 0]], atol=1e-3)
    np.testing.assert_allclose(found.rotations, NONE, atol=1e-6)
