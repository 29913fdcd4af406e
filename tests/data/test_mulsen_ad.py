"""What is particular to MulSen-AD: labels from a table of another sensor, and marks as bare places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from amiss.data.check import check
from amiss.data.dataset import Entry
from amiss.data.mulsen_ad import MulsenAd
from amiss.data.readers import read_cloud
from amiss.errors import BadField, BadLayout, UnreadableFile
from tests.conftest import Amiss
from tests.data import files, miniatures_3d
from tests.data.cloud_files import CUBE, SQUARES, halves, stl


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return miniatures_3d.mulsen_ad(tmp_path)


def listed(root: Path, split: str = "test") -> list[tuple[str, str, str]]:
    """Folder, name and kind."""
    entries = MulsenAd(root).split("capsule", split).entries  # type: ignore[arg-type]
    return [(entry.path.parent.name, entry.path.name, entry.kind) for entry in entries]


def entry_of(root: Path, kind: str = "crack", number: int = 2, **options: float) -> Entry:
    found = MulsenAd(root, **options).split("capsule", "test").entries
    return next(entry for entry in found if entry.path.parts[-2:] == (kind, f"{number}.stl"))


def complaint(root: Path) -> str:
    with pytest.raises(BadLayout) as caught:
        MulsenAd(root).split("capsule", "test")
    return str(caught.value)


# labels


def test_rows_go_with_scans_in_the_order_of_their_numbers_and_the_third_label_counts(root: Path) -> None:
    """By name 10 and 11 would come before 2, and the row of 2 would label 10."""
    assert listed(root) == [
        ("crack", "2.stl", "crack"), ("crack", "10.stl", "good"), ("crack", "11.stl", "crack"),
        ("good", "0.stl", "good"), ("good", "1.stl", "good"), ("hole", "0.stl", "hole"),
    ]  # fmt: skip
    assert [entry.defective for entry in MulsenAd(root).split("capsule", "test").entries] == [
        True,
        False,
        True,
        False,
        False,
        True,
    ]


def test_scans_to_learn_from_are_in_the_order_of_their_numbers_too(root: Path) -> None:
    for number in (3, 2):
        path = root / f"capsule/Pointcloud/train/{number}.stl"
        path.rename(path.with_name(f"{number * 10}.stl"))
    assert [name for _, name, _ in listed(root, "train")] == ["0.stl", "1.stl", "20.stl", "30.stl"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a,1,1,1", "a,1,1,0"], "has 2 rows below its header, and .*crack has 3 scans; wanted a row for every scan"),
        (["a,1,1,1", "a,1,1", "a,1,1,1"], "data.csv, line 3: 'a,1,1'; wanted an object and three labels, each 0 or 1"),
        (["a,1,1,1", "a,1,1,yes", "a,1,1,1"], "line 3: 'a,1,1,yes'"),
        ([], "has 0 rows below its header"),
    ],
)
def test_a_table_that_does_not_fit_its_scans_is_refused(rows: list[str], words: str, root: Path) -> None:
    table = root / "capsule/RGB/GT/crack/data.csv"
    table.write_text("\n".join(["object,l1,l2,l3", *rows]))
    with pytest.raises(BadLayout, match=words):
        MulsenAd(root).split("capsule", "test")


def test_a_missing_table_is_named_since_no_folder_tells_what_is_defective(root: Path) -> None:
    table = root / "capsule/RGB/GT/crack/data.csv"
    table.unlink()
    assert complaint(root) == f"{table}: there is no such file, which says what scans are defective; take it from the data set"
    (root / "capsule/RGB/GT/good/data.csv").unlink()  # of good parts none is needed
    assert "good" not in complaint(root)


def test_a_scan_without_a_number_has_no_row(root: Path) -> None:
    path = root / "capsule/Pointcloud/test/crack/11.stl"
    path.rename(path.with_name("last.stl"))
    assert "last.stl: its name ends with no number, which tells its row in" in complaint(root)


# marks


def test_the_vertex_nearest_to_each_place_is_marked(root: Path) -> None:
    entry = entry_of(root)
    points, _, marked = miniatures_3d.mesh(50, bump=True)  # as the miniature makes it
    wanted = {tuple(point) for point in points[marked].tolist()}
    sample, truth = entry.sample(), entry.truth()
    assert sample.points is not None and truth.point_mask is not None and len(sample.points) == len(points)
    assert {tuple(point) for point in sample.points[truth.point_mask].tolist()} == wanted


def test_points_are_the_vertices_in_their_own_coordinates_however_large_the_facets_are(root: Path) -> None:
    corners = CUBE[np.array(halves(SQUARES))] + np.float32(100)
    path = files.written(root / "capsule/Pointcloud/test/crack/2.stl", stl(corners))
    files.written(root / "capsule/Pointcloud/GT/crack/2.txt", b"100,100,100\n102,100.5,102\n102,100,102\n")
    entry = entry_of(root)
    sample, truth = entry.sample(), entry.truth()
    assert len(read_cloud(path).points) == 100_000 and sample.points is not None  # type: ignore[arg-type]
    assert {tuple(point) for point in sample.points.tolist()} == {tuple(point) for point in (CUBE + 100).tolist()}
    marked = sample.points[truth.point_mask]
    assert sorted(map(tuple, marked.tolist())) == [(100, 100, 100), (102, 100, 102)]  # two places of one vertex mark it once


def test_a_place_off_the_scan_is_named_with_its_row_and_distance(root: Path) -> None:
    text = root / "capsule/Pointcloud/GT/crack/2.txt"
    text.write_bytes(text.read_bytes() + b"1.5,2.5,90\n0,0,-50\n")
    rows = text.read_bytes().count(b"\n")
    entry = entry_of(root)
    with pytest.raises(UnreadableFile) as caught:
        entry.truth()
    said = str(caught.value)
    assert said.startswith(f"{text}: 2 of its {rows} places have no vertex of {entry.path} within ")
    assert f"the first, (1.5, 2.5, 90) in row {rows - 1}, is 8" in said and "option tolerance" in said
    far = entry_of(root, tolerance=1e4).truth()
    assert far.point_mask is not None and far.point_mask.sum() == rows  # the two and those from before


@pytest.mark.parametrize("tolerance", [0, -1, float("nan"), float("inf")])
def test_a_tolerance_that_is_none_is_refused(tolerance: float, root: Path) -> None:
    with pytest.raises(BadField, match=r"tolerance = .*: wanted a finite number above 0"):
        MulsenAd(root, tolerance=tolerance)


def test_places_between_spaces_are_refused(root: Path) -> None:
    text = root / "capsule/Pointcloud/GT/crack/2.txt"
    text.write_bytes(text.read_bytes().replace(b",", b" "))
    with pytest.raises(UnreadableFile, match="its numbers stand between spaces, wanted commas"):
        entry_of(root).truth()


def test_texts_of_good_scans_are_not_read_and_those_without_a_scan_are_orphans(root: Path) -> None:
    good = files.written(root / "capsule/Pointcloud/GT/crack/10.txt", b"never read")
    lost = files.written(root / "capsule/Pointcloud/GT/crack/12.txt", b"never read")
    dataset = MulsenAd(root)
    assert dataset.orphans("capsule") == (lost,) and entry_of(root, number=10).mask is None
    assert str(good) not in check(dataset, "capsule").unreadable_masks


# the whole road


def test_a_root_of_three_sensors_is_recognised_by_the_folder_reader(root: Path, amiss: Amiss) -> None:
    said = amiss("data", "check", root)
    assert said.code == 2 and "it looks like mulsen_ad: use the data set mulsen_ad (--dataset mulsen_ad)" in said.err


def test_check_fit_and_evaluate_by_name(root: Path, amiss: Amiss, tmp_path: Path) -> None:
    data, model = (root, "--dataset", "mulsen_ad", "--category", "capsule"), tmp_path / "m.amiss"
    looked = amiss("data", "check", *data, "--json").json
    assert looked["counts"]["test"] == {"good": 3, "crack": 2, "hole": 1} and looked["problems"] == []
    fitted = amiss("fit", *data, "--out", model, "--bank=200", "--most=900", "--json")
    assert fitted.code == 0, fitted.err
    found = amiss("evaluate", model, *data, "--json")
    assert found.code == 0, found.err
    values = found.json
    assert (values["view"], values["n_normal"], values["n_anomalous"]) == ("cloud", 3, 3)
    assert values["image_auroc"] == 1.0 and values["point_auroc"] > 0.7 and values["point_aupro"] is not None
