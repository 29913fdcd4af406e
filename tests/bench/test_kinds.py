"""Figures by kind of defect, on the made LOCO miniature and on a made folder with several kinds."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import QUICK, Amiss
from tests.data import miniatures

import amiss as front
from amiss.bench.evaluate import Evaluation, evaluate
from amiss.bench.figures import KIND_NAMES, NOT_AVERAGED
from amiss.bench.table import flat, gap, lines, load, markdown
from amiss.data.dataset import Split
from amiss.metrics.ranking import auroc
from amiss.metrics.spro import LIMITS, au_spro
from amiss.model import Model
from amiss.types import Result
from amiss.verdict.calibrate import fit_calibrated

LOGICAL, STRUCTURAL = "logical_anomalies", "structural_anomalies"


@pytest.fixture(scope="module")
def loco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniatures.mvtec_loco(tmp_path_factory.mktemp("loco"))


@pytest.fixture(scope="module")
def split(loco: Path) -> Split:
    return front.dataset("mvtec_loco", loco).split("box", "test")


@pytest.fixture(scope="module")
def model(loco: Path) -> Model:
    train = front.dataset("mvtec_loco", loco).split("box", "train")
    return fit_calibrated(front.detector("patchcore", size=64, bank=100), train.samples, road="none")


@pytest.fixture(scope="module")
def found(model: Model, split: Split) -> Evaluation:
    return evaluate(model, split)


def parts(split: Split, *kinds: str) -> Split:
    return Split(tuple(entry for entry in split.entries if entry.kind in kinds))


def test_each_kind_is_judged_against_the_good_parts_and_the_two_are_averaged(
    found: Evaluation, model: Model, split: Split
) -> None:
    for kind, area in ((LOGICAL, found.au_spro_logical), (STRUCTURAL, found.au_spro_structural)):
        some = parts(split, "good", kind)
        maps = [result.image_map() for result in model.predict(some.samples)]
        wanted = au_spro(maps, [truth.regions or () for truth in some.truths])
        assert found.kinds[kind].au_spro == pytest.approx({f"{limit:g}": wanted[limit] for limit in LIMITS})
        assert area == pytest.approx(wanted[0.05])
        scores = np.array([result.score for result in model.predict(some.samples)])
        assert found.kinds[kind].image_auroc == auroc(scores, np.array([entry.defective for entry in some.entries]))
    assert found.au_spro is not None and list(found.au_spro) == ["0.01", "0.05", "0.1", "0.3", "1"]
    assert (
        found.au_spro_mean
        == found.au_spro["0.05"]
        == pytest.approx(
            (found.au_spro_logical + found.au_spro_structural) / 2  # type: ignore[operator]
        )
    )
    assert (found.kinds[LOGICAL].parts, found.kinds[STRUCTURAL].parts) == (2, 1)


def test_the_mean_over_kinds_is_not_the_figure_of_all_defects_together(split: Split) -> None:
    # good 1, 3; logical 2, 4; structural 0: 3 of 4 pairs, and 0 of 2; pooled 3 of 6
    scores = {"good": iter([1.0, 3.0]), LOGICAL: iter([2.0, 4.0]), STRUCTURAL: iter([0.0])}
    found = evaluate(Scripted([next(scores[entry.kind]) for entry in split.entries]), split)  # type: ignore[arg-type]
    assert (found.image_auroc_logical, found.image_auroc_structural) == (0.75, 0)
    assert (found.image_auroc_mean, found.image_auroc) == (0.375, 0.5)
    low, high = found.intervals["image_auroc_mean"]
    assert 0 <= low < 0.375 < high <= 0.5  # the structural part can never be found, whatever is drawn


def test_every_figure_by_kind_has_an_interval_or_says_why_not(found: Evaluation) -> None:
    for name in KIND_NAMES:
        value = getattr(found, name)
        assert value is not None
        if name in found.intervals:
            low, high = found.intervals[name]
            assert 0 <= low <= value + 1e-6 and value - 1e-6 <= high <= 1
        else:
            assert "every draw gives the same figure" in found.reasons[name]
    assert "au_spro_structural" not in found.intervals  # a single picture bounds nothing
    assert "au_spro_logical" in found.intervals and "au_spro_mean" in found.intervals


def test_a_mean_of_perfect_rankings_has_no_interval_since_every_draw_gives_it_again(split: Split) -> None:
    found = evaluate(Scripted([3.0 if entry.defective else 1.0 for entry in split.entries]), split)  # type: ignore[arg-type]
    assert found.image_auroc_mean == 1 and "image_auroc_mean" not in found.intervals
    assert "do not overlap" in found.reasons["image_auroc_mean"]
    assert found.intervals["image_auroc_logical"] == (pytest.approx(0.025**0.5), 1)  # two good parts against two


def test_no_picture_is_judged_twice(split: Split) -> None:
    scripted = Scripted([1.0, 2, 3, 4, 5])
    evaluate(scripted, split)  # type: ignore[arg-type]
    assert scripted.judged == Counter(entry.id for entry in split.entries)


def test_a_kind_that_is_absent_has_no_figure_and_neither_has_the_mean(model: Model, split: Split) -> None:
    found = evaluate(model, parts(split, "good", LOGICAL))
    assert found.image_auroc_logical is not None and found.au_spro_logical is not None
    for name in ("image_auroc_structural", "image_auroc_mean", "au_spro_structural", "au_spro_mean"):
        assert getattr(found, name) is None and name not in found.intervals
        assert found.reasons[name] == f"no {STRUCTURAL} part"
    assert found.au_spro is None and found.kinds[STRUCTURAL].parts == 0 and "au_spro_logical" in found.intervals


def test_a_missing_mask_leaves_the_other_kind_its_figures(model: Model, split: Split) -> None:
    entries = tuple(replace(entry, mask=None) if entry.kind == STRUCTURAL else entry for entry in split.entries)
    found = evaluate(model, Split(entries))
    assert found.au_spro_structural is found.au_spro_mean is found.aupro is None
    assert found.reasons["au_spro_mean"] == f"1 of 1 {STRUCTURAL} pictures have no mask"
    assert found.au_spro_logical is not None and found.image_auroc_mean is not None


def test_a_method_without_maps_still_ranks_the_kinds(split: Split) -> None:
    found = evaluate(Scripted([1.0, 2, 3, 4, 5], maps=False), split)  # type: ignore[arg-type]
    assert found.image_auroc_mean is not None and found.au_spro_mean is None
    assert {found.reasons[name] for name in KIND_NAMES if "spro" in name} == {"the method marks no place"}


def test_without_good_parts_kinds_cannot_be_ranked_but_their_maps_are_measured(model: Model, split: Split) -> None:
    found = evaluate(model, parts(split, LOGICAL, STRUCTURAL))
    assert found.image_auroc_logical is None and "good" in found.reasons["image_auroc_mean"]
    assert found.au_spro_mean is not None


def test_other_data_have_the_kinds_without_their_mean(model: Model, tmp_path: Path) -> None:
    dataset = front.dataset("mvtec_ad", miniatures.mvtec_ad(tmp_path))
    found = evaluate(model, dataset.split("screw", "test"))
    assert {kind: one.parts for kind, one in found.kinds.items()} == {"cut": 2, "hole": 2}
    for kind in ("cut", "hole"):
        keep = [one for one in found.judged if not one.defective or one.kind == kind]
        wanted = auroc([one.score for one in keep], [one.defective for one in keep])
        assert found.kinds[kind].image_auroc == wanted and found.kinds[kind].au_spro is None
    assert {found.reasons[name] for name in KIND_NAMES} == {NOT_AVERAGED} and found.au_spro is None


def test_the_command_line_prints_kinds_mean_and_all_limits(amiss: Amiss, loco: Path, tmp_path: Path) -> None:
    where = (loco, "--dataset", "mvtec_loco", "--category", "box")
    assert amiss("fit", *where, "--out", tmp_path / "m.amiss", *QUICK, "--quiet").code == 0
    said = amiss("evaluate", tmp_path / "m.amiss", *where)
    values = amiss("evaluate", tmp_path / "m.amiss", *where, "--json").json
    assert f"AU-sPRO, their mean     {values['au_spro_mean']:.4f} (95 %: " in said.out
    assert f"{values['au_spro']['0.3']:.4f} up to 0.3" in said.out
    logical = values["kinds"][LOGICAL]
    assert f"image AUROC by kind: {LOGICAL} {logical['image_auroc']:.4f} (n = 2)" in said.out


def test_the_command_line_keeps_quiet_of_a_mean_that_other_data_do_not_have(
    amiss: Amiss, model_file: Path, category: Path
) -> None:
    said = amiss("evaluate", model_file, category).out
    assert "image AUROC by kind: missing 1.0000 (n = 1), scratch" in said and "AUPRO        0." in said
    assert "mean" not in said and "sPRO" not in said


@pytest.fixture(scope="module")
def bench(loco: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import subprocess
    import sys

    out = tmp_path_factory.mktemp("bench")
    (out / "plan.toml").write_text(
        'calibration = "none"\n[[methods]]\nname = "patchcore"\nlabel = "<b>"\nfields = { size = 64, bank = 30 }\n'
        f'[[data]]\nname = "mvtec_loco"\nroot = "{loco}"\ncategories = ["box"]\n'
    )
    command = [sys.executable, "-m", "amiss", "bench", str(out / "plan.toml"), "--out", str(out / "runs")]
    said = subprocess.run(command, timeout=300, capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    (out / "said.txt").write_text(said.stdout)
    return out


def test_a_bench_writes_kinds_to_record_tables_and_page(bench: Path) -> None:
    records = load(bench / "runs")
    row = records[0]["rows"][0]
    assert row["au_spro"]["0.05"] == row["au_spro_mean"] and row["kinds"][LOGICAL]["au_spro"]["0.01"] <= 1
    table = flat(records)[0]
    assert table["au_spro_mean"] == row["au_spro_mean"] and table["au_spro_mean_low"] == row["intervals"]["au_spro_mean"][0]
    said = f"{row['au_spro_mean']:.3f}"
    text, page = (bench / "runs/results.md").read_text(), (bench / "runs/results.html").read_text()
    for name in KIND_NAMES.values():
        assert name in text and name in page
    assert said in text and said in page and "&lt;b&gt;</th>" in page and "mean of kinds" in (bench / "said.txt").read_text()


def test_records_without_figures_by_kind_have_no_table_of_them(bench: Path) -> None:
    record: dict[str, Any] = load(bench / "runs")[0]
    for name in KIND_NAMES:
        del record["rows"][0][name]  # as an older version wrote it
    assert "AU-sPRO" not in markdown(lines([record])) and flat([record])[0]["au_spro_mean"] is None


def test_a_published_figure_by_kind_stands_beside_ours(bench: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from amiss.bench import papers

    theirs = papers.Published(
        "patchcore", "mvtec_loco", "full", "a test", "paper", True, "some", "some", 1, {"au_spro_mean": 0.25}
    )
    monkeypatch.setattr(papers, "papers", lambda: (theirs,))
    found = lines(load(bench / "runs"))
    assert f"paper 0.250, gap {gap(found[0], 'au_spro_mean')} |" in markdown(found) and gap(found[0], "au_spro_mean") != "-"


class Scripted:
    """A model that says given scores, and marks the upper left or nothing."""

    calibration, origin = None, {"digests": ()}

    def __init__(self, scores: list[float], *, maps: bool = True) -> None:
        self._scores, self._maps, self.judged = iter(scores), maps, Counter[str]()

    def predict(self, samples: Any, *, workdir: Any = None) -> Any:
        from amiss.spread import GridSpread

        for sample in samples:
            self.judged[sample.id] += 1
            grid = np.arange(20, dtype=np.float32)[::-1].reshape(4, 5) if self._maps else None
            yield Result(
                id=sample.id, score=next(self._scores), map=grid, spread=GridSpread(sample.image.shape[:2], (16, 20), 0)
            )
