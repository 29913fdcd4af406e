"""Plots of a bench page as inline SVG: no library, no request, colours from the page so that they follow light and dark."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from amiss.viz.markup import text

COLOURS = 8  # classes m0 to m7 of the page; more methods begin anew with another shape
_SHAPES = ("circle", "square", "diamond", "triangle")
_MOST = 160  # points of a curve
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Point:
    """One method: number for colour and shape, milliseconds, figure, and the ends of its whisker where there is one."""

    label: str
    number: int
    ms: float
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Frame:
    """The plotting area: pixels around it, and what its edges stand for."""

    width: int
    height: int
    x: tuple[float, float]
    y: tuple[float, float]
    logarithmic: bool = False
    left: int = 62
    bottom: int = 42
    top: int = 12
    right: int = 14

    def across(self, value: float) -> float:
        low, high, at = (math.log10(v) if self.logarithmic else v for v in (*self.x, value))
        return self.left + (self.width - self.left - self.right) * (at - low) / (high - low)

    def up(self, value: float) -> float:
        low, high = self.y
        return self.height - self.bottom - (self.height - self.bottom - self.top) * (value - low) / (high - low)

    def open(self, label: str) -> str:
        return f'<svg class="plot" role="img" aria-label="{text(label)}" viewBox="0 0 {self.width} {self.height}">\n'

    def rules(self, xs: Iterable[float], ys: Iterable[float], titles: tuple[str, str]) -> Iterator[str]:
        """Grid lines with their numbers, and what the axes are."""
        right, floor = self.width - self.right, self.height - self.bottom
        for y in ys:
            yield f'<line class="rule" x1="{self.left}" x2="{right}" y1="{self.up(y):.1f}" y2="{self.up(y):.1f}"/>'
            yield f'<text x="{self.left - 7}" y="{self.up(y) + 4:.1f}" text-anchor="end">{y:g}</text>\n'
        for x in xs:
            yield f'<line class="rule" x1="{self.across(x):.1f}" x2="{self.across(x):.1f}" y1="{self.top}" y2="{floor}"/>'
            yield f'<text x="{self.across(x):.1f}" y="{floor + 16}" text-anchor="middle">{x:g}</text>\n'
        centre, middle = (self.left + right) / 2, (self.top + floor) / 2
        yield f'<text class="axis" x="{centre:.0f}" y="{self.height - 5}" text-anchor="middle">{titles[0]}</text>'
        yield f'<text class="axis" transform="translate(13 {middle:.0f}) rotate(-90)" text-anchor="middle">{titles[1]}</text>\n'


def scatter(points: Sequence[Point], title: str) -> str:
    """Quality against milliseconds a part, the latter on a logarithmic axis."""
    times = [point.ms for point in points]
    lows = [point.value if point.low is None else point.low for point in points]
    bottom = _floor(min(lows))
    frame = Frame(640, 330, (min(times) / 1.6, max(times) * 1.6), (bottom, 1.0), logarithmic=True, right=24)
    parts = [frame.open(f"{title} against milliseconds a part")]
    parts += frame.rules(_times(frame.x), _ticks(bottom), ("ms per part, logarithmic", title))
    places = [(frame.across(point.ms), frame.up(point.value)) for point in points]
    taken = [(x - 8, y - 8, x + 8, y + 8) for x, y in places]
    for point, (x, y) in zip(points, places, strict=True):
        if point.low is not None and point.high is not None:
            parts.append(_whisker(point.number, x, frame.up(point.low), frame.up(point.high)))
        parts.append(f"{_marker(point.number, x, y)}\n{_name(point, (x, y), frame, taken)}\n")
    return "".join(parts) + "</svg>\n"


def _name(point: Point, at: tuple[float, float], frame: Frame, taken: list[Box]) -> str:
    """A point's name beside it in its colour, on the side and at the height where it lies across nothing."""
    label = point.label if len(point.label) <= 40 else point.label[:39] + "…"
    width = 7.2 * len(label)
    tried = [(at[0] + side, at[1] + down) for down in (0, 15, -15, 30, -30, 45, 60) for side in (11, -11 - width)]
    fitting = [
        (x, y) for x, y in tried if x > frame.left and x + width < frame.width and frame.top < y < frame.height - frame.bottom
    ]
    free = [(x, y) for x, y in fitting or tried if not any(_across((x, y - 7, x + width, y + 7), other) for other in taken)]
    x, y = (free or fitting or tried)[0]
    taken.append((x, y - 7, x + width, y + 7))
    return f'<text class="name m{point.number % COLOURS}" x="{x:.1f}" y="{y + 4:.1f}">{text(label)}</text>'


