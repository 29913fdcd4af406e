"""What is Vote3Deep's own beside its equations, which tests/papers check: boxes, twins, labels, threshold, killed fits."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from tests.clouds import bad_clouds, good_clouds
from tests.methods.separation import judged

from amiss.errors import BadField, BadModelFile, MissingExtra, TooFewSamples, WrongModality
from amiss.kit import training
from amiss.methods.vote3deep import Vote3Deep
from amiss.metrics.boxes import average_precision, recall
from amiss.model import Model
from amiss.types import Box, Sample, Truth

Array = npt.NDArray[Any]
GOOD = good_clouds(3, points=2000)
BAD = bad_clouds(4, points=2000)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def small(**fields: Any) -> Vote3Deep:
    return Vote3Deep(**{**Vote3Deep.quick, "made": 2, "steps": 30, "side": 16, "kernels": (1, 3, 5), **fields})


def box(sample: Sample, marked: Array) -> Box:
    assert sample.points is not None
    inside = sample.points[marked]
    return Box(low=tuple(inside.min(axis=0).tolist()), high=tuple(inside.max(axis=0).tolist()))


def truth(sample: Sample, marked: Array) -> Truth:
    return Truth(label=True, kind="bump", boxes=(box(sample, marked),))


BROAD: dict[str, Any] = {"made": 0, "side": 22, "kernels": (3, 5, 7)}  # heads that see a whole bump
LABELLED = [truth(*one) for one in bad_clouds(6, seed=300, points=2000)]
SHOWN = [sample for sample, _ in bad_clouds(6, seed=300, points=2000)]
KNOWN = [Truth(label=False)] * len(GOOD) + LABELLED


@dataclasses.dataclass
class Progress:
    """Progress that keeps what it is told, and kills the fit once so many steps are trained."""

    after: int = 10**9
    said: list[tuple[str, int, int | None]] = dataclasses.field(default_factory=list)

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        self.said.append((stage, done, total))
        if stage.startswith("training") and done >= self.after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def shown() -> Vote3Deep:
    """Trained on bumps that somebody put boxes about."""
    return small(**BROAD, steps=80, batch=3).fit([*GOOD, *SHOWN], KNOWN)


@pytest.fixture(scope="module")
def fitted() -> Vote3Deep:
    return small().fit(GOOD)


# -- boxes -------------------------------------------------------------------------------------------------------------


def test_bumps_like_those_that_were_labelled_are_found_in_boxes_and_good_parts_have_none(shown: Vote3Deep) -> None:
    found = [result.boxes for result in shown.predict([sample for sample, _ in BAD])]
    assert recall(found, [(box(*one),) for one in BAD]) >= 0.75
    assert sum(len(result.boxes) for result in shown.predict(good_clouds(4, seed=7, points=2000))) <= 1


def test_training_puts_better_boxes_about_bumps_than_the_untrained_twin_does(shown: Vote3Deep) -> None:
    twin = small(**BROAD, steps=0).fit([*GOOD, *SHOWN], KNOWN)
    ill = bad_clouds(6, seed=500, points=2000)
    clouds = [*good_clouds(4, seed=7, points=2000), *(sample for sample, _ in ill)]
    truths = [*[()] * 4, *[(box(*one),) for one in ill]]

    def precision(detector: Vote3Deep) -> float:
        found = [result.boxes for result in detector.predict(clouds)]
        return float(np.mean([average_precision(found, truths, iou=iou) for iou in (0.25, 0.4, 0.5)]))

    trained, untrained = precision(shown), precision(twin)
    assert trained > untrained + 0.1
    assert shown.trained_["steps"] == 80 and shown.trained_["loss"] < 3
    assert twin.trained_ == {"steps": 0, "loss": None}


def test_a_box_lies_in_the_clouds_own_coordinates_and_the_best_comes_first(shown: Vote3Deep) -> None:
    sample, marked = BAD[0]
    result = next(shown.predict([sample]))
    assert sample.points is not None
    scores = [one.score for one in result.boxes]
    assert scores == sorted(scores, reverse=True) and scores[0] == result.score
    first, middle = result.boxes[0], sample.points[marked].mean(axis=0)
    assert ((np.array(first.low) < middle) & (middle < np.array(first.high))).all()
    assert result.evidence["best"] == first and result.evidence["threshold"] == shown.threshold_
    assert len(result.evidence["active"]) == 3 and min(result.evidence["active"]) > 0
    assert min(np.linalg.norm(sample.points - result.evidence["patch"], axis=1)) < 0.1


def test_no_more_boxes_are_given_than_asked_for_and_none_below_the_threshold(fitted: Vote3Deep) -> None:
    state = fitted.state()
    few = small(boxes=2).restore(state)
    assert all(len(result.boxes) <= 2 for result in few.predict([sample for sample, _ in BAD]))
    strict = small().restore(dataclasses.replace(state, facts={**state.facts, "threshold": 1e6}))
    (result,) = strict.predict([BAD[0][0]])
    assert result.boxes == () and result.evidence["best"] is not None and np.isfinite(result.score)


def test_both_backends_find_the_same(shown: Vote3Deep) -> None:
    state, samples = shown.state(), [sample for sample, _ in BAD[:2]]
    vote, dense = (list(small(**BROAD, backend=backend).restore(state).predict(samples)) for backend in ("vote", "dense"))
    for one, other in zip(vote, dense, strict=True):
        assert one.score == pytest.approx(other.score, abs=1e-4) and len(one.boxes) == len(other.boxes)


def test_a_cloud_without_any_vote_is_scored_by_the_bias(fitted: Vote3Deep) -> None:
    state = fitted.state()
    silent = {**state.arrays, "first.weight": 0 * state.arrays["first.weight"], "head0.bias": np.array([-2.0], np.float32)}
    others = {"head1.bias": np.array([-3.0], np.float32), "head2.bias": np.array([-4.0], np.float32)}
    (result,) = small().restore(dataclasses.replace(state, arrays={**silent, **others})).predict([BAD[0][0]])
    assert result.score == -2 and result.boxes == () and result.evidence["best"] is None
    assert np.isfinite(result.point_map()).all()


# -- threshold and biases ----------------------------------------------------------------------------------------------


def test_the_threshold_puts_up_with_as_many_boxes_on_good_clouds_as_asked_for() -> None:
    detectors = {alarms: small(steps=0, alarms=alarms).fit(GOOD) for alarms in (0.0, 1.0, 2.0)}
    thresholds = [detector.threshold_ for detector in detectors.values()]
    assert thresholds[0] > thresholds[1] >= thresholds[2] >= 0


def test_trained_biases_never_rise_above_zero(fitted: Vote3Deep) -> None:
    biases = [value for name, value in fitted.weights_.items() if name.endswith("bias")]
    assert len(biases) == 6 and max(value.max() for value in biases) <= 0
    assert min(value.min() for value in biases) < 0  # they were trained


# -- labels and fields -------------------------------------------------------------------------------------------------


def test_truths_that_cannot_be_are_refused_with_the_way_out() -> None:
    with pytest.raises(BadField, match="1 truths for 3 samples"):
        small().fit(GOOD, [Truth(label=False)])
    flat = Truth(label=True, boxes=(Box(low=(0.0, 0.0), high=(1.0, 1.0)),))
    with pytest.raises(BadField, match=rf"(?s){SHOWN[0].id}.*2 coordinates, wanted 3"):
        small().fit([*GOOD, SHOWN[0]], [*KNOWN[:3], flat])
    short = dataclasses.replace(LABELLED[0], point_mask=np.ones(5, np.bool_))
    with pytest.raises(BadField, match="5 points of a cloud of 2000"):
        small().fit([*GOOD, SHOWN[0]], [*KNOWN[:3], short])


def test_boxes_with_nothing_in_them_are_nothing_to_learn_from() -> None:
    empty = Truth(label=True, boxes=(Box(low=(90.0, 90.0, 90.0), high=(91.0, 91.0, 91.0)),))
    with pytest.raises(BadField, match="no box or made defect has enough points"):
        small(made=0).fit([*GOOD, SHOWN[0]], [*KNOWN[:3], empty])


def test_without_made_defects_boxes_are_needed() -> None:
    with pytest.raises(BadField, match="made = 0 leaves nothing to train on"):
        small(made=0).fit(GOOD)


def test_defective_clouds_without_boxes_are_left_out_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "amiss"):
        detector = small(steps=0).fit([*GOOD, SHOWN[0]], [*KNOWN[:3], Truth(label=True)])
    assert "1 defective clouds come without boxes" in caplog.text
    assert judged(detector, SHOWN[:1]) == judged(small(steps=0).fit(GOOD), SHOWN[:1])


def test_too_few_good_clouds_among_labelled_ones_are_refused() -> None:
    with pytest.raises(TooFewSamples, match="2 good samples or more to fit, met 1"):
        small().fit([GOOD[0], *SHOWN], [KNOWN[0], *LABELLED])


def test_of_more_clouds_than_asked_for_a_sample_is_taken_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress()
    with caplog.at_level(logging.WARNING, "amiss"):
        small(steps=0, clouds=2).fit(GOOD, progress=progress)
    assert "clouds = 2 of 3 good clouds are learned from" in caplog.text
    assert [call for call in progress.said if call[0] == "reading good parts"] == [
        ("reading good parts", 1, 2), ("reading good parts", 2, 2),
    ]  # fmt: skip


def test_a_picture_among_clouds_is_refused() -> None:
    with pytest.raises(WrongModality, match="picture"):
        small().fit([*GOOD, Sample(id="picture", image=np.zeros((8, 8, 3), np.uint8))])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cells", 0.0), ("most", 10), ("clouds", 1), ("bank", 1), ("made", -1), ("filters", 0), ("kernels", (3, 5)),
        ("kernels", (7, 5, 3)), ("kernels", (2, 4, 6)), ("sparse", -1.0), ("steps", -1), ("side", 16), ("rate", 0.0),
        ("alarms", -0.1), ("overlap", 1.5), ("boxes", 0), ("backend", "sparse"), ("device", "tpu"),
    ],
)  # fmt: skip
def test_an_impossible_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BadField, match=field):
        Vote3Deep(**{"kernels": (5, 7, 13), field: value})  # type: ignore[arg-type]


# -- training ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def saving(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step writes a checkpoint."""
    monkeypatch.setattr(training, "_OFTEN", -1.0)


