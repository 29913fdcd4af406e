"""The rim of open surfaces is found, closed ones have none."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.geometry import cloud
from amiss.geometry.border import border, widest_gap
from amiss.geometry.cloud import Neighbours, normals, thinned
from tests.geometry import made

Array = npt.NDArray[Any]


def slow_gap(points: Array, directions: Array, near: Neighbours, own: int) -> float:
    up = directions[own]
    right = np.cross(up, [0.3, 0.4, 0.5])
    right /= np.linalg.norm(right)
    angles = []
    for other in near.indices[own]:
        way = points[other] - points[own]
        if directions[other] @ up >= 0 and np.linalg.norm(np.cross(way, up)) > 0:
            angles.append(math.atan2(way @ np.cross(up, right), way @ right))
    angles.sort()
    gaps = [after - before for before, after in pairwise(angles)]
    return max([*gaps, angles[0] + math.tau - angles[-1]]) if angles else math.tau


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_gaps_are_those_of_the_loop(seed: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    points, directions = rng.random((30, 3)), rng.standard_normal((30, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    near = Neighbours.of(points, k)
    expected = [slow_gap(points, directions, near, own) for own in range(30)]
    np.testing.assert_allclose(widest_gap(points, directions, near), expected, atol=1e-6)


@pytest.mark.parametrize("block", [1, 100])
def test_gaps_are_the_same_block_by_block(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    points = made.lump(200, np.random.default_rng(0))
    near = Neighbours.of(points, 12)
    expected = widest_gap(points, points, near)
    monkeypatch.setattr(cloud, "_BLOCK", block)
    np.testing.assert_array_equal(widest_gap(points, points, near), expected)


def test_gaps_worked_by_hand() -> None:
    # around the origin: east, north and west, so that half a turn is open; north, straight above and a copy add nothing
    points = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, 1.1, 0.2], [0, 0, 1], [0, 0, 0]])
    found = widest_gap(points, np.tile([0.0, 0, 1], (7, 1)), Neighbours.of(points, 6))
    assert found[0] == pytest.approx(math.pi)


def test_the_rim_of_a_disc_is_its_border() -> None:
    rng = np.random.default_rng(0)
    square = rng.uniform(-1, 1, (40_000, 3)) * [1, 1, 0]
    disc, _ = thinned(square[np.linalg.norm(square, axis=1) < 1] @ made.rotation(rng).T, 0.06)
    near = Neighbours.of(disc, 30)
    rim = border(disc, normals(disc, near.first(20)), near)
    reach = np.linalg.norm(disc, axis=1)
    assert rim[reach > 0.98].mean() > 0.95
    assert not rim[reach < 0.88].any()


@pytest.mark.parametrize("name", ["sphere", "torus", "box", "plate"])
def test_closed_surfaces_have_hardly_any_border(name: str) -> None:
    rng = np.random.default_rng(0)
    points = {
        "sphere": lambda: made.sphere(3000)[0],
        "torus": lambda: thinned(made.torus(40_000, rng)[0], 0.07)[0],
        "box": lambda: made.box(0.05, (2.0, 1.5, 1.0))[0],
        "plate": lambda: made.box(0.05, (2.0, 1.5, 0.1))[0],
    }[name]()
    near = Neighbours.of(points, 30)
    assert border(points, normals(points, near.first(16)), near).mean() < 0.01


def test_the_rim_of_a_half_sphere_is_its_border() -> None:
    points = made.sphere(4000)[0]
    points = points[points[:, 2] > 0]
    near = Neighbours.of(points, 30)
    rim = border(points, normals(points, near.first(16)), near)
    assert rim[points[:, 2] < 0.03].mean() > 0.9  # half a spacing
    assert not rim[points[:, 2] > 0.15].any()


def test_a_lonely_place_is_all_border() -> None:
    points = np.zeros((5, 3))
    assert border(points, np.tile([0.0, 0, 1], (5, 1)), Neighbours.of(points, 3)).all()
