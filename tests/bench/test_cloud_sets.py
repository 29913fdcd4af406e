"""Every published data set of point clouds in a cell of bench, in small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.data import miniatures_3d

from amiss.bench import cell as cells_module
from amiss.bench.plan import Method, Plan, Source, cells
from amiss.bench.table import lines, markdown

QUICK = {"bank": 200, "most": 900}
# defective test clouds and good ones
JUDGED = {"real3d_ad": (3, 2), "anomaly_shapenet": (3, 2), "mulsen_ad": (3, 3), "mvtec_3d": (3, 2)}


@pytest.mark.parametrize("name", miniatures_3d.MAKERS)
def test_a_data_set_of_clouds_goes_through_bench_with_every_figure(name: str, tmp_path: Path) -> None:
    root = miniatures_3d.MAKERS[name](tmp_path / "data")
    plan = Plan((Method("patchcore", fields=QUICK),), (Source(name, root),), ("full",), calibration="none")
    cell, other = cells(plan)
    assert cell.category != other.category
    record = cells_module.head(cell, "key", "fingerprint") | {"status": "done", "notes": [], "finished": "t"}
    record |= cells_module.run(cell, cache=tmp_path / "features", pictures=True, exact=False)
    record = json.loads(json.dumps(record, allow_nan=False))
    (row,) = record["rows"]
    assert row["view"] == "cloud" and (row["n_defective"], row["n_good"]) == JUDGED[name] and record["parts"] == 4
    assert row["point_auroc"] > 0.7 and row["point_aupro"] is not None and row["image_auroc"] is not None
    assert "object AUROC" in markdown(lines([record]))
