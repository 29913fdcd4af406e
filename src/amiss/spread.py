"""Bring a map back from where a method made it to the sample: from a grid to the picture, from some points to all of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class GridSpread:
    """shape  (H, W) of the picture     size  (h, w) in pixels that the network saw     sigma  blur, in those pixels

    The blur is done at the network's size, as the papers do it, with radius 4 sigma and mirrored borders.
    """

    shape: tuple[int, int]
    size: tuple[int, int]
    sigma: float

    def __call__(self, grid: Array) -> Array:
        """(rows, columns) map to (H, W) float32."""
        import cv2

        full = cv2.resize(grid.astype(np.float32), self.size[::-1], interpolation=cv2.INTER_LINEAR)
        if self.sigma > 0:
            side = 2 * int(4 * self.sigma + 0.5) + 1
            full = cv2.GaussianBlur(full, (side, side), self.sigma, borderType=cv2.BORDER_REFLECT)
        return np.asarray(cv2.resize(full, self.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


@dataclass(frozen=True, eq=False)
class PointSpread:
    """From the places that a method looked at to every point of a cloud: the mean of the nearest, by inverse squared distance.

    places  (P, 3), in the cloud's own coordinates     points  (N, 3) of the whole cloud     near  how many places count
    """

    places: Array
    points: Array
    near: int = 3

    def __call__(self, values: Array) -> Array:
        """(P,) to (N,) float32."""
        from scipy.spatial import cKDTree

        near = min(self.near, len(self.places))
        distances, indices = cKDTree(self.places).query(self.points, k=range(1, near + 1), workers=-1)  # (N, near)
        shares = distances / np.maximum(distances[:, -1:], np.finfo(float).tiny)  # without a unit
        weights = 1 / (shares**2 + 1e-12)
        return np.asarray((weights * values[indices]).sum(axis=1) / weights.sum(axis=1), np.float32)

    def over(self, points: Array) -> Self:
        """The same places with other points to spread to: none, so that a result is small, or those of the cloud again."""
        return replace(self, points=points)
