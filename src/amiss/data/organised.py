"""Organised clouds in TIFF: a grid of x, y and z as three channels of floats, as depth cameras and MVTec 3D-AD have them.

Pixels without a measurement are NaN or zero in all three channels; they are dropped, and each point keeps its row and column.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy.typing as npt

from amiss.data.cloud import Cloud, check_count, cloud_of
from amiss.data.headers import Damaged
from amiss.data.tiff import read_tiff, tiff_size

Array = npt.NDArray[Any]


def read_organised(file: BinaryIO, size: int) -> Cloud:
    """The cloud of a TIFF file, which is taken for one whatever its values are.

    raises  Damaged where it is a picture, or cannot be read
    """
    content = file.read()
    height, width = tiff_size(content)
    check_count(height * width)
    return organised(read_tiff(content))


def organised(grid: Array) -> Cloud:
    """A cloud from a grid (H, W, C); raises Damaged unless it has three channels of floats, one of them valid."""
    height, width, channels = grid.shape
    if channels != 3 or grid.dtype.kind != "f":
        met = f"{channels} channel{'s' * (channels > 1)} of {grid.dtype}"
        raise Damaged(f"it is a TIFF picture, {met}, not a point cloud", "wanted three channels of floats: x, y and z")
    check_count(height * width)
    return cloud_of(dict(zip("xyz", grid.reshape(-1, 3).T, strict=True)), (height, width))


def measures(image: Array) -> bool:
    """Whether an image (H, W) or (H, W, C) holds coordinates: three channels of floats that do not keep to 0..1."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype.kind != "f":
        return False
    return not bool(((image >= 0) & (image <= 1)).all())  # NaN is neither
