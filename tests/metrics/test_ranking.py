"""Ranking figures against hand-worked cases, scikit-learn, and simulation."""

from __future__ import annotations

import math
import subprocess
import sys
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

from amiss.errors import BadField, BadSample, UndefinedMetric
from amiss.metrics.ranking import auroc, auroc_interval, average_precision, f1_max

METRICS = [auroc, average_precision, f1_max, auroc_interval]


@st.composite
def tied_scores(draw):
    """Scores of at most seven different values, so that most of them are tied, with both classes present."""
    good = draw(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
    bad = draw(st.lists(st.integers(-3, 3), min_size=1, max_size=30))
    labels = draw(st.permutations([False] * len(good) + [True] * len(bad)))
    values = np.empty(len(labels), draw(st.sampled_from([np.float32, np.float64])))
    values[~np.array(labels)], values[np.array(labels)] = good, bad
    return values / 4, np.array(labels)


def test_auroc_counts_the_pairs_that_are_ranked_rightly():
    # pairs (bad, good): 3>1 yes, 3>2 yes, 1.5>1 yes, 1.5>2 no: three of four
    assert auroc([1, 2, 3, 1.5], [0, 0, 1, 1]) == 0.75


def test_ties_between_good_and_bad_count_half():
    # pairs: 2=2 half, 2>1 one, 1<2 none, 1=1 half: two of four
    assert auroc([2, 1, 2, 1], [0, 0, 1, 1]) == 0.5
    assert auroc([7, 7, 7], [0, 1, 1]) == 0.5


def test_average_precision_sums_precision_where_recall_grows():
    # descending 4 bad, 3 good, 2 bad, 1 good: precision 1/1 and 2/3, each for half of the recall
    assert average_precision([4, 3, 2, 1], [1, 0, 1, 0]) == pytest.approx((1 + 2 / 3) / 2)


def test_tied_scores_enter_average_precision_together():
    # all at once: two of five are bad, whatever their order in the list
    assert average_precision([1, 1, 1, 1, 1], [1, 1, 0, 0, 0]) == pytest.approx(2 / 5)
    assert average_precision([1, 1, 1, 1, 1], [0, 0, 0, 1, 1]) == pytest.approx(2 / 5)


def test_f1_max_is_taken_at_the_best_threshold():
    # threshold 4: P 1, R 1/2, F1 2/3; threshold 2: P 2/3, R 1, F1 4/5; threshold 1: P 1/2, R 1, F1 2/3
    assert f1_max([4, 3, 2, 1], [1, 0, 1, 0]) == pytest.approx(4 / 5)


def test_a_perfect_and_a_reversed_ranking_reach_the_ends():
    scores, labels = [1, 2, 3, 4], np.array([False, False, True, True])
    assert (auroc(scores, labels), average_precision(scores, labels), f1_max(scores, labels)) == (1, 1, 1)
    assert auroc(scores, ~labels) == 0


@settings(max_examples=150, deadline=None)
@given(tied_scores())
def test_figures_equal_those_of_scikit_learn_under_ties(data):
    scores, labels = data
    precision, recall, _ = precision_recall_curve(labels, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-300)
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(scores, labels) == pytest.approx(average_precision_score(labels, scores), abs=1e-12)
    assert f1_max(scores, labels) == pytest.approx(f1.max(), abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(tied_scores())
def test_figures_depend_on_the_order_of_scores_only(data):
    scores, labels = data
    for metric in METRICS[:3]:
        assert metric(np.exp(scores.astype(float)), labels) == metric(scores, labels)
        assert metric(1e9 + 5 * scores.astype(float), labels) == metric(scores, labels)
    assert auroc(-scores, labels) == pytest.approx(1 - auroc(scores, labels), abs=1e-12)


def test_scores_far_apart_are_not_squashed_together():
    # a logistic function would map both 800 and 900 to exactly 1
    assert auroc([800, 900], [0, 1]) == 1


@pytest.mark.parametrize("metric", METRICS)
def test_one_class_only_is_undefined(metric):
    with pytest.raises(UndefinedMetric, match="none of the 3 samples is bad"):
        metric([1, 2, 3], [0, 0, 0])
    with pytest.raises(UndefinedMetric, match="none of the 3 samples is good"):
        metric([1, 2, 3], [True, True, True])
    with pytest.raises(UndefinedMetric, match="none of the 0 samples"):
        metric([], [])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([1, math.nan], [0, 1], "score 1 is nan"),
        ([math.inf, 1], [0, 1], "score 0 is inf"),
        ([1, 2, 3], [0, 1], "3 scores for 2 labels"),
        ([[1, 2]], [[0, 1]], r"scores have shape \(1, 2\)"),
        ([1, 2], 1, r"labels have shape \(\)"),
        ([1, 2], [0, 2], "label 1 is 2"),
        ([1, 2], [-1, 1], "label 0 is -1"),
        ([1, 2], [0, math.nan], "label 1 is nan"),
        (["a", "b"], [0, 1], "wanted .* numbers"),
        ([1, 2], ["good", "bad"], "wanted .* numbers"),
        ([1, None], [0, 1], "wanted .* numbers"),
        ([[1, 2], [3]], [0, 1], "do not form an array"),
    ],
)
def test_what_cannot_be_ranked_is_refused_by_name(metric, scores, labels, words):
    with pytest.raises(BadSample, match=words):
        metric(scores, labels)


