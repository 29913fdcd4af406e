"""How odd every place of a cloud is: how far its surroundings are from any among good clouds, seen in three ways.

fine    FPFH of the near neighbours: cracks, scratches, steep dents     coarse  FPFH of twice as many: flat bulges and sinks
rim     how the neighbours spread and how far off their middle lies: holes, of which FPFH sees nothing, since a surface goes
        on as it was up to where it ends

Each way has a bank of its own, of as many places from every good cloud, chosen by greedy k-centre selection; so a good cloud
is measured against all others but itself, as a cloud that was not seen before will be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.contract import State
from amiss.errors import BadModelFile, BadSample
from amiss.geometry.cloud import Neighbours, covariances, mean_around, middlemost, own_frame, thinned
from amiss.kit.clouds import CloudExtractor, CloudFeatures, Gauge, points_of
from amiss.kit.coreset import greedy_k_centre
from amiss.kit.memory import MemoryBank
from amiss.types import Sample

Array = npt.NDArray[Any]

WAYS = ("fine", "coarse", "rim")
_SCALES, _AVERAGED = (3.3, 4.6), (1.8, 2.8)  # cells: radii of the descriptors, and of what they are averaged over
_RIM, _EVENED = 3.3, 1.5  # cells: the same for rims
_MOST = 60  # neighbours of a place, of which there is about one for each cell of surface
_ROOM = 1.5e8  # cells of the thinning that a cloud may reach over; a grid has an eighth: 600 MB for each layer
_LEAST = 1e-3  # distance below which two places are the same


@dataclass(frozen=True, eq=False)
class Surface:
    """What is looked at of a cloud.

    seen    descriptors, places and normals in the cloud's own coordinates     places  (P, 3) in its own frame
    went    (N,) to which place each point went     cell  of the thinning
    spread  (P, 2) linearity and sphericity of the neighbours     ways  what each of WAYS sees, (P, C)
    """

    seen: CloudFeatures
    places: Array
    went: Array
    cell: float
    spread: Array
    ways: tuple[Array, ...]


class Looker:
    """Clouds to surfaces."""

    def __init__(self, gauge: Gauge) -> None:
        self.gauge = gauge
        self._extract = CloudExtractor(_SCALES, 0, gauge)

    def __call__(self, sample: Sample, *, cache: Path | None = None) -> Surface:
        """raises  BadSample for a cloud of too few points, without a surface, or with points too far off for a grid"""
        seen, cell = self._extract(sample, cache=cache), self.gauge.cell
        frame = own_frame(points_of(sample))
        went = thinned(frame, cell)[1]
        places = frame[middlemost(frame, went)]  # the points that the extractor looks at
        room = np.ptp(places, axis=0) / cell + 1
        if room.prod() > _ROOM:
            lengths = " x ".join(f"{length:.0f}" for length in room)
            raise BadSample(
                f"{sample.id}: it reaches over {lengths} cells of {cell:.4g}, more than a grid holds; remove points far off "
                "the part, or fit with fewer points (most)"
            )
        near = Neighbours.around(places, cell * max(_RIM, *_AVERAGED), most=_MOST)
        spread, rim = _spread(places, near.inside(cell * _RIM), cell)
        ways = zip((*seen.layers, rim), (*_AVERAGED, _EVENED), strict=True)
        evened = tuple(mean_around(way, near.inside(cell * radius, least=0)) for way, radius in ways)
        return Surface(seen, places, went, cell, spread, evened)


@dataclass(frozen=True, eq=False)
class Oddness:
    """What good clouds look like.

    banks  one for each of WAYS, rows telling which cloud a vector is of     scale  (4,) that rims are divided by
    """

    banks: tuple[MemoryBank, ...]
    scale: Array

    @classmethod
    def of(cls, clouds: Sequence[Surface], size: int) -> Oddness:
        """size  vectors in each bank, shared out evenly to the clouds"""
        spans = np.concatenate([cloud.ways[-1] for cloud in clouds]).std(axis=0)
        scale = np.where(spans > 0, spans, 1).astype(np.float32)
        seen = [_scaled(cloud, scale) for cloud in clouds]
        each = max(1, size // len(clouds))
        return cls(tuple(_bank([ways[index] for ways in seen], each) for index in range(len(WAYS))), scale)

    def __call__(self, cloud: Surface, *, without: int | None = None) -> Array:
        """Logarithm of the distance to the nearest good place in each way, (P, 3) float32.

        without  number of a good cloud that may not answer: the one that is asked about
        """
        found = []
        for bank, way in zip(self.banks, _scaled(cloud, self.scale), strict=True):
            asked = bank
            if without is not None:
                others = bank.rows[:, 0] != without
                asked = MemoryBank(bank.vectors[others], bank.rows[others])
            found.append(asked.nearest(way)[0][:, 0])
        return np.asarray(np.log(np.stack(found, axis=1) + np.float32(_LEAST)), np.float32)

    def arrays(self) -> dict[str, Array]:
        """What a model file holds of it."""
        banks = {name: bank.vectors for name, bank in zip(WAYS, self.banks, strict=True)}
        return banks | {"rim_scale": self.scale}

    @classmethod
    def restored(cls, state: State) -> Oddness:
        """raises  BadModelFile where its arrays are missing or do not fit one another"""
        scale, banks = state.array("rim_scale", (None,)), [state.array(name, (None, None)) for name in WAYS]
        if not all(map(len, banks)) or scale.min(initial=0) < 0 or not len(scale) == banks[-1].shape[1]:
            raise BadModelFile("its banks do not fit one another; fit it again")
        rows = [np.zeros((len(bank), 3), np.int32) for bank in banks]
        return cls(tuple(MemoryBank(bank, row) for bank, row in zip(banks, rows, strict=True)), scale)


def _scaled(cloud: Surface, scale: Array) -> tuple[Array, ...]:
    return (*cloud.ways[:-1], cloud.ways[-1] / scale)


def _bank(clouds: Sequence[Array], each: int) -> MemoryBank:
    picks = [greedy_k_centre(vectors, min(each, len(vectors)), start=0)[0] for vectors in clouds]
    rows = [np.column_stack([np.full(len(pick), index), pick, 0 * pick]) for index, pick in enumerate(picks)]
    vectors = [vectors[pick] for vectors, pick in zip(clouds, picks, strict=True)]
    return MemoryBank(np.concatenate(vectors), np.concatenate(rows).astype(np.int32))


def _spread(places: Array, near: Neighbours, cell: float) -> tuple[Array, Array]:
    """Linearity and sphericity (P, 2); offset of the middle, two ratios and the logarithm of the widest deviation (P, 4)."""
    mean, covariance = covariances(places, near)
    squares = np.maximum(np.linalg.eigvalsh(covariance)[:, ::-1], (1e-3 * cell) ** 2)
    widest, middle, narrow = np.sqrt(squares).T
    shares = np.column_stack([squares[:, 0] - squares[:, 1], squares[:, 2]]) / squares[:, :1]
    offset = np.linalg.norm(places - mean, axis=1) / widest
    rim = np.column_stack([offset, middle / widest, narrow / widest, np.log(widest / cell)])
    return shares.astype(np.float32), rim.astype(np.float32)
