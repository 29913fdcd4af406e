"""The score strip: every part a mark along the score, piled where parts are many, and the thresholds. Inline SVG.

Horizontal places are percentages and vertical ones pixels, so that it fits any width without shrinking its text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from amiss.viz.markup import text

_WIDTH = 1000  # about, in pixels: piles stand one mark apart
_LANE = 96  # at most
_AXIS = 36
_LINE = 14
_LEAST, _MOST = 1e-100, 1e100  # smaller differences are none; scores beyond are not drawn, nor NaN
_SKEW = 30  # positive scores whose largest exceeds this many medians are drawn on a logarithmic axis


@dataclass(frozen=True)
class Dot:
    """part  number of the part in the page     outcome  OK, REVIEW, NG or none     lane  "" or what is known of it"""

    part: int
    score: float
    outcome: str
    lane: str = ""


@dataclass(frozen=True)
class Axis:
    """Where a score lies between the left and the right border, in percent."""

    low: float
    high: float
    logarithmic: bool

    @classmethod
    def over(cls, scores: Sequence[float]) -> Axis:
        """An axis that shows all these scores, with some air at both ends."""
        low, high = min(scores), max(scores)
        logarithmic = low > 1e-12 * high and high > _SKEW * median(scores)
        ends = [math.log10(low), math.log10(high)] if logarithmic else [low, high]
        width, size = ends[1] - ends[0], abs(ends[0])
        air = 0.03 * width if width > _LEAST else 0.1 * size if size > _LEAST else 1.0
        return cls(ends[0] - air, ends[1] + air, logarithmic)

    def place(self, score: float) -> float:
        at = math.log10(score) if self.logarithmic else score
        return 1 + 98 * (at - self.low) / (self.high - self.low)

    def ticks(self) -> list[float]:
        """Round scores, about five."""
        if self.logarithmic:
            decades = range(math.floor(self.low), math.ceil(self.high) + 1)
            scores = [digit * 10.0**decade for decade in decades for digit in ((1, 2, 5) if len(decades) < 5 else (1,))]
            return [score for score in scores if self.low <= math.log10(score) <= self.high]
        rough = (self.high - self.low) / 5
        unit = 10 ** math.floor(math.log10(rough))
        step = next((unit * factor for factor in (1, 2, 5) if unit * factor >= rough), 10 * unit)
        return [step * number for number in range(math.ceil(self.low / step), math.floor(self.high / step) + 1)]


def strip(dots: Sequence[Dot], thresholds: Mapping[str, float], style: str) -> Iterator[str]:
    """The pieces of an svg element.

    thresholds  what lies above each, e.g. {"NG": 3.1, "REVIEW": 2.7}     style  format of a score
    """
    dots = [dot for dot in dots if abs(dot.score) < _MOST]
    if not dots:
        return
    axis = Axis.over([dot.score for dot in dots] + list(thresholds.values()))
    bottom, drawn = 4 + _LINE * len(thresholds), []
    for lane, members in _lanes(dots).items():
        height, marks = _lane(lane, members, axis, bottom)
        bottom += height
        drawn.extend(marks)
    said = ", ".join(f"{name} above {level:{style}}" for name, level in thresholds.items()) or "no thresholds"
    label = text(f"Scores of {len(dots)} parts; {said}. The table below lists them.")
    yield f'<svg class="strip" role="img" aria-label="{label}" width="100%" height="{bottom + _AXIS}">\n'
    yield from drawn
    yield from _ticks(axis, bottom)
    for name, y in _rows(thresholds, axis).items():
        yield _threshold(name, f"{name} above {thresholds[name]:{style}}", axis.place(thresholds[name]), (y, bottom))
    yield "</svg>\n"


def _lanes(dots: Sequence[Dot]) -> dict[str, list[Dot]]:
    """Parts by what is known of them, in the order in which that first occurs."""
    lanes: dict[str, list[Dot]] = {}
    for dot in dots:
        lanes.setdefault(dot.lane, []).append(dot)
    return lanes


def _lane(name: str, dots: Sequence[Dot], axis: Axis, top: int) -> tuple[int, list[str]]:
    """Height of a lane and its marks.

    Neighbours of one outcome stand in a pile at their mean, so that a pile is always on its side of a threshold; piles tighten
    where the lane would grow too high.
    """
    side = 7 if len(dots) <= 400 else 5 if len(dots) <= 2000 else 3
    head = 22 if name else 6
    piles: dict[tuple[int, str], list[Dot]] = {}
    for dot in dots:
        piles.setdefault((int(axis.place(dot.score) / 100 * _WIDTH / (side + 1)), dot.outcome), []).append(dot)
    highest = max(1, max(len(pile) for pile in piles.values()) - 1)
    step = min(side + 1.0, (_LANE - head - side) / highest)
    height = math.ceil(head + side + step * highest) + 2
    floor = top + height
    marks = [f'<text class="lane" x="0" y="{top + 14}">{text(name)}</text>\n'] if name else []
    marks.append(f'<line class="floor" x1="0" x2="100%" y1="{floor}" y2="{floor}"/>\n')
    marks.append(f'<g transform="translate({-side / 2:g} 0)">\n')
    for pile in piles.values():
        place = sum(axis.place(dot.score) for dot in pile) / len(pile)
        marks.extend(_mark(dot, place, floor - 2 - side - step * level, side) for level, dot in enumerate(pile))
    return height, [*marks, "</g>\n"]


def _mark(dot: Dot, place: float, y: float, side: int) -> str:
    shape = f'x="{place:.2f}%" y="{y:.1f}" width="{side}" height="{side}"'
    return f'<rect class="mark {dot.outcome}" data-part="{dot.part}" {shape}/>\n'


def _ticks(axis: Axis, bottom: int) -> Iterator[str]:
    scores = axis.ticks()
    style = _tick_style(scores)
    for score in scores:
        place, said = axis.place(score), f"{score:{style}}"
        yield f'<line class="tick" x1="{place:.2f}%" x2="{place:.2f}%" y1="{bottom}" y2="{bottom + 5}"/>'
        yield f'<text class="tick" x="{place:.2f}%" y="{bottom + 18}" text-anchor="middle">{said}</text>\n'
    kind = "score, logarithmic" if axis.logarithmic else "score"
    yield f'<text class="tick" x="100%" y="{bottom + 32}" text-anchor="end">{kind} (higher is more unusual)</text>\n'


def _tick_style(scores: Sequence[float]) -> str:
    """As many decimals as tell neighbours apart."""
    gap = min((b - a for a, b in pairwise(scores)), default=1.0)
    decimals = max(0, -math.floor(math.log10(gap) + 1e-6)) if gap > 0 else 99
    return f".{decimals}f" if decimals <= 9 and max(map(abs, scores), default=0) < 1e8 else ".6g"


def _rows(thresholds: Mapping[str, float], axis: Axis) -> dict[str, int]:
    """The height of each label, such that none lies across the line of another that starts below it."""
    names = sorted(thresholds, key=lambda name: thresholds[name])
    if names and axis.place(thresholds[names[0]]) >= 50:
        names.reverse()
    return {name: 12 + _LINE * row for row, name in enumerate(names)}


def _threshold(name: str, label: str, place: float, span: tuple[int, int]) -> str:
    """A line down the strip with its label beside its upper end, on the side where there is room."""
    anchor, shift = ("start", 5) if place < 50 else ("end", -5)
    return (
        f'<line class="threshold {text(name)}" x1="{place:.2f}%" x2="{place:.2f}%" y1="{span[0] - 10}" y2="{span[1]}"/>'
        f'<text class="threshold" x="{place:.2f}%" y="{span[0]}" dx="{shift}" text-anchor="{anchor}">{text(label)}</text>\n'
    )
