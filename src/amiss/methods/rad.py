"""RAD: look up the good pictures most like this one, then every patch's best match near the same place in them.

RAD: Is Training Necessary for Unsupervised Anomaly Detection (retrieval-based), 2026, https://arxiv.org/abs/2601.22763.

What we follow: per-layer banks of whole pictures without a coreset; the pictures retrieved by the cosine of their global
descriptors; a patch's score 1 - the largest cosine over the retrieved pictures within a window of places; layers fused by a
weighted mean; the picture's score the mean of the top 1 %. One bank may hold many products; `part` is never read.
Where we differ, each by a field: any backbone, so that `layers` of a CNN are brought to one grid (`grid`) and the descriptor of
one without a class token is the mean of its last tap; the picture keeps its proportions and is not cropped (`aspect`); the
score is taken over the places rather than over the blurred map (`over`); the blur is wider and mirrors the border (`blur`).
`amiss methods rad` lists the fields; the preset `paper` sets them as the published code has them, but for crop and blur, to be
used with a DINOv3 graph and `layers = 3, 6, 9, 11` (docs/backbones.md).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from amiss.contract import Detector, Progress, State
from amiss.errors import BadField, BadModelFile
from amiss.fields import byte_count, option
from amiss.kit.extract import Aspect, Features, ImageExtractor
from amiss.kit.gallery import Gallery, Precision, Shelves
from amiss.kit.maps import Area, area_score
from amiss.kit.patches import cell_box, on_grid, places, unit
from amiss.kit.subset import in_sequence
from amiss.spread import GridSpread
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class RAD(Detector):
    """Retrieval of good pictures, then of patches near the same place."""

    name: ClassVar[str] = "rad"
    paper: ClassVar[str] = "RAD, ICML 2026, https://arxiv.org/abs/2601.22763"
    sees: ClassVar[frozenset[str]] = frozenset({"image"})
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"size": 256, "grid": 16, "layers": (8, 16)},
        "paper": {
            "size": 448, "aspect": "square", "grid": 16, "pooling": 1, "images": 150, "radius": 1, "over": "map", "blur": 1.0,
        },
    }  # fmt: skip
    quick: ClassVar[dict[str, Any]] = {"size": 96, "images": 10}

    backbone: str = option("efficientnet_lite0", "embedded backbone, an added one, or the path of an ONNX file")
    layers: tuple[int, ...] = option((4, 8, 16, 32), "feature layers, each with a bank of its own", some=True)
    weights: tuple[float, ...] = option((), "weight of each layer's score; empty for equal ones", least=0)
    grid: int | None = option(16, "stride of the grid of places; none for the finest layer's", least=1)
    size: int = option(320, "the network sees size x size pixels of area", least=32, most=4096)
    aspect: Aspect = option("keep", "keep the proportions that most pictures have, or force a square")
    pooling: int = option(1, "side of the neighbourhood a patch looks at, odd", least=1, odd=True)
    images: int = option(150, "good pictures retrieved for each picture; all of them where there are fewer", least=1)
    radius: int | None = option(1, "reach of the window in cells of the grid; none to search everywhere", least=0)
    over: Area = option("cells", "score the places, or the pixels of the blurred map")
    top: float = option(0.01, "share of them averaged into the picture's score; 0 for the largest", least=0, most=1)
    blur: float = option(4.0, "sigma of the map's blur, in pixels the network sees", least=0)
    precision: Precision = option("half", "how the bank is stored")
    memory: str = option("1GB", "what of the bank is held in memory; a larger one is mapped from disk", bytes=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.weights and (len(self.weights) != len(self.layers) or sum(self.weights) <= 0):
            raise BadField(f"RAD.weights = {self.weights}: wanted one for each of {len(self.layers)} layers, not all zero")
        self.gallery_: Gallery | None = None
        self.samples_: list[str] = []
        self.shapes_: Array = np.empty((0, 2), np.int32)
        self._extract: ImageExtractor | None = None

    @property
    def fitted(self) -> bool:
        return self.gallery_ is not None

    # -- fit -----------------------------------------------------------------------------------------------------------

    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None:
        extract = self._extractor(None, None)
        parts = in_sequence(samples)
        shelves = Shelves(len(parts), precision=self.precision, memory=byte_count(self.memory))
        ids, shapes = [], []
        for sample, features in extract.framed(parts, check=self._check_modality, progress=progress, cache=workdir):
            layers, shape = self._patches(features)
            shelves.add(layers, _descriptor(features))
            ids.append(sample.id)
            shapes.append(features.shape)
        self.gallery_ = shelves.gallery((shape,) * len(self.layers))
        self.samples_, self.shapes_, self._extract = ids, np.array(shapes, np.int32), extract

    # -- patches -------------------------------------------------------------------------------------------------------

    def _extractor(self, graph: bytes | None, frame: tuple[int, int] | None) -> ImageExtractor:
        return ImageExtractor(self.backbone, self.layers, self.size, self.aspect, token=True, graph=graph, frame=frame)

    def _patches(self, features: Features) -> tuple[list[Array], tuple[int, int]]:
        """Unit vectors of every layer on the common grid, (P, C_l) each, and the grid's (rows, columns)."""
        shape = places(features, self.grid)
        return [unit(layer) for layer in on_grid(features, shape, pooling=self.pooling)], shape

    # -- predict -------------------------------------------------------------------------------------------------------

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        assert self.gallery_ is not None and self._extract is not None
        features = self._extract(sample, cache=workdir)
        layers, shape = self._patches(features)
        _, images = self.gallery_.alike(_descriptor(features), self.images)
        found = [self.gallery_.nearest(i, queries, images, radius=self.radius) for i, queries in enumerate(layers)]
        cosines = [distances[:, 0] ** 2 / 2 for distances, _ in found]  # 1 - cosine of unit vectors, one (P,) a layer
        scores = np.average(cosines, axis=0, weights=self.weights or None).astype(np.float32)
        worst = int(scores.argmax())
        spread = GridSpread(shape=features.shape, size=features.size, sigma=self.blur)
        return Result(
            id=sample.id,
            score=area_score(scores.reshape(shape), spread, self.top, over=self.over),
            map=scores.reshape(shape),
            spread=spread,
            evidence={
                "patch": cell_box(worst, (*shape, *features.shape)),
                "nearest": [self._source(distances[worst, 0], sources[worst, 0], shape) for distances, sources in found],
            },
        )

    def _source(self, distance: float, source: Array, shape: tuple[int, int]) -> dict[str, Any]:
        """The good patch of one layer that the worst patch is nearest to; source  (picture, place)"""
        picture, place = source
        box = cell_box(int(place), (*shape, *self.shapes_[picture]))
        return {"sample": self.samples_[picture], "box": box, "distance": float(distance)}

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        assert self.gallery_ is not None and self._extract is not None and self._extract.frame is not None
        facts = {"samples": self.samples_, "frame": list(self._extract.frame)}
        return State({**self.gallery_.arrays(), "shapes": self.shapes_}, facts, {"backbone": self._extract.graph})

    def _restore(self, state: State) -> None:
        frame = state.pair("frame")
        self.gallery_ = Gallery.restored(state, memory=byte_count(self.memory))
        self.samples_, self.shapes_ = (
            state.names("samples", len(self.gallery_)),
            state.array("shapes", (len(self.gallery_), 2), kind="i"),
        )
        if self.shapes_.min() < 1:
            raise BadModelFile("its pictures have no size; fit it again")
        self._extract = self._extractor(state.graphs.get("backbone"), frame)


def _descriptor(features: Features) -> Array:
    """The picture's global descriptor at unit length, so that the nearest one has the largest cosine."""
    assert features.token is not None
    return unit(features.token)
