from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from amiss.bench.page import _roc, write_page
from amiss.bench.table import as_csv, flat, gap, lines, load, markdown, write_tables


def record(label: str, category: str, seed: int, image_auroc: float, **rest: Any) -> dict[str, Any]:
    row = {
        "category": category, "image_auroc": image_auroc, "image_ap": 0.9, "image_f1max": 0.8, "pixel_auroc": None,
        "pixel_ap": None, "aupro": None, "intervals": {"image_auroc": [image_auroc - 0.1, image_auroc + 0.05]}, "reasons": {},
        "n_good": 2, "n_defective": 2, "false_alarms": 0, "escapes": 1, "reviewed_good": 0, "reviewed_defective": 0,
        "seen_in_fit": 0, "ms_per_part": 10.0 * (seed + 1), "timed": 4, "cache_gap": 0.0, "pro": None, "misses": [],
        "judged": [{"id": str(n), "digest": str(n), "score": s, "defective": b, "seconds": 0.1}
                   for n, (s, b) in enumerate([(1.0, False), (3.0, True), (2.0, False), (2.0, True)])],
    }  # fmt: skip
    made = {
        "status": "done", "reason": "", "label": label, "method": "patchcore", "data": "mvtec_ad",
        "category": category, "setting": "full", "seed": seed, "fit_seconds": 2.0, "features_cached": 0.0, "peak_mb": 100.0,
        "fields": {"backbone": "efficientnet_lite0", "size": 320, "aspect": "keep"}, "versions": {"amiss": "0"}, "notes": [],
        "calibration_asked": "auto", "calibration": "cross-fitted", "parts": 9,
        "budget": 0.01, "limit": 0.3, "fingerprint": "f", "commit": "c", "key": label + category,
        "started": "s", "finished": "t", "rows": [row],
    }  # fmt: skip
    return {**made, **rest}


def test_a_line_is_the_mean_over_categories_then_over_seeds() -> None:
    found = lines([record("m", "screw", 0, 0.8), record("m", "pill", 0, 0.6), record("m", "screw", 1, 0.9),
                   record("m", "pill", 1, 0.9)])  # fmt: skip
    assert len(found) == 1
    line = found[0]
    assert line.figures["image_auroc"] == pytest.approx(0.8)  # seeds: 0.7 and 0.9
    assert line.spread["image_auroc"] == pytest.approx(0.02**0.5)  # of 0.7 and 0.9
    assert (line.categories, line.seeds, line.ms) == (("pill", "screw"), (0, 1), 15.0)
    assert "aupro" not in line.figures
    assert gap(line, "image_auroc") == "-17.8"  # 0.8 - (0.988 + 0.967) / 2


def test_a_seed_that_lacks_a_category_gives_no_mean() -> None:
    line = lines([record("m", "screw", 0, 0.8), record("m", "pill", 0, 0.6), record("m", "screw", 1, 0.9)])[0]
    assert line.figures == {}


def test_a_single_category_and_seed_keeps_its_interval_and_its_own_published_figure() -> None:
    line = lines([record("m", "screw", 0, 0.9)])[0]
    text = markdown([line])
    assert "0.900 (0.800-0.950) | 0.988 | -8.8" in text and "results.csv" in text and "(code)" in text


def test_several_categories_served_by_one_model_are_averaged_not_pooled() -> None:
    both = record("m", "all categories", 0, 0.9, setting="many")
    both["rows"].append({**both["rows"][0], "category": "pill", "image_auroc": 0.5})
    assert lines([both])[0].figures["image_auroc"] == pytest.approx(0.7)
    assert [row["category"] for row in flat([both])] == ["all categories", "pill"]


def test_a_failed_cell_is_a_row_with_its_reason() -> None:
    failed = record("m", "screw", 0, 0.9, status="failed", reason="=cmd()", rows=[])
    row = flat([failed])[0]
    assert (row["status"], row["reason"], row["image_auroc"], row["category"]) == ("failed", "=cmd()", None, "screw")
    assert "'=cmd()" in as_csv([row]) and lines([failed])[0].failed == 1
    assert "1 failed" in markdown(lines([failed]))


def test_the_newest_record_of_a_place_counts(tmp_path: Path) -> None:
    (tmp_path / "cells").mkdir()
    for name, finished, figure in (("a", "2026-01-02", 0.9), ("b", "2026-01-01", 0.1)):
        text = json.dumps(record("m", "screw", 0, figure, finished=finished))
        (tmp_path / "cells" / f"{name}.json").write_text(text)
    (tmp_path / "cells" / "broken.json").write_text('{"status"')
    found = load(tmp_path)
    assert [one["rows"][0]["image_auroc"] for one in found] == [0.9]
    assert write_tables(tmp_path, found)["csv"] == "results.csv"


def test_the_roc_curve_goes_through_every_distinct_score() -> None:
    # descending: 3 bad; 2 good and bad together; 1 good
    rates, found = _roc(record("m", "x", 0, 0.5)["rows"][0])
    assert rates.tolist() == [0, 0, 0.5, 1] and found.tolist() == [0, 0.5, 1, 1]


def test_a_page_of_nothing_and_of_failures_only_can_be_written(tmp_path: Path) -> None:
    write_page(tmp_path / "a.html", [], pictures=True)
    assert "No cell has finished" in (tmp_path / "a.html").read_text()
    failed = record("<m>", "screw", 0, 0.9, status="failed", reason="<script>", rows=[])
    write_page(tmp_path / "b.html", [failed], pictures=True)
    page = (tmp_path / "b.html").read_text()
    assert "&lt;script&gt;" in page and "<m>" not in page
