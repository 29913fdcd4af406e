"""What is MuSc-V2's own beside its equations, which tests/papers check; the command line takes an unlabelled folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.conftest import Amiss
from tests.methods.separation import bad, good, judged

from amiss.errors import BadField, TooFewSamples
from amiss.methods.musc_v2 import MuScV2
from amiss.metrics.ranking import auroc
from amiss.verdict.calibrate import fit_calibrated

QUICK = ("--method", "musc_v2", "--size", "96", "--grid", "8")


def quick(**fields: Any) -> MuScV2:
    return MuScV2(**{"size": 96, "grid": 8, **fields})


def ranked(detector: MuScV2, kind: str = "texture") -> float:
    """AUROC of a mixed pool that judges itself: 24 good parts of two kinds, 4 defective ones of one."""
    pool = [*good("texture", 12), *good("object", 12), *bad(kind, 4)]
    return auroc(np.array(judged(detector.fit(pool), pool)), np.arange(28) >= 24)


def test_finds_defects_in_a_pool_nobody_labelled_and_beats_the_twin_that_averages_over_all_others() -> None:
    whole, lowest = ranked(quick(share=1.0, windows=())), ranked(quick(windows=()))
    assert lowest >= 0.95 and lowest >= whole + 0.05


def test_a_pool_of_one_is_refused() -> None:
    with pytest.raises(TooFewSamples, match="musc_v2 needs 2"):
        quick().fit(good("texture", 1))


def test_an_unlabelled_pool_is_never_calibrated_on() -> None:
    assert fit_calibrated(quick(), good("texture", 3)).calibration is None
    with pytest.raises(BadField, match="amiss calibrate --good"):
        fit_calibrated(quick(), good("texture", 3), road="cross")


@pytest.fixture
def pile(tmp_path: Path) -> Path:
    """An unlabelled folder whose subfolders have telling names."""
    folder = tmp_path / "pile"
    for name, samples in (("monday", good("texture", 6)), ("reject", bad("texture", 2))):
        (folder / name).mkdir(parents=True)
        for index, sample in enumerate(samples):
            assert sample.image is not None
            (folder / name / f"{index}.png").write_bytes(cv2.imencode(".png", sample.image[..., ::-1])[1].tobytes())
    return folder


def test_fit_takes_an_unlabelled_folder_as_its_pool_and_predict_ranks_it(amiss: Amiss, pile: Path, tmp_path: Path) -> None:
    model = tmp_path / "pile.amiss"
    fitted = amiss("fit", pile, "--out", model, *QUICK)
    assert fitted.code == 0, fitted.err
    assert "8 unlabelled parts" in fitted.out and "some of the pool may be defective" in fitted.err
    said = amiss("predict", model, pile, "--out", tmp_path / "out", "--json")
    assert said.code == 0 and said.json["verdicts"] is None
    lines = (tmp_path / "out" / "results.csv").read_text().splitlines()[1:]
    worst = sorted(lines, key=lambda line: -float(line.split(",")[1]))[:2]
    assert all("reject" in line for line in worst)


def test_a_category_gives_its_test_pictures_as_the_pool(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    fitted = amiss("fit", category, "--out", tmp_path / "m.amiss", *QUICK, "--json")
    assert fitted.json["parts"] == 10 and fitted.json["calibration"] is None
    found = amiss("evaluate", tmp_path / "m.amiss", category, "--json")
    assert found.code == 0 and found.json["image_auroc"] >= 0.7
    assert "flatter" not in found.err
    refused = amiss("fit", category, "--out", tmp_path / "n.amiss", *QUICK, "--calibration", "split")
    assert refused.code == 2 and "cannot calibrate" in refused.err and not (tmp_path / "n.amiss").exists()
