"""From the votes of a network to defects: the best cubes, and which places inside each belong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.kit.anchors import peaks
from amiss.kit.members import Inside, Members
from amiss.kit.scenes import Scene
from amiss.kit.voting import Votes

Array = npt.NDArray[Any]

_APART = 0.1  # overlap of two cubes from which on the lower one is the same find
_WIDER, _MORE = 1.15, 0.5  # a cube is looked at a little wider than it is, in edges and in cells


@dataclass(frozen=True, eq=False)
class Finds:
    """What is found in one cloud, the best first.

    middles (m, 3), edges (m,)  of the best cubes, in cells of the scene     scores (m,)
    taken  (m, P) bool, which places belong; some always do     best  the highest score of all
    """

    middles: Array
    edges: Array
    scores: Array
    taken: Array
    best: float

    @classmethod
    def of(
        cls, votes: Votes, scene: Scene, margin: int, anchors: Sequence[float], members: Members, *, most: int, lowest: float
    ) -> Finds:
        """margin  empty cells that the grid of the votes has around the scene     lowest  score where nothing was voted for"""
        middles, edges, scores = peaks(votes.heads, anchors, _APART, most)
        middles = middles - margin
        numbers = _numbers(votes, scene)
        taken = np.zeros((len(scores), len(scene.positions)), np.bool_)
        for row, middle, edge in zip(taken, middles, edges, strict=True):
            inside = np.flatnonzero(within(scene.positions, middle, edge))
            if len(inside):
                row[inside[members(numbers[inside])]] = True
        some = taken.any(axis=1)
        return cls(middles[some], edges[some], scores[some], taken[some], float(scores[0]) if len(scores) else lowest)

    def nearness(self, positions: Array) -> Array:
        """How well each place lies in a cube with a high score, 0 to 1, (P,).

        positions  (P, 3), in cells of the scene
        """
        near = np.zeros(len(positions))
        for middle, edge, score in zip(self.middles, self.edges, self.scores, strict=True):
            inside = within(positions, middle, edge)
            ways = ((positions[inside] - middle) ** 2).sum(axis=1)
            near[inside] = np.maximum(near[inside], np.exp(-2 * ways / edge**2) / (1 + np.exp(-score)))
        return near


def known(votes: Votes, scene: Scene, anchors: Sequence[float]) -> list[Inside]:
    """What is in a cube about every defect of a scene of which the marks are known."""
    numbers, found = _numbers(votes, scene), []
    for number, middle, edge in zip(*scene.boxes, strict=True):
        size = min(anchors, key=lambda anchor: abs(anchor - edge))
        inside = within(scene.positions, middle, size)
        own = scene.marks[inside] == number
        if own.any():
            found.append(Inside(numbers[inside], scene.positions[inside], own))
    return found


def within(positions: Array, middle: Array, edge: float) -> Array:
    """Which places lie in a cube, or a little beside it, (P,) bool."""
    return np.asarray((np.abs(positions - middle) <= edge / 2 * _WIDER + _MORE).all(axis=1))


def _numbers(votes: Votes, scene: Scene) -> Array:
    """What tells whether a place belongs: whether its cell does, and how odd it is in each way, (P, 4)."""
    return np.column_stack([votes.members[scene.owners], scene.odd])
