"""A made logical set: trays whose parts are each fine and together wrong. No real data, everything from a seed.

A pale tray has three compartments. *count*: six pockets, four of them hold a nut, which four is drawn anew for each tray;
or no pockets and one loose nut anywhere (`nuts`).
*pair*: two caps of one colour out of three. *order*: three bars, always teal, amber, violet. The camera differs a little.
A surplus nut lies in a pocket where a good tray may have one: no single patch gives it away, only the number does.

    logical     surplus (one nut more), missing (one less), pair (caps of two colours), order (two bars changed places)
    structural  scratch, spot, stain: somewhere in one compartment
    several     names joined by "+" are defects of one tray, as in "surplus+pair"

Ground truth is as in MVTec LOCO AD: a channel for each defect has all the places where it could be marked, and a saturation
says how much of them is enough. Lengths grow with the picture: they are given for 96 pixels.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from amiss.data.canvas import Array, Size, unit, write_png
from amiss.data.mvtec_loco import CONFIG, KINDS, Saturation
from amiss.data.toys import defect
from amiss.data.tray_picture import COLOURS, NUT_AREA, POCKET_AREA, Nuts, Plan, View, bar, cap, draw, floors, nut, plan, vacancy
from amiss.errors import BadField
from amiss.types import Sample, Truth

LOGICAL = ("surplus", "missing", "pair", "order")
STRUCTURAL = ("scratch", "spot", "stain")
SEVERAL = "surplus+pair"
CATEGORY = "tray"
SIZE = (128, 128)


def tray(rng: np.random.Generator, size: Size = SIZE, *, nuts: Nuts = "pockets") -> Array:
    """A good tray, (H, W, 3) uint8."""
    return draw(plan(rng, nuts), size)


def samples(seed: int, count: int, size: Size = SIZE, *, nuts: Nuts = "pockets") -> list[Sample]:
    """Good trays; the first ones stay the same when more are asked for."""
    return [Sample(id=f"tray-{seed}-{number}", image=tray(_rng(seed, number), size, nuts=nuts)) for number in range(count)]


def defective_samples(
    seed: int, count: int, kinds: Sequence[str] = LOGICAL, size: Size = SIZE, *, nuts: Nuts = "pockets"
) -> list[tuple[Sample, Truth]]:
    """The trays of `samples(seed, count)`, seen alike, each with what is wrong with it; the kinds in turn.

    kinds   of LOGICAL and STRUCTURAL, or several of them joined by "+"
    return  truths have a region for each defect
    raises  BadField for an unknown kind, none, or one that contradicts itself
    """
    if not kinds:
        raise BadField("kinds is empty; name at least one kind of defect")
    made = []
    for number in range(count):
        kind = kinds[number % len(kinds)]
        image, channels = _defective(_rng(seed, number), kind, size, nuts)
        regions = tuple((mask, saturation(name, size).pixels(int(mask.sum()))) for name, mask in channels.items())
        mask = np.logical_or.reduce(list(channels.values()))
        sample = Sample(id=f"tray-{kind}-{seed}-{number}", image=image)
        made.append((sample, Truth(label=True, kind=kind, mask=mask, regions=regions)))
    return made


def make_loco(
    root: str | Path,
    *,
    seed: int = 0,
    train: int = 12,
    validation: int = 4,
    good: int = 4,
    logical: int = 5,
    structural: int = 3,
    size: Size = SIZE,
) -> Path:
    """The category `tray` below `root` as PNG files in the layout of MVTec LOCO AD; returns `root`.

    good, logical, structural  numbers of test pictures; every fifth logical one has two defects, so two masks
    """
    root, counts = Path(root), (train, validation, good, logical, structural)
    for place, image in _pictures(seed, counts, size):
        write_png(root / CATEGORY / place, image)
    config = root / CATEGORY / CONFIG
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text(json.dumps([_config(name, size) for name in _VALUES], indent=4) + "\n", encoding="utf-8")
    return root


def saturation(name: str, size: Size = SIZE) -> Saturation:
    """How much of a defect has to be found.

    Any one nut, or as much as one empty pocket, is enough; so is one of two caps or bars. Damage has to be found whole.
    """
    if name in ("surplus", "missing"):
        area = NUT_AREA if name == "surplus" else POCKET_AREA
        return Saturation(max(1, round(area * unit(size) ** 2)), relative=False)
    return Saturation(0.5 if name in LOGICAL else 1.0, relative=True)


def _pictures(seed: int, counts: tuple[int, ...], size: Size) -> Iterator[tuple[Path, Array]]:
    """Every picture and mask with its place in the category."""
    goods, turns = ("train/good", "validation/good", "test/good"), ((*LOGICAL, SEVERAL), STRUCTURAL)
    for split, (folder, count) in enumerate(zip(goods, counts[:3], strict=True), start=1):
        for number in range(count):
            yield Path(folder, f"{number:03}.png"), tray(_rng(seed, number, split), size)
    for split, (folder, kinds, count) in enumerate(zip(KINDS, turns, counts[3:], strict=True), start=4):
        for number in range(count):
            image, channels = _defective(_rng(seed, number, split), kinds[number % len(kinds)], size)
            yield Path("test", folder, f"{number:03}.png"), image
            for channel, (name, mask) in enumerate(channels.items()):
                place = Path("ground_truth", folder, f"{number:03}", f"{channel:03}.png")
                yield place, mask.astype(np.uint8) * np.uint8(_VALUES[name])


def _config(name: str, size: Size) -> dict[str, str | float]:
    wanted = saturation(name, size)
    return {
        "defect_name": name,
        "pixel_value": _VALUES[name],
        "saturation_threshold": wanted.threshold,
        "relative_saturation": wanted.relative,
    }


def _rng(seed: int, number: int, split: int = 0) -> np.random.Generator:
    return np.random.default_rng([seed, number, split])


def _defective(rng: np.random.Generator, kind: str, size: Size, nuts: Nuts = "pockets") -> tuple[Array, dict[str, Array]]:
    """A tray with what `kind` names, and the channel of each defect, (H, W) bool."""
    names = _names(kind)
    planned, marks = plan(rng, nuts), {}
    for name in names:
        if name in LOGICAL:
            planned, marks[name] = _CHANGES[name](rng, planned)
    view = View(planned, size)
    channels = {name: np.logical_or.reduce([cover(view, at) > 0 for at in places]) for name, (cover, places) in marks.items()}
    image = draw(planned, size)
    for name in names:
        if name in STRUCTURAL:
            image, channels[name] = defect(rng, image, kind=name, on=floors(view)[rng.integers(3)] > 0.5)
    return image, channels


def _names(kind: str) -> list[str]:
    names = kind.split("+")
    if unknown := [name for name in names if name not in _VALUES]:
        raise BadField(f"defect {unknown[0]!r}: wanted some of {', '.join(_VALUES)}, joined by '+'")
    if len(set(names)) < len(names) or {"surplus", "missing"} <= set(names):
        raise BadField(f"defects {kind!r}: wanted each once, and not surplus with missing, which make a good tray")
    return names


def _surplus(rng: np.random.Generator, good: Plan) -> tuple[Plan, _Mark]:
    """One nut more; any of them may be it."""
    changed = _flipped(good, _places(good, filled=False), rng)
    return changed, (nut, _places(changed, filled=True))


def _missing(rng: np.random.Generator, good: Plan) -> tuple[Plan, _Mark]:
    """One nut less; it may lack wherever one could lie."""
    changed = _flipped(good, _places(good, filled=True), rng)
    return changed, (vacancy, _places(changed, filled=False))


def _pair(rng: np.random.Generator, good: Plan) -> tuple[Plan, _Mark]:
    """One cap of another colour; either may be the wrong one."""
    caps = list(good.caps)
    wrong = rng.integers(len(caps))
    caps[wrong] = (caps[wrong] + int(rng.integers(1, COLOURS))) % COLOURS
    return replace(good, caps=tuple(caps)), (cap, (0, 1))


def _order(rng: np.random.Generator, good: Plan) -> tuple[Plan, _Mark]:
    """Two bars have changed places; either stands where it should not."""
    bars, (left, right) = list(good.bars), ((0, 1), (0, 2), (1, 2))[rng.integers(3)]
    bars[left], bars[right] = bars[right], bars[left]
    return replace(good, bars=tuple(bars)), (bar, (left, right))


def _flipped(good: Plan, places: tuple[int, ...], rng: np.random.Generator) -> Plan:
    """Fill or empty one of these pockets."""
    flipped = rng.choice(places)
    return replace(good, filled=tuple(filled != (place == flipped) for place, filled in enumerate(good.filled)))


def _places(planned: Plan, *, filled: bool) -> tuple[int, ...]:
    return tuple(place for place, holds in enumerate(planned.filled) if holds == filled)


_Mark = tuple[Callable[[View, int], Array], tuple[int, ...]]
_CHANGES: dict[str, Callable[[np.random.Generator, Plan], tuple[Plan, _Mark]]] = {
    "surplus": _surplus, "missing": _missing, "pair": _pair, "order": _order,
}  # fmt: skip
_VALUES = {name: 255 - place for place, name in enumerate(LOGICAL + STRUCTURAL)}
