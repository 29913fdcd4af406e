"""Hidden-point removal: against bodies whose horizon is known, and against rays through the surface the points came from."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from amiss.data.shapes import SHAPES, gradient, shape, unit
from amiss.errors import BadField, BadSample
from amiss.geometry.visible import visible
from tests.data.rays import in_sight

Array = npt.NDArray[Any]


def ball(count: int = 3000) -> Array:
    """Points spread evenly over the unit sphere, along a spiral."""
    height = 1 - (2 * np.arange(count) + 1) / count
    turn = np.pi * (1 + 5**0.5) * np.arange(count)
    around = np.sqrt(1 - height**2)
    return np.stack([around * np.cos(turn), around * np.sin(turn), height], axis=1)


def board(half: float, step: float, height: float) -> Array:
    """A square of points at a height, seen by its viewer from above."""
    x, y = np.meshgrid(np.arange(-half, half + step / 2, step), np.arange(-half, half + step / 2, step))
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, height)], axis=1)


def as_mask(count: int, seen: Array) -> Array:
    mask = np.zeros(count, bool)
    mask[seen] = True
    return mask


@pytest.mark.parametrize("distance", [2.0, 4.0, 50.0])
def test_of_a_ball_the_cap_within_the_horizon_is_seen(distance: float) -> None:
    """The tangent from a distance d touches the unit ball at the height 1 / d."""
    points = ball()
    seen = as_mask(len(points), visible(points, np.array((0, 0, distance))))
    assert seen[points[:, 2] > 1 / distance + 0.1].all()
    assert not seen[points[:, 2] < 1 / distance - 0.1].any()


def test_a_board_hides_what_lies_in_its_shadow() -> None:
    """From a height of 10, a board of half width 1 at 5 shades 2 at 0."""
    front, back = board(1, 0.05, 5), board(4, 0.05, 0)
    seen = as_mask(len(front) + len(back), visible(np.concatenate([front, back]), np.array((0, 0, 10.0))))
    assert seen[: len(front)].all()
    reach = np.abs(back[:, :2]).max(axis=1)
    shown = seen[len(front) :]
    assert not shown[reach < 1.9].any() and shown[(reach > 2.2)].all()


def test_what_lies_behind_a_gap_is_seen_through_it() -> None:
    front, back = board(4, 0.05, 5), board(4, 0.05, 0)
    front = front[np.abs(front[:, :2]).max(axis=1) > 1]
    seen = as_mask(len(front) + len(back), visible(np.concatenate([front, back]), np.array((0, 0, 10.0))))
    reach = np.abs(back[:, :2]).max(axis=1)
    shown = seen[len(front) :]
    assert shown[reach < 1.7].all() and not shown[reach > 2.2].any()


def test_depth_says_how_many_spacings_a_point_may_lie_behind_its_neighbours() -> None:
    points = np.concatenate([board(2, 0.1, 0), [[0.05, 0.05, -0.4]]])  # four spacings behind the middle of a square
    for depth, shown in ((1.0, False), (20.0, True)):
        assert (len(points) - 1 in visible(points, np.array((0, 0, 8.0)), depth=depth)) is shown


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("noise", [0.0, 0.0005])
def test_what_is_seen_of_a_part_is_what_rays_reach(name: str, noise: float) -> None:
    """Points on slopes of less than 80 degrees; steeper ones are seen or not as their noise has it."""
    part, rng = shape(name), np.random.default_rng(3)
    points = part.draw(rng, 4000)
    eye = 2 * unit(rng.standard_normal((1, 3)))[0]
    inclined = np.einsum("nd,nd->n", unit(gradient(part.field, points)), unit(eye - points))
    seen = as_mask(len(points), visible(points + rng.normal(0, noise, points.shape), eye))
    points, inclined, seen = points[:1000], inclined[:1000], seen[:1000]
    rays = (inclined > 0) & in_sight(part.field, points, eye)
    assert seen[rays & (inclined > np.cos(np.deg2rad(80)))].mean() > 0.9
    assert rays[seen].mean() > 0.85


@pytest.mark.parametrize("factor", [0.001, 25.4, 1e6])
def test_units_change_nothing(factor: float) -> None:
    points, eye = shape("jug").draw(np.random.default_rng(0), 1000), np.array((1.0, 1.2, 0.7))
    np.testing.assert_array_equal(visible(points * factor, eye * factor), visible(points, eye))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=15, deadline=None)
def test_pose_and_order_change_nothing(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points, eye = shape("loop").draw(np.random.default_rng(0), 400), np.array((1.0, -1.2, 0.7))
    turn, move, order = Rotation.random(None, rng).as_matrix(), rng.uniform(-3, 3, 3), rng.permutation(len(points))
    seen = visible((points @ turn.T + move)[order], turn @ eye + move)
    np.testing.assert_array_equal(np.sort(order[seen]), visible(points, eye))


def test_a_denser_scan_shows_the_same_part_of_the_surface() -> None:
    part, eye = shape("lump"), np.array((0.8, -0.9, 1.6))
    shares = [len(visible(part.draw(np.random.default_rng(0), count), eye)) / count for count in (4000, 32_000)]
    assert abs(shares[0] - shares[1]) < 0.04


def test_copies_of_a_point_are_seen_with_it() -> None:
    points, eye = ball(500), np.array((0, 0, 3.0))
    seen = visible(points, eye)
    again = visible(np.repeat(points, 3, axis=0), eye)
    np.testing.assert_array_equal(again, (3 * seen[:, None] + np.arange(3)).ravel())


def test_single_precision_and_read_only_points_are_taken() -> None:
    points = ball(500).astype(np.float32)
    points.flags.writeable = False
    seen = visible(points, np.array((0, 0, 3.0)))
    assert seen.dtype.kind == "i" and (np.diff(seen) > 0).all() and 100 < len(seen) < 250


@pytest.mark.parametrize(
    ("points", "reason"),
    [
        (np.zeros((9, 3)), "1 different points; hidden points cannot be told from fewer than 4"),
        (np.eye(3), "3 different points"), (np.concatenate([ball(9), [[0, 0, 3]]]), "a point lies at the viewpoint"),
        (np.arange(30.0).reshape(10, 3) * (1, 1, 0), "points and viewpoint lie in one plane; look at the points from beside"),
    ],
)  # fmt: skip
def test_points_that_tell_nothing_are_refused(points: Array, reason: str) -> None:
    with pytest.raises(BadSample, match=reason):
        visible(points, np.array((0, 0, 3.0)))


@pytest.mark.parametrize("depth", [0, -1.0, float("nan")])
def test_an_impossible_depth_is_refused(depth: float) -> None:
    with pytest.raises(BadField, match=rf"depth = {depth}: wanted above 0"):
        visible(ball(50), np.array((0, 0, 3.0)), depth=depth)
