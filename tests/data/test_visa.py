"""VisA: what its tables say is what is read, and lines that cannot be right are named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss.data.check import check
from amiss.data.visa import Visa
from amiss.errors import BadField, BadLayout
from tests.data import files, miniatures


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return miniatures.visa(tmp_path)


def test_numbers_of_defects_in_a_mask_are_all_marked(root: Path) -> None:
    truths = [truth for truth in Visa(root).split("candle", "test").truths if truth.label]
    assert all(truth.mask is not None and truth.mask.any() for truth in truths)  # they hold 1 and 2, not 255
    assert {truth.kind for truth in truths} == {"anomaly"}


@pytest.mark.parametrize(("split_file", "learned"), [("1cls", 0), ("2cls_fewshot", 1), ("2cls_highshot", 1)])
def test_the_split_file_can_be_chosen(split_file: str, learned: int, root: Path) -> None:
    dataset = amiss.dataset("visa", root, split_file=split_file)
    train, test = (dataset.split("candle", name).entries for name in ("train", "test"))  # type: ignore[arg-type]
    assert sum(entry.defective for entry in train) == learned
    assert sum(entry.defective for entry in test) == 3 - learned
    told = (f"{learned} of 4 train pictures are defective, as {split_file}.csv has it",) if learned else ()
    assert dataset.notes("candle") == told


def test_other_split_files_are_refused(root: Path, tmp_path: Path) -> None:
    with pytest.raises(BadField, match="wanted one of 1cls, 2cls_fewshot, 2cls_highshot"):
        Visa(root, split_file="3cls")
    (root / "split_csv/2cls_fewshot.csv").unlink()
    with pytest.raises(BadLayout, match=r"no such table; split_csv/ holds 1cls\.csv, 2cls_highshot\.csv"):
        Visa(root, split_file="2cls_fewshot")
    with pytest.raises(BadLayout, match="re-organised tree has one split"):
        Visa(miniatures.visa_tree(tmp_path / "tree"), split_file="2cls_fewshot")


def test_the_reorganised_tree_is_read_as_well(tmp_path: Path) -> None:
    dataset = Visa(miniatures.visa_tree(tmp_path))
    assert dataset.categories == ("candle", "pcb1")
    (defect,) = [entry for entry in dataset.split("pcb1", "test").entries if entry.defective]
    assert defect.mask is not None and defect.mask.name == "007.png" and defect.truth().mask is not None
    assert not check(dataset, "pcb1").problems


def test_objects_without_a_folder_are_left_out(root: Path) -> None:
    (root / "pcb1").rename(root / "elsewhere")
    assert Visa(root).categories == ("candle",)
    (root / "candle").rename(root / "elsewhere too")
    with pytest.raises(BadLayout, match="names candle, pcb1; none of it is a folder in"):
        Visa(root)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("candle,test,normal,candle/gone.JPG,", r"there is no file .*gone\.JPG; correct the path, it counts from the root"),
        ("candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/gone.png", r"there is no file .*gone\.png"),
        ("candle,val,normal,candle/Data/Images/Normal/000.JPG,", "split 'val'; wanted one of train, test"),
        ("candle,test,good,candle/Data/Images/Normal/000.JPG,", "label 'good'; wanted one of normal, anomaly"),
        ("candle,test", "label ''; wanted"),
    ],
)
def test_a_line_that_cannot_be_right_is_named_with_its_number(line: str, words: str, root: Path) -> None:
    files.written(root / "split_csv/1cls.csv", f"object,split,label,image,mask\n{line}\n".encode())
    with pytest.raises(BadLayout, match=f"1cls.csv, line 2: {words}"):
        Visa(root).split("candle", "test")


def test_a_table_without_its_columns_is_refused(root: Path) -> None:
    files.written(root / "split_csv/1cls.csv", b"object,image\ncandle,a.JPG\n")
    with pytest.raises(BadLayout, match=r"no column split and label and mask.*wanted object,split,label,image,mask"):
        Visa(root)


def test_masks_that_no_line_names_are_orphans(root: Path) -> None:
    path = miniatures.save(root / "candle/Data/Masks/Anomaly/099.png", np.ones(miniatures.SIZE, np.uint8))
    assert Visa(root).orphans("candle") == (path,)
