"""MuSc-V2 on images: a pool of unlabelled pictures judges itself, for what is normal recurs and what is amiss does not.

Li, Huang, Xue, Zhou: MuSc, ICLR 2024, https://arxiv.org/abs/2401.16753; MuSc-V2, 2026, https://arxiv.org/abs/2511.10047.

What we follow: similarity-weighted aggregation of neighbourhoods (SNAMD), mutual scoring by the mean of the lowest 30 % of the
distances to the other pictures (MSM), the mean over layers as the map, scores drawn towards those of similar pictures (RsCon).
The v1 form is a preset: plain means of a layer-normalised grid (LNAMD), each degree scored for itself, RsCIN by the token.
Where we differ, each by a field: any backbone, so that `layers` of a CNN are brought to one grid (`grid`); the picture's raw
score is the mean of the top share of the map, not its maximum (`top`). As in the authors' code the weights come from vectors as
long as they are, and so collapse to the middle cell where these are long; `unit_first` divides them by their length first. The
preset `paper` is meant for a DINO graph with patches of 8 and `layers = 3, 7, 11` (docs/backbones.md). Maps are spread as those
of all methods here, by cell centres, not by corners as the code has it.
Ours: the pool is kept, so that one new picture can be judged against it. It is measured in the pool's range, which `fit`
learns; a picture that belongs to the pool is judged against the others. There is no p-value: nobody knows which of the pool are
good.
The part of MuSc-V2 that reads points belongs to a later method file; `kit/mutual.py` serves both.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from amiss.contract import Detector, Progress, State
from amiss.errors import BadModelFile, TooFewSamples
from amiss.fields import byte_count, option
from amiss.kit.extract import Aspect, Features, ImageExtractor
from amiss.kit.maps import top_mean
from amiss.kit.mutual import constrained, distances, lowest_mean, neighbourhoods, pool_distances, standardised
from amiss.kit.patches import cell_box, on_grid, places, unit
from amiss.kit.subset import in_sequence
from amiss.spread import GridSpread
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Member:
    """One picture in the terms of the method: vectors of every channel group (L, C_g), descriptor, size and grid."""

    groups: list[Array]
    token: Array
    size: tuple[int, int]
    grid: tuple[int, int]


@dataclass(kw_only=True)
class MuScV2(Detector):
    """Mutual scoring of unlabelled pictures."""

    name: ClassVar[str] = "musc_v2"
    paper: ClassVar[str] = "Li et al., 2026, https://arxiv.org/abs/2511.10047"
    sees: ClassVar[frozenset[str]] = frozenset({"image"})
    needs: ClassVar[frozenset[str]] = frozenset({"unlabelled"})
    least: ClassVar[int] = 2
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"size": 224},
        "paper": {
            "size": 224, "aspect": "square", "grid": 8, "top": 0.0, "blur": 0.0,
        },
        "v1": {
            "aggregation": "mean", "fuse": "scores", "descriptor": "token", "windows": (1, 2, 3), "top": 0.0, "blur": 0.0,
        },
    }  # fmt: skip
    quick: ClassVar[dict[str, Any]] = {"size": 96, "grid": 8}

    backbone: str = option("efficientnet_lite0", "embedded backbone, an added one, or the path of an ONNX file")
    layers: tuple[int, ...] = option((8, 16, 32), "feature layers, each scored for itself", some=True)
    grid: int | None = option(16, "stride of the grid of places; none for the finest layer's", least=1)
    size: int = option(320, "the network sees size x size pixels of area", least=32, most=4096)
    aspect: Aspect = option("keep", "keep each picture's proportions, or force a square")
    aggregation: Literal["similarity", "mean"] = option("similarity", "weights within a neighbourhood: SNAMD, or v1's LNAMD")
    degrees: tuple[int, ...] = option((1, 3, 5), "sides of the neighbourhoods", some=True, least=1, odd=True)
    unit_first: bool = option(False, "divide vectors by their length before they are weighted")
    temperature: float = option(1.0, "divides the distances in the weights exp(-distance)", above=0)
    fuse: Literal["mean", "concat", "scores"] = option(
        "mean", "how degrees are joined: vectors averaged, side by side, or scores"
    )
    share: float = option(0.3, "share of the lowest distances that a place's score averages", above=0, most=1)
    top: float = option(0.01, "share of places averaged into the raw score; 0 for the largest", least=0, most=1)
    windows: tuple[int, ...] = option(
        (1, 7), "similar pictures whose scores are averaged; empty to leave scores alone", least=1
    )
    descriptor: Literal["worst", "token"] = option("worst", "what pictures are alike in: their oddest patch, or the global one")
    blur: float = option(4.0, "sigma of the map's blur, in pixels the network sees", least=0)
    memory: str = option("1GB", "budget for the pool and its distances; a larger pool is sampled", bytes=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.vectors_: list[Array] = []
        self.counts_: Array = np.empty(0, np.int64)
        self.maps_: Array = np.empty(0, np.float32)
        self.raw_: Array = np.empty(0)
        self.described_: Array = np.empty((0, 0), np.float32)
        self.scores_: Array = np.empty(0)
        self.frames_: Array = np.empty((0, 4), np.int32)
        self.members_: dict[str, int] = {}
        self._extract: ImageExtractor | None = None

    @property
    def fitted(self) -> bool:
        return len(self.counts_) > 0

    # -- fit -----------------------------------------------------------------------------------------------------------

    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None:
        extract = self._extractor(None)
        pool = in_sequence(samples)
        if len(pool) < self.least:
            raise TooFewSamples(
                f"{self.name} compares pictures with one another: it needs {self.least} or more, met {len(pool)}"
            )
        chosen = self._affordable(len(pool), self._member(extract(pool[0], cache=workdir)))
        members: list[_Member] = []
        digests: list[str] = []
        for index, sample in enumerate(pool):
            if index not in chosen:
                continue
            self._check_modality(sample)
            members.append(self._member(extract(sample, cache=workdir)))
            digests.append(sample.digest)
            progress("reading the pool", len(members), len(chosen))
        counts = np.array([len(member.groups[0]) for member in members])
        scores = np.zeros(int(counts.sum()), np.float32)
        vectors = [np.concatenate([member.groups[g] for member in members]) for g in range(len(members[0].groups))]
        for number, group in enumerate(vectors, start=1):
            stage = f"comparing, layer {number} of {len(vectors)}"
            found = pool_distances(group, counts, partial(progress, stage))
            scores += lowest_mean(found, self.share, len(members) - 1)
        self.maps_, self.vectors_, self.counts_ = scores / len(vectors), vectors, counts
        self.members_ = {digest: index for index, digest in reversed(list(enumerate(digests)))}
        parts = np.split(self.maps_, np.cumsum(counts)[:-1])
        self.raw_ = np.array([self._raw(part) for part in parts])
        self.described_ = np.stack([self._described(m, part) for m, part in zip(members, parts, strict=True)])
        self.scores_ = self._constrained(self.raw_, self.described_, slice(None))
        self.frames_ = np.array([(*member.size, *member.grid) for member in members], np.int32)
        self._extract = extract

    def _affordable(self, count: int, member: _Member) -> frozenset[int]:
        """Indices of as many pictures, drawn at random, as the budget holds; all of them where it can.

        member  one of them, for its size
        """
        cells, channels = len(member.groups[0]), sum(group.shape[1] for group in member.groups)
        budget = byte_count(self.memory) / (4 * cells)  # n pictures take n * 2 * channels + n^2, twice while they are scored
        most = max(self.least, int((np.sqrt((2 * channels) ** 2 + 8 * budget) - 2 * channels) / 4))
        if most >= count:
            return frozenset(range(count))
        log.warning(
            "memory = %s holds a pool of %d of the %d pictures; the others can be judged as new", self.memory, most, count
        )
        return frozenset(int(index) for index in self.rng().choice(count, most, replace=False))

    # -- patches -------------------------------------------------------------------------------------------------------

    def _extractor(self, graph: bytes | None) -> ImageExtractor:
        return ImageExtractor(self.backbone, self.layers, self.size, self.aspect, token=True, graph=graph)

    def _member(self, features: Features) -> _Member:
        """Aggregated unit vectors of every layer (and, for fuse = scores, of every degree)."""
        shape = places(features, self.grid)
        groups: list[Array] = []
        for layer in on_grid(features, shape):
            grid = (unit(layer) if self.unit_first else layer).reshape(*shape, -1)
            if self.aggregation == "mean":
                grid = standardised(grid)
            degrees = neighbourhoods(
                grid, self.degrees, similarity=self.aggregation == "similarity", temperature=self.temperature
            )
            if self.fuse == "mean":
                degrees = [np.mean(degrees, axis=0)]
            elif self.fuse == "concat":
                degrees = [np.concatenate(degrees, axis=1)]
            groups += [_halved(unit(vectors)) for vectors in degrees]
        assert features.token is not None
        return _Member(groups, unit(features.token), features.size, shape)

    # -- scores --------------------------------------------------------------------------------------------------------

    def _raw(self, scores: Array) -> float:
        return top_mean(scores, self.top) if self.top else float(scores.max())

    def _described(self, member: _Member, scores: Array) -> Array:
        """What a picture is alike to others in (RsCon): its oddest patch in the layer before the last, or its token."""
        if self.descriptor == "token":
            return member.token
        per_layer = len(member.groups) // len(self.layers)
        layer = max(0, len(self.layers) - 2)
        return unit(member.groups[layer * per_layer][int(scores.argmax())])  # its own length is half precision's

    def _constrained(self, raw: Array, described: Array, rows: slice) -> Array:
        return constrained(raw, described, self.windows, float(self.raw_.min()), float(self.raw_.max()), rows)

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        assert self._extract is not None and sample.image is not None
        index = self.members_.get(sample.digest)
        if index is None:
            member = self._member(self._extract(sample, cache=workdir))
            size, grid = member.size, member.grid
            found = [distances(own, pool, self.counts_) for own, pool in zip(member.groups, self.vectors_, strict=True)]
            scores = np.mean([lowest_mean(each, self.share, len(self.counts_)) for each in found], axis=0)
            raw = np.append(self.raw_, self._raw(scores))
            described = np.vstack([self.described_, self._described(member, scores)])
            score = self._constrained(raw, described, slice(len(raw) - 1, None))[0]
        else:
            height, width, rows, columns = (int(side) for side in self.frames_[index])
            size, grid = (height, width), (rows, columns)
            start = int(self.counts_[:index].sum())
            scores = self.maps_[start : start + self.counts_[index]]
            score = self.scores_[index]
        shape = (sample.image.shape[0], sample.image.shape[1])
        return Result(
            id=sample.id,
            score=float(score),
            map=scores.reshape(grid).astype(np.float32),
            spread=GridSpread(shape=shape, size=size, sigma=self.blur),
            evidence={"patch": cell_box(int(scores.argmax()), (*grid, *shape)), "member": index is not None},
        )

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        assert self._extract is not None
        arrays = {f"vectors_{index}": group.astype(np.float16) for index, group in enumerate(self.vectors_)}
        arrays |= {"counts": self.counts_, "maps": self.maps_, "raw": self.raw_, "described": self.described_}
        arrays |= {"scores": self.scores_, "frames": self.frames_}
        return State(arrays, {"members": self.members_}, {"backbone": self._extract.graph})

    def _restore(self, state: State) -> None:
        counts = state.array("counts", (None,), kind="i")
        if not len(counts) or counts.min() < 1:
            raise BadModelFile("its pool has no pictures, or pictures without places; fit it again")
        self.counts_ = counts
        self.maps_ = state.array("maps", (int(self.counts_.sum()),))
        self.raw_, self.scores_ = state.array("raw", counts.shape), state.array("scores", counts.shape)
        self.frames_ = state.array("frames", (len(counts), 4), kind="i")
        self.described_ = state.array("described", (len(self.counts_), None))
        groups = len(self.layers) * (len(self.degrees) if self.fuse == "scores" else 1)
        stored = (state.array(f"vectors_{index}", (len(self.maps_), None)) for index in range(groups))
        self.vectors_ = [vectors.astype(np.float32) for vectors in stored]
        members = state.fact("members")
        if not isinstance(members, dict) or not all(
            type(index) is int and 0 <= index < len(self.counts_) for index in members.values()
        ):
            raise BadModelFile("its members do not fit its pool; fit it again")
        self.members_ = members
        if (self.frames_[:, 2] * self.frames_[:, 3] != counts).any() or self.frames_.min() < 1:
            raise BadModelFile("its maps do not fit its pictures; fit it again")
        self._extract = self._extractor(state.graphs.get("backbone"))


def _halved(vectors: Array) -> Array:
    """float32 values that half precision holds exactly, so that a saved model scores as the fitted one does."""
    return vectors.astype(np.float16).astype(np.float32)
