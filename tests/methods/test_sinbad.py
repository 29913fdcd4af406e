"""What is SINBAD's own beside its equations, which tests/papers checks: counts that no single patch gives away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from tests.methods.separation import good, judged

from amiss.contract import Detector
from amiss.data import trays
from amiss.errors import BadField, TooFewSamples
from amiss.kit.evidence import beyond, log_spread
from amiss.methods.patchcore import PatchCore
from amiss.methods.sinbad import SINBAD
from amiss.metrics.ranking import auroc
from amiss.types import Sample
from amiss.verdict.calibrate import fit_calibrated


def quick(**fields: Any) -> SINBAD:
    return SINBAD(**{"size": 128, "directions": 100, **fields})


def on_trays(detector: Detector, *kinds: str) -> float:
    """Image AUROC between good trays and trays with one defect of a kind, mean over the kinds."""
    detector.fit(trays.samples(0, 60))
    well = judged(detector, trays.samples(1, 30))
    ill = [judged(detector, [sample for sample, _ in trays.defective_samples(10, 30, (kind,))]) for kind in kinds]
    return float(np.mean([auroc(np.array([*well, *scores]), np.repeat([False, True], 30)) for scores in ill]))


def test_one_nut_too_many_is_seen_where_the_largest_patch_score_is_blind() -> None:
    patches = PatchCore(**{**PatchCore.presets["fast"], "size": 128, "score": "max"})
    assert on_trays(patches, "surplus") < 0.7
    assert on_trays(quick(), "surplus") > 0.85


def test_a_missing_nut_is_seen_too() -> None:
    assert on_trays(quick(), "missing") > 0.85


def test_beats_the_twin_without_a_covariance() -> None:
    assert on_trays(quick(), *trays.LOGICAL) >= on_trays(quick(shrinkage=1.0), *trays.LOGICAL) + 0.03


def test_beats_the_twin_that_describes_a_set_along_one_direction() -> None:
    assert on_trays(quick(), "surplus") >= on_trays(quick(directions=1), "surplus") + 0.15


def test_evidence_sees_a_fault_that_few_crops_hold_better_than_the_published_ratio() -> None:
    assert on_trays(quick(), "spot") >= on_trays(quick(weigh="mean"), "spot")


@pytest.mark.parametrize("weigh", ["evidence", "mean"])
def test_pixels_tell_colours_that_the_network_was_not_asked_for(weigh: str) -> None:
    parts = good("texture", 12)
    tinted = [Sample(id=part.id, image=_tinted(part)) for part in good("texture", 4, seed=50)]
    detector = quick(pixels=1.0, weigh=weigh).fit(parts)
    assert min(judged(detector, tinted)) > max(judged(detector, good("texture", 4, seed=70)))


def _tinted(part: Sample) -> Any:
    assert part.image is not None
    return np.clip(part.image * np.array([1.3, 1.0, 0.7]), 0, 255).astype(np.uint8)


def test_a_crop_that_never_varied_does_not_make_an_alarm_of_one_pixel() -> None:
    rng = np.random.default_rng(0)

    def backlit(seed: int) -> Sample:
        image = np.full((96, 96, 3), 255, np.uint8)
        image[8:40, 8:40] = np.random.default_rng(seed).integers(80, 120, (32, 32, 1))
        return Sample(id=str(seed), image=image)

    detector = quick().fit([backlit(seed) for seed in range(20)])
    usual = judged(detector, [backlit(seed) for seed in range(100, 110)])
    spoilt = np.array(backlit(100).image)
    spoilt[-3, -3] = 250
    dark = np.array(backlit(100).image)
    dark[60:90, 60:90] = rng.integers(0, 60, (30, 30, 1))
    one, many = judged(detector, [Sample(id="one", image=spoilt), Sample(id="many", image=dark)])
    assert one < 2 * max(usual) + 1
    assert many > 3 * max(usual)


def test_evidence_is_near_zero_for_usual_scores_and_grows_without_a_limit_in_sight() -> None:
    held_out = np.exp(np.random.default_rng(0).normal(3, 0.2, 200))
    spread = np.array(log_spread(held_out, 0.0))
    assert spread == pytest.approx([3, 0.2], abs=0.05)
    usual, double, huge = beyond(np.exp([2.8, 3.7, 10.0]), spread, 0.0, 200)
    assert usual < 0.2 and 6 < double < 12 and double < huge < 200
    assert beyond(np.exp(3.7), spread, 0.0, 4) < double  # what four scores say of a spread is less certain


def test_scores_below_the_resolution_are_alike() -> None:
    spread = np.array(log_spread(np.zeros(20), 1.0))
    assert spread == pytest.approx([0, 0.05])
    assert beyond(0.001, spread, 1.0, 20) == pytest.approx(beyond(0.0, spread, 1.0, 20), abs=0.05)


def test_of_many_good_pictures_a_sample_is_kept_and_all_are_named_in_the_model() -> None:
    parts = good("texture", 9)
    model = fit_calibrated(quick(images=5), parts, road="none")
    assert len(model.origin["digests"]) == 9
    assert isinstance(model.detector, SINBAD) and len(model.detector.samples_) == 5


def test_two_good_pictures_are_too_few_and_three_cannot_calibrate() -> None:
    with pytest.raises(TooFewSamples, match="sinbad needs 3 sample"):
        quick().fit(good("texture", 2))
    model = fit_calibrated(quick(), good("texture", 3))
    assert model.calibration is not None and model.calibration.scores == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("sizes", (1.5,)), ("sizes", ()), ("step", 0.0), ("shrinkage", 0.0), ("directions", 0), ("pixels", -1.0), ("folds", 1)],
)
def test_an_impossible_field_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(BadField, match=field):
        quick(**{field: value})


def test_crops_that_leave_gaps_still_give_a_map_of_the_whole_picture() -> None:
    detector = quick(sizes=(0.25,), step=0.5).fit(good("texture", 6))
    result = next(detector.predict(good("texture", 1, seed=9)))
    assert result.map is not None and (result.map > 0).all()


def test_evidence_names_the_nearest_good_part_and_the_oddest_crop() -> None:
    parts: Sequence[Sample] = good("object", 8)
    result = next(quick().fit(parts).predict([parts[3]]))
    assert result.evidence["nearest"][0]["sample"] == parts[3].id
    top, left, bottom, right = result.evidence["patch"]
    assert 0 <= top < bottom <= 96 and 0 <= left < right <= 96


def test_copies_of_good_parts_do_not_hide_how_much_parts_differ() -> None:
    parts = good("texture", 12)
    copies = [Sample(id=f"{part.id} again", image=part.image) for part in parts[:6]]
    plain, doubled = (quick().fit(given).levels_[0].spread[:, 1].mean() for given in (parts, [*parts, *copies]))
    assert doubled < 2 * plain


def test_nothing_but_copies_fits_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    part = good("texture", 1)[0]
    detector = quick().fit([Sample(id=str(number), image=part.image) for number in range(4)])
    assert "copies of one" in caplog.text
    assert np.isfinite(judged(detector, good("texture", 2, seed=9))).all()


def test_references_that_do_not_fit_in_memory_are_fewer_and_named(caplog: pytest.LogCaptureFixture) -> None:
    parts = good("texture", 5)
    read: list[tuple[int, int | None]] = []
    small = SINBAD(**SINBAD.quick, references=5, memory="1MB")
    small.fit(parts, progress=lambda stage, done, total: read.append((done, total)) if "references" in stage else None)
    assert 1 <= read[-1][0] < 5 and f"holds {read[-1][0]} of 5 references" in caplog.text
    assert judged(small, parts[:1]) == judged(SINBAD(**SINBAD.quick, references=5, memory="1MB").fit(parts), parts[:1])
