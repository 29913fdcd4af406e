"""PLY files: three kinds of data, any types and order of properties, faces of any length, and headers that lie."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.data import surface
from amiss.data.cloud import Cloud
from amiss.data.readers import read_cloud_rows
from amiss.data.surface import SAMPLED
from amiss.errors import UnreadableFile
from tests.data import files
from tests.data.cloud_files import CUBE, SQUARES, bowl, halves, normals_of, packed, ply, ply_cloud, ply_mesh, sheet, text

Array = npt.NDArray[Any]

POINTS = bowl()
KINDS = ("ascii", "binary_little_endian", "binary_big_endian")
MESHES = [SQUARES, halves(SQUARES), SQUARES[:3] + halves(SQUARES[3:]), halves(SQUARES[:3]) + SQUARES[3:]]
XYZ = "property float x\nproperty float y\nproperty float z\n"


def read(content: bytes, folder: Path) -> Cloud:
    return read_cloud_rows(files.written(folder / "scan.ply", content))


def refused(content: bytes, folder: Path) -> str:
    path = files.written(folder / "scan.ply", content)
    with pytest.raises(UnreadableFile) as caught:
        read_cloud_rows(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and ";" in said
    return said


# clouds


@pytest.mark.parametrize("kind", KINDS)
def test_points_come_out_exactly_and_in_order(kind: str, tmp_path: Path) -> None:
    cloud = read(ply_cloud(POINTS, kind), tmp_path)
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert cloud.kept is not None and cloud.kept.all() and cloud.normals is None and not cloud.extra


PROPERTIES = [("u1", "red"), ("f8", "z"), ("f4", "ny"), ("f4", "nx"), ("f4", "nz"), ("i2", "label"), ("f4", "x"), ("f4", "y")]
NAMES = {"u1": "uchar", "f8": "float64", "f4": "float", "i2": "int16"}


@pytest.mark.parametrize("kind", KINDS)
def test_properties_in_any_order_and_type_are_found(kind: str, tmp_path: Path) -> None:
    normals = normals_of(POINTS)
    given = {"x": POINTS[:, 0], "y": POINTS[:, 1], "z": POINTS[:, 2], "nx": normals[:, 0], "ny": normals[:, 1]}
    given |= {"nz": normals[:, 2], "red": np.full(60, 200), "label": np.arange(60) - 30}
    columns = [given[name] for _, name in PROPERTIES]
    order = "<" if kind == "binary_little_endian" else ">"
    body = text(np.stack(columns, axis=1)) if kind == "ascii" else packed([order + code for code, _ in PROPERTIES], columns)
    lines = "\n".join(f"property {NAMES[code]} {name}" for code, name in PROPERTIES)
    cloud = read(ply(f"element vertex 60\n{lines}", body, kind), tmp_path)
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert cloud.normals is not None and list(cloud.extra) == ["label"]
    np.testing.assert_allclose(cloud.normals, normals, atol=1e-6)
    np.testing.assert_array_equal(cloud.extra["label"], np.arange(60) - 30)


@pytest.mark.parametrize("kind", KINDS)
def test_elements_before_and_behind_the_vertices_are_passed_over(kind: str, tmp_path: Path) -> None:
    camera = "element camera 2\nproperty int a\nproperty list uchar short b"
    elements = f"{camera}\nelement vertex 60\n{XYZ}element edge 1\nproperty int v1"
    order = {"ascii": "", "binary_little_endian": "<", "binary_big_endian": ">"}[kind]
    if order:
        cameras = struct.pack(f"{order}iB2hiB0h", 7, 2, 8, 9, 7, 0)
        body = cameras + POINTS.astype(order + "f4").tobytes() + struct.pack(order + "i", 5)
    else:
        body = b"7 2 8 9\n7 0\n" + text(POINTS) + b"5\n"
    np.testing.assert_array_equal(read(ply(elements, body, kind), tmp_path).points, POINTS)


def test_a_header_with_windows_line_ends_is_read(tmp_path: Path) -> None:
    content = ply(f"element vertex 60\n{XYZ}obj_info scanner\n\n", POINTS.tobytes(), end="\r\n")
    np.testing.assert_array_equal(read(content, tmp_path).points, POINTS)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_nan_and_infinity_are_dropped_and_told(kind: str, tmp_path: Path) -> None:
    points = POINTS.copy()
    points[3, 0], points[10, 2] = np.nan, -np.inf
    cloud = read(ply_cloud(points, kind), tmp_path)
    assert cloud.kept is not None and np.flatnonzero(~cloud.kept).tolist() == [3, 10]
    np.testing.assert_array_equal(cloud.points, POINTS[cloud.kept])


# meshes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("polygons", MESHES, ids=["4", "3", "4 and 3", "3 and 4"])
def test_faces_of_any_length_make_the_same_surface(kind: str, polygons: list[list[int]], tmp_path: Path) -> None:
    cloud = read(ply_mesh(CUBE, polygons, kind), tmp_path)
    assert cloud.points.shape == (SAMPLED, 3) and cloud.kept is None and cloud.normals is not None
    on_side = np.isclose(np.abs(cloud.points - 1), 1, atol=1e-6)
    assert (on_side.sum(axis=1) >= 1).all()
    axis = np.abs(cloud.normals).argmax(axis=1)
    rows = np.arange(SAMPLED)
    np.testing.assert_allclose(cloud.normals[rows, axis], cloud.points[rows, axis] - 1, atol=1e-6)  # outwards
    assert np.bincount(axis, minlength=3).tolist() == pytest.approx([SAMPLED / 3] * 3, rel=0.01)


@pytest.mark.parametrize("kind", KINDS)
def test_a_scan_saved_as_mesh_gives_its_vertices_with_normals(kind: str, tmp_path: Path) -> None:
    points, faces = sheet()
    cloud = read(ply_mesh(points, faces, kind), tmp_path)
    np.testing.assert_array_equal(cloud.points, points)
    assert cloud.kept is not None and cloud.kept.all() and cloud.normals is not None and (cloud.normals[:, 2] > 0.8).all()


def test_scalars_beside_the_corners_do_no_harm(tmp_path: Path) -> None:
    points, faces = sheet()
    elements = (
        f"element vertex {len(points)}\n{XYZ}element face {len(faces)}\nproperty uchar flag\n"
        "property list uchar uint vertex_index\nproperty float quality"
    )
    binary = b"".join(struct.pack("<BB3If", 9, 3, *face, 0.5) for face in faces)
    lines = "".join(f"9 3 {a} {b} {c} 0.5\n" for a, b, c in faces).encode()
    for content in (ply(elements, points.tobytes() + binary), ply(elements, text(points) + lines, "ascii")):
        cloud = read(content, tmp_path)
        assert cloud.normals is not None  # from faces that were read right: all of them look up
        assert (cloud.normals[:, 2] > 0.8).all()


def test_a_mesh_without_faces_is_a_cloud_of_its_vertices(tmp_path: Path) -> None:
    for kind in KINDS:
        np.testing.assert_array_equal(read(ply_mesh(CUBE, [], kind), tmp_path).points, CUBE)


@pytest.mark.parametrize(("lost", "side"), [(7, 0), (0, 2)])
def test_faces_at_a_vertex_that_is_no_point_are_left_out(lost: int, side: int, tmp_path: Path) -> None:
    points = CUBE.copy()
    points[lost] = np.nan  # the three squares at the opposite corner remain
    cloud = read(ply_mesh(points, SQUARES), tmp_path)
    assert ((cloud.points == side).any(axis=1)).all()
    assert [(cloud.points[:, axis] == side).sum() for axis in range(3)] == pytest.approx([SAMPLED / 3] * 3, rel=0.01)


@pytest.mark.parametrize("corner", [8, -1])
def test_a_face_that_names_a_vertex_that_is_not_there_is_refused(corner: int, tmp_path: Path) -> None:
    assert f"a face names vertex {corner}, and there are 8" in refused(ply_mesh(CUBE, [[0, 1, corner]]), tmp_path)


# what is refused


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", ["cloud", "mesh", "mixed"])
def test_a_truncated_file_is_refused_at_every_length(kind: str, content: str, tmp_path: Path) -> None:
    polygons = {"mesh": SQUARES, "mixed": SQUARES[:3] + halves(SQUARES[3:])}
    whole = ply_cloud(POINTS, kind) if content == "cloud" else ply_mesh(CUBE, polygons[content], kind)
    end = whole.rindex(b" ") if kind == "ascii" else len(whole) - 1  # a cut within the last number cannot be told
    for length in sorted({len(whole) * tenth // 10 for tenth in range(10)} | {end}):
        refused(whole[:length], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_only_and_an_empty_cloud_are_refused(kind: str, tmp_path: Path) -> None:
    said = refused(ply_cloud(POINTS[:0], kind, said=60), tmp_path)
    assert "it is cut off: its header says 60 of vertex, and 0 bytes follow" in said
    assert "it holds no points" in refused(ply_cloud(POINTS[:0], kind), tmp_path)
    assert "the file is empty" in refused(b"", tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", [30, 59, 61, 1_000_000])
def test_a_header_that_lies_about_its_points_is_refused(kind: str, said: int, tmp_path: Path) -> None:
    assert f"its header says {said:,} of vertex" in refused(ply_cloud(POINTS, kind, said=said), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_that_lies_about_its_faces_is_refused(kind: str, tmp_path: Path) -> None:
    content = ply_mesh(CUBE, SQUARES, kind)
    for said in (4, 5, 7, 1_000_000):
        refused(content.replace(b"element face 6", b"element face %d" % said), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_more_points_than_are_read_are_refused_by_the_header_alone(kind: str, tmp_path: Path) -> None:
    assert "it holds 50,000,000 points, more than the 20 million" in refused(ply_cloud(POINTS, kind, said=50_000_000), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_count_takes_no_memory_before_it_is_held_against_the_file(kind: str, tmp_path: Path) -> None:
    many_faces = ply_mesh(CUBE, SQUARES, kind).replace(b"element face 6", b"element face 999999999")
    read(ply_mesh(CUBE, [], kind), tmp_path)  # imports lie outside the measurement
    tracemalloc.start()
    try:
        for content in (ply_cloud(POINTS, kind, said=19_999_999), many_faces):
            assert "it is cut off: its header says" in refused(content, tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_list_that_claims_more_corners_than_the_file_has_bytes_is_refused(tmp_path: Path) -> None:
    elements = f"element vertex 8\n{XYZ}element face 1\nproperty list uint int vertex_indices"
    body = CUBE.tobytes() + struct.pack("<Iiii", 2**31, 0, 1, 2)
    assert "it is cut off within its face data" in refused(ply(elements, body), tmp_path)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b"property float x", b"property float w", "it has no field x; its fields are: w, y, z"),
        (b"element vertex 60\n", b"element vertex many\n", "its header is damaged: 'element vertex many'"),
        (b"element vertex 60\n", b"element vertex -60\n", "its header is damaged: 'element vertex -60'"),
        (b"element vertex 60\n", b"element corner 60\n", "it has no element vertex"),
        (b"property float z", b"property list", "its header is damaged: 'property list'"),
        (b"property float z", b"property real z", "its header is damaged: 'property real z'"),
        (b"property float z", b"property list uchar float z", "its vertices hold a list, z"),
        (b"binary_little_endian", b"middle_endian", "its format is none of ascii, binary_little_endian, binary_big_endian"),
    ],
)
def test_a_damaged_header_is_told(before: bytes, after: bytes, words: str, tmp_path: Path) -> None:
    content = ply_cloud(POINTS)
    assert before in content
    assert words in refused(content.replace(before, after), tmp_path)


def test_a_header_without_an_end_is_told(tmp_path: Path) -> None:
    content = ply_cloud(POINTS)
    assert "its header has no end" in refused(content[: content.index(b"end_header")], tmp_path)


def test_rows_of_another_width_are_named_by_their_line(tmp_path: Path) -> None:
    lines = ply_cloud(POINTS, "ascii").splitlines()
    lines[20] += b" 1"
    assert "line 21 holds 4 values where others hold 3" in refused(b"\n".join(lines), tmp_path)


def test_a_face_that_holds_more_corners_than_it_says_is_refused(tmp_path: Path) -> None:
    content = ply_mesh(CUBE, SQUARES, "ascii")
    for row in (b"3 0 1 3 2\n", b"4 0 1 3 2 7\n"):
        assert "face data" in refused(content.replace(b"4 0 1 3 2\n", row), tmp_path)
    assert "face data" in refused(content.replace(b"\n4 ", b"\n3 "), tmp_path)  # all of them alike


@pytest.mark.parametrize("row", [b"3 0 one 2", b"3 0 1 nan"])
def test_words_among_the_corners_are_refused(row: bytes, tmp_path: Path) -> None:
    content = ply_mesh(CUBE, halves(SQUARES), "ascii").replace(b"3 0 1 3\n", row + b"\n")
    assert "its face data hold something that is no number" in refused(content, tmp_path)


def test_damage_anywhere_is_refused_or_read_but_never_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surface, "SAMPLED", 500)
    rng = np.random.default_rng(0)
    points, faces = sheet(12)
    for kind in KINDS:
        whole = ply_mesh(points, faces, kind)
        for attempt in range(60):
            damaged = bytearray(whole)
            if attempt % 2:
                damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
            else:
                start = int(rng.integers(len(damaged)))
                del damaged[start : start + int(rng.integers(1, 60))]
            try:
                assert len(read(bytes(damaged), tmp_path).points) <= SAMPLED
            except UnreadableFile:
                continue


def test_a_picture_and_another_cloud_under_this_name_are_told_by_their_content(tmp_path: Path) -> None:
    assert "it is a JPEG picture, not a point cloud" in refused(files.encoded(files.colours(), ".jpg"), tmp_path)
    assert "does not begin as a PLY file does" in refused(text(POINTS), tmp_path)
