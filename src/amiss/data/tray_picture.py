"""The picture of a made tray: what lies where, and how a camera sees it. Lengths are given for 96 pixels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from amiss.data.canvas import Array, Size, exposed, grid, smooth, unit

Nuts = Literal["pockets", "loose"]

_NUTS = 4
_LOOSE = ((-33.0, -32.0), (0.0, 32.0))  # corners, row and column, between which the middle of a loose nut lies
_APART = 28.0  # between the middles of two loose nuts
# middles of the places, row and column from the middle of the tray
_POCKETS = tuple((row, column) for row in (-29.0, -4.0) for column in (-26.0, 0.0, 26.0))
_CAPS = ((26.0, -31.0), (26.0, -13.0))
_BARS = ((26.0, 12.0), (26.0, 22.0), (26.0, 32.0))
_POCKET, _FLATS, _BORE, _CAP, _BAR = 9.5, 6.4, 3.0, 7.0, (9.0, 3.0)  # radius, half across flats, radii, half height and width
_GROUND, _RIM, _FLOOR, _SUNK, _STEEL = (
    np.array(rgb, float) for rgb in ((62, 66, 72), (96, 100, 108), (206, 201, 188), (180, 175, 163), (86, 90, 98))
)
_CAP_COLOURS = np.array(((186, 78, 66), (72, 110, 168), (94, 150, 96)), float)
_BAR_COLOURS = np.array(((54, 138, 138), (206, 152, 62), (124, 92, 150)), float)

COLOURS = len(_CAP_COLOURS)
NUT_AREA, POCKET_AREA = 2 * 3**0.5 * _FLATS**2, np.pi * _POCKET**2  # lengths squared


@dataclass(frozen=True)
class Plan:
    """What lies where in a tray, and the seed of everything else in its picture.

    places  where a nut may lie, row and column: the six pockets, or where the loose nut and a second one would be
    filled  which of them hold a nut     caps, bars  colour of each, 0 to 2; good bars are in order
    """

    places: tuple[tuple[float, float], ...]
    filled: tuple[bool, ...]
    caps: tuple[int, ...]
    bars: tuple[int, ...]
    view: int

    @property
    def pockets(self) -> bool:
        """Whether the places are pockets in the floor."""
        return self.places == _POCKETS


def plan(rng: np.random.Generator, nuts: Nuts = "pockets") -> Plan:
    """A good tray: four nuts in pockets or a loose one, a pair of caps, bars in order."""
    places, filled = _pocketed(rng) if nuts == "pockets" else _loose(rng)
    colour = int(rng.integers(COLOURS))
    return Plan(places, filled, (colour,) * len(_CAPS), tuple(range(len(_BARS))), int(rng.integers(2**62)))


def _pocketed(rng: np.random.Generator) -> tuple[tuple[tuple[float, float], ...], tuple[bool, ...]]:
    nuts = rng.choice(len(_POCKETS), _NUTS, replace=False)
    return _POCKETS, tuple(place in nuts for place in range(len(_POCKETS)))


def _loose(rng: np.random.Generator) -> tuple[tuple[tuple[float, float], ...], tuple[bool, ...]]:
    """One nut anywhere; the second place is drawn for every tray, so that trays with and without a defect are seen alike."""
    first, second = rng.uniform(*_LOOSE), rng.uniform(*_LOOSE)
    while np.hypot(*(second - first)) < _APART:
        second = rng.uniform(*_LOOSE)
    return (tuple(first.tolist()), tuple(second.tolist())), (True, False)


def draw(planned: Plan, size: Size) -> Array:
    """The picture of a tray, (H, W, 3) uint8. Trays of one view differ only where their parts do."""
    view = View(planned, size)
    scene = np.broadcast_to(_GROUND, (*size, 3))
    for cover, colour in _pieces(planned, view):
        scene = scene + cover[..., None] * (colour - scene)
    return exposed(view.rng, scene * view.shade)


class View:
    """What differs from picture to picture beside the plan: where the tray lies, how the parts lie in it, shading, noise."""

    def __init__(self, planned: Plan, size: Size) -> None:
        self.rng = np.random.default_rng(planned.view)
        self.planned = planned
        self.unit = unit(size)
        y, x = grid(size)
        shift = self.rng.uniform(-1.2, 1.2, 2)
        self.y, self.x = y - size[0] / self.unit / 2 - shift[0], x - size[1] / self.unit / 2 - shift[1]
        self.nuts = np.array(planned.places) + self.rng.uniform(-1, 1, (len(planned.places), 2))
        self.turns = self.rng.uniform(0, np.pi / 3, len(planned.places))
        self.caps = np.array(_CAPS) + self.rng.uniform(-0.8, 0.8, (len(_CAPS), 2))
        self.bars = np.array(_BARS) + self.rng.uniform(-0.5, 0.5, (len(_BARS), 2))
        self.shade = 1 + 0.035 * smooth(self.rng, size, 40)[..., None]

    def cover(self, depth: Array) -> Array:
        """How much of each pixel lies in a shape, (H, W) in 0..1; depth is the way to its outline, positive inside."""
        return np.asarray(np.clip(depth * self.unit + 0.5, 0, 1))

    def disc(self, at: Sequence[float] | Array, radius: float) -> Array:
        return self.cover(radius - np.hypot(self.y - at[0], self.x - at[1]))

    def box(self, at: Sequence[float] | Array, half: tuple[float, float], corner: float) -> Array:
        """A rectangle with round corners."""
        dy, dx = (np.abs(way) - edge + corner for way, edge in zip((self.y - at[0], self.x - at[1]), half, strict=True))
        return self.cover(corner - np.hypot(np.maximum(dy, 0), np.maximum(dx, 0)) - np.minimum(np.maximum(dy, dx), 0))


def _pieces(planned: Plan, view: View) -> Iterator[tuple[Array, Array]]:
    """Covers and colours from the bottom up."""
    yield view.box((0, 0), (45, 45), 6), _RIM
    yield np.maximum.reduce(floors(view)), _FLOOR
    for place, filled in enumerate(planned.filled):
        if planned.pockets:
            yield vacancy(view, place), _SUNK * 0.9
            yield view.disc(np.add(_POCKETS[place], (0.7, 0.7)), _POCKET - 0.7), _SUNK
        if filled:
            yield nut(view, place), _lit(_STEEL, view, view.nuts[place], _FLATS)
            yield view.disc(view.nuts[place], _BORE), _SUNK * 0.9
    for place, colour in enumerate(planned.caps):
        yield cap(view, place), _CAP_COLOURS[colour] * 0.85
        yield view.disc(view.caps[place], _CAP - 1.8), _lit(_CAP_COLOURS[colour], view, view.caps[place], _CAP)
    for place, colour in enumerate(planned.bars):
        yield bar(view, place), _lit(_BAR_COLOURS[colour], view, view.bars[place], _BAR[0])


def floors(view: View) -> list[Array]:
    """The compartments: count, pair, order."""
    return [view.box(at, half, 3) for at, half in (((-16.5, 0), (24.5, 41)), ((26, -22), (15, 19)), ((26, 22), (15, 19)))]


def _lit(colour: Array, view: View, at: Array, reach: float) -> Array:
    """A colour under light from the upper left, (H, W, 3)."""
    return np.asarray(colour * (1 - 0.12 * (view.y - at[0] + view.x - at[1]) / reach)[..., None])


def vacancy(view: View, place: int) -> Array:
    """Cover of where a nut could lie, (H, W) in 0..1: a pocket, or all of the floor. So are the covers of the parts."""
    return view.disc(_POCKETS[place], _POCKET) if view.planned.pockets else floors(view)[0]


def nut(view: View, place: int) -> Array:
    """A hexagon with its bore."""
    dy, dx = view.y - view.nuts[place][0], view.x - view.nuts[place][1]
    ways = view.turns[place] + np.pi / 3 * np.arange(3)
    return view.cover(_FLATS - np.max([np.abs(dx * np.cos(way) + dy * np.sin(way)) for way in ways], axis=0))


def cap(view: View, place: int) -> Array:
    return view.disc(view.caps[place], _CAP)


def bar(view: View, place: int) -> Array:
    return view.box(view.bars[place], _BAR, 1.5)
