"""Clouds as grids of cells, the defects made on them, and the pieces that a network is trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.kit.clouds import CloudFeatures
from amiss.kit.oddness import Surface
from amiss.kit.scenes import FEATURES, Crop, Cropper, Scene, defects, highest
from amiss.spread import PointSpread
from tests.clouds import surface as made_surface

Array = npt.NDArray[Any]


def plate(side: int = 40) -> Array:
    """(side * side, 3) places 0.5 apart, two along each edge of a cell."""
    lines = np.indices((side, side)).reshape(2, -1).T / 2
    return np.column_stack([lines, np.zeros(len(lines))])


def scene(places: Array, odd: Array | None = None, marks: Array | None = None, cell: float = 0.5) -> Scene:
    """Of places given in cells of the grid."""
    seen = CloudFeatures([], places, places, np.zeros(len(places), bool), np.ones(len(places)), PointSpread(places, places), [])
    spread = np.column_stack([np.linspace(0, 1, len(places)), np.full(len(places), 0.25)])
    surface = Surface(seen, places, np.arange(len(places)), cell, spread, ())
    return Scene.of(surface, np.zeros((len(places), 3)) if odd is None else odd, marks)


def test_a_cell_tells_what_its_places_are_like() -> None:
    places = np.array([[0, 0, 0], [0.2, 0.1, 0], [1.5, 0, 0]])
    odd = np.array([[1.0, 10, 7], [3, 20, 9], [5, 30, 11]])
    found = scene(places, odd)
    assert found.cells.tolist() == [[0, 0, 0], [1, 0, 0]] and found.owners.tolist() == [0, 0, 1]
    named = dict(zip(FEATURES, found.values.T, strict=True))
    assert named["occupied"].tolist() == [1, 1] and named["fine"].tolist() == [2, 5]
    np.testing.assert_allclose(named["fine varies"], np.log([1 + 0.01, 0.01]), rtol=1e-5)
    assert named["coarse"].tolist() == [15, 30] and named["rim"].tolist() == [8, 11]
    np.testing.assert_allclose(named["linearity"], [0.25, 1])
    np.testing.assert_allclose(named["sphericity"], 0.25)
    np.testing.assert_allclose(named["places"], np.log([2 / 1.5, 1 / 1.5]), rtol=1e-5)


def test_every_feature_but_the_first_is_standardised() -> None:
    places = plate()
    plain = scene(places, np.random.default_rng(0).random((len(places), 3)))
    mean, deviation = plain.values.mean(axis=0), plain.values.std(axis=0) + 1e-9
    scaled = plain.scaled(mean, deviation).values
    assert (scaled[:, 0] == 1).all()
    np.testing.assert_allclose(scaled[:, 1].mean(), 0, atol=1e-4)
    np.testing.assert_allclose(scaled[:, 1].std(), 1, atol=1e-4)


def test_a_grid_has_empty_cells_around_it() -> None:
    grid = scene(plate(6)).grid(2)
    assert grid.shape == (7, 7, 5) and len(grid.keys) == 9
    assert grid.places.min() == 2 and (grid.shape - grid.places).min() == 3


def test_boxes_are_about_the_places_of_a_defect_that_has_enough() -> None:
    places = plate()
    marks = np.zeros(len(places), np.int64)
    marks[(places[:, 0] < 2) & (places[:, 1] < 4)] = 1
    marks[-4:] = 3  # too few to be one
    found = scene(places, marks=marks)
    numbers, middles, edges = found.boxes
    assert numbers.tolist() == [1] and edges.tolist() == [3.5]
    np.testing.assert_allclose(middles, [[0.75, 1.75, 0]])
    assert found.members.sum() == 8 + 2


def test_a_good_cloud_has_no_boxes() -> None:
    numbers, middles, edges = scene(plate()).boxes
    assert len(numbers) == 0 and middles.shape == (0, 3) and edges.shape == (0,)


def test_the_mark_of_a_place_is_that_of_any_of_its_points() -> None:
    assert highest(np.array([0, 2, 0, 0, 1]), np.array([0, 0, 1, 2, 2])).tolist() == [2, 0, 1]


@pytest.mark.parametrize("count", [1, 4])
def test_made_defects_are_marked_where_points_moved_or_went(count: int) -> None:
    rng = np.random.default_rng(3)
    points, _ = made_surface(rng, 2000)
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    spoilt, marks = defects(points, normals, count, rng)
    assert len(marks) == len(spoilt) <= len(points) and 0 < len(np.unique(marks[marks > 0])) <= count
    still = {tuple(point) for point in points}
    moved = np.array([tuple(point) not in still for point in spoilt])
    assert (marks[moved] > 0).mean() > 0.5 and marks[moved].any() | (len(spoilt) < len(points))
    assert (marks > 0).mean() < 0.1 * count


def cropper(**fields: Any) -> Cropper:
    return Cropper(**{"side": 20, "border": 4, "anchors": (2.0, 4.0, 6.0), "reaches": (2, 3, 4), **fields})


def crops(found: Scene, count: int = 20) -> list[Crop]:
    rng = np.random.default_rng(0)
    return [cropper()(found, rng) for _ in range(count)]


def test_nobody_asks_near_the_sides_of_a_piece_or_far_from_the_cloud() -> None:
    marks = np.zeros(1600, np.int64)
    marks[:100] = 1
    for crop in crops(scene(plate(), marks=marks)):
        filled = np.argwhere(crop.grid[0] > 0)
        for asked, reach in zip((crop.members, *crop.cubes), (0, 2, 3, 4), strict=True):
            assert asked.shape == (12, 12, 12)
            places = np.argwhere(asked) + 4
            ways = np.abs(places[:, None] - filled[None]).max(axis=2)
            assert len(places) == 0 or ways.min(axis=1).max() <= reach


def test_pieces_hold_the_defect_three_times_of_four() -> None:
    places = plate()
    marks = (np.linalg.norm(places - [5, 5, 0], axis=1) < 2).astype(np.int64)
    found = [(crop.cubes == 1).any() for crop in crops(scene(places, marks=marks), 60)]
    assert 0.6 < np.mean(found) < 1
    assert not any((crop.cubes == 1).any() or (crop.members == 1).any() for crop in crops(scene(places)))


def test_a_piece_turned_keeps_together_what_belongs_together() -> None:
    places = plate()
    marks = (np.linalg.norm(places - [5, 5, 0], axis=1) < 2).astype(np.int64)
    odd = np.repeat(marks[:, None] * 9.0, 3, axis=1)
    thin = set()
    for crop in crops(scene(places, odd, marks)):
        fine = crop.grid[1, 4:-4, 4:-4, 4:-4]
        assert (fine[crop.members == 1] > 0).all() and (fine[crop.members == -1] == 0).all()
        thin.add(int(np.argmin(np.ptp(np.argwhere(crop.grid[0]), axis=0))))
    assert thin == {0, 1, 2}  # the plate lies across every axis in turn
