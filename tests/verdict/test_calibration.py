from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.calibration import Calibration, needed
from amiss.errors import BadField, BadModelFile


def split(scores: object, budget: float = 0.01) -> Calibration:
    return Calibration(tuple(float(score) for score in np.asarray(scores)), budget, "split")


def test_p_value_counts_the_judged_part_among_the_good_ones() -> None:
    calibration = split([1, 2, 3, 4])
    assert calibration.p_value(5) == 1 / 5  # none reaches 5
    assert calibration.p_value(4) == 2 / 5  # one reaches 4: ties count against the part
    assert calibration.p_value(2.5) == 3 / 5
    assert calibration.p_value(0) == 5 / 5


def test_ninety_nine_good_parts_support_one_in_a_hundred_and_not_one_less() -> None:
    assert needed(0.01) == 99
    enough, short = split(range(99)), split(range(98))
    assert not enough.extrapolated and enough.threshold == 98.0
    assert short.extrapolated and short.bound == 1 / 99


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(0, 30), min_size=20, max_size=80),
    st.sampled_from([0.05, 0.1, 0.2, 0.3]),
    st.integers(-1, 31),
)
def test_the_verdict_is_the_p_value_rule(scores: list[int], budget: float, score: int) -> None:
    calibration = split(scores, budget)
    verdict = calibration.judge(float(score))
    p = (1 + sum(good >= score for good in scores)) / (len(scores) + 1)
    assert verdict.p_value == pytest.approx(p)
    expected = "NG" if p <= budget + 1e-12 else "REVIEW" if p <= 3 * budget + 1e-12 else "OK"
    assert verdict.outcome == expected


def test_below_the_bound_the_ng_threshold_is_extrapolated_and_review_begins_at_the_largest_good_score() -> None:
    calibration = split(np.random.default_rng(0).exponential(size=40))
    assert calibration.extrapolated
    assert calibration.review_threshold == max(calibration.scores)
    assert calibration.threshold is not None and calibration.threshold > calibration.review_threshold
    between = (calibration.threshold + calibration.review_threshold) / 2
    assert calibration.judge(between).outcome == "REVIEW"
    assert calibration.judge(calibration.threshold * 1.01).outcome == "NG"
    assert "extrapolated" in calibration.judge(0.0).note and "2.44%" in calibration.warning()  # 1 / 41


def test_the_extrapolated_threshold_is_near_the_true_quantile_of_an_exponential() -> None:
    rng = np.random.default_rng(1)
    found = [split(rng.exponential(size=60)).threshold for _ in range(400)]
    assert np.median(np.array(found, float)) == pytest.approx(-math.log(0.01), rel=0.15)  # 4.605


@pytest.mark.parametrize(("n", "rate"), [(10, 0.03), (28, 0.02), (60, 0.015)])
def test_the_extrapolated_threshold_keeps_false_alarms_well_below_what_n_parts_support(n: int, rate: float) -> None:
    rng = np.random.default_rng(2)
    rates = [math.exp(-(split(rng.exponential(size=n)).threshold or 0)) for _ in range(600)]
    assert np.mean(rates) <= rate < 1 / (n + 1)


def test_with_fewer_than_eight_scores_nothing_is_ng() -> None:
    calibration = split(range(7))
    assert calibration.threshold is None
    assert calibration.judge(1e9).outcome == "REVIEW"
    assert calibration.judge(6.0).outcome == "OK"
    assert "only 7" in calibration.warning()


def test_with_fewer_than_eight_scores_even_a_supported_budget_gives_no_ng() -> None:
    assert split(range(7), 0.2).judge(1e9).outcome == "REVIEW"


def test_a_guarantee_is_only_claimed_where_the_parts_support_it() -> None:
    assert "is guaranteed" in split(range(99)).guarantee()
    for few in (split(range(9)), split(range(7), 0.2), split([])):
        assert "nothing is guaranteed below" in few.guarantee()


def test_without_any_score_everything_is_review() -> None:
    calibration = split([])
    verdict = calibration.judge(0.0)
    assert (verdict.outcome, verdict.threshold, verdict.review_threshold, verdict.bound) == ("REVIEW", None, None, 1.0)


def test_all_equal_scores_give_finite_thresholds() -> None:
    calibration = split([2.0] * 30)
    assert calibration.threshold == 2.0
    assert calibration.judge(2.0).outcome == "OK"
    assert calibration.judge(2.1).outcome == "NG"


def test_scaling_all_scores_scales_the_thresholds() -> None:
    scores = np.random.default_rng(0).normal(size=50)
    one, ten = split(scores), split(scores * 10 + 5)
    assert one.threshold is not None and ten.threshold == pytest.approx(one.threshold * 10 + 5)


def test_a_larger_budget_never_raises_the_threshold() -> None:
    calibration = split(np.random.default_rng(0).normal(size=120))
    thresholds = [calibration.with_budget(budget).threshold for budget in (0.01, 0.02, 0.05, 0.1)]
    assert thresholds == sorted(thresholds, reverse=True)


def test_it_survives_json() -> None:
    calibration = split(np.random.default_rng(0).normal(size=12), 0.05)
    assert Calibration.from_json(calibration.to_json()) == calibration


@pytest.mark.parametrize("budget", [0.0, 1.0, -0.1, 2.0, math.nan])
def test_an_impossible_budget_is_refused(budget: float) -> None:
    with pytest.raises(BadField, match="budget"):
        split([1.0], budget)


def test_a_score_that_is_not_finite_is_refused() -> None:
    with pytest.raises(BadField, match="NaN"):
        split([1.0, math.nan])


def test_a_foreign_calibration_is_refused() -> None:
    with pytest.raises(BadModelFile):
        Calibration.from_json({"how": "guessed", "scores": [1.0], "budget": 0.1})


@pytest.mark.parametrize("draw", ["normal", "exponential", "standard_cauchy"])
@pytest.mark.parametrize(("n", "budget"), [(99, 0.01), (150, 0.01), (60, 0.05)])
def test_the_split_form_keeps_its_promise_whatever_the_scores_look_like(draw: str, n: int, budget: float) -> None:
    """Mean false-alarm rate over many calibrations: floor(budget (n + 1)) / (n + 1) in theory, never above the budget."""
    rng = np.random.default_rng(7)
    rates = []
    for _ in range(1500):
        calibration = split(getattr(rng, draw)(size=n), budget)
        fresh = getattr(rng, draw)(size=200)
        rates.append(np.mean(fresh > calibration.threshold))
    theory = math.floor(budget * (n + 1) + 1e-9) / (n + 1)
    standard_error = np.std(rates) / math.sqrt(len(rates))
    assert np.mean(rates) <= budget + 3 * standard_error
    assert np.mean(rates) == pytest.approx(theory, abs=4 * standard_error)
