"""Folders and tables as data sets: what is taken for what, and what is refused in words a user understands."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss.data.folder import Folder
from amiss.data.tree import pictures
from amiss.errors import BadField, BadLayout, UnreadableFile
from tests.data import files

PICTURE = files.encoded(files.colours(8, 8), ".png")
MASK = files.encoded((np.arange(64).reshape(8, 8) > 40) * np.uint8(255), ".png")


def put(root: Path, *names: str, content: bytes = PICTURE) -> Path:
    for name in names:
        files.written(root / name, content)
    return root


def ids(folder: Folder, split: str) -> list[str]:
    return [os.path.relpath(entry.id, folder.root) for entry in folder.split(folder.only(), split).entries]  # type: ignore[arg-type]


def kinds(folder: Folder, split: str = "test") -> list[tuple[str, bool]]:
    return [(entry.kind, entry.defective) for entry in folder.split(folder.only(), split).entries]  # type: ignore[arg-type]


@pytest.fixture
def category(tmp_path: Path) -> Path:
    root = put(
        tmp_path / "part", "train/good/0.png", "train/good/1.png", "test/good/0.png", "test/cut/0.png", "test/hole/0.png"
    )
    return put(root, "ground_truth/cut/0_mask.png", "ground_truth/hole/0.png", content=MASK)


# a bare folder


def test_a_bare_folder_is_all_good_and_searched_recursively(tmp_path: Path) -> None:
    folder = Folder(put(tmp_path, "b.png", "a.JPG", "day1/c.tif", "day1/shift2/d.webp", "day1/e.bmp"))
    assert folder.layout == "bare"
    assert ids(folder, "train") == ["a.JPG", "b.png", "day1/c.tif", "day1/e.bmp", "day1/shift2/d.webp"]
    assert set(kinds(folder, "train")) == {("good", False)}


def test_a_bare_folder_has_nothing_to_test_or_calibrate_on(tmp_path: Path) -> None:
    folder = Folder(put(tmp_path, "a.png"))
    for name in ("test", "calibration"):
        split = folder.split(folder.only(), name)  # type: ignore[arg-type]
        assert (len(split.entries), list(split.samples), list(split.truths)) == (0, [], [])


def test_hidden_files_and_folders_are_passed_over(tmp_path: Path) -> None:
    folder = Folder(put(tmp_path, "a.png", ".b.png", "._a.png", ".thumbnails/a.png", "sub/.cache/deep/a.png", "notes.txt"))
    assert ids(folder, "train") == ["a.png"]


def test_a_hidden_root_is_no_reason_to_pass_over_its_pictures(tmp_path: Path) -> None:
    assert ids(Folder(put(tmp_path / ".hidden" / "parts", "a.png")), "train") == ["a.png"]


def test_equal_stems_in_different_folders_have_different_ids(tmp_path: Path) -> None:
    folder = Folder(put(tmp_path, "day1/0.png", "day2/0.png", "day2/0.bmp"))
    found = folder.split(folder.only(), "train")
    assert len({entry.id for entry in found.entries}) == 3
    assert [sample.id for sample in found.samples] == [entry.id for entry in found.entries]


def test_a_folder_named_like_a_picture_is_no_picture(tmp_path: Path) -> None:
    assert ids(Folder(put(tmp_path, "a.png", "b.png/c.png")), "train") == ["a.png", "b.png/c.png"]


def test_a_link_that_leads_nowhere_is_listed_so_that_it_is_reported(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "gone.png")
    folder = Folder(tmp_path)
    assert ids(folder, "train") == ["a.png", "b.png"]
    _, failures = folder.split(folder.only(), "train").readable()
    assert list(failures) == [str(tmp_path / "b.png")]


def test_pictures_are_sorted_whatever_the_file_system_says(tmp_path: Path) -> None:
    put(tmp_path, *(f"{number}.png" for number in (3, 1, 2)))
    assert [path.name for path in pictures(tmp_path)] == ["1.png", "2.png", "3.png"]


def test_names_that_are_not_utf8_are_listed_and_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    folder = Folder(put(tmp_path / name, name + ".png"))
    folder.only().encode("utf-8")
    assert len(list(folder.split(folder.only(), "train").samples)) == 1


def test_the_category_is_the_name_of_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = put(tmp_path / "gear v1.2", "a.png")
    assert Folder(root).categories == ("gear v1.2",)
    monkeypatch.chdir(root)
    folder = Folder(".")
    assert (folder.only(), ids(folder, "train")) == ("gear v1.2", ["a.png"])


def test_the_front_door_opens_folders_given_as_text(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    dataset = amiss.dataset("folder", str(tmp_path))
    assert len(dataset.split(dataset.only(), "train").samples) == 1


# the MVTec AD layout


def test_the_mvtec_layout_is_read_with_its_kinds(category: Path) -> None:
    folder = Folder(category)
    assert folder.layout == "mvtec"
    assert ids(folder, "train") == ["train/good/0.png", "train/good/1.png"]
    assert kinds(folder) == [("cut", True), ("good", False), ("hole", True)]
    assert ids(folder, "calibration") == []
    assert (folder.orphans(folder.only()), folder.notes(folder.only())) == ((), ())


def test_masks_are_paired_by_stem_with_or_without_the_word_mask(category: Path) -> None:
    truths = Folder(category).split("part", "test").truths
    assert [None if truth.mask is None else int(truth.mask.sum()) for truth in truths] == [23, None, 23]
    assert [truth.label for truth in truths] == [True, False, True]


def test_masks_are_never_paired_by_order(tmp_path: Path) -> None:
    root = put(tmp_path, "train/good/0.png", "test/cut/1.png", "test/cut/2.png", "test/cut/3.png")
    put(root, "ground_truth/cut/3_mask.png", "ground_truth/cut/2.png", "ground_truth/cut/0_mask.png", content=MASK)
    folder = Folder(root)
    found = [entry.mask and entry.mask.name for entry in folder.split(folder.only(), "test").entries]
    assert found == [None, "2.png", "3_mask.png"]
    assert [path.name for path in folder.orphans(folder.only())] == ["0_mask.png"]


@pytest.mark.parametrize("mask", ["0_mask.bmp", "0_mask.PNG", "0.tiff", "0_mask.jpeg", "0.webp"])
def test_the_suffix_of_a_mask_does_not_matter(mask: str, tmp_path: Path) -> None:
    root = put(tmp_path, "train/good/0.png", "test/cut/0.jpg")
    put(root, f"ground_truth/cut/{mask}", content=MASK)
    folder = Folder(root)
    (entry,) = folder.split(folder.only(), "test").entries
    assert entry.mask == root / "ground_truth" / "cut" / mask


def test_of_two_masks_the_png_named_mask_is_taken_and_the_other_belongs_to_nobody(tmp_path: Path) -> None:
    root = put(tmp_path, "train/good/0.png", "test/cut/0.png")
    put(root, "ground_truth/cut/0_mask.png", "ground_truth/cut/0_mask.bmp", "ground_truth/cut/0.png", content=MASK)
    folder = Folder(root)
    (entry,) = folder.split(folder.only(), "test").entries
    assert entry.mask is not None and entry.mask.name == "0_mask.png"
    assert {path.name for path in folder.orphans(folder.only())} == {"0_mask.bmp", "0.png"}


def test_masks_keep_to_their_kind_and_to_folders_within_it(tmp_path: Path) -> None:
    root = put(tmp_path, "train/good/0.png", "test/cut/a/0.png", "test/cut/b/0.png", "test/hole/0.png")
    put(root, "ground_truth/cut/b/0_mask.png", content=MASK)
    folder = Folder(root)
    assert [entry.mask is not None for entry in folder.split(folder.only(), "test").entries] == [False, True, False]


def test_a_stem_with_dots_is_kept_whole(tmp_path: Path) -> None:
    root = put(tmp_path, "train/good/0.png", "test/cut/part.01.png", "test/cut/part.02.png")
    put(root, "ground_truth/cut/part.02_mask.png", content=MASK)
    folder = Folder(root)
    assert [entry.mask is not None for entry in folder.split(folder.only(), "test").entries] == [False, True]


def test_a_category_without_masks_or_without_tests_is_read(tmp_path: Path) -> None:
    folder = Folder(put(tmp_path / "a", "train/good/0.png", "test/cut/0.png"))
    assert [truth.mask for truth in folder.split(folder.only(), "test").truths] == [None]
    alone = Folder(put(tmp_path / "b", "train/good/0.png"))
    assert ids(alone, "test") == []


@pytest.mark.parametrize("name", ["ok", "OK", "normal", "Good"])
def test_ok_is_taken_for_good(name: str, tmp_path: Path) -> None:
    folder = Folder(put(tmp_path, f"train/{name}/0.png", f"test/{name}/0.png"))
    assert kinds(folder, "train") == kinds(folder) == [("good", False)]


def test_good_validation_parts_are_for_calibration(category: Path) -> None:
    put(category, "validation/good/7.png", "validation/cut/8.png")
    folder = Folder(category)
    assert ids(folder, "calibration") == ["validation/good/7.png"]
    assert len(ids(folder, "train")) == 2
    assert folder.notes("part") == (
        "1 file(s) in validation/ are not in a folder named good and are not used: calibration is for good parts",
    )


def test_pictures_beside_the_folders_of_kinds_are_noted(category: Path) -> None:
    put(category, "train/stray.png", "test/stray.png", "test/stray2.png")
    notes = Folder(category).notes("part")
    assert [note[:42] for note in notes] == [
        "1 file(s) lie directly in train/ and are n",
        "2 file(s) lie directly in test/ and are no",
    ]


# laziness


def test_nothing_is_read_until_it_is_asked_for(category: Path) -> None:
    put(category, "train/good/0.png", "test/cut/0.png", content=b"not a picture")
    folder = Folder(category)
    samples = folder.split("part", "train").samples
    assert len(samples) == 2
    assert samples[1].image is not None
    with pytest.raises(UnreadableFile):
        samples[0]
    put(category, "train/good/0.png", content=files.encoded(files.colours(5, 6), ".png"))
    first = samples[0].image
    assert first is not None and first.shape == (5, 6, 3)
    (category / "train" / "good" / "0.png").unlink()
    with pytest.raises(UnreadableFile, match="No such file"):
        list(samples)


def test_samples_are_read_anew_each_time_and_slices_stay_lazy(category: Path) -> None:
    samples = Folder(category).split("part", "train").samples
    late = samples[1:]
    assert [len(late), len(samples[:0]), len(list(samples)), len(list(samples))] == [1, 0, 2, 2]
    put(category, "train/good/1.png", content=files.encoded(files.colours(3, 3), ".png"))
    assert late[0].image is not None and late[0].image.shape == (3, 3, 3)
    assert samples[-1] == late[-1] and samples[0] != late[0]


def test_a_mask_is_read_only_when_the_truth_is_asked_for(category: Path) -> None:
    put(category, "ground_truth/cut/0_mask.png", content=b"not a mask")
    split = Folder(category).split("part", "test")
    assert len(list(split.samples)) == 3
    with pytest.raises(UnreadableFile, match="0_mask"):
        split.truths[0]
    assert split.truths[2].mask is not None


def test_readable_keeps_what_can_be_read_and_says_why_the_rest_cannot(category: Path) -> None:
    put(category, "train/good/0.png", content=PICTURE[:50])
    split, failures = Folder(category).split("part", "train").readable()
    assert [entry.path.name for entry in split.entries] == ["1.png"]
    assert list(failures) == [str(category / "train/good/0.png")]
    assert "cut off" in next(iter(failures.values()))


# what is refused


def complaint(root: Path) -> str:
    with pytest.raises(BadLayout) as caught:
        Folder(root)
    text = str(caught.value)
    assert text.startswith(str(root))
    return text


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    assert "no such file or folder" in complaint(tmp_path / "gone")


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    assert "no picture or point cloud in it or below it; wanted PNG" in complaint(tmp_path)
    (tmp_path / "part" / "train" / "good").mkdir(parents=True)
    assert "train/good: no picture or point cloud in it; wanted PNG" in complaint(tmp_path / "part")


def test_train_without_good_is_refused(tmp_path: Path) -> None:
    assert "folder named good (or ok), found no folder" in complaint(put(tmp_path / "a", "train/0.png"))
    assert "found scratched" in complaint(put(tmp_path / "b", "train/scratched/0.png"))
    assert "found bad, good" in complaint(put(tmp_path / "c", "train/good/0.png", "train/bad/0.png"))


def test_a_folder_of_categories_is_refused_with_their_names(tmp_path: Path) -> None:
    root = put(tmp_path, "screw/train/good/0.png", "bolt/train/good/0.png")
    assert "holds the categories bolt, screw; give the folder of one" in complaint(root)


@pytest.mark.parametrize("name", ["bad", "NG", "test", "defects", "ground_truth", "mask", "rejected", "not_ok"])
def test_a_bare_folder_with_a_telling_name_in_it_is_refused(name: str, tmp_path: Path) -> None:
    text = complaint(put(tmp_path, "a.png", f"day1/{name}/b.png"))
    assert f"good parts only, but it holds {name}; give the folder with the good parts" in text


def test_what_lies_beside_good_is_not_taken_for_good(tmp_path: Path) -> None:
    root = put(tmp_path, "good/0.png", "scratched/0.png", "dented/0.png")
    assert "but it holds dented, scratched" in complaint(root)
    assert ids(Folder(root / "good"), "train") == ["0.png"]


def test_masks_beside_their_pictures_are_not_taken_for_parts(tmp_path: Path) -> None:
    assert "masks beside their pictures (0_mask)" in complaint(put(tmp_path / "a", "0.jpg", "0_mask.png"))
    assert len(ids(Folder(put(tmp_path / "b", "face_mask.png", "other.png")), "train")) == 2


@pytest.mark.parametrize("depth", ["disp", "depth", "xyz", "XYZ"])
@pytest.mark.parametrize("place", ["", "train/good", "deep/down"])
def test_rgb_beside_depth_is_refused_and_the_rgb_folder_is_not(place: str, depth: str, tmp_path: Path) -> None:
    root = put(tmp_path, os.path.join(place, "rgb/0.png"), os.path.join(place, f"{depth}/0.png"))
    text = complaint(root / "." if not place else root)
    assert f"keeps rgb/ beside {depth.lower()}/" in text and "give the rgb folder" in text
    assert ids(Folder(root / place / "rgb"), "train") == ["0.png"]


def test_an_unknown_category_or_split_is_refused(category: Path) -> None:
    folder = Folder(category)
    with pytest.raises(BadLayout, match="holds 'part', not 'bolt'"):
        folder.split("bolt", "train")
    with pytest.raises(BadField, match="split 'trian': wanted train, calibration or test"):
        folder.split("part", "trian")  # type: ignore[arg-type]


def test_a_single_picture_is_no_data_set(tmp_path: Path) -> None:
    put(tmp_path, "a.png")
    assert "wanted a folder, or a CSV table" in complaint(tmp_path / "a.png")
