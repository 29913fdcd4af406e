"""The results of a bench as one HTML file: opens from disk without a network, in light and dark, with or without scripts.

The page's policy forbids every request, and every script and style but its own, which it names by digest. Everything that came
from a user (labels, categories, file names, reasons) is escaped where it is placed.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np

from amiss.bench.figures import KIND_NAMES, names
from amiss.bench.identity import write_whole
from amiss.bench.plots import Point, bars, curves, key, scatter
from amiss.bench.table import KIND_FOOT, Line, by_kind, columns, figure, gap, lines, number, paper, view_of, with_paper
from amiss.viz.markup import text, value

PICTURES = 240  # misses shown in one page, at most
_EACH = 2  # of each kind, method and category
_LEGEND = (
    "Ours: mean over categories, then over seeds, ± standard deviation over seeds; a single category and seed has its 95 % "
    "interval. Gap: ours minus the paper's, in points. ms: one part from file to verdict, nothing cached, median. MB: largest "
    "resident set while fitting and judging."
)
_CHANCE = " Bars rise from chance, 0.5, where none lies below it."
_WHISKERS = "Whiskers: 95 % interval where there is one seed, standard deviation over seeds where there are several."
Record = Mapping[str, Any]
Group = tuple[str, str]  # data, setting


def write_page(path: Path, records: Sequence[Record], *, pictures: bool) -> None:
    """Write the page; an older one stays whole until it is complete."""
    write_whole(path, "".join(_Page(records, pictures).pieces()))


@dataclass(frozen=True)
class _Page:
    """Fills the template's [[places]], each by the method of that name."""

    records: Sequence[Record]
    pictures: bool

    def pieces(self) -> Iterator[str]:
        for index, piece in enumerate(re.split(r"\[\[(\w+)\]\]", self.template)):
            if index % 2:
                yield from getattr(self, piece)()
            else:
                yield piece

    @cached_property
    def template(self) -> str:
        return files("amiss.bench").joinpath("page_template.html").read_text("utf-8")

    @cached_property
    def groups(self) -> dict[Group, list[Record]]:
        found: dict[Group, list[Record]] = defaultdict(list)
        for record in self.records:
            found[record["data"], record["setting"]].append(record)
        return dict(found)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """Each method's number, which is its colour and shape everywhere in the page."""
        return {label: number for number, label in enumerate(sorted({record["label"] for record in self.records}))}

    @cached_property
    def failed(self) -> list[Record]:
        return [record for record in self.records if record["status"] != "done"]

    # -- head ----------------------------------------------------------------------------------------------------------

    def policy(self) -> Iterator[str]:
        yield "default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"
        for kind in ("style", "script"):
            content = self.template.split(f"<{kind}>")[1].split(f"</{kind}>")[0]
            digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
            yield f"; {kind}-src 'sha256-{digest}'"

    def lead(self) -> Iterator[str]:
        done = [record for record in self.records if record["status"] == "done"]
        judged = sum(len(row["judged"]) for record in done for row in record["rows"])
        categories = {(record["data"], row["category"]) for record in done for row in record["rows"]}
        tiles = {"methods": len(self.numbers), "categories": len(categories), "cells": len(done), "parts judged": judged}
        if self.failed:
            tiles["cells failed"] = len(self.failed)
        yield '<div class="tiles">'
        for name, count in tiles.items():
            yield f'<div class="tile{" bad" if name == "cells failed" else ""}"><b>{count:,}</b>{name}</div>'
        yield "</div>\n"
        if notes := self._warnings():
            yield '<div class="warnings" role="note"><h2>Please note</h2><ul>\n'
            yield from (f"<li>{text(note)}</li>\n" for note in notes)
            yield "</ul></div>\n"

    def _warnings(self) -> list[str]:
        places = ("label", "category", "setting")
        said = [
            f"Failed: {', '.join(one[name] for name in places)}, seed {one['seed']}: {one['reason']}" for one in self.failed
        ]
        if len(found := {record.get("commit") or "not known" for record in self.records}) > 1:
            said.append(f"Cells ran on several commits of amiss: {', '.join(sorted(found))}.")
        if any("+changed" in name for name in found):
            said.append("Cells ran on source that differs from its commit.")
        if len({record["versions"].get("processor") for record in self.records}) > 1:
            said.append("Cells ran on several kinds of processor, so their times cannot be compared.")
        rows = [row for record in self.records for row in record["rows"]]
        if seen := sum(row["seen_in_fit"] for row in rows if row):
            said.append(f"{seen} test parts were also fitted or calibrated on (all of them in zero-shot settings).")
        return said

    def choice(self) -> Iterator[str]:
        if len(self.groups) < 2:
            return
        yield '<p class="choose"><label>Data and setting <select id="group">'
        yield from (
            f'<option value="g{n}">{text(data)}, {text(setting)}</option>' for n, (data, setting) in enumerate(self.groups)
        )
        yield "</select></label></p>\n"

    # -- one data set and setting ----------------------------------------------------------------------------------------

    def results(self) -> Iterator[str]:
        if not self.records:
            yield '<p class="soft">No cell has finished yet.</p>\n'
        for place, ((data, setting), records) in enumerate(self.groups.items()):
            found = lines(records)
            yield f'<div class="group" id="g{place}"><h2 class="large">{text(data)}, {text(setting)}</h2>\n'
            yield from _summary(found)
            yield from _kinds(by_kind(found))
            done = [record for record in records if record["status"] == "done"]
            yield '<div class="panels">'
            if shown := [line for line in found if "image_auroc" in line.figures and line.ms > 0]:
                yield '<section class="panel"><h2>Quality against time</h2>'
                yield scatter([self._point(line) for line in shown], columns(found)["image_auroc"]) + "</section>\n"
            yield from self._bars(done)
            yield "</div>\n"
            yield from self._curves(done, place)
            yield from self._misses(done)
            yield "</div>\n"

    def _point(self, line: Line) -> Point:
        middle = line.figures["image_auroc"]
        low, high = line.intervals.get("image_auroc", (None, None))
        if "image_auroc" in line.spread:
            low, high = middle - line.spread["image_auroc"], min(1.0, middle + line.spread["image_auroc"])
        return Point(line.label, self.numbers[line.label], line.ms, middle, low, high)

    def _labels(self, records: Sequence[Record]) -> list[str]:
        return sorted({record["label"] for record in records})

    def _bars(self, records: Sequence[Record]) -> Iterator[str]:
        rows = _by_category(records)
        categories = sorted({category for _, category in rows})
        called = names(view_of(row for some in rows.values() for row in some))
        for name in ("image_auroc", "aupro", "point_aupro"):
            series = [
                (label, self.numbers[label], [_mean(rows.get((label, category), []), name) for category in categories])
                for label in self._labels(records)
            ]
            if any(point is not None for _, _, row in series for point in row):
                chance = 0.5 if name == "image_auroc" else 0.0
                yield f'<section class="panel{" whole" if len(categories) > 6 else ""}"><h2>{called[name]} by category</h2>'
                yield bars(categories, series, called[name], chance=chance) + key([(label, n) for label, n, _ in series])
                yield f'<p class="soft small">{_WHISKERS}{_CHANCE if chance else ""}</p></section>\n'

    def _curves(self, records: Sequence[Record], place: int) -> Iterator[str]:
        first = {pair: rows[0] for pair, rows in _by_category(records).items()}
        categories = sorted({category for _, category in first})
        if not categories:
            return
        yield "<section><h2>ROC and PRO curves</h2>\n"
        if len(categories) > 1:
            yield f'<p class="choose"><label>Category <select class="category" data-group="g{place}">'
            yield from (f'<option value="g{place}c{n}">{text(name)}</option>' for n, name in enumerate(categories))
            yield "</select></label></p>\n"
        for place_, category in enumerate(categories):
            yield f'<div class="panel curves" id="g{place}c{place_}"><h3>{text(category)}</h3><div class="pair">'
            yield from self._pair(category, {label: first[label, category] for label, one in first if one == category})
        yield "</section>\n"

    def _pair(self, category: str, rows: Mapping[str, Record]) -> Iterator[str]:
        """The curves of one category, parts beside their pixels or points."""
        places = "points" if view_of(rows.values()) == "cloud" else "pixels"
        roc = [(label, self.numbers[label], *_roc(row)) for label, row in rows.items()]
        pro = [(label, self.numbers[label], np.array(row["pro"][0]), np.array(row["pro"][1]))
               for label, row in rows.items() if row["pro"]]  # fmt: skip
        if roc := [one for one in roc if len(one[2])]:
            yield curves(roc, f"ROC, {category}", ("false alarms among good parts", "defective parts found"), end=1.0)
        if pro:
            yield curves(pro, f"PRO, {category}", (f"false-positive rate of {places}", "mean region overlap"), end=0.3)
        yield "</div>" + key([(label, self.numbers[label]) for label in rows])
        seeds = sorted({row["seed"] for row in rows.values()})
        yield f'<p class="soft small">ROC over parts, PRO over {places}; seed {", ".join(map(str, seeds))}.</p></div>\n'

    def _misses(self, records: Sequence[Record]) -> Iterator[str]:
        if not self.pictures:
            return
        shown = [(label, category, miss) for (label, category), rows in _by_category(records).items() for miss in _few(rows[0])]
        if not shown:
            return
        share = max(1, PICTURES // max(1, len(self.groups)))
        yield '<section><h2>Worst misses</h2><p class="soft">Good parts that score as high as a defective one or are called '
        yield "NG, and defective parts that score no higher than a good one or are called OK. Each map in its own range. "
        yield f'{min(share, len(shown))} of {len(shown)} shown.</p><div class="misses">\n'
        for label, category, miss in shown[:share]:
            yield _miss(label, category, miss)
        yield "</div></section>\n"

    # -- provenance ----------------------------------------------------------------------------------------------------

    def provenance(self) -> Iterator[str]:
        yield '<table class="settings"><tbody>\n'
        for name in ("commit", "started", "finished"):
            found = sorted({record.get(name) or "not known" for record in self.records})
            said = ", ".join(found) if name == "commit" else f"{found[0]} to {found[-1]}" if found else ""
            yield _setting({"commit": "commit of amiss", "started": "cells started", "finished": "cells finished"}[name], said)
        for name in sorted({name for record in self.records for name in record["versions"]}):
            yield _setting(name, ", ".join(sorted({str(record["versions"].get(name, "-")) for record in self.records})))
        for place in sorted({(record["data"], record["category"], record["fingerprint"]) for record in self.records}):
            yield _setting(f"data fingerprint of {place[0]} {place[1]}", place[2])
        for label in self.numbers:
            some = next(record for record in self.records if record["label"] == label)
            yield f'<tr class="group"><th colspan="2">{text(label)}: {text(some["method"])}</th></tr>\n'
            fields = {**some["fields"], "seed": sorted({record["seed"] for record in self.records if record["label"] == label})}
            made = {"budget": some["budget"], "calibration asked": some["calibration_asked"], "AUPRO up to": some["limit"]}
            for name, item in {**fields, **made}.items():
                yield _setting(name, value(item))
            for note in sorted(
                {note for record in self.records if record["label"] == label for note in record.get("notes", ())}
            ):
                yield _setting("said while running", note)
        yield "</tbody></table>\n"


def _summary(found: Sequence[Line]) -> Iterator[str]:
    shown = columns(found)
    beside = [head for called in shown.values() for head in (called, "paper", "gap")]
    heads = ("method", "categories", "seeds", *beside, "ms", "fit s", "MB")
    yield '<div class="scroll"><table class="summary"><thead><tr>'
    yield from (f'<th scope="col">{head}</th>' for head in heads)
    yield "</tr></thead><tbody>\n"
    for line in found:
        three = [cell(line, name) for name in shown for cell in (figure, paper, gap)]
        cells = [line.categories_said, ", ".join(map(str, line.seeds)), *three, number(line.ms, ".0f"),
                 number(line.fit_seconds, ".1f") + "*" * bool(line.cached), number(line.peak_mb, ".0f")]  # fmt: skip
        failed = f' <span class="bad">({line.failed} failed)</span>' if line.failed else ""
        yield (
            f'<tr><th scope="row">{text(line.label)}{failed}</th>'
            + "".join(f"<td>{text(cell)}</td>" for cell in cells)
            + "</tr>\n"
        )
    yield f'</tbody></table></div>\n<p class="soft small">{_LEGEND}'
    yield " * Fitted with features that other cells had computed.</p>\n" if any(line.cached for line in found) else "</p>\n"
    for line in found:
        if line.match is not None:
            yield f'<p class="small"><b>{text(line.label)}</b>: paper = {text(line.match.source)} <span class="soft">(read in: '
            yield f"{text(line.match.tag)})</span>. {text(line.match.why)}</p>\n"


def _kinds(found: Sequence[Line]) -> Iterator[str]:
    """Figures by kind of defect, where the data set is averaged over them."""
    if not found:
        return
    yield '<div class="scroll"><table class="summary"><thead><tr><th scope="col">method</th>'
    yield from (f'<th scope="col">{text(name)}</th>' for name in KIND_NAMES.values())
    yield "</tr></thead><tbody>\n"
    for line in found:
        cells = "".join(f"<td>{text(with_paper(line, name))}</td>" for name in KIND_NAMES)
        yield f'<tr><th scope="row">{text(line.label)}</th>{cells}</tr>\n'
    yield f'</tbody></table></div>\n<p class="soft small">{KIND_FOOT}</p>\n'


def _by_category(records: Sequence[Record]) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """Rows by method and category, the lowest seed first."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for record in sorted(records, key=lambda record: int(record["seed"])):
        for row in record["rows"]:
            found[record["label"], row["category"]].append({**row, "seed": record["seed"]})
    return found


def _mean(rows: Sequence[Record], name: str) -> Point | None:
    values = [row[name] for row in rows if row.get(name) is not None]
    if not values:
        return None
    middle = fmean(values)
    if len(values) > 1:
        low, high = middle - stdev(values), min(1.0, middle + stdev(values))
    else:
        low, high = next(row for row in rows if row.get(name) is not None)["intervals"].get(name, (None, None))
    return Point("", 0, math.nan, middle, low, high)


def _roc(row: Record) -> tuple[Any, Any]:
    """False-positive and true-positive rates at every distinct score, from (0, 0) to (1, 1); empty without both classes."""
    scores = np.array([one["score"] for one in row["judged"]])
    bad = np.array([one["defective"] for one in row["judged"]])
    if bad.all() or not bad.any():
        return np.empty(0), np.empty(0)
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    caught, alarms = np.cumsum(bad[order])[last], np.cumsum(~bad[order])[last]
    return np.append(0, alarms / alarms[-1]), np.append(0, caught / caught[-1])


def _few(row: Record) -> list[Mapping[str, Any]]:
    kinds: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for miss in row["misses"]:
        if "picture" in miss:
            kinds[miss["miss"]].append(miss)
    return [miss for some in kinds.values() for miss in some[:_EACH]]


def _miss(label: str, category: str, miss: Mapping[str, Any]) -> str:
    images = "".join(
        f'<img loading="lazy" alt="{said} of {text(miss["id"])}" src="data:image/jpeg;base64,{text(miss[name])}">'
        for name, said in (("picture", "picture"), ("heat", "map")) if name in miss
    )  # fmt: skip
    kind = "alarm" if miss["miss"] == "false alarm" else "escape"
    verdict = "" if miss["outcome"] is None else f", called {text(miss['outcome'])}"
    return (
        f'<figure class="{kind}"><div>{images}</div><figcaption><b>{text(miss["miss"])}</b>{verdict}, '
        f"score {miss['score']:.4g}<br>"
        f'{text(label)}, {text(category)}<br><span class="soft name">{text(miss["id"])}</span></figcaption></figure>\n'
    )


def _setting(name: str, said: str) -> str:
    code = ' class="code"' if re.fullmatch(r"[0-9a-f]{12,}(\+changed)?", said) else ""
    return f'<tr><th scope="row">{text(name)}</th><td{code}>{text(said)}</td></tr>\n'
