"""Organised TIFF, and which of picture and cloud a file is taken for."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile

from amiss.data import cloud as limits
from amiss.data.readers import is_cloud, is_picture, read_cloud, read_cloud_rows, read_image, read_sample
from amiss.errors import UnreadableFile
from amiss.types import Sample
from tests.data import files
from tests.data.cloud_files import bowl, obj, pcd, ply_cloud, stl, text

Array = npt.NDArray[Any]


def grid(height: int = 12, width: int = 9) -> Array:
    """x, y, z in metres before a camera (H, W, 3), a corner without measurement, NaN in one pixel and one plain zero."""
    rows, columns = np.mgrid[:height, :width]
    field = np.stack([columns / 100 - 0.04, rows / 100 - 0.05, 0.4 + rows * columns / 1000], axis=2).astype(np.float32)
    field[:3, :4] = 0
    field[7, 2, 1] = np.nan
    field[6, 6] = (0, 0, 0.41)
    return field


GRID = grid()
VALID = np.isfinite(GRID).all(axis=2) & (GRID != 0).any(axis=2)


def tiff(image: Array, **options: Any) -> bytes:
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, **({"photometric": "rgb" if image.ndim == 3 else "minisblack"} | options))
    return stream.getvalue()


WRITTEN = {
    "as tifffile writes it": tiff(GRID),
    "as OpenCV writes it": files.encoded(GRID, ".tif"),
    "grey with two more channels": tiff(GRID, photometric="minisblack", planarconfig="contig"),
    "planes apart": tiff(np.moveaxis(GRID, 2, 0), photometric="rgb", planarconfig="separate"),
    "deflated": tiff(GRID, compression="zlib"),
    "tiled": tiff(GRID, tile=(16, 16)),
    "doubles": tiff(GRID.astype(np.float64)),
}


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize("read", [read_cloud, read_sample])
def test_an_organised_tiff_is_a_cloud_whose_points_know_their_pixels(name: str, read: Any, tmp_path: Path) -> None:
    sample: Sample = read(files.written(tmp_path / "000.tiff", WRITTEN[name]), part="bagel")
    assert sample.image is None and sample.points is not None and sample.pixels is not None
    assert sample.shape == (12, 9) and sample.part == "bagel"
    np.testing.assert_array_equal(sample.pixels, np.argwhere(VALID))
    np.testing.assert_array_equal(sample.points, GRID[VALID])


def test_pixels_without_a_measurement_are_told_so_that_labels_can_be_dropped(tmp_path: Path) -> None:
    cloud = read_cloud_rows(files.written(tmp_path / "000.tiff", WRITTEN["tiled"]))
    assert cloud.kept is not None
    np.testing.assert_array_equal(cloud.kept, VALID.ravel())
    labels = np.arange(108).reshape(12, 9)
    assert cloud.pixels is not None
    np.testing.assert_array_equal(labels.ravel()[cloud.kept], labels[tuple(cloud.pixels.T)])


def test_a_float_tiff_within_0_and_1_is_a_picture_unless_it_is_asked_for_as_a_cloud(tmp_path: Path) -> None:
    picture = files.colours(dtype="float32")
    path = files.written(tmp_path / "light.tiff", tiff(picture))
    sample = read_sample(path)
    assert sample.points is None and sample.image is not None
    np.testing.assert_array_equal(sample.image, picture)
    assert read_cloud(path).sees == {"points"}


def test_one_value_outside_0_and_1_makes_a_cloud(tmp_path: Path) -> None:
    for value in (-0.001, 1.001, np.nan):
        field = files.colours(dtype="float32")
        field[5, 5, 0] = value
        assert read_sample(files.written(tmp_path / "a.tiff", tiff(field))).sees == {"points"}


def test_a_cloud_asked_for_as_a_picture_is_refused_with_what_else_it_may_be(tmp_path: Path) -> None:
    field = GRID.copy()
    field[7, 2, 1] = 0
    with pytest.raises(UnreadableFile, match=r"run from -0\.05 to 0\.\d+, wanted 0 to 1; .* as a point cloud"):
        read_image(files.written(tmp_path / "a.tiff", tiff(field)))


@pytest.mark.parametrize(
    ("image", "met"),
    [
        (files.colours(), "3 channels of uint8"),
        (files.colours(dtype="uint16"), "3 channels of uint16"),
        (GRID[..., 2], "1 channel of float32"),
    ],
)
def test_a_tiff_picture_asked_for_as_a_cloud_is_refused_for_what_it_is(image: Array, met: str, tmp_path: Path) -> None:
    path = files.written(tmp_path / "a.tiff", tiff(image))
    with pytest.raises(
        UnreadableFile, match=f"it is a TIFF picture, {met}, not a point cloud; wanted three channels of floats"
    ):
        read_cloud(path)


@pytest.mark.parametrize("value", [0, np.nan])
def test_a_grid_without_a_single_measurement_is_refused(value: float, tmp_path: Path) -> None:
    path = files.written(tmp_path / "a.tiff", tiff(np.full((4, 5, 3), value, np.float32)))
    with pytest.raises(UnreadableFile, match="all of its 20 points are NaN, infinite or zero"):
        read_cloud(path)


def test_a_grid_of_more_points_than_are_read_is_refused_by_its_tags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_POINTS", 100)
    path = files.written(tmp_path / "a.tiff", WRITTEN["tiled"][:-40])  # cut off, which nobody comes to see
    with pytest.raises(UnreadableFile, match="it holds 108 points, more than"):
        read_cloud(path)


def test_a_truncated_grid_is_refused(tmp_path: Path) -> None:
    whole = WRITTEN["as tifffile writes it"]
    for length in range(0, len(whole), 97):
        for read in (read_cloud, read_sample):
            with pytest.raises(UnreadableFile):
                read(files.written(tmp_path / "a.tiff", whole[:length]))


# which of the two a file is taken for


CLOUDS = {".pcd": pcd(bowl()), ".ply": ply_cloud(bowl()), ".obj": obj(bowl())} | dict.fromkeys(
    (".xyz", ".asc", ".txt", ".csv"), text(bowl(), ",")
)


@pytest.mark.parametrize("suffix", CLOUDS)
def test_a_name_of_a_cloud_is_read_as_one(suffix: str, tmp_path: Path) -> None:
    path = files.written(tmp_path / ("scan" + suffix.upper()), CLOUDS[suffix])
    assert is_cloud(path) and not is_picture(path) and not is_cloud(tmp_path / f".hidden{suffix}")
    sample = read_sample(path, part="gear")
    assert sample.points is not None and len(sample.points) == 60 and sample.part == "gear"


def test_an_stl_is_read_as_a_cloud(tmp_path: Path) -> None:
    path = files.written(tmp_path / "scan.stl", stl(bowl().reshape(20, 3, 3)))
    assert is_cloud(path) and read_sample(path).sees == {"points"}


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".bmp", ".webp"])
def test_pictures_stay_pictures_and_are_named_where_a_cloud_is_wanted(suffix: str, tmp_path: Path) -> None:
    content = files.encoded(files.colours(), suffix)
    assert read_sample(files.written(tmp_path / ("a" + suffix), content)).sees == {"image"}
    kind = {".png": "PNG", ".jpg": "JPEG", ".bmp": "BMP", ".webp": "WebP"}[suffix]
    for read in (read_sample, read_cloud):
        with pytest.raises(UnreadableFile, match=f"it is a {kind} picture, not a point cloud"):
            read(files.written(tmp_path / "a.ply", content))


@pytest.mark.parametrize("suffix", [".pcd", ".ply"])
def test_a_cloud_under_the_name_of_a_picture_is_named(suffix: str, tmp_path: Path) -> None:
    path = files.written(tmp_path / "scan.png", CLOUDS[suffix])
    for read in (read_sample, read_image):
        with pytest.raises(
            UnreadableFile, match=f"it is a {suffix[1:].upper()} point cloud, not a picture; .* ends in {suffix}"
        ):
            read(path)
    assert read_cloud(path).sees == {"points"}  # whoever asks for a cloud is given it, whatever its name


def test_a_file_that_is_neither_is_refused(tmp_path: Path) -> None:
    path = files.written(tmp_path / "notes.doc", b"nothing of the kind")
    with pytest.raises(UnreadableFile, match="it is no point cloud that is read; give a PCD, PLY, STL, OBJ"):
        read_cloud(path)
