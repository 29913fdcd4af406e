"""Point figures of made clouds, by a stub and by the real PatchCore, through evaluate and the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import Amiss
from tests.data import made_clouds
from tests.data.made_clouds import CloudEntry, MadeClouds

import amiss as front
from amiss import catalog
from amiss.bench.evaluate import Evaluation, evaluate
from amiss.bench.places import OUTSIDE, PIXELS, POINTS, light
from amiss.data.dataset import Split
from amiss.errors import BadLayout
from amiss.metrics.boxes import Matches
from amiss.metrics.points import boxes_around, mean_of_clouds, point_aupro
from amiss.metrics.ranking import auroc, average_precision
from amiss.model import Model
from amiss.spread import GridSpread, PointSpread
from amiss.types import Box, Result, Sample, Truth
from amiss.verdict.calibrate import fit_calibrated

QUICK = {"bank": 200, "most": 3000, "scales": (20, 40)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_clouds.make(tmp_path_factory.mktemp("clouds") / "plate")


@pytest.fixture
def dataset(root: Path, monkeypatch: pytest.MonkeyPatch) -> MadeClouds:
    monkeypatch.setitem(catalog.DATASETS, "made_clouds", "tests.data.made_clouds:MadeClouds")
    return MadeClouds(root)


@pytest.fixture(scope="module")
def split(root: Path) -> Split:
    return MadeClouds(root).split("plate", "test")


@pytest.fixture(scope="module")
def model(root: Path) -> Model:
    return fit_calibrated(front.detector("patchcore", **QUICK), MadeClouds(root).split("plate", "train").samples)


@pytest.fixture(scope="module")
def found(model: Model, split: Split) -> Evaluation:
    return evaluate(model, split)


class Stub:
    """A model that looks at every n-th point: its map is noise, and more in marked places; boxes where it is given some."""

    calibration, origin = None, {"digests": ()}

    def __init__(self, truths: Sequence[Truth], *, boxes: Sequence[tuple[Box, ...]] = (), maps: bool = True) -> None:
        self._truths, self._boxes, self._maps = iter(truths), iter(boxes), maps

    def predict(self, samples: Any, *, workdir: Any = None) -> Any:
        for sample in samples:
            rng, truth = np.random.default_rng(len(sample.points)), next(self._truths)
            values = rng.random(len(sample.points), np.float32)
            if truth.point_mask is not None:
                values = values + 0.4 * truth.point_mask
            some = slice(0, None, 3)
            yield Result(
                id=sample.id, score=float(values[some].max()), map=values[some] if self._maps else None,
                spread=PointSpread(sample.points[some], sample.points), boxes=next(self._boxes, ()),
            )  # fmt: skip


def stubbed(split: Split, **rest: Any) -> Evaluation:
    return evaluate(Stub(list(split.truths), **rest), split)  # type: ignore[arg-type]


def point_truths(split: Split) -> list[tuple[Any, Any]]:
    return [
        (np.zeros(len(sample.points), bool) if truth.point_mask is None else truth.point_mask, sample.points)  # type: ignore[arg-type]
        for sample, truth in zip(split.samples, split.truths, strict=True)
    ]


# -- evaluate ----------------------------------------------------------------------------------------------------------


def test_point_figures_are_those_of_the_metrics_over_every_point_of_the_files(split: Split) -> None:
    found = stubbed(split)
    maps = [result.point_map() for result in Stub(list(split.truths)).predict(split.samples)]
    truths = point_truths(split)
    assert [len(scores) for scores in maps] == [1500] * 6  # not the 500 places that were looked at
    scores, labels = np.concatenate(maps), np.concatenate([mask for mask, _ in truths])
    assert found.point_auroc == pytest.approx(auroc(scores, labels), abs=1e-12)
    assert found.point_ap == pytest.approx(average_precision(scores, labels), abs=1e-12)
    assert found.point_aupro == pytest.approx(point_aupro(maps, truths), abs=1e-12)
    means = mean_of_clouds(maps, truths)
    assert (found.point_auroc_mean_of_clouds, found.point_ap_mean_of_clouds) == pytest.approx(means, abs=1e-12)
    assert found.view == "cloud" and 0.5 < found.point_auroc < 1


def test_every_point_figure_has_an_interval_around_it(split: Split) -> None:
    found = stubbed(split)
    for name in (*POINTS.names, *POINTS.means):
        low, high = found.intervals[name]
        assert 0 <= low <= getattr(found, name) <= high <= 1 and low < high


def test_figures_of_pictures_do_not_apply_to_clouds_and_the_other_way_round(
    split: Split, model_file: Path, category: Path
) -> None:
    clouds = stubbed(split)
    folder = front.dataset("folder", category)
    pictures = evaluate(front.load(model_file), folder.split(folder.only(), "test"))
    assert {clouds.reasons[name] for name in PIXELS.names} == {"the parts are no pictures"}
    assert {pictures.reasons[name] for name in (*POINTS.names, *POINTS.means)} == {"the parts are no clouds"}
    assert clouds.pixel_auroc is clouds.aupro is pictures.point_auroc is pictures.point_aupro is None
    assert pictures.view == "picture" and pictures.pixel_auroc is not None


def test_patchcore_on_clouds_has_all_figures_verdicts_and_times(found: Evaluation) -> None:
    assert found.image_auroc == 1.0 and found.point_auroc is not None and found.point_auroc > 0.9
    assert found.point_aupro is not None and found.point_aupro > 0.6
    assert found.false_alarms is not None and found.escapes is not None and found.ms_per_part > 0
    assert found.kinds["bump"].parts == 3 and found.kinds["bump"].image_auroc == 1.0
    assert found.pro is not None and found.seen_in_fit == 0 and (found.n_normal, found.n_anomalous) == (3, 3)


def test_one_cloud_without_a_mask_disables_the_point_figures(split: Split) -> None:
    first = next(entry for entry in split.entries if entry.defective)
    entries = tuple(replace(entry, mask=None) if entry is first else entry for entry in split.entries)
    found = stubbed(Split(entries))
    assert found.point_auroc is found.point_aupro is found.point_auroc_mean_of_clouds is None
    assert found.reasons["point_auroc_mean_of_clouds"] == "1 of 3 defective clouds have no mask"
    assert found.image_auroc is not None


def test_a_method_that_marks_no_place_says_so_of_points(split: Split) -> None:
    found = stubbed(split, maps=False)
    assert found.view == "cloud" and found.reasons["point_auroc"] == "the method marks no place"


class Mislabelled(CloudEntry):
    def truth(self) -> Truth:
        return Truth(label=True, kind="bump", point_mask=np.ones(7, bool))


class OverPixels(CloudEntry):
    def truth(self) -> Truth:
        return Truth(label=True, kind="bump", mask=np.ones((4, 5), bool))


class Told(CloudEntry):
    """A cloud of a data set whose truths come from elsewhere than a mask file."""

    @property
    def marked(self) -> bool:
        return True

    def truth(self) -> Truth:
        return Truth(label=True, kind="bump", point_mask=np.load(self.path.with_suffix(".marks")))


def with_first(split: Split, kind: type[CloudEntry], **rest: Any) -> Split:
    first = next(entry for entry in split.entries if entry.defective)
    other = kind(**{**vars(first), **rest})
    return Split(tuple(other if entry is first else entry for entry in split.entries))


def test_a_truth_of_another_number_of_points_is_an_error_with_both_counts(model: Model, split: Split) -> None:
    with pytest.raises(BadLayout, match=r"000.marks: it labels 7 points, its cloud has 1500"):
        evaluate(model, with_first(split, Mislabelled))


def test_a_truth_over_pixels_leaves_no_figure_over_points(model: Model, split: Split) -> None:
    found = evaluate(model, with_first(split, OverPixels))
    assert found.point_auroc is None and "000.npy marks no points, as its map does" in found.reasons["point_auroc"]


def test_a_data_set_without_mask_files_may_say_that_it_has_places(model: Model, split: Split, found: Evaluation) -> None:
    assert evaluate(model, with_first(split, Told, mask=None)).point_auroc == found.point_auroc


def test_results_that_are_kept_hold_neither_points_nor_evidence(model: Model, split: Split) -> None:
    result = next(model.predict([split.entries[0].sample()]))
    kept = light(result)
    assert isinstance(result.spread, PointSpread) and result.spread.points.size and result.evidence
    assert isinstance(kept.spread, PointSpread) and kept.spread.points.size == 0 and not kept.evidence
    assert kept.map is result.map and kept.spread.places is result.spread.places
    grid = Result(id="a", score=1.0, map=np.ones((2, 2)), spread=GridSpread((4, 4), (4, 4), 0))
    assert light(grid).spread is grid.spread


# -- boxes -------------------------------------------------------------------------------------------------------------


def boxed(sample: Sample, truth: Truth, score: float) -> tuple[Box, ...]:
    """A box around the marks, and a false one."""
    false = Box(low=(90.0, 90.0, 90.0), high=(91.0, 91.0, 91.0), score=0.5)
    if truth.point_mask is None:
        return (false,)
    marked = sample.points[truth.point_mask]  # type: ignore[index]
    return (Box(low=tuple(marked.min(axis=0).tolist()), high=tuple(marked.max(axis=0).tolist()), score=score), false)


def test_boxes_are_held_against_boxes_around_the_marks(split: Split) -> None:
    scores = iter([1.0, 0.9, 0.4, 1.0, 1.0, 1.0])
    boxes = [boxed(sample, truth, next(scores)) for sample, truth in zip(split.samples, split.truths, strict=True)]
    found = stubbed(split, boxes=boxes)
    truths = [boxes_around(points, mask) for mask, points in point_truths(split)]
    assert found.box_ap == Matches.by_overlap(boxes, truths).average_precision()
    # bumps come first: 1.0 and 0.9 before any false box; 0.4 only after every good part has one
    assert found.box_recall == pytest.approx(2 / 3) and "box_recall" in found.intervals


class Boxed(CloudEntry):
    def truth(self) -> Truth:
        return Truth(label=True, kind="bump", boxes=(Box(low=(90.0, 90.0, 90.0), high=(91.0, 91.0, 91.0)),))


def test_boxes_that_a_data_set_brings_come_before_those_around_marks(split: Split) -> None:
    entries = tuple(Boxed(**vars(entry)) if entry.defective else entry for entry in split.entries)
    boxes = [(Box(low=(90.0, 90.0, 90.0), high=(91.0, 91.0, 91.0), score=1.0),) if e.defective else () for e in entries]
    found = stubbed(Split(entries), boxes=boxes)
    assert (found.box_ap, found.box_recall) == (1.0, 1.0) and "no interval" in found.reasons["box_ap"]
    assert found.point_auroc is None and "marks no points" in found.reasons["point_auroc"]


class Unboxed(CloudEntry):
    def truth(self) -> Truth:
        return Truth(label=True, kind="bump")


def test_a_defective_part_without_a_box_disables_the_box_figures(split: Split) -> None:
    boxes = [boxed(sample, truth, 1.0) for sample, truth in zip(split.samples, split.truths, strict=True)]
    found = stubbed(with_first(split, Unboxed), boxes=boxes)
    assert found.box_ap is None and found.reasons["box_ap"] == "1 of 3 defective parts have no box"


def test_methods_without_boxes_have_no_box_figures_and_nobody_is_told(found: Evaluation) -> None:
    assert found.box_ap is found.box_recall is None and found.reasons["box_ap"] in OUTSIDE


# -- the command line --------------------------------------------------------------------------------------------------


def test_the_command_line_names_what_clouds_have_and_nothing_else(
    amiss: Amiss, model: Model, root: Path, dataset: MadeClouds, tmp_path: Path
) -> None:
    model.save(tmp_path / "plate.amiss")
    words = ("evaluate", tmp_path / "plate.amiss", root, "--dataset", "made_clouds")
    said = amiss(*words)
    assert said.code == 0, said.err
    assert "object AUROC" in said.out and "point AUROC, mean of clouds" in said.out and "point AUPRO" in said.out
    assert "image" not in said.out and "pixel" not in said.out and "box" not in said.out and "picture" not in said.out
    values = amiss(*words, "--json").json
    assert values["view"] == "cloud" and values["point_auroc"] > 0.9 and values["pixel_auroc"] is None
