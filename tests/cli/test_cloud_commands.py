"""The command line on point clouds: the main job from scans to a report."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from tests.conftest import Amiss

from amiss.data.ply_writer import write_ply


def lump(path: Path, seed: int, *, dented: bool = False) -> None:
    """A scan of a closed part in any pose, perhaps with a dent."""
    rng = np.random.default_rng(seed)
    points = rng.standard_normal((1500, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    if dented:
        points *= 1 - 0.3 * np.exp(-(((points - (0.0, 0.0, 1.0)) ** 2).sum(axis=1) / 0.15**2))[:, None]
    points *= (1.0, 0.7, 0.5)
    turn, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_ply(path, (points @ (turn * np.sign(np.linalg.det(turn)))).astype(np.float32))


def test_fit_and_predict_on_scans_leave_a_table_a_report_and_pages(amiss: Amiss, tmp_path: Path) -> None:
    for number in range(5):
        lump(tmp_path / "good" / f"{number}.ply", number)
    lump(tmp_path / "new" / "fine.ply", 10)
    lump(tmp_path / "new" / "dented.ply", 11, dented=True)
    model, out = tmp_path / "lump.amiss", tmp_path / "out"
    fitted = amiss("fit", tmp_path / "good", "--out", model, "--bank", "300", "--json")
    assert fitted.code == 0, fitted.err

    judged = amiss("predict", model, tmp_path / "new", "--out", out, "--viewers", "1", "--json")
    assert judged.code == 0, judged.err
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        scores = {Path(row["path"]).stem: float(row["score"]) for row in csv.DictReader(file)}
    assert scores["dented"] > scores["fine"]
    assert {path.name for path in (out / "overlays").iterdir()} == {
        "00000_dented.jpg", "00000_dented.ply", "00000_dented.html", "00001_fine.jpg", "00001_fine.ply",
    }  # fmt: skip
    assert "./overlays/00000_dented.html" in (out / "report.html").read_text(encoding="utf-8")


def test_the_clouds_that_an_earlier_run_left_are_not_judged(tmp_path: Path) -> None:
    from amiss.cli.judging import expand

    lump(tmp_path / "part.ply", 0)
    lump(tmp_path / "out" / "overlays" / "00000_part.ply", 0)
    assert expand([str(tmp_path)], tmp_path / "out") == [tmp_path / "part.ply"]
