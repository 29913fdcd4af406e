"""SINBAD: the picture as a set of elements; an anomaly is an unusual distribution of elements, each of which may be fine.

Cohen, Tzachor, Hoshen: Set Features for Anomaly Detection, 2023, https://arxiv.org/abs/2302.12245.

What we follow: crops of several sizes; the elements of a crop are the cells of two depths of a frozen network, and for the
whole picture its pixels; a set is described by cumulative histograms along random directions; a description's score is its
distance to the nearest good one, whitened by a shrunk covariance, squared; scores are scaled by held-out good parts.
Where we differ, each by a field: the picture keeps its proportions and crops are shares of its sides (`canvas`); crops of two
sizes, not four (`sizes`); 200 directions, not 1000, the same for all crops of a depth (`directions`); a crop counts by how far
it lies beyond its own spread on held-out good parts (`weigh = "evidence"`, ours), not by its ratio to their mean; held-out
means folds of the good parts fitted on, so that none is lost. Thresholds come from good parts alone, those of the published
code from the set being judged. The map from the crops' scores is ours: the paper has none.
`amiss methods sinbad` lists the fields; the preset `paper` sets them as the paper has them.
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
from amiss.errors import BadModelFile
from amiss.fields import byte_count, option
from amiss.kit.crops import Canvas, CropExtractor, crops
from amiss.kit.evidence import beyond, log_spread
from amiss.kit.sets import Basis, Histograms, ShrunkNearest, Whitening, placed
from amiss.kit.subset import Subset, folded, in_sequence
from amiss.kit.threads import one_thread
from amiss.spread import GridSpread
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
Weighing = Literal["evidence", "mean"]
log = logging.getLogger(__name__)

_PIXEL_DIRECTIONS, _PIXEL_REPEATS = 10, 100  # as in the published code
_TINY = 1e-5  # added to a held-out mean before it divides, as in the published code


@dataclass(kw_only=True)
class SINBAD(Detector):
    """Nearest histograms of elements."""

    name: ClassVar[str] = "sinbad"
    paper: ClassVar[str] = "Cohen, Tzachor and Hoshen, 2023, https://arxiv.org/abs/2302.12245"
    sees: ClassVar[frozenset[str]] = frozenset({"image"})
    least: ClassVar[int] = 3
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "paper": {
            "canvas": "pad", "sizes": (0.25, 0.5, 0.7, 0.99), "directions": 1000, "pixels": 0.1, "pixel_step": 1,
            "weigh": "mean",
        },
    }  # fmt: skip
    quick: ClassVar[dict[str, Any]] = {"size": 128, "directions": 100}

    backbone: str = option("efficientnet_lite0", "embedded backbone, an added one, or the path of an ONNX file")
    layers: tuple[int, ...] = option((16, 32), "feature layers whose cells are elements", some=True)
    size: int = option(224, "a crop is seen at size x size pixels of area", least=32, most=4096)
    canvas: Canvas = option("keep", "keep the picture's proportions, force a square, or pad with black to one")
    sizes: tuple[float, ...] = option((0.5, 0.99), "sides of the crops, shares of the picture's", some=True, above=0, most=1)
    step: float = option(0.25, "distance between crops, a share of the picture's side", least=0.01, most=1)
    directions: int = option(200, "random directions along which a set is described", least=1)
    thresholds: int = option(5, "thresholds of a histogram", least=1)
    shrinkage: float = option(0.1, "share of the covariance replaced by its mean variance", above=0, most=1)
    whiten: Whitening = option("inverse", "lengths by the covariance's inverse, as published, or by its root (Mahalanobis)")
    weigh: Weighing = option("evidence", "how crops are joined: beyond their spread, or by their ratio")
    pixels: float = option(0.0, "weight of the whole picture's pixels; 0 leaves them out", least=0)
    pixel_step: int = option(4, "every how many pixels, as the network sees them, one is an element", least=1)
    references: int = option(32, "good pictures that thresholds are placed by", least=1)
    images: int = option(500, "most good pictures kept", least=3)
    memory: str = option("1GB", "budget for the references held at a time; where they need more, fewer are used", bytes=True)
    folds: int = option(5, "folds of good pictures that a crop's spread is measured on", least=2)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.levels_: list[_Level] = []
        self.pixels_: _Pixels | None = None
        self.samples_: list[str] = []
        self._crops = crops(self.sizes, self.step)
        self._groups = np.array([crop.size for crop in self._crops])
        self._extract: CropExtractor | None = None

    @property
    def fitted(self) -> bool:
        return bool(self.levels_)

    # -- fit -----------------------------------------------------------------------------------------------------------

    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None:
        rng = self.rng()
        parts = in_sequence(samples)
        if len(parts) > self.images:
            log.info("%d of %d good pictures are kept, drawn with the seed", self.images, len(parts))
            parts = Subset(parts, np.sort(rng.choice(len(parts), self.images, replace=False)))
        extract = self._extractor(None, None)
        extract.pin(parts)
        described, ids, digests = self._described(extract, parts, rng, progress, workdir)
        folds = folded(digests, self.folds, rng)
        if len(folds) < 2:
            log.warning("all %d good pictures are copies of one, so nothing can be measured on held-out ones", len(parts))
            folds = np.array_split(np.arange(len(parts)), 2)
        levels = []
        with one_thread():
            for done, histograms in enumerate(described[: len(self.layers)], start=1):
                levels.append(_Level.learned(histograms, folds, self._metric()))
                progress("measuring crops on held-out parts", done, len(self.layers))
            self.pixels_ = _Pixels.learned(described[-1], folds) if self.pixels else None
        self._extract, self.samples_, self.levels_ = extract, ids, levels

    def _extractor(self, graph: bytes | None, frame: tuple[int, int] | None) -> CropExtractor:
        return CropExtractor(self.backbone, self.layers, self.size, self.canvas, self._crops, graph=graph, frame=frame)

    def _metric(self) -> _Metric:
        return _Metric(self.shrinkage, self.whiten, counted=self.weigh == "evidence")

    def _sets(self, extract: CropExtractor, sample: Sample, cache: Path | None) -> list[Array]:
        """The picture's sets of elements, (crops, C, E) a layer; last, where they count, the pixels of its largest crop."""
        self._check_modality(sample)
        sets = extract(sample, cache=cache)
        if self.pixels:
            largest = max(self._crops, key=lambda crop: crop.side)
            sets.append(extract.pixels(sample, largest, self.pixel_step))
        return sets

    def _described(
        self, extract: CropExtractor, parts: Sequence[Sample], rng: np.random.Generator, progress: Progress, cache: Path | None
    ) -> tuple[list[Histograms], list[str], list[str]]:
        """Every good picture's histograms, each picture through the backbone once; the pictures' ids and digests."""
        first = np.sort(rng.choice(len(parts), min(self.references, len(parts)), replace=False)).tolist()
        held: dict[int, list[Array]] = {}
        for done, index in enumerate(first, start=1):
            held[index] = self._sets(extract, parts[index], cache)
            progress("reading references", done, len(first))
            if done < len(first) and sum(sets.nbytes for sets in held[index]) * (done + 1) > byte_count(self.memory):
                log.warning("memory = %s holds %d of %d references", self.memory, done, len(first))
                break
        first = list(held)
        found = []
        for level in range(len(held[first[0]])):
            references = [held[index][level] for index in first]
            count = self.directions if level < len(self.layers) else _PIXEL_DIRECTIONS * _PIXEL_REPEATS
            features = placed(references, count, self.thresholds, rng)
            found.append(Histograms.empty(features, len(parts), references[0].shape[2]))
        ids, digests = [], []
        for index, sample in enumerate(parts):
            sets = held.pop(index, None) or self._sets(extract, sample, cache)
            for level, elements in enumerate(sets):
                found[level].counts[index] = found[level].counted(elements)
            ids.append(sample.id)
            digests.append(sample.digest)
            progress("reading good parts", index + 1, len(parts))
        return found, ids, digests

    # -- predict -------------------------------------------------------------------------------------------------------

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        assert self._extract is not None and sample.image is not None
        sets = self._sets(self._extract, sample, workdir)
        with one_thread():
            found = [level.nearest(elements) for level, elements in zip(self.levels_, sets, strict=False)]
        told = np.stack(
            [self._told(level, squared) for level, (squared, _) in zip(self.levels_, found, strict=True)]
        )  # (L, crops)
        score = float((told @ self._shares()).mean())
        if self.pixels_ is not None:
            score += self.pixels * self.pixels_.told(sets[-1], self.weigh)
        shape = (sample.image.shape[0], sample.image.shape[1])
        level, worst = np.unravel_index(int(told.argmax()), told.shape)
        top, left, bottom, right = self._extract.box(self._crops[worst], shape)
        box = top, left, min(bottom, shape[0]), min(right, shape[1])
        nearest = {
            "sample": self.samples_[found[level][1][worst]],
            "box": box,
            "distance": float(np.sqrt(found[level][0][worst])),
        }
        return Result(
            id=sample.id,
            score=score,
            map=self._map(self._extract, told.mean(axis=0), shape),
            spread=GridSpread(shape=shape, size=self._extract.frame or shape, sigma=0.0),
            evidence={"patch": box, "nearest": [nearest]},
        )

    def _told(self, level: _Level, squared: Array) -> Array:
        """What each crop's squared distance says, (crops,): beyond its own spread, or its ratio to its size's held-out mean."""
        if self.weigh == "evidence":
            resolution = np.array([scorer.resolution for scorer in level.scorers])
            return beyond(squared, level.spread, resolution, len(self.samples_))
        means = np.bincount(self._groups, level.means) / np.bincount(self._groups)
        return np.asarray(squared / (means[self._groups] + _TINY))

    def _shares(self) -> Array:
        """Weights of the crops, (crops,): every size counts alike, and every place within it (section 3.4)."""
        counts = np.bincount(self._groups)
        return np.asarray(1 / (len(counts) * counts[self._groups]))

    def _map(self, extract: CropExtractor, told: Array, shape: tuple[int, int]) -> Array:
        """Mean over the crops that hold a place, on a grid as fine as the crops' step. Ours."""
        cells = max(1, round(1 / self.step))
        total, count = np.zeros((cells, cells), np.float32), np.zeros((cells, cells), np.float32)
        rows, columns = ((np.arange(cells) + 0.5) / cells * edge for edge in shape)
        for crop, value in zip(self._crops, told, strict=True):
            top, left, bottom, right = extract.box(crop, shape)
            inside = np.outer((rows >= top) & (rows < bottom), (columns >= left) & (columns < right))
            total[inside] += value
            count[inside] += 1
        total[count == 0], count[count == 0] = told.mean(), 1  # steps wider than the crops leave gaps
        return total / count

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        assert self._extract is not None and self._extract.frame is not None
        arrays = {f"level{i}_{key}": array for i, level in enumerate(self.levels_) for key, array in level.arrays().items()}
        elements = [level.histograms.elements for level in self.levels_]
        if self.pixels_ is not None:
            arrays |= {f"pixels_{key}": array for key, array in self.pixels_.arrays().items()}
            elements.append(self.pixels_.histograms.elements)
        facts = {"samples": self.samples_, "frame": list(self._extract.frame), "elements": elements}
        return State(arrays, facts, {"backbone": self._extract.graph})

    def _restore(self, state: State) -> None:
        elements = state.fact("elements")
        wanted = len(self.layers) + bool(self.pixels)
        if not isinstance(elements, list) or [type(item) for item in elements] != [int] * wanted or min(elements) < 1:
            raise BadModelFile(f"its fact 'elements' is {elements!r}, wanted {wanted} whole numbers above zero; fit it again")
        shape = len(self._crops), self.directions, self.thresholds
        levels = [_Level.restored(state, f"level{i}_", shape, elements[i], self._metric()) for i in range(len(self.layers))]
        samples = state.names("samples", len(levels[0].histograms.counts))
        pixels = None
        if self.pixels:
            pixels = _Pixels.restored(state, "pixels_", (1, _PIXEL_DIRECTIONS * _PIXEL_REPEATS, self.thresholds), elements[-1])
        self._extract = self._extractor(state.graphs.get("backbone"), state.pair("frame"))
        self.levels_, self.pixels_, self.samples_ = levels, pixels, samples


