"""PaDiM: one Gaussian for every place of the picture, and a patch's Mahalanobis distance to the Gaussian of its place.

Defard, Setkov, Loesch, Audigier: PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization,
ICPR 2020 workshops, https://arxiv.org/abs/2011.08785.

What we follow: layers joined on one grid (section 3.1), a random subset of the channels, mean and covariance at every place
with epsilon on the diagonal (equation 1), the Mahalanobis distance as the map (equation 2, section 3.3).
Where we differ, each by a field: the picture keeps its proportions and is not cropped (`aspect`); coarser layers on a coarser
grid with more channels for the same memory (`layers`, `grid`, `channels`); each layer is divided by its mean length over the
picture (`scale`) and epsilon is a share of the mean variance (`regularisation`), so that one value suits every backbone; the
picture's score is the mean of the top share of the places, not the maximum of the blurred map (`over`, `top`).
Mean and covariance come from one streaming pass. `amiss methods padim` lists the fields; the preset `paper` sets them as the
paper has them.
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
from amiss.kit.extract import Aspect, Features, ImageExtractor
from amiss.kit.gaussian import Gaussians, mahalanobis, whitening
from amiss.kit.maps import Area, area_score
from amiss.kit.patches import Upsampling, cell_box, evened, on_grid, places
from amiss.kit.subset import in_sequence
from amiss.spread import GridSpread
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class PaDiM(Detector):
    """A Gaussian at every place."""

    name: ClassVar[str] = "padim"
    paper: ClassVar[str] = "Defard et al., ICPR 2020 workshops, https://arxiv.org/abs/2011.08785"
    sees: ClassVar[frozenset[str]] = frozenset({"image"})
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "fast": {"layers": (8, 16), "channels": 100},
        "paper": {
            "size": 224, "aspect": "square", "grid": 4, "layers": (4, 8, 16), "channels": 100, "upsampling": "nearest",
            "scale": "none", "regularisation": "absolute", "over": "map", "top": 0.0,
        },
    }  # fmt: skip
    quick: ClassVar[dict[str, Any]] = {"size": 96, "grid": 8, "channels": 40}

    backbone: str = option("efficientnet_lite0", "embedded backbone, an added one, or the path of an ONNX file")
    layers: tuple[int, ...] = option((8, 16, 32), "feature layers to join", some=True)
    grid: int | None = option(16, "stride of the grid of places; none for the finest layer's", least=1)
    size: int = option(256, "the network sees size x size pixels of area", least=32, most=4096)
    aspect: Aspect = option("keep", "keep the proportions that most pictures have, or force a square")
    pooling: int = option(1, "side of the neighbourhood a patch looks at, odd", least=1, odd=True)
    upsampling: Upsampling = option("bilinear", "how a coarse layer is brought to the grid")
    scale: Literal["picture", "none"] = option("picture", "what a layer's vectors are divided by")
    channels: int | None = option(200, "channels drawn at random from the joined layers; none for all", least=1)
    epsilon: float = option(0.01, "added to the diagonal of every covariance", above=0)
    regularisation: Literal["relative", "absolute"] = option("relative", "epsilon times the mean variance, or epsilon itself")
    over: Area = option("cells", "score the places, or the pixels of the blurred map")
    top: float = option(0.01, "share of them averaged into the picture's score; 0 for the largest", least=0, most=1)
    blur: float = option(4.0, "sigma of the map's blur, in pixels the network sees", least=0)
    memory: str = option("1GB", "budget for the Gaussians while fitting", bytes=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.mean_: Array | None = None
        self.whiten_: Array | None = None
        self.channels_: Array | None = None
        self._extract: ImageExtractor | None = None

    @property
    def fitted(self) -> bool:
        return self.mean_ is not None

    # -- fit -----------------------------------------------------------------------------------------------------------

    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None:
        extract = self._extractor(None, None)
        parts = in_sequence(samples)
        gaussians: Gaussians | None = None
        for _, features in extract.framed(parts, check=self._check_modality, progress=progress, cache=workdir):
            vectors, _ = self._joined(features)
            if gaussians is None:
                picks = self._drawn(vectors.shape[1])
                self._check_memory(len(vectors), len(picks))
                gaussians = Gaussians(len(vectors), len(picks))
            gaussians.add(vectors[:, picks])
        assert gaussians is not None  # fit has seen that there is a first sample
        mean, covariance = gaussians.mean(), gaussians.covariance()
        if gaussians.count <= len(picks):
            log.info("%d good parts for %d channels: epsilon alone fills the other directions", gaussians.count, len(picks))
        self._regularise(covariance, mean)
        self._extract, self.channels_, self.mean_ = extract, picks, mean
        try:
            self.whiten_ = whitening(covariance, lambda done, total: progress("inverting covariances", done, total))
        except np.linalg.LinAlgError as error:
            self.mean_ = None
            raise BadField(f"epsilon = {self.epsilon}: too small to invert a covariance in float32; raise it") from error

    def _drawn(self, channels: int) -> Array:
        """The random subset of the joined channels (section 3.1); all of them where there are no more than asked for."""
        count = min(self.channels or channels, channels)
        return np.sort(self.rng().choice(channels, count, replace=False)).astype(np.int32)

    def _check_memory(self, places: int, channels: int) -> None:
        """Say what the fit will hold, or refuse before it does."""
        needed = Gaussians.bytes(places, channels)
        log.info("%d Gaussians of %d channels take %.2f GB while fitting", places, channels, needed / 2**30)
        if needed > byte_count(self.memory):
            raise BadField(
                f"{places} Gaussians of {channels} channels take {needed / 2**30:.2f} GB, memory allows {self.memory}; lower "
                "channels or size, choose a coarser grid, or raise memory"
            )

    def _regularise(self, covariance: Array, mean: Array) -> None:
        """Add epsilon to every diagonal, in place (equation 1)."""
        diagonal = np.einsum("pii->pi", covariance)  # a view
        unit = 1.0
        if self.regularisation == "relative":
            unit = float(diagonal.mean(dtype=np.float64)) or float(mean.var(axis=0, dtype=np.float64).mean()) or 1.0
        diagonal += np.float32(self.epsilon * unit)

    # -- patches -------------------------------------------------------------------------------------------------------

    def _extractor(self, graph: bytes | None, frame: tuple[int, int] | None) -> ImageExtractor:
        return ImageExtractor(self.backbone, self.layers, self.size, self.aspect, graph=graph, frame=frame)

    def _joined(self, features: Features) -> tuple[Array, tuple[int, int]]:
        """All layers' patches side by side, (P, C), and the grid's (rows, columns)."""
        shape = places(features, self.grid)
        layers = on_grid(features, shape, pooling=self.pooling, upsampling=self.upsampling)
        if self.scale == "picture":
            layers = [evened(layer) for layer in layers]
        return np.concatenate(layers, axis=1), shape

    # -- predict -------------------------------------------------------------------------------------------------------

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        assert self.mean_ is not None and self.whiten_ is not None and self._extract is not None
        features = self._extract(sample, cache=workdir)
        vectors, shape = self._joined(features)
        scores = mahalanobis(vectors[:, self.channels_], self.mean_, self.whiten_).reshape(shape)
        spread = GridSpread(shape=features.shape, size=features.size, sigma=self.blur)
        return Result(
            id=sample.id,
            score=area_score(scores, spread, self.top, over=self.over),
            map=scores,
            spread=spread,
            evidence={"patch": cell_box(int(scores.argmax()), (*shape, *features.shape))},
        )

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        assert self.mean_ is not None and self.whiten_ is not None and self.channels_ is not None
        assert self._extract is not None and self._extract.frame is not None
        arrays = {"mean": self.mean_, "whiten": self.whiten_, "channels": self.channels_}
        return State(arrays, {"frame": list(self._extract.frame)}, {"backbone": self._extract.graph})

    def _restore(self, state: State) -> None:
        mean = state.array("mean", (None, None))
        whiten = state.array("whiten", (*mean.shape, mean.shape[1]))
        channels = state.array("channels", (mean.shape[1],), kind="i")
        if channels.min() < 0:
            raise BadModelFile("its channels do not fit its backbone; fit it again")
        extract = self._extractor(state.graphs.get("backbone"), state.pair("frame"))
        self.mean_, self.whiten_, self.channels_, self._extract = mean, whiten, channels, extract
