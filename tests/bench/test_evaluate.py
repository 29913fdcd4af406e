from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss.bench.evaluate import evaluate
from amiss.data import toys
from amiss.data.dataset import Split
from amiss.errors import BadField, BadLayout
from amiss.metrics.ranking import auroc
from amiss.metrics.regions import aupro, pixel_auroc


def test_figures_are_those_of_the_metrics_on_what_the_model_says(model_file: Path, category: Path) -> None:
    model, dataset = amiss.load(model_file), amiss.dataset("folder", category)
    split = dataset.split(dataset.only(), "test")
    found = evaluate(model, split)
    results, truths = list(model.predict(split.samples)), list(split.truths)
    labels = np.array([truth.label for truth in truths])
    assert found.image_auroc == pytest.approx(auroc(np.array([r.score for r in results]), labels))
    maps = [r.image_map() for r in results]
    masks = [np.zeros(m.shape, bool) if t.mask is None else t.mask for m, t in zip(maps, truths, strict=True)]
    assert found.pixel_auroc == pytest.approx(pixel_auroc(maps, masks), abs=1e-9)
    assert found.aupro == pytest.approx(aupro(maps, masks, limit=0.3), abs=1e-9)
    assert (found.n_normal, found.n_anomalous, found.seen_in_fit) == (5, 5, 0)
    assert found.labels == tuple(labels)


def test_without_masks_pixel_figures_are_null_with_a_reason(model_file: Path, tmp_path: Path) -> None:
    root = toys.make_folder(tmp_path / "disc", seed=3, kind="object", train=1, good=3, bad=3, masks=False)
    dataset = amiss.dataset("folder", root)
    found = evaluate(amiss.load(model_file), dataset.split(dataset.only(), "test"))
    assert found.image_auroc is not None
    assert found.pixel_auroc is None and found.aupro is None
    assert "3 of 3 defective pictures have no mask" in found.reasons["aupro"]


def test_one_missing_mask_disables_the_pixel_figures(model_file: Path, tmp_path: Path) -> None:
    root = toys.make_folder(tmp_path / "disc", seed=3, kind="object", train=1, good=2, bad=3)
    next((root / "ground_truth").rglob("*.png")).unlink()
    dataset = amiss.dataset("folder", root)
    found = evaluate(amiss.load(model_file), dataset.split(dataset.only(), "test"))
    assert found.pixel_auroc is None and "1 of 3" in found.reasons["pixel_auroc"]


def test_good_parts_only_leave_no_ranking_figure_but_count_false_alarms(model_file: Path, tmp_path: Path) -> None:
    root = toys.make_folder(tmp_path / "disc", seed=3, kind="object", train=1, good=3, bad=0)
    dataset = amiss.dataset("folder", root)
    found = evaluate(amiss.load(model_file), dataset.split(dataset.only(), "test"))
    assert found.image_auroc is None and found.image_auroc_interval is None and "image_auroc" in found.reasons
    assert found.false_alarms is not None and found.escapes == 0


def test_an_empty_split_is_refused(model_file: Path) -> None:
    with pytest.raises(BadLayout, match="test"):
        evaluate(amiss.load(model_file), Split(()))


def test_a_mask_of_another_size_is_named(model_file: Path, tmp_path: Path) -> None:
    import cv2

    root = toys.make_folder(tmp_path / "disc", seed=3, kind="object", train=1, good=1, bad=2)
    mask = sorted((root / "ground_truth").rglob("*.png"))[0]
    mask.write_bytes(cv2.imencode(".png", np.full((10, 12), 255, np.uint8))[1].tobytes())
    dataset = amiss.dataset("folder", root)
    with pytest.raises(BadLayout, match=f"{mask.name}.*12 x 10"):
        evaluate(amiss.load(model_file), dataset.split(dataset.only(), "test"))


def test_an_impossible_limit_is_refused_before_judging(model_file: Path, category: Path) -> None:
    dataset = amiss.dataset("folder", category)
    with pytest.raises(BadField, match="limit"):
        evaluate(amiss.load(model_file), dataset.split(dataset.only(), "test"), limit=7)
