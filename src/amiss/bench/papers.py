"""Published figures beside ours, each with its source, and why the two may differ.

`papers.toml` holds only figures read in code, a README or a paper; none that somebody recalled. A gap is shown only
where both are means over the same categories; a published mean over others is shown without one.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from statistics import fmean
from typing import Any

from amiss.bench.figures import FIGURES

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TAGS = ("code", "readme", "paper", "index")


@dataclass(frozen=True)
class Published:
    """Figures of one method on one data set from one source, as shares of 1.

    tag  where they were read: code, readme, paper, or index, which is somebody else's list
    own  whether the method's authors published them
    mean  over all `count` categories     categories  figures of single ones
    """

    method: str
    data: str
    setting: str
    source: str
    tag: str
    own: bool
    backbone: str
    size: str
    count: int
    mean: Mapping[str, float] = field(default_factory=dict)
    categories: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Match:
    """Published figures for one line of ours; comparable where they are means over the same categories."""

    figures: Mapping[str, float]
    source: str
    tag: str
    why: str
    comparable: bool


@lru_cache(maxsize=1)
def papers() -> tuple[Published, ...]:
    """All published figures, a method's main source before its others."""
    raw = tomllib.loads(files("amiss.bench").joinpath("papers.toml").read_text("utf-8"))
    return tuple(Published(**one) for one in raw["published"])


def published(record: Mapping[str, Any], categories: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Match | None:
    """What is published for the method, data set and setting of a record; the first source that has it."""
    for source in papers():
        if (source.method, source.data) == (record["method"], record["data"]) and source.setting == record["setting"]:
            return _match(source, record, categories, rows)
    return None


def _match(source: Published, record: Mapping[str, Any], categories: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> Match:
    found: dict[str, float] = {}
    for name in FIGURES:
        singles = [source.categories.get(category, {}).get(name) for category in categories]
        if singles and None not in singles and len(categories) < source.count:
            found[name] = fmean(value for value in singles if value is not None)
    comparable = bool(found) or len(categories) == source.count
    why = " ".join(_why(source, record, rows if len(categories) == 1 else (), comparable))
    return Match(found or source.mean, source.source, source.tag, why, comparable)


def _why(source: Published, record: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], comparable: bool) -> list[str]:
    """Plain sentences on what was not the same; rows  those of a single category, or none."""
    fields, said = record["fields"], []
    if not comparable:
        said.append(f"No gap: theirs is a mean over {source.count} categories, ours over others.")
    if source.tag == "index":
        said.append("Read in somebody else's list, not where it was published.")
    if not source.own:
        said.append("Published by others than the method's authors.")
    if any(row.get("view") == "cloud" for row in record.get("rows", ())):
        said.append(f"Theirs: {source.backbone}, {source.size}.")
    else:
        said += _network(source, fields)
    if rows:
        judged = rows[0]["n_good"] + rows[0]["n_defective"]
        said.append(
            f"Split: {record.get('parts')} parts fitted on and {judged} judged here; check that these are the published ones."
        )
    if record.get("calibration") == "split":
        said.append("Parts held out for calibration are not fitted on here.")
    return [*said, source.note] if source.note else said


def _network(source: Published, fields: Mapping[str, Any]) -> list[str]:
    """How networks and sizes of pictures differ."""
    said = []
    backbone = str(fields.get("backbone", "")).replace("\\", "/").rsplit("/", 1)[-1]
    if _bare(source.backbone) not in _bare(backbone):
        said.append(f"Backbone: {source.backbone} there, {backbone or 'none'} here.")
    size, aspect = fields.get("size"), fields.get("aspect")
    if size is not None:
        kept = "proportions kept, no crop" if aspect == "keep" else "squashed to a square, no crop"
        said.append(f"Size: {source.size} there, {size} x {size} pixels of area, {kept}, here.")
    return said


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())
