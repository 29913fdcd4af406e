"""The report: whole, self-contained, escaped, complete; and never half a file."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from amiss.calibration import Calibration
from amiss.errors import CannotWrite
from amiss.types import Result
from amiss.viz.overlay import jpeg
from amiss.viz.report import Card, write_report

VOID = {"meta", "input", "img", "br", "col", "link", "hr"}
NASTY = "x/<script>alert('1')</script>&\"quoted\"\udce9\x00[[cards]]\n.png"
PIXELS = jpeg(np.full((8, 8, 3), 90, np.uint8))
CALIBRATION = Calibration(tuple(n / 100 for n in range(1, 100)), 0.01, "split")  # NG above 0.99, REVIEW above 0.97


class Page(HTMLParser):
    """Reads a page: its elements with attributes, the text within each, and whatever is not balanced."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open: list[dict[str, Any]] = []
        self.elements: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.feed(content)
        self.close()
        self.faults += [f"{element['tag']} is left open" for element in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        if len(set(names)) != len(names):
            self.faults.append(f"{tag} has an attribute twice")
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append({"tag": tag, "text": "", **dict(attrs)})

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open[-1]["tag"] != tag:
            self.faults.append(f"{tag} closes {self.open[-1]['tag'] if self.open else 'nothing'}")
        elif self.open:
            self.open.pop()

    def handle_data(self, data: str) -> None:
        for element in self.open:
            element["text"] += data

    def all(self, tag: str, **wanted: str) -> list[dict[str, Any]]:
        """Elements of a tag; `class_` asks for one class among several."""
        return [
            element
            for element in self.elements
            if element["tag"] == tag
            and all(
                value in (element.get("class") or "").split() if name == "class_" else element.get(name) == value
                for name, value in wanted.items()
            )
        ]


def card(score: float, calibration: Calibration | None = CALIBRATION, **given: Any) -> Card:
    verdict = None if calibration is None else calibration.judge(score)
    evidence = {"patch": (0, 0, 4, 4), "nearest": [{"sample": "train/good/007.png", "box": (0, 0, 4, 4), "distance": 0.5}]}
    result = Result(id=f"part {score}", score=score, seconds=0.0123, evidence=evidence, verdict=verdict)
    return Card(**{"result": result, "name": f"line/shift/part_{score}.png", **given})


def full(score: float, **given: Any) -> Card:
    return card(score, picture=PIXELS, heat=PIXELS, worst=PIXELS, evidence=PIXELS, **given)


def written(
    folder: Path,
    cards: Sequence[Card],
    *,
    title: str = "Inspection",
    settings: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
) -> str:
    path = folder / "report.html"
    write_report(path, cards, title=title, settings=settings or {}, summary=summary or {}, warnings=warnings)
    return path.read_bytes().decode("utf-8")


def read(folder: Path, cards: Sequence[Card], **given: Any) -> Page:
    page = Page(written(folder, cards, **given))
    assert page.faults == []
    ids = [element["id"] for element in page.elements if "id" in element]
    assert len(set(ids)) == len(ids)
    return page


def values(page: Page, column: int) -> list[str]:
    """The sorting values of one column, row by row."""
    rows = [index for index, element in enumerate(page.elements) if element["tag"] == "tr" and "data-part" in element]
    cells = [[element for element in page.elements[at:] if element["tag"] == "td"][column] for at in rows]
    return [cell["data-value"] for cell in cells]


def test_counts_of_every_verdict_stand_at_the_top(tmp_path: Path) -> None:
    page = read(tmp_path, [card(0.1), card(0.2), card(0.975), card(5.0), card(6.0), card(7.0)])
    tiles = {tile["data-count"]: tile["text"] for tile in page.all("div", class_="tile")}
    assert tiles == {"NG": "3NG", "REVIEW": "1REVIEW", "OK": "2OK"}
    assert page.all("p", class_="lead")[0]["text"] == "6 parts: 3 NG, 1 to review, 2 OK."


def test_a_model_without_calibration_gives_no_verdict_and_says_so(tmp_path: Path) -> None:
    page = read(tmp_path, [card(1.0, None), full(2.0, calibration=None)])
    assert "not calibrated" in page.all("p", class_="lead")[0]["text"]
    assert [tile["data-count"] for tile in page.all("div", class_="tile")] == ["none"]
    assert not page.all("line", class_="threshold")
    assert {badge["text"] for badge in page.all("span", class_="badge")} == {"no verdict"}
    assert values(page, 2) == ["", ""]


def test_every_verdict_is_said_in_words_beside_its_colour(tmp_path: Path) -> None:
    badges = read(tmp_path, [full(0.1), full(0.975), full(5.0)]).all("span", class_="badge")
    assert sorted(badge["text"] for badge in badges) == ["NG", "NG", "OK", "OK", "REVIEW", "REVIEW"]
    assert all(badge["text"] in badge["class"].split() for badge in badges)


def test_thresholds_are_drawn_in_the_strip(tmp_path: Path) -> None:
    page = read(tmp_path, [card(0.1), card(5.0)])
    assert len(page.all("line", class_="threshold")) == 2
    assert [label["text"] for label in page.all("text", class_="threshold")] == ["REVIEW above 0.9700", "NG above 0.9900"]
    assert len([mark for mark in page.all("rect", class_="mark") if "data-part" in mark]) == 2


def test_the_largest_score_comes_first_in_table_and_cards(tmp_path: Path) -> None:
    page = read(tmp_path, [full(0.1), full(7.0), full(3.0)])
    assert [float(value) for value in values(page, 1)] == [7.0, 3.0, 0.1]
    assert [name["text"] for name in page.all("h3")] == ["part_7.0.png", "part_3.0.png", "part_0.1.png"]
    assert page.all("th", **{"aria-sort": "descending"})[0]["text"] == "Score"


def test_sorting_values_are_full_numbers(tmp_path: Path) -> None:
    page = read(tmp_path, [card(1 / 3), card(2e-9), card(-4.0)])
    assert [float(value) for value in values(page, 1)] == [1 / 3, 2e-9, -4.0]
    assert [float(value) for value in values(page, 2)] == [CALIBRATION.p_value(score) for score in (1 / 3, 2e-9, -4.0)]
    assert [float(value) for value in values(page, 3)] == [1, 1, 1]
    assert [float(value) for value in values(page, 4)] == [12.3, 12.3, 12.3]


def test_names_are_shown_below_their_common_folder_and_wholly_in_the_title(tmp_path: Path) -> None:
    page = read(tmp_path, [card(1.0, name="a/bc/1.png"), card(2.0, name="a/bd/1.png")])
    cells = page.all("td", class_="name")
    assert [(cell["text"], cell["title"]) for cell in cells] == [("bd/1.png", "a/bd/1.png"), ("bc/1.png", "a/bc/1.png")]
    assert "Names are below a/" in [line["text"] for line in page.all("p")]


def test_one_part_makes_a_whole_report(tmp_path: Path) -> None:
    page = read(tmp_path, [full(5.0)])
    assert page.all("p", class_="lead")[0]["text"].startswith("1 part: 1 NG")
    assert page.all("td", class_="name")[0]["text"] == "line/shift/part_5.0.png"
    assert len(page.all("article")) == 1


def test_no_part_at_all_makes_a_whole_report(tmp_path: Path) -> None:
    assert read(tmp_path, []).all("p", class_="lead")[0]["text"] == "No part was judged."


def test_a_card_shows_four_pictures_and_names_the_nearest_good_part_and_its_distance(tmp_path: Path) -> None:
    page = read(tmp_path, [full(5.0, overlay_file="overlays/0 a.jpg")])
    captions = [caption["text"] for caption in page.all("figcaption")]
    assert captions[0] == "The part" and captions[2] == "Its most anomalous patch"
    assert captions[1] == "Map over the part full size"
    assert captions[3].startswith("Nearest good patchgood/007.png, distance 0.500")
    assert [image["alt"] != "" for image in page.all("img")] == [True] * 4
    assert page.all("a", href="./overlays/0%20a.jpg")


def test_pictures_are_embedded_and_decoded_late(tmp_path: Path) -> None:
    png = cv2.imencode(".png", np.zeros((2, 2, 3), np.uint8))[1].tobytes()
    images = read(tmp_path, [full(5.0, name="a", overlay_file=None), card(1.0, picture=png)])
    sources = [image["src"] for image in images.all("img")]
    assert sources[0] == "data:image/jpeg;base64," + base64.b64encode(PIXELS).decode()
    assert sources[-1].startswith("data:image/png;base64,")
    assert all(image["loading"] == "lazy" and image["decoding"] == "async" for image in images.all("img"))


def test_a_part_without_map_or_evidence_shows_what_there_is(tmp_path: Path) -> None:
    bare = Result(id="x", score=1.0)
    page = read(tmp_path, [Card(result=bare, name="x", picture=PIXELS), Card(result=bare, name="y", evidence=PIXELS)])
    assert [caption["text"] for caption in page.all("figcaption")] == ["The part", "Nearest good patch"]


@pytest.mark.parametrize("nearest", [[], None, "far", [3], [{"sample": "s"}], [{"distance": "far"}], {"a": 1}])
def test_evidence_of_another_form_does_not_break_the_page(tmp_path: Path, nearest: object) -> None:
    result = Result(id="x", score=1.0, evidence={"nearest": nearest, "missing": nearest, "route": "<texture>", "cycles": 3})
    facts = read(tmp_path, [Card(result=result, name="x", evidence=PIXELS)]).all("dl")[0]["text"]
    assert "route <texture>" in facts and "cycles 3" in facts and "missing surface" not in facts


def test_missing_surface_is_named_with_its_place_and_size(tmp_path: Path) -> None:
    pieces = [
        {"point": (1.25, -2.0, 30.5), "across": 5.125},
        *({"point": (0.0, 0.0, each), "across": each} for each in (3.0, 2.0, 1.0)),
    ]
    result = Result(id="x", score=1.0, evidence={"missing": pieces})
    facts = read(tmp_path, [Card(result=result, name="x", evidence=PIXELS)]).all("dl")[0]["text"]
    assert "missing surface 5.12 across at 1.25, -2, 30.5; 3 across at 0, 0, 3" in facts and facts.endswith("and 1 more")


def test_parts_without_pictures_keep_their_rows_but_have_no_cards(tmp_path: Path) -> None:
    page = read(tmp_path, [full(5.0), card(4.0), card(3.0)])
    assert len(page.all("td", class_="name")) == 3 and len(page.all("article")) == 1
    assert [a["href"] for a in page.all("a") if a["href"].startswith("#p")] == ["#p1"]
    assert "1 of 3 parts have pictures here." in [line["text"] for line in page.all("p")]


def test_what_is_known_of_the_parts_is_counted_against_the_verdicts(tmp_path: Path) -> None:
    page = read(tmp_path, [card(0.1, truth="good"), card(5.0, truth="crack"), card(0.2, truth="crack"), card(6.0)])
    table = " ".join(page.all("table", class_="kinds")[0]["text"].split("\n"))
    assert table == "known asNGREVIEWOKparts good0011 crack1012 "
    assert [lane["text"] for lane in page.all("text", class_="lane")] == ["not known", "known defective", "known good"]
    assert "Known as" in [head["text"] for head in page.all("th")]


def test_outside_evaluations_nothing_speaks_of_what_is_known(tmp_path: Path) -> None:
    content = written(tmp_path, [full(0.1), card(5.0)])
    assert "known" not in content.split("<body>")[1].split("<script>")[0].lower()


def test_warnings_and_the_notes_of_verdicts_are_said_once_each(tmp_path: Path) -> None:
    few = Calibration(tuple(n / 10 for n in range(20)), 0.01, "split")
    page = read(tmp_path, [card(0.1, few), card(0.2, few)], warnings=["skipped: <a>", "", few.warning()])
    notes = [item["text"] for item in page.all("li")]
    assert notes == ["skipped: <a>", few.warning()] and notes[1].startswith("extrapolated")


def test_settings_stand_at_the_end_with_groups_and_plain_values(tmp_path: Path) -> None:
    digest = "579344248a93e230"
    settings = {"fields": {"layers": (8, 16), "bank": None, "deep": {"on": True}}, "method": "patchcore", "model": digest}
    page = read(tmp_path, [card(1.0)], settings={**settings, "guarantee": CALIBRATION.guarantee()})
    told = page.all("table", class_="settings")[0]["text"]
    assert told.index("patchcore") < told.index("fields") and "8, 16" in told and "banknone" in told and "onyes" in told
    assert "the false-alarm rate is guaranteed" in told
    assert [cell["text"] for cell in page.all("td", class_="code")] == [digest]


def test_nothing_in_the_page_asks_for_anything_outside_it(tmp_path: Path) -> None:
    content = written(tmp_path, [full(5.0, overlay_file="overlays/a.jpg"), card(1.0)], settings={"paper": "x"})
    assert "http://" not in content and "https://" not in content and "url(" not in content and "@import" not in content
    page = Page(content)
    assert all(element.get("src", "data:").startswith("data:image/") for element in page.elements if "src" in element)
    assert all(element["href"].startswith(("#", "./")) for element in page.elements if "href" in element)
    assert not page.all("link") and not page.all("iframe")


def test_the_policy_allows_the_pages_own_script_and_style_and_no_other(tmp_path: Path) -> None:
    content = written(tmp_path, [card(1.0)])
    policy = Page(content).all("meta", **{"http-equiv": "Content-Security-Policy"})[0]["content"]
    assert policy.startswith("default-src 'none'; img-src data:;") and "unsafe" not in policy
    for kind in ("script", "style"):
        (inside,) = re.findall(f"<{kind}>(.*?)</{kind}>", content, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert " style=" not in content and not re.search(r"\son\w+=", content.split("<script>")[0])


def test_every_string_is_escaped_wherever_it_comes_from(tmp_path: Path) -> None:
    evidence = {"nearest": [{"sample": NASTY, "distance": 1.0}], "route": NASTY}
    verdict = dataclasses.replace(CALIBRATION.judge(5.0), note=NASTY)
    result = Result(id=NASTY, score=5.0, evidence=evidence, verdict=verdict)
    nasty = Card(result, NASTY, NASTY, PIXELS, PIXELS, PIXELS, PIXELS, NASTY)
    page = read(
        tmp_path, [nasty, card(1.0)], title=NASTY, settings={NASTY: NASTY, "g": {NASTY: [NASTY]}, "h": {"": {NASTY: {}}}},
        summary={NASTY: NASTY}, warnings=[NASTY],
    )  # fmt: skip
    assert len(page.all("script")) == 1 and "alert" not in page.all("script")[0]["text"]
    spelled = NASTY.replace("\udce9", "\\udce9").replace("\x00", "\\x00").replace("\n", "\\x0a")
    assert page.all("td", class_="name")[0]["title"] == spelled
    assert page.all("title")[0]["text"] == spelled == page.all("h1")[0]["text"]


def test_strings_that_look_like_places_of_the_template_stay_as_they_are(tmp_path: Path) -> None:
    page = read(tmp_path, [card(1.0)], title="[[settings]] [[nothing]]")
    assert page.all("h1")[0]["text"] == "[[settings]] [[nothing]]"


def test_a_score_that_is_no_number_is_listed_first_and_breaks_nothing(tmp_path: Path) -> None:
    page = read(tmp_path, [card(1.0), card(float("nan"), None), card(float("inf"))])
    assert values(page, 1) == ["", "Infinity", "1.0"]


def test_the_same_cards_make_the_same_bytes(tmp_path: Path) -> None:
    cards = [full(1.0), full(2.0)]
    assert written(tmp_path, cards) == written(tmp_path, cards)


def test_two_thousand_parts_are_all_there(tmp_path: Path) -> None:
    page = read(tmp_path, [card(n / 500, name=f"p/{n:04d}.png") for n in range(2000)])
    assert len([row for row in page.all("tr") if "data-part" in row]) == 2000
    assert page.all("span", id="count")[0]["text"] == "2000 of 2000 shown"


def test_an_older_report_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("old")
    assert written(tmp_path, [card(1.0)]) != "old"
    assert os.listdir(tmp_path) == ["report.html"]


def test_a_folder_that_does_not_exist_is_said_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match=r"missing.*cannot be written.*choose another"):
        write_report(tmp_path / "missing" / "r.html", [], title="", settings={}, summary={}, warnings=[])


def test_a_target_that_is_a_folder_is_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(CannotWrite):
        written(tmp_path, [card(1.0)])
    assert os.listdir(tmp_path) == ["report.html"]


def test_an_unwritable_folder_is_refused_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "report.html").write_text("old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(CannotWrite, match="No space left on device"):
        written(tmp_path, [card(1.0)])
    assert os.listdir(tmp_path) == ["report.html"] and (tmp_path / "report.html").read_text() == "old"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(CannotWrite, match="Permission denied"):
            written(tmp_path, [card(1.0)])
    finally:
        tmp_path.chmod(0o700)
    assert os.listdir(tmp_path) == []


def test_an_error_halfway_leaves_the_old_report(tmp_path: Path) -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("halfway")

    (tmp_path / "report.html").write_text("old")
    with pytest.raises(RuntimeError, match="halfway"):
        written(tmp_path, [card(1.0)], settings={"odd": Odd()})
    assert os.listdir(tmp_path) == ["report.html"] and (tmp_path / "report.html").read_text() == "old"


def test_importing_the_report_does_not_import_opencv() -> None:
    code = "import sys, amiss.viz.report, amiss.viz.overlay; sys.exit('cv2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
