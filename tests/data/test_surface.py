"""Points from meshes: when the vertices are taken, how evenly the facets are covered, and equal rows joined exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.data import surface
from amiss.data.cloud import Cloud, cloud_of
from amiss.data.surface import SAMPLED, cloud_of_mesh, distinct, triangles
from tests.data.cloud_files import CUBE, SQUARES, halves, sheet

Array = npt.NDArray[Any]

TRIANGLES = np.array(halves(SQUARES))


def vertices(points: Array) -> Cloud:
    return cloud_of(dict(zip("xyz", points.T, strict=True)))


def test_a_coarse_mesh_is_covered_evenly_by_area() -> None:
    box = CUBE * np.array([1, 2, 3], np.float32)  # 2 x 4 x 6
    points = cloud_of_mesh(vertices(box), TRIANGLES).points
    areas = {0: 4 * 6, 1: 2 * 6, 2: 2 * 4}
    for axis, area in areas.items():
        for place in (0, box[:, axis].max()):
            on = points[points[:, axis] == place]
            assert len(on) == pytest.approx(SAMPLED * area / 88, rel=0.01)
            rest = np.delete(on, axis, axis=1)
            cells, _, _ = np.histogram2d(*rest.T, bins=10, range=[[0, high] for high in np.delete(box.max(axis=0), axis)])
            assert cells.min() > 0.85 * cells.mean() and cells.max() < 1.15 * cells.mean()


def test_points_spread_within_one_facet_leave_fewer_gaps_than_chance() -> None:
    from scipy.spatial import cKDTree

    corner = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    points = cloud_of_mesh(vertices(corner), np.array([[0, 1, 2]])).points
    rng = np.random.default_rng(0)
    chance = rng.random((2 * SAMPLED, 2))
    chance = chance[chance.sum(axis=1) < 1][:SAMPLED]
    probes = rng.random((4000, 2))
    probes = probes[probes.sum(axis=1) < 1]
    ours, theirs = cKDTree(points[:, :2]).query(probes)[0], cKDTree(chance).query(probes)[0]
    assert ours.max() < 0.7 * theirs.max() and ours.std() < 0.8 * theirs.std()


def test_the_same_mesh_gives_the_same_points_and_another_one_others() -> None:
    first, again = (cloud_of_mesh(vertices(CUBE), TRIANGLES).points for _ in range(2))
    np.testing.assert_array_equal(first, again)
    moved = cloud_of_mesh(vertices(CUBE + np.float32(1)), TRIANGLES).points - 1
    assert np.abs(first - moved).max() > 1e-4


def test_a_fine_mesh_gives_its_vertices_and_normals_of_the_facets_around_them() -> None:
    points, faces = sheet()
    cloud = cloud_of_mesh(vertices(points), np.array(faces))
    np.testing.assert_array_equal(cloud.points, points)
    x, y = points[:, 0] / 9, points[:, 1] / 7
    slope = np.stack([-2 / 9 * np.cos(x) * np.cos(y), 2 / 7 * np.sin(x) * np.sin(y), np.ones(len(x))], axis=1)
    slope /= np.linalg.norm(slope, axis=1, keepdims=True)
    inner = (points[:, :2] > 0).all(axis=1) & (points[:, :2] < 59).all(axis=1)
    assert cloud.normals is not None
    assert (cloud.normals * slope).sum(axis=1)[inner].min() > 0.999


def test_normals_that_the_vertices_have_are_left_to_them() -> None:
    points, faces = sheet()
    columns = dict(zip("xyz", points.T, strict=True)) | {"nx": np.ones(3600), "ny": np.zeros(3600), "nz": np.zeros(3600)}
    cloud = cloud_of_mesh(cloud_of(columns), np.array(faces))
    assert cloud.normals is not None and (cloud.normals == [1, 0, 0]).all()


@pytest.mark.parametrize(("patch", "fine"), [(8, True), (30, False)])
def test_a_scan_may_have_a_small_hole_closed_by_a_large_facet(patch: int, fine: bool) -> None:
    points, faces = sheet()
    kept = [face for face in faces if not all(points[corner][:2].max() <= patch for corner in face)]
    hole = [0, patch, patch * 60 + patch, patch * 60]
    cloud = cloud_of_mesh(vertices(points), np.array([*kept, hole[:3], [hole[0], *hole[2:]]]))
    assert (len(cloud.points) == len(points)) == fine


def test_a_sheet_of_few_vertices_is_no_scan() -> None:
    for side, count in ((45, SAMPLED), (55, 55 * 55)):  # a cell's diagonal is 1 / 44 of the sheet's, or 1 / 54
        points, faces = sheet(side)
        assert len(cloud_of_mesh(vertices(points), np.array(faces)).points) == count


def test_the_choice_does_not_hang_on_the_unit() -> None:
    points, faces = sheet()
    for scale in (1e-3, 1e3):
        assert len(cloud_of_mesh(vertices(points * np.float32(scale)), np.array(faces)).points) == 3600
        assert len(cloud_of_mesh(vertices(CUBE * np.float32(scale)), TRIANGLES).points) == SAMPLED


def test_facets_without_area_are_never_drawn_from() -> None:
    flat = np.concatenate([[[0, 0, 0]], TRIANGLES, [[5, 5, 5], [0, 7, 0]]])
    cloud = cloud_of_mesh(vertices(CUBE), flat)
    assert cloud.normals is not None and np.isfinite(cloud.points).all()
    assert len(cloud_of_mesh(vertices(CUBE), flat[[0, -1]]).points) == 8  # no area at all: the vertices


def test_polygons_are_fans_around_their_first_corner() -> None:
    assert triangles(np.array([[4, 5, 6, 7, 8]])).tolist() == [[4, 5, 6], [4, 6, 7], [4, 7, 8]]
    assert triangles(np.array([[4, 5]])).shape == (0, 3)


def slow_distinct(corners: Array) -> tuple[list[tuple[float, ...]], list[int]]:
    places: dict[tuple[float, ...], int] = {}
    which = [places.setdefault(tuple(row), len(places)) for row in (corners + 0.0).tolist()]
    return list(places), which


@given(st.lists(st.tuples(*[st.sampled_from([0.0, -0.0, 1.0, 1e-40, 2.5])] * 3), min_size=1, max_size=40))
def test_equal_rows_are_joined_in_order_of_appearance(rows: list[tuple[float, ...]]) -> None:
    corners = np.array(rows, np.float32)
    found, which = distinct(corners)
    wanted, places = slow_distinct(corners)
    np.testing.assert_array_equal(found, np.array(wanted, np.float32))
    np.testing.assert_array_equal(which, places)


def test_rows_that_share_a_key_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface, "_key", lambda bits: np.zeros(len(bits), np.uint64))
    corners = np.array([[1, 2, 3], [3, 2, 1], [1, 2, 3], [2, 2, 2], [3, 2, 1]], np.float32)
    found, which = distinct(corners)
    assert found.tolist() == [[1, 2, 3], [3, 2, 1], [2, 2, 2]] and which.tolist() == [0, 1, 0, 2, 1]
