"""Settings of a benchmark: what a method may learn from, and what it is judged on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from amiss.data.dataset import Dataset, Split, SplitName
from amiss.errors import BadField
from amiss.fields import unknown

_SPLITS: tuple[SplitName, ...] = ("train", "calibration", "test")
_KINDS = {"full": "normal", "few-shot": "normal", "many": "normal", "zero-shot": "unlabelled", "contaminated": "normal"}


@dataclass(frozen=True)
class Task:
    """What is fitted, calibrated and judged in one setting; tests by category."""

    name: str
    fit: Split
    calibration: Split
    tests: Mapping[str, Split]


def task(text: str, dataset: Dataset, category: str, *, seed: int) -> Task:
    """The task that a setting makes of one category, e.g. "full", "few-shot:4", "many", "zero-shot", "contaminated:0.1"."""
    kind, number = _parsed(text)
    rng = np.random.default_rng(seed)
    train, held, test = (dataset.split(category, name) for name in _SPLITS)
    if kind == "many":
        every = dataset.categories
        fit, held = (Split(tuple(entry for one in every for entry in dataset.split(one, name).entries)) for name in _SPLITS[:2])
        return Task(text, fit, held, {one: dataset.split(one, "test") for one in every})
    if kind == "zero-shot":
        return Task(text, test, Split(()), {category: test})
    if kind == "few-shot":
        picks = sorted(rng.permutation(len(train.entries))[: int(number)].tolist())
        return Task(text, Split(tuple(train.entries[pick] for pick in picks)), Split(()), {category: test})
    if kind == "contaminated":
        bad = [index for index, entry in enumerate(test.entries) if entry.defective]
        moved = set(rng.permutation(bad)[: round(number * len(train.entries) / (1 - number))].tolist())
        mixed = (*train.entries, *(test.entries[index] for index in sorted(moved)))
        rest = tuple(entry for index, entry in enumerate(test.entries) if index not in moved)
        return Task(text, Split(mixed), Split(()), {category: Split(rest)})
    return Task(text, train, held, {category: test})


def allowed(needs: frozenset[str], name: str) -> bool:
    """Whether a method that needs such samples can be run in a setting."""
    return _KINDS[_parsed(name)[0]] in needs


def _parsed(text: str) -> tuple[str, float]:
    kind, colon, number = text.partition(":")
    if kind not in _KINDS:
        raise unknown(kind, _KINDS, "the list of settings")
    if kind not in ("few-shot", "contaminated"):
        if colon:
            raise BadField(f"setting {text!r}: {kind} takes no number")
        return kind, 0.0
    try:
        value = float(number)
    except ValueError:
        raise BadField(f"setting {text!r}: wanted a number behind the colon, e.g. few-shot:4 or contaminated:0.1") from None
    shots = kind == "few-shot"
    if (shots and (value < 1 or value % 1)) or (not shots and not 0 < value < 1):
        raise BadField(f"setting {text!r}: wanted few-shot:1 or more, or contaminated:above 0 and below 1")
    return kind, value
