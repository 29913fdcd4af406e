"""Tokens of an encoder of points beside the descriptors of a cloud: one more layer, brought to all places."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.backbones.points import PointEncoder
from amiss.contract import State
from amiss.errors import BadModelFile, BadSample
from amiss.kit.clouds import CloudExtractor, CloudFeatures, Gauge
from amiss.kit.extract import remember, remembered
from amiss.kit.memory import MemoryBank
from amiss.spread import PointSpread
from amiss.types import Sample

Array = npt.NDArray[Any]

_ASKED, _ANSWERING = 1_000, 8_000  # places that tell how far apart good ones are


class EncodedExtractor(CloudExtractor):
    """FPFH at several scales, then the tokens of an encoder as a last layer."""

    def __init__(
        self,
        scales: tuple[float, ...],
        averaged: float,
        gauge: Gauge,
        *,
        encoder: PointEncoder,
        matrix: Array | None,
        lean: float = 0,
    ) -> None:
        """encoder  makes (G, D) tokens     matrix  (D, C) that tokens are multiplied by; None to keep them as they are"""
        super().__init__(scales, averaged, gauge, lean=lean)
        self.encoder, self.matrix = encoder, matrix

    @property
    def channels(self) -> list[int]:
        """Of every layer, tokens last."""
        return [*super().channels, self.encoder.description.channels if self.matrix is None else self.matrix.shape[1]]

    def __call__(self, sample: Sample, *, cache: Path | None = None) -> CloudFeatures:
        """As CloudExtractor, which see; tokens are kept in the cache before they are multiplied."""
        cloud = super().__call__(sample, cache=cache)
        told = f"tokens {self.encoder.digest} {self.gauge.cell!r}"
        key = hashlib.blake2b(told.encode(), digest_size=8).hexdigest()
        path = None if cache is None else cache / f"{sample.digest}-{key}.npz"
        found = None if path is None else remembered(path)
        if found is None or set(found) != {"tokens", "at"}:
            found = self._tokens(sample, cloud)
            if path is not None:
                remember(path, found)
        tokens = found["tokens"] if self.matrix is None else found["tokens"] @ self.matrix
        spread = PointSpread(cloud.places[found["at"]], cloud.places)
        return replace(cloud, layers=[*cloud.layers, spread(tokens)])

    def _tokens(self, sample: Sample, cloud: CloudFeatures) -> dict[str, Array]:
        try:
            tokens, at = self.encoder(cloud.places, cloud.normals, self.gauge.cell)
        except BadSample as error:
            raise BadSample(f"{sample.id}: {error}") from error
        return {"tokens": tokens, "at": at}


def drawn_matrix(channels: int, wanted: int | None, rng: np.random.Generator) -> Array | None:
    """A random projection of tokens (Johnson and Lindenstrauss, 1984), (D, C); None where they are short enough."""
    if wanted is None or wanted >= channels:
        return None
    return np.asarray(rng.standard_normal((channels, wanted)) / np.sqrt(wanted), np.float32)


def restored_encoder(state: State) -> tuple[PointEncoder, Array | None]:
    """The encoder, and what its tokens are multiplied by; raises BadModelFile where they are not there or do not fit."""
    if "encoder" not in state.graphs:
        raise BadModelFile("the model file lacks its encoder of points; fit it again")
    encoder = PointEncoder(state.graphs["encoder"], name="its encoder")
    channels, matrix = encoder.description.channels, state.arrays.get("matrix")
    if matrix is not None and (
        matrix.ndim != 2 or len(matrix) != channels or matrix.dtype != np.float32 or not np.isfinite(matrix).all()
    ):
        raise BadModelFile(f"its matrix has shape {matrix.shape}, tokens have {channels} channels; fit it again")
    return encoder, matrix


def balance(vectors: Array, samples: Array, split: int, share: float, rng: np.random.Generator) -> tuple[float, float]:
    """What descriptors and tokens are multiplied by, so that tokens have that share of how far apart good places are.

    vectors  (N, C) of good places, descriptors before `split`     samples  (N,) the cloud of each     share  0..1, of squares
    """
    order = rng.permutation(len(vectors))
    asked, answering = order[:_ASKED], order[-_ANSWERING:]  # the same ones where there are few: a place does not answer itself
    plain, added = (_apart(part, samples, asked, answering) for part in (vectors[:, :split], vectors[:, split:]))
    level = plain / added if plain > 0 and added > 0 else 1.0
    return float(np.sqrt(1 - share)), float(np.sqrt(share) * level)


def _apart(vectors: Array, samples: Array, asked: Array, answering: Array) -> float:
    """Mean distance from places to the nearest of another cloud, or of another place where all are of one cloud."""
    bank = MemoryBank(np.ascontiguousarray(vectors[answering]), np.zeros((len(answering), 3), np.int32))
    allowed = samples[asked, None] != samples[None, answering]
    alone = ~allowed.any(axis=1)
    allowed[alone] = asked[alone, None] != answering[None]
    distances = bank.nearest(np.ascontiguousarray(vectors[asked]), allowed=allowed)[0]
    return float(distances[np.isfinite(distances)].mean()) if np.isfinite(distances).any() else 0.0
