"""A cell of bench on made clouds: its record, and what tables and page show of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.data import made_clouds

from amiss import catalog
from amiss.bench import cell as cells_module
from amiss.bench.page import write_page
from amiss.bench.plan import Method, Plan, Source, cells
from amiss.bench.table import columns, flat, lines, markdown

QUICK = {"bank": 200, "most": 3000, "scales": (20, 40)}


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = made_clouds.make(tmp_path_factory.mktemp("clouds") / "plate")
    plan = Plan((Method("patchcore", fields=QUICK),), (Source("made_clouds", root),), ("full",), calibration="none")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(catalog.DATASETS, "made_clouds", "tests.data.made_clouds:MadeClouds")
        cell = cells(plan)[0]
        made = cells_module.head(cell, "key", "fingerprint") | {"status": "done", "notes": [], "finished": "t"}
        made |= cells_module.run(cell, cache=root.parent / "features", pictures=True, exact=False)
    return dict(json.loads(json.dumps(made, allow_nan=False)))


def test_a_bench_writes_point_figures_to_record_tables_and_page(record: dict[str, Any], tmp_path: Path) -> None:
    row = record["rows"][0]
    assert row["view"] == "cloud" and row["point_auroc"] > 0.9 and row["cache_gap"] <= 1e-4 and len(row["judged"]) == 6
    table = flat([record])[0]
    assert table["view"] == "cloud" and table["point_aupro"] == row["point_aupro"]
    assert table["point_ap_low"] == row["intervals"]["point_ap"][0]
    found = lines([record])
    assert columns(found) == {
        "image_auroc": "object AUROC", "point_auroc": "point AUROC", "point_ap": "point AP", "point_aupro": "point AUPRO",
    }  # fmt: skip
    text = markdown(found)
    assert "| object AUROC | paper | gap | point AUROC | paper | point AP | paper | point AUPRO | paper | ms" in text
    assert f"{row['point_auroc']:.3f}" in text and "pixel" not in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|")}
    assert len(widths) == 1
    write_page(tmp_path / "a.html", [record], pictures=True)
    page = (tmp_path / "a.html").read_text()
    assert "object AUROC by category" in page and "point AUPRO by category" in page
    assert "false-positive rate of points" in page and "PRO over points" in page and "pixel" not in page.split("</style>")[1]


def test_a_table_of_pictures_and_of_clouds_shows_both(record: dict[str, Any]) -> None:
    picture = json.loads(json.dumps(record)) | {"label": "other"}
    picture["rows"][0] |= {"view": "picture", "pixel_auroc": 0.75, "point_auroc": None, "point_ap": None, "point_aupro": None}
    del picture["rows"][0]["view"]  # as records before clouds
    found = lines([record, picture])
    assert list(columns(found).values()) == ["image AUROC", "pixel AUROC", "AUPRO", "point AUROC", "point AP", "point AUPRO"]
    assert list(columns(found[1:] if found[1].label == "other" else found[:1])) == ["image_auroc", "pixel_auroc", "aupro"]
