"""What a perfect ranking can and cannot say."""

from __future__ import annotations

from pathlib import Path

import amiss
from amiss.bench.evaluate import evaluate
from amiss.data import toys
from amiss.verdict.calibrate import fit_calibrated


def test_a_perfect_ranking_has_an_open_auroc_and_no_interval_for_what_cannot_vary(tmp_path: Path) -> None:
    root = toys.make_folder(tmp_path / "cloth", seed=0, kind="texture", train=6, good=4, bad=4)
    dataset = amiss.dataset("folder", root)
    detector = amiss.detector("patchcore", size=96, bank=200)
    model = fit_calibrated(detector, dataset.split(dataset.only(), "train").samples, road="none")
    found = evaluate(model, dataset.split(dataset.only(), "test"))
    assert found.image_auroc == found.image_ap == found.image_f1max == 1.0
    low, high = found.intervals["image_auroc"]
    assert low < 0.6 and high == 1.0  # four against four prove little
    assert "image_ap" not in found.intervals and "do not overlap" in found.reasons["image_ap"]
