"""The page of a cloud: whole, self-contained, true to its points, and never half a file."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amiss.errors import BadSample, CannotWrite
from amiss.types import Box
from amiss.viz.viewer import MOST, About, Array, shown, write_viewer

KINDS = {"float32": np.dtype("<f4"), "int8": np.dtype("i1"), "uint8": np.dtype("u1")}
WIDE = {"points": 3, "normals": 3, "ramp": 3}
# what a page of 50,000 points may weigh, in bytes: as many as its docstring says, and 10 kB of air
HEAVIEST = 27 * MOST + 35_000


def surface(count: int, seed: int = 0) -> tuple[Array, Array]:
    """Points of a ball and their scores, high about one pole."""
    points = np.random.default_rng(seed).standard_normal((count, 3))
    points /= np.linalg.norm(points, axis=1)[:, None]
    return points.astype(np.float32), np.exp(8 * (points[:, 0] - 1)).astype(np.float32)


def written(folder: Path, points: Array, scores: Array, about: About | None = None) -> str:
    write_viewer(folder / "cloud.html", points, scores, about)
    return (folder / "cloud.html").read_text(encoding="utf-8")


def read(content: str) -> tuple[dict[str, Any], dict[str, Array]]:
    """Facts and blocks as the script of the page reads them."""
    (facts,) = re.findall(r'<script type="application/json" id="facts">(.*?)</script>', content, re.DOTALL)
    (data,) = re.findall(r'<script type="text/plain" id="data">(.*?)</script>', content, re.DOTALL)

    def no_number(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    header, whole = json.loads(facts, parse_constant=no_number), base64.b64decode(data, validate=True)
    blocks = {}
    for one in header["blocks"]:
        values = np.frombuffer(whole[one["from"] : one["to"]], KINDS[one["type"]])
        blocks[one["name"]] = values.reshape(-1, WIDE[one["name"]]) if one["name"] in WIDE else values
    return header, blocks


def test_points_and_scores_come_back_as_they_were(tmp_path: Path) -> None:
    points, scores = surface(500)
    points = points * np.float32(1e3) + np.float32((1e6, -2e5, 7))
    header, blocks = read(written(tmp_path, points, scores))
    assert (blocks["points"] == points).all() and (blocks["scores"] == scores).all()
    assert header["count"] == 500 and header["worst"] == scores.argmax()
    assert blocks["ramp"].shape == (256, 3) and len(blocks["sizes"]) == 500


def test_normals_lie_across_the_surface(tmp_path: Path) -> None:
    points, scores = surface(5000)
    _, blocks = read(written(tmp_path, points, scores))
    across = np.abs(np.einsum("nd,nd->n", blocks["normals"] / np.float32(127), points))
    assert np.quantile(across, 0.02) > 0.98


def test_discs_reach_farther_where_points_lie_farther_apart(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    flat = np.concatenate((rng.uniform(0, 1, (4000, 2)), rng.uniform((1, 0), (2, 1), (1000, 2))))
    points = np.column_stack((flat, np.zeros(len(flat)))).astype(np.float32)
    header, blocks = read(written(tmp_path, points, np.zeros(5000)))
    dense, thin = blocks["sizes"][:4000].mean(), blocks["sizes"][4000:].mean()
    assert thin / dense == pytest.approx(2, rel=0.15)
    assert header["radius"] * dense / 64 == pytest.approx(np.sqrt(5 / np.pi / 4000), rel=0.1)


def test_a_large_cloud_makes_a_page_of_a_stated_size_says_so_and_keeps_the_highest_scores(tmp_path: Path) -> None:
    points, scores = surface(60_000)
    content = written(tmp_path, points, scores, About(note="All of them are in a.ply."))
    header, blocks = read(content)
    assert f"{header['count']:,} of 60,000 points are shown" in content and "All of them are in a.ply." in content
    assert set(np.sort(scores)[-MOST // 5 :]) <= set(blocks["scores"])
    assert 0.8 * MOST < header["count"] <= MOST and len(content.encode()) < HEAVIEST


def test_a_cloud_that_is_shown_whole_says_nothing_of_it(tmp_path: Path) -> None:
    assert "points are shown" not in written(tmp_path, *surface(300))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 3000), st.integers(5, 400), st.integers(0, 99))
def test_what_is_shown_holds_the_highest_scored_points_and_never_too_many(count: int, most: int, seed: int) -> None:
    points, scores = surface(count, seed)
    kept = shown(points, scores, most)
    assert (np.diff(kept) > 0).all() and len(kept) <= most and kept[-1] < count
    assert len(kept) == count or set(np.argsort(-scores, kind="stable")[: most // 5]) <= set(kept)


def test_what_is_shown_covers_the_whole_surface() -> None:
    from scipy.spatial import cKDTree

    points, scores = surface(60_000)
    kept = shown(points, scores, 5000)
    assert len(kept) > 4000
    farthest = cKDTree(points[kept]).query(points)[0].max()
    assert farthest < 4 * np.sqrt(4 * np.pi / 4000)  # cells are as wide as the root of the area of one


def test_copies_of_one_point_are_thinned_too() -> None:
    assert len(shown(np.ones((1000, 3), np.float32), np.zeros(1000), 100)) == 21


@pytest.mark.parametrize(
    "points", [np.zeros((1, 3)), np.ones((2, 3)), np.ones((400, 3)), np.linspace((0, 0, 0), (1, 2, 3), 90)]
)
def test_few_points_copies_and_a_line_make_a_whole_page(tmp_path: Path, points: Array) -> None:
    header, blocks = read(written(tmp_path, points, np.zeros(len(points))))
    assert header["count"] == len(points) and header["radius"] > 0 and header["view"]["reach"] > 0
    assert len(blocks["normals"]) == len(blocks["sizes"]) == len(points)


def test_points_without_a_score_are_left_out(tmp_path: Path) -> None:
    points, scores = surface(100)
    scores[[3, 50]] = np.nan, np.inf
    header, blocks = read(written(tmp_path, points, scores))
    assert header["count"] == 98 and (blocks["points"] == np.delete(points, [3, 50], axis=0)).all()


def test_range_and_boxes_are_those_given(tmp_path: Path) -> None:
    points, scores = surface(200)
    box = Box(low=(0.0, -1.0, 2.0), high=(1.0, 1.0, 3.0), score=0.7)
    header, _ = read(written(tmp_path, points, scores, About(low=0.25, high=0.75, boxes=[box])))
    assert (header["low"], header["high"]) == (0.25, 0.75)
    assert header["boxes"] == [{"low": [0, -1, 2], "high": [1, 1, 3], "score": 0.7}]
    header, _ = read(written(tmp_path, points, scores))
    assert (header["low"], header["high"]) == pytest.approx((np.median(scores), scores.max()))


def test_nothing_in_the_page_asks_for_anything_outside_it(tmp_path: Path) -> None:
    content = written(tmp_path, *surface(200))
    assert not re.search(r"https?:|//[a-z]|url\(|@import|\bsrc=|\bhref=|<link|<iframe|fetch\(|XMLHttp|import\(", content)


def test_the_policy_allows_the_pages_own_script_and_style_and_no_other(tmp_path: Path) -> None:
    content = written(tmp_path, *surface(20))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', content)
    assert policy.startswith("default-src 'none';") and "unsafe" not in policy
    for kind in ("script", "style"):
        (inside,) = re.findall(f"<{kind}>(.*?)</{kind}>", content, re.DOTALL)
        assert f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()}'" in policy
    assert " style=" not in content and not re.search(r"<[^>]*\son\w+=", content.split("<script>")[0])


def test_every_string_is_escaped(tmp_path: Path) -> None:
    nasty = "<b>&\"'</script>[[data]]"
    about = About(title=nasty, outcome=nasty, facts={nasty: nasty}, note=nasty)
    content = written(tmp_path, *surface(20), about)
    assert "<b>" not in content and content.count("</script>") == 3 and content.count("[[data]]") == 7
    assert read(content)[0]["count"] == 20


@pytest.mark.parametrize(
    ("points", "scores", "said"),
    [
        (np.zeros((3, 2)), np.zeros(3), "wanted"),
        (np.zeros((3, 3)), np.zeros(2), "wanted"),
        (np.full((3, 3), np.nan), np.zeros(3), "drop those rows"),
        (np.zeros((3, 3)), np.full(3, np.nan), "nothing to show"),
        (np.zeros((0, 3)), np.zeros(0), "nothing to show"),
    ],
)
def test_what_cannot_be_shown_is_refused_and_leaves_no_file(tmp_path: Path, points: Array, scores: Array, said: str) -> None:
    with pytest.raises(BadSample, match=said):
        written(tmp_path, points, scores)
    assert os.listdir(tmp_path) == []


def test_a_full_disk_leaves_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    (tmp_path / "cloud.html").write_text("old")
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(CannotWrite, match="No space left on device"):
        written(tmp_path, *surface(20))
    assert os.listdir(tmp_path) == ["cloud.html"] and (tmp_path / "cloud.html").read_text() == "old"