def killed(detector: Vote3Deep, workdir: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        detector.fit(GOOD, progress=Progress(after=20), workdir=workdir)
    assert not detector.fitted and list(workdir.glob("*.training"))


@pytest.mark.usefixtures("saving")
def test_a_killed_fit_ends_where_it_would_have_ended(fitted: Vote3Deep, tmp_path: Path) -> None:
    killed(small(), tmp_path)
    progress = Progress()
    resumed = small(alarms=0.5).fit(GOOD, progress=progress, workdir=tmp_path)  # what does not train may change
    assert judged(resumed, SHOWN[:2]) == judged(fitted, SHOWN[:2]) and resumed.trained_ == fitted.trained_
    assert [done for stage, done, _ in progress.said if stage.startswith("training")] == [20, 30]
    assert not list(tmp_path.glob("*.training"))


@pytest.mark.usefixtures("saving")
def test_a_training_begun_with_other_settings_is_named_and_left_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    killed(small(), tmp_path)
    (left,) = tmp_path.glob("*.training")
    small(sparse=0.5).fit(GOOD, workdir=tmp_path)
    assert left.name in caplog.text and list(tmp_path.glob("*.training")) == [left]


def test_a_training_ended_by_the_clock_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "amiss"):
        detector = small(minutes=1e-9).fit(GOOD)
    assert detector.trained_["steps"] == 1 and "after 1 of 30 steps" in caplog.text


