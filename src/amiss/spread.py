"""Bring a map from a method's grid back to the sample: a grid over the picture, bilinear, then blurred."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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
