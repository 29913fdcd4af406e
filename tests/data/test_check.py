"""`amiss data check`: every trouble a data set can have, one at a time, in a small made category."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from amiss.data import check as module
from amiss.data import toys
from amiss.data.check import DataReport, check
from amiss.data.folder import Folder
from amiss.errors import BadLayout
from tests.data import files

Array = npt.NDArray[np.generic]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toys.make_folder(tmp_path_factory.mktemp("check") / "part", train=5, good=2, bad=4, size=(24, 32))


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "part")


def report(root: Path) -> DataReport:
    dataset = Folder(root)
    return check(dataset, dataset.only())


def save(path: Path, image: Array) -> Path:
    return files.written(path, files.encoded(image, path.suffix))


def said(texts: tuple[str, ...], words: str) -> str:
    """The one sentence with these words."""
    (text,) = [text for text in texts if words in text]
    return text


def test_a_sound_category_has_no_problems(root: Path) -> None:
    found = report(root)
    assert found.category == "part" and not found.fatal
    assert found.counts == {
        "train": {"good": 5},
        "test": {"good": 2, "missing": 1, "scratch": 1, "spot": 1, "stain": 1},
    }
    assert found.sizes == {"32 x 24": 11}
    assert (found.depths, found.colours) == ({"uint8": 11}, {"colour": 11})
    assert found.problems == ()
    assert not any((found.unreadable, found.duplicates, found.leaks, found.odd_sizes, found.masks_missing, found.orphans))


def test_unreadable_pictures_are_named_with_their_reasons(root: Path) -> None:
    cut, empty = root / "train/good/001.png", root / "test/good/000.png"
    cut.write_bytes(cut.read_bytes()[:100])
    empty.write_bytes(b"")
    found = report(root)
    assert set(found.unreadable) == {str(cut), str(empty)}
    assert "cut off" in found.unreadable[str(cut)] and "empty" in found.unreadable[str(empty)]
    assert said(found.problems, "cannot be read").startswith(
        f"2 of 11 pictures cannot be read; first: {cut}: the file is cut off"
    )
    assert not found.fatal and found.sizes == {"32 x 24": 9}


def test_any_number_of_bad_files_is_survived(root: Path) -> None:
    for path in root.rglob("*.png"):
        path.write_bytes(b"all gone")
    found = report(root)
    assert (len(found.unreadable), len(found.unreadable_masks)) == (11, 4)
    assert found.fatal and found.problems[0] == "no good picture can be read, so nothing can be fitted"
    assert said(found.disabled, "nothing can be fitted") and said(found.disabled, "nothing can be evaluated")
    assert (found.sizes, found.odd_sizes, found.dark) == ({}, {}, 0)


def test_nothing_is_fatal_while_one_good_picture_can_be_read(root: Path) -> None:
    for path in sorted((root / "train/good").iterdir())[1:]:
        path.write_bytes(b"all gone")
    assert not report(root).fatal


def test_a_picture_too_large_for_memory_is_reported(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(sample: object) -> None:
        raise MemoryError

    monkeypatch.setattr(module, "_facts", too_large)
    found = report(root)
    assert set(found.unreadable.values()) == {"it does not fit into memory"} and found.fatal


def test_unreadable_masks_are_named_with_their_reasons(root: Path) -> None:
    mask = root / "ground_truth/spot/000_mask.png"
    mask.write_bytes(b"no mask")
    found = report(root)
    assert list(found.unreadable_masks) == [str(mask)] and not found.unreadable
    assert said(found.problems, "1 mask cannot be read")
    assert said(found.disabled, "pixel AUROC, pixel AP and AUPRO cannot be computed")


def test_duplicates_are_found_by_decoded_content_not_by_bytes(root: Path) -> None:
    first = root / "train/good/000.png"
    image = toys.samples(0, 1, "texture", (24, 32))[0].image
    assert image is not None
    for name in ("0.png", "1.bmp", "2.tif"):
        save(root / "train/good" / name, image)
    found = report(root)
    group = tuple(str(root / "train/good" / name) for name in ("0.png", "1.bmp", "2.tif"))
    assert found.duplicates == (group,) and str(first) not in group
    assert found.leaks == found.contradictions == ()
    assert said(found.problems, "2 pictures identical to another one")


def test_pictures_in_train_and_test_are_leaks(root: Path) -> None:
    learned, judged = root / "train/good/002.png", root / "test/good/copy.png"
    shutil.copy(learned, judged)
    found = report(root)
    assert found.leaks == ({"train": (str(learned),), "test": (str(judged),)},)
    assert found.duplicates == ((str(learned), str(judged)),)
    assert found.contradictions == ()
    assert "1 picture in more than one of train, test" in found.problems[0]


def test_pictures_in_calibration_and_test_or_train_are_leaks(root: Path) -> None:
    (root / "validation/good").mkdir(parents=True)
    shutil.copy(root / "test/good/000.png", root / "validation/good/0.png")
    shutil.copy(root / "train/good/000.png", root / "validation/good/1.png")
    assert {tuple(group) for group in report(root).leaks} == {("calibration", "test"), ("train", "calibration")}


def test_the_same_content_with_both_labels_is_a_contradiction_and_comes_first(root: Path) -> None:
    good, bad = root / "train/good/003.png", root / "test/spot/again.png"
    shutil.copy(good, bad)
    (root / "train/good/004.png").write_bytes(b"")
    found = report(root)
    assert found.contradictions == ({"good": (str(good),), "defective": (str(bad),)},)
    assert "both labels" in found.problems[0]
    order = [
        next(i for i, text in enumerate(found.problems) if words in text) for words in ("both labels", "more than one", "read")
    ]
    assert order == sorted(order)


def test_a_table_without_splits_leaks_by_its_nature(root: Path) -> None:
    table = files.written(root / "all.csv", b"path,label\ntrain/good/000.png,good\ntest/spot/000.png,spot\n")
    found = report(table)
    path = str(root / "train/good/000.png")
    assert found.leaks == ({"train": (path,), "test": (path,)},)
    assert found.duplicates == ()
    assert "have no split" in found.problems[-1]


def test_a_line_that_is_repeated_is_a_problem_of_its_own(root: Path) -> None:
    lines = b"path,label,split\ntrain/good/000.png,good,train\ntrain/good/000.png,good,train\n"
    found = report(files.written(root / "all.csv", lines))
    assert found.duplicates == found.leaks == ()
    assert said(found.problems, "1 lines list a picture a second time")


def test_a_picture_of_another_size_is_odd(root: Path) -> None:
    save(root / "train/good/wide.png", files.colours(24, 33))
    found = report(root)
    assert found.sizes == {"32 x 24": 11, "33 x 24": 1}
    assert found.odd_sizes == {str(root / "train/good/wide.png"): "33 x 24"}
    assert found.odd_shapes == {}
    assert said(found.problems, "not of the most common size, 32 x 24; first: ")


@pytest.mark.parametrize(("height", "width", "odd"), [(24, 36, True), (24, 35, False), (32, 24, True), (48, 64, False)])
def test_a_picture_of_another_shape_is_odder(height: int, width: int, odd: bool, root: Path) -> None:
    path = save(root / "train/good/odd.png", files.colours(height, width))
    found = report(root)
    assert found.odd_sizes == {str(path): f"{width} x {height}"}
    assert found.odd_shapes == ({str(path): f"{width} x {height}"} if odd else {})
    assert any("another ratio" in text for text in found.problems) is odd


def test_sizes_that_vary_anyway_are_one_sentence(root: Path) -> None:
    for number in range(12):
        save(root / f"train/good/v{number}.png", files.colours(30 + number, 40))
    found = report(root)
    assert said(found.problems, "sizes vary: 13 sizes among 23 pictures")
    assert said(found.problems, "ratio of the sides varies")
    assert not any("most common" in text for text in found.problems)


def test_mixed_depths_and_colours_are_counted(root: Path) -> None:
    save(root / "train/good/deep.png", files.colours(24, 32, "uint16"))
    save(root / "train/good/grey.png", files.colours(24, 32)[..., 0])
    found = report(root)
    assert found.depths == {"uint8": 12, "uint16": 1} and found.colours == {"colour": 12, "grey": 1}
    assert said(found.problems, "depths of pictures are mixed: 12 uint8, 1 uint16")
    assert said(found.problems, "grey and colour pictures are mixed: 12 colour, 1 grey")


@pytest.mark.parametrize(("peaks", "dark"), [((4095, 900), 2), ((4095, 60000), 0), ((16384,), 0), ((0,), 0)])
def test_twelve_bits_in_sixteen_are_told_from_a_full_range(peaks: tuple[int, ...], dark: int, tmp_path: Path) -> None:
    for number, peak in enumerate(peaks):
        save(tmp_path / f"{number}.png", np.linspace(0, peak, 64).reshape(8, 8).astype(np.uint16))
    found = report(tmp_path)
    assert found.dark == dark
    assert any("lowest quarter of their range" in text for text in found.problems) is bool(dark)


def test_missing_masks_are_named_when_others_are_there(root: Path) -> None:
    (root / "ground_truth/stain/000_mask.png").unlink()
    found = report(root)
    assert found.masks_missing == (str(root / "test/stain/000.png"),)
    assert said(found.problems, "1 defective test picture without a mask while others have one")
    assert said(
        found.disabled, "1 of 4 defective test pictures have no mask: pixel AUROC, pixel AP and AUPRO cannot be computed"
    )


def test_no_masks_at_all_is_no_problem_but_disables_the_pixel_figures(root: Path) -> None:
    shutil.rmtree(root / "ground_truth")
    found = report(root)
    assert len(found.masks_missing) == 4 and found.problems == ()
    assert said(found.disabled, "no masks: pixel AUROC, pixel AP and AUPRO cannot be computed")


def test_a_mask_of_another_size_is_named_with_both_sizes(root: Path) -> None:
    mask = save(root / "ground_truth/spot/000_mask.png", np.full((12, 16), 255, np.uint8))
    found = report(root)
    assert found.masks_odd == {str(mask): "16 x 12, its picture 32 x 24"}
    assert said(found.problems, "1 mask of another size than the picture")
    assert said(found.disabled, "do not fit their picture")


def test_a_mask_that_marks_nothing_is_named(root: Path) -> None:
    mask = save(root / "ground_truth/spot/000_mask.png", np.zeros((24, 32), np.uint8))
    found = report(root)
    assert found.masks_empty == (str(mask),)
    assert said(found.problems, "1 mask of defective parts without any marked pixel")


def test_a_mask_beside_an_unreadable_picture_is_still_looked_at(root: Path) -> None:
    (root / "test/spot/000.png").write_bytes(b"")
    mask = save(root / "ground_truth/spot/000_mask.png", np.zeros((12, 16), np.uint8))
    found = report(root)
    assert found.masks_empty == (str(mask),) and found.masks_odd == {}


def test_mask_files_without_a_picture_are_orphans(root: Path) -> None:
    strays = [
        save(root / "ground_truth" / name, np.eye(8, dtype=np.uint8)) for name in ("spot/9_mask.png", "burr/000_mask.png")
    ]
    found = report(root)
    assert set(found.orphans) == {str(path) for path in strays}
    assert said(found.problems, "2 mask files without a picture")


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        (["test", "ground_truth"], "no test pictures: nothing can be evaluated"),
        (["test/good"], "no good test pictures: image AUROC and the false-alarm rate cannot be computed"),
        (["test/spot", "test/scratch", "test/missing", "test/stain"], "no defective test pictures: image AUROC"),
    ],
)
def test_what_the_test_split_lacks_is_said(gone: list[str], words: str, root: Path) -> None:
    for name in gone:
        shutil.rmtree(root / name)
    assert said(report(root).disabled, words)


def test_few_good_parts_are_said_to_extrapolate(root: Path) -> None:
    texts = report(root).disabled
    assert said(texts, "fewer than 99 good parts (5): a false-alarm budget of 1 in 100 is extrapolated")
    assert said(texts, "only 5 good parts, fewer than 8: no verdict is NG")


def test_calibration_parts_are_what_counts_where_there_are_some(root: Path) -> None:
    for number in range(99):
        save(root / f"validation/good/{number}.png", files.colours(8, 8) // np.uint8(number + 2))
    assert not any("good parts" in text for text in report(root).disabled)


def test_notes_of_the_layout_come_last(root: Path) -> None:
    shutil.copy(root / "train/good/000.png", root / "test/stray.png")
    assert "lie directly in test/" in report(root).problems[-1]


def test_the_report_is_plain_json(root: Path) -> None:
    (root / "train/good/001.png").write_bytes(b"")
    shutil.copy(root / "train/good/002.png", root / "test/spot/002.png")
    found = report(root)
    values = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert values == found.to_json()
    assert values["fatal"] is False and values["counts"]["train"] == {"good": 5}
    assert values["leaks"] == [{"train": [str(root / "train/good/002.png")], "test": [str(root / "test/spot/002.png")]}]
    assert set(values) == set(DataReport.__dataclass_fields__)


def test_names_that_are_not_utf8_can_be_printed(root: Path) -> None:
    files.written(root / "train/good" / os.fsdecode(b"caf\xe9.png"), b"")
    values = report(root).to_json()
    json.dumps(values, ensure_ascii=False).encode("utf-8")
    assert "caf\\xe9.png" in next(iter(values["unreadable"]))


def test_progress_tells_stage_and_count(root: Path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    dataset = Folder(root)
    check(dataset, "part", progress=lambda *call: calls.append(call))
    assert calls[:11] == [("reading pictures", done, 11) for done in range(1, 12)]
    assert calls[11:] == [("reading masks", done, 4) for done in range(1, 5)]


def test_every_file_is_read_once_and_let_go(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from amiss.data import dataset as reading

    read: list[str] = []
    original = reading.read_sample
    monkeypatch.setattr(reading, "read_sample", lambda path, **named: read.append(str(path)) or original(path, **named))
    table = files.written(root / "all.csv", b"path,label\ntrain/good/000.png,good\ntest/spot/000.png,spot\n")
    report(table)
    assert sorted(read) == [str(root / "test/spot/000.png"), str(root / "train/good/000.png")]


def test_a_bare_folder_can_be_checked(root: Path) -> None:
    found = report(root / "train/good")
    assert found.counts == {"train": {"good": 5}} and not found.fatal
    assert said(found.disabled, "nothing can be evaluated")


def test_an_unknown_category_is_refused(root: Path) -> None:
    with pytest.raises(BadLayout):
        check(Folder(root), "bolt")


def test_a_report_cannot_be_changed(root: Path) -> None:
    found = report(root)
    with pytest.raises(AttributeError):
        found.fatal = True  # type: ignore[misc]
    assert replace(found, fatal=True).fatal
