"""`amiss data check` on point clouds: what it tells of them, and each way in which one can be odd."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from amiss.data.check import DataReport, check
from amiss.data.folder import Folder
from tests.conftest import Amiss
from tests.data import files
from tests.data.cloud_files import bowl, normals_of, pcd, pcd_header, ply_cloud, text
from tests.data.test_organised import GRID, tiff

LABELS = np.arange(60) % 4 == 0


def report(root: Path) -> DataReport:
    dataset = Folder(root)
    return check(dataset, dataset.only())


def said(texts: tuple[str, ...], words: str) -> str:
    """The one sentence with these words."""
    (found,) = [sentence for sentence in texts if words in sentence]
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Nine good clouds to learn from, one good and one dented to judge, all different."""
    folder = tmp_path / "part"
    for number in range(9):
        files.written(folder / f"train/good/{number}.pcd", pcd(bowl(60 + number, seed=number)))
    files.written(folder / "test/good/0.pcd", pcd(bowl(60, seed=20)))
    files.written(folder / "test/dent/0.pcd", pcd(bowl(60, seed=21)))
    files.written(folder / "ground_truth/dent/0.txt", text(np.column_stack([bowl(60, seed=21), LABELS])))
    return folder


def test_sound_clouds_have_no_problems_and_are_described(root: Path) -> None:
    found = report(root)
    assert found.problems == () and not found.fatal and found.unreadable == {}
    assert found.counts == {"train": {"good": 9}, "test": {"good": 1, "dent": 1}}
    assert found.points == {"fewest": 60, "median": 63, "most": 68}
    assert 70 < found.extents["smallest"] <= found.extents["median"] <= found.extents["largest"] < 90
    assert (found.normals, found.flat, found.sizes, found.depths) == (0, (), {}, {})
    assert json.loads(json.dumps(found.to_json()))["points"]["most"] == 68


def test_copies_are_found_by_content_whatever_their_format(root: Path) -> None:
    points = bowl(63, seed=3)
    files.written(root / "train/good/copy.ply", ply_cloud(points))
    files.written(root / "test/good/copy.xyz", text(points))
    found = report(root)
    group = tuple(str(root / name) for name in ("train/good/3.pcd", "train/good/copy.ply", "test/good/copy.xyz"))
    assert found.duplicates == (group,)
    assert said(found.problems, "2 clouds identical to another one")
    assert said(found.problems, "1 cloud in more than one of train, test: figures flatter")


def test_another_unit_is_named_and_half_a_part_is_not(root: Path) -> None:
    metres, half = bowl(60, seed=30) / np.float32(1000), bowl(60, seed=31)
    files.written(root / "train/good/metres.pcd", pcd(metres))
    files.written(root / "train/good/half.pcd", pcd(half[half[:, 0] < 5]))
    found = report(root)
    assert list(found.odd_extents) == [str(root / "train/good/metres.pcd")]
    assert found.odd_extents[str(root / "train/good/metres.pcd")].endswith("times smaller than most")
    assert "1 cloud of another size than most, by more than 3 times, as in another unit; first: " in said(
        found.problems, "size"
    )


def test_few_points_and_lost_coordinates_are_named(root: Path) -> None:
    files.written(root / "train/good/few.pcd", pcd(bowl(5, seed=30)))
    files.written(root / "train/good/flat.pcd", pcd(bowl(60, seed=31) * np.array([1, 1, 0], np.float32)))
    found = report(root)
    assert found.odd_points == {str(root / "train/good/few.pcd"): "5 points"}
    assert found.flat == (str(root / "train/good/flat.pcd"),)
    assert said(found.problems, "1 cloud with over 10 times more or fewer points than most; first: ")
    assert said(found.problems, "1 cloud without extent along x, y or z, as where a coordinate was lost; first: ")


def test_one_point_repeated_is_told_and_no_crash(root: Path) -> None:
    files.written(root / "train/good/point.pcd", pcd(np.ones((60, 3), np.float32)))
    found = report(root)
    assert found.odd_extents == {str(root / "train/good/point.pcd"): "diagonal 0"} and len(found.flat) == 1


def test_normals_that_only_some_have_are_told(root: Path) -> None:
    points = bowl(60, seed=40)
    head = pcd_header("x y z normal_x normal_y normal_z", "4 " * 6, "F " * 6, "1 " * 6, 60)
    files.written(root / "train/good/normals.pcd", head + np.hstack([points, normals_of(points)]).tobytes())
    assert said(report(root).problems, "1 of 12 clouds have normals in their file and the others none")


def test_damaged_clouds_and_labels_are_named_with_their_reasons(root: Path) -> None:
    cut = root / "train/good/4.pcd"
    cut.write_bytes(cut.read_bytes()[:-50])
    labels = root / "ground_truth/dent/0.txt"
    labels.write_bytes(labels.read_bytes()[: -len(b"0\n") - 20].rsplit(b"\n", 1)[0])
    found = report(root)
    assert "it is cut off" in found.unreadable[str(cut)]
    assert said(found.problems, f"1 of 11 clouds cannot be read; first: {cut}")
    assert "give one label for each row" in found.unreadable_masks[str(labels)]
    assert said(
        found.disabled, "masks that cannot be read or do not fit their cloud: point AUROC, point AP and AUPRO cannot be"
    )


def test_labels_that_mark_nothing_are_told(root: Path) -> None:
    rows = np.column_stack([bowl(60, seed=21), np.zeros(60)])
    files.written(root / "ground_truth/dent/0.txt", text(rows))
    assert said(report(root).problems, "1 mask of defective parts without any marked point")


def test_what_is_missing_is_said_of_clouds(root: Path) -> None:
    shutil.rmtree(root / "ground_truth")
    assert said(report(root).disabled, "no masks: point AUROC, point AP and AUPRO cannot be computed")
    shutil.rmtree(root / "test")
    assert said(report(root).disabled, "no test clouds: nothing can be evaluated")
    for path in (root / "train/good").iterdir():
        path.write_bytes(b"")
    found = report(root)
    assert found.fatal and found.problems[0] == "no good cloud can be read, so nothing can be fitted"


def test_a_mask_must_have_the_size_of_the_grid_and_a_cloud_without_grid_takes_none(tmp_path: Path) -> None:
    root = tmp_path / "part"
    for name in ("train/good/0.tiff", "test/hole/0.tiff", "test/hole/1.tiff"):
        files.written(root / name, tiff(GRID + np.float32(len(name) + int(name[-6]))))
    files.written(root / "test/hole/2.pcd", pcd(bowl()))
    mask = np.zeros((12, 9), np.uint8)
    mask[2:5, 5:8] = 255
    files.written(root / "ground_truth/hole/0.png", files.encoded(mask, ".png"))
    files.written(root / "ground_truth/hole/1.png", files.encoded(mask[:8], ".png"))
    files.written(root / "ground_truth/hole/2.png", files.encoded(mask, ".png"))
    found = report(root)
    assert found.unreadable == {} and found.unreadable_masks == {}
    assert found.masks_odd == {
        str(root / "ground_truth/hole/1.png"): "9 x 8, its cloud 9 x 12",
        str(root / "ground_truth/hole/2.png"): "9 x 12, its cloud without a grid",
    }


def test_the_command_describes_the_clouds(root: Path, amiss: Amiss) -> None:
    plain = amiss("data", "check", root)
    assert plain.code == 0
    assert "clouds: 60 to 68 points (median 63), diagonal " in plain.out and "no problems found" in plain.out
    assert amiss("data", "check", root, "--json").json["extents"]["largest"] < 90
