"""Real-IAD: labels are those of the views, groups are parts, and the JSON files are taken at their word."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from amiss.data.real_iad import RealIad
from amiss.errors import BadField, BadLayout, UnreadableFile
from tests.data import files, miniatures


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return miniatures.real_iad(tmp_path)


def rewritten(root: Path, **changes: Any) -> None:
    path = root / "realiad_jsons/realiad_jsons/audiojack.json"
    miniatures.write_json(path, {**json.loads(path.read_text()), **changes})


def test_the_label_is_that_of_the_view(root: Path) -> None:
    part = [entry for entry in RealIad(root).split("audiojack", "test").entries if "NG" in entry.path.parts]
    assert sorted((entry.kind, entry.mask is not None) for entry in part) == [("BX", True)] * 2 + [("good", False)] * 3


def test_views_of_one_part_share_a_group_and_equal_numbers_do_not(root: Path) -> None:
    dataset = RealIad(root)
    entries = [entry for name in ("train", "test") for entry in dataset.split("audiojack", name).entries]  # type: ignore[arg-type]
    groups = Counter(entry.group for entry in entries)
    assert groups == dict.fromkeys([f"audiojack/{part}" for part in ("OK/S0001", "OK/S0002", "OK/S0003", "NG/BX/S0001")], 5)
    assert entries[0].sample().group == "audiojack/OK/S0001"


def test_the_finest_resolution_there_is_taken_unless_told(root: Path) -> None:
    assert "realiad_256" in str(RealIad(root).split("zipper", "train").entries[0].path)
    (root / "realiad_1024/zipper").mkdir(parents=True)
    assert RealIad(root).categories == ("zipper",)
    assert RealIad(root, resolution=256).categories == ("audiojack", "zipper")
    with pytest.raises(BadLayout, match="holds realiad_1024, realiad_256, not realiad_512"):
        RealIad(root, resolution="512")
    with pytest.raises(BadField, match="wanted one of 1024, 512, 256, raw"):
        RealIad(root, resolution="2048")


def test_noisy_splits_keep_their_defects_in_train_and_say_so(root: Path) -> None:
    dataset = RealIad(root, jsons="realiad_jsons_fuiad_0.1")
    assert [entry.kind for entry in dataset.split("zipper", "train").entries].count("BX") == 1
    assert dataset.notes("zipper") == ("1 of 11 train pictures are defective, as realiad_jsons_fuiad_0.1 has it",)


def test_json_folders_may_lie_beside_the_pictures(root: Path) -> None:
    (root / "realiad_jsons/realiad_jsons_fuiad_0.1").rename(root / "realiad_jsons_fuiad_0.1")
    assert RealIad(root, jsons="realiad_jsons_fuiad_0.1").categories == ("audiojack", "zipper")
    with pytest.raises(
        BadLayout, match=r"realiad_jsons_sv: wanted the JSON files .*; found realiad_jsons, realiad_jsons_fuiad"
    ):
        RealIad(root, jsons="realiad_jsons_sv")


def test_missing_pictures_and_masks_are_counted_with_the_first(root: Path) -> None:
    gone = next((root / "realiad_256/audiojack/OK/S0002").iterdir())
    gone.unlink()
    next((root / "realiad_256/audiojack/NG/BX/S0001").glob("*.png")).unlink()
    with pytest.raises(BadLayout, match=rf"audiojack\.json: 2 of 22 files it names are not there; first: {gone}; unpack"):
        RealIad(root).split("audiojack", "test")
    assert len(RealIad(root).split("zipper", "test").entries) == 10


def test_json_files_without_pictures_and_pictures_without_json_are_named(root: Path) -> None:
    for path in (root / "realiad_jsons/realiad_jsons").iterdir():
        path.rename(path.with_stem(f"{path.stem}_old"))
    with pytest.raises(BadLayout, match="no JSON file named after a category; the pictures have audiojack, zipper"):
        RealIad(root)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": None}, "no list named test; wanted train and test"),
        ({"train": [{"image_path": "a.jpg"}]}, "wanted views with image_path, mask_path and anomaly_class, met"),
        ({"train": ["a.jpg"]}, "wanted views with"),
    ],
)
def test_a_json_of_another_form_is_named(changes: dict[str, Any], words: str, root: Path) -> None:
    rewritten(root, **changes)
    with pytest.raises(BadLayout, match=rf"audiojack\.json: {words}"):
        RealIad(root).split("audiojack", "test")


def test_a_damaged_json_is_named(root: Path) -> None:
    files.written(root / "realiad_jsons/realiad_jsons/audiojack.json", b"{")
    with pytest.raises(UnreadableFile, match=r"audiojack\.json: it is no JSON"):
        RealIad(root).split("audiojack", "test")
