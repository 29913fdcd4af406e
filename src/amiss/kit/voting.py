"""Convolution of a grid that is mostly empty, by voting: each cell that is not empty hands its share to the cells around it.

Engelcke, Rao, Wang, Tong, Posner: Vote3Deep: Fast Object Detection in 3D Point Clouds Using Efficient Convolutional Neural
Networks, ICRA 2017, https://arxiv.org/abs/1609.06666, after Wang, Posner: Voting for Voting in Online Point Cloud Object
Detection, RSS 2015. There z(x) = sum_o w(o) h(x + o) is the same as every cell x with features adding w(o) h(x) to
z(x - o). A bias is added where something was voted for alone, and never above zero, so that what is empty stays empty; ReLU
then lets only cells above zero vote in the next layer.

Ours: for one offset all targets are different, so each is a plain addition at an index, several times faster than counting
all votes at once; and the same sum by Fourier transforms of the whole grid, for kernels so large or grids so small or so full
that this is faster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from amiss.errors import BadField

Array = npt.NDArray[Any]
Backend = Literal["vote", "dense", "auto"]

_HELD = 1 << 22  # votes held at once: 16 MB
_DEARER = 1.5  # a cell in a transform takes so many times as long as a vote (12 and 8 ns)


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells of a grid that are not empty.

    shape  cells along each axis     keys  (n,) ascending, where a cell lies in the flattened grid     values  (n, C) float32
    """

    shape: tuple[int, ...]
    keys: Array
    values: Array

    @classmethod
    def at(cls, places: Array, values: Array, shape: tuple[int, ...]) -> Cells:
        """places  (n, 3) whole numbers, none twice; raises BadField where one lies outside the grid."""
        if len(places) and not (places.min() >= 0 and (places.max(axis=0) < shape).all()):
            raise BadField(f"cells at {places.min(axis=0)} to {places.max(axis=0)} lie outside a grid of {shape}")
        keys = np.ravel_multi_index(tuple(np.asarray(places, np.int64).T), shape)
        order = np.argsort(keys)
        return cls(shape, keys[order], np.asarray(values, np.float32)[order])

    @property
    def places(self) -> Array:
        """(n, 3)"""
        return np.stack(np.unravel_index(self.keys, self.shape), axis=1)

    def dense(self) -> Array:
        """The whole grid, (X, Y, Z, C), zeros where it is empty."""
        grid = np.zeros((int(np.prod(self.shape)), self.values.shape[1]), np.float32)
        grid[self.keys] = self.values
        return grid.reshape(*self.shape, -1)

    def rectified(self) -> Cells:
        """ReLU: cells where nothing is above zero are empty from here on."""
        values = np.maximum(self.values, 0)
        kept = values.any(axis=1)
        return Cells(self.shape, self.keys[kept], values[kept])


def convolved(cells: Cells, weight: Array, bias: Array, backend: Backend = "auto") -> Cells:
    """Convolution that leaves the grid as large as it is, with zeros beyond its sides; all cells that a vote reached.

    weight  (K, K, K, C, D), K odd; the middle one is the cell's own     bias  (D,), none above zero
    return  values (m, D); the same for all backends to about 1e-6 of the largest
    raises  BadField for other shapes, or a bias above zero, which would fill the grid
    """
    side, channels = weight.shape[0], weight.shape[3] if weight.ndim == 5 else -1
    if weight.ndim != 5 or weight.shape[:3] != (side,) * 3 or side % 2 == 0 or channels != cells.values.shape[1]:
        raise BadField(f"a kernel of {weight.shape} for {cells.values.shape[1]} channels; wanted (K, K, K, C, D), K odd")
    if bias.shape != weight.shape[4:] or (bias > 0).any():
        raise BadField(f"biases {bias}: wanted {weight.shape[4]}, none above zero, or empty cells would not stay empty")
    reach = side // 2
    padded = tuple(length + 2 * reach for length in cells.shape)
    places = tuple(cells.places.T + reach)
    chosen = cheaper(cells, weight) if backend == "auto" else backend
    total = (_voted if chosen == "vote" else _transformed)(cells.values, places, padded, np.asarray(weight, np.float32))
    middle = (slice(reach, -reach or None),) * 3
    reached = _reached(places, padded, reach)[middle]
    values = total.reshape(*padded, -1)[middle][reached]
    return Cells(cells.shape, np.flatnonzero(reached), values + np.asarray(bias, np.float32))


