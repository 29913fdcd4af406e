"""ULSAD: one network rebuilds a picture's features piece by piece, another all at once; where they err or disagree, it is odd.

Patra, Ben Taieb: Revisiting Deep Feature Reconstruction for Logical and Structural Industrial Anomaly Detection, TMLR 2024,
https://arxiv.org/abs/2410.16255.

What we follow: frozen features Z of two depths, standardised; a local network that rebuilds Z and guesses the global network;
a global network from the picture through a bottleneck of one cell; attention alignment, so that the global network learns the
features up to what attention makes of them; the difference D, squares plus half the cosine's, in all three losses and both
maps; each map measured by the quantiles 0.90 and 0.995 of held-out good parts; half their sum, blurred; its maximum.
Where we differ, each by a field: the backbone and its depths (`layers`), the picture's proportions (`aspect`), smaller networks
on a coarser grid (`width`, `channels`, `grid`), no ReLU after the reconstruction of features that are half negative (`final`),
a moving average of the weights (`average`), fewer and larger steps (`steps`, `rate`). Nothing of a test set is seen: the
quantiles are those of held-out good parts, and the last weights count, where the published code picks an epoch by test labels.
`amiss methods ulsad` lists the fields; the preset `full` sets them as the paper has them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from amiss.contract import Detector, Progress, State
from amiss.errors import BadField, BadModelFile
from amiss.fields import byte_count, option
from amiss.kit.extract import Aspect, Features, ImageExtractor, resize
from amiss.kit.graphs import Graph, check_exporter, exported
from amiss.kit.maps import area_score
from amiss.kit.patches import cell_box, evened, on_grid, squeeze
from amiss.kit.subset import Subset, in_sequence
from amiss.kit.training import Device, Plan, check_device, checkpoint_file, load_torch, seeded, train
from amiss.spread import GridSpread
from amiss.types import Result, Sample, Truth

Array = npt.NDArray[Any]
log = logging.getLogger(__name__)

_LOW, _HIGH, _UNIT = 0.90, 0.995, 0.1  # quantiles of a map over held-out good parts, and what lies between them
_BALANCE = 0.5  # weight of the cosine in the difference
_OUTPUTS = ("rebuilt", "guessed", "told")
_FEWEST_CELLS = 4  # each way: five halvings of eight pixels a cell leave the global network one
# fields that may change when a training is resumed
_NOT_TRAINING = ("steps", "minutes", "device", "threads", "maps", "over", "top", "blur", "memory")
CELL = 8  # pixels a cell that the global network sees


@dataclass(kw_only=True)
class ULSAD(Detector):
    """Reconstruction, local and global."""

    name: ClassVar[str] = "ulsad"
    paper: ClassVar[str] = "Patra and Ben Taieb, TMLR 2024, https://arxiv.org/abs/2410.16255"
    sees: ClassVar[frozenset[str]] = frozenset({"image"})
    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "full": {
            "aspect": "square", "layers": (8, 16), "grid": 8, "channels": 384, "width": 768, "last": 5, "final": "relu",
            "inner": 64, "rate": 2e-4, "decay": 2e-5, "average": 0.0, "steps": 10_000, "scale": "none",
        },
        "small": {},
        "tiny": {"channels": 64, "width": 64, "inner": 32, "steps": 800},
    }  # fmt: skip
    least: ClassVar[int] = 3
    enough: ClassVar[int] = 48
    trained: ClassVar[bool] = True
    quick: ClassVar[dict[str, Any]] = {
        "size": 96, "grid": 8, "channels": 32, "width": 32, "inner": 16, "steps": 200, "rate": 3e-3,
    }  # fmt: skip

    backbone: str = option("efficientnet_lite0", "embedded backbone, an added one, or the path of an ONNX file")
    layers: tuple[int, ...] = option((8, 16, 32), "feature layers to join", some=True)
    grid: int = option(16, "stride of the grid that features are rebuilt on", least=1)
    size: int = option(256, "the network sees size x size pixels of area", least=32, most=4096)
    aspect: Aspect = option("keep", "keep the proportions that most pictures have, or force a square")
    scale: Literal["picture", "none"] = option("picture", "what a layer's vectors are divided by")
    channels: int = option(236, "channels that the joined layers are averaged to", least=1)
    width: int = option(128, "channels of the local network's first layer; twice as many inside", least=1)
    last: int = option(3, "side of the local network's last kernel, odd", least=1, odd=True)
    final: Literal["relu", "none"] = option("none", "what follows the local network's last layer")
    inner: int = option(64, "channels of the global network, and length of its bottleneck", least=2)
    steps: int = option(1500, "training steps; 0 leaves the networks as they were drawn", least=0)
    minutes: float | None = option(None, "end the training after so many minutes; none for no limit", above=0)
    batch: int = option(8, "pictures in a training step", least=2)
    rate: float = option(1e-3, "learning rate of Adam", above=0)
    decay: float = option(0.0, "weight decay", least=0)
    average: float = option(0.99, "decay of the weights' moving average; 0 keeps the last weights", least=0, most=0.9999)
    held_out: float = option(0.1, "share of the good parts that the maps are measured on, not trained on", above=0, most=0.5)
    maps: Literal["both", "local", "global"] = option("both", "which of the two maps count")
    over: Literal["cells", "map"] = option("map", "score the cells, or the pixels of the blurred map")
    top: float = option(0.0, "share of them averaged into the picture's score; 0 for the largest", least=0, most=1)
    blur: float = option(4.0, "sigma of the map's blur, in pixels the network sees", least=0)
    memory: str = option("1GB", "budget for the features held while training; more pictures are sampled", bytes=True)
    device: Device = option("cpu", "where the networks are trained")
    threads: int = option(1, "CPU threads while training; the last digits of a training hang on how many", least=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.networks_: Graph | None = None
        self.mean_: Array | None = None  # (C,) of the teacher's channels
        self.deviation_: Array | None = None  # (C,)
        self.levels_: Array = np.array([[0.0, 1.0], [0.0, 1.0]])  # (2, 2) quantiles of the local and the global map
        self.trained_: dict[str, Any] = {}
        self._extract: ImageExtractor | None = None

    @property
    def fitted(self) -> bool:
        return self.networks_ is not None

    # -- fit -----------------------------------------------------------------------------------------------------------

    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None:
        check_device(self.device)  # both say what to install before anything is read
        check_exporter()
        extract = self._extractor(None, None)
        parts = in_sequence(samples)
        extract.pin(parts)
        teacher, images, digests = self._read(extract, self._kept(extract, parts), progress, workdir)
        held, rest = self._split(digests)
        mean, deviation = _moments(teacher, rest)
        teacher -= mean[:, None, None]
        teacher /= deviation[:, None, None]
        data = blake2b("".join((extract.backbone.digest, *digests)).encode(), digest_size=8).hexdigest()
        kept = {name: value for name, value in self.fields().items() if name not in _NOT_TRAINING}
        checkpoint = None if workdir is None or not self.steps else checkpoint_file(workdir, self.name, data, kept)
        networks, self.trained_ = self._train(teacher, images, rest, {**kept, "data": data}, progress, checkpoint)
        graph = exported(networks, {"teacher": teacher[:1], "image": images[:1]}, _OUTPUTS, "networks")
        self.levels_ = _levels(np.stack([_maps(graph, teacher[index], images[index]) for index in held]))
        self._extract, self.mean_, self.deviation_, self.networks_ = extract, mean, deviation, graph
        if checkpoint is not None:
            checkpoint.unlink(missing_ok=True)

    def _split(self, digests: Sequence[str]) -> tuple[Array, Array]:
        """Indices to measure on and to train on, two or more for the batch statistics; copies fall on the same side."""
        names = self.rng().permutation(sorted(set(digests))).tolist()
        chosen = set(names[: max(1, round(self.held_out * len(names)))])
        out = np.array([digest in chosen for digest in digests])
        if np.count_nonzero(~out) < 2:  # hardly anything but copies: the levels are those of pictures trained on
            return np.flatnonzero(out)[:1], np.arange(len(digests))
        return np.flatnonzero(out), np.flatnonzero(~out)

    def _extractor(self, graph: bytes | None, frame: tuple[int, int] | None) -> ImageExtractor:
        return ImageExtractor(self.backbone, self.layers, self.size, self.aspect, graph=graph, frame=frame)

    def _cells(self, extract: ImageExtractor) -> tuple[int, int]:
        """Rows and columns of the grid that features are rebuilt on."""
        size = extract.backbone.description.size or extract.frame
        assert size is not None  # pinned by fit, given by a model file
        rows, columns = (-(-side // self.grid) for side in size)
        if min(rows, columns) < _FEWEST_CELLS:
            raise BadField(
                f"grid = {self.grid} on pictures seen at {size[0]} x {size[1]} makes {rows} x {columns} cells, the global "
                f"network needs {_FEWEST_CELLS} each way; lower grid or raise size"
            )
        return rows, columns

    def _kept(self, extract: ImageExtractor, parts: Sequence[Sample]) -> Sequence[Sample]:
        """As many pictures as memory holds, drawn with the seed."""
        rows, columns = self._cells(extract)
        each = 4 * rows * columns * (self.channels + 3 * CELL**2)
        most = max(self.least, byte_count(self.memory) // each)
        if len(parts) <= most:
            return parts
        log.warning(
            "memory = %s holds %d of %d pictures; a uniform sample of them is trained on", self.memory, most, len(parts)
        )
        return Subset(parts, np.sort(self.rng().choice(len(parts), most, replace=False)))

    def _read(
        self, extract: ImageExtractor, parts: Sequence[Sample], progress: Progress, cache: Path | None
    ) -> tuple[Array, Array, list[str]]:
        """Features (n, C, h, w) not yet standardised, pictures (n, 3, 8 h, 8 w) and digests, each picture read once."""
        cells = self._cells(extract)
        images = np.empty((len(parts), 3, cells[0] * CELL, cells[1] * CELL), np.float32)
        teacher: Array = np.empty(0, np.float32)
        digests = []
        for index, sample in enumerate(parts):
            self._check_modality(sample)
            found = self._teacher(extract(sample, cache=cache), cells)
            if not index:
                teacher = np.empty((len(parts), *found.shape), np.float32)
            teacher[index], images[index] = found, self._image(sample, cells)
            digests.append(sample.digest)
            progress("reading good parts", index + 1, len(parts))
        return teacher, images, digests

    def _train(
        self, teacher: Array, images: Array, rest: Array, told: dict[str, Any], progress: Progress, checkpoint: Path | None
    ) -> tuple[Any, dict[str, Any]]:
        """The two networks, trained together; and how that went.

        rest  indices of the pictures trained on     told  what the result hangs on: fields, the backbone and all pictures
        """
        torch = load_torch()
        from amiss.kit.reconstruction import Both, Shape

        shape = Shape(
            channels=teacher.shape[1], grid=(teacher.shape[2], teacher.shape[3]), width=self.width, last=self.last,
            final=self.final, inner=self.inner,
        )  # fmt: skip
        with seeded(self.seed):
            networks = Both(shape)
        plan = Plan(
            steps=self.steps, minutes=self.minutes, batch=self.batch, rate=self.rate, decay=self.decay, average=self.average,
            seed=self.seed, device=self.device, threads=self.threads,
        )  # fmt: skip

        def loss(both: Any, batch: Array, noise: Any) -> Any:
            chosen = rest[batch]
            pictures = (torch.from_numpy(held[chosen]).to(self.device) for held in (teacher, images))
            return both.loss(*pictures, _BALANCE)

        done = train(networks, loss, len(rest), plan, progress=progress, told=told, checkpoint=checkpoint)
        if done.by_clock:
            log.warning(
                "the clock ended the training after %d of %d steps; other machines will get further", done.steps, self.steps
            )
        return networks, {"steps": done.steps, "loss": done.loss if done.steps else None}

    # -- predict -------------------------------------------------------------------------------------------------------

    def _teacher(self, features: Features, cells: tuple[int, int]) -> Array:
        """All layers on one grid, averaged to fewer channels, (C, h, w), not yet standardised."""
        layers = on_grid(features, cells)
        if self.scale == "picture":
            layers = [evened(layer) for layer in layers]
        joined = np.concatenate(layers, axis=1)
        if joined.shape[1] > self.channels:
            joined = squeeze(joined, self.channels)
        return np.ascontiguousarray(joined.T.reshape(-1, *cells))

    def _image(self, sample: Sample, cells: tuple[int, int]) -> Array:
        """The picture as the global network sees it, (3, 8 h, 8 w), in -1..1."""
        assert sample.image is not None
        return np.ascontiguousarray(resize(sample.image, (cells[0] * CELL, cells[1] * CELL)).transpose(2, 0, 1) * 2 - 1)

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        assert self._extract is not None and self.networks_ is not None
        assert self.mean_ is not None and self.deviation_ is not None
        cells = self._cells(self._extract)
        features = self._extract(sample, cache=workdir)
        teacher = (self._teacher(features, cells) - self.mean_[:, None, None]) / self.deviation_[:, None, None]
        low, high = self.levels_.T[..., None, None]
        local, whole = _UNIT * (_maps(self.networks_, teacher, self._image(sample, cells)) - low) / (high - low)
        joined = {"both": (local + whole) / 2, "local": local, "global": whole}[self.maps].astype(np.float32)
        spread = GridSpread(shape=features.shape, size=features.size, sigma=self.blur)
        return Result(
            id=sample.id,
            score=area_score(joined, spread, self.top, over=self.over),
            map=joined,
            spread=spread,
            evidence={
                "patch": cell_box(int(joined.argmax()), (*cells, *features.shape)),
                "local": float(local.max()), "global": float(whole.max()), "maps": {"local": local, "global": whole},
            },
        )  # fmt: skip

    # -- model file ----------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        assert self._extract is not None and self._extract.frame is not None and self.networks_ is not None
        assert self.mean_ is not None and self.deviation_ is not None
        arrays = {"mean": self.mean_, "deviation": self.deviation_, "levels": self.levels_}
        facts = {"frame": list(self._extract.frame), "trained": self.trained_}
        return State(arrays, facts, {"backbone": self._extract.graph, "networks": self.networks_.content})

    def _restore(self, state: State) -> None:
        mean, deviation = state.array("mean", (None,)), state.array("deviation", (None,))
        levels, trained = state.array("levels", (2, 2)), state.fact("trained")
        if len(deviation) != len(mean) or deviation.min() <= 0 or (levels[:, 1] <= levels[:, 0]).any():
            raise BadModelFile("its channels and levels do not fit one another; fit it again")
        if "networks" not in state.graphs or not isinstance(trained, dict):
            raise BadModelFile("the model file lacks its trained networks; fit it again")
        extract = self._extractor(state.graphs.get("backbone"), state.pair("frame"))
        rows, columns = self._cells(extract)
        inputs = {"teacher": (1, len(mean), rows, columns), "image": (1, 3, rows * CELL, columns * CELL)}
        self.networks_ = Graph(state.graphs["networks"], "networks", inputs, _OUTPUTS)
        self.mean_, self.deviation_ = mean.astype(np.float32), deviation.astype(np.float32)
        self._extract, self.levels_, self.trained_ = extract, levels, trained


def difference(first: Array, second: Array) -> Array:
    """D: mean squared difference plus half of one minus the cosine, at every place; (C, h, w) to (h, w)."""
    lengths = np.maximum(np.linalg.norm(first, axis=0), 1e-6) * np.maximum(np.linalg.norm(second, axis=0), 1e-6)
    cosine = (first * second).sum(axis=0) / lengths
    return np.asarray(((first - second) ** 2).mean(axis=0) + _BALANCE * (1 - cosine))


def _maps(networks: Graph, teacher: Array, image: Array) -> Array:
    """The local and the global map of one picture, (2, h, w): D of features and rebuilt ones, D of the two networks."""
    rebuilt, guessed, told = (found[0] for found in networks(teacher=teacher[None], image=image[None]))
    return np.stack([difference(teacher, rebuilt), difference(told, guessed)])


def _moments(teacher: Array, chosen: Array) -> tuple[Array, Array]:
    """Mean and deviation of every channel over the chosen pictures and all places, (C,), one picture at a time.

    A channel that never varies is left as it is.
    """
    mean = np.mean([teacher[index].mean(axis=(1, 2), dtype=np.float64) for index in chosen], axis=0)
    squares = [((teacher[index] - mean[:, None, None]) ** 2).mean(axis=(1, 2)) for index in chosen]
    deviation = np.sqrt(np.mean(squares, axis=0))
    deviation[deviation < 1e-6 * deviation.max()] = 1
    return mean.astype(np.float32), deviation.astype(np.float32)


def _levels(maps: Array) -> Array:
    """The two quantiles of each map over held-out good parts, (2, 2); maps (n, 2, h, w)."""
    low, high = np.quantile(maps, (_LOW, _HIGH), axis=(0, 2, 3))
    return np.stack([low, np.maximum(high, low + 1e-6 * np.maximum(np.abs(low), 1e-6))], axis=1)
