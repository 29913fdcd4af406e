"""The score strip: every part drawn once, on its side of every threshold, whatever the scores are."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.viz.markup import link, score_format, text
from amiss.viz.strip import Axis, Dot, strip


def outcome(score: float) -> str:
    return "NG" if score > 2 else "REVIEW" if score > 1 else "OK"


def drawn(scores: list[float], thresholds: dict[str, float], lanes: list[str] | None = None) -> str:
    names = lanes or [""] * len(scores)
    dots = [Dot(part, score, outcome(score), lane) for part, (score, lane) in enumerate(zip(scores, names, strict=True), 1)]
    return "".join(strip(dots, thresholds, ".3f"))


def places(svg: str) -> dict[int, float]:
    return {int(part): float(x) for part, x in re.findall(r'data-part="(\d+)" x="([\d.]+)%"', svg)}


def test_both_thresholds_are_drawn_with_their_names_and_levels() -> None:
    svg = drawn([0.5, 1.5, 2.5], {"NG": 2.0, "REVIEW": 1.0})
    assert 'class="threshold NG"' in svg and "NG above 2.000" in svg
    assert 'class="threshold REVIEW"' in svg and "REVIEW above 1.000" in svg


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=200))
def test_every_part_is_drawn_once_on_its_side_of_the_thresholds(scores: list[float]) -> None:
    svg = drawn(scores, {"NG": 2.0, "REVIEW": 1.0})
    found, axis = places(svg), Axis.over([*scores, 2.0, 1.0])
    assert sorted(found) == list(range(1, len(scores) + 1)) == sorted(int(p) for p in re.findall(r'data-part="(\d+)"', svg))
    for part, score in enumerate(scores, 1):
        for level in (1.0, 2.0):
            right = found[part] - axis.place(level) + (0.006 if score > level else -0.006)  # places are rounded
            assert (right > 0) == (score > level)


@given(st.lists(st.floats(-1e99, 1e99), min_size=1, max_size=20))
def test_any_sensible_scores_stay_between_the_borders(scores: list[float]) -> None:
    found = places(drawn(scores, {}))
    assert len(found) == len(scores) and all(0 <= place <= 100 for place in found.values())


def test_parts_that_are_no_numbers_are_left_out_and_nothing_is_drawn_without_any() -> None:
    assert list(places(drawn([1.0, float("nan"), float("inf"), 1e300], {}))) == [1]
    assert drawn([float("nan")], {}) == "" == drawn([], {})


def test_a_pile_of_ten_thousand_parts_stays_in_its_lane() -> None:
    svg = drawn([1.0 + 1e-6 * (n % 7) for n in range(10_000)], {"NG": 2.0})
    assert len(places(svg)) == 10_000
    heights = [float(y) for y in re.findall(r'" y="([\d.]+)" width', svg)]
    assert min(heights) >= 4 and max(heights) <= int(re.findall(r'height="(\d+)"', svg)[0])


def test_known_parts_stand_in_lanes_with_names() -> None:
    svg = drawn([0.5, 2.5], {}, ["known good", "known defective"])
    assert ">known good<" in svg and ">known defective<" in svg


def test_one_far_part_makes_the_axis_logarithmic_but_not_where_scores_are_negative() -> None:
    assert "logarithmic" in drawn([1.0, 1.1, 1.2, 500.0], {})
    assert "logarithmic" not in drawn([-1.0, 1.1, 1.2, 500.0], {})


@pytest.mark.parametrize("scores", [[3.0], [0.0], [-2.0, -2.0], [1e-12, 2e-12], [1000.001, 1000.002]])
def test_an_axis_has_ticks_even_where_scores_hardly_differ(scores: list[float]) -> None:
    axis = Axis.over(scores)
    assert axis.high > axis.low and 2 <= len(axis.ticks()) <= 12


@pytest.mark.parametrize("scores", [[1000.001, 1000.002], [0.0, 0.5], [1, 2, 900], [-3e9, 5e9]])
def test_labels_of_the_axis_all_differ(scores: list[float]) -> None:
    labels = re.findall(r'text-anchor="middle">([^<]+)<', drawn(scores, {}))
    assert 2 <= len(labels) == len(set(labels))


@pytest.mark.parametrize(
    ("scores", "style"),
    [([1.0, 2.0], ".3f"), ([0.81234, 0.81239], ".6g"), ([10, 400], ".1f"), ([1.1, 1.2, 1.3, 1.4, 900], ".3f"), ([], ".4g")],
)
def test_scores_are_written_so_that_usual_ones_can_be_told_apart(scores: list[float], style: str) -> None:
    assert score_format(scores) == style


def test_text_is_escaped_and_spells_what_cannot_be_printed() -> None:
    assert text("<b>&\"'") == "&lt;b&gt;&amp;&quot;&#x27;"
    assert text("a\udce9\x00\u202eb\n") == "a\\udce9\\x00\\u202eb\\x0a"
    assert text("größe 漢字 😀") == "größe 漢字 😀"


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("overlays/a b.jpg", "./overlays/a%20b.jpg"),
        ("javascript:alert(1)", "./javascript%3Aalert%281%29"),
        ("//host/x", "./host/x"),
        ("a'\"<.jpg", "./a%27%22%3C.jpg"),
        ("\udcff.jpg", "./%FF.jpg"),
    ],
)
def test_a_link_names_a_file_beside_the_report_and_nothing_else(path: str, wanted: str) -> None:
    assert link(path) == wanted


def test_a_link_to_a_name_that_no_file_system_takes_does_not_crash() -> None:
    assert link("\ud800.jpg").startswith("./")
