"""What all published data sets have in common, in small and in their exact layout: categories, splits, masks, complaints."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss import catalog
from amiss.data.check import check
from amiss.data.dataset import SPLITS, Dataset, Entry
from amiss.errors import BadField, BadLayout, UnreadableFile
from tests.conftest import QUICK, Amiss
from tests.data import files, miniatures, miniatures_3d

CATEGORIES = {
    "mvtec_ad": ("bottle", "screw"), "mpdd": ("bracket_black", "tubes"), "btad": ("01", "02", "03"),
    "mvtec_loco": ("box", "juice_bottle"), "adam3d": ("1m1", "spurgear"), "visa": ("candle", "pcb1"),
    "real_iad": ("audiojack", "zipper"), "magnetic_tile": ("tile",), "elpv": ("mono", "poly"),
    "real3d_ad": ("airplane", "shell"), "anomaly_shapenet": ("ashtray0", "bowl3"), "mulsen_ad": ("capsule", "nut"),
    "mvtec_3d": ("bagel", "cable_gland"),
}  # fmt: skip
CLOUDS = sorted(miniatures_3d.MAKERS)
# train, calibration, good and defective in test
COUNTS = {
    "mvtec_ad": (4, 0, 2, 4), "mpdd": (4, 0, 2, 4), "btad": (3, 0, 2, 2), "mvtec_loco": (4, 3, 2, 3), "adam3d": (3, 2, 2, 2),
    "visa": (3, 0, 2, 3), "real_iad": (10, 0, 8, 2), "magnetic_tile": (8, 0, 2, 4), "elpv": (8, 0, 2, 3),
    "real3d_ad": (4, 0, 2, 3), "anomaly_shapenet": (4, 0, 2, 3), "mulsen_ad": (4, 0, 3, 3),
    "mvtec_3d": (4, 3, 2, 3),
}  # fmt: skip


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in miniatures.MAKERS.items()}


def listed(dataset: Dataset, category: str, split: str = "test") -> tuple[Entry, ...]:
    return dataset.split(category, split).entries  # type: ignore[arg-type]


def complaint(name: str, root: Path) -> str:
    with pytest.raises(BadLayout) as caught:
        dataset = amiss.dataset(name, root)
        dataset.split(dataset.categories[0], "test")
    return str(caught.value)


def test_every_data_set_of_the_catalog_has_a_miniature() -> None:
    assert set(miniatures.MAKERS) == set(catalog.DATASETS) - {"folder"}


@pytest.mark.parametrize("name", miniatures.MAKERS)
def test_categories_and_counts_are_those_of_the_layout(name: str, roots: dict[str, Path]) -> None:
    dataset = amiss.dataset(name, roots[name])
    assert dataset.categories == CATEGORIES[name]
    for category in dataset.categories:
        train, calibration, test = (listed(dataset, category, split) for split in SPLITS)
        bad = sum(entry.defective for entry in test)
        assert (len(train), len(calibration), len(test) - bad, bad) == COUNTS[name]
        assert not any(entry.defective for entry in (*train, *calibration))
        assert all(entry.kind == "good" or entry.defective for entry in test)


@pytest.mark.parametrize("name", miniatures.MAKERS)
def test_samples_name_their_category_and_no_picture_is_in_two_splits(name: str, roots: dict[str, Path]) -> None:
    dataset = amiss.dataset(name, roots[name])
    category = dataset.categories[-1]
    every = [entry for split in SPLITS for entry in listed(dataset, category, split)]
    assert len({entry.id for entry in every}) == len(every)
    assert {sample.part for sample in dataset.split(category, "test").samples} == {category}


@pytest.mark.parametrize("name", sorted(set(miniatures.MAKERS) - {"elpv", *CLOUDS}))
def test_every_defect_has_the_mask_of_its_own_picture(name: str, roots: dict[str, Path]) -> None:
    dataset = amiss.dataset(name, roots[name])
    for category in dataset.categories:
        split = dataset.split(category, "test")
        for entry, truth in zip(split.entries, split.truths, strict=True):
            assert truth.label == entry.defective
            if entry.defective:
                assert entry.mask is not None and entry.mask.stem.removesuffix("_mask") == entry.path.stem
                assert truth.mask is not None and truth.mask.shape == miniatures.SIZE
                assert 0 < truth.mask.sum() < truth.mask.size / 2
            else:
                assert truth.mask is None


@pytest.mark.parametrize("name", CLOUDS)
def test_every_defective_cloud_has_the_labels_of_its_own_points(name: str, roots: dict[str, Path]) -> None:
    dataset = amiss.dataset(name, roots[name])
    for category in dataset.categories:
        split = dataset.split(category, "test")
        for entry, sample, truth in zip(split.entries, split.samples, split.truths, strict=True):
            assert truth.label == entry.defective and sample.points is not None and sample.image is None
            if entry.defective:
                assert entry.mask is not None and entry.mask.stem == entry.path.stem and truth.point_mask is not None
                marked = sample.points[truth.point_mask]
                assert 5 < len(marked) < len(sample.points) / 2 and len(truth.point_mask) == len(sample.points)
                across = np.ptp(sample.points, axis=0).max()
                assert np.ptp(marked, axis=0).max() < 0.4 * across  # they lie together, as rows out of step would not
            else:
                assert truth.point_mask is None


@pytest.mark.parametrize("name", miniatures.MAKERS)
def test_a_sound_miniature_has_no_problem_and_no_orphan(name: str, roots: dict[str, Path]) -> None:
    dataset = amiss.dataset(name, roots[name])
    found = check(dataset, dataset.categories[0])
    assert not found.orphans and not found.fatal
    assert [text for text in found.problems if "left out" not in text] == []


@pytest.mark.parametrize("name", miniatures.MAKERS)
def test_the_constructor_opens_no_picture_and_no_mask(
    name: str, roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def touched(*arguments: object) -> None:
        raise AssertionError(arguments)

    monkeypatch.setattr("amiss.data.tree.pictures", touched)
    monkeypatch.setattr("amiss.data.dataset.read_sample", touched)
    monkeypatch.setattr("amiss.data.draw._place", touched)
    amiss.dataset(name, roots[name])


@pytest.mark.parametrize("name", CLOUDS)
def test_listing_opens_no_cloud(name: str, roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*arguments: object, **options: object) -> None:
        raise AssertionError(arguments)

    for module in ("amiss.data.clouds", "amiss.data.readers"):
        monkeypatch.setattr(f"{module}.file_size", touched)
    dataset = amiss.dataset(name, roots[name])
    assert all(listed(dataset, category, split) is not None for category in dataset.categories for split in SPLITS)
    with pytest.raises(AssertionError):
        list(dataset.split(dataset.categories[0], "train").samples)


@pytest.mark.parametrize(
    "name", ["mvtec_ad", "mpdd", "btad", "mvtec_loco", "adam3d", "visa", "magnetic_tile", "mulsen_ad", "mvtec_3d"]
)
def test_a_missing_mask_takes_no_other_ones_place(name: str, roots: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(roots[name], tmp_path / "data")
    if name == "visa":
        root = miniatures.visa_tree(tmp_path / "tree")
    dataset = amiss.dataset(name, root)
    category = dataset.categories[0]
    first = next(entry for entry in listed(dataset, category) if entry.defective)
    assert first.mask is not None
    shutil.rmtree(first.mask) if first.mask.is_dir() else first.mask.unlink()
    again = {entry.path: entry.mask for entry in listed(amiss.dataset(name, root), category) if entry.defective}
    assert again.pop(first.path) is None
    assert all(mask is not None and mask.stem.removesuffix("_mask") == path.stem for path, mask in again.items())
    assert check(amiss.dataset(name, root), category).masks_missing == (str(first.path),)


@pytest.mark.parametrize("name", ["mvtec_ad", "btad", "mvtec_loco", "adam3d", "visa", "real_iad", "magnetic_tile"])
def test_a_mask_of_another_size_is_named(name: str, roots: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(roots[name], tmp_path / "data")
    dataset = amiss.dataset(name, root)
    category = dataset.categories[0]
    mask = next(entry.mask for entry in reversed(listed(dataset, category)) if entry.defective)
    assert mask is not None
    odd = sorted(mask.iterdir())[0] if mask.is_dir() else mask
    miniatures.save(odd, np.full((10, 12), 255, np.uint8))
    assert list(check(dataset, category).masks_odd.values()) == ["12 x 10, its picture 40 x 32"]


# another layout than the one asked for


@pytest.mark.parametrize("name", sorted(set(miniatures.MAKERS) - {"mvtec_ad", "mpdd", "btad", "adam3d"}))
def test_a_root_of_another_data_set_is_recognised(name: str, roots: dict[str, Path]) -> None:
    text = complaint("btad", roots[name])
    assert text.startswith(f"{roots[name]} is not laid out as btad: expected <01|02|03>/train/ok")
    assert text.endswith(f"; it looks like {name}: use the data set {name} (--dataset {name})")


@pytest.mark.parametrize(("asked", "met"), [("visa", "btad"), ("visa", "mpdd"), ("btad", "adam3d"), ("real_iad", "mvtec_ad")])
def test_related_layouts_are_told_apart(asked: str, met: str, roots: dict[str, Path]) -> None:
    assert f"it looks like {met}:" in complaint(asked, roots[met])


@pytest.mark.parametrize("name", sorted(set(miniatures.MAKERS) - {"elpv"}))
def test_the_folder_reader_names_the_data_set_that_fits(name: str, roots: dict[str, Path]) -> None:
    assert f"use the data set {name} (--dataset {name})" in complaint("folder", roots[name])


@pytest.mark.parametrize("name", miniatures.MAKERS)
def test_a_root_one_folder_too_high_names_the_right_one(name: str, roots: dict[str, Path], tmp_path: Path) -> None:
    inner = shutil.copytree(roots[name], tmp_path / "download" / "data")
    assert complaint(name, tmp_path / "download").endswith(f"; a folder in it fits: give {inner}")


@pytest.mark.parametrize(("name", "inside"), [("visa", "candle"), ("real_iad", "realiad_256"), ("magnetic_tile", "MT_Free")])
def test_a_root_one_folder_too_low_names_the_one_above(name: str, inside: str, roots: dict[str, Path]) -> None:
    assert complaint(name, roots[name] / inside).endswith(f"; the folder above fits: give {roots[name]}")


@pytest.mark.parametrize("name", ["mvtec_ad", "mpdd", "btad", "mvtec_loco", "adam3d", "real3d_ad", "mulsen_ad", "mvtec_3d"])
def test_the_folder_of_one_category_is_a_data_set_of_one(
    name: str, roots: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    category = CATEGORIES[name][0]
    dataset = amiss.dataset(name, roots[name] / category)
    assert dataset.only() == category
    assert [entry.id for entry in listed(dataset, category)] == [
        entry.id for entry in listed(amiss.dataset(name, roots[name]), category)
    ]
    monkeypatch.chdir(roots[name] / category)
    assert amiss.dataset(name, ".").only() == category


def test_names_that_are_nearly_right_are_pointed_out(tmp_path: Path) -> None:
    files.written(tmp_path / "bottle/Train/good/0.png", b"")
    files.written(tmp_path / "bottle/groundtruth/cut/0.png", b"")
    text = complaint("mvtec_ad", tmp_path)
    assert "found bottle/; 'Train' is nearly 'train', 'groundtruth' is nearly 'ground_truth': rename it" in text


def test_a_missing_or_empty_root_is_named(tmp_path: Path) -> None:
    (tmp_path / "mvtec").mkdir()
    assert f"there is no such folder, did you mean {tmp_path / 'mvtec'}?" in complaint("mvtec_ad", tmp_path / "mvtecc")
    assert "there is no such folder; btad wants" in complaint("btad", tmp_path / "nowhere" / "far")
    assert "found nothing; see docs/data.md" in complaint("visa", tmp_path / "mvtec")
    assert "this is a file; elpv wants a folder with" in complaint("elpv", files.written(tmp_path / "labels.csv", b""))


def test_a_long_root_is_not_listed_whole(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / f"{number:02d}x").mkdir()
    assert "found 00x/, 01x/, 02x/, 03x/, 04x/, 05x/, 06x/, 07x/ and 12 more" in complaint("btad", tmp_path)


def test_a_category_that_is_not_laid_out_as_the_others_is_said_to_be_there(roots: dict[str, Path], tmp_path: Path) -> None:
    root = shutil.copytree(roots["mvtec_ad"], tmp_path / "data")
    shutil.rmtree(root / "screw/train")
    dataset = amiss.dataset("mvtec_ad", root)
    assert dataset.categories == ("bottle",)
    with pytest.raises(BadLayout, match="holds 'bottle', not 'screw'; that folder is there, but it is not laid out as"):
        dataset.split("screw", "train")
    with pytest.raises(BadField, match="split 'val'"):
        dataset.split("bottle", "val")  # type: ignore[arg-type]


def test_loco_pictures_with_one_mask_each_are_sent_to_the_other_reader_and_back(roots: dict[str, Path], tmp_path: Path) -> None:
    assert "several masks of one picture" in complaint("mvtec_ad", roots["mvtec_loco"])
    flat = miniatures.mvtec_ad(tmp_path, ("juice",)) / "juice"
    (flat / "test/cut").rename(flat / "test/logical_anomalies")
    (flat / "ground_truth/cut").rename(flat / "ground_truth/logical_anomalies")
    assert "no defects_config.json" in complaint("mvtec_loco", tmp_path)
    shutil.copy(roots["mvtec_loco"] / "box/defects_config.json", flat)
    text = complaint("mvtec_loco", tmp_path)
    assert "000 has a mask file, wanted a folder with one mask a defect" in text and "--dataset mvtec_ad" in text


# the front door and the command line


def test_options_and_roots_are_checked_at_the_front_door(roots: dict[str, Path]) -> None:
    with pytest.raises(BadField, match=r"options of real_iad has no 'resolutoin'; did you mean 'resolution'"):
        amiss.dataset("real_iad", roots["real_iad"], resolutoin="256")
    with pytest.raises(BadField, match="the data set visa needs a root: split_csv/1cls"):
        amiss.dataset("visa")


def test_a_picture_that_cannot_be_opened_ends_a_draw_with_its_name(tmp_path: Path) -> None:
    root = miniatures.magnetic_tile(tmp_path)
    (root / "MT_Free/Imgs/003.jpg").unlink()
    (root / "MT_Free/Imgs/003.jpg").symlink_to(root / "gone.jpg")
    with pytest.raises(UnreadableFile, match=r"003\.jpg: No such file"):
        amiss.dataset("magnetic_tile", root).split("tile", "train")


@pytest.mark.parametrize(("name", "category"), [("visa", "pcb1"), ("mvtec_loco", "box")])
def test_fit_check_and_evaluate_by_name_and_category(
    amiss: Amiss, name: str, category: str, roots: dict[str, Path], tmp_path: Path
) -> None:
    data, model = (roots[name], "--dataset", name, "--category", category), tmp_path / "m.amiss"
    assert amiss("data", "check", *data, "--json").json["category"] == category
    fitted = amiss("fit", *data, "--out", model, *QUICK, "--json")
    assert fitted.code == 0, fitted.err
    assert fitted.json["parts"] == COUNTS[name][0]
    found = amiss("evaluate", model, *data, "--json")
    assert found.code == 0, found.err
    assert (found.json["n_normal"], found.json["n_anomalous"], found.json["seen_in_fit"]) == (*COUNTS[name][2:], 0)
    assert found.json["image_auroc"] is not None and found.json["pixel_auroc"] is not None


def test_the_words_of_fit_may_stand_in_any_order(amiss: Amiss, roots: dict[str, Path], tmp_path: Path) -> None:
    said = amiss(
        "fit",
        "--dataset",
        "btad",
        "--size",
        "64",
        "--category=02",
        roots["btad"],
        "--bank",
        "50",
        "-o",
        tmp_path / "m",
        "--json",
    )
    assert said.code == 0 and said.json["parts"] == 3


@pytest.mark.parametrize("command", ["fit", "check"])
def test_a_category_is_asked_for_by_name_where_there_are_several(
    amiss: Amiss, command: str, roots: dict[str, Path], tmp_path: Path
) -> None:
    words = ("fit", "--out", tmp_path / "m") if command == "fit" else ("data", "check")
    said = amiss(*words, roots["btad"], "--dataset", "btad")
    assert said.code == 2 and "holds 3 categories; name one of 01, 02, 03 (--category NAME)" in said.err
    said = amiss(*words, roots["btad"], "--dataset", "btda")
    assert said.code == 2 and "did you mean 'btad'" in said.err
    said = amiss(*words)
    assert said.code == 2 and "the data set folder needs a root" in said.err


def test_data_sets_are_listed_with_a_line_each(amiss: Amiss) -> None:
    rows = amiss("data", "sets", "--json").json["datasets"]
    assert [row["name"] for row in rows] == list(catalog.DATASETS)
    assert all(row["about"] and row["layout"] for row in rows)
    assert "real_iad" in amiss("data", "sets").out
