"""Box figures against hand-worked cases and a slow oracle that matches anew at every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.errors import BadField, BadSample, UndefinedMetric
from amiss.metrics.boxes import Matches, average_precision, centre_recall, false_boxes, recall
from amiss.types import Box


def cube(x, score=0.0, side=2.0, y=0.0):
    """A cube whose low corner lies at (x, y, 0)."""
    return Box(low=(x, y, 0.0), high=(x + side, y + side, side), score=score)


def share(one, other):
    """Intersection over union of two boxes."""
    sides = [min(b, d) - max(a, c) for a, b, c, d in zip(one.low, one.high, other.low, other.high, strict=True)]
    if min(sides) <= 0:
        return 0.0
    volumes = [np.prod(np.subtract(box.high, box.low)) for box in (one, other)]
    return np.prod(sides) / (sum(volumes) - np.prod(sides))


def slow_counts(found, truths, iou, threshold):
    """How many boxes of at least a score are right, and how many wrong."""
    right = wrong = 0
    for boxes, true in zip(found, truths, strict=True):
        left = list(true)
        some = [box for box in boxes if box.score >= threshold]
        for box in sorted(some, key=lambda box: (-box.score, -max((share(box, one) for one in true), default=0))):
            best = max(left, key=lambda one: share(box, one), default=None)
            if best is not None and share(box, best) >= iou:
                left.remove(best)
                right += 1
            else:
                wrong += 1
    return right, wrong


def slow_average_precision(found, truths, iou):
    """The mean over all truths of the best precision at which at least so many are found."""
    total = sum(map(len, truths))
    thresholds = sorted({box.score for boxes in found for box in boxes})
    curve = [slow_counts(found, truths, iou, threshold) for threshold in thresholds]
    best = [
        max((right / (right + wrong) for right, wrong in curve if right >= count), default=0) for count in range(1, total + 1)
    ]
    return sum(best) / total


@st.composite
def parts(draw):
    """A few parts with boxes of few scores on a coarse grid; some parts good, some without a box found."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count, values = draw(st.integers(1, 5)), draw(st.integers(1, 8))
    some = [
        [
            [Box(low=tuple(low), high=tuple(low + rng.integers(1, 4, 3)), score=float(rng.integers(values)))
             for low in rng.integers(0, 3, (rng.integers(0, most + 1), 3))]
            for _ in range(count)
        ]
        for most in (5, 3)
    ]  # fmt: skip
    found, truths = some
    truths[0] = truths[0] or [Box(low=(0, 0, 0), high=(1, 1, 1))]
    return found, truths


