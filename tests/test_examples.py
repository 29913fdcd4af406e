"""The demo's split is seeded, disjoint and what its text says; the demo itself is run by `make demo`."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "solar_cells.py"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("solar_cells", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    good = [Path(f"good{i:04d}.png") for i in range(588)]
    defective = [Path(f"bad{i:04d}.png") for i in range(313)]
    monkeypatch.setattr(module, "cells", lambda: (list(good), list(defective)))
    return module


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_demo_never_tests_on_a_cell_it_learned_from(demo: ModuleType, tmp_path: Path) -> None:
    test = demo.write_table(tmp_path / "a.csv")
    written = rows(tmp_path / "a.csv")
    learned = {row["path"] for row in written if row["split"] == "train"}
    judged = {row["path"] for row in written if row["split"] == "test"}
    assert (len(learned), len(judged), len(test)) == (500, 188, 188)
    assert not learned & judged
    assert all(row["label"] == "good" for row in written if row["split"] == "train")


def test_the_demo_draws_the_same_split_each_time(demo: ModuleType, tmp_path: Path) -> None:
    demo.write_table(tmp_path / "a.csv")
    demo.write_table(tmp_path / "b.csv")
    assert rows(tmp_path / "a.csv") == rows(tmp_path / "b.csv")
