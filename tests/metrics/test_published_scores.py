"""Published figures recomputed from the published scores; the data lie beside the project, never in it."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from amiss.metrics.ranking import auroc, average_precision

pytestmark = pytest.mark.real

FOLDER = Path(__file__).resolve().parents[2] / ".." / "shared" / "data" / "metric_reference_mvtec3d"


@pytest.fixture(scope="module")
def reference():
    """Printed figures, and (scores, labels) by category."""
    if not FOLDER.is_dir():
        pytest.skip("../shared/data/metric_reference_mvtec3d is not there")
    parts = defaultdict(lambda: ([], []))
    with (FOLDER / "classical_image_scores_test.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            parts[row["category"]][0].append(float(row["image_score"]))
            parts[row["category"]][1].append(int(row["label"]))
    return json.loads((FOLDER / "expected.json").read_text()), dict(parts)


def overall(metric, parts):
    return metric(*(np.concatenate(column) for column in zip(*parts.values(), strict=True)))


def macro(metric, parts):
    return float(np.mean([metric(*columns) for columns in parts.values()]))


@pytest.mark.parametrize(("name", "metric"), [("image_auroc", auroc), ("average_precision", average_precision)])
def test_published_overall_and_macro_figures_are_met_to_four_digits(reference, name, metric):
    expected, parts = reference
    assert sum(len(scores) for scores, _ in parts.values()) == 1197
    assert round(overall(metric, parts), 4) == expected[name]["overall"]
    assert round(macro(metric, parts), 4) == expected[name]["macro"]


def test_published_auroc_of_every_category_is_met_to_four_digits(reference):
    expected, parts = reference
    assert len(parts) == 10
    assert {name: round(auroc(*columns), 4) for name, columns in parts.items()} == {
        name: value for name, value in expected["image_auroc"].items() if name not in ("overall", "macro")
    }
