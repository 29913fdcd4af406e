"""Fit and evaluate on every picture folder of the data beside the project; prints the table of docs/results.md.

    python benchmarks/real_data.py [--data ../shared/data] [--only hazelnut,tile] [options of amiss fit ...]

Each fit and each evaluation is a process of its own, so that its seconds and its peak memory are its own. The pothole set keeps
pictures and disparities side by side; its pictures are read through a CSV written here.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pothole_table import write_table

CATEGORIES = {
    "hazelnut": "hazelnut_toy/hazelnut",
    "tile": "magnetic_tile/tile",
    "screw": "mvtec_ad_screw/screw",
    "juice_bottle": "mvtec_loco_juice_bottle/juice_bottle",
    "solar cell": "elpv_solar/cell",
    "pothole (rgb)": "pothole_rgbd/road",
}

HEADER = (
    "| folder | good | image AUROC (95 %) | pixel AUROC | AUPRO | false alarms + reviews | escapes | calibration | "
    "fit s (without / with calibration) | ms per part | peak MB |\n"
)


@dataclass(frozen=True)
class Run:
    """What one amiss command said, how long it took as a whole process, and its largest resident set."""

    said: dict[str, Any]
    seconds: float
    megabytes: float


def amiss(*words: object) -> Run:
    """Run one command and keep its JSON."""
    command = [sys.executable, "-m", "amiss", *(str(word) for word in words), "--json", "--quiet"]
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return Run(json.loads(out), seconds, usage.ru_maxrss / 1024)


def source(data: Path, name: str, folder: Path) -> Path:
    """What to hand to amiss: the category's folder, or a CSV of the pictures where others lie beside them."""
    root = data / CATEGORIES[name]
    if not (root / "train" / "good" / "rgb").is_dir():
        return root
    table = folder / f"{root.name}.csv"
    write_table(root, table)
    return table


def figure(found: dict[str, Any], key: str) -> str:
    return "-" if found[key] is None else f"{found[key]:.3f}"


def short(name: str, given: Path, folder: Path, options: list[str]) -> str:
    """Quality only, for comparing settings: no calibration."""
    model = folder / "model.amiss"
    amiss("fit", given, "--out", model, "--calibration", "none", *options)
    found = amiss("evaluate", model, given).said
    return f"{name}: {figure(found, 'image_auroc')} / {figure(found, 'pixel_auroc')} / {figure(found, 'aupro')}"


def row(name: str, given: Path, folder: Path, options: list[str]) -> str:
    """One line of the table in docs/results.md."""
    model = folder / "model.amiss"
    plain = amiss("fit", given, "--out", model, "--calibration", "none", *options)
    fitted = amiss("fit", given, "--out", model, *options)
    found = amiss("evaluate", model, given).said
    low, high = found["image_auroc_interval"]
    cells = (
        name,
        fitted.said["parts"],
        f"{figure(found, 'image_auroc')} ({low:.3f}-{high:.3f})",
        figure(found, "pixel_auroc"),
        figure(found, "aupro"),
        f"{found['false_alarms']} + {found['reviewed_good']} of {found['n_normal']}",
        f"{found['escapes']} of {found['n_anomalous']}",
        fitted.said["calibration"]["how"],
        f"{plain.seconds:.1f} / {fitted.seconds:.1f}",
        f"{found['ms_per_part']:.0f}",
        f"{fitted.megabytes:.0f}",
    )
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--only", default=",".join(CATEGORIES))
    parser.add_argument("--short", action="store_true", help="image AUROC / pixel AUROC / AUPRO only, for comparing settings")
    arguments, options = parser.parse_known_args()
    if not arguments.data.is_dir():
        sys.exit(f"error: no data at {arguments.data}; give --data FOLDER")
    if arguments.short:
        print("settings:", " ".join(options) or "default", flush=True)
    else:
        print(HEADER + "| --- " * 11 + "|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.only.split(","):
            line = short if arguments.short else row
            print(line(name, source(arguments.data, name, Path(folder)), Path(folder), options), flush=True)


if __name__ == "__main__":
    main()
