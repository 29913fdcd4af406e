"""Clouds written as PLY: read back by our reader and, byte by byte, by the words of the format."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.data.ply_writer import write_ply
from amiss.data.readers import read_cloud_rows
from amiss.errors import BadSample, CannotWrite
from amiss.viz.overlay import heat
from tests.data.cloud_files import bowl, normals_of

Array = npt.NDArray[Any]

POINTS = bowl()
SCORES = np.linspace(-3, 7e5, 60)
COLOURS = heat(SCORES[None], 0, 5e5)[0]


def test_everything_is_written_in_the_order_its_header_says(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", POINTS, scores=SCORES, colours=COLOURS, normals=normals_of(POINTS))
    head, body = (tmp_path / "a.ply").read_bytes().split(b"end_header\n")
    names = [line.split()[-1] for line in head.decode().splitlines() if line.startswith("property")]
    assert head.startswith(b"ply\nformat binary_little_endian 1.0\nelement vertex 60\n")
    assert names == ["x", "y", "z", "nx", "ny", "nz", "red", "green", "blue", "score"]
    rows = np.frombuffer(body, [("floats", "<f4", 6), ("colour", "u1", 3), ("score", "<f4")])
    np.testing.assert_array_equal(rows["floats"], np.hstack([POINTS, normals_of(POINTS)]))
    np.testing.assert_array_equal(rows["colour"], COLOURS)
    np.testing.assert_array_equal(rows["score"], SCORES.astype(np.float32))


def test_what_was_written_comes_back_with_raw_scores(tmp_path: Path) -> None:
    write_ply(tmp_path / "a.ply", POINTS, scores=SCORES, colours=COLOURS)
    cloud = read_cloud_rows(tmp_path / "a.ply")
    np.testing.assert_array_equal(cloud.points, POINTS)
    np.testing.assert_array_equal(cloud.extra["score"], SCORES.astype(np.float32))
    assert list(cloud.extra) == ["score"] and cloud.normals is None


def test_points_alone_are_enough(tmp_path: Path) -> None:
    write_ply(os.fspath(tmp_path / "a.ply"), POINTS.astype(np.float64))
    np.testing.assert_array_equal(read_cloud_rows(tmp_path / "a.ply").points, POINTS)


def test_the_colours_of_the_reports_fit_a_list_of_scores() -> None:
    assert COLOURS.shape == (60, 3) and COLOURS.dtype == np.uint8
    brightness = COLOURS.astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(brightness) >= -2).all() and brightness[-1] > brightness[0] + 150


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"points": POINTS[:, :2]}, r"points are \(60, 2\), wanted \(N, 3\)"),
        ({"points": POINTS[:0]}, r"points are \(0, 3\), wanted \(N, 3\) with N > 0"),
        ({"points": np.where(POINTS[3, 1] == POINTS, np.nan, POINTS)}, "points hold NaN or infinity"),
        ({"points": POINTS, "scores": SCORES[:59]}, "met 60 of x y z, 59 of score"),
        ({"points": POINTS, "scores": SCORES[:, None, None]}, r"scores are \(60, 1, 1\), wanted \(N\)"),
        ({"points": POINTS, "colours": COLOURS / 255}, "colours are float64, wanted uint8"),
        ({"points": POINTS, "normals": POINTS[:, :1]}, r"normals are \(60, 1\)"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(given: dict[str, Array], words: str, tmp_path: Path) -> None:
    with pytest.raises(BadSample, match=words):
        write_ply(tmp_path / "a.ply", **given)
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match=r"gone/a\.ply: cannot write there \(No such file or directory\); free space"):
        write_ply(tmp_path / "gone" / "a.ply", POINTS)


def test_an_old_file_stays_whole_where_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.ply"
    write_ply(target, POINTS)
    before = target.read_bytes()
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(CannotWrite, match="No space left on device"):
        write_ply(target, POINTS[:5])
    assert target.read_bytes() == before and list(tmp_path.iterdir()) == [target]
