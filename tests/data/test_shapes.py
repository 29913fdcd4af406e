"""The shapes: closed, asymmetric, and sampled evenly, by tests that know only their signed distance."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from amiss.data.shapes import SHAPES, Shape, gradient, shape, unit
from amiss.data.solids import block, cut, egg, join, post, ring, turned
from amiss.errors import BadField

Array = npt.NDArray[Any]


def drawn(name: str, count: int = 4000, seed: int = 0) -> tuple[Shape, Array, Array]:
    """The shape, points on it, and their normals."""
    part = shape(name)
    points = part.draw(np.random.default_rng(seed), count)
    return part, points, unit(gradient(part.field, points))


def crossings(part: Shape, rng: np.random.Generator, lines: int) -> Array:
    """Where random lines pierce the surface, (N, 3): every piece of it as often as its area says (Crofton)."""
    along = unit(rng.standard_normal((lines, 3)))
    side = unit(np.cross(along, rng.standard_normal((lines, 3))))
    radius, turn = 0.55 * np.sqrt(rng.random(lines)), rng.uniform(0, 2 * np.pi, lines)
    start = (radius * np.cos(turn))[:, None] * side + (radius * np.sin(turn))[:, None] * np.cross(along, side)
    steps = np.arange(-0.55, 0.55, 0.01) + rng.random() * 0.01
    places = start + steps[:, None, None] * along
    inside = (part.field(places.reshape(-1, 3)) < 0).reshape(len(steps), lines)
    step, line = np.nonzero(np.diff(inside, axis=0))
    return np.asarray(places[step, line])


# -- solids ------------------------------------------------------------------------------------------------------------


def at(*points: tuple[float, float, float]) -> tuple[Array, Array, Array]:
    x, y, z = np.array(points, float).T
    return x, y, z


def test_distances_of_a_block_are_those_worked_by_hand() -> None:
    """Half lengths 3, 2, 1 and edges of radius 0.5, whose middles lie at (2.5, 1.5, 0.5)."""
    ways = block(*at((5, 0, 0), (0, 0, 0), (2.5 + 3, 1.5 + 4, 0), (3, 0, 0)), (3, 2, 1), 0.5)
    np.testing.assert_allclose(ways, [2, -1, 5 - 0.5, 0], atol=1e-12)


def test_distances_of_a_post_and_a_ring_are_those_worked_by_hand() -> None:
    np.testing.assert_allclose(post(*at((0, 3, 0), (0, 0, 0), (0, 1.5 + 3, 1.5 + 4)), 2, 2, 0.5), [1, -2, 4.5], atol=1e-12)
    np.testing.assert_allclose(ring(*at((0, 0, 0), (5, 0, 0), (3, 0, 4)), 3, 1), [2, 1, 3], atol=1e-12)


def test_an_ellipsoid_is_exact_along_its_axes_near_the_surface() -> None:
    np.testing.assert_allclose(egg(*at((3.01, 0, 0), (0, 1.99, 0), (0, 0, 1)), (3, 2, 1)), [0.01, -0.01, 0], atol=1e-4)


def test_a_joint_is_filled_by_a_quarter_of_its_fillet_at_most_and_ends_without_a_step() -> None:
    first, second = np.zeros(4), np.array([0.0, 0.4, 0.399, 2.0])
    np.testing.assert_allclose(join(first, second, 0.4), [-0.1, 0, -(0.001**2) / 1.6, 0], atol=1e-12)
    np.testing.assert_allclose(cut(first, second, 0.4), [0.1, 0, 0.001**2 / 1.6, 0], atol=1e-12)


def test_turning_the_axes_keeps_lengths() -> None:
    x, y = turned(np.array([1.0]), np.array([1.0]), np.pi / 4)
    np.testing.assert_allclose([x[0], y[0]], [2**0.5, 0], atol=1e-12)


# -- shapes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_lies_about_the_origin_in_a_box_with_a_diagonal_of_one(name: str) -> None:
    part, points, _ = drawn(name, 10_000)
    low, high = points.min(axis=0), points.max(axis=0)
    np.testing.assert_allclose(np.linalg.norm(high - low), 1, atol=0.005)
    np.testing.assert_allclose(high + low, 0, atol=0.005)
    np.testing.assert_allclose(high - low, part.extent, atol=0.005)


@pytest.mark.parametrize("name", SHAPES)
def test_points_lie_on_the_surface_and_normals_point_out_of_it(name: str) -> None:
    """No wall is thinner than 0.05, and no gap narrower than 0.03."""
    part, points, normals = drawn(name)
    assert np.abs(part.field(points)).max() < 1e-6
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-12)
    for way in (0.002, 0.01, 0.03):
        assert (part.field(points + way * normals) > 0).all() and (part.field(points - way * normals) < 0).all()
    assert (part.field(points - 0.05 * normals) < 0).all()


@pytest.mark.parametrize("name", SHAPES)
def test_normals_of_an_even_sample_cancel_and_enclose_the_volume(name: str) -> None:
    """On a closed surface the integral of the normal is 0, that of the way along it three volumes."""
    part, points, normals = drawn(name, 10_000)
    assert np.abs(normals.mean(axis=0)).max() < 0.004  # without evenness 1 / sqrt(10000) = 0.01 is usual
    inside = part.field(np.random.default_rng(1).uniform(-0.5, 0.5, (200_000, 3)) * part.extent) < 0
    enclosed = part.areas.sum() * np.einsum("nd,nd->n", points, normals).mean() / 3
    np.testing.assert_allclose(enclosed, inside.mean() * part.extent.prod(), rtol=0.015)


@pytest.mark.parametrize("name", SHAPES)
def test_points_are_as_many_everywhere_as_the_area_says(name: str) -> None:
    part, points, _ = drawn(name, 10_000)
    rng = np.random.default_rng(2)
    pierced = crossings(part, rng, 4000)  # about 4000 places: a share of a half has a standard deviation of 0.008
    for normal in unit(rng.standard_normal((8, 3))):
        level = np.median(pierced @ normal)
        assert abs((points @ normal > level).mean() - 0.5) < 0.035


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("count", [1000, 20_000])
def test_neighbours_are_equally_far_from_one_another(name: str, count: int) -> None:
    """Independent draws have a relative spread of 0.52 and a mean of half a spacing."""
    part, points, _ = drawn(name, count)
    ways = cKDTree(points).query(points, k=2)[0][:, 1]
    assert ways.std() / ways.mean() < 0.22
    assert 0.7 < ways.mean() / np.sqrt(part.areas.sum() / count) < 0.9


@pytest.mark.parametrize("name", SHAPES)
def test_no_other_rotation_puts_a_shape_onto_itself(name: str) -> None:
    """The best of many turned copies, each moved to where it fits best, is off by twenty times the default noise."""
    part, points, _ = drawn(name, 120)
    middle = points.mean(axis=0)
    turns = Rotation.random(600, np.random.default_rng(0)).as_matrix()
    moves = [(turn, middle - turn @ middle) for turn in turns]
    order = np.argsort([_misfit(part, points, *move) for move in moves])
    fitted = [_fitted(part, points, *moves[place]) for place in order[:20]]
    angles = np.array([np.rad2deg(Rotation.from_matrix(turn).magnitude()) for turn, _ in fitted])
    misfits = np.array([_misfit(part, points, *move) for move in fitted])
    assert misfits[angles < 2].max() < 1e-4 and (angles < 2).any()  # the search does find the right one
    assert (angles > 15).any() and misfits[angles > 15].min() > 0.01


def _misfit(part: Shape, points: Array, turn: Array, move: Array) -> float:
    return float(np.sqrt(np.mean(part.field(points @ turn.T + move) ** 2)))


def _fitted(part: Shape, points: Array, turn: Array, move: Array) -> tuple[Array, Array]:
    """A pose improved by Gauss-Newton on the distances to the surface."""
    for _ in range(25):
        placed = points @ turn.T + move
        slopes = gradient(part.field, placed)
        jacobian = np.concatenate([np.cross(placed - move, slopes), slopes], axis=1)
        damped = jacobian.T @ jacobian + 1e-3 * np.eye(6)
        step = np.linalg.solve(damped, -jacobian.T @ part.field(placed))
        step *= min(1, 0.3 / np.linalg.norm(step))
        turn, move = Rotation.from_rotvec(step[:3]).as_matrix() @ turn, move + step[3:]
    return turn, move


def test_shapes_differ_from_one_another() -> None:
    """By what does not hang on the pose: the sides of the box, the area."""
    facts = np.array([[*np.sort(shape(name).extent), shape(name).areas.sum()] for name in SHAPES])
    apart = np.abs(facts[:, None] - facts).max(axis=2)
    assert apart[~np.eye(len(SHAPES), dtype=bool)].min() > 0.1


def test_points_are_drawn_afresh_and_the_same_seed_draws_the_same() -> None:
    part, points, _ = drawn("jug", 500)
    np.testing.assert_array_equal(part.draw(np.random.default_rng(0), 500), points)
    rng = np.random.default_rng(0)
    assert not len(np.intersect1d(part.draw(rng, 500).round(9), part.draw(rng, 500).round(9)))


def test_points_come_in_no_order() -> None:
    """Consecutive points are as far from one another as any two."""
    _, points, _ = drawn("lump")
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1).mean()
    pairs = np.linalg.norm(points[:2000] - points[2000:], axis=1).mean()
    np.testing.assert_allclose(steps, pairs, rtol=0.05)


@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_few_points_can_be_drawn(count: int) -> None:
    part, points, _ = drawn("loop", count)
    assert points.shape == (count, 3) and np.abs(part.field(points)).max() < 1e-6


@pytest.mark.parametrize("name", SHAPES)
def test_what_faces_away_can_be_left_out_without_losing_what_faces_the_eye(name: str) -> None:
    part, points, normals = drawn(name)
    eye = np.array((0.9, -1.2, 1.4))
    areas = part.facing(eye, 0.2)
    assert set(areas[areas > 0]) <= set(part.areas) and 0.2 < areas.sum() / part.areas.sum() < 0.6
    some = part.draw(np.random.default_rng(0), 4000, areas)
    wanted = points[np.einsum("nd,nd->n", normals, unit(eye - points)) > 0.2]
    assert cKDTree(some).query(wanted)[0].max() < 1.5 * np.sqrt(part.areas.sum() / 4000)


def test_an_unknown_shape_is_refused() -> None:
    with pytest.raises(BadField, match="shape 'cube': wanted one of gear, jug, lump, bracket, loop"):
        shape("cube")
