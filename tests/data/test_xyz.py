"""Points as text: delimiters, decimal commas, headers, further columns, and the line that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.data import cloud as limits
from amiss.data import xyz
from amiss.data.cloud import Cloud
from amiss.data.readers import read_cloud, read_cloud_rows
from amiss.errors import UnreadableFile
from tests.data import files
from tests.data.cloud_files import bowl, normals_of, text

Array = npt.NDArray[Any]

POINTS = bowl()
LABELS = np.arange(60) % 3 == 0
LABELLED = np.column_stack([POINTS, LABELS])
ORIENTED = np.column_stack([POINTS, normals_of(POINTS)])


def read(content: bytes, folder: Path, name: str = "scan.xyz") -> Cloud:
    return read_cloud_rows(files.written(folder / name, content))


def refused(content: bytes, folder: Path, name: str = "scan.xyz") -> str:
    path = files.written(folder / name, content)
    with pytest.raises(UnreadableFile) as caught:
        read_cloud_rows(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: ") and ";" in said
    return said


# how numbers are written


@pytest.mark.parametrize("suffix", ["xyz", "txt", "csv", "asc", "XYZ"])
@pytest.mark.parametrize("delimiter", [" ", "\t", ",", ";", ", ", " ; ", "   "])
def test_every_delimiter_is_found_whatever_the_name(delimiter: str, suffix: str, tmp_path: Path) -> None:
    cloud = read(text(POINTS, delimiter), tmp_path, f"scan.{suffix}")
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert cloud.kept is not None and cloud.kept.all() and cloud.normals is None and not cloud.extra


@pytest.mark.parametrize("delimiter", [" ", "\t", ";", "; "])
def test_decimal_commas_are_read_where_the_comma_does_not_delimit(delimiter: str, tmp_path: Path) -> None:
    content = text(POINTS, delimiter).replace(b".", b",")
    np.testing.assert_array_equal(read(content, tmp_path).points, POINTS)


@pytest.mark.parametrize(("delimiter", "comma"), [(",", False), (";", False), (";", True)])
def test_a_delimiter_at_the_end_of_each_line_is_no_empty_column(delimiter: str, comma: bool, tmp_path: Path) -> None:
    content = text(POINTS, delimiter, end=delimiter + "\n")
    content = content.replace(b".", b",") if comma else content
    cloud = read(content, tmp_path)
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert not cloud.extra


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.replace(b"\n", b"\r\n"),
        lambda content: b"\xef\xbb\xbf" + content,
        lambda content: b"\n\n" + content.replace(b"\n", b"\n\n", 7) + b"\n  \n",
        lambda content: content[:-1],
        lambda content: b"  " + content.replace(b"\n", b" \n  "),
    ],
    ids=["windows line ends", "a byte order mark", "blank lines", "no last line end", "space around the lines"],
)
def test_oddities_of_text_do_no_harm(change: Any, tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(change(text(POINTS)), tmp_path).points, POINTS)


def test_scientific_notation_is_read(tmp_path: Path) -> None:
    cloud = read(b"1e1 -2.5E-1 +3\n4 5 6e0\n", tmp_path)
    assert cloud.points.tolist() == [[10, -0.25, 3], [4, 5, 6]]


@given(
    rows=st.lists(st.tuples(*[st.floats(-1e6, 1e6, width=32)] * 3), max_size=20),
    delimiter=st.sampled_from([" ", ",", ";"]),
)
def test_any_points_come_back(rows: list[tuple[float, ...]], delimiter: str, tmp_path_factory: Any) -> None:
    points = np.array([(0, 0, 0), (1e6, 1e6, 1e6), *rows], np.float32)  # wide enough for float32 to hold the rest
    np.testing.assert_array_equal(read(text(points, delimiter), tmp_path_factory.getbasetemp()).points, points)


# columns


@pytest.mark.parametrize("delimiter", [" ", ","])
def test_a_fourth_column_is_kept_by_its_number(delimiter: str, tmp_path: Path) -> None:
    cloud = read(text(LABELLED, delimiter), tmp_path, "label.txt")
    assert list(cloud.extra) == ["4"]
    np.testing.assert_array_equal(cloud.extra["4"], LABELS)


def test_rows_of_nan_are_dropped_together_with_their_labels(tmp_path: Path) -> None:
    rows = LABELLED.copy()
    rows[[6, 7], [0, 2]] = np.nan, np.inf
    cloud = read(text(rows), tmp_path)
    left = np.delete(np.arange(60), [6, 7])
    np.testing.assert_array_equal(cloud.points, POINTS[left])
    np.testing.assert_array_equal(cloud.extra["4"], LABELS[left])
    assert cloud.kept is not None and np.flatnonzero(~cloud.kept).tolist() == [6, 7]


def test_six_columns_are_normals_where_they_end_in_vectors_of_unit_length(tmp_path: Path) -> None:
    cloud = read(text(ORIENTED), tmp_path)
    assert cloud.normals is not None and not cloud.extra
    np.testing.assert_allclose(cloud.normals, ORIENTED[:, 3:], atol=1e-6)
    coloured = read(text(np.column_stack([POINTS, np.full((60, 3), 200)])), tmp_path)
    assert coloured.normals is None and list(coloured.extra) == ["4", "5", "6"]


HEADERS = {
    "x y z label": " ", "X,Y,Z,Label": ",", '"x","y","z","label"': ",", "x;y;z;label": ";", "# x y z label": " ",
    "// X Y Z Label": " ", "//X,Y,Z,Label": ",", "X [mm]\tY [mm]\tZ [mm]\tlabel": "\t", "x (mm); y (mm); z (mm); label": ";",
    "X [mm] Y [mm] Z [mm] label": " ", "x_mm,y_mm,z_mm,label": ",", "Points:0,Points:1,Points:2,label": ",",
}  # fmt: skip


@pytest.mark.parametrize("header", HEADERS)
def test_a_header_names_the_columns(header: str, tmp_path: Path) -> None:
    cloud = read(header.encode() + b"\n" + text(LABELLED, HEADERS[header]), tmp_path, "scan.csv")
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert list(cloud.extra) == ["label"]
    np.testing.assert_array_equal(cloud.extra["label"], LABELS)


def test_a_header_puts_columns_of_any_order_in_their_place(tmp_path: Path) -> None:
    normals = normals_of(POINTS)
    rows = np.column_stack([LABELS, POINTS[:, [2, 0]], normals[:, ::-1], POINTS[:, 1]])
    cloud = read(b"label,z,x,nz,ny,nx,y\n" + text(rows, ","), tmp_path)
    np.testing.assert_array_equal(cloud.points, POINTS)
    assert cloud.normals is not None and list(cloud.extra) == ["label"]
    np.testing.assert_allclose(cloud.normals, normals, atol=1e-6)


def test_lines_of_comment_above_the_numbers_are_passed_over(tmp_path: Path) -> None:
    content = b"# made on a Tuesday\n# x y z\n# 60 points, all good\n\n" + text(LABELLED)
    cloud = read(content, tmp_path)
    np.testing.assert_array_equal(cloud.points, POINTS)  # the comment names three columns of four, so it is no header


def test_a_first_line_may_be_the_number_of_points(tmp_path: Path) -> None:
    np.testing.assert_array_equal(read(b"60\n" + text(POINTS), tmp_path).points, POINTS)
    for said in (59, 61):
        assert f"its first line says {said} points, and 60 are there" in refused(b"%d\n" % said + text(POINTS), tmp_path)


def test_a_text_becomes_a_sample_without_its_labels(tmp_path: Path) -> None:
    sample = read_cloud(files.written(tmp_path / "scan.txt", text(LABELLED)))
    assert sample.points is not None and sample.points.shape == (60, 3)


# what is refused


@pytest.mark.parametrize(("line", "held"), [(b"1 2", 2), (b"1 2 3 4", 4), (b"1", 1)])
def test_rows_of_varying_width_are_named_by_their_line(line: bytes, held: int, tmp_path: Path) -> None:
    lines = [b"# x y z", *text(POINTS).splitlines()]
    lines.insert(41, line)
    said = refused(b"\n".join(lines), tmp_path)
    assert f"line 42 holds {held} values where others hold 3: {line.decode()!r}; mend that line" in said


def test_a_word_among_the_numbers_is_named_by_its_line(tmp_path: Path) -> None:
    lines = text(POINTS, ",").splitlines()
    lines[41] = b"1,2,oops"
    assert "line 42 holds something that is no number: '1,2,oops'" in refused(b"\n".join(lines), tmp_path)
    lines[41] = b"1,,2"
    assert "line 42 holds something that is no number: '1,,2'" in refused(b"\n".join(lines), tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"\n \n", "it holds no points"),
        (b"# only a comment\n", "it holds no points"),
        (b"x,y,z\n", "it holds no points"),
        (b"a,b,c\n1,2,3\n", "'a,b,c' are no three numbers and name no x, y and z; give rows of numbers below x,y,z"),
        (b"x,y,w\n1,2,3\n", "'x,y,w' are no three numbers and name no x, y and z"),
        (b"x,y,z\nx,y,z\n1,2,3\n", "'x,y,z' are no three numbers"),
        (b"x,y,z\n1,2,3,4\n", "its header names 3 columns, its first row holds 4 numbers"),
        (b"1 2\n3 4\n", "'1 2' are no three numbers"),
        (b"This part was scanned twice.\n", "'This part was scanned twice.' are no three numbers"),
        (b"nan nan nan\nnan 1 2\n", "all of its 2 points are NaN or infinite"),
        ("1 2 3\n".encode("utf-16"), "it holds zero bytes, as UTF-16 or binary files do; save it as text in UTF-8"),
        (b"1 2 3\n4 5 \xff\n", "line 2 holds something that is no number"),
        (files.encoded(files.colours(), ".png"), "it is a PNG picture, not a point cloud"),
    ],
)
def test_what_is_no_cloud_is_refused(content: bytes, words: str, tmp_path: Path) -> None:
    assert words in refused(content, tmp_path)


def test_coordinates_that_float32_would_blur_are_refused(tmp_path: Path) -> None:
    rows = POINTS.astype(np.float64) / 100 + np.array([691_000.123, 5_334_000.456, 520])
    said = refused(b"".join(b"%.4f %.4f %.4f\n" % tuple(row) for row in rows), tmp_path)
    assert "subtract the same offset from all files" in said


def test_a_text_too_large_by_its_size_is_refused_before_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xyz, "MAX_POINTS", 1000)
    monkeypatch.setattr(limits, "MAX_POINTS", 1000)
    monkeypatch.setattr(xyz, "read_rows", lambda *_, **__: pytest.fail("it was read"))
    said = refused(b"1 2 3\n" * 20_000, tmp_path)
    assert "it holds 20,000 points or so, by its size, more than" in said


def test_a_text_that_turns_out_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xyz, "MAX_POINTS", 60_000)
    monkeypatch.setattr(limits, "MAX_POINTS", 60_000)
    slow_start = b"1.00000000000 2.0000000000000000 3.0000000000000\n" * 2000  # the first rows are the longest
    assert "it holds 60,001 points, more than" in refused(slow_start + b"1 2 3\n" * 100_000, tmp_path)


def test_damage_anywhere_is_refused_or_read_but_never_crashes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for whole in (text(LABELLED), b"x,y,z,label\n" + text(LABELLED, ",")):
        for attempt in range(60):
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
