"""SPADE: the good pictures most like this one, and pixel by pixel what in them corresponds to it.

Cohen, Hoshen: Sub-Image Anomaly Detection with Deep Pyramid Correspondences, 2020, https://arxiv.org/abs/2005.02357.

What we follow: the k nearest good pictures by the pooled last layer (section 3.2); the picture's distance to them as its score
(equation 2) with `score = "images"`; the map as every place's mean distance to its kappa nearest features among all places of
those pictures (3.3, equation 3) with `match = "anywhere"`, averaged over a pyramid of layers after upsampling, blurred.
Where we differ, each by a field: by default a place is compared only with the same place (`match = "same"`), as the port
ind_knn_ad does: far cheaper, and better for parts that lie alike; the picture's score is the mean of the map's top share
(`score = "map"`), which sees small defects that the pooled layer does not; the picture keeps its proportions and is not cropped
(`aspect`). `amiss methods spade` lists the fields; the preset `paper` sets them as the paper has them.
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
from amiss.fields import byte_count, option
from amiss.kit.extract import Aspect, Features, ImageExtractor
from amiss.kit.gallery import Gallery, Precision, Shelves
from amiss.kit.maps import top_mean
from amiss.kit.patches import cell_box, regrid
from amiss.kit.subset import in_sequence
from amiss.spread import GridSpread
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class SPADE(Detector):
    """Nearest pictures, then nearest pixels in them."""

    name: ClassVar[str] = "spade"
    paper: ClassVar[str] = "Cohen and Hoshen, 2020, https://arxiv.org/abs/2005.02357"
    sees: ClassVar[frozenset[str]] = frozenset({"image"})
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"layers": (8, 16), "match": "same"},
        "paper": {"size": 224, "aspect": "square", "layers": (4, 8, 16), "match": "anywhere", "images": 50, "score": "images"},
    }
    quick: ClassVar[dict[str, Any]] = {"size": 96, "images": 10}

    backbone: str = option("efficientnet_lite0", "embedded backbone, an added one, or the path of an ONNX file")
    layers: tuple[int, ...] = option((8, 16, 32), "feature layers of the map", some=True)
    size: int = option(256, "the network sees size x size pixels of area", least=32, most=4096)
    aspect: Aspect = option("keep", "keep the proportions that most pictures have, or force a square")
    images: int = option(50, "K: good pictures retrieved; all of them where there are fewer", least=1)
    match: Literal["anywhere", "same"] = option("same", "compare a place with every place of those pictures, or with itself")
    kappa: int = option(1, "nearest features averaged into a place's score", least=1)
    score: Literal["map", "images"] = option("map", "the picture's score: from the map, or its distance to the K pictures")
    top: float = option(0.01, "share of places averaged by score = map; 0 for the largest", least=0, most=1)
    blur: float = option(4.0, "sigma of the map's blur, in pixels the network sees", least=0)
    precision: Precision = option("half", "how the gallery is stored")
    memory: str = option("1GB", "what of the gallery is held in memory; a larger one is mapped from disk", bytes=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.gallery_: Gallery | None = None
        self.samples_: list[str] = []
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
        ids = []
        for sample, features in extract.framed(parts, check=self._check_modality, progress=progress, cache=workdir):
            shelves.add(features.layers, _descriptor(features))
            ids.append(sample.id)
        self.gallery_ = shelves.gallery(features.grids)
        self.samples_, self._extract = ids, extract

    def _extractor(self, graph: bytes | None, frame: tuple[int, int] | None) -> ImageExtractor:
        return ImageExtractor(self.backbone, self.layers, self.size, self.aspect, token=True, graph=graph, frame=frame)

    # -- predict -------------------------------------------------------------------------------------------------------

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        assert self.gallery_ is not None and self._extract is not None
        features = self._extract(sample, cache=workdir)
        distances, images = self.gallery_.alike(_descriptor(features), self.images)
        scores = self._pyramid(features, images)
        worst = int(scores.argmax())
        return Result(
            id=sample.id,
            score=float(distances.mean()) if self.score == "images" else self._from_map(scores),
            map=scores,
            spread=GridSpread(shape=features.shape, size=features.size, sigma=self.blur),
            evidence={
                "patch": cell_box(worst, (*scores.shape, *features.shape)),
                "pictures": [
                    {"sample": self.samples_[image], "distance": float(distance)}
                    for image, distance in zip(images[:3], distances[:3], strict=True)
                ],
            },
        )

    def _pyramid(self, features: Features, images: Array) -> Array:
        """Distance to the corresponding features (equation 3), mean over the layers on the finest one's grid."""
        assert self.gallery_ is not None
        finest = max(features.grids)
        total = np.zeros(finest, np.float32)
        radius = 0 if self.match == "same" else None
        for index, queries in enumerate(features.layers):
            distances, _ = self.gallery_.nearest(index, queries, images, radius=radius, k=self.kappa)
            layer = distances.mean(axis=1).reshape(*features.grids[index], 1)
            total += regrid(layer, finest)[..., 0]
        return np.asarray(total / len(features.layers))

    def _from_map(self, scores: Array) -> float:
        return top_mean(scores, self.top) if self.top else float(scores.max())

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        assert self.gallery_ is not None and self._extract is not None and self._extract.frame is not None
        facts = {"samples": self.samples_, "frame": list(self._extract.frame)}
        return State(self.gallery_.arrays(), facts, {"backbone": self._extract.graph})

    def _restore(self, state: State) -> None:
        frame = state.pair("frame")
        self.gallery_ = Gallery.restored(state, memory=byte_count(self.memory))
        self.samples_ = state.names("samples", len(self.gallery_))
        self._extract = self._extractor(state.graphs.get("backbone"), frame)


def _descriptor(features: Features) -> Array:
    """The picture's global descriptor, as long as it is."""
    assert features.token is not None
    return features.token
