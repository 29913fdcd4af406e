"""The page of a report, piece by piece: a template whose [[places]] are filled from the cards."""

from __future__ import annotations

import base64
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from amiss.types import Result
from amiss.viz.card import Card
from amiss.viz.markup import link, score_format, text, value
from amiss.viz.strip import Dot, strip
from amiss.viz.template import filled, policy, template

GOOD = "good"
_SEVERITY = {"NG": 3, "REVIEW": 2, "OK": 1, "none": 0}  # worst first wherever verdicts are listed
_PIECES = 3  # of missing surface that are named
_SAID = {"NG": "NG", "REVIEW": "REVIEW", "OK": "OK", "none": "no verdict"}
_UNCALIBRATED = (
    "No verdict: the model is not calibrated. Parts are ordered by their score, but nothing says which score is too high."
)


@dataclass(frozen=True)
class Page:
    """Fills the template's [[places]], each by the method of that name, piece by piece."""

    given: Sequence[Card]
    heading: str
    made_by: Mapping[str, Any]
    facts: Mapping[str, Any]
    told: Sequence[str]

    def pieces(self) -> Iterator[str]:
        """The page from its first to its last character."""
        return filled(self.template, lambda place: getattr(self, place)())

    @cached_property
    def template(self) -> str:
        return template("report_template.html")

    @cached_property
    def cards_in_order(self) -> list[Card]:
        """The largest score first; a score that is no number comes before all, so that it is seen."""
        return sorted(self.given, key=lambda card: (card.result.score == card.result.score, -card.result.score))

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many parts have each outcome, the worst first; the three verdicts always where there is one."""
        found = Counter(card.outcome for card in self.given)
        calibrated = any(name != "none" for name in found)
        return {name: found[name] for name in _SEVERITY if found[name] or (calibrated and name != "none")}

    @cached_property
    def thresholds(self) -> dict[str, float]:
        verdicts = [card.result.verdict for card in self.given if card.result.verdict is not None]
        levels = {"NG": verdicts[0].threshold, "REVIEW": verdicts[0].review_threshold} if verdicts else {}
        return {name: level for name, level in levels.items() if level is not None}

    @cached_property
    def style(self) -> str:
        return score_format([*(card.result.score for card in self.given), *self.thresholds.values()])

    @cached_property
    def common(self) -> str:
        """The folder that all names share, with its last separator; "" where they share none."""
        if len(self.given) < 2:
            return ""
        first, last = min(card.name for card in self.given), max(card.name for card in self.given)
        length = next((at for at, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
        return first[: max(first.rfind("/", 0, length), first.rfind("\\", 0, length)) + 1]

    # -- head ----------------------------------------------------------------------------------------------------------

    def policy(self) -> Iterator[str]:
        yield policy(self.template)

    def title(self) -> Iterator[str]:
        yield text(self.heading)

    def headline(self) -> Iterator[str]:
        yield f'<p class="lead">{text(self._sentence())}</p>\n<div class="tiles">\n'
        for name, count in self.counts.items():
            yield f'<div class="tile {name}" data-count="{name}"><b>{count}</b>{_SAID[name]}</div>\n'
        yield "</div>\n"
        notes = [card.result.verdict.note for card in self.given if card.result.verdict is not None]
        plain = list(dict.fromkeys(note for note in (*self.told, *notes) if note))
        if plain:
            yield '<div class="warnings" role="note"><h2>Please note</h2><ul>\n'
            yield from (f"<li>{text(note)}</li>\n" for note in plain)
            yield "</ul></div>\n"
        yield from _facts(self.facts)

    def _sentence(self) -> str:
        total = len(self.given)
        if not total:
            return "No part was judged."
        if set(self.counts) == {"none"}:
            return _UNCALIBRATED
        judged = "1 part" if total == 1 else f"{total} parts"
        return f"{judged}: {self.counts['NG']} NG, {self.counts['REVIEW']} to review, {self.counts['OK']} OK."

    def strip(self) -> Iterator[str]:
        lanes = any(card.truth is not None for card in self.given)
        dots = [Dot(part, card.result.score, card.outcome, _lane(card) if lanes else "") for part, card in self._numbered()]
        if not dots:
            return
        yield '<section aria-labelledby="strip-title"><h2 id="strip-title">Scores</h2><div class="panel">\n'
        yield from strip(sorted(dots, key=lambda dot: dot.lane == "known good"), self.thresholds, self.style)
        yield '<p class="legend">'
        for name in self.counts:
            mark = f'<rect class="mark {name}" width="9" height="9"/>'
            yield f'<span><svg width="9" height="9" aria-hidden="true">{mark}</svg> {_SAID[name]}</span>'
        yield '</p>\n<p class="readout" aria-hidden="true">Each mark is a part.</p></div></section>\n'

    def kinds(self) -> Iterator[str]:
        """Verdicts by what is known of the parts, where anything is."""
        known = Counter((card.truth, card.outcome) for card in self.given if card.truth is not None)
        if not known:
            return
        yield '<section aria-labelledby="kinds-title"><h2 id="kinds-title">Verdicts by what is known of the parts</h2>\n'
        yield '<div class="panel"><table class="kinds"><thead><tr><th scope="col">known as</th>'
        yield from (f'<th scope="col">{_SAID[name]}</th>' for name in self.counts)
        yield '<th scope="col">parts</th></tr></thead><tbody>\n'
        for kind in sorted({kind for kind, _ in known}, key=lambda kind: (kind != GOOD, kind)):
            row = [known[kind, name] for name in self.counts]
            cells = "".join(f'<td class="num">{count}</td>' for count in (*row, sum(row)))
            yield f'<tr><th scope="row">{text(kind)}</th>{cells}</tr>\n'
        yield "</tbody></table></div></section>\n"

    # -- table ---------------------------------------------------------------------------------------------------------

    def _numbered(self) -> Iterator[tuple[int, Card]]:
        return enumerate(self.cards_in_order, start=1)

    def _shown(self, name: str) -> str:
        return name[len(self.common) :] or name

    def tools(self) -> Iterator[str]:
        if self.common:
            yield f'<p class="soft name">Names are below {text(self.common)}</p>\n'
        yield '<div class="tools"><label>Filter <input id="filter" type="search" placeholder="name, verdict, kind"></label>\n'
        yield '<div class="choice" role="group" aria-label="Show by verdict">'
        yield f'<button type="button" data-outcome="" aria-pressed="true">All {len(self.given)}</button>'
        for name, count in self.counts.items():
            yield f'<button type="button" data-outcome="{name}" aria-pressed="false">{_SAID[name]} {count}</button>'
        yield f'</div><span id="count" class="soft" role="status">{len(self.given)} of {len(self.given)} shown</span></div>\n'

    def table(self) -> Iterator[str]:
        columns = [("part", "Part", ""), ("score", "Score", "num"), ("p", "p-value", "num"), ("verdict", "Verdict", ""),
                   ("ms", "ms", "num")]  # fmt: skip
        if known := any(card.truth is not None for card in self.given):
            columns.append(("truth", "Known as", ""))
        yield '<table class="parts"><colgroup>' + "".join(f'<col class="{key}">' for key, _, _ in columns) + "</colgroup>\n"
        yield "<thead><tr>"
        for key, said, kind in columns:
            sort = ' aria-sort="descending"' if key == "score" else ""
            first = "ascending" if key in ("part", "p", "truth") else "descending"
            yield f'<th scope="col" class="{kind}" data-first="{first}"{sort}><button type="button">{said}</button></th>'
        yield "</tr></thead>\n<tbody>\n"
        for part, card in self._numbered():
            yield self._row(part, card, known)
        yield "</tbody></table>\n"

    def _row(self, part: int, card: Card, known: bool) -> str:
        result, name = card.result, text(self._shown(card.name))
        p_value = None if result.verdict is None else result.verdict.p_value
        told = f"<td>{text(card.truth or '')}</td>" if known else ""
        return (
            f'<tr id="r{part}" data-part="{part}" data-outcome="{card.outcome}"><td class="name" title="{text(card.name)}">'
            + (f'<a href="#p{part}">{name}</a>' if card.illustrated else name)
            + f'</td><td class="num" data-value="{_sortable(result.score)}">{result.score:{self.style}}</td>'
            f'<td class="num" data-value="{_sortable(p_value)}">{"" if p_value is None else f"{p_value:.3g}"}</td>'
            f'<td data-value="{_SEVERITY[card.outcome]}"><span class="badge {card.outcome}">{_SAID[card.outcome]}</span></td>'
            f'<td class="num" data-value="{_sortable(result.seconds * 1000)}">{result.seconds * 1000:.1f}</td>{told}</tr>\n'
        )

    # -- cards ---------------------------------------------------------------------------------------------------------

    def cards(self) -> Iterator[str]:
        shown = [(part, card) for part, card in self._numbered() if card.illustrated]
        if not shown:
            return
        yield '<section aria-labelledby="cards-title"><h2 id="cards-title">Parts in pictures</h2>\n'
        if len(shown) < len(self.given):
            yield f'<p class="soft">{len(shown)} of {len(self.given)} parts have pictures here.</p>\n'
        if any(card.heat is not None for _, card in shown):
            yield '<p class="soft">Map: <span class="scale"></span> clear where the part looks like good ones, '
            yield "then the lighter the colour the more unusual.</p>\n"
        yield '<div class="cards">\n'
        for part, card in shown:
            yield from self._card(part, card)
        yield "</div></section>\n"

    def _card(self, part: int, card: Card) -> Iterator[str]:
        result, verdict = card.result, card.result.verdict
        yield f'<article class="card" id="p{part}" data-part="{part}" aria-labelledby="n{part}"><header>\n'
        yield f'<span class="badge {card.outcome}">{_SAID[card.outcome]}</span>'
        yield f'<h3 class="name" id="n{part}" title="{text(card.name)}">{text(self._shown(card.name))}</h3>'
        yield from (f'<a href="{link(path)}">{text(said)}</a>' for said, path in card.links)
        yield f'<a class="up" href="#r{part}">in the table</a></header>\n'
        facts: dict[str, Any] = {"score": f"{result.score:{self.style}}"}
        if verdict is not None and verdict.p_value is not None:
            facts["p-value"] = f"{verdict.p_value:.3g}"
        facts["time"] = f"{result.seconds * 1000:.1f} ms"
        if card.truth is not None:
            facts["known as"] = card.truth
        plain = {key: item for key, item in result.evidence.items() if isinstance(item, (str, int, float))}
        yield from _facts(facts | plain | _missing(result))
        yield '<div class="frames">\n'
        yield from self._figures(card)
        yield "</div></article>\n"

    def _figures(self, card: Card) -> Iterator[str]:
        name, words = text(self._shown(card.name)), card.words
        full = "" if card.overlay_file is None else f' <a href="{link(card.overlay_file)}">full size</a>'
        good = _nearest(card.result, self.style)
        if card.picture is not None:
            yield _figure(card.picture, words.picture, name, full if card.heat is None else "")
        if card.heat is not None:
            yield _figure(card.heat, words.heat, name, full)
        if card.worst is not None:
            yield _figure(card.worst, words.worst, name)
        if card.evidence is not None:
            yield _figure(card.evidence, words.evidence, name, good)

    # -- settings ------------------------------------------------------------------------------------------------------

    def settings(self) -> Iterator[str]:
        yield '<table class="settings"><tbody>\n'
        yield from _setting_rows(self.made_by, "")
        yield "</tbody></table>\n"


def _setting_rows(settings: Mapping[str, Any], above: str) -> Iterator[str]:
    """One row a setting, single values before groups."""
    for key, item in sorted(settings.items(), key=lambda pair: isinstance(pair[1], Mapping)):
        if isinstance(item, Mapping):
            yield f'<tr class="group"><th colspan="2" scope="rowgroup">{text(above + str(key))}</th></tr>\n'
            yield from _setting_rows(item or {"": "none"}, f"{above}{key} / ")
        else:
            said = value(item)
            code = ' class="code"' if re.fullmatch(r"(\w+:)?[0-9a-f]{12,}", said) else ""
            depth = ' class="deeper"' if above else ""
            yield f'<tr{depth}><th scope="row">{text(key)}</th><td{code}>{text(said)}</td></tr>\n'


def _facts(facts: Mapping[str, Any]) -> Iterator[str]:
    if facts:
        pairs = "".join(f"<div><dt>{text(key)}</dt> <dd>{text(value(item))}</dd></div>" for key, item in facts.items())
        yield f'<dl class="facts">{pairs}</dl>\n'


def _figure(content: bytes, words: tuple[str, str], name: str, more: str = "") -> str:
    """An embedded picture, decoded when it comes into view; `name` and `more` are markup already."""
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    source = f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
    image = f'<img loading="lazy" decoding="async" alt="{text(words[0])} {name}" src="{source}">'
    return f"<figure>{image}<figcaption>{text(words[1])}{more}</figcaption></figure>\n"


def _nearest(result: Result, style: str) -> str:
    """Name, place and distance of the nearest good patch as markup, "" for methods that have none."""
    entries = result.evidence.get("nearest")
    if not isinstance(entries, Sequence) or not entries or not isinstance(entries[0], Mapping):
        return ""
    entry = entries[0]
    name = str(entry.get("sample", ""))
    short = "/".join(re.split(r"[/\\]", name)[-2:])
    distance = f", distance {entry['distance']:{style}}" if isinstance(entry.get("distance"), (int, float)) else ""
    return f'<br><span title="{text(name)}">{text(short)}{_at(entry.get("point"))}{distance}</span>'


def _missing(result: Result) -> dict[str, str]:
    """Where surface is missing, and how far across, nothing where none is said to be."""
    pieces = result.evidence.get("missing")
    found = [piece for piece in pieces if isinstance(piece, Mapping)] if isinstance(pieces, Sequence) else []
    told = [f"{each['across']:.3g} across{_at(each.get('point'))}" for each in found if isinstance(each.get("across"), float)]
    more = f", and {len(told) - _PIECES} more" if len(told) > _PIECES else ""
    return {"missing surface": "; ".join(told[:_PIECES]) + more} if told else {}


def _at(point: object) -> str:
    """Where in a cloud something is, "" where that is not said."""
    if not isinstance(point, Sequence) or not point or not all(isinstance(one, (int, float)) for one in point):
        return ""
    return f" at {', '.join(f'{one:.5g}' for one in point)}"


def _lane(card: Card) -> str:
    if card.truth is None:
        return "not known"
    return "known good" if card.truth == GOOD else "known defective"


def _sortable(number: float | None) -> str:
    """A number that a script can read, with all its digits; "" where there is none."""
    return "" if number is None or number != number else repr(float(number)).replace("inf", "Infinity")
