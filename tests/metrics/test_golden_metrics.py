"""Figures of tests/golden/metrics.json, made with scikit-learn, brute force and ADEval; its note says how."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from amiss.metrics.ranking import auroc, average_precision, f1_max
from amiss.metrics.regions import PixelScores

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
FIGURES = json.loads((GOLDEN / "metrics.json").read_text())["figures"]
LIMITS = (0.3, 0.05, 0.01)


@pytest.fixture(scope="module")
def arrays():
    with np.load(GOLDEN / "metrics.npz") as stored:
        return {"smooth": stored["maps"], "tied": stored["tied"], "masks": stored["masks"]}


@pytest.mark.parametrize("kind", ["smooth", "tied"])
def test_pixel_figures_equal_the_golden_ones(arrays, kind):
    scores = PixelScores.collect(arrays[kind], arrays["masks"])
    assert scores.auroc() == pytest.approx(FIGURES[kind]["pixel_auroc"], abs=1e-6)
    assert scores.average_precision() == pytest.approx(FIGURES[kind]["pixel_ap"], abs=1e-6)


@pytest.mark.parametrize("limit", LIMITS)
@pytest.mark.parametrize("kind", ["smooth", "tied"])
def test_aupro_equals_the_golden_brute_force(arrays, kind, limit):
    scores = PixelScores.collect(arrays[kind], arrays["masks"])
    assert scores.aupro(limit) == pytest.approx(FIGURES[kind][f"aupro_{limit}_exact"], abs=1e-6)


@pytest.mark.parametrize("kind", ["smooth", "tied"])
def test_image_figures_equal_the_golden_ones_where_the_score_is_the_largest_pixel(arrays, kind):
    scores, labels = arrays[kind].max(axis=(1, 2)), arrays["masks"].any(axis=(1, 2))
    assert auroc(scores, labels) == pytest.approx(FIGURES[kind]["image_auroc"], abs=1e-6)
    assert average_precision(scores, labels) == pytest.approx(FIGURES[kind]["image_ap"], abs=1e-6)
    assert f1_max(scores, labels) == pytest.approx(FIGURES[kind]["image_f1max"], abs=1e-6)


def test_thresholded_aupro_of_another_package_nears_the_exact_value(arrays):
    scores = PixelScores.collect(arrays["smooth"], arrays["masks"])
    worst = {
        count: max(abs(FIGURES["smooth"][f"aupro_{limit}_thresholds_{count}"] - scores.aupro(limit)) for limit in LIMITS)
        for count in (100, 1000, 20000)
    }
    assert worst[20000] < 2e-4  # a small rest stays at every limit, which more thresholds do not remove
    assert worst[20000] < worst[1000] < worst[100]
    assert worst[100] > 5e-3  # what a figure made with 100 thresholds may be wrong by at the limit 0.01
