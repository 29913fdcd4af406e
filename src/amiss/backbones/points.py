"""Run an encoder of point clouds: an ONNX graph that turns groups of points into tokens. Needs no torch.

The graph carries one metadata entry, `amiss.points`, a JSON object with the fields of `Encoding`. Its inputs are `groups`
(1, G, M, 3) and `centres` (1, G, 3), its output is `tokens` (1, G, D), for any G and M. Groups are made here, not in the graph:
G places far from one another, the M places nearest to each, their coordinates less the centre's. Lengths are in cells of the
gauge, so that a unit common to all clouds changes nothing. Tokens are brought to all places by inverse squared distance to the
nearest three, as in PointNet++ (Qi, Yi, Su, Guibas, NeurIPS 2017).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from amiss.backbones.runtime import session
from amiss.errors import BadBackbone, BadSample
from amiss.geometry.cloud import outermost, own_frame

Array = npt.NDArray[Any]
Frame = Literal["own", "local", "given"]
Statistics = Literal["running", "batch"]

ENTRY = "amiss.points"
INPUTS, OUTPUT = ("groups", "centres"), "tokens"


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What an encoder says of itself.

    taps     after how many blocks its tokens are taken, joined in this order     channels  D, of all taps together
    groups, members  G and M     unit  how many cells are one of the network's
    frame    how the axes lie: along the cloud's own; along each group's own (centres along the cloud's); as they are given
    statistics  of its batch normalisation: those it was trained with, or those of the cloud that it sees
    """

    taps: tuple[int, ...]
    channels: int
    groups: int = 1024
    members: int = 128
    unit: float = 1.0
    frame: Frame = "own"
    statistics: Statistics = "running"

    def __post_init__(self) -> None:
        counts = (*self.taps, self.channels, self.groups, self.members)
        if not self.taps or not all(type(count) is int and count > 0 for count in counts):
            raise ValueError(f"wanted taps and counts of 1 or more, met {self}")
        if not (isinstance(self.unit, float) and math.isfinite(self.unit) and self.unit > 0):
            raise ValueError(f"wanted a unit above zero, met {self.unit!r}")
        if self.frame not in get_args(Frame) or self.statistics not in get_args(Statistics):
            raise ValueError(f"wanted a frame and statistics that are known, met {self.frame!r} and {self.statistics!r}")

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Encoding:
        try:
            raw = json.loads(text)
            known = {field.name for field in fields(cls)}
            return cls(**{**{name: raw[name] for name in known}, "taps": tuple(raw["taps"])})
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise BadBackbone(
                f"the encoder's metadata entry {ENTRY!r} is not as documented ({error!r}); see docs/points.md"
            ) from error


class Groups(NamedTuple):
    """centres  (G,) indices of places, the farthest first     members  (G, M) indices, nearest first"""

    centres: Array
    members: Array


class PointEncoder:
    """Places of a cloud in, one token for each of them out."""

    def __init__(self, graph: bytes, *, name: str) -> None:
        """graph  serialised ONNX     name  for messages     raises  BadBackbone where it is no encoder of points"""
        self.name, self.graph = name, graph
        self.digest = hashlib.sha256(graph).hexdigest()
        self.description = described(graph, name)
        self._session = session(graph, name)
        met = {one.name for one in self._session.get_inputs()}, {one.name for one in self._session.get_outputs()}
        if met != (set(INPUTS), {OUTPUT}):
            raise BadBackbone(f"{name}: turns {sorted(met[0])} into {sorted(met[1])}, wanted {sorted(INPUTS)} and {OUTPUT!r}")

    def __call__(self, places: Array, directions: Array, cell: float) -> tuple[Array, Array]:
        """Tokens (G, D) float32 of a cloud, and the places (G,) they stand at.

        places  (P, 3)     directions  (P, 3) unit normals, for groups in frames of their own     cell  edge of a cell
        raises  BadSample where there are fewer places than a group has members, BadBackbone where the graph fails
        """
        groups, centres, at = prepared(places, directions, cell, self.description)
        try:
            (found,) = self._session.run([OUTPUT], {INPUTS[0]: groups[None], INPUTS[1]: centres[None]})
        except Exception as error:  # onnxruntime raises its own, undocumented kinds
            raise BadBackbone(f"{self.name}: ONNX Runtime failed on groups of shape {groups.shape} ({error})") from error
        wanted = (1, len(at), self.description.channels)
        if found.shape != wanted or not np.isfinite(found).all():
            raise BadBackbone(f"{self.name}: gives tokens of shape {found.shape}, wanted finite ones of {wanted}")
        return found[0], at


def described(graph: bytes, name: str) -> Encoding:
    """What a graph says of itself; raises BadBackbone where it is no ONNX file, or no encoder of points."""
    entry = _entry(graph, name)
    if entry is None:
        raise BadBackbone(
            f"{name}: not an encoder of points (no metadata entry {ENTRY!r}); make one with amiss backbones point-mae or "
            "amiss backbones learn-points (docs/points.md)"
        )
    return Encoding.from_json(entry)


