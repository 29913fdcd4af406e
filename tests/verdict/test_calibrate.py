from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import amiss
from amiss.contract import Detector, State
from amiss.errors import BadField, TooFewSamples
from amiss.types import Result, Sample, Truth
from amiss.verdict.calibrate import _road, _split, calibrate, fit_calibrated

FITTED: list[frozenset[str]] = []  # the ids every detector below was fitted on, in order


@dataclass(kw_only=True)
class Nearest(Detector):
    """Distance to the nearest fitted brightness: zero for a part it holds."""

    name: ClassVar[str] = "nearest"
    paper: ClassVar[str] = "none"
    sees: ClassVar[frozenset[str]] = frozenset({"image"})

    def __post_init__(self) -> None:
        super().__post_init__()
        self.known_: np.ndarray[Any, Any] | None = None

    @property
    def fitted(self) -> bool:
        return self.known_ is not None

    def _learn(self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Any, workdir: Path | None) -> None:
        parts = list(samples)
        FITTED.append(frozenset(part.id for part in parts))
        self.known_ = np.array([brightness(part) for part in parts])

    def _judge(self, sample: Sample, workdir: object) -> Result:
        assert self.known_ is not None
        return Result(id=sample.id, score=float(np.abs(self.known_ - brightness(sample)).min()))

    def _state(self) -> State:
        assert self.known_ is not None
        return State({"known": self.known_}, {})

    def _restore(self, state: State) -> None:
        self.known_ = state.arrays["known"]


def brightness(sample: Sample) -> float:
    assert sample.image is not None
    return float(sample.image.mean())


