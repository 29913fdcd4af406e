"""STL and OBJ files: vertices joined, every way to write a face, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.data import meshes, surface
from amiss.data.cloud import Cloud
from amiss.data.readers import read_cloud, read_cloud_rows
from amiss.data.surface import SAMPLED
from amiss.errors import UnreadableFile
from tests.data import files
from tests.data.cloud_files import CUBE, SQUARES, bowl, halves, normals_of, obj, ply_mesh, sheet, stl, stl_text

Array = npt.NDArray[Any]

POINTS = bowl()
SHEET, FACES = sheet()
SCAN = SHEET[np.array(FACES)]  # (F, 3, 3)
MODEL = CUBE[np.array(halves(SQUARES))]
WRITERS = {"binary": stl, "ascii": stl_text}


def read(content: bytes, folder: Path, name: str = "part.stl") -> Cloud:
    return read_cloud_rows(files.written(folder / name, content))


def refused(content: bytes, folder: Path, name: str = "part.stl") -> str:
    path = files.written(folder / name, content)
    with pytest.raises(UnreadableFile) as caught:
        read_cloud_rows(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and ";" in said
    return said


def ordered(points: Array) -> Array:
    return points[np.lexsort(points.T)]


# STL


@pytest.mark.parametrize("kind", WRITERS)
def test_a_scan_saved_as_stl_gives_each_vertex_once(kind: str, tmp_path: Path) -> None:
    cloud = read(WRITERS[kind](SCAN), tmp_path)
    assert len(SCAN) * 3 == 20886 and len(cloud.points) == 3600
    np.testing.assert_array_equal(ordered(cloud.points), ordered(SHEET))
    np.testing.assert_array_equal(cloud.points[:3], SCAN[0])  # in the order of the file
    assert cloud.kept is None and cloud.normals is not None and (cloud.normals[:, 2] > 0.8).all()


@pytest.mark.parametrize("kind", WRITERS)
def test_a_model_saved_as_stl_gives_points_all_over_its_facets(kind: str, tmp_path: Path) -> None:
    cloud = read(WRITERS[kind](MODEL), tmp_path)
    assert cloud.points.shape == (SAMPLED, 3) and cloud.kept is None
    assert (np.isclose(np.abs(cloud.points - 1), 1, atol=1e-6).sum(axis=1) >= 1).all()


def test_text_and_binary_give_the_same_points_and_ply_the_same_surface(tmp_path: Path) -> None:
    first = read(stl(MODEL), tmp_path).points
    np.testing.assert_array_equal(read(stl_text(MODEL), tmp_path).points, first)
    other = read(
        ply_mesh(CUBE, halves(SQUARES)), tmp_path, "part.ply"
    ).points  # other places: its vertices stand in another order
    for axis in range(3):
        assert (other[:, axis] == 2).sum() == pytest.approx((first[:, axis] == 2).sum(), rel=0.01)


def test_a_binary_file_that_begins_with_solid_is_read_as_binary(tmp_path: Path) -> None:
    assert len(read(stl(SCAN, head=b"solid by some program"), tmp_path).points) == 3600


def test_text_in_capitals_with_tabs_and_windows_line_ends_is_read(tmp_path: Path) -> None:
    content = stl_text(SCAN, indent="\t").upper().replace(b"\n", b"\r\n")
    assert len(read(content, tmp_path).points) == 3600


@pytest.mark.parametrize("value", [np.nan, np.inf, 3e38])
def test_facets_without_finite_corners_are_left_out(value: float, tmp_path: Path) -> None:
    spoilt = SCAN.astype(np.float64)
    spoilt[100, 1, 2] = value
    for write in WRITERS.values():
        cloud = read(write(spoilt), tmp_path)
        assert len(cloud.points) == 3600 and np.isfinite(cloud.points).all()


@pytest.mark.parametrize("content", [stl(MODEL[:0]), b"solid nothing\nendsolid nothing\n"], ids=WRITERS)
def test_an_stl_without_facets_is_refused(content: bytes, tmp_path: Path) -> None:
    assert "it holds no facets" in refused(content, tmp_path)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_truncated_stl_is_refused_at_every_length(kind: str, tmp_path: Path) -> None:
    content = WRITERS[kind](MODEL)
    for length in sorted({len(content) * tenth // 10 for tenth in range(10)} | {60, 83, 84, len(content) - 15}):
        refused(content[:length], tmp_path)


@pytest.mark.parametrize("said", [1, 11, 13, 4_000_000_000])
def test_an_stl_that_lies_about_its_facets_is_refused(said: int, tmp_path: Path) -> None:
    text = refused(stl(MODEL, said=said), tmp_path)
    assert f"its header says {said:,} facets of 50 bytes, and 600 bytes follow" in text
    assert ("cut off" in text) == (said > 12)


def test_corners_that_make_no_whole_facets_are_refused(tmp_path: Path) -> None:
    content = stl_text(MODEL).replace(b"vertex", b"comment", 1)
    assert "it holds 35 corners, which make no whole facets" in refused(content, tmp_path)


def test_a_vertex_without_three_numbers_is_refused(tmp_path: Path) -> None:
    for wrong in (b"vertex 1 2\n", b"vertex 1 2 three\n"):
        content = stl_text(MODEL).replace(b"endsolid", wrong + b"endsolid")
        assert "one of its lines 'vertex' holds no three numbers" in refused(content, tmp_path)


@pytest.mark.parametrize("kind", WRITERS)
def test_more_facets_than_are_read_are_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meshes, "_MAX_FACETS", 11)
    assert "it holds 12 facets or more, more than" in refused(WRITERS[kind](MODEL), tmp_path)


def test_far_coordinates_written_as_text_are_refused(tmp_path: Path) -> None:
    far = MODEL.astype(np.float64) / 10 + np.array([3e6 + 1 / 3, 0, 0])
    assert "float32 would move points by" in refused(stl_text(far), tmp_path)


# OBJ


def test_an_obj_without_faces_is_a_cloud_of_its_vertices(tmp_path: Path) -> None:
    cloud = read(obj(POINTS), tmp_path, "scan.obj")
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert cloud.kept is not None and len(cloud.kept) == 60 and cloud.normals is None


def test_vertices_may_carry_weights_and_colours(tmp_path: Path) -> None:
    coloured = np.hstack([POINTS, np.full((60, 3), 0.5, np.float32)])
    coloured[30:, 3:] = 1
    content = obj(coloured).replace(b" 1 1 1\n", b" 1\n")
    np.testing.assert_array_equal(read(content, tmp_path, "scan.obj").points, POINTS)


def test_as_many_normals_as_vertices_belong_to_them_where_there_are_no_faces(tmp_path: Path) -> None:
    lines = b"".join(b"vn %.9g %.9g %.9g\n" % tuple(row) for row in normals_of(POINTS).tolist())
    cloud = read(obj(POINTS) + lines, tmp_path, "scan.obj")
    assert cloud.normals is not None
    np.testing.assert_allclose(cloud.normals, normals_of(POINTS), atol=1e-6)
    assert read(obj(POINTS) + lines[: lines.rindex(b"vn")], tmp_path, "scan.obj").normals is None


def sides(cloud: Cloud) -> list[int]:
    """How many points lie on each side of the cube, each with a normal that looks outwards."""
    assert cloud.normals is not None
    axis = np.abs(cloud.normals).argmax(axis=1)
    rows = np.arange(len(axis))
    np.testing.assert_allclose(cloud.normals[rows, axis], cloud.points[rows, axis] - 1, atol=1e-6)
    return [int(((axis == side) & (cloud.points[:, side] == place)).sum()) for side in range(3) for place in (0, 2)]


@pytest.mark.parametrize("form", ["{0}", "{0}/7", "{0}//3", "{0}/7/3", "-{1}", "-{1}/-2/-1"])
@pytest.mark.parametrize("polygons", [SQUARES, halves(SQUARES), SQUARES[:3] + halves(SQUARES[3:])], ids=["4", "3", "mixed"])
def test_every_way_to_write_a_face_gives_the_same_cube(form: str, polygons: list[list[int]], tmp_path: Path) -> None:
    written = [[form.format(corner + 1, 8 - corner) for corner in polygon] for polygon in polygons]
    found = sides(read(obj(CUBE, written), tmp_path, "cube.obj"))
    assert found == pytest.approx([SAMPLED / 6] * 6, rel=0.01)


def test_corners_below_zero_count_back_from_where_the_face_stands(tmp_path: Path) -> None:
    lines = [f"v {x:g} {y:g} {z:g}" for square in SQUARES for x, y, z in CUBE[square].tolist()]
    blocks = ["\n".join([*lines[start : start + 4], "f -4 -3 -2 -1"]) for start in range(0, 24, 4)]
    assert sides(read("\n".join(blocks).encode(), tmp_path, "cube.obj")) == pytest.approx([SAMPLED / 6] * 6, rel=0.01)


def test_odd_line_ends_within_faces_do_not_shift_what_they_count_from(tmp_path: Path) -> None:
    faces = [[f"-{8 - corner}" for corner in square] for square in SQUARES]
    content = obj(CUBE, [*faces[:3], [*faces[3], "\r#\x0b"], [-1, -2], *faces[4:]])
    assert sides(read(content, tmp_path, "cube.obj")) == pytest.approx([SAMPLED / 6] * 6, rel=0.01)


def test_a_scan_saved_as_obj_gives_its_vertices(tmp_path: Path) -> None:
    cloud = read(obj(SHEET, [[corner + 1 for corner in face] for face in FACES]), tmp_path, "scan.obj")
    np.testing.assert_array_equal(cloud.points, SHEET)
    assert cloud.kept is not None and cloud.normals is not None and (cloud.normals[:, 2] > 0.8).all()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"# nothing\n", "it holds no vertices"),
        (b"", "the file is empty"),
        (b"v 1 2\n", "one of its lines 'v' holds no three numbers"),
        (b"v 1 2 3\nv 1 2 z\n", "one of its lines 'v' holds no three numbers"),
        (obj(CUBE, [[1, 2, 9]]), "a face names vertex 8, and there are 8 counted from 0"),
        (obj(CUBE, [[1, 2, 0]]), "a face names vertex -1"),
        (obj(CUBE, [[1, 2, "g"]]), "one of its faces holds something that is no number"),
        (b"\x64\x86\x05\x00\0\0\0\0object code", "it holds zero bytes"),
        (obj(np.full((5, 3), np.nan)), "all of its 5 points are NaN or infinite"),
    ],
)
def test_what_is_no_mesh_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    assert words in refused(content, tmp_path, "part.obj")


def test_more_vertices_than_are_read_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from amiss.data import cloud

    monkeypatch.setattr(meshes, "MAX_POINTS", 59)
    monkeypatch.setattr(cloud, "MAX_POINTS", 59)
    assert "it holds 60 vertices, more than" in refused(obj(POINTS), tmp_path, "part.obj")


def test_damage_anywhere_is_refused_or_read_but_never_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface, "SAMPLED", 500)
    rng = np.random.default_rng(0)
    small, faces = sheet(12)
    corners = small[np.array(faces)]
    whole = {
        "binary.stl": stl(corners),
        "ascii.stl": stl_text(corners),
        "mesh.obj": obj(small, [[corner + 1 for corner in face] for face in faces]),
    }
    for name, content in whole.items():
        for attempt in range(30):
            damaged = bytearray(content)
            if attempt % 2:
                damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
            else:
                start = int(rng.integers(len(damaged)))
                del damaged[start : start + int(rng.integers(1, 60))]
            try:
                assert len(read_cloud(files.written(tmp_path / name, bytes(damaged))).digest) == 32
            except UnreadableFile:
                continue
