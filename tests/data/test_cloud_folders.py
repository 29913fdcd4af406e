"""Folders and tables of point clouds: taken like pictures, told apart from them, and never mixed with them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from amiss.cli.judging import expand
from amiss.data.folder import Folder
from amiss.errors import BadLayout, UnreadableFile
from tests.data import files
from tests.data.cloud_files import bowl, obj, pcd, ply_cloud, stl, text
from tests.data.test_organised import GRID, VALID, tiff

POINTS = bowl()
LABELS = np.arange(60) % 4 == 0
LABELLED = text(np.column_stack([POINTS, LABELS]))
PICTURE = files.encoded(files.colours(8, 8), ".png")
CLOUDS = {
    ".pcd": pcd(POINTS), ".ply": ply_cloud(POINTS), ".obj": obj(POINTS), ".stl": stl(POINTS.reshape(20, 3, 3)),
    ".xyz": text(POINTS), ".asc": text(POINTS), ".txt": text(POINTS), ".csv": text(POINTS, ","),
    ".tiff": tiff(GRID), ".png": PICTURE,
}  # fmt: skip


def put(root: Path, *names: str) -> Path:
    for name in names:
        files.written(root / name, CLOUDS[Path(name).suffix])
    return root


def names(folder: Folder, split: str = "train") -> list[str]:
    return [os.path.relpath(entry.id, folder.root) for entry in folder.split(folder.only(), split).entries]  # type: ignore[arg-type]


def complaint(root: Path) -> str:
    with pytest.raises(BadLayout) as caught:
        Folder(root)
    return str(caught.value)


# a bare folder


@pytest.mark.parametrize("suffix", [suffix for suffix in CLOUDS if suffix != ".png"])
def test_a_bare_folder_of_clouds_is_all_good_and_searched_recursively(suffix: str, tmp_path: Path) -> None:
    folder = Folder(put(tmp_path / "gear", f"b{suffix}", f"day1/a{suffix}", f"day1/.hidden{suffix}"))
    assert folder.layout == "bare" and names(folder) == [f"b{suffix}", f"day1/a{suffix}"]
    samples = list(folder.split("gear", "train").samples)
    assert [sample.sees for sample in samples] == [{"points"}] * 2 and {sample.part for sample in samples} == {"gear"}


def test_texts_beside_clouds_or_pictures_are_labels_and_notes_and_no_parts(tmp_path: Path) -> None:
    assert names(Folder(put(tmp_path / "clouds", "a.pcd", "a.txt", "list.csv"))) == ["a.pcd"]
    assert names(Folder(put(tmp_path / "pictures", "a.png", "a.txt", "list.csv"))) == ["a.png"]


def test_among_texts_alone_those_that_are_no_points_are_noted_and_not_used(tmp_path: Path) -> None:
    root = put(tmp_path / "part", "a.txt", "b.txt", "c.csv")
    files.written(root / "readme.txt", b"scanned on a Tuesday, 1 2 3\n")
    files.written(root / "table.csv", b"path,label\na.txt,good\n")
    folder = Folder(root)
    assert names(folder) == ["a.txt", "b.txt", "c.csv"]
    (note,) = folder.notes("part")
    assert note.startswith("2 text file(s) do not begin with rows of numbers and are not used; first: ")
    assert note.endswith("readme.txt")


def test_a_damaged_text_cloud_is_listed_so_that_it_is_reported(tmp_path: Path) -> None:
    root = put(tmp_path / "part", "a.txt", "b.txt")
    (root / "b.txt").write_bytes(text(POINTS) + b"1 2\n")
    folder = Folder(root)
    kept, failures = folder.split("part", "train").readable()
    assert len(kept.entries) == 1 and "line 61 holds 2 values" in failures[str(root / "b.txt")]


def test_texts_alone_without_a_single_point_are_no_data(tmp_path: Path) -> None:
    files.written(tmp_path / "readme.txt", b"nothing here\n")
    assert "no picture or point cloud in it or below it; wanted PNG" in complaint(tmp_path)


def test_names_that_are_hardly_good_parts_are_refused_for_clouds_too(tmp_path: Path) -> None:
    assert "but it holds defect" in complaint(put(tmp_path, "a.pcd", "defect/b.pcd"))


def test_a_pool_without_labels_may_hold_such_names(tmp_path: Path) -> None:
    folder = Folder(put(tmp_path, "a.pcd", "defect/b.pcd", "gt/b.txt"), unlabelled=True)
    assert names(folder) == ["a.pcd", "defect/b.pcd"]


# pictures and clouds together


@pytest.mark.parametrize(
    ("mixed", "counts"),
    [
        (("a.png", "b.png", "c.ply"), "2 pictures and 1 point cloud"),
        (("a.png", "sub/c.ply", "d.stl"), "1 picture and 2 point clouds"),
        (("a.png", "a.tiff", "b.tiff"), "1 picture and 2 point clouds"),
    ],
)
def test_a_folder_of_both_is_refused_with_their_numbers(mixed: tuple[str, ...], counts: str, tmp_path: Path) -> None:
    said = complaint(put(tmp_path, *mixed))
    assert f"{tmp_path} holds {counts}, and a data set is of one kind; give the folder of one, or a CSV table" in said


def test_tiff_goes_with_what_it_holds(tmp_path: Path) -> None:
    assert names(Folder(put(tmp_path / "clouds", "a.tiff", "b.pcd"))) == ["a.tiff", "b.pcd"]
    root = put(tmp_path / "pictures", "a.png")
    files.written(root / "b.tiff", files.encoded(files.colours(), ".tif"))
    files.written(root / "broken.tif", b"II*\0")
    assert names(Folder(root)) == ["a.png", "b.tiff", "broken.tif"]


def test_pictures_to_learn_from_and_clouds_to_test_are_refused(tmp_path: Path) -> None:
    said = complaint(put(tmp_path / "part", "train/good/0.png", "train/good/1.png", "test/cut/0.pcd"))
    assert "holds 2 pictures and 1 point cloud" in said


def test_colour_and_coordinates_of_one_part_side_by_side_are_still_refused_as_one_part(tmp_path: Path) -> None:
    said = complaint(put(tmp_path / "part", "good/rgb/0.tiff", "good/xyz/0.tiff"))
    assert "keeps rgb/ beside xyz/" in said


# the MVTec AD layout


@pytest.fixture
def category(tmp_path: Path) -> Path:
    root = put(
        tmp_path / "part", "train/good/0.pcd", "train/good/1.pcd", "test/good/0.pcd", "test/dent/0.pcd", "test/dent/1.pcd"
    )
    files.written(root / "ground_truth/dent/0.txt", LABELLED)
    return root


def test_the_mvtec_layout_holds_clouds(category: Path) -> None:
    folder = Folder(category)
    assert folder.layout == "mvtec" and folder.notes("part") == ()
    assert names(folder) == ["train/good/0.pcd", "train/good/1.pcd"]
    assert [entry.kind for entry in folder.split("part", "test").entries] == ["dent", "dent", "good"]
    assert [sample.sees for sample in folder.split("part", "test").samples] == [{"points"}] * 3


def test_labels_of_points_are_the_truth_of_a_cloud(category: Path) -> None:
    first, second, good = Folder(category).split("part", "test").truths
    assert first.label and first.mask is None and first.point_mask is not None
    np.testing.assert_array_equal(first.point_mask, LABELS)
    assert second.point_mask is None and (good.label, good.point_mask) == (False, None)


def test_labels_are_dropped_with_the_rows_that_are_no_points(category: Path) -> None:
    points = POINTS.copy()
    points[[0, 9, 12]] = np.nan
    files.written(category / "test/dent/0.pcd", pcd(points))
    split = Folder(category).split("part", "test")
    truth, sample = split.truths[0], split.samples[0]
    assert truth.point_mask is not None and sample.points is not None and len(sample.points) == 57
    np.testing.assert_array_equal(truth.point_mask, np.delete(LABELS, [0, 9, 12]))


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (text(np.column_stack([POINTS, LABELS])[:59]), r"it labels 59 rows, and .*0\.pcd has 60 rows; give one label for each"),
        (text(POINTS), "its columns besides x, y and z are: none; give rows of x, y, z and label"),
        (b"x,y,z,depth,width\n1,2,3,4,5\n", "its columns besides x, y and z are: depth, width"),
        (b"nothing\n", "are no three numbers"),
    ],
)
def test_labels_that_do_not_fit_their_cloud_are_refused(labels: bytes, words: str, category: Path) -> None:
    files.written(category / "ground_truth/dent/0.txt", labels)
    with pytest.raises(UnreadableFile, match=words):
        list(Folder(category).split("part", "test").truths)


def test_labels_of_a_mesh_cannot_be_told_by_rows(category: Path) -> None:
    files.written(category / "test/dent/0.stl", CLOUDS[".stl"])
    (category / "test/dent/0.pcd").unlink()
    with pytest.raises(UnreadableFile, match="points that are no rows of the file"):
        list(Folder(category).split("part", "test").truths)


def test_a_column_named_label_is_taken_from_among_others(category: Path) -> None:
    rows = np.column_stack([np.arange(60), POINTS, LABELS * 255])
    files.written(category / "ground_truth/dent/0.txt", b"number,x,y,z,label\n" + text(rows, ","))
    truth = Folder(category).split("part", "test").truths[0]
    np.testing.assert_array_equal(truth.point_mask, LABELS)


def test_labels_without_a_cloud_are_orphans(category: Path) -> None:
    files.written(category / "ground_truth/dent/9.txt", LABELLED)
    folder = Folder(category)
    assert folder.orphans("part") == (category / "ground_truth/dent/9.txt",)


def test_texts_beside_the_masks_of_pictures_are_neither_masks_nor_orphans(tmp_path: Path) -> None:
    root = put(tmp_path / "part", "train/good/0.png", "test/cut/0.png", "ground_truth/cut/0.txt")
    folder = Folder(root)
    assert folder.split("part", "test").entries[0].mask is None and folder.orphans("part") == ()


def test_organised_clouds_take_pictures_as_masks(tmp_path: Path) -> None:
    root = put(tmp_path / "part", "train/good/0.tiff", "test/hole/0.tiff")
    mask = np.zeros((12, 9), np.uint8)
    mask[6:9, 5:8] = 255
    files.written(root / "ground_truth/hole/0.png", files.encoded(mask, ".png"))
    split = Folder(root).split("part", "test")
    truth, sample = split.truths[0], split.samples[0]
    assert truth.mask is not None and sample.pixels is not None
    assert truth.mask[tuple(sample.pixels.T)].sum() == VALID[6:9, 5:8].sum()


# a table, and what is judged


def test_a_table_names_clouds(tmp_path: Path) -> None:
    put(tmp_path, "a.ply", "b.txt", "c.tiff")
    files.written(tmp_path / "b.gt.txt", LABELLED)
    table = files.written(tmp_path / "parts.csv", b"path,label,mask\na.ply,good,\nb.txt,dent,b.gt.txt\nc.tiff,good,\n")
    folder = Folder(table)
    assert names(folder) == ["../a.ply", "../c.tiff"]
    split = folder.split("parts", "test")
    assert [sample.sees for sample in split.samples] == [{"points"}] * 3
    assert split.truths[1].point_mask is not None


def test_a_table_of_both_is_refused_with_their_numbers(tmp_path: Path) -> None:
    put(tmp_path, "a.ply", "b.txt", "c.png")
    table = files.written(tmp_path / "parts.csv", b"path,label\na.ply,good\nb.txt,good\nc.png,good\n")
    assert "parts.csv holds 1 picture and 2 point clouds" in complaint(table)


def test_a_folder_to_judge_may_hold_clouds_and_outputs_of_an_earlier_run(tmp_path: Path) -> None:
    put(tmp_path, "a.pcd", "out/overlays/a.png")
    assert expand([str(tmp_path)], tmp_path / "out") == [tmp_path / "a.pcd"]
    with pytest.raises(BadLayout, match="holds 1 picture and 1 point cloud"):
        expand([str(tmp_path)], tmp_path / "elsewhere")
