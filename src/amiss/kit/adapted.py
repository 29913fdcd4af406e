"""What a trained network adds to the descriptors of places, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.kit.graphs import Graph
from amiss.kit.memory import MemoryBank

Array = npt.NDArray[Any]

ROWS = 4096  # places that a graph looks at together


@dataclass(frozen=True, eq=False)
class Adapted:
    """A graph of descriptors (ROWS, C) to what it makes of them (ROWS, H), and the weight at which these are joined to them."""

    graph: Graph
    weight: float

    @classmethod
    def restored(cls, content: bytes, channels: int, weight: float) -> Adapted:
        """From what a model file holds; raises BadModelFile where the graph is another."""
        return cls(Graph(content, "network", {"descriptor": (ROWS, channels)}, ("hidden",)), weight)

    @classmethod
    def weighed(cls, graph: Graph, vectors: Array, samples: Array, share: float) -> Adapted:
        """With the weight at which what is joined makes good places differ by that share of what the descriptors do.

        vectors  (N, C) of good places, in random order     samples  (N,) the cloud of each
        """
        plain, added = gap(vectors, samples), gap(through(graph, vectors), samples)
        return cls(graph, share * plain / added if added > 0 else 0.0)

    def __call__(self, local: Array) -> Array:
        """(P, C) to (P, C + H) float32."""
        return np.concatenate([local, np.float32(self.weight) * through(self.graph, local)], axis=1)


def through(graph: Graph, local: Array) -> Array:
    """What a graph of ROWS places makes of any number of them, (P, C) to (P, H)."""
    found = []
    for start in range(0, len(local), ROWS):
        part = local[start : start + ROWS]
        padded = np.zeros((ROWS, local.shape[1]), np.float32)
        padded[: len(part)] = part
        found.append(graph(descriptor=padded)[0][: len(part)])
    return np.concatenate(found)


def gap(vectors: Array, samples: Array) -> float:
    """Mean distance from half of the vectors to the nearest of the other half that is of another cloud.

    vectors  (N, C) in random order     samples  (N,) the cloud of each; where all are of one, that one serves
    return   0 for a single vector
    """
    half = len(vectors) // 2
    if not half:
        return 0.0
    bank = MemoryBank(np.ascontiguousarray(vectors[half:]), np.zeros((len(vectors) - half, 3), np.int32))
    others = samples[:half, None] != samples[None, half:]
    others[~others.any(axis=1)] = True
    return float(bank.nearest(vectors[:half], allowed=others)[0].mean())
