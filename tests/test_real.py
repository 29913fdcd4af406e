"""The main job on real parts, where they lie beside the project; figures well below those in docs/results.md."""

from __future__ import annotations

from pathlib import Path

import pytest

import amiss
from amiss.bench.evaluate import Evaluation, evaluate
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


def test_a_category_without_a_usable_layout_is_refused_in_words() -> None:
    from amiss.errors import BadLayout

    with pytest.raises(BadLayout, match="rgb"):
        amiss.dataset("folder", DATA / "pothole_rgbd" / "road")
