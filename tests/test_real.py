"""The main job on real parts, where they lie beside the project; figures well below those in docs/results.md."""

from __future__ import annotations

from pathlib import Path

import pytest

import amiss
from amiss.bench.evaluate import Evaluation, evaluate
from amiss.data.protocols import zero_shot
from amiss.verdict.calibrate import fit_calibrated

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not DATA.is_dir(), reason="the real data do not lie beside this checkout"),
]


def run(folder: str, *, preset: str | None) -> Evaluation:
    dataset = amiss.dataset("folder", DATA / folder)
    category = dataset.only()
    model = fit_calibrated(amiss.detector("patchcore", preset=preset), dataset.split(category, "train").samples)
    return evaluate(model, dataset.split(category, "test"))


def test_painted_hazelnuts_are_found_and_good_ones_pass() -> None:
    found = run("hazelnut_toy/hazelnut", preset=None)
    assert found.image_auroc == 1.0
    assert found.pixel_auroc is not None and found.pixel_auroc > 0.98
    assert found.escapes == 0 and found.false_alarms == 0


def test_defective_solar_cells_are_ranked_above_good_ones_with_the_fast_preset() -> None:
    found = run("elpv_solar/cell", preset="fast")
    assert found.image_auroc is not None and found.image_auroc > 0.93
    assert found.false_alarms is not None and found.false_alarms <= 5  # of 100, budget 1


@pytest.mark.parametrize("name", ["padim", "rad", "spade"])
def test_the_other_image_methods_find_every_painted_hazelnut(name: str) -> None:
    dataset = amiss.dataset("folder", DATA / "hazelnut_toy/hazelnut")
    model = fit_calibrated(amiss.detector(name), dataset.split(dataset.only(), "train").samples)
    found = evaluate(model, dataset.split(dataset.only(), "test"))
    assert found.image_auroc == 1.0 and found.pixel_auroc is not None and found.pixel_auroc > 0.97


def test_a_pile_of_solar_cells_sorts_itself() -> None:
    dataset = amiss.dataset("folder", DATA / "elpv_solar/cell")
    given = zero_shot(dataset, dataset.only())
    model = fit_calibrated(amiss.detector("musc_v2", preset="fast"), given.fit.samples)
    found = evaluate(model, given.tests[dataset.only()])
    assert found.image_auroc is not None and found.image_auroc > 0.8


def test_a_category_without_a_usable_layout_is_refused_in_words() -> None:
    from amiss.errors import BadLayout

    with pytest.raises(BadLayout, match="rgb"):
        amiss.dataset("folder", DATA / "pothole_rgbd" / "road")


def test_bottles_with_wrong_contents_are_found_by_what_they_hold() -> None:
    dataset = amiss.dataset("folder", DATA / "mvtec_loco_juice_bottle/juice_bottle")
    samples = dataset.split(dataset.only(), "train").samples
    model = fit_calibrated(amiss.detector("sinbad"), samples, road="none")
    found = evaluate(model, dataset.split(dataset.only(), "test"))
    assert found.image_auroc is not None and found.image_auroc > 0.96