def test_inputs_are_left_as_they_were():
    scores, labels = np.array([3.0, 1.0, 2.0]), np.array([True, False, True])
    auroc_interval(scores, labels, draws=10)
    assert scores.tolist() == [3, 1, 2] and labels.tolist() == [True, False, True]


def shifted_normals(rng, n, shift=1.0):
    """n good scores from N(0, 1) and n bad ones from N(shift, 1): true AUROC is Phi(shift / sqrt 2)."""
    labels = np.repeat([False, True], n)
    return rng.standard_normal(2 * n) + shift * labels, labels


def test_interval_holds_the_estimate_and_follows_the_seed():
    scores, labels = shifted_normals(np.random.default_rng(1), 40)
    low, high = auroc_interval(scores, labels)
    assert 0 <= low < auroc(scores, labels) < high <= 1
    assert auroc_interval(scores, labels) == (low, high)
    assert auroc_interval(scores, labels, seed=1) != (low, high)
    assert auroc_interval(scores, labels, seed=1) == pytest.approx((low, high), abs=0.02)


def test_interval_narrows_with_the_square_root_of_the_sample():
    rng = np.random.default_rng(2)
    widths = [float(np.ptp(auroc_interval(*shifted_normals(rng, n), draws=500))) for n in (50, 800)]
    assert 2.5 < widths[0] / widths[1] < 6.5  # sixteen times the samples: a quarter of the width


def test_interval_widens_with_the_level():
    scores, labels = shifted_normals(np.random.default_rng(3), 40)
    (low50, high50), (low99, high99) = (auroc_interval(scores, labels, level=level) for level in (0.5, 0.99))
    assert low99 < low50 < high50 < high99


def test_interval_covers_the_true_value_as_often_as_its_level_says():
    rng, truth = np.random.default_rng(4), NormalDist().cdf(1 / math.sqrt(2))
    trials, hits = 250, {0.5: 0, 0.9: 0}
    for _ in range(trials):
        scores, labels = shifted_normals(rng, 50)
        for level in hits:
            low, high = auroc_interval(scores, labels, level=level, draws=200)
            hits[level] += low <= truth <= high
    # three standard errors of 250 trials: 0.095 at one half and 0.057 at nine tenths; the bootstrap runs a little short
    assert 0.39 < hits[0.5] / trials < 0.60
    assert 0.82 < hits[0.9] / trials < 0.96


def test_interval_agrees_with_resampling_by_the_book():
    rng = np.random.default_rng(5)
    scores, labels = shifted_normals(rng, 25)
    scores = np.round(scores)  # ties
    good, bad = scores[~labels], scores[labels]
    values = []
    for _ in range(3000):
        g, b = rng.choice(good, len(good)), rng.choice(bad, len(bad))
        values.append((b[:, None] > g).mean() + 0.5 * (b[:, None] == g).mean())
    assert auroc_interval(scores, labels, draws=3000) == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.015)


def test_every_draw_has_both_classes_even_with_one_bad_sample():
    scores, labels = np.arange(30.0), np.arange(30) == 20  # beats 20 of 29
    low, high = auroc_interval(scores, labels, draws=500)
    assert 0 < low < 20 / 29 < high < 1


def test_interval_of_classes_that_do_not_overlap_has_no_width():
    assert auroc_interval([1, 2, 3, 4], [0, 0, 1, 1], draws=50) == (1, 1)


@pytest.mark.parametrize("field", [{"level": 0}, {"level": 1}, {"level": math.nan}, {"draws": 0}])
def test_impossible_fields_of_the_interval_are_refused(field):
    with pytest.raises(BadField, match=next(iter(field))):
        auroc_interval([1, 2], [0, 1], **field)


def test_metrics_need_neither_scikit_learn_nor_torch():
    code = (
        "import sys, numpy as np; from amiss.metrics import ranking, regions; "
        "ranking.auroc_interval([1, 2], [0, 1], draws=5); "
        "regions.aupro([np.eye(3)], [np.eye(3) > 0]); "
        "sys.exit(bool({'sklearn', 'torch', 'scipy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
