"""A scanned part: its cloud from two sides, its points with their scores, and a page that turns it."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.data.ply_writer import write_ply
from amiss.data.readers import printable
from amiss.types import Result, Sample
from amiss.viz.camera import View, views
from amiss.viz.card import Words
from amiss.viz.cloud import draw
from amiss.viz.depiction import SIDE, Frames, Range, own_range
from amiss.viz.overlay import jpeg, overlay, thumbnail
from amiss.viz.viewer import About, write_viewer

Array = npt.NDArray[Any]

_LARGE = 720  # pixels of a view's side in an overlay
_CLOSE = 0.08  # from the middle of a close-up to its border, in diagonals
_SPACINGS = 6.0  # the same, in spacings of the points on a surface as large as the diagonal squared, at least
_GREY = 200  # of points without a colour in a PLY


class CloudDepiction:
    """The part as it is seen towards its worst place and from three quarters of that."""

    def __init__(self, sample: Sample, result: Result, shown: Range | None) -> None:
        assert sample.points is not None
        self._points, self._sample, self._result, self._shown = sample.points, sample, result, shown
        self._extent = float(np.linalg.norm([np.ptp(row) for row in self._points.T]))

    @property
    def words(self) -> Words:
        decimals = max(0, 3 - math.floor(math.log10(self._extent or 1.0)))
        place = ", ".join(f"{value:.{min(decimals, 9)}f}" for value in self._worst)
        return Words(
            picture=("Cloud of", "From three quarters"),
            heat=("Map over", "Towards its worst place"),
            worst=("Worst place of", f"Its worst place, at {place}"),
            evidence=("Nearest good place to that of", "Nearest good place"),
        )

    def leave(self, folder: Path, stem: str) -> str:
        if self._scores is None:
            return ""
        (folder / f"{stem}.jpg").write_bytes(jpeg(np.hstack(self._drawn), quality=90))
        low, high = self._range
        grey = np.full((1, len(self._points), 3), _GREY, np.uint8)
        colours = overlay(grey, self._scores[None], low=low, high=high)[0]
        write_ply(folder / f"{stem}.ply", self._points, scores=self._scores, colours=colours, normals=self._sample.normals)
        return f"{stem}.jpg"

    def frames(self) -> Frames:
        facing, aside = self._drawn
        return Frames(
            picture=jpeg(thumbnail(aside, SIDE)),
            heat=None if self._scores is None else jpeg(thumbnail(facing, SIDE)),
            worst=jpeg(_close(self._points, self._views[0], self._worst)),
        )

    def beside(self, good: Sample, entry: dict[str, Any]) -> bytes | None:
        if good.points is None:
            return None
        point = np.asarray(entry["point"], np.float64)
        return jpeg(_close(good.points, views(good.points, point, **standpoint(good))[0], point))

    def leave_viewer(self, folder: Path, stem: str) -> str:
        if self._scores is None:
            return ""
        verdict, (low, high) = self._result.verdict, self._range
        facts: dict[str, float | None] = {"score": self._result.score}
        if verdict is not None:
            facts |= {"p-value": verdict.p_value, "NG above": verdict.threshold, "REVIEW above": verdict.review_threshold}
        about = About(
            title=Path(printable(self._sample.id)).name, outcome="none" if verdict is None else verdict.outcome,
            facts={key: value for key, value in facts.items() if value is not None},
            note=f"All points with their scores are in {stem}.ply beside this page.",
            low=low, high=high, boxes=self._result.boxes, view=self._views[0],
        )  # fmt: skip
        write_viewer(folder / f"{stem}.html", self._points, self._scores, about)
        return f"{stem}.html"

    @cached_property
    def _scores(self) -> Array | None:
        return None if self._result.map is None else self._result.point_map()

    @cached_property
    def _range(self) -> Range:
        return self._shown or own_range(self._scores)

    @cached_property
    def _worst(self) -> Array:
        """The worst place, (3,): what the method names, or where the map is highest."""
        named = self._result.evidence.get("patch")
        if named is not None and len(named) == 3:
            return np.asarray(named, np.float64)
        return np.asarray(self._points[0 if self._scores is None else int(np.nan_to_num(self._scores).argmax())], np.float64)

    @cached_property
    def _views(self) -> tuple[View, View]:
        return views(self._points, self._worst, **standpoint(self._sample))

    @cached_property
    def _drawn(self) -> tuple[Array, Array]:
        """The part under its map in both views, (_LARGE, _LARGE, 3) uint8; without colours where there is no map."""
        scores = np.zeros(len(self._points), np.float32) if self._scores is None else self._scores
        facing, aside = (draw(self._points, scores, view, _LARGE) for view in self._views)
        if self._scores is None:
            return facing.plain(), aside.plain()
        return facing.coloured(*self._range), aside.coloured(*self._range)


def standpoint(sample: Sample) -> dict[str, Array | None]:
    """From where an organised scan was measured, and what is up in it; nothing of other clouds.

    Where its points lie in front of the origin, the sensor is the origin and looks along z, with y downwards, as cameras do;
    otherwise it is a field of heights, seen from above.
    """
    if sample.pixels is None or sample.points is None:
        return {}
    low, high = sample.points.min(axis=0).astype(np.float64), sample.points.max(axis=0).astype(np.float64)
    if low[2] > 0.3 * np.linalg.norm(high - low):
        return {"eye": np.zeros(3), "up": np.array((0.0, -1.0, 0.0))}
    return {"eye": (low + high) / 2 + (0, 0, 10 * np.linalg.norm(high - low) or 1.0), "up": np.array((0.0, 1.0, 0.0))}


def _close(points: Array, view: View, place: Array) -> Array:
    """A place with its surroundings, without colours, (SIDE, SIDE, 3) uint8."""
    extent = float(np.linalg.norm([np.ptp(row) for row in points.T])) or 1.0
    reach = extent * max(_CLOSE, _SPACINGS / np.sqrt(len(points)))
    return draw(points, np.zeros(len(points), np.float32), view.close(place, reach), SIDE).plain()
