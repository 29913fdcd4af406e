"""One cell in this process: settings that fit several categories at once, or the very pictures they judge."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from amiss import catalog
from amiss.bench.cell import SAME, _gap, run
from amiss.bench.evaluate import Judged
from amiss.bench.plan import ALL, Method, Plan, Source, cells
from amiss.data import toys
from amiss.methods.patchcore import PatchCore
from amiss.metrics.ranking import auroc, separated_bound

SMALL = {"size": 64, "bank": 60}


@dataclass(kw_only=True)
class Unlabelled(PatchCore):
    """Stands for a method that judges the pictures it was given, without their labels."""

    name: ClassVar[str] = "unlabelled"
    needs: ClassVar[frozenset[str]] = frozenset({"unlabelled"})


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(catalog.DETECTORS, "unlabelled", f"{__name__}:Unlabelled")
    for seed, kind in enumerate(("object", "texture")):
        toys.make_folder(tmp_path / "parts" / kind, seed=seed, kind=kind, train=5, good=3, bad=3)
    return tmp_path / "parts"


def plan(root: Path, method: str, *settings: str, **rest: Any) -> Plan:
    return Plan((Method(method, fields=SMALL),), (Source("mvtec_ad", root, **rest),), settings)


def test_many_fits_once_on_all_categories_and_judges_each_on_its_own(root: Path) -> None:
    found = cells(plan(root, "patchcore", "many"))
    assert [(cell.category, cell.wanted) for cell in found] == [(ALL, ("object", "texture"))]
    record = run(found[0], cache=None, pictures=True, exact=True)
    assert record["parts"] == 10 and [row["category"] for row in record["rows"]] == ["object", "texture"]
    for row in record["rows"]:
        scores, labels = ([one[key] for one in row["judged"]] for key in ("score", "defective"))
        assert row["image_auroc"] == auroc(scores, labels) and len(scores) == 6
        if row["image_auroc"] == 1:
            assert row["intervals"]["image_auroc"] == (separated_bound(3, 3), 1.0)


def test_chosen_categories_are_judged_by_a_model_of_all(root: Path) -> None:
    found = cells(plan(root, "patchcore", "many", categories=("texture",)))
    record = run(found[0], cache=None, pictures=False, exact=True)
    assert record["parts"] == 10 and [row["category"] for row in record["rows"]] == ["texture"]


def test_methods_run_only_in_settings_they_allow(root: Path) -> None:
    both = Plan((Method("patchcore"), Method("unlabelled")), (Source("mvtec_ad", root, ("object",)),), ("full", "zero-shot"))
    found = {(cell.method.name, cell.setting) for cell in cells(both)}
    assert {("patchcore", "full"), ("unlabelled", "zero-shot")} <= found and ("patchcore", "zero-shot") not in found


def test_zero_shot_gives_no_verdict_and_no_p_value(root: Path) -> None:
    record = run(cells(plan(root, "unlabelled", "zero-shot"))[0], cache=None, pictures=True, exact=True)
    row = record["rows"][0]
    assert record["calibration"] == "none" and record["threshold"] is None
    assert row["false_alarms"] is None and {one["outcome"] for one in row["judged"]} == {None}
    assert row["seen_in_fit"] == 6  # and the page says so


def test_misses_are_shown_with_their_map(root: Path) -> None:
    record = run(cells(plan(root, "unlabelled", "zero-shot"))[0], cache=None, pictures=True, exact=True)
    shown = record["rows"][0]["misses"]
    assert shown and {miss["miss"] for miss in shown} <= {"false alarm", "escape"}
    assert all(miss["picture"].startswith("/9j/") and miss["heat"].startswith("/9j/") for miss in shown)


def test_scores_that_the_cache_changes_fail_the_cell() -> None:
    def judged(scores: list[float]) -> list[Judged]:
        return [Judged(str(n), "", "good", False, score, None, 0.1) for n, score in enumerate(scores)]

    assert _gap(judged([1.0]), judged([1.0 + SAME / 2, 5.0])) == pytest.approx(SAME / 2, rel=1e-3)
    with pytest.raises(RuntimeError, match="feature cache"):
        _gap(judged([1.0, 2.0]), judged([1.0, 2.1]))
    with pytest.raises(RuntimeError):
        _gap(judged([float(np.nan)]), judged([1.0]))
