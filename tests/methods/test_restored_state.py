"""A state that does not fit together is refused when it is read, for methods that keep pictures, Gaussians or networks."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from tests.methods.separation import bad, good, judged

import amiss
from amiss.contract import Detector, State
from amiss.errors import BadBackbone, BadModelFile

QUICK: dict[str, dict[str, Any]] = {
    "padim": {"size": 96, "grid": 8, "channels": 40},
    "rad": {"size": 96, "images": 10},
    "spade": {"size": 96, "images": 10},
    "musc_v2": {"size": 96, "grid": 8},
    "sinbad": {"size": 128, "directions": 20},
    "ulsad": {"size": 96, "grid": 8, "layers": (8, 16), "channels": 16, "width": 16, "inner": 8, "steps": 2},
}


@pytest.fixture(scope="module")
def fitted() -> dict[str, Detector]:
    return {name: amiss.detector(name, **fields).fit(good("texture", 4)) for name, fields in QUICK.items()}


def changed(state: State, **parts: dict[str, Any]) -> State:
    """With other arrays, facts or graphs; None for none."""
    found = {part: {**getattr(state, part), **values} for part, values in parts.items()}
    kept = {part: {key: value for key, value in values.items() if value is not None} for part, values in found.items()}
    return dataclasses.replace(state, **kept)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", QUICK)
def test_an_honest_state_scores_the_same(name: str, fitted: dict[str, Detector]) -> None:
    detector = fitted[name]
    again = detector.unfitted().restore(detector.state())
    assert judged(again, bad("texture", 3)) == judged(detector, bad("texture", 3))


def damages(name: str, state: State) -> list[State]:
    """States that differ from a fitted one in one thing."""
    wrong: list[State] = []
    for key, array in state.arrays.items():
        wrong += [changed(state, arrays={key: array[:-1]}), changed(state, arrays={key: array[None]})]
        if array.dtype.kind == "f":
            spoilt = array.copy()
            spoilt.flat[0] = np.nan
            wrong += [changed(state, arrays={key: spoilt}), changed(state, arrays={key: array.astype(np.int32)})]
        else:
            wrong += [changed(state, arrays={key: array.astype(np.float32)}), changed(state, arrays={key: array * 0 - 1})]
        wrong.append(changed(state, arrays={key: None}))
    for key in state.facts:
        wrong += [changed(state, facts={key: value}) for value in (None, 7, "seven", [])]
    if "frame" in state.facts:
        wrong += [changed(state, facts={"frame": value}) for value in ([0, 96], [96], ["96", 96], [96.0, 96], [-96, -96])]
    if "samples" in state.facts:
        wrong += [changed(state, facts={"samples": value}) for value in ([], ["a"] * 3, [1, 2, 3, 4], "four")]
    return wrong


@pytest.mark.parametrize("name", QUICK)
def test_a_damaged_state_is_refused_when_it_is_read(name: str, fitted: dict[str, Detector]) -> None:
    for state in damages(name, fitted[name].state()):
        with pytest.raises(BadModelFile, match="fit it again"):
            fitted[name].unfitted().restore(state)


@pytest.mark.parametrize("name", QUICK)
def test_a_damaged_graph_is_refused_when_it_is_read(name: str, fitted: dict[str, Detector]) -> None:
    state = fitted[name].state()
    for key, graph in state.graphs.items():
        for content in (b"", graph[: len(graph) // 2], b"no graph"):
            with pytest.raises((BadModelFile, BadBackbone)):
                fitted[name].unfitted().restore(changed(state, graphs={key: content}))
