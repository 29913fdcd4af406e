"""PatchCore: the distance of every patch to its nearest patch among good parts, in pictures and in point clouds.

Roth, Pemula, Zepeda, Schölkopf, Brox, Gehler: Towards Total Recall in Industrial Anomaly Detection, CVPR 2022,
https://arxiv.org/abs/2106.08265.

What we follow: locally aware patch features (section 3.1), a bank reduced by greedy k-centre selection on random
projections (3.2, algorithm 1), nearest-neighbour patch scores and their re-weighting (3.3, equations 6 and 7), a blurred map.
Where we differ, each by a field: the picture keeps its proportions and is not cropped (`aspect`), four layers are joined
(`layers`), each divided by its mean length over the picture, which takes out exposure (`scale`), the picture's score is the
mean of the top share of patches (`score`), the bank has a size rather than a share (`bank`).
`amiss methods patchcore` lists the fields; the preset `paper` sets them as the paper has them.
Of a cloud the patches are the places of its thinned surface, described by FPFH and leans at several scales (`kit/clouds.py`)
and, where an `encoder` is given, by its tokens (`kit/tokens.py`); bank, coreset and scores are the same. A second bank holds
what whole good clouds look like from one side (`kit/sides.py`); it answers too where a scan is from one side. The paper knows
pictures alone.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from amiss.backbones.points import PointEncoder
from amiss.backbones.runtime import load_graph
from amiss.contract import Detector, Progress, State
from amiss.errors import BadField, BadModelFile
from amiss.fields import byte_count, option
from amiss.kit.candidates import Candidates
from amiss.kit.clouds import CloudExtractor, Gauge
from amiss.kit.coreset import greedy_k_centre, project
from amiss.kit.embedding import Border, Embedding, Form, Scale
from amiss.kit.extract import Aspect, ImageExtractor
from amiss.kit.maps import ScoreRule, reweighted, top_mean
from amiss.kit.memory import MemoryBank
from amiss.kit.patches import cell_box
from amiss.kit.sides import HELD_AGAINST_VIEWS, Sides, apart, origins
from amiss.kit.subset import Subset, in_sequence
from amiss.kit.tokens import EncodedExtractor, balance, drawn_matrix, restored_encoder
from amiss.spread import GridSpread, PointSpread
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)

_ASKED, _UPPER = 1_000, 0.995  # places of a cloud or view that tell how far apart good ones are; quantile of that
_COPIES = 0.01  # of how far views are apart: good clouds that are closer are copies of one another


@dataclass(frozen=True)
class _Patches:
    """What one sample becomes.

    layers  (P, C_l) a layer     frame  what tells where a patch lies: grid and picture (4,), or all places (P, 3)
    shape   of the map     spread  the map's way back to the sample     weights  (P,) of places of a scan from one side
    """

    layers: list[Array]
    frame: Array
    shape: tuple[int, ...]
    spread: GridSpread | PointSpread
    weights: Array | None = None


@dataclass(frozen=True)
class _Gathered:
    """What one pass over good parts yields: of layers channels and scale, of parts ids, frames, which are whole, weights."""

    candidates: Candidates
    channels: list[int]
    scale: Array
    ids: list[str]
    frames: list[Array]
    whole: list[int]
    weights: list[Array]


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
    embedding: Form = option("avgpool", "neighbourhood mean, or the paper code's adaptive pool")
    pooling: int = option(3, "side of the neighbourhood a patch looks at, odd", least=1, odd=True)
    border: Border = option("zero", "what lies beyond the edge of a feature grid")
    scale: Scale = option("picture", "what a layer's vectors are divided by")
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
    places: int = option(10_000, "clouds: most places kept in the bank", least=1)
    cells: float = option(1.0, "clouds: edge of a thinning cell, in spacings of the good clouds", above=0)
    most: int = option(20_000, "clouds: most points looked at, so that cells may be larger", least=200)
    scales: tuple[float, ...] = option((2.5, 4.0, 6.0), "clouds: radii that descriptors look at, in cells", some=True, above=0)
    averaged: float = option(2.2, "clouds: radius that descriptors are averaged over, in cells; 0 for none", least=0)
    lean: float = option(1.0, "clouds: weight of how far the surroundings lean to one side; 0 for none", least=0)
    views: int = option(
        8, "clouds: sides from which whole good ones are looked at, for scans from one side; 0 for none", least=0
    )
    encoder: str | None = option(None, "clouds: an encoder of points, an ONNX file that describes itself; none for FPFH alone")
    share: float = option(
        0.5, "clouds: share of the encoder's tokens in a squared distance; 1 leaves FPFH out", above=0, most=1
    )
    channels: int | None = option(128, "clouds: channels that tokens are projected to; none for all", least=1)
    memory: str = option("1GB", "budget for the candidate patches held while fitting", bytes=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.bank_: MemoryBank | None = None
        self.sides_: MemoryBank | None = None  # the bank and, after it, what whole good clouds look like from one side
        self.level_: float = 1.0  # what scores of scans from one side are multiplied by, to lie where those of whole ones do
        self.samples_: list[str] = []
        self.spots_: Array = np.empty((0, 4), np.int32)  # of the bank's patches: boxes in pictures, or points
        self.scale_: Array = np.ones(0, np.float32)
        self._extract: ImageExtractor | CloudExtractor | None = None
        self._all_whole = False  # whether no good part is a scan from one side

    @property
    def fitted(self) -> bool:
        return self.bank_ is not None

    def fold(self) -> Self:
        new = self.unfitted()
        if self._all_whole:
            new.views = 0
        return new

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
        parts = in_sequence(samples)
        self._extract = self._suited(parts, rng)
        found = self._gather(parts, rng, progress, workdir)
        self.samples_, self.sides_, self.level_ = found.ids, None, 1.0
        self._all_whole = len(found.whole) == len(found.ids)
        self.scale_ = found.scale * self._balance(found, rng)
        vectors, rows, self.spots_ = self._banked(found, rng, progress)
        self.bank_ = MemoryBank(vectors, rows)
        if isinstance(self._extract, CloudExtractor) and self.views and found.whole:
            sides = Sides(Subset(parts, found.whole), self.views, self._extract.gauge.cell)
            seen = self._gather(sides, rng, lambda _, done, total: progress("looking from the sides", done, total), workdir)
            more, where, spots = self._banked(seen, rng, progress)
            where[:, 0] += len(self.samples_)
            self.samples_, self.spots_ = [*self.samples_, *seen.ids], np.concatenate([self.spots_, spots])
            self.sides_ = self.bank_.joined(MemoryBank(more, where))
            own = origins(np.arange(len(found.ids)))
            views = np.array([(found.whole[cloud], side) for cloud, side in sides.origins])
            holders = np.concatenate([own, views])[self.sides_.rows[:, 0]]
            usual = self._upper(found, own, self.bank_, holders[: len(self.bank_)])
            there = self._upper(seen, views, self.sides_, holders)
            self.level_ = usual / there if usual > _COPIES * there > 0 else 1.0

    def _upper(self, found: _Gathered, owners: Array, bank: MemoryBank, holders: Array) -> float:
        """What few places of good clouds, or of views, are farther from others than, 0 where there are no others."""
        rows, weights = found.candidates.rows(), np.concatenate(found.weights)
        places = np.cumsum([0, *map(len, found.weights)])[rows[:, 0]] + rows[:, 1]
        far = apart(found.candidates.vectors(), owners[rows[:, 0]], weights[places], bank, holders, _ASKED)  # scaled by _banked
        return float(np.quantile(far, _UPPER)) if len(far) else 0.0

    def _banked(self, found: _Gathered, rng: np.random.Generator, progress: Progress) -> tuple[Array, Array, Array]:
        """What a bank holds (section 3.2): vectors, rows, and where their patches lie."""
        vectors = found.candidates.vectors()
        vectors *= np.repeat(self.scale_, found.channels)
        bank = self.places if isinstance(self._extract, CloudExtractor) else self.bank
        count = min(bank or len(vectors), max(1, round(self.coreset * len(vectors))))
        picks = self._choose(vectors, count, rng, progress)
        if len(picks) == 1:
            log.warning("all patches of the good parts are alike, so the bank holds a single one")
        rows = found.candidates.rows()[picks]
        spots = np.array([_spot(int(place), found.frames[sample]) for sample, place, _ in rows])
        return vectors[picks], rows, spots

    def _suited(self, parts: Sequence[Sample], rng: np.random.Generator) -> ImageExtractor | CloudExtractor:
        """An extractor of what the first part shows: its picture, or its points where it has no picture."""
        if "image" in parts[0].sees:
            if self.encoder is not None:
                raise BadField(f"encoder = {self.encoder!r} is for point clouds, {parts[0].id} is a picture; leave it out")
            return self._pictures(None)
        gauge = Gauge.of(parts, self.cells, self.most)
        if self.encoder is None:
            return self._clouds(gauge, None, None)
        encoder = PointEncoder(load_graph(self.encoder), name=self.encoder)
        return self._clouds(gauge, encoder, drawn_matrix(encoder.description.channels, self.channels, rng))

    def _balance(self, found: _Gathered, rng: np.random.Generator) -> Array:
        """What each layer is multiplied by: as it is, but for tokens, which are brought to the level of descriptors."""
        if not isinstance(self._extract, EncodedExtractor):
            return np.ones(len(found.scale), np.float32)
        split = sum(found.channels[:-1])
        plain, tokens = balance(found.candidates.vectors(), found.candidates.rows()[:, 0], split, self.share, rng)
        return np.array([plain] * (len(found.scale) - 1) + [tokens], np.float32)

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
        channels, ids, frames, whole, weights = [1], [], [], [], []
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
            whole += [index] * (patches.weights is None)
            weights.append(np.ones(len(rows), np.float32) if patches.weights is None else patches.weights)
            progress("reading good parts", index + 1, total)
        if candidates.sampled:
            log.warning(
                "memory = %s holds %d of %d patches; the bank is chosen from a uniform sample of them",
                self.memory, len(candidates.rows()), candidates.seen,
            )  # fmt: skip
        return _Gathered(candidates, channels, self._scales(np.mean(lengths, axis=0)), ids, frames, whole, weights)

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

    def _clouds(self, gauge: Gauge, encoder: PointEncoder | None, matrix: Array | None) -> CloudExtractor:
        if encoder is None:
            return CloudExtractor(self.scales, self.averaged, gauge, lean=self.lean)
        return EncodedExtractor(self.scales, self.averaged, gauge, encoder=encoder, matrix=matrix, lean=self.lean)

    def _patches(self, sample: Sample, cache: Path | None) -> _Patches:
        assert self._extract is not None
        if isinstance(self._extract, CloudExtractor):
            cloud = self._extract(sample, cache=cache)
            weights = cloud.weights if cloud.one_sided else None
            return _Patches(cloud.layers, cloud.places, (len(cloud.places),), cloud.spread, weights)
        features = self._extract(sample, cache=cache)
        layers, shape = self._embed(features)
        spread = GridSpread(shape=features.shape, size=features.size, sigma=self.blur)
        return _Patches(layers, np.array((*shape, *features.shape), np.int32), shape, spread)

    @property
    def _embed(self) -> Embedding:
        return Embedding(self.grid, self.embedding, self.pooling, self.border, self.scale)

    # -- predict -------------------------------------------------------------------------------------------------------

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        assert self.bank_ is not None
        patches = self._patches(sample, workdir)
        vectors = np.concatenate([layer * scale for layer, scale in zip(patches.layers, self.scale_, strict=True)], axis=1)
        bank, weights = self.bank_, np.ones(1, np.float32)
        if patches.weights is not None and self.sides_ is not None:
            log.warning(HELD_AGAINST_VIEWS, sample.id)
            bank, weights = self.sides_, patches.weights * np.float32(self.level_)
        distances, nearest = bank.nearest(vectors, min(self.neighbours, len(bank)))  # (P, k)
        distances = (distances * weights[:, None]) ** (2 if self.distance == "squared" else 1)
        scores = distances.mean(axis=1)
        worst = int(scores.argmax())
        return Result(
            id=sample.id,
            score=self._score(scores, vectors[worst], int(nearest[worst, 0]), bank),
            map=scores.reshape(patches.shape),
            spread=patches.spread,
            evidence={
                "patch": tuple(_spot(worst, patches.frame).tolist()),
                "nearest": self._nearest(distances[worst], nearest[worst], bank),
                **({} if bank is self.bank_ else {"one_sided": True}),
            },
        )

    def _score(self, scores: Array, patch: Array, anchor: int, bank: MemoryBank) -> float:
        if self.score == "max":
            return float(scores.max())
        if self.score == "top":
            return top_mean(scores, self.top)
        return reweighted(patch, float(scores.max()), anchor, bank, neighbours=self.reweight, rule=self.score)

    def _nearest(self, distances: Array, nearest: Array, bank: MemoryBank) -> list[dict[str, Any]]:
        """The good patches closest to one: sample, place in it as a box or a point, distance."""
        place = "point" if self.spots_.shape[1] == 3 else "box"
        return [
            {
                "sample": self.samples_[bank.rows[row, 0]],
                place: tuple(self.spots_[row].tolist()),
                "distance": float(distance),
            }
            for row, distance in zip(nearest, distances, strict=True)
        ]

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        assert self.bank_ is not None and self._extract is not None
        bank = self.sides_ or self.bank_
        arrays = {"bank": bank.vectors, "rows": bank.rows, "spots": self.spots_, "scale": self.scale_}
        facts: dict[str, Any] = {"samples": self.samples_}
        if isinstance(self._extract, CloudExtractor):
            facts |= {"gauge": asdict(self._extract.gauge), "whole": len(self.bank_), "level": self.level_}
        if isinstance(self._extract, EncodedExtractor):
            arrays |= {} if self._extract.matrix is None else {"matrix": self._extract.matrix}
            return State(arrays, facts, {"encoder": self._extract.encoder.graph})
        if isinstance(self._extract, CloudExtractor):
            return State(arrays, facts)
        return State(arrays, facts, {"backbone": self._extract.graph})

    def _restore(self, state: State) -> None:
        try:
            bank = MemoryBank(state.arrays["bank"], state.arrays["rows"])
            self.spots_, self.scale_ = state.arrays["spots"], state.arrays["scale"]
            self.samples_ = list(state.facts["samples"])
        except (KeyError, BadField) as error:
            raise BadModelFile(f"the model file lacks {error}; fit it again") from error
        clouds, layers = "gauge" in state.facts, 1 if self.embedding == "patchify" else len(self.layers)
        if clouds:
            encoder, matrix = (None, None) if self.encoder is None else restored_encoder(state)
            self._extract = self._clouds(Gauge.restored(state.facts["gauge"]), encoder, matrix)
            layers = len(self._extract.channels)
        else:
            self._extract = self._pictures(state.graphs.get("backbone"))
        fits = self.spots_.shape == (len(bank), 3 if clouds else 4) and len(self.scale_) == layers
        if not fits or not 0 <= bank.rows[:, 0].min() <= bank.rows[:, 0].max() < len(self.samples_):
            raise BadModelFile("its arrays do not fit one another; fit it again")
        count, level = (state.fact("whole"), state.fact("level")) if clouds else (len(bank), 1.0)
        if not isinstance(count, int) or not 0 < count <= len(bank) or not isinstance(level, float) or not 0 < level < np.inf:
            raise BadModelFile(f"its bank of {len(bank)} has {count!r} places of whole parts, level {level!r}; fit it again")
        self.bank_, self.sides_, self.level_ = bank, None, level
        if count < len(bank):
            self.bank_, self.sides_ = MemoryBank(bank.vectors[:count], bank.rows[:count]), bank


def _spot(place: int, frame: Array) -> Array:
    """Where a patch lies: its box in the picture (4,), or its point in the cloud (3,)."""
    return frame[place] if frame.ndim == 2 else np.array(cell_box(place, frame))
