"""The house has floors: a module may import from its own floor or from those below, and some rooms never meet."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "src" / "amiss"

# lowest first; names are the first part of a module's path below amiss/
FLOORS = (
    {"errors", "spread"},
    {"types", "fields", "catalog", "__init__"},
    {"contract", "calibration", "artifact"},
    {"backbones", "geometry"},
    {"model", "kit"},
    {"methods", "data", "metrics"},
    {"bench", "viz", "store", "verdict"},
    {"cli", "serve", "scale", "__main__"},
)
NEVER_MEET = ({"methods"}, {"data"}, {"metrics"})
# `catalog` and the front door hold names and import on use, so their imports inside functions do not count
ON_USE = {"__init__", "catalog"}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(SOURCE).with_suffix("").parts[0]


def imported_rooms(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top_only = path.parent == SOURCE and path.stem in ON_USE
    nodes = (node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)) if top_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "amiss":
            parts = node.module.split(".")
            names = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
            found |= {name if (SOURCE / name).is_dir() or (SOURCE / f"{name}.py").is_file() else "__init__" for name in names}
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] == "amiss":
                    found.add(parts[1] if len(parts) > 1 else "__init__")
    return found


def floor(name: str) -> int:
    for level, names in enumerate(FLOORS):
        if name in names:
            return level
    raise AssertionError(f"amiss/{name} stands on no floor; add it to FLOORS")


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_imports_only_from_its_own_floor_or_below(path: Path) -> None:
    here = room(path)
    for other in imported_rooms(path) - {here}:
        assert floor(other) <= floor(here), f"{path.name} ({here}) climbs to {other}"


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(SOURCE)))
def test_methods_data_and_metrics_never_meet(path: Path) -> None:
    here = room(path)
    for group in NEVER_MEET:
        if here in group:
            strangers = {name for other in NEVER_MEET if other is not group for name in other}
            assert not imported_rooms(path) & strangers


def test_a_file_stays_below_the_ceiling() -> None:
    long = {str(path.relative_to(SOURCE)): n for path in modules() if (n := len(path.read_text().splitlines())) > 400}
    assert not long


def test_only_the_command_line_prints() -> None:
    for path in modules():
        if room(path) in ("cli", "__main__"):
            continue
        calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
        assert not [c for c in calls if isinstance(c.func, ast.Name) and c.func.id == "print"], path