# -- one depth ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Metric:
    """How lengths are measured; `counted`: with the least variance that counting makes, which the paper does not know."""

    shrinkage: float
    whiten: Whitening
    counted: bool

    def scorer(self, vectors: Array, grain: float, basis: Basis | None = None) -> ShrunkNearest:
        """The nearest of vectors (n, p) of shares; grain is what one element adds to a share."""
        grain = grain if self.counted else 0.0
        return ShrunkNearest(vectors, shrinkage=self.shrinkage, whiten=self.whiten, grain=grain, basis=basis)


@dataclass(eq=False)
class _Level:
    """One depth of the network: every crop's descriptions of good pictures, and what held-out good ones scored.

    means   (crops,) of the squared distances     spread  (crops, 2) mean and deviation of their logarithms
    """

    histograms: Histograms
    scorers: list[ShrunkNearest]
    means: Array
    spread: Array

    @classmethod
    def learned(cls, histograms: Histograms, folds: Sequence[Array], metric: _Metric) -> _Level:
        """Scorers on all pictures; means and spread from scorers that did not have the judged ones."""
        scorers, means, spread = [], [], []
        for crop in range(len(histograms.features)):
            vectors = histograms.shares(histograms.counts[:, crop])
            scorers.append(metric.scorer(vectors, histograms.grain))
            held_out = np.empty(len(vectors))
            for fold in folds:
                others = metric.scorer(np.delete(vectors, fold, axis=0), histograms.grain)
                held_out[fold] = others.nearest(vectors[fold])[0]
            means.append(held_out.mean())
            spread.append(log_spread(held_out, scorers[-1].resolution))
        return cls(histograms, scorers, np.array(means), np.array(spread))

    def nearest(self, sets: Array) -> tuple[Array, Array]:
        """Squared distance (crops,) to the nearest good picture's description of the same crop, and which that is."""
        queries = self.histograms.shares(self.histograms.counted(sets))
        found = [scorer.nearest(query[None]) for scorer, query in zip(self.scorers, queries, strict=True)]
        return np.array([squared[0] for squared, _ in found]), np.array([index[0] for _, index in found])

    def arrays(self) -> dict[str, Array]:
        """What a model file keeps."""
        bases = {
            "axes": np.stack([scorer.basis.axes for scorer in self.scorers]),
            "variances": np.stack([scorer.basis.variances for scorer in self.scorers]),
        }
        return {**self.histograms.arrays(), **bases, "means": self.means, "spread": self.spread}

    @classmethod
    def restored(cls, state: State, name: str, shape: tuple[int, int, int], elements: int, metric: _Metric) -> _Level:
        """shape  crops, directions, thresholds"""
        histograms = Histograms.restored(state, name, shape, elements)
        n = len(histograms.counts)
        axes, variances = state.array(f"{name}axes", (shape[0], n, n)), state.array(f"{name}variances", (shape[0], n))
        means, spread = state.array(f"{name}means", (shape[0],)), state.array(f"{name}spread", (shape[0], 2))
        if min(variances.min(), means.min()) < 0 or spread[:, 1].min() <= 0:
            raise BadModelFile("its spreads are not above zero; fit it again")
        vectors = (histograms.shares(histograms.counts[:, crop]) for crop in range(shape[0]))
        scorers = [
            metric.scorer(each, histograms.grain, Basis(axes[crop], variances[crop])) for crop, each in enumerate(vectors)
        ]
        return cls(histograms, scorers, means, spread)


