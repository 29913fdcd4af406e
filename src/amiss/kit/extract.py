"""Samples to feature grids: the one place where pictures are resized and normalised for a backbone."""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amiss.backbones.runtime import EMBEDDED, Backbone, load_graph
from amiss.types import Sample

Array = npt.NDArray[Any]
Aspect = Literal["keep", "square"]

_STEP = 32  # sides are multiples of the coarsest stride, so that the layers' cells nest


@dataclass(frozen=True)
class Features:
    """What an extractor returns for one sample.

    layers     one (P_l, C_l) array a layer, kept apart     grids  (rows, columns) of each layer
    size       (h, w) in pixels that the network saw     shape  (H, W) of the picture
    """

    layers: tuple[Array, ...]
    grids: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    shape: tuple[int, int]

    def grid(self, index: int) -> Array:
        """One layer as (rows, columns, C)."""
        return self.layers[index].reshape(*self.grids[index], -1)


def network_size(shape: tuple[int, int], size: int, aspect: Aspect) -> tuple[int, int]:
    """The (h, w) a picture is resized to: size x size pixels of area, sides multiples of 32.

    shape  (H, W) of the picture     aspect  "keep" its proportions, or force a "square"
    """
    ratio = math.sqrt(shape[0] / shape[1]) if aspect == "keep" else 1.0
    return _whole(size * ratio), _whole(size / ratio)


def _whole(side: float) -> int:
    return max(_STEP, round(side / _STEP) * _STEP)


def resize(image: Array, size: tuple[int, int]) -> Array:
    """The one resize routine: area mean where the picture shrinks, bilinear where it grows.

    image  (H, W, 3) uint8, uint16 or float32     return  (h, w, 3) float32 in 0..1
    """
    import cv2

    height, width = image.shape[:2]
    if (height, width) != size:
        shrinks = size[0] * size[1] < height * width
        image = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    full = 1.0 if image.dtype == np.float32 else np.iinfo(image.dtype).max
    return np.asarray(image / np.float32(full), np.float32)


@lru_cache(maxsize=4)
def _embedded(layers: tuple[int, ...]) -> tuple[bytes, Backbone]:
    """The embedded backbone, opened once a process: cross-fitting makes several extractors of the same kind."""
    return _opened(EMBEDDED, layers, None)


def _opened(name: str, layers: tuple[int, ...], graph: bytes | None) -> tuple[bytes, Backbone]:
    graph = load_graph(name) if graph is None else graph
    return graph, Backbone(graph, layers, name=name)


class ImageExtractor:
    """Pictures through a frozen backbone, with an optional cache on disk for fits that see a picture several times."""

    def __init__(self, backbone: str, layers: tuple[int, ...], size: int, aspect: Aspect, *, graph: bytes | None):
        """graph  the backbone's ONNX bytes where they travelled with a model; None to load them by name"""
        known = backbone == EMBEDDED and graph is None
        self.graph, self.backbone = _embedded(layers) if known else _opened(backbone, layers, graph)
        self.layers, self.size, self.aspect = layers, size, aspect

    def __call__(self, sample: Sample, *, cache: Path | None = None) -> Features:
        """Features of one sample that has an image.

        cache  folder to look in first and to write to; entries are keyed by the picture's content, the backbone, its
               layers and the size it sees
        """
        assert sample.image is not None  # the detector has checked what it sees
        image = sample.image
        shape = (image.shape[0], image.shape[1])
        size = self.backbone.description.size or network_size(shape, self.size, self.aspect)
        path = None if cache is None else cache / f"{sample.digest}-{self._key(size)}.npz"
        maps = _stored(path)
        if maps is None:
            maps = [grid[0] for grid in self.backbone(resize(image, size)[None])]
            _store(path, maps)
        grids = tuple((grid.shape[1], grid.shape[2]) for grid in maps)
        layers = tuple(np.ascontiguousarray(grid.reshape(len(grid), -1).T) for grid in maps)
        return Features(layers=layers, grids=grids, size=size, shape=shape)

    def _key(self, size: tuple[int, int]) -> str:
        """Names what, beside the picture, the features depend on."""
        return hashlib.blake2b(f"{self.backbone.digest} {self.layers} {size}".encode(), digest_size=8).hexdigest()


def _stored(path: Path | None) -> list[Array] | None:
    """The feature maps of an entry in the cache; None where there is none that can be read."""
    if path is None or not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return [stored[name] for name in stored.files]
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile):
        return None


def _store(path: Path | None, maps: list[Array]) -> None:
    """Write an entry under a temporary name, then rename it, so that nobody reads half of it."""
    if path is None:
        return
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, *maps)
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)  # a cache that cannot be written only costs time
