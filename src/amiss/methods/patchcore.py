"""PatchCore: the distance of every patch to its nearest patch among good parts.

Roth, Pemula, Zepeda, Schölkopf, Brox, Gehler: Towards Total Recall in Industrial Anomaly Detection, CVPR 2022,
https://arxiv.org/abs/2106.08265.

What we follow: locally aware patch features (section 3.1), a bank reduced by greedy k-centre selection on random
projections (3.2, algorithm 1), nearest-neighbour patch scores and their re-weighting (3.3, equations 6 and 7), a blurred map.
Where we differ, each by a field: the picture keeps its proportions and is not cropped (`aspect`), four layers are joined
(`layers`), each divided by its mean length over the picture, which takes out exposure (`scale`), the picture's score is the
mean of the top share of patches (`score`), the bank has a size rather than a share (`bank`).
`amiss methods patchcore` lists the fields; the preset `paper` sets them as the paper has them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from amiss.contract import Detector, Progress, State
from amiss.errors import BadField, BadModelFile
from amiss.fields import byte_count, option
from amiss.kit.candidates import Candidates
from amiss.kit.coreset import greedy_k_centre, project
from amiss.kit.extract import Aspect, Features, ImageExtractor
from amiss.kit.maps import ScoreRule, reweighted, top_mean
from amiss.kit.memory import MemoryBank
from amiss.kit.patches import cell_box, on_grid, places, regrid, squeeze, unfold
from amiss.spread import GridSpread
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)

_PATCHIFY_CHANNELS = 1024  # the paper code's width of one layer and of all layers joined


@dataclass(frozen=True)
class _Gathered:
    """What one pass over the good parts yields: patches, channels of each layer, scale of each, ids, grids and sizes."""

    candidates: Candidates
    channels: list[int]
    scale: Array
    ids: list[str]
    grids: Array


@dataclass(kw_only=True)
class PatchCore(Detector):
    """Nearest-neighbour patches over a coreset of good ones."""

    name: ClassVar[str] = "patchcore"
    paper: ClassVar[str] = "Roth et al., CVPR 2022, https://arxiv.org/abs/2106.08265"
    sees: ClassVar[frozenset[str]] = frozenset({"image"})
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"size": 256, "layers": (8, 16), "bank": 2867, "blur": 4.0},
        "paper": {
            "size": 224, "aspect": "square", "layers": (8, 16), "embedding": "patchify", "scale": "none",
            "border": "zero", "coreset": 0.1, "bank": None, "projection": 128, "score": "paper", "blur": 4.0,
        },
    }  # fmt: skip
    quick: ClassVar[dict[str, Any]] = {"size": 96, "bank": 200}

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
    memory: str = option("1GB", "budget for the candidate patches held while fitting", bytes=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bank_: MemoryBank | None = None
        self.samples_: list[str] = []
        self.grids_: Array = np.empty((0, 4), np.int32)
        self.scale_: Array = np.ones(0, np.float32)
        self._extract: ImageExtractor | None = None

    @property
    def fitted(self) -> bool:
        return self.bank_ is not None

    # -- fit -----------------------------------------------------------------------------------------------------------

    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None:
        rng = self.rng()
        extract = self._extract or self._extractor(None)
        found = self._gather(extract, samples, rng, progress, workdir)
        vectors = found.candidates.vectors()
        vectors *= np.repeat(found.scale, found.channels)
        count = min(self.bank or len(vectors), max(1, round(self.coreset * len(vectors))))
        picks = self._choose(vectors, count, rng, progress)
        if len(picks) == 1:
            log.warning("all patches of the good pictures are alike, so the bank holds a single one")
        self._extract, self.samples_, self.grids_, self.scale_ = extract, found.ids, found.grids, found.scale
        self.bank_ = MemoryBank(vectors[picks], found.candidates.rows()[picks])

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
        extract: ImageExtractor,
        samples: Iterable[Sample],
        rng: np.random.Generator,
        progress: Progress,
        workdir: Path | None,
    ) -> _Gathered:
        """Patches of all samples under the memory budget, and the layers' scales."""
        total = len(samples) if isinstance(samples, Sequence) else None
        candidates = Candidates(0, rng)
        lengths: list[Array] = []
        channels, ids, grids = [1], [], []
        for index, sample in enumerate(samples):
            self._check_modality(sample)
            features = extract(sample, cache=workdir)
            layers, shape = self._embed(features)
            lengths.append(np.array([np.linalg.norm(layer, axis=1).mean() for layer in layers]))
            if not index:
                channels = [layer.shape[1] for layer in layers]
                candidates = Candidates(self._capacity(sum(channels)), rng)
            rows = np.zeros((len(layers[0]), 3), np.int32)
            rows[:, 0], rows[:, 1] = index, np.arange(len(rows))
            candidates.add(np.concatenate(layers, axis=1), rows)
            ids.append(sample.id)
            grids.append((*shape, *features.shape))
            progress("reading good parts", index + 1, total)
        if candidates.sampled:
            log.warning(
                "memory = %s holds %d of %d patches; the bank is chosen from a uniform sample of them",
                self.memory, len(candidates.rows()), candidates.seen,
            )  # fmt: skip
        return _Gathered(candidates, channels, self._scales(np.mean(lengths, axis=0)), ids, np.array(grids, np.int32))

    def _capacity(self, channels: int) -> int:
        """How many candidates the budget holds: the vector, its projection twice (moved to the start), and bookkeeping."""
        reduced = min(channels, self.projection or channels)
        return byte_count(self.memory) // (4 * (channels + 2 * reduced) + 56)

    def _scales(self, mean_lengths: Array) -> Array:
        if self.scale not in ("mean", "root"):
            return np.ones(len(mean_lengths), np.float32)
        return np.asarray(1 / np.maximum(mean_lengths, 1e-12), np.float32)

    # -- patches -------------------------------------------------------------------------------------------------------

    def _extractor(self, graph: bytes | None) -> ImageExtractor:
        return ImageExtractor(self.backbone, self.layers, self.size, self.aspect, graph=graph)

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
        self._extract = self._extract or self._extractor(None)
        features = self._extract(sample, cache=workdir)
        layers, shape = self._embed(features)
        patches = np.concatenate([layer * scale for layer, scale in zip(layers, self.scale_, strict=True)], axis=1)
        distances, nearest = self.bank_.nearest(patches, min(self.neighbours, len(self.bank_)))  # (P, k)
        if self.distance == "squared":
            distances = distances**2
        scores = distances.mean(axis=1)
        worst = int(scores.argmax())
        return Result(
            id=sample.id,
            score=self._score(scores, patches[worst], worst, int(nearest[worst, 0])),
            map=scores.reshape(shape),
            spread=GridSpread(shape=features.shape, size=features.size, sigma=self.blur),
            evidence={"patch": cell_box(worst, (*shape, *features.shape)), "nearest": self._nearest(distances, nearest, worst)},
        )

    def _score(self, scores: Array, patch: Array, worst: int, anchor: int) -> float:
        if self.score == "max":
            return float(scores[worst])
        if self.score == "top":
            return top_mean(scores, self.top)
        assert self.bank_ is not None
        return reweighted(patch, float(scores[worst]), anchor, self.bank_, neighbours=self.reweight, rule=self.score)

    def _nearest(self, distances: Array, nearest: Array, worst: int) -> list[dict[str, Any]]:
        """The good patches closest to the worst one: sample, place as a box in it, distance."""
        assert self.bank_ is not None
        return [
            {
                "sample": self.samples_[self.bank_.rows[row, 0]],
                "box": cell_box(int(self.bank_.rows[row, 1]), self.grids_[self.bank_.rows[row, 0]]),
                "distance": float(distance),
            }
            for row, distance in zip(nearest[worst], distances[worst], strict=True)
        ]

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        assert self.bank_ is not None and self._extract is not None
        arrays = {
            "bank": self.bank_.vectors, "rows": self.bank_.rows, "grids": self.grids_, "scale": self.scale_,
        }  # fmt: skip
        return State(arrays=arrays, facts={"samples": self.samples_}, graphs={"backbone": self._extract.graph})

    def _restore(self, state: State) -> None:
        try:
            self.bank_ = MemoryBank(state.arrays["bank"], state.arrays["rows"])
            self.grids_, self.scale_ = state.arrays["grids"], state.arrays["scale"]
            self.samples_ = list(state.facts["samples"])
        except (KeyError, BadField) as error:
            raise BadModelFile(f"the model file lacks {error}; fit it again") from error
        whole = self.grids_.shape == (len(self.samples_), 4) and len(self.scale_) == (
            1 if self.embedding == "patchify" else len(self.layers)
        )
        if not whole or not 0 <= self.bank_.rows[:, 0].min() <= self.bank_.rows[:, 0].max() < len(self.samples_):
            raise BadModelFile("its arrays do not fit one another; fit it again")
        self._extract = self._extractor(state.graphs.get("backbone"))