def _across(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def bars(
    categories: Sequence[str], series: Sequence[tuple[str, int, Sequence[Point | None]]], title: str, *, chance: float = 0.0
) -> str:
    """A group of bars a category, rising from chance where none lies below it, else from 0."""
    every = [point for _, _, row in series for point in row if point is not None]
    bottom = chance if all((point.value if point.low is None else point.low) >= chance for point in every) else 0.0
    slot = max(46, 14 * len(series) + 12)
    turned = len(categories) > 3
    frame = Frame(max(400, 76 + slot * len(categories)), 300, (0, len(categories)), (bottom, 1.0), bottom=84 if turned else 34)
    label = f"{title} by category: " + ", ".join(name for name, _, _ in series)
    parts = [frame.open(label).replace('class="plot"', f'class="plot bars" width="{frame.width}"', 1)]
    parts += frame.rules((), _ticks(bottom), ("", title))
    breadth = (frame.across(1) - frame.across(0) - 12) / max(1, len(series))
    breadth = min(breadth, 34)
    for place, category in enumerate(categories):
        middle = frame.across(place + 0.5)
        for at, (name, number, row) in enumerate(series):
            point = row[place]
            if point is not None:
                x = middle + breadth * (at - len(series) / 2)
                parts.append(_bar(frame, point, f"{name}, {category}", (x, breadth - 2), number))
        words = category if len(category) <= 22 else category[:21] + "…"
        spot = f"{middle + 4:.1f} {frame.height - frame.bottom + 16}"
        parts.append(
            f'<text transform="translate({spot}){" rotate(-28)" if turned else ""}" '
            f'text-anchor="{"end" if turned else "middle"}">{text(words)}</text>\n'
        )
    return "".join(parts) + "</svg>\n"


def _bar(frame: Frame, point: Point, said: str, span: tuple[float, float], number: int) -> str:
    top, floor = frame.up(point.value), frame.up(frame.y[0])
    bar = (
        f'<rect class="m{number % COLOURS} fill" x="{span[0]:.1f}" y="{top:.1f}" width="{span[1]:.1f}" '
        f'height="{max(1.0, floor - top):.1f}"><title>{text(said)}: {point.value:.4f}</title></rect>\n'
    )
    if point.low is None or point.high is None:
        return bar
    x = span[0] + span[1] / 2
    return (
        bar
        + f'<line class="whisker" x1="{x:.1f}" x2="{x:.1f}" y1="{frame.up(point.low):.1f}" y2="{frame.up(point.high):.1f}"/>\n'
    )


def curves(
    series: Sequence[tuple[str, int, npt.NDArray[np.float64], npt.NDArray[np.float64]]],
    title: str,
    axes: tuple[str, str],
    *,
    end: float,
) -> str:
    """Curves over a false-positive rate from 0 to `end`; y from 0 to 1."""
    frame = Frame(400, 360, (0.0, end), (0.0, 1.0))
    step = end / 5
    ticks = [round(step * number, 4) for number in range(6)]
    parts = [frame.open(title), *frame.rules(ticks, (0, 0.2, 0.4, 0.6, 0.8, 1), axes)]
    for name, number, rates, heights in series:
        inside = rates <= end
        x, y = np.append(rates[inside], end), np.append(heights[inside], np.interp(end, rates, heights))
        if len(x) > _MOST:
            keep = np.unique(np.linspace(0, len(x) - 1, _MOST).round().astype(int))
            x, y = x[keep], y[keep]
        path = " ".join(f"{frame.across(a):.1f},{frame.up(b):.1f}" for a, b in zip(x, y, strict=True))
        kind = f"m{number % COLOURS} curve d{number % 4}"
        parts.append(f'<polyline class="{kind}" points="{path}"><title>{text(name)}</title></polyline>\n')
    return "".join(parts) + "</svg>\n"


def key(labels: Sequence[tuple[str, int]]) -> str:
    """What the colours and shapes stand for."""
    marks = (
        f'<span><svg width="34" height="12" viewBox="0 0 34 12" aria-hidden="true">'
        f'<line class="m{number % COLOURS} curve d{number % 4}" x1="0" x2="34" y1="6" y2="6"/>'
        f"{_marker(number, 17, 6, 4.5)}</svg> {text(label)}</span>"
        for label, number in labels
    )
    return f'<p class="legend">{"".join(marks)}</p>\n'


def _marker(number: int, x: float, y: float, size: float = 6.0) -> str:
    kind = f'class="m{number % COLOURS} fill"'
    shape = _SHAPES[(number // COLOURS + number) % 4]
    if shape == "circle":
        return f'<circle {kind} cx="{x:.1f}" cy="{y:.1f}" r="{size}"/>'
    corners = {
        "square": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
        "diamond": ((0, -1.2), (1.2, 0), (0, 1.2), (-1.2, 0)),
        "triangle": ((0, -1.15), (1.1, 0.85), (-1.1, 0.85)),
    }[shape]
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    return f'<polygon {kind} points="{points}"/>'


def _whisker(number: int, x: float, low: float, high: float) -> str:
    return f'<line class="m{number % COLOURS} span" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>'


def _floor(lowest: float) -> float:
    """A round lower end of an axis that ends at 1."""
    step = next(step for step in (0.01, 0.02, 0.05, 0.1, 0.2) if (1 - lowest) / step <= 5.5)
    return max(0.0, round(math.floor((lowest - 1e-9) / step) * step, 4))


def _ticks(bottom: float) -> list[float]:
    step = next(step for step in (0.005, 0.01, 0.02, 0.05, 0.1, 0.2) if (1 - bottom) / step <= 6.01)
    return [
        round(1 - step * number, 4) for number in range(round((1 - bottom) / step) + 1) if 1 - step * number >= bottom - 1e-9
    ]


def _times(ends: tuple[float, float]) -> list[float]:
    """Round numbers between two times: 1, 2, 5 of each decade, or more of them where these are few."""
    powers = range(math.floor(math.log10(ends[0])), math.ceil(math.log10(ends[1])) + 1)
    found: list[float] = []
    for digits in ((1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8)):
        found = [digit * 10.0**power for power in powers for digit in digits if ends[0] <= digit * 10.0**power <= ends[1]]
        if len(found) >= 3:
            break
    return found
