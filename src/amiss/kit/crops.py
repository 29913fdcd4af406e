"""Crops of several sizes through a frozen backbone, all of a picture in one batch.

Source of the arrangement: SINBAD (Cohen, Tzachor, Hoshen 2023), whose code lays a picture on a square canvas of 1024, takes
crops of 256, 512, 716 and 1013 with a step of 256, and brings each to the size the network sees.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amiss.kit.extract import ImageExtractor, remember, remembered, resize
from amiss.types import Sample

Array = npt.NDArray[Any]
Canvas = Literal["keep", "square", "pad"]


_BATCH = 16  # crops in the network at once
_ROUNDING = 1e-9  # 0.1 + 0.7 is a little less than 0.8


@dataclass(frozen=True)
class Crop:
    """A window of the picture: top, left and side as shares of its height and width; which of the sizes it has."""

    top: float
    left: float
    side: float
    size: int

    def box(self, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) in pixels of a canvas (H, W), at least one pixel."""
        (top, bottom), (left, right) = (
            self._span(start, edge) for start, edge in zip((self.top, self.left), shape, strict=True)
        )
        return top, left, bottom, right

    def _span(self, start: float, edge: int) -> tuple[int, int]:
        first = min(math.floor(start * edge + _ROUNDING), edge - 1)
        return first, max(first + 1, min(edge, math.floor((start + self.side) * edge + _ROUNDING)))


def crops(sizes: Sequence[float], step: float) -> list[Crop]:
    """All crops of each size in reading order; sizes and step are shares of the picture's sides."""
    found = []
    for index, side in enumerate(sizes):
        starts = [step * k for k in range(math.floor((1 - side) / step + _ROUNDING) + 1)]
        found += [Crop(top, left, side, index) for top in starts for left in starts]
    return found


class CropExtractor:
    """A picture's crops as sets of elements, one (crops, C, E) array a layer; each crop goes through the backbone once."""

    def __init__(
        self,
        backbone: str,
        layers: tuple[int, ...],
        size: int,
        canvas: Canvas,
        windows: Sequence[Crop],
        *,
        graph: bytes | None = None,
        frame: tuple[int, int] | None = None,
    ) -> None:
        """size  a crop is seen at size x size pixels of area     canvas  "keep" the picture's proportions, force a "square",
        or "pad" it with black to one     graph, frame  as for ImageExtractor
        """
        self._whole = ImageExtractor(backbone, layers, size, "keep" if canvas == "keep" else "square", graph=graph, frame=frame)
        self._padded, self._windows = canvas == "pad", tuple(windows)
        told = f"crops {self._whole.backbone.digest} {layers} {self._padded} {[(w.top, w.left, w.side) for w in self._windows]}"
        self._key = hashlib.blake2b(told.encode(), digest_size=8).hexdigest()

    @property
    def graph(self) -> bytes:
        """The backbone's ONNX bytes."""
        return self._whole.graph

    @property
    def frame(self) -> tuple[int, int] | None:
        """The (h, w) that every crop is brought to."""
        return self._whole.frame

    def pin(self, samples: Sequence[Sample]) -> None:
        """Set the frame to what most of these pictures are seen at."""
        self._whole.pin(samples)

    def __call__(self, sample: Sample, *, cache: Path | None = None) -> list[Array]:
        """Element sets of one sample with an image: (crops, C_l, E_l) float32 a layer.

        cache  folder to look in first and to write to
        """
        assert sample.image is not None
        size = self._whole.seen(sample.image)
        path = None if cache is None else cache / f"{sample.digest}-{self._key}-{size[0]}x{size[1]}.npz"
        found = None if path is None else remembered(path)
        if found is None:
            batches = [self._windows[start : start + _BATCH] for start in range(0, len(self._windows), _BATCH)]
            seen = (np.stack([self._cut(sample.image, window, size) for window in batch]) for batch in batches)
            grids = [self._whole.backbone(batch).grids for batch in seen]
            found = {f"layer{index}": np.concatenate(parts) for index, parts in enumerate(zip(*grids, strict=True))}
            if path is not None:
                remember(path, found)
        return [grid.reshape(*grid.shape[:2], -1) for grid in found.values()]

    def pixels(self, sample: Sample, window: Crop, step: int) -> Array:
        """The pixels of one crop as the network sees them, every step-th row and column: (1, 3, E) float32."""
        assert sample.image is not None
        seen = self._cut(sample.image, window, self._whole.seen(sample.image))[::step, ::step]
        told = self._whole.backbone.description
        scaled = (seen - np.asarray(told.mean, np.float32)) / np.asarray(told.std, np.float32)
        return np.ascontiguousarray(scaled.reshape(1, -1, 3).transpose(0, 2, 1))

    def box(self, window: Crop, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """(top, left, bottom, right) of a crop of a picture (H, W); on a padded canvas it may reach beyond the picture."""
        side = max(shape)
        return window.box((side, side) if self._padded else shape)

    def _cut(self, image: Array, window: Crop, size: tuple[int, int]) -> Array:
        """One crop at the size the network sees, (h, w, 3) float32 in 0..1."""
        top, left, bottom, right = self.box(window, (image.shape[0], image.shape[1]))
        cut = image[top:bottom, left:right]
        if self._padded and cut.shape[:2] != (bottom - top, right - left):
            whole = np.zeros((bottom - top, right - left, 3), image.dtype)
            whole[: cut.shape[0], : cut.shape[1]] = cut
            cut = whole
        return resize(cut, size)
