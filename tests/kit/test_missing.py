"""Missing surface: that a hole is found in whole scans and in those from one side, and what is merely out of sight is not."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.kit.missing import gaps, in_sight, missing

Array = npt.NDArray[Any]

CELL = 0.08
USUAL = 1.0  # cells, what few good gaps exceed


def ball(seed: int, count: int = 3000) -> Array:
    """Places of a ball of radius 1 and, the same, its outer normals; as even as thinned clouds are."""
    numbers = np.arange(count) + 0.5
    heights, turns = 1 - 2 * numbers / count, np.pi * (1 + np.sqrt(5)) * numbers
    points = np.stack([np.cos(turns) * np.sqrt(1 - heights**2), np.sin(turns) * np.sqrt(1 - heights**2), heights], axis=1)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return np.asarray(points @ turn.T)


def without_cap(points: Array, way: Array, radius: float) -> Array:
    return points[np.linalg.norm(points - way, axis=1) > radius]


def judged(surface: Array, scan: Array, sight: Array, unit: float = 1.0) -> tuple[Array, list[Any]]:
    surface, scan, cell = surface * unit, scan * unit, CELL * unit
    far = gaps(surface, surface / unit, scan, scan / unit, cell)
    return missing(surface, far, USUAL, sight, scan, cell)


WAY = np.array((0.6, 0.0, 0.8))


@pytest.mark.parametrize("unit", [1.0, 1000.0])
def test_a_hole_is_one_piece_and_marks_its_rim_alone(unit: float) -> None:
    surface, scan = ball(0), without_cap(ball(1), WAY, 0.25)
    found, pieces = judged(surface, scan, np.ones(len(surface), bool), unit)
    assert len(pieces) == 1 and 0.25 < pieces[0].across / unit < 0.8
    np.testing.assert_allclose(pieces[0].middle / unit, WAY, atol=0.1)
    far = np.linalg.norm(scan - WAY, axis=1)
    assert found[far < 0.25 + 0.5 * CELL].min() > 2 * USUAL and not found[far > 0.25 + 3 * CELL].any()
    assert found.max() == pytest.approx(0.25 / CELL, abs=1)


def test_a_good_scan_misses_nothing() -> None:
    surface = ball(0)
    found, pieces = judged(surface, ball(1), np.ones(len(surface), bool))
    assert not pieces and not found.any()


def test_what_faces_the_other_way_covers_nothing() -> None:
    """Of a thin sheet the far side is there and the near one is not."""
    side = np.stack(np.meshgrid(np.arange(20.0), np.arange(20.0)), axis=-1).reshape(-1, 2)
    near, far = (np.column_stack([side, np.full(len(side), height)]) for height in (0.0, -0.5))
    up, down = np.tile((0.0, 0.0, 1.0), (len(side), 1)), np.tile((0.0, 0.0, -1.0), (len(side), 1))
    assert gaps(near, up, far, up, 1.0) == pytest.approx(0.5)
    assert (gaps(near, up, far, down, 1.0) == 10).all()


@pytest.mark.parametrize("lean", [0.0, 0.5])
def test_a_scan_from_one_side_misses_what_is_in_sight_and_nothing_else(lean: float) -> None:
    surface, eye = ball(0), np.array((lean, 0.1, 1.0))
    eye /= np.linalg.norm(eye)
    whole = ball(1)
    seen = whole[whole @ eye > 0.35]
    hole = eye + np.array((0.2, -0.1, 0.0))
    hole /= np.linalg.norm(hole)
    for scan, wanted in ((seen, 0), (without_cap(seen, hole, 0.25), 1)):
        far = gaps(surface, surface, scan, scan, CELL)
        sight = in_sight(surface, far < 1.5, scan)
        assert sight[surface @ eye > 0.6].all() and not sight[surface @ eye < -0.25].any()
        found, pieces = judged(surface, scan, sight)
        assert len(pieces) == wanted and (found > 0).any() == bool(wanted)
    assert np.linalg.norm(pieces[0].middle - hole) < 0.1


def test_too_few_places_are_chance() -> None:
    surface = ball(0)
    found, pieces = judged(surface, without_cap(ball(1), WAY, CELL), np.ones(len(surface), bool))
    assert not pieces and not found.any()
