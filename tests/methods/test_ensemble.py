"""Ensembles: members on a common footing, learned on good parts alone."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from tests.methods.separation import bad, good, judged

from amiss.errors import BadField
from amiss.methods.ensemble import Ensemble

PATCHCORE, PADIM = "patchcore size=96 bank=200", "padim size=96 grid=8 channels=40 layers=8+16"


def quick(**fields: Any) -> Ensemble:
    return Ensemble(**{"members": (PATCHCORE, PADIM), **fields})


def test_good_parts_lie_around_zero_whatever_a_members_own_scale() -> None:
    detector = quick(members=(PATCHCORE, PADIM, f"{PATCHCORE} distance=squared")).fit(good("object", 20))
    told = [result.evidence["members"] for result in detector.predict(good("object", 20, seed=50))]
    raw = np.array([[member["score"] for member in members] for members in told])  # (20, 3)
    levelled = np.array([[member["above_good"] for member in members] for members in told])
    assert raw.mean(axis=0).max() > 4 * raw.mean(axis=0).min()
    assert (np.abs(levelled.mean(axis=0)) < 1.5).all()


def test_the_score_is_the_mean_of_the_members_measured_in_good_parts_held_out() -> None:
    detector = quick().fit(good("object", 10))
    (result,) = detector.predict(bad("object", 1))
    scores = [next(member.predict(bad("object", 1))).score for member in detector.members_]
    levels = detector.levels_
    assert result.score == pytest.approx(np.mean((np.array(scores) - levels[:, 0]) / levels[:, 1]))


def test_what_else_is_judged_changes_no_score() -> None:
    detector = quick().fit(good("object", 10))
    alone = judged(detector, bad("object", 1))
    assert judged(detector, [*bad("object", 1), *good("object", 5, seed=70)])[0] == pytest.approx(alone[0], rel=1e-6)


def test_beats_the_twin_that_adds_raw_scores() -> None:
    """One member is a thousandfold of the other in scale and useless; on a common footing it cannot drown the other."""
    members = (PATCHCORE, "spade size=96 score=images layers=32")
    detector = quick(members=members).fit(good("object", 16))
    well, ill = good("object", 10, seed=50), bad("object", 10)

    def gap() -> float:
        a, b = judged(detector, well), judged(detector, ill)
        return float((np.mean(b) - np.mean(a)) / np.std(a))

    levelled = gap()
    detector.levels_ = np.tile([0.0, 1.0, 0.0, 1.0], (2, 1))
    assert levelled > gap()


def test_one_good_part_fits_and_says_that_nothing_measures_the_members(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "amiss"):
        detector = quick().fit(good("texture", 1))
    assert "none to measure the members on" in caplog.text
    assert np.isfinite(judged(detector, bad("texture", 2))).all()


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ((), "one or more"),
        (("patchcore", "patchcore"), "none twice"),
        (("patchcor",), "did you mean 'patchcore'"),
        (("patchcore/quick",), "presets of patchcore"),
        (("patchcore size",), "wanted field=value"),
        (("patchcore sise=3",), "did you mean 'size'"),
        (("musc_v2",), "cannot be one"),
        (("ensemble",), "cannot be one"),
        (("  ",), "empty member"),
    ],
)
def test_a_member_that_cannot_be_is_refused_in_words(members: tuple[str, ...], said: str) -> None:
    with pytest.raises(BadField, match=said):
        Ensemble(members=members)
