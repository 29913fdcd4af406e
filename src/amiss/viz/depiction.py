"""How a judged part is shown: the files it leaves beside the table, and the pictures in its card.

One class a modality; the inspection knows none of them.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from amiss.types import Result, Sample
from amiss.viz.card import Words
from amiss.viz.overlay import crop_with_box, jpeg, overlay, thumbnail

Array = npt.NDArray[Any]
Range = tuple[float, float]

SIDE = 320  # pixels of a thumbnail's longer side
_LONGEST = 16_384  # pixels of an overlay's longer side; JPEG ends at 65,500


class Frames(NamedTuple):
    """The part, its map, and the place that is worst, as the content of small JPEG files; None where there is none."""

    picture: bytes
    heat: bytes | None
    worst: bytes | None


class Depiction(Protocol):
    """One judged part in pictures; made while streaming and dropped after it, so that few are held at a time."""

    @property
    def words(self) -> Words:
        """What the card says of its frames."""

    def leave(self, folder: Path, stem: str) -> str:
        """Write the overlay of the part into a folder; the file's name, "" where there is no map."""

    def frames(self) -> Frames:
        """The pictures of a card, but for the good part."""

    def beside(self, good: Sample, entry: dict[str, Any]) -> bytes | None:
        """The nearest good patch in its surroundings.

        good  the fitted sample, as it was     entry  what the evidence says of the patch
        """

    def leave_viewer(self, folder: Path, stem: str) -> str:
        """Write a page that shows the part from all sides; the file's name, "" where a picture says it all."""


def depict(sample: Sample, result: Result, shown: Range | None) -> Depiction:
    """What shows a part.

    result  with its map     shown  values of the map shown as nothing and as the strongest colour; None for its own range
    """
    from amiss.viz.cloud_depiction import CloudDepiction

    return PictureDepiction(sample, result, shown) if sample.image is not None else CloudDepiction(sample, result, shown)


class PictureDepiction:
    """A photographed part: its map over the picture."""

    words = Words()

    def __init__(self, sample: Sample, result: Result, shown: Range | None) -> None:
        assert sample.image is not None
        self._image, self._result, self._shown = sample.image, result, shown

    @cached_property
    def _drawn(self) -> Array | None:
        if self._result.map is None:
            return None
        full = self._result.image_map()
        low, high = self._shown or own_range(full)
        return overlay(self._image, full, low=low, high=high)

    def leave(self, folder: Path, stem: str) -> str:
        if self._drawn is None:
            return ""
        (folder / f"{stem}.jpg").write_bytes(jpeg(thumbnail(self._drawn, _LONGEST), quality=90))
        return f"{stem}.jpg"

    def frames(self) -> Frames:
        box = self._result.evidence.get("patch")
        return Frames(
            picture=jpeg(thumbnail(self._image, SIDE)),
            heat=None if self._drawn is None else jpeg(thumbnail(self._drawn, SIDE)),
            worst=None if box is None else jpeg(crop_with_box(self._image, box)),
        )

    def beside(self, good: Sample, entry: dict[str, Any]) -> bytes | None:
        return None if good.image is None else jpeg(crop_with_box(good.image, entry["box"]))

    def leave_viewer(self, folder: Path, stem: str) -> str:
        return ""


def own_range(full: Array | None) -> Range:
    """The range of one map alone, where no calibration says what is usual."""
    return (0.0, 1.0) if full is None else (float(np.median(full)), float(full.max()))
