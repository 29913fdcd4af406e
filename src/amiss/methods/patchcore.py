"""PatchCore: the distance of every patch to its nearest patch among good parts, in pictures and in point clouds.

Roth, Pemula, Zepeda, Schölkopf, Brox, Gehler: Towards Total Recall in Industrial Anomaly Detection, CVPR 2022,
https://arxiv.org/abs/2106.08265.

What we follow: locally aware patch features (section 3.1), a bank reduced by greedy k-centre selection on random
projections (3.2, algorithm 1), nearest-neighbour patch scores and their re-weighting (3.3, equations 6 and 7), a blurred map.
Where we differ, each by a field: the picture keeps its proportions and is not cropped (`aspect`), four layers are joined
(`layers`), each divided by its mean length over the picture, which takes out exposure (`scale`), the picture's score is the
mean of the top share of patches (`score`), the bank has a size rather than a share (`bank`).
`amiss methods patchcore` lists the fields; the preset `paper` sets them as the paper has them.
Of a cloud the patches are the places of its thinned surface, described by FPFH at two scales (`kit/clouds.py`); bank, coreset
and scores are the same. The paper knows pictures alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from amiss.contract import Detector, Progress, State
from amiss.errors import BadField, BadModelFile
from amiss.fields import byte_count, option
from amiss.kit.candidates import Candidates
from amiss.kit.clouds import CloudExtractor, Gauge
from amiss.kit.coreset import greedy_k_centre, project
from amiss.kit.extract import Aspect, Features, ImageExtractor
from amiss.kit.maps import ScoreRule, reweighted, top_mean
from amiss.kit.memory import MemoryBank
from amiss.kit.patches import cell_box, on_grid, places, regrid, squeeze, unfold
from amiss.kit.subset import in_sequence
from amiss.spread import GridSpread, PointSpread
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)

_PATCHIFY_CHANNELS = 1024  # the paper code's width of one layer and of all layers joined


@dataclass(frozen=True)
class _Patches:
    """What one sample becomes.

    layers  (P, C_l) a layer     frame  what tells where a patch lies: grid and picture (4,), or all places (P, 3)
    shape   of the map     spread  the map's way back to the sample
    """

    layers: list[Array]
    frame: Array
    shape: tuple[int, ...]
    spread: GridSpread | PointSpread


@dataclass(frozen=True)
class _Gathered:
    """What one pass over the good parts yields: patches, channels of each layer, scale of each, ids and frames."""

    candidates: Candidates
    channels: list[int]
    scale: Array
    ids: list[str]
    frames: list[Array]


@dataclass(kw_only=True)
class PatchCore(Detector):
    """Nearest-neighbour patches over a coreset of good ones."""

    name: ClassVar[str] = "patchcore"
    paper: ClassVar[str] = "Roth et al., CVPR 2022, https://arxiv.org/abs/2106.08265"
    sees: ClassVar[frozenset[str]] = frozenset({"image", "points"})
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"size": 256, "layers": (8, 16), "bank": 2867, "blur": 4.0},
        "paper": {
            "size": 224, "aspect": "square", "layers": (8, 16), "embedding": "patchify", "scale": "none",
            "border": "zero", "coreset": 0.1, "bank": None, "projection": 128, "score": "paper", "blur": 4.0,
        },
    }  # fmt: skip
    quick: ClassVar[dict[str, Any]] = {"size": 96, "bank": 200, "places": 1000, "most": 3000}

    backbone: str = option("efficientnet_lite0", "embedded backbone, or the path of an ONNX file that describes itself")
    layers: tuple[int, ...] = option((4, 8, 16, 32), "strides of the feature layers to join", some=True)
    grid: int | None = option(8, "stride of the patch grid; none for the finest layer's", least=1)
    size: int = option(320, "the network sees size x size pixels of area", least=32, most=4096)
    aspect: Aspect = option("keep", "keep the picture's proportions, or force a square")
    embedding: Literal["avgpool", "patchify"] = option("avgpool", "neighbourhood mean, or the paper code's adaptive pool")
    pooling: int = option(3, "side of the neighbourhood a patch looks at, odd", least=1, odd=True)
    border: Literal["reflect", "replicate", "zero"] = option("zero", "what lies beyond the edge of a feature grid")
    scale: Literal["picture", "root", "mean", "unit", "none"] = option("picture", "what a layer's vectors are divided by")
    coreset: float = option(1.0, "share of the patches kept in the bank", above=0, most=1)
    bank: int | None = option(5_000, "most patches kept in the bank; none for no limit", least=1)
    start: Literal["random", "first"] = option("random", "where the coreset selection starts")
    projection: int | None = option(64, "dimensions for the coreset selection only; none for all", least=1)
    neighbours: int = option(1, "nearest bank patches averaged into a patch score", least=1)
    distance: Literal["euclidean", "squared"] = option("euclidean", "distance that a patch score is made of")
    score: ScoreRule = option("top", "rule that turns patch scores into the picture's score")
    top: float = option(0.01, "share of patches averaged by the score rule `top`", above=0, most=1)
    reweight: int = option(9, "bank neighbours in the score rules `paper` and `rvorias`", least=1)
    blur: float = option(5.0, "sigma of the map's blur, in pixels the network sees", least=0)
    places: int = option(20_000, "clouds: most places kept in the bank", least=1)
    cells: float = option(1.5, "clouds: edge of a thinning cell, in spacings of the good clouds", above=0)
    most: int = option(20_000, "clouds: most points looked at, so that cells may be larger", least=200)
    scales: tuple[float, ...] = option((3.0, 5.0, 7.0), "clouds: radii that descriptors look at, in cells", some=True, above=0)
    averaged: float = option(2.2, "clouds: radius that descriptors are averaged over, in cells; 0 for none", least=0)
    memory: str = option("1GB", "budget for the candidate patches held while fitting", bytes=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bank_: MemoryBank | None = None
        self.samples_: list[str] = []
        self.spots_: Array = np.empty((0, 4), np.int32)  # of the bank's patches: boxes in pictures, or points
        self.scale_: Array = np.ones(0, np.float32)
        self._extract: ImageExtractor | CloudExtractor | None = None

    @property
    def fitted(self) -> bool:
        return self.bank_ is not None

    # -- fit -----------------------------------------------------------------------------------------------------------

    @property
    def reads(self) -> frozenset[str]:
        if self._extract is None:
            return self.sees
        return frozenset({"points" if isinstance(self._extract, CloudExtractor) else "image"})

    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None:
        rng = self.rng()
        self._extract = self._suited(in_sequence(samples))
        found = self._gather(samples, rng, progress, workdir)
        vectors = found.candidates.vectors()
        vectors *= np.repeat(found.scale, found.channels)
        bank = self.places if isinstance(self._extract, CloudExtractor) else self.bank
        count = min(bank or len(vectors), max(1, round(self.coreset * len(vectors))))
        picks = self._choose(vectors, count, rng, progress)
        if len(picks) == 1:
            log.warning("all patches of the good parts are alike, so the bank holds a single one")
        rows = found.candidates.rows()[picks]
        spots = [_spot(int(place), found.frames[sample]) for sample, place, _ in rows]
        self.samples_, self.spots_, self.scale_ = found.ids, np.array(spots), found.scale
        self.bank_ = MemoryBank(vectors[picks], rows)

    def _suited(self, parts: Sequence[Sample]) -> ImageExtractor | CloudExtractor:
        """An extractor of what the first part shows: its picture, or its points where it has no picture."""
        if "image" in parts[0].sees:
            return self._pictures(None)
        return CloudExtractor(self.scales, self.averaged, Gauge.of(parts, self.cells, self.most))

    def _choose(self, vectors: Array, count: int, rng: np.random.Generator, progress: Progress) -> Array:
        """Indices of the patches that the bank keeps (algorithm 1)."""
        start = int(rng.integers(len(vectors))) if self.start == "random" else 0
        if count == len(vectors):
            return np.arange(count)
        reduced = project(vectors, self.projection, rng)
        picks, radius = greedy_k_centre(
            reduced, count, start=start, progress=lambda done, total: progress("choosing the bank", done, total)
        )
        log.info("bank: %d of %d patches, covering radius %.4g", len(picks), len(vectors), radius)
        return picks

    def _gather(
        self,
        samples: Iterable[Sample],
        rng: np.random.Generator,
        progress: Progress,
        workdir: Path | None,
    ) -> _Gathered:
        """Patches of all samples under the memory budget, and the layers' scales."""
        total = len(samples) if isinstance(samples, Sequence) else None
        candidates = Candidates(0, rng)
        lengths: list[Array] = []
        channels, ids, frames = [1], [], []
        for index, sample in enumerate(samples):
            self._check_modality(sample)
            patches = self._patches(sample, workdir)
            layers = patches.layers
            lengths.append(np.array([np.linalg.norm(layer, axis=1).mean() for layer in layers]))
            if not index:
                channels = [layer.shape[1] for layer in layers]
                candidates = Candidates(self._capacity(sum(channels)), rng)
            rows = np.zeros((len(layers[0]), 3), np.int32)
            rows[:, 0], rows[:, 1] = index, np.arange(len(rows))
            candidates.add(np.concatenate(layers, axis=1), rows)
            ids.append(sample.id)
            frames.append(patches.frame)
            progress("reading good parts", index + 1, total)
        if candidates.sampled:
            log.warning(
                "memory = %s holds %d of %d patches; the bank is chosen from a uniform sample of them",
                self.memory, len(candidates.rows()), candidates.seen,
            )  # fmt: skip
        return _Gathered(candidates, channels, self._scales(np.mean(lengths, axis=0)), ids, frames)

    def _capacity(self, channels: int) -> int:
        """How many candidates the budget holds: the vector, its projection twice (moved to the start), and bookkeeping."""
        reduced = min(channels, self.projection or channels)
        return byte_count(self.memory) // (4 * (channels + 2 * reduced) + 56)

    def _scales(self, mean_lengths: Array) -> Array:
        if self.scale not in ("mean", "root"):
            return np.ones(len(mean_lengths), np.float32)
        return np.asarray(1 / np.maximum(mean_lengths, 1e-12), np.float32)

    # -- patches -------------------------------------------------------------------------------------------------------

    def _pictures(self, graph: bytes | None) -> ImageExtractor:
        return ImageExtractor(self.backbone, self.layers, self.size, self.aspect, graph=graph)

    def _patches(self, sample: Sample, cache: Path | None) -> _Patches:
        assert self._extract is not None
        if isinstance(self._extract, CloudExtractor):
            cloud = self._extract(sample, cache=cache)
            return _Patches(cloud.layers, cloud.places, (len(cloud.places),), cloud.spread)
        features = self._extract(sample, cache=cache)
        layers, shape = self._embed(features)
        spread = GridSpread(shape=features.shape, size=features.size, sigma=self.blur)
        return _Patches(layers, np.array((*shape, *features.shape), np.int32), shape, spread)

    def _embed(self, features: Features) -> tuple[list[Array], tuple[int, int]]:
        """Locally aware patch features of every layer on one grid (section 3.1), not yet scaled across layers.

        return  one (P, C_l) array a layer (one in all for `patchify`); the grid's (rows, columns)
        """
        shape = places(features, self.grid)
        if self.embedding == "avgpool":
            layers = on_grid(features, shape, pooling=self.pooling, border=self.border)
        else:
            unfolded = [self._unfolded(features.grid(index), shape) for index in range(len(self.layers))]
            layers = [squeeze(np.concatenate(unfolded, axis=1), _PATCHIFY_CHANNELS)]
        return [self._normalised(layer) for layer in layers], shape

    def _normalised(self, layer: Array) -> Array:
        """A layer's patches divided by a length, as `scale` says; by the mean over good parts only in `_scales`."""
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

    # -- predict -------------------------------------------------------------------------------------------------------

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        assert self.bank_ is not None
        patches = self._patches(sample, workdir)
        vectors = np.concatenate([layer * scale for layer, scale in zip(patches.layers, self.scale_, strict=True)], axis=1)
        distances, nearest = self.bank_.nearest(vectors, min(self.neighbours, len(self.bank_)))  # (P, k)
        if self.distance == "squared":
            distances = distances**2
        scores = distances.mean(axis=1)
        worst = int(scores.argmax())
        return Result(
            id=sample.id,
            score=self._score(scores, vectors[worst], worst, int(nearest[worst, 0])),
            map=scores.reshape(patches.shape),
            spread=patches.spread,
            evidence={
                "patch": tuple(_spot(worst, patches.frame).tolist()),
                "nearest": self._nearest(distances[worst], nearest[worst]),
            },
        )

    def _score(self, scores: Array, patch: Array, worst: int, anchor: int) -> float:
        if self.score == "max":
            return float(scores[worst])
        if self.score == "top":
            return top_mean(scores, self.top)
        assert self.bank_ is not None
        return reweighted(patch, float(scores[worst]), anchor, self.bank_, neighbours=self.reweight, rule=self.score)

    def _nearest(self, distances: Array, nearest: Array) -> list[dict[str, Any]]:
        """The good patches closest to one: sample, place in it as a box or a point, distance."""
        assert self.bank_ is not None
        place = "point" if self.spots_.shape[1] == 3 else "box"
        return [
            {
                "sample": self.samples_[self.bank_.rows[row, 0]],
                place: tuple(self.spots_[row].tolist()),
                "distance": float(distance),
            }
            for row, distance in zip(nearest, distances, strict=True)
        ]

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        assert self.bank_ is not None and self._extract is not None
        arrays = {
            "bank": self.bank_.vectors, "rows": self.bank_.rows, "spots": self.spots_, "scale": self.scale_,
        }  # fmt: skip
        facts: dict[str, Any] = {"samples": self.samples_}
        if isinstance(self._extract, CloudExtractor):
            return State(arrays, facts | {"gauge": asdict(self._extract.gauge)})
        return State(arrays, facts, {"backbone": self._extract.graph})

    def _restore(self, state: State) -> None:
        try:
            self.bank_ = MemoryBank(state.arrays["bank"], state.arrays["rows"])
            self.spots_, self.scale_ = state.arrays["spots"], state.arrays["scale"]
            self.samples_ = list(state.facts["samples"])
        except (KeyError, BadField) as error:
            raise BadModelFile(f"the model file lacks {error}; fit it again") from error
        clouds = "gauge" in state.facts
        layers = len(self.scales) if clouds else 1 if self.embedding == "patchify" else len(self.layers)
        whole = self.spots_.shape == (len(self.bank_), 3 if clouds else 4) and len(self.scale_) == layers
        if not whole or not 0 <= self.bank_.rows[:, 0].min() <= self.bank_.rows[:, 0].max() < len(self.samples_):
            raise BadModelFile("its arrays do not fit one another; fit it again")
        self._extract = self._pictures(state.graphs.get("backbone"))
        if clouds:
            self._extract = CloudExtractor(self.scales, self.averaged, Gauge.restored(state.facts["gauge"]))


def _spot(place: int, frame: Array) -> Array:
    """Where a patch lies: its box in the picture (4,), or its point in the cloud (3,)."""
    return frame[place] if frame.ndim == 2 else np.array(cell_box(place, frame))