def _voted(values: Array, places: tuple[Array, ...], shape: tuple[int, ...], weight: Array) -> Array:
    """Sums of the votes, (cells of the padded grid, D)."""
    side, outputs = weight.shape[0], weight.shape[4]
    keys = np.ravel_multi_index(places, shape)
    offsets = np.indices((side,) * 3).reshape(3, -1).T - side // 2
    steps = offsets @ [shape[1] * shape[2], shape[2], 1]
    kernel = np.ascontiguousarray(weight.reshape(side**3, -1, outputs).transpose(0, 2, 1)).reshape(-1, values.shape[1])
    total = np.zeros((outputs, int(np.prod(shape))), np.float32)
    together = max(1, _HELD // max(1, len(keys) * outputs))
    for start in range(0, len(steps), together):
        part = steps[start : start + together]
        votes = kernel[start * outputs : (start + len(part)) * outputs] @ values.T
        for step, ballot in zip(part, votes.reshape(len(part), outputs, -1), strict=True):
            targets = keys - step
            for channel, vote in zip(total, ballot, strict=True):
                channel[targets] += vote
    return np.asarray(total.T)


def _transformed(values: Array, places: tuple[Array, ...], shape: tuple[int, ...], weight: Array) -> Array:
    """The same sums by Fourier transforms of the whole grid. What wraps around falls on its margin."""
    from scipy import fft

    side, outputs = weight.shape[0], weight.shape[4]
    size = [fft.next_fast_len(length, real=True) for length in shape]
    total = np.zeros((outputs, *size[:2], size[2] // 2 + 1), np.complex64)
    for channel, column in enumerate(values.T):
        grid = np.zeros(size, np.float32)
        grid[places] = column
        seen = fft.rfftn(grid)
        for output in range(outputs):
            turned = np.zeros(size, np.float32)
            turned[:side, :side, :side] = weight[::-1, ::-1, ::-1, channel, output]
            total[output] += seen * fft.rfftn(turned)
    found = fft.irfftn(total, size, axes=(1, 2, 3))
    back = np.roll(found, (-(side // 2),) * 3, axis=(1, 2, 3))
    return np.asarray(back[:, : shape[0], : shape[1], : shape[2]].reshape(outputs, -1).T)


def _reached(places: tuple[Array, ...], shape: tuple[int, ...], reach: int) -> Array:
    """Which cells of the padded grid a vote reached, bool."""
    found = np.zeros(shape, np.bool_)
    found[places] = True
    for axis in range(3):
        moved = np.moveaxis(found, axis, 0)
        source = moved.copy()
        for step in range(1, reach + 1):
            moved[step:] |= source[:-step]
            moved[:-step] |= source[step:]
    return found


def cheaper(cells: Cells, weight: Array) -> Literal["vote", "dense"]:
    """The backend that takes less time.

    Voting adds up a number for every filled cell, place of the kernel and output; the other way transforms the padded grid
    once for each input, output, and pair of both. Each was measured with benchmarks/voting.py.
    """
    side, channels, outputs = weight.shape[0], *weight.shape[3:]
    votes = len(cells.keys) * side**3 * outputs
    padded = np.prod([length + side - 1 for length in cells.shape])
    return "vote" if votes <= _DEARER * padded * (channels + outputs + channels * outputs) else "dense"


@dataclass(frozen=True, eq=False)
class Votes:
    """What a voting network says of a grid.

    heads  scores (m, 1) a head     members  (n,) of the cells that came in     active  cells that came in, and after each layer
    """

    heads: tuple[Cells, ...]
    members: Array
    active: tuple[int, ...]


def voted(cells: Cells, weights: Mapping[str, Array], backend: Backend = "auto") -> Votes:
    """Two hidden layers, then all heads; weights as `kit/voting_net.py` names them."""

    def layer(given: Cells, name: str) -> Cells:
        return convolved(given, weights[f"{name}.weight"], weights[f"{name}.bias"], backend)

    first = layer(cells, "first").rectified()
    second = layer(first, "second").rectified()
    count = sum(name.startswith("head") and name.endswith("weight") for name in weights)
    heads = tuple(layer(second, f"head{number}") for number in range(count))
    member = layer(second, "member")
    members = np.full(len(cells.keys), weights["member.bias"][0], np.float32)  # where no vote came
    places = np.searchsorted(member.keys, cells.keys)
    known = places < len(member.keys)
    known[known] = member.keys[places[known]] == cells.keys[known]
    members[known] = member.values[places[known], 0]
    return Votes(heads, members, tuple(len(each.keys) for each in (cells, first, second)))
