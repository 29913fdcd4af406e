"""What is particular to Real3D-AD and Anomaly-ShapeNet: names that label, and texts that hold the points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import amiss
from amiss.data.anomaly_shapenet import AnomalyShapenet
from amiss.data.check import check
from amiss.data.dataset import Dataset, Entry
from amiss.data.real3d_ad import Real3dAd
from amiss.errors import BadLayout, UnreadableFile
from tests.conftest import Amiss
from tests.data import files, miniatures_3d
from tests.data.cloud_files import bowl, pcd, text

QUICK = {"bank": 200, "most": 900}


@pytest.fixture
def real3d(tmp_path: Path) -> Path:
    return miniatures_3d.real3d_ad(tmp_path / "goods_and_good_things")


@pytest.fixture
def shapenet(tmp_path: Path) -> Path:
    return miniatures_3d.anomaly_shapenet(tmp_path / "positive")


def listed(dataset: Dataset, split: str = "test") -> dict[str, Entry]:
    entries = dataset.split(dataset.categories[0], split).entries  # type: ignore[arg-type]
    return {entry.path.name: entry for entry in entries}


# names


def test_the_name_of_the_file_alone_says_whether_a_cloud_is_good(real3d: Path, shapenet: Path) -> None:
    found = {name: entry.kind for name, entry in listed(Real3dAd(real3d)).items()}
    assert found == {
        "10_good_cut.pcd": "good", "2_good.pcd": "good", "11_sink_cut.pcd": "sink", "3_bulge.pcd": "bulge",
        "3_bulge_copy.pcd": "bulge",
    }  # fmt: skip
    found = {name: entry.kind for name, entry in listed(AnomalyShapenet(shapenet)).items()}
    assert found == {
        "ashtray0_positive2.pcd": "good", "ashtray0_positive10.pcd": "good", "ashtray0_bulge0.pcd": "bulge",
        "ashtray0_concavity11.pcd": "concavity", "ashtray0_hole2.pcd": "hole",
    }  # fmt: skip


def test_a_template_left_in_test_is_named_and_not_judged(real3d: Path) -> None:
    (note,) = Real3dAd(real3d).notes("airplane")
    assert note.startswith("1 cloud(s) in test/ are templates by their names and are left out; first: ")
    assert note.endswith("1_temp.pcd")


def test_only_templates_and_prototypes_are_learned_from(real3d: Path) -> None:
    files.written(real3d / "airplane/train/9_good.pcd", pcd(bowl()))
    files.written(real3d / "airplane/train/.5_template.pcd", b"")
    dataset = Real3dAd(real3d)
    assert list(listed(dataset, "train")) == [f"{number}_template.pcd" for number in range(1, 5)]
    assert "1 cloud(s) in train/ are no templates by their names" in dataset.notes("airplane")[0]
    assert len(dataset.split("shell", "train").entries) == 4  # prototypes


def test_a_defect_without_a_word_of_its_own_is_called_defective(shapenet: Path) -> None:
    folder = shapenet / "pcd/ashtray0"
    for name in ("ashtray0_7", "ashtray0_good3", "ashtray0_ashtray05_2"):
        (folder / "test" / f"{name}.pcd").write_bytes(pcd(bowl()))
        (folder / "GT" / f"{name}.txt").write_bytes(text(np.ones((3, 4)), ","))
    found = listed(AnomalyShapenet(shapenet))
    assert [found[f"{name}.pcd"].kind for name in ("ashtray0_7", "ashtray0_good3")] == ["defective", "defective"]
    assert found["ashtray0_good3.pcd"].defective  # "good" says nothing here
    assert found["ashtray0_ashtray05_2.pcd"].kind == "ashtray"  # the category's name is dropped once, as a whole word


# points and labels


def test_points_of_a_defective_cloud_are_those_of_its_text_and_of_a_good_one_those_of_its_file(real3d: Path) -> None:
    found = listed(Real3dAd(real3d))
    assert len(found["3_bulge.pcd"].sample().points) == miniatures_3d.POINTS  # type: ignore[arg-type]
    np.testing.assert_array_equal(found["2_good.pcd"].sample().points, bowl_of(real3d / "airplane/test/2_good.pcd"))
    (real3d / "airplane/test/3_bulge.pcd").write_bytes(b"never read")
    assert found["3_bulge.pcd"].sample().points is not None


def bowl_of(path: Path) -> np.ndarray:
    return np.frombuffer(path.read_bytes().partition(b"DATA binary\n")[2], "<f4").reshape(-1, 3)


def test_rows_that_are_no_points_take_their_labels_with_them(real3d: Path) -> None:
    path = real3d / "airplane/gt/3_bulge.txt"
    lines = path.read_bytes().splitlines()
    marked = [line.endswith(b" 1") for line in lines]
    lines[0] = b"nan nan nan 1"
    path.write_bytes(b"\n".join(lines))
    entry = listed(Real3dAd(real3d))["3_bulge.pcd"]
    assert len(entry.sample().points) == miniatures_3d.POINTS - 1  # type: ignore[arg-type]
    np.testing.assert_array_equal(entry.truth().point_mask, marked[1:])


def test_a_missing_text_is_an_error_that_names_both_files(real3d: Path) -> None:
    gone = real3d / "airplane/gt/3_bulge.txt"
    gone.unlink()
    dataset = Real3dAd(real3d)
    entry = listed(dataset)["3_bulge.pcd"]
    for read in (entry.sample, entry.truth):
        with pytest.raises(UnreadableFile) as caught:
            read()
        assert str(caught.value).startswith(f"{entry.path}: it is defective by its name, and the text")
        assert f"{gone}, is not there; take it from the data set, or remove the cloud" in str(caught.value)
    report = check(dataset, "airplane")
    assert list(report.unreadable) == [str(entry.path)] and list(report.unreadable_masks) == [str(gone)]


@pytest.mark.parametrize(("kind", "delimiter", "met"), [(Real3dAd, ",", "commas"), (AnomalyShapenet, " ", "spaces")])
def test_a_text_with_the_delimiter_of_the_other_is_refused(
    kind: type[Dataset], delimiter: str, met: str, tmp_path: Path
) -> None:
    root = miniatures_3d.MAKERS[kind.name](tmp_path)
    entry = next(entry for entry in listed(kind(root)).values() if entry.defective)  # type: ignore[call-arg]
    assert entry.mask is not None
    entry.mask.write_bytes(text(np.ones((5, 4)), delimiter))
    with pytest.raises(UnreadableFile, match=f"its numbers stand between {met}, wanted"):
        entry.sample()


def test_a_text_with_a_row_too_short_is_refused_with_its_line(real3d: Path) -> None:
    path = real3d / "airplane/gt/3_bulge.txt"
    path.write_bytes(path.read_bytes() + b"1 2 3\n")
    with pytest.raises(UnreadableFile, match=f"line {miniatures_3d.POINTS + 1} holds 3 values where others hold 4"):
        listed(Real3dAd(real3d))["3_bulge.pcd"].truth()


def test_texts_without_a_cloud_are_orphans(shapenet: Path) -> None:
    (shapenet / "pcd/ashtray0/test/ashtray0_hole2.pcd").unlink()
    assert AnomalyShapenet(shapenet).orphans("ashtray0") == (shapenet / "pcd/ashtray0/GT/ashtray0_hole2.txt",)


# roots


def test_the_folder_pcd_and_the_folder_of_one_category_are_roots_too(shapenet: Path) -> None:
    whole = AnomalyShapenet(shapenet)
    assert whole.root == shapenet
    for root in (shapenet / "pcd", shapenet / "pcd/bowl3"):
        some = AnomalyShapenet(root)
        assert some.root == root and set(some.categories) <= set(whole.categories)
        assert [entry.id for entry in some.split("bowl3", "test").entries] == [
            entry.id for entry in whole.split("bowl3", "test").entries
        ]


def test_the_two_are_told_apart_by_the_spelling_of_their_folder(real3d: Path, shapenet: Path) -> None:
    with pytest.raises(BadLayout, match="it looks like anomaly_shapenet: use the data set anomaly_shapenet"):
        Real3dAd(shapenet / "pcd")
    with pytest.raises(BadLayout, match="it looks like real3d_ad: use the data set real3d_ad"):
        AnomalyShapenet(real3d)


def test_a_category_without_its_texts_is_told_what_is_missing(real3d: Path) -> None:
    for name in ("airplane", "shell"):
        (real3d / name / "gt").rename(real3d / name / "Gt")
    with pytest.raises(BadLayout, match="'Gt' is nearly 'gt': rename it"):
        Real3dAd(real3d)


@pytest.mark.parametrize("name", ["real3d_ad", "anomaly_shapenet"])
def test_one_category_given_to_the_folder_reader_is_recognised(name: str, real3d: Path, shapenet: Path) -> None:
    root = real3d / "airplane" if name == "real3d_ad" else shapenet / "pcd/bowl3"
    with pytest.raises(BadLayout, match=f"use the data set {name} "):
        amiss.dataset("folder", root)


# the whole road


@pytest.mark.parametrize("name", ["real3d_ad", "anomaly_shapenet"])
def test_check_fit_and_evaluate_by_name(name: str, amiss: Amiss, tmp_path: Path) -> None:
    root, model = miniatures_3d.MAKERS[name](tmp_path / "data"), tmp_path / "m.amiss"
    category = {"real3d_ad": "shell", "anomaly_shapenet": "bowl3"}[name]
    data = (root, "--dataset", name, "--category", category)
    looked = amiss("data", "check", *data, "--json").json
    assert looked["counts"]["test"]["good"] == 2 and looked["points"]["most"] == miniatures_3d.POINTS
    fitted = amiss("fit", *data, "--out", model, *(f"--{key}={value}" for key, value in QUICK.items()), "--json")
    assert fitted.code == 0, fitted.err
    found = amiss("evaluate", model, *data, "--json")
    assert found.code == 0, found.err
    values = found.json
    assert (values["view"], values["n_normal"], values["n_anomalous"], values["seen_in_fit"]) == ("cloud", 2, 3, 0)
    assert values["image_auroc"] is not None and values["point_auroc"] > 0.7 and values["point_aupro"] is not None
