"""CSV tables as data sets."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from amiss.data.folder import Folder
from amiss.errors import BadLayout
from tests.data import files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.png", "b.png", "sub/c.png")):
        files.written(tmp_path / name, files.encoded(np.full((8, 8, 3), 50 * number, np.uint8), ".png"))
    files.written(tmp_path / "m.png", files.encoded(np.eye(8, dtype=np.uint8), ".png"))
    return tmp_path


def table(folder: Path, *lines: str, name: str = "parts.csv", encoding: str = "utf-8", end: str = "\n") -> Path:
    return files.written(folder / name, (end.join(lines) + end).encode(encoding))


def listed(dataset: Folder) -> dict[str, list[str]]:
    names = ("train", "calibration", "test")
    return {n: [e.path.name + ":" + e.kind for e in dataset.split(dataset.only(), n).entries] for n in names}  # type: ignore[arg-type]


def complaint(path: Path) -> str:
    with pytest.raises(BadLayout) as caught:
        Folder(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value).removeprefix(str(path))


def test_without_a_split_good_rows_are_learned_and_all_are_judged(folder: Path) -> None:
    dataset = Folder(table(folder, "path,label", "a.png,good", "b.png,scratch", "sub/c.png,ok"))
    assert dataset.layout == "csv" and dataset.only() == "parts"
    found = listed(dataset)
    assert found["train"] == ["a.png:good", "c.png:good"]
    assert found["test"] == ["a.png:good", "b.png:scratch", "c.png:good"]
    assert dataset.notes("parts") == (
        "3 row(s) have no split: the good ones are learned and judged; add a column split to keep them apart",
    )


def test_a_split_column_keeps_rows_apart(folder: Path) -> None:
    dataset = Folder(table(folder, "path,label,split", "a.png,good,train", "b.png,dent,test", "sub/c.png,good,val"))
    assert listed(dataset) == {"train": ["a.png:good"], "calibration": ["c.png:good"], "test": ["b.png:dent"]}
    assert dataset.notes("parts") == ()


@pytest.mark.parametrize("word", ["calibration", "validation", "val", "VAL"])
def test_the_calibration_split_has_several_names(word: str, folder: Path) -> None:
    dataset = Folder(table(folder, "path,label,split", f"a.png,good,{word}"))
    assert listed(dataset)["calibration"] == ["a.png:good"]


def test_defective_rows_are_kept_out_of_train_and_calibration_and_noted(folder: Path) -> None:
    dataset = Folder(table(folder, "path,label,split", "a.png,good,train", "b.png,dent,train", "sub/c.png,dent,val"))
    assert listed(dataset) == {"train": ["a.png:good"], "calibration": [], "test": []}
    assert "2 row(s) of train or calibration are not good and are not used" in dataset.notes("parts")[0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_commas_semicolons_and_tabs_are_read(delimiter: str, end: str, folder: Path) -> None:
    lines = [delimiter.join(cells) for cells in (("path", "label", "kind"), ("a.png", "bad", "dent"), ("b.png", "good", ""))]
    assert listed(Folder(table(folder, *lines, end=end)))["test"] == ["a.png:dent", "b.png:good"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_does_no_harm(encoding: str, folder: Path) -> None:
    files.written(folder / "größe.png", files.encoded(np.zeros((8, 8, 3), np.uint8), ".png"))
    dataset = Folder(table(folder, "path,label", "größe.png,good", encoding=encoding))
    assert listed(dataset)["train"] == ["größe.png:good"]


def test_a_table_that_is_not_utf8_still_names_its_files(folder: Path) -> None:
    files.written(folder / os.fsdecode(b"caf\xe9.png"), files.encoded(np.zeros((8, 8, 3), np.uint8), ".png"))
    dataset = Folder(table(folder, "path,label", "café.png,entrée", encoding="latin-1"))
    (entry,) = dataset.split(dataset.only(), "test").entries
    assert entry.sample().image is not None
    assert entry.kind == "entr\\xe9e"


def test_names_with_commas_spaces_and_quotes_are_read(folder: Path) -> None:
    files.written(folder / 'a, "b" c.png', files.encoded(np.zeros((8, 8, 3), np.uint8), ".png"))
    dataset = Folder(table(folder, " Path , LABEL", '"a, ""b"" c.png", Good'))
    assert listed(dataset)["train"] == ['a, "b" c.png:good']


def test_blank_lines_and_further_columns_are_passed_over(folder: Path) -> None:
    dataset = Folder(table(folder, "label,comment,path", "good,fine,a.png", "", ",,", "dent,,b.png,more,and more", "   "))
    assert listed(dataset)["test"] == ["a.png:good", "b.png:dent"]


@pytest.mark.parametrize(
    ("label", "kind"),
    [
        ("good", "good"), ("OK", "good"), ("Normal", "good"), ("0", "good"), ("0.0", "good"), ("False", "good"),
        ("1", "defective"), ("1.0", "defective"), ("True", "defective"), ("ng", "ng"), ("no", "no"), ("Scratch", "Scratch"),
    ],
)  # fmt: skip
def test_labels_are_words_or_numbers(label: str, kind: str, folder: Path) -> None:
    dataset = Folder(table(folder, "path,label", f"a.png,{label}"))
    (entry,) = dataset.split(dataset.only(), "test").entries
    assert (entry.kind, entry.defective) == (kind, kind != "good")


def test_paths_count_from_the_table_or_are_absolute(folder: Path) -> None:
    files.written(folder / "lists" / "x.txt", b"")
    dataset = Folder(table(folder, "path,label", "../a.png,good", f"{folder / 'b.png'},good", name="lists/parts.csv"))
    assert len(list(dataset.split(dataset.only(), "train").samples)) == 2


def test_masks_of_a_table_are_read(folder: Path) -> None:
    dataset = Folder(table(folder, "path,label,mask", "a.png,dent,m.png", "b.png,good,", "sub/c.png,dent,"))
    masks = [truth.mask for truth in dataset.split(dataset.only(), "test").truths]
    assert masks[0] is not None and masks[0].sum() == 8
    assert masks[1:] == [None, None]


# what is refused


def test_a_missing_picture_or_mask_is_named_with_its_line(folder: Path) -> None:
    text = complaint(table(folder, "path,label", "a.png,good", "", "gone.png,good"))
    assert text.startswith(", line 4: there is no file ") and text.endswith(
        "gone.png; correct the path, it counts from the table"
    )
    assert "line 2: there is no file" in complaint(table(folder, "path,label,mask", "a.png,dent,gone.png"))
    assert "line 2: there is no file" in complaint(table(folder, "path,label", "sub,good"))


def test_an_unknown_split_is_named_with_its_line(folder: Path) -> None:
    text = complaint(table(folder, "path,label,split", "a.png,good,train", "b.png,good,holdout"))
    assert text == ", line 3: split 'holdout'; wanted one of train, calibration, validation, val, test"


def test_missing_columns_are_named(folder: Path) -> None:
    assert complaint(table(folder, "file,label", "a.png,good")) == (
        ": no column path; its first line is: file, label; wanted path,label"
    )
    assert "no column path and label" in complaint(table(folder, "a.png", "b.png"))


def test_an_empty_label_or_path_is_named_with_its_line(folder: Path) -> None:
    assert complaint(table(folder, "path,label", "a.png,")) == ", line 2: the label is empty; wanted good, or what is wrong"
    assert complaint(table(folder, "path,label", "a.png")) == ", line 2: the label is empty; wanted good, or what is wrong"
    assert complaint(table(folder, "path,label", ",good")).startswith(", line 2: the path is empty")


@pytest.mark.parametrize("lines", [("path,label",), ("path,label", "", " , ")])
def test_a_table_without_rows_is_refused(lines: tuple[str, ...], folder: Path) -> None:
    assert "no rows; wanted one line a picture" in complaint(table(folder, *lines))


def test_an_empty_table_is_refused(folder: Path) -> None:
    assert "no rows" in complaint(files.written(folder / "parts.csv", b""))


def test_a_table_in_utf16_is_refused_with_what_to_do(folder: Path) -> None:
    assert "save it as CSV in UTF-8" in complaint(table(folder, "path,label", "a.png,good", encoding="utf-16"))


def test_a_field_beyond_all_bounds_is_refused(folder: Path) -> None:
    assert "not a CSV table" in complaint(table(folder, "path,label", "a.png," + "x" * 200_000))


@pytest.mark.parametrize("name", ["parts.json", "parts", "parts.xlsx"])
def test_only_csv_files_are_tables(name: str, folder: Path) -> None:
    assert "wanted a folder, or a CSV table" in complaint(table(folder, "path,label", "a.png,good", name=name))
