"""The things that travel through amiss: frozen, checked where they are made, arrays read-only."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amiss.errors import BadSample
from amiss.spread import GridSpread, PointSpread

Array = npt.NDArray[Any]
Outcome = Literal["OK", "REVIEW", "NG"]

_IMAGE_DTYPES = (np.uint8, np.uint16, np.float32)


def _readonly(array: Array) -> Array:
    view: Array = np.asarray(array).view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False, kw_only=True)
class Sample:
    """One view of one part, without any word on whether it is good.

    id      unique within a run, usually a path     part   which product     group  views of one physical part
    image   (H, W, 3) RGB: uint8, uint16 over its full range, or float32 in 0..1
    points  (N, 3) float32 in the data set's unit     normals  (N, 3) float32, unit length
    pixels  (N, 2) int32, row and column of each point     shape  (H, W) of the grid those refer to
    raises  BadSample for any other shape, type or value. Equality is by content digest.
    """

    id: str
    part: str = ""
    group: str | None = None
    image: Array | None = None
    points: Array | None = None
    normals: Array | None = None
    pixels: Array | None = None
    shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        if self.image is None and self.points is None:
            raise BadSample(f"sample {self.id!r} has neither an image nor points; give at least one")
        for name in ("image", "points", "normals", "pixels"):
            array = getattr(self, name)
            if array is not None and (not isinstance(array, np.ndarray) or array.dtype.kind not in "buif"):
                raise BadSample(f"sample {self.id!r}: {name} is a {_kind(array)}, wanted an array of numbers")
        if self.image is not None:
            object.__setattr__(self, "image", _readonly(_checked_image(self.id, self.image)))
        for name, width, dtype in (("points", 3, np.float32), ("normals", 3, np.float32), ("pixels", 2, np.int32)):
            array = getattr(self, name)
            if array is not None:
                object.__setattr__(self, name, _readonly(_checked_rows(self, name, array, width, dtype)))

    @cached_property
    def digest(self) -> str:
        """Hex digest of the content; the id and the part play no role."""
        state = hashlib.blake2b(digest_size=16)
        for name in ("image", "points", "normals", "pixels"):
            array = getattr(self, name)
            if array is not None:
                state.update(f"{name}{array.dtype.str}{array.shape}".encode())
                state.update(np.ascontiguousarray(array).data)
        return state.hexdigest()

    @property
    def sees(self) -> frozenset[str]:
        """Which modalities this sample carries."""
        return frozenset(name for name in ("image", "points") if getattr(self, name) is not None)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sample) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def _checked_image(name: str, image: Array) -> Array:
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise BadSample(f"sample {name!r}: image has shape {image.shape}, wanted (H, W, 3) RGB")
    if image.dtype not in _IMAGE_DTYPES:
        raise BadSample(f"sample {name!r}: image is {image.dtype}, wanted uint8, uint16 or float32 in 0..1")
    if image.dtype == np.float32:
        low, high = float(image.min()), float(image.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise BadSample(f"sample {name!r}: image holds NaN or infinity; replace or mask those pixels first")
        if low < 0 or high > 1:
            raise BadSample(f"sample {name!r}: float image runs from {low:g} to {high:g}, wanted 0 to 1; scale it")
    return image


def _checked_rows(sample: Sample, name: str, array: Array, width: int, dtype: type) -> Array:
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        raise BadSample(f"sample {sample.id!r}: {name} has shape {array.shape}, wanted (N, {width}) with N > 0")
    if sample.points is not None and len(array) != len(sample.points):
        raise BadSample(f"sample {sample.id!r}: {len(array)} {name} for {len(sample.points)} points")
    with np.errstate(over="ignore", invalid="ignore"):
        cast: Array = np.asarray(array, dtype)
    if not (np.isfinite(array).all() and np.isfinite(cast).all()):
        raise BadSample(f"sample {sample.id!r}: {name} hold NaN or infinity; drop those rows first")
    return cast


def _kind(value: object) -> str:
    return f"{value.dtype} array" if isinstance(value, np.ndarray) else type(value).__name__


@dataclass(frozen=True, kw_only=True)
class Box:
    """An axis-aligned box in the sample's own coordinates, with a score.

    low, high  its corners, as many coordinates each, low <= high; a box may be flat
    raises  BadSample for anything else, and for NaN or infinity
    """

    low: tuple[float, ...]
    high: tuple[float, ...]
    score: float = 0.0

    def __post_init__(self) -> None:
        same = len(self.low) == len(self.high) > 0
        if not (same and np.isfinite((*self.low, *self.high, self.score)).all()):
            raise BadSample(f"{self}: wanted as many finite coordinates in low as in high, and a finite score")
        if any(low > high for low, high in zip(self.low, self.high, strict=True)):
            raise BadSample(f"{self}: low lies above high; swap the two where it does")


@dataclass(frozen=True, eq=False, kw_only=True)
class Truth:
    """What is known of a sample: kept apart from it, so that no method can see it by accident.

    label  True when the part is defective     kind  name of the defect, "good" without
    mask   (H, W) bool | None     regions  masks with a saturation area each | None
    point_mask  (N,) bool, one for each point of the sample | None     boxes  around the defects, where somebody drew them
    raises  BadSample for masks of another shape or type, and for marks or boxes on a good part
    """

    label: bool
    kind: str = ""
    mask: Array | None = None
    regions: tuple[tuple[Array, float], ...] | None = None
    point_mask: Array | None = None
    boxes: tuple[Box, ...] = ()

    def __post_init__(self) -> None:
        for name, axes, shape in (("mask", 2, "(H, W)"), ("point_mask", 1, "(N,)")):
            mask, word = getattr(self, name), name.replace("_", " ")
            if mask is None:
                continue
            if mask.ndim != axes or mask.dtype != np.bool_:
                raise BadSample(f"a {word} is {shape} bool; met {mask.shape} {mask.dtype}")
            object.__setattr__(self, name, _readonly(mask))
            if not self.label and mask.any():
                raise BadSample(f"a part labelled good has a {word} that marks a defect; correct one of the two")
        if not self.label and self.boxes:
            raise BadSample(f"a part labelled good has {len(self.boxes)} boxes around defects; correct one of the two")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What to do with a part, and how sure that is.

    outcome       OK, REVIEW or NG
    p_value       share of good parts at least as odd as this one, (1 + #) / (n + 1); None in zero-shot settings
    threshold     NG above this score     review_threshold  REVIEW above this one
    extrapolated  True where the NG threshold lies beyond what the good parts support
    bound         the smallest false-alarm rate that the calibration's n good parts support, 1 / (n + 1)
    note          the plain warning that belongs to it, "" where there is none
    """

    outcome: Outcome
    p_value: float | None
    threshold: float | None
    review_threshold: float | None
    extrapolated: bool
    bound: float
    note: str = ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Result:
    """What a detector says of one sample.

    score     raw, higher is more anomalous     map  on the method's own grid | None
    evidence  what the score rests on, a mapping with named entries     verdict  None where no calibration exists
    """

    id: str
    score: float
    map: Array | None = None
    spread: GridSpread | PointSpread | None = None
    boxes: tuple[Box, ...] = ()
    seconds: float = 0.0
    evidence: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    verdict: Verdict | None = None

    def image_map(self) -> Array:
        """The map at the sample's own resolution, (H, W) float32; computed when asked for."""
        if self.map is None or not isinstance(self.spread, GridSpread):
            raise BadSample(f"result {self.id!r} has no map over an image")
        return self.spread(self.map)

    def point_map(self) -> Array:
        """A value for every point of the sample, (N,) float32; computed when asked for."""
        if self.map is None or not isinstance(self.spread, PointSpread):
            raise BadSample(f"result {self.id!r} has no map over points")
        return self.spread(self.map)
