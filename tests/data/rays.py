"""What is seen of a body, the slow way: short equal steps along the ray of every point."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def in_sight(field: Callable[[Array], Array], points: Array, eye: Array, *, step: float = 0.002, end: float = 1.2) -> Array:
    """Whether the straight way from each point to the eye stays outside a body, up to a distance of `end`, (N,) bool."""
    ways = eye - points
    ways = ways / np.linalg.norm(ways, axis=1, keepdims=True)
    clear = np.ones(len(points), bool)
    for far in np.arange(step, end, step):
        left = np.flatnonzero(clear)
        clear[left] = field(points[left] + far * ways[left]) >= 0
    return clear
