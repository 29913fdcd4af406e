"""Views of good clouds from evenly spread sides: that they are of the cloud, from all around, and the same in any pose."""

from __future__ import annotations

import numpy as np
import pytest

from amiss.errors import BadSample
from amiss.kit.memory import MemoryBank
from amiss.kit.sides import WHOLE, Sides, apart, directions, origins
from amiss.types import Sample
from tests.clouds import good_clouds, turned


def test_directions_are_unit_vectors_spread_all_around() -> None:
    ways = directions(40)
    np.testing.assert_allclose(np.linalg.norm(ways, axis=1), 1)
    assert np.linalg.norm(ways.mean(axis=0)) < 0.05
    some = np.random.default_rng(0).standard_normal((500, 3))
    some /= np.linalg.norm(some, axis=1, keepdims=True)
    assert np.degrees(np.arccos((some @ ways.T).max(axis=1))).max() < 25


def test_a_view_is_a_part_of_its_cloud_and_all_views_together_are_nearly_all_of_it() -> None:
    (cloud,) = good_clouds(1)
    assert cloud.points is not None
    views = list(Sides([cloud], 8, 0.05))
    known = {point.tobytes() for point in cloud.points}
    seen = [{point.tobytes() for point in view.points} for view in views if view.points is not None]
    assert len(seen) == 8 and all(0.2 < len(one) / len(known) < 0.75 and one <= known for one in seen)
    assert len(set.union(*seen)) > 0.98 * len(known)
    assert {view.id for view in views} == {cloud.id}


def test_the_same_points_are_seen_in_any_pose_and_unit() -> None:
    (cloud,) = good_clouds(1)
    assert cloud.points is not None
    moved = 1000 * turned(cloud.points.astype(float), np.random.default_rng(1))
    there = Sides([Sample(id="moved", points=moved.astype(np.float32))], 4, 100.0)
    for here, view in zip(Sides([cloud], 4, 0.1), there, strict=True):
        assert here.points is not None and view.points is not None
        assert abs(len(here.points) - len(view.points)) < 0.02 * len(here.points)


def test_a_view_of_a_dense_cloud_has_a_few_points_of_every_cell() -> None:
    (cloud,) = good_clouds(1, points=20_000)
    for view in Sides([cloud], 2, 0.5):
        assert view.points is not None and 100 < len(view.points) < 1500


def test_of_many_clouds_eight_are_looked_at_from_first_to_last() -> None:
    clouds = good_clouds(20)
    sides = Sides(clouds, 3, 0.1)
    names = [view.id for view in sides]
    assert len(sides) == len(names) == 24 and len(set(names)) == 8
    assert names[0] == "good 0" and names[-1] == "good 19"


def test_a_view_is_reached_by_its_index_as_by_going_through_them() -> None:
    sides = Sides(good_clouds(2), 3, 0.1)
    assert [view.digest for view in sides] == [sides[index].digest for index in range(6)] == [each.digest for each in sides[:]]
    assert sides[-1].digest == sides[5].digest


def test_a_cloud_without_a_surface_is_named() -> None:
    flat = Sample(id="a line", points=np.linspace(0, 1, 60)[:, None].repeat(3, axis=1).astype(np.float32))
    with pytest.raises(BadSample, match=r"a line: .*on a line"):
        list(Sides([flat], 2, 0.1))


def test_views_say_of_which_cloud_and_from_which_side_they_are() -> None:
    sides = Sides(good_clouds(2), 3, 0.05)
    assert sides.origins == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]
    assert [view.id for view in sides] == [f"good {cloud}" for cloud, _ in sides.origins]


def test_places_are_measured_against_other_clouds_and_from_other_sides_alone() -> None:
    """By hand, on a line: what answers is the nearest of another cloud that is whole or seen from another side."""
    held, holders = np.array([0.0, 1.0, 2.0, 4.0]), np.array([(0, WHOLE), (1, 0), (1, 1), (2, WHOLE)])
    bank = MemoryBank(held[:, None].astype(np.float32), np.zeros((4, 3), np.int32))
    asked, owners = np.array([0.9, 2.1, 3.9, 1.1]), np.array([(0, 0), (0, 1), (2, WHOLE), (1, 0)])
    weights = np.array([1, 1, 0.5, 1], np.float32)
    found = apart(asked[:, None].astype(np.float32), owners, weights, bank, holders)
    # (0, 0) may ask 1 from side 1, (0, 1) 1 from side 0, (1, 0) the whole 0, and (2, WHOLE) all of 0 and 1
    np.testing.assert_allclose(found, [1.1, 1.1, 1.1, 0.95], rtol=1e-5)


def test_of_a_single_cloud_nothing_is_apart_and_no_more_are_asked_than_wanted() -> None:
    vectors, weights = np.arange(10, dtype=np.float32)[:, None], np.ones(10, np.float32)
    bank = MemoryBank(vectors, np.zeros((10, 3), np.int32))
    owners = origins(np.zeros(10, np.int64))
    assert not len(apart(vectors, owners, weights, bank, owners))
    assert len(apart(vectors, owners, weights, bank, origins(np.ones(10)), 4)) == 4
