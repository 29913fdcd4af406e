"""Feature layers of a picture to locally aware patch features on one grid.

Roth et al.: Towards Total Recall in Industrial Anomaly Detection, CVPR 2022, https://arxiv.org/abs/2106.08265, section 3.1; the
form `patchify` is that of the authors' code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amiss.kit.extract import Features
from amiss.kit.patches import on_grid, places, regrid, squeeze, unfold

Array = npt.NDArray[Any]
Form = Literal["avgpool", "patchify"]
Border = Literal["reflect", "replicate", "zero"]
Scale = Literal["picture", "root", "mean", "unit", "none"]

_PATCHIFY_CHANNELS = 1024  # the paper code's width of one layer and of all layers joined


@dataclass(frozen=True)
class Embedding:
    """How layers become patches.

    grid     stride of the patch grid, None for the finest layer's     form  neighbourhood mean, or the paper code's pooling
    pooling  side of the neighbourhood     border  what lies beyond the edge of a layer     scale  what vectors are divided by
    """

    grid: int | None
    form: Form
    pooling: int
    border: Border
    scale: Scale

    def __call__(self, features: Features) -> tuple[list[Array], tuple[int, int]]:
        """Patch features of every layer, not yet scaled across layers.

        return  one (P, C_l) array a layer (one in all for `patchify`); the grid's (rows, columns)
        """
        shape = places(features, self.grid)
        if self.form == "avgpool":
            layers = on_grid(features, shape, pooling=self.pooling, border=self.border)
        else:
            unfolded = [self._unfolded(grid, shape) for grid in map(features.grid, range(len(features.layers)))]
            layers = [squeeze(np.concatenate(unfolded, axis=1), _PATCHIFY_CHANNELS)]
        return [self._normalised(layer) for layer in layers], shape

    def _normalised(self, layer: Array) -> Array:
        """A layer's patches divided by a length, as `scale` says; `mean` is known when all good parts were read."""
        if self.scale in ("mean", "none"):
            return layer
        lengths = np.linalg.norm(layer, axis=1, keepdims=True)
        if self.scale == "picture":
            lengths = lengths.mean()
        elif self.scale == "root":
            lengths = np.sqrt(lengths)
        return np.asarray(layer / np.maximum(lengths, 1e-12), np.float32)

    def _unfolded(self, grid: Array, shape: tuple[int, int]) -> Array:
        """A layer's neighbourhoods as the paper's code has them: every vector in one, squeezed to a fixed width."""
        squeezed = squeeze(unfold(grid, self.pooling, border=self.border), _PATCHIFY_CHANNELS)
        return regrid(squeezed, shape).reshape(shape[0] * shape[1], -1)
