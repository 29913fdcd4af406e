"""The demo shows test cells of the loader's split; the demo itself is run by `make demo`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import amiss
from amiss.data import elpv
from tests.data import miniatures

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "solar_cells.py"


@pytest.fixture
def demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("solar_cells", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = miniatures.elpv(tmp_path)
    monkeypatch.setattr(elpv, "_installed", lambda: root)
    return module


def test_the_demo_shows_test_cells_of_both_labels_and_none_it_learned_from(demo: ModuleType) -> None:
    dataset = amiss.dataset("elpv")
    learned = {entry.path for entry in dataset.split("mono", "train").entries}
    labels = {entry.path: entry.defective for entry in dataset.split("mono", "test").entries}
    shown = demo.shown()
    assert not learned & set(shown)
    assert {labels[path] for path in shown} == {False, True}


def test_without_the_package_the_demo_says_how_to_get_it(demo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(elpv, "PACKAGE", "no_such_package_of_cells")
    with pytest.raises(SystemExit, match=r"pip install elpv-dataset.*make demo"):
        demo.main()