@settings(max_examples=150, deadline=None)
@given(parts(), st.sampled_from([0.1, 0.25, 0.5]))
def test_average_precision_equals_the_definition_word_by_word(data, iou):
    # where scores tie within a part a box may take another's truth; scores are made distinct there
    found, truths = data
    found = [[Box(low=b.low, high=b.high, score=b.score + 0.01 * i) for i, b in enumerate(boxes)] for boxes in found]
    assert average_precision(found, truths, iou=iou) == pytest.approx(slow_average_precision(found, truths, iou), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(parts(), st.integers(0, 8))
def test_recall_and_false_boxes_at_a_threshold_are_counts(data, threshold):
    found, truths = data
    found = [[Box(low=b.low, high=b.high, score=b.score + 0.01 * i) for i, b in enumerate(boxes)] for boxes in found]
    right, _ = slow_counts(found, truths, 0.25, threshold)
    assert recall(found, truths, threshold=threshold) == pytest.approx(right / sum(map(len, truths)))
    good = [boxes for boxes, true in zip(found, truths, strict=True) if not true]
    if good:
        alarms = sum(box.score >= threshold for boxes in good for box in boxes)
        assert false_boxes(found, truths, threshold=threshold) == pytest.approx(alarms / len(good))


@settings(max_examples=60, deadline=None)
@given(parts(), st.sampled_from([0.0, 0.4, 1.0, 2.5]))
def test_recall_at_a_rate_is_the_best_of_all_thresholds_that_keep_to_it(data, rate):
    found, truths = data
    good = [index for index, true in enumerate(truths) if not true]
    matches = Matches.by_overlap(found, truths)
    if not good:
        with pytest.raises(UndefinedMetric, match="every part has a true box"):
            matches.recall_at(rate)
        return
    thresholds = [np.inf, *{box.score for boxes in found for box in boxes}]
    kept = [t for t in thresholds if false_boxes(found, truths, threshold=t) <= rate]
    assert matches.recall_at(rate) == pytest.approx(max(recall(found, truths, threshold=t) for t in kept))


@settings(max_examples=40, deadline=None)
@given(parts())
def test_neither_the_order_of_parts_nor_of_boxes_with_unlike_scores_plays_a_role(data):
    found, truths = data
    found = [[Box(low=b.low, high=b.high, score=b.score + 0.01 * i) for i, b in enumerate(boxes)] for boxes in found]
    turned = [list(reversed(boxes)) for boxes in reversed(found)], list(reversed(truths))
    assert average_precision(*turned) == pytest.approx(average_precision(found, truths), abs=1e-12)


def test_average_precision_of_a_curve_worked_by_hand():
    # three truths; scores 9 right, 8 wrong, 7 right, 6 wrong: precision 1, 1/2, 2/3, 1/2 at recall 1/3, 1/3, 2/3, 2/3
    found = [[cube(0, 9), cube(50, 8)], [cube(0, 7), cube(50, 6)], []]
    truths = [[cube(0)], [cube(0)], [cube(0)]]
    assert average_precision(found, truths) == pytest.approx((1 + 2 / 3) / 3)


def test_precision_is_made_monotone_from_the_right():
    # wrong, then two right: precision 0, 1/2, 2/3; both truths count with the later 2/3
    found = [[cube(50, 3), cube(0, 2), cube(10, 1)]]
    assert average_precision(found, [[cube(0), cube(10)]]) == pytest.approx(2 / 3)


def test_a_truth_is_taken_once_by_the_box_of_the_higher_score():
    # the second box fits better, but comes too late and is false
    found, truths = [[cube(0.5, 2), cube(0, 1)]], [[cube(0)]]
    assert average_precision(found, truths) == 1
    assert Matches.by_overlap(found, truths).hits.tolist() == [True, False]


def test_a_box_takes_the_best_of_the_truths_still_free():
    # both boxes overlap the left truth most; it goes to the first, so the second takes the right one, 5.6 of 10.4
    found, truths = [[cube(0, 2), cube(0.4, 1)]], [[cube(0), cube(1)]]
    assert Matches.by_overlap(found, truths).hits.tolist() == [True, True]


def test_equal_scores_pass_a_threshold_together_whatever_their_order():
    # one right and one wrong box of the same score on two parts: precision 1/2 at recall 1
    for found in ([[cube(0, 1)], [cube(0, 1)]], [[cube(0, 1), cube(9, 1)], []]):
        assert average_precision(found, [[cube(0)], []]) == average_precision(found[::-1], [[], [cube(0)]]) == 0.5


def test_an_overlap_just_below_the_wanted_one_does_not_count():
    found, truths = [[cube(1, 1)]], [[cube(0)]]  # 4 of 12
    assert average_precision(found, truths, iou=0.33) == 1 and average_precision(found, truths, iou=0.34) == 0


def test_no_box_finds_nothing_and_no_truth_is_undefined():
    assert average_precision([[], []], [[cube(0)], []]) == 0 and recall([[]], [[cube(0)]]) == 0
    assert centre_recall([[]], [[cube(0)]]) == 0 and Matches.by_overlap([[], []], [[cube(0)], []]).recall_at(0.1) == 0
    with pytest.raises(UndefinedMetric, match="none of the 2 parts has a true box"):
        average_precision([[cube(0)], []], [[], []])
    with pytest.raises(UndefinedMetric, match="none of the 0 parts"):
        average_precision([], [])
    with pytest.raises(UndefinedMetric, match="every part has a true box"):
        false_boxes([[cube(0)]], [[cube(0)]])


def test_centres_hit_truths_that_no_overlap_would_count():
    # a tiny box inside, a box beside whose centre lies outside, and one in the middle between two truths, nearer the left
    tiny, beside = cube(0.5, 3, side=0.1), cube(1.2, 2)
    assert average_precision([[tiny]], [[cube(0)]]) == 0
    assert centre_recall([[tiny, beside]], [[cube(0), cube(1.9, side=8)]]) == 1
    assert centre_recall([[beside]], [[cube(0)]]) == 0


def test_centre_recall_stops_where_parts_have_one_false_box_on_average():
    # descending: wrong, right (1 false of 2 parts), wrong, right (2 of 2), wrong and right together (3 of 2)
    found = [[cube(90, 9), cube(0, 8), cube(80, 7)], [cube(0, 6), cube(70, 5), cube(10, 5)]]
    truths = [[cube(0)], [cube(0), cube(10)]]
    assert centre_recall(found, truths) == pytest.approx(2 / 3)
    assert centre_recall(found, truths, rate=0.5) == pytest.approx(1 / 3)
    assert centre_recall(found, truths, rate=0) == 0
    assert centre_recall(found, truths, rate=1.5) == 1


def test_flat_boxes_and_boxes_in_the_plane_are_matched_too():
    flat = Box(low=(0, 0, 1), high=(2, 2, 1), score=1)
    assert average_precision([[flat]], [[flat]]) == 1
    assert average_precision([[Box(low=(0, 0), high=(2, 2), score=1)]], [[Box(low=(0, 0), high=(2, 1))]], iou=0.5) == 1


@pytest.mark.parametrize(
    ("found", "truths", "words"),
    [
        ([[cube(0)], []], [[cube(0)]], "boxes for 1 parts only"), ([], [[cube(0)]], "boxes for 0 parts only"),
        ([[], [Box(low=(0, 0), high=(1, 1))]], [[cube(0)], [cube(0)]], "part 1 has boxes of 2 and 3 dimensions"),
    ],
)  # fmt: skip
def test_boxes_that_do_not_fit_are_refused_by_part(found, truths, words):
    with pytest.raises(BadSample, match=words):
        average_precision(found, truths)


@pytest.mark.parametrize("iou", [0, -1, 1.01, np.nan])
def test_an_overlap_that_is_none_is_refused(iou):
    with pytest.raises(BadField, match="iou"):
        average_precision([[cube(0)]], [[cube(0)]], iou=iou)


def test_a_rate_below_zero_is_refused():
    with pytest.raises(BadField, match="rate"):
        centre_recall([[cube(0)]], [[cube(0)]], rate=-0.1)


def test_intervals_agree_with_resampling_by_the_book():
    rng = np.random.default_rng(0)
    truths = [[cube(0)] if part < 12 else [] for part in range(20)]
    found = [
        [cube(0, rng.normal(1.0)), cube(30, rng.normal(0))] if true else [cube(5, rng.normal(0))] * int(rng.integers(3))
        for true in truths
    ]
    matches = Matches.by_overlap(found, truths)
    drawn = []
    for _ in range(400):
        picks = np.concatenate([rng.integers(0, 12, 12), rng.integers(12, 20, 8)])
        some = Matches.by_overlap([found[i] for i in picks], [truths[i] for i in picks])
        drawn.append((some.average_precision(), some.recall_at(0.3)))
    wanted = np.quantile(drawn, [0.025, 0.975], axis=0).T
    assert matches.average_precision_interval() == pytest.approx(wanted[0], abs=0.04)
    assert matches.recall_at_interval(0.3) == pytest.approx(wanted[1], abs=0.09)  # steps of a twelfth