def is_encoder(graph: bytes, name: str) -> bool:
    """Whether an ONNX graph says that it encodes points; raises BadBackbone where it is no ONNX file."""
    return _entry(graph, name) is not None


def _entry(graph: bytes, name: str) -> str | None:
    import onnx

    try:
        model = onnx.load_model_from_string(graph)
    except Exception as error:  # protobuf raises its own, undocumented kinds
        raise BadBackbone(f"{name}: not an ONNX file ({error}); give the path of an ONNX graph") from error
    return next((str(entry.value) for entry in model.metadata_props if entry.key == ENTRY), None)


# -- groups ------------------------------------------------------------------------------------------------------------


def prepared(places: Array, directions: Array, cell: float, encoding: Encoding) -> tuple[Array, Array, Array]:
    """What an encoder sees of a cloud: groups (G, M, 3) and centres (G, 3) float32 in its unit, and the centres' places (G,).

    places, directions, cell  as for PointEncoder     raises  as grouped
    """
    found = grouped(places, encoding.groups, encoding.members)
    axes, directions = laid(places, directions, cell, encoding)
    groups = framed(axes, directions, found, encoding)
    return groups, axes[found.centres].astype(np.float32), found.centres


def laid(places: Array, directions: Array, cell: float, encoding: Encoding) -> tuple[Array, Array]:
    """Places (P, 3) along the axes and in the unit of an encoder, and directions (P, 3) along the same axes."""
    centred = np.asarray(places, np.float64) - np.mean(places, axis=0, dtype=np.float64)
    if encoding.frame == "given":
        return centred / (cell * encoding.unit), directions
    own = own_frame(places)  # a rotation of the places, and normals go with it (Kabsch, 1976)
    left, _, right = np.linalg.svd(centred.T @ own)
    turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    return own / (cell * encoding.unit), np.asarray(directions @ turn)


def framed(axes: Array, directions: Array, groups: Groups, encoding: Encoding) -> Array:
    """Groups (G, M, 3) float32 of places that are laid, about their centres."""
    found = axes[groups.members] - axes[groups.centres, None]
    if encoding.frame == "local":
        found = in_own_frames(found, directions[groups.centres])
    return np.asarray(found, np.float32)


def grouped(points: Array, count: int, members: int) -> Groups:
    """Groups about points that are far from one another: always the same ones, whatever the order or pose of the points.

    points  (N, 3)     count  G, or all points where there are fewer     members  M nearest points, the centre among them
    raises  BadSample where there are not M points, all are the same, or all on a line
    """
    from scipy.spatial import cKDTree

    if len(points) < members:
        raise BadSample(
            f"the cloud has {len(points)} points after thinning, groups of {members} are wanted; scan it more densely, or "
            "take an encoder of smaller groups"
        )
    points = np.asarray(points, np.float64)
    order = np.lexsort(points.T)  # of points that are equally far the same one is taken
    ordered = points[order] - points.mean(axis=0)
    centres = farthest(ordered, min(count, len(points)), outermost(ordered))
    _, near = cKDTree(ordered).query(ordered[centres], k=range(1, members + 1), workers=-1)
    return Groups(order[centres], order[near])


def farthest(points: Array, count: int, start: int) -> Array:
    """Indices (count,) of points, each the farthest from all before it (Gonzalez, 1985); points (N, 3)."""
    x, y, z = np.ascontiguousarray(points.T)
    picks = np.empty(count, np.intp)
    gaps = np.full(len(points), np.inf)
    pick = start
    for number in range(count):
        picks[number] = pick
        np.minimum(gaps, (x - x[pick]) ** 2 + (y - y[pick]) ** 2 + (z - z[pick]) ** 2, out=gaps)
        gaps[pick] = -1.0  # taken once, even among copies
        pick = int(gaps.argmax())
    return picks


def in_own_frames(groups: Array, directions: Array) -> Array:
    """Each group along its own axes: no pose of the cloud changes them.

    The last axis is that along which the group spreads least, on the side of the normal; the first that along which it spreads
    most, towards the longer tail; the second makes the frame right-handed. A group that is as wide as it is long has no first
    axis of its own and gets one of those that fit.

    groups  (G, M, 3) about their centres     directions  (G, 3) normals     return  (G, M, 3)
    """
    middles = groups - groups.mean(axis=1, keepdims=True)
    _, axes = np.linalg.eigh(middles.transpose(0, 2, 1) @ middles)  # ascending; one axis a column
    up = axes[:, :, 0] * _signs(np.einsum("gi,gi->g", axes[:, :, 0], directions))
    along = axes[:, :, 2]
    along = along * _signs(((middles @ along[:, :, None])[..., 0] ** 3).sum(axis=1))
    return np.asarray(groups @ np.stack([along, np.cross(up, along), up], axis=2))


def _signs(values: Array) -> Array:
    """1 or -1, as a column."""
    return np.where(values < 0, -1.0, 1.0)[:, None]
