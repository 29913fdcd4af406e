"""Which channels of a descriptor say something, and how much each of them varies on good parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.contract import State
from amiss.errors import BadModelFile

Array = npt.NDArray[Any]

_STILL = 1e-3  # of the largest deviation, below which a channel says nothing
_LOOKED_AT = 20_000


@dataclass(frozen=True, eq=False)
class Filter:
    """kept  (c,) channels, ascending     middle, deviation  (c,) of them on good parts"""

    kept: Array
    middle: Array
    deviation: Array

    @classmethod
    def learned(cls, vectors: Array, alike: float) -> Filter:
        """Leave out channels that hardly vary, and the later one of two that correlate by more than `alike`.

        vectors  (n, C) of good parts
        """
        seen = vectors[:: -(-len(vectors) // _LOOKED_AT)].astype(np.float64)
        deviation = seen.std(axis=0)
        kept = np.flatnonzero(deviation > _STILL * max(float(deviation.max()), 1e-12))
        if not len(kept):
            kept = np.arange(vectors.shape[1])
        scaled = (seen[:, kept] - seen[:, kept].mean(axis=0)) / np.maximum(deviation[kept], 1e-12)
        twins = np.triu(np.abs(scaled.T @ scaled) / len(seen) > alike, 1) if alike < 1 else np.zeros((len(kept),) * 2, np.bool_)
        chosen: list[int] = []
        for place in range(len(kept)):
            if not twins[chosen, place].any():
                chosen.append(place)
        kept = kept[chosen]
        return cls(kept.astype(np.int32), np.median(seen[:, kept], axis=0).astype(np.float32), _spread(seen[:, kept]))

    def __call__(self, vectors: Array) -> Array:
        """(n, C) to (n, c) float32: distances from the middle of good parts, in deviations."""
        return np.asarray((vectors[:, self.kept] - self.middle) / self.deviation, np.float32)

    def arrays(self) -> dict[str, Array]:
        return {"kept": self.kept, "middle": self.middle, "deviation": self.deviation}

    @classmethod
    def restored(cls, state: State) -> Filter:
        kept = state.array("kept", (None,), kind="i")
        middle, deviation = state.array("middle", (len(kept),)), state.array("deviation", (len(kept),))
        if not len(kept) or kept.min() < 0 or deviation.min() <= 0:
            raise BadModelFile("its filter does not fit its descriptors; fit it again")
        return cls(kept, middle, deviation)


def _spread(seen: Array) -> Array:
    """What the channels are divided by, (c,): one number for all of them, their mean deviation.

    The spec's median absolute deviation is nearly zero for bins that are empty almost everywhere, which then drown the rest.
    """
    return np.full(seen.shape[1], max(float(seen.std(axis=0).mean()), 1e-12), np.float32)
