"""What is particular to 3D-ADAM, BTAD, the magnetic tiles and the solar cells."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

import amiss
from amiss.data import elpv
from amiss.data.adam3d import Adam3d
from amiss.data.btad import Btad
from amiss.data.elpv import Elpv
from amiss.data.magnetic_tile import MagneticTile
from amiss.errors import BadField, BadLayout
from tests.data import files, miniatures


def names(entries: object) -> set[str]:
    return {entry.path.name for entry in entries}  # type: ignore[attr-defined]


# 3D-ADAM


def test_the_flat_form_of_3d_adam_is_read_by_its_published_names(tmp_path: Path) -> None:
    root = miniatures.adam3d_flat(tmp_path)
    dataset = Adam3d(root)
    assert [truth.label for truth in dataset.split("spurgear", "test").truths] == [True, False, False]
    (root / "spurgear").rename(root / "bolt")
    with pytest.raises(BadLayout, match="it looks like mvtec_ad"):
        Adam3d(root)


def test_masks_of_other_sensors_layouts_are_not_taken_for_3d_adam(tmp_path: Path) -> None:
    miniatures.adam3d(tmp_path, ("1m1",))
    (tmp_path / "1m1/test/cut/ground_truth").rename(tmp_path / "1m1/test/cut/gt")
    assert not Adam3d.fits(tmp_path)


def test_masks_without_a_picture_beside_rgb_are_orphans(tmp_path: Path) -> None:
    miniatures.adam3d(tmp_path, ("1m1",))
    (tmp_path / "1m1/test/cut/rgb/001.png").unlink()
    assert Adam3d(tmp_path).orphans("1m1") == (tmp_path / "1m1/test/cut/ground_truth/001.png",)


# BTAD


def test_masks_of_btad_are_found_by_stem_whatever_the_suffix(tmp_path: Path) -> None:
    dataset = Btad(miniatures.btad(tmp_path))
    suffixes = {
        category: {(e.path.suffix, e.mask.suffix) for e in dataset.split(category, "test").entries if e.mask is not None}
        for category in dataset.categories
    }
    assert suffixes == {"01": {(".bmp", ".png")}, "02": {(".png", ".png")}, "03": {(".bmp", ".bmp")}}


# magnetic tiles


def test_soft_masks_of_tiles_are_cut_at_half(tmp_path: Path) -> None:
    root = miniatures.magnetic_tile(tmp_path)
    truths = [truth for truth in MagneticTile(root).split("tile", "test").truths if truth.label]
    assert all(truth.mask is not None and 0 < truth.mask.mean() < 0.5 for truth in truths)  # 90 is ground, 200 a defect
    assert {truth.kind for truth in truths} == {"blowhole", "crack"}


def test_the_split_of_tiles_hangs_on_content_not_on_names(tmp_path: Path) -> None:
    root = miniatures.magnetic_tile(tmp_path / "a")
    before = {entry.path.read_bytes() for entry in MagneticTile(root).split("tile", "train").entries}
    other = shutil.copytree(root, tmp_path / "b")
    renamed = sorted((other / "MT_Free/Imgs").glob("*.jpg"))
    random.Random(0).shuffle(renamed)
    for number, path in enumerate(renamed):
        path.rename(path.with_name(f"tile{number}.jpg"))
    assert {entry.path.read_bytes() for entry in MagneticTile(other).split("tile", "train").entries} == before
    splits = {frozenset(names(MagneticTile(root, seed=seed).split("tile", "train").entries)) for seed in range(4)}
    assert len(splits) > 1
    with pytest.raises(BadField, match="seed = -1"):
        MagneticTile(root, seed=-1).split("tile", "train")


def test_masks_of_defects_without_a_picture_are_orphans_and_empty_folders_are_refused(tmp_path: Path) -> None:
    root = miniatures.magnetic_tile(tmp_path)
    (root / "MT_Crack/Imgs/exp0_num_0.jpg").unlink()
    assert names_of(MagneticTile(root).orphans("tile")) == ["exp0_num_0.png"]
    shutil.rmtree(root / "MT_Free/Imgs")
    with pytest.raises(BadLayout, match="MT_Free: no picture in it; wanted"):
        MagneticTile(root).split("tile", "train")


def names_of(paths: tuple[Path, ...]) -> list[str]:
    return [path.name for path in paths]


# solar cells


@pytest.mark.parametrize(
    ("bounds", "good", "defective"),
    [({}, 10, 3), ({"good_up_to": 0.34}, 11, 3), ({"good_up_to": 0.34, "defective_from": 0.66}, 11, 4)],
)
def test_the_label_follows_from_the_probability(bounds: dict[str, float], good: int, defective: int, tmp_path: Path) -> None:
    dataset = amiss.dataset("elpv", miniatures.elpv(tmp_path), **bounds)
    train, test = (dataset.split("poly", name).entries for name in ("train", "test"))  # type: ignore[arg-type]
    found = [entry.defective for entry in (*train, *test)]
    assert (found.count(False), found.count(True)) == (good, defective)
    assert len(dataset.notes("poly")) == (good + defective < 15)


@pytest.mark.parametrize(("low", "high"), [(0.5, 0.5), (-0.1, 1), (0, 1.1)])
def test_bounds_that_cross_are_refused(low: float, high: float, tmp_path: Path) -> None:
    with pytest.raises(BadField, match="wanted 0 <= the first < the second <= 1"):
        Elpv(tmp_path, good_up_to=low, defective_from=high)


def test_without_a_root_the_installed_package_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = miniatures.elpv(tmp_path / "elpv_dataset/data")
    files.written(tmp_path / "elpv_dataset/__init__.py", b"raise RuntimeError('the package itself is not imported')")
    monkeypatch.syspath_prepend(tmp_path)
    assert amiss.dataset("elpv").root == root
    monkeypatch.setattr(elpv, "PACKAGE", "no_such_package_of_cells")
    with pytest.raises(BadLayout, match="pip install elpv-dataset, or give its folder"):
        amiss.dataset("elpv")


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("images/gone.png 1.0 mono", r"line 1: there is no file .*gone\.png"),
        ("images/cell0001.png,1.0,mono", "line 1: .*; wanted a path, a probability and mono or poly"),
        ("images/cell0001.png high mono", "line 1: .*; wanted a path"),
    ],
)
def test_a_line_of_labels_that_cannot_be_right_is_named(line: str, words: str, tmp_path: Path) -> None:
    root = miniatures.elpv(tmp_path)
    files.written(root / "labels.csv", line.encode())
    with pytest.raises(BadLayout, match=words):
        Elpv(root).split("mono", "train")
