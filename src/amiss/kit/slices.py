"""A cloud seen from outside and from its own middle: one vector for the whole part.

After the Spatial Insight Engine of ISMP (Liang et al., Look Inside for More, AAAI 2025, https://arxiv.org/abs/2412.13461): four
pictures along an axis, all points from above and from below, the upper half from the middle looking up and the lower half
looking down; grey says how near. Where we differ: the point nearest to the viewer wins a pixel, not the last in the file; all
three axes are looked along, not one; and as no network is at hand, a picture is summed up by its low cosine frequencies, how
much of it is covered, and how its greys are spread.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

_LOW = 8  # cosine frequencies each way
_GREYS = 16


def views(points: Array, low: Array, high: Array, side: int) -> Array:
    """Twelve pictures (12, side, side) float32 in 0..1: nearness to the viewer, 0 where nothing is.

    points  (N, 3), registered     low, high  (3,) corners of the box that all parts are seen in     side  pixels
    """
    unit = (np.asarray(points, np.float64) - low) / np.maximum(high - low, np.finfo(float).tiny)
    unit = unit[((unit >= 0) & (unit <= 1)).all(axis=1)]
    seen = []
    for axis in range(3):
        rows, columns = (unit[:, other] for other in range(3) if other != axis)
        place = _pixel(rows, side) * side + _pixel(columns, side)
        height = unit[:, axis]
        upper = height >= 0.5
        seen += [
            _nearest(place, height, side),
            _nearest(place, 1 - height, side),
            _nearest(place[upper], 1 - 2 * (height[upper] - 0.5), side),
            _nearest(place[~upper], 1 - 2 * (0.5 - height[~upper]), side),
        ]
    return np.stack(seen)


def _pixel(values: Array, side: int) -> Array:
    return np.minimum((values * side).astype(np.int64), side - 1)


def _nearest(place: Array, nearness: Array, side: int) -> Array:
    """The nearest of what falls into a pixel; a little above 0 for what is farthest, so that it is not taken for nothing."""
    picture = np.zeros(side * side, np.float32)
    np.maximum.at(picture, place, (0.05 + 0.95 * nearness).astype(np.float32))
    return picture.reshape(side, side)


def summary(pictures: Array) -> Array:
    """One vector of pictures (n, side, side), (n (64 + 1 + 16),) float32."""
    from scipy.fft import dctn

    waves = dctn(pictures, axes=(1, 2), norm="ortho")[:, :_LOW, :_LOW] / pictures.shape[1]
    covered = (pictures > 0).mean(axis=(1, 2))[:, None]
    bins = np.minimum((pictures * _GREYS).astype(np.int64), _GREYS - 1) + _GREYS * np.arange(len(pictures))[:, None, None]
    greys = np.bincount(bins[pictures > 0], minlength=_GREYS * len(pictures)).reshape(-1, _GREYS) / pictures[0].size
    return np.concatenate([waves.reshape(len(pictures), -1), covered, greys], axis=1).astype(np.float32).ravel()
