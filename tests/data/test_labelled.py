"""Texts that data sets write in one way, and STL files whose vertices are the points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amiss.data.readers import read_cloud, read_labelled, read_mesh_vertices, read_places
from amiss.errors import UnreadableFile
from tests.data import files
from tests.data.cloud_files import CUBE, SQUARES, bowl, halves, sheet, stl, text

POINTS = bowl()
LABELS = np.arange(60) % 4 == 0
ROWS = np.column_stack([POINTS, LABELS])


@pytest.mark.parametrize("delimiter", [" ", ","])
def test_points_and_labels_of_a_text_stay_together(delimiter: str, tmp_path: Path) -> None:
    rows = ROWS.copy()
    rows[[3, 4], 0] = np.nan
    cloud, marked = read_labelled(files.written(tmp_path / "a.txt", text(rows, delimiter)), delimiter=delimiter)
    np.testing.assert_array_equal(cloud.points, np.delete(POINTS, [3, 4], axis=0))
    np.testing.assert_array_equal(marked, np.delete(LABELS, [3, 4]))


@pytest.mark.parametrize(
    ("content", "delimiter", "words"),
    [
        (text(ROWS, ","), " ", "its numbers stand between commas, wanted spaces; write it with spaces"),
        (text(ROWS), ",", "its numbers stand between spaces, wanted commas"),
        (text(ROWS, ";"), ",", "its numbers stand between semicolons, wanted commas"),
        (b"1,5 2,5 3,5 0\n", " ", "decimal commas; write them with points, and spaces between them"),
        (text(POINTS), " ", "its rows hold 3 numbers, wanted 4"),
        (text(np.column_stack([ROWS, LABELS])), " ", "its rows hold 5 numbers, wanted 4"),
        (text(np.column_stack([POINTS, LABELS * 0.5])), " ", "labels from 0 to 0.5 behind x, y and z, wanted 0 and 1"),
        (b"x,y,z,red\n1,2,3,0\n", ",", "no label behind x, y and z"),
        (text(ROWS) + b"1 2 3\n", " ", "line 61 holds 3 values where others hold 4"),
        (b"", " ", "the file is empty"),
    ],
)
def test_a_text_that_is_written_otherwise_is_refused(content: bytes, delimiter: str, words: str, tmp_path: Path) -> None:
    path = files.written(tmp_path / "a.txt", content)
    with pytest.raises(UnreadableFile, match=words) as caught:
        read_labelled(path, delimiter=delimiter)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    for read in (read_labelled, read_places):
        with pytest.raises(UnreadableFile, match=r"a\.txt: No such file"):
            read(tmp_path / "a.txt", delimiter=" ")


def test_places_keep_the_precision_they_are_written_in(tmp_path: Path) -> None:
    """Few places close together far from the origin: as a cloud of their own float32 could not tell them apart."""
    places = np.array([[400.123456789, 1, 2], [400.123456999, 1, 2]])
    lines = "".join(f"{x:.9f},{y},{z},7\n" for x, y, z in places)
    np.testing.assert_array_equal(read_places(files.written(tmp_path / "a.txt", lines.encode()), delimiter=","), places)


def test_a_place_that_is_no_number_is_refused(tmp_path: Path) -> None:
    path = files.written(tmp_path / "a.txt", b"1,2,3\n1,nan,3\n")
    with pytest.raises(UnreadableFile, match="a place that is NaN or infinite"):
        read_places(path, delimiter=",")


def test_vertices_of_a_coarse_mesh_are_its_points_where_they_are_asked_for(tmp_path: Path) -> None:
    path = files.written(tmp_path / "cube.stl", stl(CUBE[np.array(halves(SQUARES))]))
    cloud = read_mesh_vertices(path)
    plain = read_cloud(path).points
    assert len(cloud.points) == 8 and cloud.kept is None and plain is not None and len(plain) == 100_000
    assert {tuple(point) for point in cloud.points.tolist()} == {tuple(point) for point in CUBE.tolist()}
    assert cloud.normals is not None and ((cloud.points - 1) * cloud.normals).sum(axis=1).min() > 1  # they point outwards


def test_vertices_of_a_fine_mesh_are_those_of_the_plain_reader(tmp_path: Path) -> None:
    points, faces = sheet()
    path = files.written(tmp_path / "sheet.stl", stl(points[np.array(faces)]))
    vertices, sample = read_mesh_vertices(path), read_cloud(path)
    np.testing.assert_array_equal(vertices.points, sample.points)
    np.testing.assert_array_equal(vertices.normals, sample.normals)


@pytest.mark.parametrize("content", [stl(np.zeros((2, 3, 3), np.float32), said=3), b"", b"solid part\nfacet"])
def test_a_damaged_mesh_is_refused_there_too(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"a\.stl: "):
        read_mesh_vertices(files.written(tmp_path / "a.stl", content))
