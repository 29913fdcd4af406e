from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import Amiss

from amiss.bench.compare import Side, _adjusted, compare, side
from amiss.errors import BadField, BadLayout
from amiss.metrics.ranking import auroc


def judged(scores: Any, labels: Any, *, names: Any = None) -> dict[str, Any]:
    names = range(len(scores)) if names is None else names
    rows = zip(names, scores, labels, strict=True)
    return {
        "judged": [{"id": f"p{n}", "digest": f"d{n}", "score": float(s), "defective": bool(b)} for n, s, b in rows],
        "image_auroc": auroc(scores, labels),
    }


def one_side(name: str, **rows: Any) -> Side:
    return Side(name, {("folder", category, "full"): row for category, row in rows.items()})


def scores(seed: int, n: int = 60, gap: float = 1.0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    labels = np.arange(2 * n) >= n
    return rng.normal(size=2 * n) + gap * labels, labels


def test_a_run_does_not_differ_from_itself() -> None:
    row = judged(*scores(0))
    found, overall = compare(one_side("a", x={0: row}), one_side("b", x={0: row}))
    assert overall is None and len(found) == 1
    assert (found[0].difference, found[0].low, found[0].high, found[0].p) == (0, 0, 0, 1)
    assert found[0].sentence == "no difference shown"


def test_another_scale_of_scores_is_no_difference() -> None:
    values, labels = scores(1)
    found, _ = compare(one_side("a", x={0: judged(values, labels)}), one_side("b", x={0: judged(np.exp(values) * 7, labels)}))
    assert found[0].difference == 0 and not found[0].differs


def test_defects_that_stand_out_more_are_a_difference_in_the_right_direction() -> None:
    values, labels = scores(2)
    better = values + 1.5 * labels
    found, _ = compare(one_side("a", x={0: judged(better, labels)}), one_side("b", x={0: judged(values, labels)}))
    one = found[0]
    assert one.difference == pytest.approx(auroc(better, labels) - auroc(values, labels))
    assert 0 < one.low <= one.difference <= one.high and one.p < 0.01 and one.sentence == "differ beyond noise"
    back, _ = compare(one_side("b", x={0: judged(values, labels)}), one_side("a", x={0: judged(better, labels)}))
    assert back[0].difference == pytest.approx(-one.difference) and back[0].differs


def test_runs_of_equal_quality_differ_about_as_seldom_as_the_level_says() -> None:
    rng = np.random.default_rng(3)
    differing = 0
    for _ in range(80):
        values, labels = scores(int(rng.integers(1 << 30)), 40)
        rows = [judged(values + rng.normal(scale=0.7, size=80), labels) for _ in range(2)]
        found, _ = compare(one_side("a", x={0: rows[0]}), one_side("b", x={0: rows[1]}), draws=400)
        differing += found[0].differs
    assert differing <= 10  # 4 expected of 80


def test_pictures_are_matched_by_content_in_any_order() -> None:
    values, labels = scores(4, 20)
    order = np.random.default_rng(0).permutation(40)
    other = judged(values[order], labels[order], names=order)
    found, _ = compare(one_side("a", x={0: judged(values, labels)}), one_side("b", x={0: other}))
    assert found[0].difference == 0 and found[0].p == 1


def test_several_seeds_count_as_their_mean() -> None:
    values, labels = scores(5, 20)
    rows = {seed: judged(scores(seed, 20)[0], labels) for seed in (0, 1)}
    base = {seed: judged(values, labels) for seed in (0, 1, 2)}
    found, _ = compare(one_side("a", x=rows), one_side("b", x=base))
    assert found[0].seeds == (0, 1)
    assert found[0].a == pytest.approx(np.mean([row["image_auroc"] for row in rows.values()]))


def test_several_categories_are_adjusted_and_averaged() -> None:
    sides: list[dict[str, Any]] = [{}, {}]
    for number, shift in enumerate((0.0, 0.0, 2.0)):
        values, labels = scores(number, 50)
        for some, add in zip(sides, (shift, 0.0), strict=True):
            some[f"c{number}"] = {0: judged(values + add * labels, labels)}
    found, overall = compare(one_side("a", **sides[0]), one_side("b", **sides[1]))
    assert [one.differs for one in found] == [False, False, True]
    assert found[2].adjusted == pytest.approx(3 * found[2].p)
    assert overall is not None
    assert overall.difference == pytest.approx(np.mean([one.difference for one in found])) and overall.p < 0.05


def test_holm_multiplies_the_kth_smallest_p_by_what_is_left() -> None:
    from dataclasses import replace

    values = compare(one_side("a", x={0: judged(*scores(0, 5))}), one_side("b", x={0: judged(*scores(0, 5))}), draws=5)[0][0]
    found = _adjusted([replace(values, p=p) for p in (0.04, 0.01, 0.03)])
    assert [one.adjusted for one in found] == pytest.approx([0.06, 0.03, 0.06])


def test_other_pictures_are_named() -> None:
    values, labels = scores(6, 4)
    other = judged(values, labels, names=[*range(7), 99])
    with pytest.raises(BadLayout, match="only in A: p7; only in B: p99"):
        compare(one_side("a", x={0: judged(values, labels)}), one_side("b", x={0: other}))


def test_other_labels_are_named() -> None:
    values, labels = scores(7, 4)
    turned = labels.copy()
    turned[0] = True
    with pytest.raises(BadLayout, match=r"labelled good by one.*p0"):
        compare(one_side("a", x={0: judged(values, labels)}), one_side("b", x={0: judged(values, turned)}))


def test_nothing_in_common_is_said() -> None:
    row = judged(*scores(8, 4))
    with pytest.raises(BadLayout, match="no category"):
        compare(one_side("a", x={0: row}), one_side("b", y={0: row}))
    with pytest.raises(BadLayout, match="no seed"):
        compare(one_side("a", x={0: row}), one_side("b", x={1: row}))


def folder(root: Path, **labels: float) -> Path:
    (root / "cells").mkdir(parents=True)
    values, truth = scores(9, 40)
    for label, shift in labels.items():
        row = judged(values + shift * truth, truth) | {"category": "x"}
        record = {
            "status": "done",
            "label": label,
            "data": "folder",
            "setting": "full",
            "category": "x",
            "seed": 0,
            "rows": [row],
        }
        (root / "cells" / f"{label}.json").write_text(json.dumps(record))
    return root


def test_the_command_compares_folders_methods_and_cells(tmp_path: Path, amiss: Amiss) -> None:
    first, second = folder(tmp_path / "a", one=2.0), folder(tmp_path / "b", one=0.0, two=2.0)
    said = amiss("compare", first, f"{second}:one", "--json")
    assert said.code == 0 and said.json["categories"][0]["differs"] is True and said.json["overall"] is None
    said = amiss("compare", f"{second}:two", first / "cells" / "one.json")
    assert said.code == 0 and "no difference shown" in said.out
    said = amiss("compare", first, second)
    assert said.code == 2 and "name one" in said.err


def test_a_folder_without_cells_or_another_method_is_refused(tmp_path: Path) -> None:
    root = folder(tmp_path / "a", one=0.0)
    with pytest.raises(BadField, match="one"):
        side(f"{root}:two")
    with pytest.raises(BadLayout, match="no finished cell"):
        side(str(tmp_path / "nothing"))


def test_seeds_that_judged_other_pictures_are_not_averaged() -> None:
    """As under contaminated:SHARE, where each seed leaves another test split."""
    first, second = judged(*scores(0)), judged(*scores(1))
    for number, each in enumerate(second["judged"]):
        each["digest"] = f"other{number}"
    with pytest.raises(BadLayout, match="differ from seed to seed"):
        compare(one_side("a", x={0: first, 1: second}), one_side("b", x={0: first, 1: second}))
