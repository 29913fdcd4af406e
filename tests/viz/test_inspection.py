"""An inspection of clouds: which files it leaves, what they hold, and what it takes back."""

from __future__ import annotations

import base64
import csv
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from amiss.calibration import Calibration
from amiss.contract import Detector, Progress, State
from amiss.data.ply_writer import write_ply
from amiss.data.readers import read_cloud, read_cloud_rows
from amiss.errors import BadSample, CannotWrite, UnreadableFile
from amiss.model import Model
from amiss.spread import PointSpread
from amiss.types import Result, Sample, Truth
from amiss.viz.cloud_depiction import standpoint
from amiss.viz.inspection import Inspection, Options, display_range, inspect
from amiss.viz.table import COLUMNS

Array = np.ndarray[Any, Any]
OPTIONS = Options()


@dataclass(kw_only=True)
class Height(Detector):
    """Calls the highest point the worst one: a detector whose every figure is known beforehand."""

    name: ClassVar[str] = "height"
    paper: ClassVar[str] = "none"
    sees: ClassVar[frozenset[str]] = frozenset({"points"})
    mapped: ClassVar[bool] = True
    good: ClassVar[str] = ""
    one_sided: ClassVar[bool] = False

    @property
    def fitted(self) -> bool:
        return True

    def _learn(
        self, samples: Iterable[Sample], truths: Sequence[Truth] | None, progress: Progress, workdir: Path | None
    ) -> None: ...

    def _judge(self, sample: Sample, workdir: Path | None) -> Result:
        assert sample.points is not None
        points = sample.points
        if len(points) < 10:
            raise BadSample(f"{sample.id}: too few points")
        places = points[::3]
        worst = places[places[:, 2].argmax()]
        nearest = {"sample": self.good, "point": (1.5, -2.25, 3.0), "distance": 0.125}
        evidence = {"patch": tuple(worst.tolist()), "nearest": [nearest] if self.good else [], "one_sided": self.one_sided}
        spread = PointSpread(places, points) if self.mapped else None
        shown = places[:, 2].copy() if self.mapped else None
        return Result(id=sample.id, score=float(worst[2]), map=shown, spread=spread, evidence=evidence)

    def _state(self) -> State:
        return State({}, {})

    def _restore(self, state: State) -> None: ...


