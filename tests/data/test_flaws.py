"""Defects of made parts: as large, as high and where they say, smooth where they should be, and nothing else is moved."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.data.flaws import CRACK, HEIGHT, KINDS, RIM, SCRATCH, SCRATCH_WIDTH, Body, Flaw, Kind, flaw_at
from amiss.data.shapes import SHAPES, Shape, gradient, shape, unit

Array = npt.NDArray[Any]

SIZES = (0.01, 0.05, 0.15)
MOVED: tuple[Kind, ...] = ("bulge", "sink", "crack", "scratch")


def planted(name: str, kind: Kind, size: float, seed: int = 0, rim: float = 0.01) -> tuple[Body, Array, Array]:
    """A part with a flaw, dense points of the good surface around it, and their normals; the first point is its middle."""
    part, rng = shape(name), np.random.default_rng(seed)
    middle = part.draw(rng, 1)
    flaw = flaw_at(rng, kind, middle[0], unit(gradient(part.field, middle))[0], size, rim)
    around = np.where(flaw.near(part.middles), part.areas, 0)
    points = np.concatenate([middle, part.draw(rng, 6000, around if around.any() else None)])
    return Body(part, flaw), points, unit(gradient(part.field, points))


def extent(points: Array) -> float:
    """The width in the direction, of 200, in which it is largest."""
    directions = unit(np.random.default_rng(9).standard_normal((200, 3)))
    return float(np.ptp(points @ directions.T, axis=0).max())


@pytest.mark.parametrize(
    ("kind", "lowest", "highest"),
    [("bulge", 0, HEIGHT), ("sink", -HEIGHT, 0), ("crack", -CRACK, 0), ("scratch", -SCRATCH, 0.446 * SCRATCH)],
)
@pytest.mark.parametrize("size", SIZES)
def test_a_surface_is_moved_by_the_stated_share_of_the_size(kind: Kind, lowest: float, highest: float, size: float) -> None:
    """The ridges of a scratch are as high as (q - 1) exp(-q / 2) at q = 3."""
    body, points, normals = planted("lump", kind, size)
    ways = np.einsum("nd,nd->n", body.put(points)[0] - points, normals) / size
    np.testing.assert_allclose([ways.min(), ways.max()], [lowest, highest], atol=0.01)
    np.testing.assert_allclose(np.linalg.norm(body.put(points)[0] - points, axis=1) / size, np.abs(ways), atol=1e-9)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kind", MOVED)
def test_moved_points_lie_on_the_surface_of_the_flawed_part(name: str, kind: Kind) -> None:
    """To within twice the noise of a scan; without the flaw they would not."""
    body, points, _ = planted(name, kind, 0.05)
    assert np.percentile(np.abs(body.field(body.put(points)[0])), 99) < 0.001
    assert np.percentile(np.abs(body.field(points)), 99) > 0.8 * SCRATCH * 0.05


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", SIZES)
def test_what_is_marked_has_the_extent_of_the_size(kind: Kind, size: float) -> None:
    """A hole's rim lies around it; a scratch is a strip, whose corners are farther apart than its ends."""
    for seed in range(3):
        body, points, _ = planted("lump", kind, size, seed, rim=0.2 * size)
        _, marked, _ = body.put(points)
        wanted = {"hole": 1.4, "scratch": np.hypot(1, SCRATCH_WIDTH)}.get(kind, 1.0) * size
        assert 0.85 * wanted < extent(points[marked]) < 1.08 * wanted


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("kind", MOVED)
def test_points_that_are_not_marked_are_moved_by_less_than_a_tenth(name: str, kind: Kind) -> None:
    body, points, _ = planted(name, kind, 0.05)
    moved, marked, gone = body.put(points)
    ways = np.linalg.norm(moved - points, axis=1)
    assert marked[0] and not gone.any()
    assert ways[~marked].max() < 0.11 * ways.max()
    if kind != "scratch":  # between groove and ridge it is not moved either, but lies within it
        assert ways[marked].min() > 0.05 * ways.max()


