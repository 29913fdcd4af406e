"""`amiss data check` and `sets`, `methods` and `doctor`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import typer

import amiss
from amiss import catalog
from amiss.cli.console import Console
from amiss.cli.opening import Asked
from amiss.fields import describe


def run_check(data: Asked, console: Console) -> None:
    """Read a whole data set and say what is wrong with it."""
    from amiss.data.check import check
    from amiss.data.check_clouds import summary

    dataset, category = data.opened()
    with console.progress() as progress:
        report = check(dataset, category, progress=progress)
    values = report.to_json()
    lines = [f"{split}: " + ", ".join(f"{n} {kind}" for kind, n in kinds.items()) for split, kinds in values["counts"].items()]
    lines += summary(values)
    lines += [f"problem: {text}" for text in values["problems"]] + [f"disabled: {text}" for text in values["disabled"]]
    if not values["problems"]:
        lines.append("no problems found")
    console.result(values, lines)
    if report.fatal:
        raise typer.Exit(3)


def run_datasets(console: Console) -> None:
    """What `--dataset` takes."""
    kinds = [catalog.resolve("dataset", name) for name in catalog.DATASETS]
    rows = [{"name": kind.name, "about": kind.about, "layout": kind.arrangement} for kind in kinds]
    if console.as_json:
        return console.result({"datasets": rows}, [])
    console.table("", ["--dataset", "what it reads"], [[row["name"], row["about"]] for row in rows])


def run_methods(name: str | None, console: Console) -> None:
    """All methods, or the fields of one."""
    if name is None:
        kinds = [catalog.resolve("detector", entry) for entry in catalog.DETECTORS]
        rows = [
            {"name": k.name, "sees": sorted(k.sees), "needs": sorted(k.needs), "presets": sorted(k.presets), "paper": k.paper}
            for k in kinds
        ]
        if console.as_json:
            return console.result({"methods": rows}, [])
        cells = [
            [row["name"], ", ".join(row["sees"]), ", ".join(row["needs"]), ", ".join(row["presets"]), row["paper"]]
            for row in rows
        ]
        return console.table("", ["method", "sees", "learns from parts", "presets", "paper"], cells)
    kind = catalog.resolve("detector", name)
    fields = [{"name": f.name, "type": f.type, "default": f.default, "help": f.help} for f in describe(kind)]
    if console.as_json:
        return console.result({"name": name, "paper": kind.paper, "fields": fields, "presets": dict(kind.presets)}, [])
    cells = [[f"--{f['name'].replace('_', '-')}", _text(f["default"]), f["type"], f["help"]] for f in fields]
    console.table(f"{name}: {kind.paper}", ["option of fit", "default", "type", "what it does"], cells)
    for preset, settings in kind.presets.items():
        console.result({}, [f"preset {preset}: " + " ".join(f"--{k} {_text(v)}" for k, v in settings.items())])


def run_doctor(console: Console) -> None:
    """Versions, backbone, cache and a small fit; raises what goes wrong."""
    from amiss.backbones.folders import cache_folder
    from amiss.backbones.runtime import EMBEDDED, load_graph

    core = ("numpy", "scipy", "opencv-python-headless", "onnx", "onnxruntime", "safetensors", "tifffile")
    versions = {name: _version(name) for name in core}
    optional = {name: _version(name) for name in ("pyarrow", "matplotlib", "torch")}
    started = time.perf_counter()
    graph = load_graph(EMBEDDED)
    built = time.perf_counter() - started
    score, seconds = _try_out()
    values: dict[str, Any] = {
        "amiss": amiss.__version__, "python": platform.python_version(), "platform": platform.platform(),
        "cores": os.cpu_count(), "versions": versions, "optional": optional, "cache": str(cache_folder()),
        "cache_writable": _writable(cache_folder()), "backbone_bytes": len(graph),
        "backbone_seconds": round(built, 3), "trial_seconds": round(seconds, 3), "trial_score": score,
    }  # fmt: skip
    lines = [f"amiss {amiss.__version__}, Python {values['python']} ({sys.executable}), {values['cores']} cores"]
    lines += [f"  {name} {version or 'missing'}" for name, version in versions.items()]
    lines += [f"  {name} {version or 'not installed (optional)'}" for name, version in optional.items()]
    lines.append(f"cache {values['cache']}{'' if values['cache_writable'] else ': cannot be written, graphs are built anew'}")
    lines.append(f"backbone {EMBEDDED}: ready in {built:.2f} s; trial fit and judgement {seconds:.2f} s: all well")
    console.result(values, lines)


def _try_out() -> tuple[float, float]:
    """Fit and judge two made pictures."""
    import numpy as np

    started = time.perf_counter()
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(2)]
    samples = [amiss.Sample(id=str(i), image=picture) for i, picture in enumerate(pictures)]
    detector = amiss.detector("patchcore", size=64, bank=50).fit(samples)
    return next(detector.predict(samples)).score, time.perf_counter() - started


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _writable(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return os.access(existing, os.W_OK)


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return ",".join(str(item) for item in value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