def parts(count: int, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    return [Sample(id=f"{seed}-{i}", image=rng.random((2, 2, 3), dtype=np.float32)) for i in range(count)]


@pytest.fixture(autouse=True)
def _forget() -> None:
    FITTED.clear()


def test_cross_fitting_never_scores_a_part_with_a_bank_that_holds_it() -> None:
    model = fit_calibrated(Nearest(), parts(30))
    assert model.calibration is not None and model.calibration.how == "cross-fitted"
    assert len(model.calibration.scores) == 30
    assert min(model.calibration.scores) > 0  # a part in its own bank would be at distance zero
    assert len(FITTED[0]) == 30  # the model itself holds every part
    held_out = [frozenset(p.id for p in parts(30)) - fold for fold in FITTED[1:]]
    assert sorted(name for fold in held_out for name in fold) == sorted(p.id for p in parts(30))


def test_copies_of_one_picture_share_a_fold() -> None:
    copies = [Sample(id=f"copy-{i}", image=np.full((2, 2, 3), 0.5, np.float32)) for i in range(3)]
    model = fit_calibrated(Nearest(), parts(20) + copies)
    assert model.calibration is not None
    assert min(model.calibration.scores) > 0


def twice(count: int) -> list[Sample]:
    return [Sample(id=f"{part.id}-{copy}", image=part.image) for part in parts(count) for copy in (0, 1)]


def test_copies_fall_on_one_side_of_a_split_and_count_once() -> None:
    model = fit_calibrated(Nearest(), twice(20), road="split")
    assert model.calibration is not None
    assert len(model.calibration.scores) == 4  # a fifth of 20 distinct pictures
    assert min(model.calibration.scores) > 0
    assert not set(model.calibration.parts) & set(model.origin["digests"])


def test_copies_count_once_in_cross_fitting_and_in_calibrating_anew() -> None:
    model = fit_calibrated(Nearest(), twice(12))
    assert model.calibration is not None and len(model.calibration.scores) == 12
    assert len(calibrate(Nearest().fit(parts(5, seed=9)), twice(7), budget=0.1).scores) == 7


def test_each_score_names_its_part() -> None:
    good = parts(9, seed=2)
    detector = Nearest().fit(parts(5))
    calibration = calibrate(detector, good, budget=0.1)
    by_digest = {part.digest: next(detector.predict([part])).score for part in good}
    assert dict(zip(calibration.parts, calibration.scores, strict=True)) == by_digest


def test_a_generator_is_refused_since_it_could_be_read_only_once() -> None:
    with pytest.raises(BadField, match="list"):
        Nearest().fit(part for part in parts(3))


def test_a_fifth_is_held_out_where_that_supports_the_budget() -> None:
    model = fit_calibrated(Nearest(), parts(100), budget=0.05)  # 100 // 5 = 20 >= 19
    assert model.calibration is not None
    assert (model.calibration.how, len(model.calibration.scores)) == ("split", 20)
    assert len(FITTED[0]) == 80 and model.origin["parts"] == 80
    assert "guaranteed" in model.calibration.guarantee()


def test_parts_that_the_data_set_holds_out_are_not_fitted_on() -> None:
    model = fit_calibrated(Nearest(), parts(10), held_out=parts(5, seed=1))
    assert [frozenset(p.id for p in parts(10))] == FITTED
    assert model.calibration is not None and len(model.calibration.scores) == 5


def test_one_part_gives_a_model_whose_verdicts_are_review_at_most() -> None:
    model = fit_calibrated(Nearest(), parts(1))
    verdict = model.judge(parts(1, seed=5)[0]).verdict
    assert verdict is not None and verdict.outcome == "REVIEW" and verdict.threshold is None
    assert "2 good parts" in verdict.note


def test_two_parts_are_scored_by_each_other() -> None:
    model = fit_calibrated(Nearest(), parts(2))
    assert model.calibration is not None and len(model.calibration.scores) == 2
    assert model.calibration.scores[0] == pytest.approx(model.calibration.scores[1])


def test_no_calibration_gives_no_verdict() -> None:
    model = fit_calibrated(Nearest(), parts(3), road="none")
    assert model.calibration is None and model.judge(parts(1)[0]).verdict is None


def test_a_split_of_one_part_is_refused() -> None:
    with pytest.raises(TooFewSamples, match="--calibration none"):
        fit_calibrated(Nearest(), parts(1), road="split")


def test_the_same_seed_holds_out_the_same_parts() -> None:
    first, second = (fit_calibrated(Nearest(seed=3), parts(40), road="split") for _ in range(2))
    assert first.calibration == second.calibration
    assert FITTED[0] == FITTED[1]


def test_calibrating_anew_uses_the_given_parts_only() -> None:
    detector = Nearest().fit(parts(10))
    calibration = calibrate(detector, parts(30, seed=2), budget=0.05)
    assert len(calibration.scores) == 30 and calibration.how == "split"


def test_the_held_out_road_keeps_its_promise_through_a_whole_fit() -> None:
    """400 fits of 40 parts, budget 0.2: the mean share of fresh good parts called NG stays below the budget."""
    rates = []
    for seed in range(400):
        model = fit_calibrated(Nearest(seed=seed), parts(40, seed=seed), budget=0.2, road="split")
        verdicts = [result.verdict for result in model.predict(parts(20, seed=10_000 + seed))]
        rates.append(np.mean([verdict is not None and verdict.outcome == "NG" for verdict in verdicts]))
    theory = 1 / 9  # 8 held out: floor(0.2 * 9) / 9
    assert np.mean(rates) <= 0.2
    assert np.mean(rates) == pytest.approx(theory, abs=0.03)


def test_methods_that_train_are_held_out_and_so_are_ensembles_of_them() -> None:
    for name, fields in (("ulsad", {}), ("ensemble", {"members": ("ulsad/tiny", "padim")})):
        detector = amiss.detector(name, **fields)
        assert _road(detector, 60, 0, 0.01, "auto") == "split"
        assert _road(detector, 60, 0, 0.01, "cross") == "cross"
    assert _road(amiss.detector("ensemble"), 60, 0, 0.01, "auto") == "cross"


def test_a_trained_method_holds_out_eight_of_few_parts() -> None:
    kept, held = _split([str(number) for number in range(28)], amiss.detector("ulsad"))
    assert (len(kept), len(held)) == (20, 8)
    kept, held = _split([str(number) for number in range(28)], amiss.detector("padim"))
    assert (len(kept), len(held)) == (23, 5)


def test_copies_that_leave_too_little_to_train_on_are_explained() -> None:
    part = parts(1)[0]
    with pytest.raises(TooFewSamples, match=r"leaves 0; ulsad needs 3.*--calibration none"):
        fit_calibrated(amiss.detector("ulsad"), [Sample(id=str(number), image=part.image) for number in range(6)])
