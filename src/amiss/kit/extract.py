"""Samples to feature grids: the one place where pictures are resized and normalised for a backbone."""

from __future__ import annotations

import hashlib
import math
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amiss.backbones.runtime import EMBEDDED, Backbone, load_graph
from amiss.contract import Progress
from amiss.kit.candidates import steady_heap
from amiss.types import Sample

Array = npt.NDArray[Any]
Aspect = Literal["keep", "square"]

_PINNED = 25  # pictures looked at for a common frame
_STEP = 32  # sides are multiples of the coarsest stride, so that the layers' cells nest


@dataclass(frozen=True)
class Features:
    """What an extractor returns for one sample.

    layers     one (P_l, C_l) array a layer, kept apart     grids  (rows, columns) of each layer
    size       (h, w) in pixels that the network saw     shape  (H, W) of the picture
    token      (C,) global descriptor, where the extractor was asked for it
    """

    layers: tuple[Array, ...]
    grids: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    shape: tuple[int, int]
    token: Array | None = None

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


@lru_cache(maxsize=8)
def _embedded(layers: tuple[int, ...] | None, token: bool) -> tuple[bytes, Backbone]:
    """The embedded backbone, opened once a process: cross-fitting makes several extractors of the same kind."""
    graph = load_graph(EMBEDDED)
    return graph, Backbone(graph, layers, name=EMBEDDED, token=token)


class ImageExtractor:
    """Pictures through a frozen backbone, with an optional cache on disk for pictures that are seen several times."""

    def __init__(
        self,
        backbone: str,
        layers: tuple[int, ...],
        size: int,
        aspect: Aspect,
        *,
        token: bool = False,
        graph: bytes | None = None,
        frame: tuple[int, int] | None = None,
    ):
        """token  whether the global descriptor is wanted     graph  the backbone's ONNX bytes where they travelled with a
        model; None to load them by name     frame  the (h, w) that every picture is brought to, for methods that compare
        places; None to follow each picture's own proportions
        """
        steady_heap()
        self.layers, self.size, self.aspect, self.token, self.frame = layers, size, aspect, token, frame
        self._name = backbone
        self._known = backbone == EMBEDDED and graph is None
        if self._known:
            self.graph, self.backbone = _embedded(layers, token)
        else:
            self.graph = load_graph(backbone) if graph is None else graph
            self.backbone = Backbone(self.graph, layers, name=backbone, token=token)
        self._whole: Backbone | None = None

    def pin(self, samples: Sequence[Sample]) -> None:
        """Set the frame to what most of these pictures are seen at: the middle one by proportions, of a few dozen."""
        picks = np.unique(np.linspace(0, len(samples) - 1, min(_PINNED, len(samples))).round().astype(int))
        shapes = [sample.image.shape for sample in (samples[int(pick)] for pick in picks) if sample.image is not None]
        if shapes:
            height, width, _ = sorted(shapes, key=lambda shape: (shape[0] / shape[1], shape))[(len(shapes) - 1) // 2]
            self.frame = network_size((height, width), self.size, self.aspect)

    def framed(
        self, samples: Sequence[Sample], *, check: Callable[[Sample], None], progress: Progress, cache: Path | None
    ) -> Iterator[tuple[Sample, Features]]:
        """Every sample with its features, on the frame that suits most of them: the reading pass of a fit that compares places.

        check  called with each sample before it is read     progress  called with (stage, done, total)
        """
        self.pin(samples)
        for done, sample in enumerate(samples, start=1):
            check(sample)
            yield sample, self(sample, cache=cache)
            progress("reading good parts", done, len(samples))

    def seen(self, image: Array) -> tuple[int, int]:
        """The (h, w) that the network sees of a picture."""
        free = self.frame or network_size((image.shape[0], image.shape[1]), self.size, self.aspect)
        return self.backbone.description.size or free

    def __call__(self, sample: Sample, *, cache: Path | None = None) -> Features:
        """Features of one sample that has an image.

        cache  folder to look in first and to write to; an entry holds all taps of the backbone, so that methods which ask
               for different layers share it, and is keyed by the picture's content, the backbone and the size it sees
        """
        assert sample.image is not None  # the detector has checked what it sees
        size = self.seen(sample.image)
        if cache is None:
            found = self.backbone(resize(sample.image, size)[None])
            grids, token = [grid[0] for grid in found.grids], None if found.token is None else found.token[0]
        else:
            maps = self._remembered(sample, size, cache)
            grids, token = [maps[f"layer{layer}"] for layer in self.layers], maps["token"] if self.token else None
        return Features(
            layers=tuple(np.ascontiguousarray(grid.reshape(len(grid), -1).T) for grid in grids),
            grids=tuple((grid.shape[1], grid.shape[2]) for grid in grids),
            size=size,
            shape=(sample.image.shape[0], sample.image.shape[1]),
            token=token,
        )

    def _remembered(self, sample: Sample, size: tuple[int, int], cache: Path) -> dict[str, Array]:
        """All taps (C, h, w) and the token (C,) of a picture, from the cache or into it."""
        key = hashlib.blake2b(f"{self.backbone.digest} {size}".encode(), digest_size=8).hexdigest()
        path = cache / f"{sample.digest}-{key}.npz"
        names = [f"layer{tap.layer}" for tap in self.backbone.description.taps]
        maps = remembered(path)
        if maps is None or set(maps) != {*names, "token"}:
            assert sample.image is not None
            found = self._all()(resize(sample.image, size)[None])
            assert found.token is not None
            maps = dict(zip(names, (grid[0] for grid in found.grids), strict=True)) | {"token": found.token[0]}
            remember(path, maps)
        return maps

    def _all(self) -> Backbone:
        """The backbone with every tap and the token."""
        if self._whole is None:
            whole = _embedded(None, True)[1] if self._known else Backbone(self.graph, None, name=self._name, token=True)
            self._whole = whole
        return self._whole


def remembered(path: Path) -> dict[str, Array] | None:
    """The feature maps of an entry in the cache; None where there is none that can be read."""
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, TypeError, zipfile.BadZipFile):
        return None


def remember(path: Path, maps: dict[str, Array]) -> None:
    """Write an entry under a temporary name, then rename it, so that nobody reads half of it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            np.savez(file, **maps)  # type: ignore[arg-type]
        os.replace(part, path)
    except OSError:
        part.unlink(missing_ok=True)  # a cache that cannot be written only costs time