def test_other_seeds_draw_other_networks(fitted: Vote3Deep) -> None:
    assert judged(small(seed=1).fit(GOOD), SHOWN[:1]) != judged(fitted, SHOWN[:1])


# -- model file and torch ----------------------------------------------------------------------------------------------


def test_a_model_judges_where_torch_cannot_be_imported(
    shown: Vote3Deep, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Model(shown).save(tmp_path / "part.amiss")
    monkeypatch.setitem(sys.modules, "torch", None)
    loaded = Model.load(tmp_path / "part.amiss").detector
    samples = [sample for sample, _ in BAD]
    assert isinstance(loaded, Vote3Deep) and loaded.trained_ == shown.trained_
    for one, other in zip(loaded.predict(samples), shown.predict(samples), strict=True):
        assert one.score == other.score and one.boxes == other.boxes


def test_fitting_without_torch_says_what_to_install_before_anything_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    progress = Progress()
    with pytest.raises(MissingExtra, match=r"pip install 'amiss\[train\]'"):
        small().fit(GOOD, progress=progress)
    assert progress.said == []


@pytest.mark.parametrize("fact", ["gauge", "cut", "threshold", "trained"])
def test_a_fact_that_is_none_is_refused(fitted: Vote3Deep, fact: str) -> None:
    state = fitted.state()
    with pytest.raises(BadModelFile, match="fit it again"):
        small().restore(dataclasses.replace(state, facts={**state.facts, fact: None}))


def test_constants_that_cannot_be_are_refused(fitted: Vote3Deep) -> None:
    state = fitted.state()
    for name, wrong in (
        ("anchors", -state.arrays["anchors"]), ("scale", 0 * state.arrays["scale"]), ("levels", 0 * state.arrays["levels"]),
        ("members", state.arrays["members"][:3]), ("first.bias", 1 + abs(state.arrays["first.bias"])),
        ("head2.weight", state.arrays["head1.weight"]),
    ):  # fmt: skip
        with pytest.raises(BadModelFile, match="fit it again"):
            small().restore(dataclasses.replace(state, arrays={**state.arrays, name: wrong}))
