"""Channels of MVTec LOCO AD: areas and saturations by hand, and every channel that cannot be right."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from amiss.data.check import check
from amiss.data.dataset import Entry
from amiss.data.mvtec_loco import MvtecLoco, Saturation
from amiss.errors import BadLayout, UnreadableFile
from tests.data import files, miniatures


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return miniatures.mvtec_loco(tmp_path, ("box",)) / "box"


def first(root: Path) -> Entry:
    """The logical picture with three channels."""
    return next(entry for entry in MvtecLoco(root).split("box", "test").entries if entry.kind == "logical_anomalies")


def test_saturation_is_a_share_or_a_number_and_at_least_one_pixel() -> None:
    assert Saturation(0.5, True).pixels(21) == 10  # int(10.5)
    assert Saturation(12, False).pixels(20) == 12
    assert Saturation(12, False).pixels(7) == 7
    assert Saturation(0.01, True).pixels(10) == 1
    assert isinstance(Saturation(1.0, True).pixels(5), float)


def test_every_channel_is_a_region_with_its_own_saturation(root: Path) -> None:
    truth = first(root).truth()
    assert truth.regions is not None and truth.mask is not None
    areas = [(int(region.sum()), saturation) for region, saturation in truth.regions]
    assert areas == [(20, 12.0), (20, 10.0), (10, 1.0)]  # 4 x 5 absolute 12, 4 x 5 half of it, 2 x 5 at least 1
    assert truth.mask.sum() == 50
    np.testing.assert_array_equal(truth.mask, np.logical_or.reduce([region for region, _ in truth.regions]))
    assert (truth.label, truth.kind) == (True, "logical_anomalies")


def test_good_pictures_have_neither_mask_nor_regions(root: Path) -> None:
    dataset = MvtecLoco(root)
    truths = [truth for truth in dataset.split("box", "test").truths if not truth.label]
    assert len(truths) == 2 and all(truth.mask is None and truth.regions is None for truth in truths)
    assert len(dataset.split("box", "calibration").entries) == 3


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([], "nothing marked; wanted one positive value"),
        ([255, 254], "the values 254, 255; wanted one"),
        ([7], "its value 7 is not in defects_config.json, which has 253, 254, 255"),
    ],
)
def test_a_channel_that_cannot_be_right_is_named(values: list[int], words: str, root: Path) -> None:
    channel = np.zeros(miniatures.SIZE, np.uint8)
    for row, value in enumerate(values):
        channel[row] = value
    path = miniatures.save(root / "ground_truth/logical_anomalies/000/001.png", channel)
    with pytest.raises(BadLayout, match=words) as caught:
        first(root).truth()
    assert str(path) in str(caught.value)
    assert len(check(MvtecLoco(root), "box").unreadable_masks) == 1


def test_channels_of_two_sizes_and_a_folder_without_any_are_named(root: Path) -> None:
    folder = root / "ground_truth/logical_anomalies/000"
    miniatures.save(folder / "001.png", np.full((10, 12), 254, np.uint8))
    with pytest.raises(BadLayout, match="12 x 10 and 40 x 32 in it; wanted masks of one size"):
        first(root).truth()
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(BadLayout, match="no mask in it"):
        first(root).truth()


def test_a_channel_in_colour_holds_no_codes(root: Path) -> None:
    colour = np.zeros((*miniatures.SIZE, 3), np.uint8)
    colour[:3, :3, 0] = 255
    miniatures.save(root / "ground_truth/logical_anomalies/000/000.png", colour)
    with pytest.raises(UnreadableFile, match=r"000\.png: its values cannot be codes; save it as a grey PNG"):
        first(root).truth()


def test_sixteen_bit_channels_keep_their_codes(root: Path) -> None:
    channel = np.zeros(miniatures.SIZE, np.uint16)
    channel[:2] = 254
    miniatures.save(root / "ground_truth/logical_anomalies/000/001.png", channel)
    regions = first(root).truth().regions
    assert regions is not None and regions[1][1] == 40  # half of 2 x 40


def test_folders_of_masks_without_a_picture_are_orphans(root: Path) -> None:
    path = miniatures.save(root / "ground_truth/structural_anomalies/009/000.png", np.full(miniatures.SIZE, 255, np.uint8))
    assert MvtecLoco(root).orphans("box") == (path,)


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        ("[{", UnreadableFile, "it is no JSON"),
        ('{"a": 1}', BadLayout, "wanted a list of defects with pixel_value, saturation_threshold and relative_saturation"),
        (json.dumps([{"pixel_value": 255}]), BadLayout, "saturation_threshold"),
        (json.dumps([{**miniatures.CONFIG[0], "saturation_threshold": "much"}]), BadLayout, "wanted a list of defects"),
    ],
)
def test_a_broken_config_is_named(content: str, error: type[Exception], words: str, root: Path) -> None:
    files.written(root / "defects_config.json", content.encode())
    with pytest.raises(error, match=words) as caught:
        MvtecLoco(root).split("box", "test")
    assert str(root / "defects_config.json") in str(caught.value)
