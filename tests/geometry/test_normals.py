"""Normals of surfaces where they are known: outside is outside, on whole parts, thin ones, and on what a scanner sees."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.geometry import cloud
from amiss.geometry.cloud import Neighbours, normals
from tests.geometry import made

Array = npt.NDArray[Any]


def likeness(points: Array, truth: Array, k: int = 16) -> Array:
    """Cosines between the normals found and the true ones."""
    return np.asarray((normals(points, Neighbours.of(points, k)) * truth).sum(axis=1))


def seen(points: Array, truth: Array, eye: Array) -> tuple[Array, Array]:
    """What faces a far eye, as if nothing hid anything."""
    facing = truth @ eye > 0.2
    return points[facing], truth[facing]


def test_normals_of_a_sphere_point_outwards() -> None:
    assert likeness(*made.sphere(900)).min() > 0.99


def test_normals_of_a_torus_point_outwards_in_its_hole_too() -> None:
    found = likeness(*made.torus(6000, np.random.default_rng(0)))
    assert found.min() > 0.8 and found.mean() > 0.99


def test_normals_of_a_box_point_outwards_beyond_its_edges() -> None:
    points, truth = made.box(0.1, (2.0, 1.5, 1.0))
    found = likeness(points, truth)
    inner = np.sort(np.minimum(points, [2.0, 1.5, 1.0] - points), axis=1)[:, 1] > 0.25  # away from the edges
    assert found.min() > 0.7
    assert found[inner].min() > 0.999 and inner.mean() > 0.4


@pytest.mark.parametrize("thick", [0.05, 0.1, 0.2, 0.4])
def test_the_two_sides_of_a_thin_plate_point_apart(thick: float) -> None:
    points, truth = made.box(0.1, (3.0, 2.0, thick))
    flat = np.abs(truth[:, 2]) == 1
    assert (likeness(points, truth)[flat] > 0).mean() > 0.99


def test_points_that_noise_stacks_upon_one_another_keep_their_side() -> None:
    """In a dense scan two points of neighbouring cells may be next to one another, the way between them along the normal."""
    rng = np.random.default_rng(0)
    flat = np.stack(np.meshgrid(np.arange(30.0), np.arange(30.0)), axis=-1).reshape(-1, 2) + rng.uniform(-0.3, 0.3, (900, 2))
    points = np.column_stack([flat, rng.normal(0, 0.02, 900)])
    stacked = points[rng.choice(900, 60, replace=False)] + np.column_stack([np.zeros((60, 2)), np.full(60, 0.08)])
    up = normals(np.concatenate([points, stacked]), Neighbours.of(np.concatenate([points, stacked]), 20))[:, 2]
    assert (up > 0.8).all() or (up < -0.8).all()


def test_the_inside_of_a_deep_cup_points_into_the_cup() -> None:
    # a wall 0.1 thick between two half spheres and a rim: the middle of the cloud says little here, the closed surface much
    shell = made.sphere(9000)[0]
    outer, inner = shell[shell[:, 2] < 0], 0.9 * shell[::1][shell[:, 2] < 0]
    angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    rim = np.concatenate([[[r * np.cos(a), r * np.sin(a), 0] for a in angle] for r in (0.925, 0.95, 0.975)])
    points = np.concatenate([outer, inner, rim])
    truth = np.concatenate([outer, -inner / 0.9, np.tile([0, 0, 1.0], (len(rim), 1))])
    assert (likeness(points, truth) > 0).mean() > 0.99


@pytest.mark.parametrize("seed", range(4))
def test_normals_of_a_sphere_seen_from_one_side_face_that_side(seed: int) -> None:
    eye = made.rotation(np.random.default_rng(seed))[0]
    assert likeness(*seen(*made.sphere(1500), eye)).min() > 0.95


@pytest.mark.parametrize("seed", range(4))
def test_normals_of_a_torus_seen_from_one_side_face_that_side(seed: int) -> None:
    rng = np.random.default_rng(seed)
    turn = made.rotation(rng)
    eye = np.array([0.28, 0, 0.96])  # far enough above that the near side of the ring hides nothing
    points, truth = made.torus(6000, rng)
    assert likeness(*seen(points @ turn, truth @ turn, eye @ turn)).min() > 0


def corner() -> tuple[Array, Array]:
    """The inside of an angle of two legs, each 1 long, whose ends turn away from the scanner with a radius of 0.2."""
    leg = np.arange(0.0, 1.0, 0.04)
    turn = np.arange(0.1, np.pi / 2, 0.2)
    along = np.concatenate([leg, 1 + 0.2 * np.sin(turn)])
    up = np.concatenate([0 * leg, -0.2 + 0.2 * np.cos(turn)])
    tilt = np.concatenate([0 * leg, np.sin(turn)])
    x, y, nx, ny = (
        np.concatenate(pair)
        for pair in ((along, up), (up, along), (tilt, np.cos(np.arcsin(tilt))), (np.cos(np.arcsin(tilt)), tilt))
    )
    depth = np.arange(0.0, 1.0, 0.04)
    points = np.stack([np.repeat(x, len(depth)), np.repeat(y, len(depth)), np.tile(depth, len(x))], axis=1)
    truth = np.stack([np.repeat(nx, len(depth)), np.repeat(ny, len(depth)), np.zeros(len(points))], axis=1)
    return np.unique(points, axis=0), truth[np.unique(points, axis=0, return_index=True)[1]]


def test_a_hollow_corner_is_seen_from_inside_because_its_ends_turn_away() -> None:
    assert (likeness(*corner()) > 0).mean() > 0.98


def test_a_piece_in_a_gap_of_a_scan_faces_as_the_rest_does() -> None:
    dome, truth = seen(*made.sphere(3000), np.array([0, 0, 1.0]))
    ball, directions = made.sphere(6000)
    hollow = ball[:, 2] < -0.9  # a bowl, which taken alone would bulge away from the scanner
    points = np.concatenate([dome, 0.6 * ball[hollow] + [1.6, 0, 0.2]])
    assert likeness(points, np.concatenate([truth, -directions[hollow]])).min() > 0.5


def test_two_parts_that_do_not_touch_both_point_outwards() -> None:
    large, small = made.sphere(1200)[0], made.sphere(300)[0]
    points = np.concatenate([large, 0.5 * small + [2.5, 0, 0]])
    assert likeness(points, np.concatenate([large, small])).min() > 0.95


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1e-3, 1.0, 1e3]), st.sampled_from([np.float32, np.float64]))
def test_normals_turn_with_the_cloud_in_any_unit_and_order(seed: int, unit: float, kind: type) -> None:
    rng = np.random.default_rng(seed)
    points, turn, order = made.lump(500, np.random.default_rng(1)), made.rotation(rng), rng.permutation(500)
    other = ((points @ turn.T + rng.uniform(-1, 1, 3)) * unit)[order].astype(kind)
    found = normals(other, Neighbours.of(other, 14))
    np.testing.assert_allclose(found, normals(points, Neighbours.of(points, 14))[order] @ turn.T, atol=2e-3)


@pytest.mark.parametrize("block", [1, 100])
def test_normals_are_the_same_block_by_block(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points = made.lump(300, np.random.default_rng(1))
    near = Neighbours.of(points, 12)
    whole = normals(points, near)
    monkeypatch.setattr(cloud, "_BLOCK", block)
    np.testing.assert_allclose(normals(points, near), whole, atol=1e-9)


def test_normals_are_right_far_from_the_origin() -> None:
    points, truth = made.sphere(900)
    assert likeness(points + 2.0**30, truth).min() > 0.99


@pytest.mark.parametrize(
    "points",
    [
        np.zeros((40, 3)),
        np.linspace(0, 1, 40)[:, None] * [1, 2, 3],
        np.repeat(np.random.default_rng(0).random((4, 3)), 10, axis=0),
        np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0), [0.0]), axis=-1).reshape(-1, 3),
    ],
    ids=["one place", "a line", "copies", "a plane"],
)
def test_normals_have_length_one_where_there_is_no_surface(points: Array) -> None:
    found = normals(points, Neighbours.of(points, 8))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-9)
