"""A judged cloud to turn and to look at closely, in one HTML file that opens from disk without a network.

The page draws by itself, on the processor: 50,000 points are few, and a page that asks for no graphics card opens on every
factory PC and through every remote desktop. It holds the points, scores and normals as they are, in base64, and weighs
27 bytes a point beside 25 kB of its own.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadSample
from amiss.geometry.cloud import Neighbours, covariances
from amiss.types import Box
from amiss.viz.camera import View, views
from amiss.viz.markup import text, value
from amiss.viz.overlay import OPACITY, heat
from amiss.viz.template import filled, policy, template, write_page

Array = npt.NDArray[Any]

MOST = 50_000  # points that a page holds
_KEPT = 0.2  # share of them that are the highest-scored ones of the cloud
_AROUND = 24  # neighbours that a normal is fitted to
_DISC = 5  # a point is drawn as far as its fifth neighbour, so that few gaps are left
_AIR = 1.03  # from the middle to the border, in distances to the farthest point


@dataclass(frozen=True, kw_only=True)
class About:
    """What a page says of its cloud.

    title  heading     outcome  OK, REVIEW, NG, or none     facts  shown beside it     note  a sentence below them
    low, high  scores that are shown as nothing and as the strongest colour, by default the median and the largest
    boxes  drawn around the points, in their unit     view  at first, by default towards the point of the highest score
    """

    title: str = "Point cloud"
    outcome: str = "none"
    facts: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    low: float | None = None
    high: float | None = None
    boxes: Sequence[Box] = ()
    view: View | None = None


def write_viewer(path: str | os.PathLike[str], points: Array, scores: Array, about: About | None = None) -> None:
    """Write the page of a cloud; an older file stays whole until the new one is complete.

    Of a cloud of more than 50,000 points as many are shown: the highest-scored ones, and of the others the highest-scored one
    of each cell of a grid. The page says so.

    points  (N, 3) finite, N > 0     scores  (N,), what is no number is left out
    raises  BadSample for other shapes or values; CannotWrite saying what to do
    """
    points, scores = _checked(points, scores)
    write_page(path, _pieces(points, scores, about or About()), "viewer")


def shown(points: Array, scores: Array, most: int = MOST) -> Array:
    """Which points a view of the cloud keeps, (M,) increasing, M <= most.

    points  (N, 3)     scores  (N,)
    """
    if len(points) <= most:
        return np.arange(len(points))
    order = np.argsort(-scores, kind="stable")
    sure, others = order[: int(_KEPT * most)], order[int(_KEPT * most) :]
    left, low = most - len(sure), points.min(axis=0)
    cell = max(float(np.ptp(points, axis=0).max()) / np.sqrt(left), float(np.finfo(np.float32).tiny))
    while True:
        firsts = _first_of_each(np.floor((points[others] - low) / cell).astype(np.int64))
        if len(firsts) <= left:
            return np.sort(np.concatenate((sure, others[firsts])))
        cell *= 1.02 * np.sqrt(len(firsts) / left)  # a surface has as many cells as the square of their edge says


def _first_of_each(cells: Array) -> Array:
    """Where each cell occurs first, (M,); cells (N, 3) whole numbers."""
    sides = cells.max(axis=0) + 1
    _, firsts = np.unique((cells[:, 0] * sides[1] + cells[:, 1]) * sides[2] + cells[:, 2], return_index=True)
    return np.asarray(firsts)


def _checked(points: Array, scores: Array) -> tuple[Array, Array]:
    """Points (N, 3) and scores (N,) as float32, finite."""
    if points.ndim != 2 or points.shape[1:] != (3,) or scores.shape != points.shape[:1]:
        raise BadSample(f"points are {points.shape} and scores {scores.shape}, wanted (N, 3) and (N,)")
    points, scores = np.asarray(points, np.float32), np.asarray(scores, np.float32)
    if not np.isfinite(points).all():
        raise BadSample("points hold NaN or infinity; drop those rows first")
    known = np.isfinite(scores)
    if not known.any():
        raise BadSample(f"none of {len(points)} points has a score that is a number; there is nothing to show")
    return points[known], scores[known]


def _pieces(points: Array, scores: Array, about: About) -> Iterator[str]:
    kept = shown(points, scores)
    note = about.note
    if len(kept) < len(points):
        thinned = (
            f"{len(kept):,} of {len(points):,} points are shown: the highest-scored ones, and of the others the highest-scored "
            "one of each cell of a grid."
        )
        note = f"{thinned} {note}".strip()
    content = template("viewer_template.html")
    points, scores = points[kept], scores[kept]
    header, data = _data(points, scores, about)
    places = {
        "policy": [policy(content)], "title": [text(about.title)], "facts": _facts(about, note),
        "header": [json.dumps(header).replace("<", "\\u003c")], "data": [base64.b64encode(data).decode()],
    }  # fmt: skip
    return filled(content, places.__getitem__)


def _facts(about: About, note: str) -> Iterator[str]:
    said = "no verdict" if about.outcome == "none" else about.outcome
    yield f'<span class="badge {text(about.outcome)}">{text(said)}</span>\n<dl>\n'
    yield from (f"<dt>{text(key)}</dt><dd>{text(value(item))}</dd>\n" for key, item in about.facts.items())
    yield f"</dl>\n{f'<p class=soft>{text(note)}</p>' if note else ''}\n"


def _data(points: Array, scores: Array, about: About) -> tuple[dict[str, Any], bytes]:
    """What the page draws: facts for its script, and blocks of little-endian numbers one after another."""
    worst = int(scores.argmax())
    view = about.view or views(points, points[worst])[0]
    normals, sizes, radius = _surface(points)
    low = float(np.median(scores)) if about.low is None else about.low
    high = float(scores.max()) if about.high is None else about.high
    ramp = heat(np.arange(256, dtype=np.float32)[None], 0, 255)[0]
    blocks, content = [], b""
    for name, values in (("points", points), ("scores", scores), ("normals", normals), ("sizes", sizes), ("ramp", ramp)):
        part = values.astype(values.dtype.newbyteorder("<")).tobytes()
        blocks.append({"name": name, "type": values.dtype.name, "from": len(content), "to": len(content) + len(part)})
        content += part
    corners = np.stack((points.min(axis=0), points.max(axis=0))).astype(np.float64)
    reach = _AIR * float(np.linalg.norm(points - view.middle, axis=1).max()) or view.reach  # however it is turned
    header = {
        "count": len(points), "blocks": blocks, "worst": worst, "radius": radius, "opacity": OPACITY,
        "low": low, "high": max(low, high), "least": float(scores.min()), "most": float(scores.max()),
        "centre": corners.mean(axis=0).tolist(), "diagonal": float(np.linalg.norm(corners[1] - corners[0])),
        "view": {"axes": view.axes.ravel().tolist(), "middle": view.middle.tolist(), "reach": reach},
        "boxes": [{"low": box.low, "high": box.high, "score": box.score} for box in about.boxes],
    }  # fmt: skip
    return header, content


def _surface(points: Array) -> tuple[Array, Array, float]:
    """How each point is drawn: as a disc that reaches its neighbours and lies in the surface.

    return  normals (N, 3) int8, 127 long, either way round; sizes (N,) uint8, 64 of them a radius; that radius
    """
    near = min(_AROUND, len(points) - 1)
    if near < 3:
        up, extent = np.array((0, 0, 127), np.int8), float(np.ptp(points, axis=0).max())
        return np.broadcast_to(up, points.shape), np.full(len(points), 64, np.uint8), 0.02 * extent or 0.02
    centred = points - points.mean(axis=0, dtype=np.float64)
    found = Neighbours.of(centred, near)
    _, axes = np.linalg.eigh(covariances(centred, found)[1])
    reaches = found.distances[:, min(_DISC, near) - 1]
    radius = float(np.median(reaches)) or 0.02
    sizes = np.clip(np.rint(64 * reaches / radius), 8, 128).astype(np.uint8)
    return np.asarray(np.rint(127 * axes[:, :, 0]), np.int8), sizes, radius
