"""How far what lies around a place leans away from it, worked out on sheets and balls, and that a pose changes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.geometry.cloud import Neighbours
from amiss.kit.clouds import CloudExtractor, Gauge, lean
from amiss.types import Sample
from tests.clouds import good_clouds, surface, turned

Array = npt.NDArray[Any]


def sheet() -> Array:
    """Every place of a fine grid on 0..2 by 0..2, z = 0."""
    places = np.linspace(0, 2, 101)
    x, y = np.meshgrid(places, places)
    return np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)])


def leaning(points: Array, normals: Array, radius: float) -> Array:
    return lean(points, normals, Neighbours.around(points, radius, most=1000), radius)


def test_inside_a_sheet_nothing_leans_and_at_its_rim_and_corner_as_half_and_quarter_discs_do() -> None:
    points = sheet()
    found = leaning(points, np.tile([0.0, 0.0, 1.0], (len(points), 1)), 0.3)
    inside, rim, corner = (int(np.abs(points - place).sum(axis=1).argmin()) for place in ((1, 1, 0), (0, 1, 0), (0, 0, 0)))
    np.testing.assert_allclose(found[inside], 0, atol=1e-6)
    half = 4 / (3 * np.pi)  # from the middle of a disc to the centroid of its half, in radii; a quarter's is sqrt(2) as far
    np.testing.assert_allclose(found[[rim, corner], 1], [half, np.sqrt(2) * half], rtol=0.06)
    np.testing.assert_allclose(found[:, 0], 0, atol=1e-6)


def test_on_a_ball_the_mean_lies_inwards_by_a_quarter_of_the_radius_over_the_balls() -> None:
    rng = np.random.default_rng(0)
    ways = rng.standard_normal((40_000, 3))
    ways /= np.linalg.norm(ways, axis=1, keepdims=True)
    found = leaning(2.0 * ways, ways, 0.3)
    # heights of a cap's points are even between 0 and r^2 / 2 R, so their mean is r^2 / 4 R
    assert found[:, 0].mean() == pytest.approx(-0.3 / (4 * 2.0), rel=0.03)
    assert found[:, 1].mean() < 0.06


def test_leans_are_a_layer_of_their_own_that_neither_pose_nor_unit_changes() -> None:
    points, _ = surface(np.random.default_rng(3))
    gauge = Gauge.of(good_clouds(2), 2.0, 20_000)
    here = CloudExtractor((3.5, 5.0), 2.2, gauge, lean=1)(Sample(id="here", points=points.astype(np.float32)))
    moved = 1000 * turned(points, np.random.default_rng(1))
    large = Gauge(1000 * gauge.cell, 1000 * gauge.spacing, 1000 * gauge.low, 1000 * gauge.high)
    there = CloudExtractor((3.5, 5.0), 2.2, large, lean=1)(Sample(id="there", points=moved.astype(np.float32)))
    assert [layer.shape[1] for layer in here.layers] == [33, 33, 4]
    far = np.abs(np.sort(here.layers[-1], axis=0) - np.sort(there.layers[-1], axis=0))
    assert far.max() < 0.02 * here.layers[-1].std(axis=0).min()


def test_without_leans_the_layers_are_what_they_were() -> None:
    sample, gauge = good_clouds(1)[0], Gauge.of(good_clouds(2), 2.0, 20_000)
    plain = CloudExtractor((3.5, 5.0), 2.2, gauge)(sample).layers
    joined = CloudExtractor((3.5, 5.0), 2.2, gauge, lean=1)(sample).layers
    assert len(plain) == 2
    for layer, same in zip(plain, joined[:2], strict=True):
        np.testing.assert_array_equal(layer, same)
