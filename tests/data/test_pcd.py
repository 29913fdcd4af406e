"""PCD files: every kind of data, fields in any order and type, and every way in which a header can lie."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.data.cloud import Cloud
from amiss.data.readers import read_cloud, read_cloud_rows
from amiss.errors import UnreadableFile
from tests.data import files
from tests.data.cloud_files import bowl, compressed, literals, normals_of, packed, pcd, pcd_header, text

Array = npt.NDArray[Any]

POINTS = bowl()
KINDS = ("ascii", "binary", "binary_compressed")


def read(content: bytes, folder: Path) -> Cloud:
    return read_cloud_rows(files.written(folder / "scan.pcd", content))


def refused(content: bytes, folder: Path) -> str:
    path = files.written(folder / "scan.pcd", content)
    with pytest.raises(UnreadableFile) as caught:
        read_cloud_rows(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and ";" in said
    return said


# what comes out


@pytest.mark.parametrize("kind", KINDS)
def test_points_come_out_exactly_and_in_order(kind: str, tmp_path: Path) -> None:
    cloud = read(pcd(POINTS, kind), tmp_path)
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert cloud.points.dtype == np.float32 and cloud.kept is not None and cloud.kept.all()
    assert cloud.normals is None and cloud.pixels is None and cloud.shape is None and not cloud.extra


def test_a_cloud_becomes_a_sample_with_points_only(tmp_path: Path) -> None:
    path = files.written(tmp_path / "scan.pcd", pcd(POINTS))
    sample = read_cloud(path, part="gear", group="left")
    assert (sample.id, sample.part, sample.group, sample.sees) == (str(path), "gear", "left", {"points"})
    assert sample.points is not None and sample.points.shape == (60, 3)
    assert read_cloud(path, id="7").id == "7"


def mixed(points: Array) -> tuple[tuple[str, ...], list[Array]]:
    """Columns in the order of MIXED: padding, z as double, normals, a byte label, x and y with three numbers between them."""
    normal, count = normals_of(points), len(points)
    beside = [np.arange(count), points[:, 2], *normal.T, np.arange(count) % 2, points[:, 0]]
    types = ("<u2", "<f8", "<f4", "<f4", "<f4", "u1", "<f4", "<i4", "<i4", "<i4", "<f4", "<u4")
    return types, [*beside, *np.full((3, count), 7), points[:, 1], np.full(count, 0xFF00FF)]


MIXED = (
    "_ Z normal_x normal_y normal_z label x tags y rgb",
    "2 8 4 4 4 1 4 4 4 4",
    "U F F F F U F I F U",
    "1 1 1 1 1 1 1 3 1 1",
)


@pytest.mark.parametrize("kind", KINDS)
def test_fields_in_any_order_size_type_and_count_are_found(kind: str, tmp_path: Path) -> None:
    types, columns = mixed(POINTS)
    head = pcd_header(*MIXED, width=len(POINTS), data=kind)
    cast = [np.asarray(column).astype(dtype) for dtype, column in zip(types, columns, strict=True)]
    body = {
        "ascii": text(np.stack([column.astype(np.float64) for column in cast], axis=1)),
        "binary": packed(types, columns),
        "binary_compressed": compressed(
            b"".join(column.tobytes() for column in [*cast[:7], np.stack(cast[7:10], axis=1), *cast[10:]])
        ),
    }
    cloud = read(head + body[kind], tmp_path)
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert cloud.normals is not None
    np.testing.assert_allclose(cloud.normals, normals_of(POINTS), atol=1e-6)
    assert list(cloud.extra) == ["label"]  # colours, padding and fields of several numbers are passed over
    np.testing.assert_array_equal(cloud.extra["label"], np.arange(60) % 2)


def test_doubles_and_whole_numbers_become_float32(tmp_path: Path) -> None:
    whole = np.rint(POINTS)
    content = pcd_header("x y z", "8 2 4", "F I I", "1 1 1", 60) + packed(["<f8", "<i2", "<i4"], whole.T)
    np.testing.assert_array_equal(read(content, tmp_path).points, whole)


def test_old_headers_without_count_and_points_are_read(tmp_path: Path) -> None:
    head = b"# .PCD v.6\r\nCOLUMNS x y z\r\nSIZE 4 4 4\r\nTYPE F F F\r\nWIDTH 60\r\nHEIGHT 1\r\n# a note\r\nDATA ascii\r\n"
    np.testing.assert_array_equal(read(head + text(POINTS, end="\r\n"), tmp_path).points, POINTS)


def test_a_line_end_behind_binary_points_does_no_harm(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(pcd(POINTS) + b"\n", tmp_path).points, POINTS)


def test_compressed_data_without_references_are_read(tmp_path: Path) -> None:
    data = literals(POINTS.T.tobytes())
    head = pcd_header("x y z", "4 4 4", "F F F", "1 1 1", 60, data="binary_compressed")
    cloud = read(head + struct.pack("<II", len(data), POINTS.nbytes) + data, tmp_path)
    np.testing.assert_array_equal(cloud.points, POINTS)


@pytest.mark.parametrize("kind", KINDS)
def test_an_organised_cloud_keeps_the_pixel_of_each_point(kind: str, tmp_path: Path) -> None:
    points = POINTS.copy()
    points[7], points[8], points[25] = np.nan, 0, (0, 1, 0)
    cloud = read(pcd(points, kind, height=4), tmp_path)
    assert cloud.shape == (4, 15) and cloud.pixels is not None and cloud.pixels.dtype == np.int32
    assert len(cloud.points) == len(cloud.pixels) == 58
    np.testing.assert_array_equal(points.reshape(4, 15, 3)[tuple(cloud.pixels.T)], cloud.points)


# rows that are no points


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_nan_and_infinity_are_dropped_with_what_belongs_to_them(kind: str, tmp_path: Path) -> None:
    points = POINTS.copy()
    points[3, 0], points[10, 2], points[59, 1] = np.nan, np.inf, -np.inf
    labels = np.arange(60)
    cloud = read(pcd(points, kind), tmp_path)
    left = np.setdiff1d(labels, [3, 10, 59])
    assert cloud.kept is not None and cloud.kept.dtype == np.bool_
    np.testing.assert_array_equal(labels[cloud.kept], left)
    np.testing.assert_array_equal(cloud.points, POINTS[left])


def test_zeros_are_points_where_the_cloud_has_no_grid(tmp_path: Path) -> None:
    points = POINTS.copy()
    points[5] = 0
    assert len(read(pcd(points), tmp_path).points) == 60


def test_exact_duplicates_are_kept(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(pcd(POINTS[[0, 0, 1, 0]]), tmp_path).points, POINTS[[0, 0, 1, 0]])


@pytest.mark.parametrize("spoilt", [np.nan, np.inf, 0])
def test_normals_are_left_out_where_one_point_has_none(spoilt: float, tmp_path: Path) -> None:
    normals = normals_of(POINTS)
    normals[4] = spoilt
    content = pcd_header("x y z normal_x normal_y normal_z", "4 " * 6, "F " * 6, "1 " * 6, 60)
    cloud = read(content + np.hstack([POINTS, normals]).tobytes(), tmp_path)
    assert cloud.normals is None and len(cloud.points) == 60


def test_a_point_that_is_dropped_needs_no_normal(tmp_path: Path) -> None:
    points, normals = POINTS.copy(), normals_of(POINTS) * 3
    points[4] = normals[4] = np.nan
    content = pcd_header("x y z normal_x normal_y normal_z", "4 " * 6, "F " * 6, "1 " * 6, 60)
    cloud = read(content + np.hstack([points, normals]).tobytes(), tmp_path)
    assert cloud.normals is not None
    np.testing.assert_allclose(np.linalg.norm(cloud.normals, axis=1), 1, atol=1e-6)


# what float32 cannot hold


def doubles(points: Array) -> bytes:
    return pcd_header("x y z", "8 8 8", "F F F", "1 1 1", len(points)) + points.astype("<f8").tobytes()


def test_coordinates_that_float32_would_blur_are_refused_and_not_shifted(tmp_path: Path) -> None:
    said = refused(doubles(POINTS / 100 + [500_000, 5_400_000, 300]), tmp_path)
    assert "its coordinates reach 5.4e+06 with an extent of 0." in said and "would move points by" in said
    assert said.endswith("subtract the same offset from all files of the set, so that the part lies near the origin")


def test_a_part_a_few_extents_from_the_origin_is_read(tmp_path: Path) -> None:
    far = POINTS.astype(np.float64) + np.array([300, -200, 100])
    np.testing.assert_allclose(read(doubles(far), tmp_path).points, far, rtol=1e-6)


def test_far_coordinates_that_float32_holds_exactly_are_read(tmp_path: Path) -> None:
    far = np.rint(POINTS * 4).astype(np.float64) + 2**20
    np.testing.assert_array_equal(read(doubles(far), tmp_path).points, far)


@pytest.mark.parametrize("huge", [1e300, 3.4028234663852886e38, -1e19])
def test_coordinates_beyond_all_measure_count_as_infinite(huge: float, tmp_path: Path) -> None:
    points = POINTS.astype(np.float64)
    points[2, 1] = huge
    assert len(read(doubles(points), tmp_path).points) == 59


# what is refused


@pytest.mark.parametrize("kind", KINDS)
def test_a_truncated_file_is_refused_at_every_length(kind: str, tmp_path: Path) -> None:
    content = pcd(POINTS, kind)
    end = content.rindex(b" ") if kind == "ascii" else len(content) - 5  # a cut within the last number cannot be told
    lengths = {len(content) * tenth // 10 for tenth in range(10)} | {end, content.index(b"DATA")}
    for length in sorted(lengths):
        refused(content[:length], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_a_header_only_is_refused(kind: str, tmp_path: Path) -> None:
    content = pcd(POINTS, kind)
    assert "it is cut off" in refused(content[: content.index(kind.encode() + b"\n") + len(kind) + 1], tmp_path)


def test_an_empty_file_and_an_empty_cloud_are_refused(tmp_path: Path) -> None:
    assert "the file is empty" in refused(b"", tmp_path)
    assert "it holds no points" in refused(pcd_header("x y z", "4 4 4", "F F F", "1 1 1", 0), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("said", [30, 59, 61, 1_000_000])
def test_a_header_that_lies_about_its_points_is_refused(kind: str, said: int, tmp_path: Path) -> None:
    assert f"{said:,} points" in refused(pcd(POINTS, kind, said=said), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_more_points_than_are_read_are_refused_by_the_header_alone(kind: str, tmp_path: Path) -> None:
    said = refused(pcd(POINTS, kind, said=50_000_000), tmp_path)
    assert "it holds 50,000,000 points, more than the 20 million that are read; thin it" in said


@pytest.mark.parametrize("kind", KINDS)
def test_a_count_of_points_takes_no_memory_before_it_is_held_against_the_file(kind: str, tmp_path: Path) -> None:
    read(pcd(POINTS, kind), tmp_path)  # imports lie outside the measurement
    tracemalloc.start()
    try:
        said = refused(pcd(POINTS, kind, said=19_999_999), tmp_path)
        assert "19,999,999 points" in said and tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_a_width_and_height_that_do_not_make_the_points_are_refused(tmp_path: Path) -> None:
    head = pcd_header("x y z", "4 4 4", "F F F", "1 1 1", 20, 2, points=60)
    assert "its header says 60 points and 20 x 2" in refused(head + POINTS.tobytes(), tmp_path)


def test_compressed_lengths_that_the_data_cannot_reach_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    head = pcd_header("x y z", "4 4 4", "F F F", "1 1 1", 10_000_000, data="binary_compressed")
    assert "10,000,000 points" in refused(head + struct.pack("<II", 9, 120_000_000) + bytes(9), tmp_path)


def test_corrupt_compressed_data_are_refused(tmp_path: Path) -> None:
    content = bytearray(pcd(POINTS, "binary_compressed"))
    content[content.index(b"compressed\n") + 11 + 8] = 0xFF  # the first byte becomes a reference to nothing
    assert "its compressed data are corrupt" in refused(bytes(content), tmp_path)


def test_damage_anywhere_is_refused_or_read_but_never_crashes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in KINDS:
        whole = pcd(POINTS, kind)
        for attempt in range(80):
            damaged = bytearray(whole)
            if attempt % 2:
                damaged[rng.integers(len(damaged))] ^= 1 << int(rng.integers(8))
            else:
                start = int(rng.integers(len(damaged)))
                del damaged[start : start + int(rng.integers(1, 60))]
            try:
                assert len(read(bytes(damaged), tmp_path).points) <= 60
            except UnreadableFile:
                continue


@pytest.mark.parametrize("missing", ["x", "y", "z"])
def test_a_missing_coordinate_is_named_with_the_fields_that_are_there(missing: str, tmp_path: Path) -> None:
    fields = "x y z".replace(missing, "intensity")
    head = pcd_header(fields, "4 4 4", "F F F", "1 1 1", 60)
    said = refused(head + POINTS.tobytes(), tmp_path)
    assert f"it has no field {missing}; its fields are: {fields.replace(' ', ', ')}" in said


def test_an_unknown_kind_of_data_is_named(tmp_path: Path) -> None:
    said = refused(pcd(POINTS).replace(b"DATA binary", b"DATA zipped"), tmp_path)
    assert "of the kind 'zipped', wanted one of ascii, binary, binary_compressed; save it as one of these" in said


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        (b"SIZE 4 4 4", b"SIZE 4 4", "SIZE '4 4', wanted 3 whole numbers"),
        (b"SIZE 4 4 4", b"SIZE 4 4 -4", "SIZE '4 4 -4'"),
        (b"SIZE 4 4 4", b"SIZE 4 4 3", "field z is of type F, size 3"),
        (b"TYPE F F F", b"TYPE F F X", "field z is of type X"),
        (b"TYPE F F F", b"TYPE F F", "3 FIELDS and 2 of TYPE"),
        (b"COUNT 1 1 1", b"COUNT 1 1 0", "count 0"),
        (b"WIDTH 60", b"WIDTH sixty", "WIDTH 'sixty'"),
        (b"FIELDS x y z", b"FIELDS", "SIZE '4 4 4', wanted 0"),
        (b"DATA binary\n", b"", "without a DATA line"),
    ],
)
def test_a_damaged_header_is_told(before: bytes, after: bytes, words: str, tmp_path: Path) -> None:
    content = pcd(POINTS)
    assert before in content
    assert words in refused(content.replace(before, after), tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_points_that_are_all_nan_are_refused(kind: str, tmp_path: Path) -> None:
    assert "all of its 60 points are NaN" in refused(pcd(np.full_like(POINTS, np.nan), kind), tmp_path)


def test_rows_of_another_width_are_named_by_their_line(tmp_path: Path) -> None:
    lines = pcd(POINTS, "ascii").splitlines()
    lines[20] = lines[20].rsplit(b" ", 1)[0]
    assert "line 21 holds 2 values where others hold 3" in refused(b"\n".join(lines), tmp_path)


def test_rows_narrower_than_the_header_says_are_named(tmp_path: Path) -> None:
    head = pcd_header("x y z w", "4 4 4 4", "F F F F", "1 1 1 1", 60, data="ascii")
    assert "line 12 holds 3 values where others hold 4" in refused(head + text(POINTS), tmp_path)


def test_words_among_the_numbers_are_named_by_their_line(tmp_path: Path) -> None:
    lines = pcd(POINTS, "ascii").splitlines()
    lines[20] = b"one 2 3"
    assert "line 21 holds something that is no number: 'one 2 3'" in refused(b"\n".join(lines), tmp_path)


def test_a_picture_a_folder_and_a_foreign_file_are_named_for_what_they_are(tmp_path: Path) -> None:
    assert "it is a PNG picture, not a point cloud" in refused(files.encoded(files.colours(), ".png"), tmp_path)
    assert "does not begin as a PCD file does" in refused(b"hello", tmp_path)
    with pytest.raises(UnreadableFile, match="it is a folder; give the path of a point cloud"):
        read_cloud_rows(tmp_path)
    with pytest.raises(UnreadableFile, match="No such file"):
        read_cloud(tmp_path / "gone.pcd")


@given(
    rows=st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 3), max_size=30),
    kind=st.sampled_from(KINDS),
)
def test_any_points_come_back_from_every_kind(rows: list[tuple[float, ...]], kind: str, tmp_path_factory: Any) -> None:
    points = np.array([(0, 0, 0), (1e6, 1e6, 1e6), *rows], np.float32)  # wide enough for float32 to hold the rest
    folder = tmp_path_factory.getbasetemp()
    np.testing.assert_array_equal(read(pcd(points, kind), folder).points, points)
