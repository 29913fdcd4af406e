"""What is particular to MVTec 3D-AD as clouds: grids, masks over them, and its likeness to 3D-ADAM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss.data.adam3d import Adam3d
from amiss.data.check import check
from amiss.data.mvtec_3d import Mvtec3d
from amiss.errors import BadLayout
from tests.conftest import Amiss
from tests.data import files, miniatures, miniatures_3d
from tests.data.test_organised import tiff


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return miniatures_3d.mvtec_3d(tmp_path)


def test_a_mask_marks_the_points_of_its_pixels_and_none_that_were_not_measured(root: Path) -> None:
    entry = next(entry for entry in Mvtec3d(root).split("bagel", "test").entries if entry.kind == "hole")
    grid, marked = miniatures_3d.scan(401, bump=True) if entry.path.stem == "001" else miniatures_3d.scan(400, bump=True)
    valid = (grid != 0).any(axis=2)
    files.written(entry.mask, files.encoded(np.full(grid.shape[:2], 255, np.uint8), ".png"))  # type: ignore[arg-type]
    whole, sample = entry.truth(), entry.sample()
    assert whole.point_mask is not None and whole.point_mask.all() and len(whole.point_mask) == valid.sum() < valid.size
    files.written(entry.mask, files.encoded(marked * np.uint8(255), ".png"))  # type: ignore[arg-type]
    truth = entry.truth()
    np.testing.assert_array_equal(truth.mask, marked)
    np.testing.assert_array_equal(truth.point_mask, marked[valid])
    assert sample.points is not None and sample.image is None and sample.shape == miniatures_3d.GRID
    np.testing.assert_array_equal(sample.points[truth.point_mask], grid[valid & marked])


def test_good_validation_scans_are_for_calibration_and_good_test_scans_have_no_marks(root: Path) -> None:
    dataset = Mvtec3d(root)
    assert [entry.path.name for entry in dataset.split("bagel", "calibration").entries] == ["000.tiff", "001.tiff", "002.tiff"]
    good = [truth for truth in dataset.split("bagel", "test").truths if not truth.label]
    assert len(good) == 2 and all(truth.mask is None and truth.point_mask is None for truth in good)


def test_a_scan_within_0_and_1_is_a_cloud_all_the_same(root: Path) -> None:
    """As a plain file it would be taken for a picture."""
    grid = np.abs(miniatures_3d.scan(0, bump=False)[0])
    files.written(root / "bagel/train/good/xyz/000.tiff", tiff(grid))
    assert next(iter(Mvtec3d(root).split("bagel", "train").samples)).sees == {"points"}


def test_a_mask_of_another_size_than_its_grid_is_an_error_with_both(root: Path) -> None:
    mask = files.written(root / "bagel/test/hole/gt/001.png", files.encoded(np.full((10, 12), 255, np.uint8), ".png"))
    dataset = Mvtec3d(root)
    scan = root / "bagel/test/hole/xyz/001.tiff"
    with pytest.raises(BadLayout) as caught:
        list(dataset.split("bagel", "test").truths)
    said = f"{mask}: the mask is 12 x 10, and {scan} has a grid of 40 x 32; take both from the data set again"
    assert str(caught.value) == said
    assert check(dataset, "bagel").unreadable_masks == {str(mask): said}


def test_masks_without_a_scan_are_orphans(root: Path) -> None:
    (root / "bagel/test/hole/xyz/001.tiff").unlink()
    assert Mvtec3d(root).orphans("bagel") == (root / "bagel/test/hole/gt/001.png",)


def test_published_names_need_no_masks_and_other_names_do(root: Path) -> None:
    for place in ("good", "combined", "hole"):
        (root / "bagel/test" / place / "gt").rename(root / "bagel/test" / place / "other")
    assert Mvtec3d.is_category(root / "bagel")
    assert not Mvtec3d.is_category((root / "bagel").rename(root / "gearbox"))


def test_3d_adam_and_mvtec_3d_are_told_apart_by_their_masks(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = miniatures.adam3d(tmp_path_factory.mktemp("adam"))
    with pytest.raises(BadLayout, match="it looks like adam3d:"):
        Mvtec3d(other)
    with pytest.raises(BadLayout, match="it looks like mvtec_3d:"):
        Adam3d(root)


@pytest.mark.parametrize("name", ["folder", "mvtec_ad"])
def test_readers_of_pictures_say_who_reads_the_clouds(name: str, root: Path) -> None:
    with pytest.raises(BadLayout, match=r"keeps rgb/ beside xyz/.*are read by the data set mvtec_3d \(--dataset mvtec_3d\)"):
        amiss.dataset(name, root / "bagel").split("bagel", "train")


def test_check_fit_and_evaluate_by_name(root: Path, amiss: Amiss, tmp_path: Path) -> None:
    data, model = (root, "--dataset", "mvtec_3d", "--category", "cable_gland"), tmp_path / "m.amiss"
    looked = amiss("data", "check", *data, "--json").json
    assert looked["counts"]["test"] == {"good": 2, "combined": 1, "hole": 2} and looked["problems"] == []
    fitted = amiss("fit", *data, "--out", model, "--bank=200", "--most=900", "--json")
    assert fitted.code == 0, fitted.err
    found = amiss("evaluate", model, *data, "--json")
    assert found.code == 0, found.err
    values = found.json
    assert (values["view"], values["n_normal"], values["n_anomalous"]) == ("cloud", 2, 3)
    assert values["image_auroc"] is not None and values["point_auroc"] > 0.7 and values["point_aupro"] is not None