class Unmapped(Height):
    """The same without a map."""

    mapped: ClassVar[bool] = False


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run draws every cloud three times: small ones are as good here."""
    monkeypatch.setattr("amiss.viz.cloud_depiction._LARGE", 120)
    monkeypatch.setattr("amiss.viz.cloud_depiction.SIDE", 60)


def bowl(height: float, count: int = 400) -> Array:
    """Points of an open bowl, the rim `height` high."""
    flat = np.random.default_rng(0).uniform(-1, 1, (count, 2))
    return np.column_stack((flat, height * (flat**2).sum(axis=1) / 2)).astype(np.float32)


@pytest.fixture
def scans(tmp_path: Path) -> list[Path]:
    """Four clouds; the third is the worst, then the second."""
    (tmp_path / "in").mkdir()
    paths = [tmp_path / "in" / f"scan {number}.ply" for number in range(4)]
    for path, height in zip(paths, (0.2, 0.8, 1.2, 0.4), strict=True):
        write_ply(path, bowl(height))
    return paths


def model(kind: type[Height] = Height, **origin: Any) -> Model:
    return Model(kind(), Calibration(tuple(n / 100 for n in range(1, 100)), 0.01, "split"), origin)


def run(paths: Sequence[Path], out: Path, options: Options = OPTIONS, judged_by: Model | None = None) -> Inspection:
    return inspect(judged_by or model(), paths, out, options, title="bowls")


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def card_of(page: str, name: str) -> str:
    (card,) = [one for one in re.findall(r"<article.*?</article>", page, re.DOTALL) if f">{name}</h3>" in one]
    return card


def test_every_cloud_leaves_a_picture_and_a_ply_and_the_worst_ones_a_page(scans: list[Path], tmp_path: Path) -> None:
    run(scans, tmp_path / "out", Options(viewers=2))
    stems = [f"overlays/0000{number}_scan_{number}" for number in range(4)]
    kept = {f"{stem}.{kind}" for stem in stems for kind in ("jpg", "ply")}
    kept |= {"results.csv", "report.html", f"{stems[1]}.html", f"{stems[2]}.html"}
    assert names(tmp_path / "out") - {"results.parquet"} == kept


def test_the_table_of_clouds_is_that_of_pictures(scans: list[Path], tmp_path: Path) -> None:
    run(scans, tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["path"] for row in rows] == [str(path) for path in scans]
    assert rows[2]["overlay"] == "overlays/00002_scan_2.jpg" and rows[2]["verdict"] == "NG"


def test_the_ply_holds_all_points_their_raw_scores_and_their_colours(scans: list[Path], tmp_path: Path) -> None:
    run(scans, tmp_path / "out")
    path = tmp_path / "out" / "overlays" / "00002_scan_2.ply"
    cloud, given = read_cloud_rows(path), read_cloud(scans[2])
    assert (cloud.points == given.points).all()
    expected = next(iter(Height().predict([given]))).point_map()
    assert cloud.extra["score"] == pytest.approx(expected)
    colours = np.frombuffer(path.read_bytes()[-400 * 19 :], np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3), ("score", "<f4")]))[
        "rgb"
    ]
    assert (colours[expected <= 0.5] == 200).all()  # the median of the calibration: as grey as a part without a map
    assert (colours[expected >= 1.1].max(axis=1) > colours[expected >= 1.1].min(axis=1) + 40).all()


def test_the_page_of_a_cloud_starts_from_the_display_range_of_the_model(scans: list[Path], tmp_path: Path) -> None:
    run(scans, tmp_path / "out")
    page = (tmp_path / "out" / "overlays" / "00002_scan_2.html").read_text(encoding="utf-8")
    assert '"low": 0.5, "high": 1.48' in page  # the median and the threshold, and as far beyond it again
    assert ">scan 2.ply</h1>" in page and ">NG<" in page and "00002_scan_2.ply beside this page" in page


def test_the_strongest_colour_is_some_way_beyond_good_parts_that_are_all_alike() -> None:
    assert display_range(Calibration((2.0,) * 100, 0.01, "split")) == pytest.approx((2.0, 2.5))
    assert display_range(Calibration((1.0,) * 50 + (3.0,) * 50, 0.01, "split")) == pytest.approx((2.0, 4.0))
    assert display_range(None) is None


def test_a_card_names_the_worst_and_the_nearest_good_place_and_leads_to_the_page(scans: list[Path], tmp_path: Path) -> None:
    class Known(Height):
        good: ClassVar[str] = str(scans[0])

    digest = read_cloud(scans[0]).digest
    run(scans, tmp_path / "out", Options(viewers=1), model(Known, digests=[digest]))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    worst = card_of(page, "scan 2.ply")
    top = bowl(1.2)[::3]
    place = ", ".join(f"{value:.3f}" for value in top[top[:, 2].argmax()])
    assert worst.count("<img") == 4 and f"Its worst place, at {place}" in worst
    assert "scan 0.ply at 1.5, -2.25, 3, distance 0.125" in worst
    assert '<a href="./overlays/00002_scan_2.html">turn it in 3D</a>' in worst
    assert "turn it in 3D" not in card_of(page, "scan 1.ply")
    for path in re.findall(r'href="\./([^"]*)"', page):
        assert (tmp_path / "out" / unquote(path)).is_file()


def test_a_good_cloud_that_changed_since_the_fit_is_named_and_not_shown(scans: list[Path], tmp_path: Path) -> None:
    class Known(Height):
        good: ClassVar[str] = str(scans[0])

    run(scans, tmp_path / "out", judged_by=model(Known, digests=["another"]))
    assert card_of((tmp_path / "out" / "report.html").read_text(encoding="utf-8"), "scan 2.ply").count("<img") == 3


def test_the_map_is_drawn_where_the_scores_are_high(scans: list[Path], tmp_path: Path) -> None:
    run(scans, tmp_path / "out")
    picture = cv2.imread(str(tmp_path / "out" / "overlays" / "00002_scan_2.jpg"))
    assert picture.shape == (120, 240, 3)
    yellow = np.ptp(picture, axis=2) > 60
    assert yellow[:, :120].any() and yellow[:, 120:].any()
    assert np.ptp(cv2.imread(str(tmp_path / "out" / "overlays" / "00000_scan_0.jpg")), axis=2).max() < 60


def test_without_overlays_there_are_no_files_of_parts_and_no_links_to_any(scans: list[Path], tmp_path: Path) -> None:
    run(scans, tmp_path / "out", Options(overlays=False))
    assert names(tmp_path / "out") - {"results.parquet"} == {"results.csv", "report.html"}
    assert 'href="./' not in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_clouds_without_a_map_are_shown_and_leave_no_files(scans: list[Path], tmp_path: Path) -> None:
    run(scans, tmp_path / "out", judged_by=model(Unmapped))
    assert names(tmp_path / "out") - {"results.parquet"} == {"results.csv", "report.html"}
    card = card_of((tmp_path / "out" / "report.html").read_text(encoding="utf-8"), "scan 2.ply")
    assert card.count("<img") == 2 and "Its worst place" in card


def test_only_so_many_cards_have_pictures(scans: list[Path], tmp_path: Path) -> None:
    run(scans, tmp_path / "out", Options(pictures=2))
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert set(re.findall(r'<h3 class="name"[^>]*>(.*?)</h3>', page)) == {"scan 1.ply", "scan 2.ply"}


def test_of_equal_scores_the_first_keep_their_pages(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number}.ply" for number in range(3)]
    for path in paths:
        write_ply(path, bowl(1.0))
    run(paths, tmp_path / "out", Options(viewers=2))
    assert {path.name for path in (tmp_path / "out" / "overlays").glob("*.html")} == {"00000_0.html", "00001_1.html"}


def test_a_cloud_that_cannot_be_judged_stops_the_run_or_is_skipped(scans: list[Path], tmp_path: Path) -> None:
    write_ply(scans[1], bowl(1.0, count=5))
    with pytest.raises(BadSample, match="too few points"):
        run(scans, tmp_path / "out")
    assert names(tmp_path / "out") == set()
    done = run(scans, tmp_path / "out", Options(skip_unreadable=True))
    assert list(done.skipped) == [str(scans[1])] and len(done.results) == 3


def test_a_run_that_fails_leaves_the_files_of_the_last_one(scans: list[Path], tmp_path: Path) -> None:
    run(scans, tmp_path / "out")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names(tmp_path / "out")}
    scans[3].write_bytes(b"ply")
    with pytest.raises(UnreadableFile):
        run(scans, tmp_path / "out")
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names(tmp_path / "out")} == before


@pytest.mark.parametrize("writer", ["write_ply", "write_viewer"])
def test_a_full_disk_leaves_nothing_half_written(
    scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    def full(path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(f"amiss.viz.cloud_depiction.{writer}", full)
    with pytest.raises(CannotWrite, match="No space left"):
        run(scans, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_an_earlier_run_left_is_taken_away(scans: list[Path], tmp_path: Path) -> None:
    run(scans, tmp_path / "out")
    run(scans[:1], tmp_path / "out", Options(viewers=0))
    assert {path.name for path in (tmp_path / "out" / "overlays").iterdir()} == {"00000_scan_0.jpg", "00000_scan_0.ply"}


def test_a_picture_leaves_what_it_always_left(tmp_path: Path) -> None:
    class Bright(Height):
        sees: ClassVar[frozenset[str]] = frozenset({"image"})

        def _judge(self, sample: Sample, workdir: Path | None) -> Result:
            from amiss.spread import GridSpread

            assert sample.image is not None
            grey = sample.image.mean(axis=2)[::4, ::4] / 255
            return Result(
                id=sample.id, score=float(grey.max()), map=grey, spread=GridSpread(sample.image.shape[:2], grey.shape, 0),
                evidence={"patch": (0, 0, 8, 8)},
            )  # fmt: skip

    cv2.imwrite(str(tmp_path / "part.png"), np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1)))
    run([tmp_path / "part.png"], tmp_path / "out", judged_by=model(Bright))
    assert {path.name for path in (tmp_path / "out" / "overlays").iterdir()} == {"00000_part.jpg"}
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    captions = re.findall(r"<figcaption>(.*?)</figcaption>", page)
    full = '<a href="./overlays/00000_part.jpg">full size</a>'
    assert captions == ["The part", f"Map over the part {full}", "Its most anomalous patch"]
    said = re.findall(r'alt="(.*?)"', page)
    assert said == [f"{words} {tmp_path / 'part.png'}" for words in ("Picture of", "Map over", "Most anomalous patch of")]
    pictures = [base64.b64decode(data) for data in re.findall(r'src="data:image/jpeg;base64,(.*?)"', page)]
    sizes = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape[:2] for data in pictures]
    assert sizes == [(48, 64), (48, 64), (137, 160)]


def test_a_scan_of_a_camera_is_seen_from_it_and_a_field_of_heights_from_above() -> None:
    pixels = np.argwhere(np.ones((20, 20), bool)).astype(np.int32)
    flat = np.column_stack((pixels[:, 1], pixels[:, 0], np.ones(400))).astype(np.float32)
    camera = Sample(id="a", points=flat + np.float32((-10, -10, 99)), pixels=pixels, shape=(20, 20))
    heights = Sample(id="b", points=flat, pixels=pixels, shape=(20, 20))
    assert standpoint(camera)["eye"] == pytest.approx(np.zeros(3)) and standpoint(camera)["up"] == pytest.approx((0, -1, 0))
    eye, up = standpoint(heights)["eye"], standpoint(heights)["up"]
    assert eye is not None and eye[2] > 100 and up == pytest.approx((0, 1, 0))
    assert standpoint(Sample(id="c", points=flat)) == {}


def test_the_report_says_where_scans_from_one_side_met_a_model_of_whole_parts(
    scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Height, "one_sided", True)
    run(scans, tmp_path / "sides")
    assert f"{len(scans)} of the scans are from one side" in (tmp_path / "sides" / "report.html").read_text()
    monkeypatch.setattr(Height, "one_sided", False)
    run(scans, tmp_path / "whole")
    assert "from one side" not in (tmp_path / "whole" / "report.html").read_text()
