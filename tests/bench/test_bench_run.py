"""Running a plan: resumed after a kill, failures kept as rows, honest times, tables and page from the records."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Amiss

from amiss.bench.figures import BOX_NAMES, KIND_NAMES, NAMES
from amiss.bench.places import OUTSIDE, POINTS
from amiss.bench.plan import plan_of_words, read_plan
from amiss.bench.run import Options, pending, places, read_record, run
from amiss.bench.table import COLUMNS, load
from amiss.data import toys

PLAN = """
seeds = [0, 1]
[[methods]]
name = "patchcore"
label = "quick <i>"
fields = { size = 64, bank = 100 }
[[methods]]
name = "patchcore"
label = "=other"
fields = { size = 64, bank = 30 }
[[data]]
name = "folder"
root = "disc"
"""
SMALL = """
seeds = [0, 1]
calibration = "none"
[[methods]]
name = "patchcore"
label = "small"
fields = { size = 64, bank = 30 }
[[data]]
name = "folder"
root = "disc"
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench")
    toys.make_folder(root / "disc", kind="object", train=9, good=4, bad=4)
    (root / "plan.toml").write_text(PLAN)
    (root / "small.toml").write_text(SMALL)
    return root


@pytest.fixture(scope="module")
def killed(place: Path) -> dict[str, Any]:
    """A run that was killed after its first cell and started again; what its first cell's file was before that."""
    out = place / "out"
    command = [sys.executable, "-m", "amiss", "bench", str(place / "plan.toml"), "--out", str(out), "--quiet"]
    process = subprocess.Popen(command)
    deadline = time.monotonic() + 120
    while not (done := sorted((out / "cells").glob("*.json"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    first = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in done}
    (out / "cells" / "half.json.1.part").write_text('{"status": "do')
    code = subprocess.run(command, timeout=300).returncode
    return {"out": out, "first": first, "code": code}


def records(out: Path) -> dict[str, Any]:
    return {path.name: json.loads(path.read_text()) for path in sorted((out / "cells").glob("*"))}


def test_a_killed_run_goes_on_where_it_was(killed: dict[str, Any], place: Path) -> None:
    assert killed["code"] == 0 and 1 <= len(killed["first"]) < 4
    for path, (content, changed) in killed["first"].items():
        assert path.read_bytes() == content and path.stat().st_mtime_ns == changed
    found = records(killed["out"])
    assert len(found) == 4 and all(record["status"] == "done" for record in found.values())
    assert not list(killed["out"].glob("*.lock"))


def test_it_finds_the_same_as_a_run_that_was_not_killed(killed: dict[str, Any], place: Path, amiss: Amiss) -> None:
    assert amiss("bench", place / "plan.toml", "--out", place / "whole", "--quiet").code == 0
    whole, other = records(place / "whole"), records(killed["out"])
    assert whole.keys() == other.keys()
    for name, record in whole.items():
        for mine, theirs in zip(record["rows"], other[name]["rows"], strict=True):
            assert [one["score"] for one in mine["judged"]] == pytest.approx(
                [one["score"] for one in theirs["judged"]], rel=1e-5
            )
            assert mine["image_auroc"] == theirs["image_auroc"]


def test_started_again_nothing_is_run(killed: dict[str, Any], place: Path, amiss: Amiss) -> None:
    before = {path: path.stat().st_mtime_ns for path in (killed["out"] / "cells").iterdir()}
    said = amiss("bench", place / "plan.toml", "--out", killed["out"], "--json")
    assert said.code == 0 and (said.json["done"], said.json["failed"]) == (4, 0)
    assert {path: path.stat().st_mtime_ns for path in (killed["out"] / "cells").iterdir()} == before


def test_a_record_says_what_was_run_on_what_and_how_long(killed: dict[str, Any]) -> None:
    record = next(iter(records(killed["out"]).values()))
    assert record["fields"]["size"] == 64 and record["seed"] == record["fields"]["seed"]
    assert {"amiss", "python", "numpy", "onnxruntime", "processor"} <= record["versions"].keys()
    assert len(record["fingerprint"]) == 32 and record["fit_seconds"] > 0 and 20 < record["peak_mb"] < 4000
    row = record["rows"][0]
    assert row["timed"] == 8 and row["ms_per_part"] > 0
    assert 0 <= row["cache_gap"] <= 1e-4  # uncached scores are the cached ones
    elsewhere = {*KIND_NAMES, *BOX_NAMES, *POINTS.names, *POINTS.means}
    assert set(row["intervals"]) == set(NAMES) - elsewhere and len(row["judged"]) == 8
    assert all(row[name] is None and row["reasons"][name] in OUTSIDE for name in elsewhere)
    assert all(low <= row[name] <= high for name, (low, high) in row["intervals"].items())
    assert row["judged"][0]["id"].startswith("test/") and str(killed["out"].parent) not in json.dumps(record)


def test_features_are_computed_once_and_the_share_is_recorded(killed: dict[str, Any]) -> None:
    shares = sorted(record["features_cached"] for record in records(killed["out"]).values())
    assert shares == [0.0, 1.0, 1.0, 1.0]
    assert len(list((killed["out"] / "features").glob("*.npz"))) == 9 + 8


def test_tables_hold_what_the_records_hold(killed: dict[str, Any]) -> None:
    import pyarrow.parquet

    out = killed["out"]
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS and len(rows) == 4
    assert rows[0]["label"] == "'=other"  # no formula for a spreadsheet
    table = pyarrow.parquet.read_table(out / "results.parquet").to_pylist()
    assert [float(row["image_auroc"]) for row in rows] == [row["image_auroc"] for row in table]
    assert json.loads(table[0]["fields"])["bank"] in (30, 100)
    text = (out / "results.md").read_text()
    assert r"quick \<i\>" in text and "<i>" not in text


def test_the_page_escapes_what_users_named_and_needs_no_network(killed: dict[str, Any]) -> None:
    page = (killed["out"] / "results.html").read_text()
    assert "quick &lt;i&gt;" in page and "quick <i>" not in page
    assert "default-src 'none'" in page and "http" not in page.split("</style>")[1].replace("http-equiv", "")
    assert page.count("<svg") >= 5 and "[[" not in page and "style=" not in page


def test_a_crash_of_one_cell_is_a_row_with_its_reason_and_does_not_stop_the_others(
    place: Path, tmp_path: Path, amiss: Amiss, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "site"
    broken.mkdir()
    (broken / "sitecustomize.py").write_text(  # the first cell's process dies as the system would kill it
        "import os, sys, signal\n"
        "if 'amiss.bench.cell' in ' '.join(sys.orig_argv) and not os.path.exists(os.environ['DIED']):\n"
        "    open(os.environ['DIED'], 'w').close(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    monkeypatch.setenv("DIED", str(tmp_path / "died"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(broken), os.environ.get("PYTHONPATH", "")]))
    words = ("bench", place / "small.toml", "--out", tmp_path / "out")
    said = amiss(*words, "--json", "--no-pictures")
    assert said.code == 3 and (said.json["done"], said.json["failed"]) == (1, 1)
    assert "SIGKILL" in said.err and "out of memory" in said.err
    rows = load(tmp_path / "out")
    assert sorted(record["status"] for record in rows) == ["done", "failed"]
    assert "killed by SIGKILL" in (tmp_path / "out" / "results.csv").read_text()
    assert "Failed: small" in (tmp_path / "out" / "results.html").read_text()
    assert "data:image" not in (tmp_path / "out" / "results.html").read_text()
    assert amiss(*words, "--quiet").code == 3  # stays failed
    assert amiss(*words, "--quiet", "--retry-failed").code == 0


def test_a_method_that_raises_is_a_failed_row(place: Path, tmp_path: Path) -> None:
    plan = plan_of_words(methods="patchcore", data=f"folder:{place / 'disc'}", settings="few-shot:1", calibration="split")
    (tmp_path / "cells").mkdir()
    wanted = places(plan, tmp_path)
    run(wanted, tmp_path, Options())
    record = read_record(wanted[0].path)
    assert record is not None and record["status"] == "failed" and record["reason"].startswith("TooFewSamples: ")
    assert not pending(wanted, Options()) and len(pending(wanted, Options(retry_failed=True))) == 1
    assert len(pending(wanted, Options(same_commit=True))) == 0


def test_another_bench_in_the_same_folder_is_refused(place: Path, tmp_path: Path, amiss: Amiss) -> None:
    tmp_path.joinpath("running.lock").write_text(json.dumps({"process": os.getppid()}))
    said = amiss("bench", place / "plan.toml", "--out", tmp_path)
    assert said.code == 2 and "another bench is running" in said.err


def test_a_dry_run_lists_the_cells_and_writes_nothing(place: Path, amiss: Amiss) -> None:
    said = amiss("bench", place / "plan.toml", "--out", place / "dry", "--dry-run", "--json")
    assert said.code == 0 and said.json["to_run"] == 4 and not (place / "dry").exists()
    assert {(cell["fit"], cell["test"]) for cell in said.json["cells"]} == {(9, 8)}


def test_a_plan_and_options_together_are_refused(place: Path, amiss: Amiss) -> None:
    assert "beside a plan" in amiss("bench", place / "plan.toml", "--seeds", "3").err
    assert "nothing to compare" in amiss("bench").err


def test_no_truth_is_read_before_the_fit_is_over(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from amiss.bench import cell as cells_module
    from amiss.bench.plan import cells
    from amiss.data.dataset import Entry

    plan = replace(read_plan(place / "small.toml"), settings=("contaminated:0.1",), calibration="cross")
    seen: list[str] = []
    fit, truth = cells_module.fit_calibrated, Entry.truth

    def fitted(*args: Any, **named: Any) -> Any:
        model = fit(*args, **named)
        seen.append("fitted")
        return model

    def read(entry: Entry) -> Any:
        seen.append("truth")
        return truth(entry)

    monkeypatch.setattr(cells_module, "fit_calibrated", fitted)
    monkeypatch.setattr(Entry, "truth", read)
    cells_module.run(cells(plan)[0], cache=None, pictures=False, exact=True)
    assert seen[0] == "fitted" and "truth" in seen