# -- pixels ------------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class _Pixels:
    """The whole picture's pixels: many small descriptions, plain distances, the median counts (section 3.4).

    means  (repeats,) held-out mean of each description's squared distance     spread  (2,) of the median's logarithm
    """

    histograms: Histograms
    means: Array
    spread: Array

    @classmethod
    def learned(cls, histograms: Histograms, folds: Sequence[Array]) -> _Pixels:
        """Means and spread from good pictures compared with those of other folds."""
        whole = cls(histograms, np.ones(_PIXEL_REPEATS), np.array([0.0, 1.0]))
        vectors = whole._split(histograms.counts[:, 0])
        held_out = np.empty((len(vectors), _PIXEL_REPEATS))
        for fold in folds:
            held_out[fold] = _nearest_plain(vectors[fold], np.delete(vectors, fold, axis=0))
        means = held_out.mean(axis=0)
        return cls(histograms, means, np.array(log_spread(np.median(held_out / (means + _TINY), axis=1), _TINY)))

    def told(self, sets: Array, weigh: Weighing) -> float:
        """What the pixels (1, 3, E) say: the median ratio, or how far it lies beyond its spread."""
        queries = self._split(self.histograms.counted(sets))
        squared = _nearest_plain(queries, self._split(self.histograms.counts[:, 0]))[0]
        median = np.median(squared / (self.means + _TINY))
        return float(median if weigh == "mean" else beyond(median, self.spread, _TINY, len(self.histograms.counts)))

    def _split(self, counts: Array) -> Array:
        """(m, 1000 K) counts as (m, repeats, 10 K) shares."""
        return self.histograms.shares(counts).reshape(len(counts), _PIXEL_REPEATS, -1)

    def arrays(self) -> dict[str, Array]:
        """What a model file keeps."""
        return {**self.histograms.arrays(), "means": self.means, "spread": self.spread}

    @classmethod
    def restored(cls, state: State, name: str, shape: tuple[int, int, int], elements: int) -> _Pixels:
        """shape  1, directions, thresholds"""
        histograms = Histograms.restored(state, name, shape, elements)
        means, spread = state.array(f"{name}means", (_PIXEL_REPEATS,)), state.array(f"{name}spread", (2,))
        if means.min() < 0 or spread[1] <= 0:
            raise BadModelFile("its spreads are not above zero; fit it again")
        return cls(histograms, means, spread)


def _nearest_plain(queries: Array, vectors: Array) -> Array:
    """(m, repeats) squared distance to the nearest of (n, repeats, width) in each repeat.

    With shrinkage 1 the covariance is a multiple of the identity, which the division by the held-out mean takes out.
    """
    return np.stack([((vectors - query) ** 2).sum(axis=2).min(axis=0) for query in queries])
