"""The score rules against equations 6 and 7 of PatchCore, written out in decimal arithmetic, where nothing overflows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.kit.maps import reweighted, top_mean
from amiss.kit.memory import MemoryBank

Array = npt.NDArray[Any]


def bank_of(vectors: Array) -> MemoryBank:
    return MemoryBank(np.asarray(vectors, np.float32), np.zeros((len(vectors), 3), np.int32))


def length(vector: Array) -> float:
    return float(np.sqrt((vector.astype(float) ** 2).sum()))


def weighed(patch: Array, vectors: Array, b: int, rule: str) -> float:
    """s = (1 - exp(s*) / sum over N_b(m*) of exp(||p - m||)) s*, equation 7; "rvorias" as ind_knn_ad has it."""
    distances = [length(patch - m) for m in vectors]
    anchor = int(np.argmin(distances))  # equation 6
    around = sorted(range(len(vectors)), key=lambda i: (length(vectors[i] - vectors[anchor]), i != anchor))[:b]
    if len(around) == 1:
        return distances[anchor]  # ours: one vector has no others to be weighed against
    if rule == "rvorias":
        around = around[1:]
    scale = np.sqrt(len(patch)) if rule == "rvorias" else 1.0
    total = sum(Decimal(distances[i] / scale).exp() for i in around)
    return float(1 - Decimal(distances[anchor] / scale).exp() / total) * distances[anchor]


def scored(patch: Array, vectors: Array, b: int, rule: str) -> float:
    bank = bank_of(vectors)
    distances, nearest = bank.nearest(patch[None].astype(np.float32))
    return reweighted(patch.astype(np.float32), float(distances[0, 0]), int(nearest[0, 0]), bank, neighbours=b, rule=rule)


@settings(max_examples=150, deadline=None)
@given(st.integers(1, 15), st.integers(1, 6), st.integers(1, 20), st.sampled_from(["paper", "rvorias"]), st.integers(0, 999))
def test_the_weighed_score_is_equation_7(n: int, channels: int, b: int, rule: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    vectors, patch = rng.standard_normal((n, channels)) * 3, rng.standard_normal(channels) * 3
    vectors, patch = vectors.astype(np.float32), patch.astype(np.float32)
    assert scored(patch, vectors, b, rule) == pytest.approx(weighed(patch, vectors, b, rule), rel=1e-4, abs=1e-5)


def test_two_neighbours_worked_by_hand() -> None:
    vectors, patch = np.array([[0.0], [5.0], [50.0]]), np.array([-2.0])
    # s* = 2, anchor 0; N_2 = {0, 5} at distances 2 and 7: w = 1 - e^2 / (e^2 + e^7) = 1 / (1 + e^-5)
    assert scored(patch, vectors, 2, "paper") == pytest.approx(2 / (1 + np.exp(-5)))
    # without the anchor: w = 1 - e^2 / e^7; C = 1, so nothing is divided
    assert scored(patch, vectors, 2, "rvorias") == pytest.approx(2 * (1 - np.exp(-5)))


@pytest.mark.parametrize("rule", ["paper", "rvorias"])
def test_distances_of_ten_thousand_neither_overflow_nor_vanish(rule: str) -> None:
    vectors = np.array([[0, 0], [1, 0], [0, 2], [9000, 9000]], np.float32)
    patch = np.array([10000, 0], np.float32)
    for b in (2, 3, 4):
        found = scored(patch, vectors, b, rule)
        assert np.isfinite(found)
        assert found == pytest.approx(weighed(patch, vectors, b, rule), rel=1e-6)


@pytest.mark.parametrize("rule", ["paper", "rvorias"])
@pytest.mark.parametrize("b", [1, 3, 9])
def test_a_bank_of_one_leaves_the_distance_as_it_is(rule: str, b: int) -> None:
    assert scored(np.array([3.0, 4.0]), np.zeros((1, 2)), b, rule) == 5.0


@pytest.mark.parametrize("rule", ["paper", "rvorias"])
def test_asking_for_more_neighbours_than_the_bank_has_takes_all(rule: str) -> None:
    vectors, patch = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32), np.ones(3, np.float32)
    assert scored(patch, vectors, 99, rule) == scored(patch, vectors, 4, rule)


@pytest.mark.parametrize("rule", ["paper", "rvorias"])
@pytest.mark.parametrize("b", [2, 3, 5, 8])
def test_exact_twins_of_the_anchor_count_as_its_neighbours(rule: str, b: int) -> None:
    vectors = np.array([[1, 1], [4, 0], [1, 1], [1, 1], [0, 6], [1, 1], [7, 7]], np.float32)
    patch = np.array([1, 2], np.float32)
    assert scored(patch, vectors, b, rule) == pytest.approx(weighed(patch, vectors, b, rule), rel=1e-5)
    # whichever twin is named as the anchor
    bank = bank_of(vectors)
    scores = {round(reweighted(patch, 1.0, twin, bank, neighbours=b, rule=rule), 6) for twin in (0, 2, 3, 5)}
    assert len(scores) == 1


@pytest.mark.parametrize("rule", ["paper", "rvorias"])
def test_the_weight_lies_between_nought_and_one_whatever_the_score_is_made_of(rule: str) -> None:
    """The patch score may be squared or a mean over several; the weight is still made of distances."""
    rng = np.random.default_rng(0)
    bank, patch = bank_of(rng.standard_normal((20, 4))), rng.standard_normal(4).astype(np.float32) * 20
    distance, anchor = (float(found[0, 0]) for found in bank.nearest(patch[None]))
    plain = reweighted(patch, distance, int(anchor), bank, neighbours=5, rule=rule)
    squared = reweighted(patch, distance**2, int(anchor), bank, neighbours=5, rule=rule)
    assert 0 < plain < distance
    assert squared == pytest.approx(plain * distance)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(-50, 50), min_size=1, max_size=60), st.floats(0.001, 1))
def test_top_mean_is_the_mean_of_the_largest(values: list[int], share: float) -> None:
    count = max(1, round(share * len(values)))
    expected = sum(sorted(values)[-count:]) / count
    assert top_mean(np.array(values, np.float32), share) == pytest.approx(expected, abs=1e-6)


def test_top_mean_of_a_tiny_share_is_the_maximum() -> None:
    assert top_mean(np.array([[3, 1], [7, 2]], np.float32), 0.01) == 7
    assert top_mean(np.array([[3, 1], [7, 2]], np.float32), 0.5) == 5  # 7 and 3
    assert top_mean(np.array([[3, 1], [7, 2]], np.float32), 1) == 3.25