def test_a_hole_takes_a_disc_away_and_marks_a_rim_around_it() -> None:
    body, points, _ = planted("lump", "hole", 0.1, rim=0.02)
    moved, marked, gone = body.put(points)
    assert body.flaw is not None
    ways = np.linalg.norm(points - body.flaw.at, axis=1)
    np.testing.assert_array_equal(moved, points)
    np.testing.assert_array_equal(gone, ways < 0.05)
    np.testing.assert_array_equal(marked, (ways >= 0.05) & (ways < 0.07))


@pytest.mark.parametrize("kind", KINDS)
def test_the_other_side_of_a_wall_is_left_alone(kind: Kind) -> None:
    """The bracket's base is 0.09 thick; a flaw of 0.2 in the middle of one face reaches through it."""
    part = shape("bracket")
    points = part.draw(np.random.default_rng(0), 20_000)
    normals = unit(gradient(part.field, points))
    below = np.flatnonzero((normals[:, 2] < -0.999) & (np.abs(points[:, :2]) < 0.05).all(axis=1))[0]
    body = Body(part, flaw_at(np.random.default_rng(0), kind, points[below], normals[below], 0.2, 0.01))
    moved, marked, gone = body.put(points)
    through = (np.linalg.norm(points - points[below], axis=1) < 0.12) & (normals[:, 2] > 0.5)
    touched = marked | gone | (np.abs(moved - points).max(axis=1) > 1e-9)
    assert through.any() and touched.any() and not touched[through].any()


@pytest.mark.parametrize("kind", MOVED)
def test_bulges_sinks_and_scratches_are_smooth_and_cracks_are_not(kind: Kind) -> None:
    """How far the normal turns between two places a hundredth of the size apart, which no edge of the shape is near."""
    body, points, normals = planted("lump", kind, 0.1)
    rng = np.random.default_rng(0)
    beside = points + 0.001 * unit(np.cross(normals, rng.standard_normal(points.shape)))
    here, there = (unit(gradient(body.field, body.put(places)[0])) for places in (points, beside))
    turns = np.rad2deg(np.arccos(np.clip(np.einsum("nd,nd->n", here, there), -1, 1)))
    assert (np.percentile(turns, 99) < 25) == (kind != "crack")


@pytest.mark.parametrize("kind", KINDS)
def test_far_from_a_flaw_nothing_changes(kind: Kind) -> None:
    body, _, _ = planted("gear", kind, 0.05)
    assert body.flaw is not None
    points = body.shape.draw(np.random.default_rng(1), 2000)
    far = points[~body.flaw.near(points)]
    assert len(far) > 1800
    np.testing.assert_array_equal(body.field(far), body.shape.field(far))
    moved, marked, gone = body.put(far)
    np.testing.assert_array_equal(moved, far)
    assert not marked.any() and not gone.any()


def test_a_part_without_a_flaw_is_its_shape() -> None:
    part, points = shape("loop"), shape("loop").draw(np.random.default_rng(0), 100)
    moved, marked, gone = Body(part).put(points)
    np.testing.assert_array_equal(moved, points)
    assert not marked.any() and not gone.any()
    np.testing.assert_array_equal(Body(part).field(points), part.field(points))


def test_flaws_of_one_kind_differ_in_direction_and_path() -> None:
    part: Shape = shape("lump")
    at = part.draw(np.random.default_rng(0), 1)
    normal = unit(gradient(part.field, at))[0]
    first, second = (flaw_at(np.random.default_rng(seed), "crack", at[0], normal, 0.1, RIM) for seed in (0, 1))
    assert abs(first.frame[0] @ second.frame[0]) < 0.99 and not np.allclose(first.bends, second.bends)
    for flaw in (first, second):
        assert isinstance(flaw, Flaw)
        np.testing.assert_allclose(flaw.frame @ flaw.frame.T, np.eye(3), atol=1e-9)
        np.testing.assert_allclose(flaw.frame[2], normal)
