"""The worst misses of a judged split as small pictures: good parts that score too high, defective ones that score too low."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from amiss.bench.evaluate import Evaluation, Judged
from amiss.data.dataset import Split
from amiss.model import Model
from amiss.viz.overlay import eight_bits, jpeg, overlay, thumbnail

MOST = 4  # of each kind
_SIDE = 176
_QUALITY = 78


def misses(model: Model, split: Split, found: Evaluation, *, workdir: Path | None = None) -> list[dict[str, Any]]:
    """False alarms and escapes, worst first: each with its picture and the map over it, as base64 JPEG.

    A good part is a false alarm where it is called NG, or scores at least as high as a defective one; a defective part is an
    escape where it is called OK, or scores no higher than a good one.
    """
    shown = []
    for kind, judged in _worst(found.judged):
        entry = next(entry for entry in split.entries if entry.id == judged.id)
        sample = entry.sample()
        result = next(model.predict([sample], workdir=workdir))
        one: dict[str, Any] = {
            "miss": kind, "id": judged.id, "kind": judged.kind, "score": judged.score, "outcome": judged.outcome,
        }  # fmt: skip
        if sample.image is not None:
            one["picture"] = _packed(thumbnail(sample.image, _SIDE))
            if result.map is not None:
                full = result.image_map()
                low, high = (float(np.quantile(full, share)) for share in (0.6, 1.0))
                one["heat"] = _packed(thumbnail(overlay(eight_bits(sample.image), full, low=low, high=high), _SIDE))
        shown.append(one)
    return shown


def _worst(judged: tuple[Judged, ...]) -> Iterator[tuple[str, Judged]]:
    good, bad = ([one for one in judged if one.defective is label] for label in (False, True))
    lowest = min((one.score for one in bad), default=float("inf"))
    highest = max((one.score for one in good), default=float("-inf"))
    alarms = [one for one in good if one.outcome == "NG" or one.score >= lowest]
    escapes = [one for one in bad if one.outcome == "OK" or one.score <= highest]
    yield from (("false alarm", one) for one in sorted(alarms, key=lambda one: -one.score)[:MOST])
    yield from (("escape", one) for one in sorted(escapes, key=lambda one: one.score)[:MOST])


def _packed(image: Any) -> str:
    return base64.b64encode(jpeg(image, _QUALITY)).decode("ascii")
