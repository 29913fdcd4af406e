from __future__ import annotations

from typing import Any

import pytest

from amiss import catalog
from amiss.bench.figures import FIGURES
from amiss.bench.papers import TAGS, papers, published
from amiss.data.protocols import allowed

RECORD = {
    "method": "patchcore", "data": "mvtec_ad", "setting": "full", "calibration": "split", "parts": 9,
    "fields": {"backbone": "efficientnet_lite0", "size": 320, "aspect": "keep"},
}  # fmt: skip


LEAST = {"point_ap": 0.0}  # a few points in a hundred are marked


def names(*categories: str) -> Any:
    return published(RECORD, categories, [{"n_good": 2, "n_defective": 3}] * len(categories))


@pytest.mark.parametrize("entry", papers(), ids=lambda entry: f"{entry.method}-{entry.data}-{entry.source[:24]}")
def test_every_published_figure_has_a_source_a_tag_and_a_sensible_value(entry: Any) -> None:
    assert entry.tag in TAGS and len(entry.source) > 15 and entry.backbone and entry.size
    allowed(frozenset({"normal"}), entry.setting)  # a setting that exists
    rows = [entry.mean, *entry.categories.values()]
    assert rows[0] and all(name in FIGURES and LEAST.get(name, 0.3) < value <= 1 for row in rows for name, value in row.items())
    assert entry.data in {
        *catalog.DATASETS,
        "mvtec_3d_ad",
    }  # the last is of pictures and clouds together, which no data set reads
    assert len(entry.categories) in (0, entry.count)
    assert not any(word in (entry.source + entry.note).lower() for word in ("recall", "memory of", "approximately"))


def test_means_over_categories_are_those_that_are_given_with_them() -> None:
    for entry in papers():
        for name, value in entry.mean.items():
            values = [row[name] for row in entry.categories.values() if name in row]
            if len(values) == entry.count:
                assert sum(values) / len(values) == pytest.approx(value, abs=1e-3), (entry.source, name)


def test_the_authors_own_figures_come_before_those_of_others() -> None:
    first: dict[tuple[str, str, str], bool] = {}
    for entry in papers():
        first.setdefault((entry.method, entry.data, entry.setting), entry.own)
        assert first[entry.method, entry.data, entry.setting] or not entry.own


def test_a_single_category_is_compared_with_its_own_figure() -> None:
    match = names("screw")
    assert match.comparable and match.figures == {"image_auroc": pytest.approx(0.988)} and match.tag == "code"
    assert names("screw", "pill").figures["image_auroc"] == pytest.approx((0.988 + 0.967) / 2)


def test_a_mean_over_other_categories_has_no_gap() -> None:
    match = names("screw", "something else")
    assert not match.comparable and "15 categories" in match.why


def test_reasons_name_backbone_and_size() -> None:
    assert "WideResNet-50 there, efficientnet_lite0 here" in names("screw").why
    assert "proportions kept" in names("screw").why
    assert "9 parts fitted on and 5 judged" in names("screw").why and "held out" in names("screw").why


def test_clouds_are_compared_with_figures_of_points_of_the_same_category() -> None:
    record = {**RECORD, "data": "real3d_ad", "rows": [{"view": "cloud"}]}
    match = published(record, ["shell"], [{"n_good": 52, "n_defective": 48}])
    assert match is not None and match.comparable and match.tag == "readme"
    assert match.figures == {"image_auroc": pytest.approx(0.589), "point_auroc": pytest.approx(0.596)}
    assert "Published by others than the method's authors." in match.why and "Theirs: FPFH, " in match.why
    assert "pixels of area" not in match.why


def test_what_nobody_published_has_no_figure() -> None:
    assert published({**RECORD, "setting": "few-shot:3"}, ["screw"], [{}]) is None
    assert published({**RECORD, "data": "folder"}, ["screw"], [{}]) is None
