"""A plan says what to compare: methods x data x categories x settings x seeds. A cell is one fit of it, judged once.

settings = ["full", "few-shot:4"]          see amiss.data.protocols
seeds = [0, 1, 2]
budget = 0.01                              the rest is optional, with these defaults
calibration = "auto"
limit = 0.3

[[methods]]
name = "patchcore"
label = "small bank"                       how it is called in tables; default: name, or name:preset
preset = "fast"
fields = { bank = 1000 }

[[data]]
name = "folder"                            a name for amiss.dataset
root = "parts/screw"                       relative to the file
categories = ["screw"]                     default: all
label = "mvtec_ad"                         its name in tables, and whose published figures stand beside; default: name
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

import amiss
from amiss import catalog
from amiss.calibration import BUDGET, check_budget
from amiss.contract import build
from amiss.data.dataset import Dataset
from amiss.data.protocols import allowed
from amiss.data.readers import printable
from amiss.errors import BadField, UnreadableFile
from amiss.fields import unknown
from amiss.verdict.calibrate import Road

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MANY = "many"
ALL = "all categories"


@dataclass(frozen=True)
class Method:
    """A method with its fields, under the name that tables give it."""

    name: str
    label: str = ""
    preset: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        return self.label or (f"{self.name}:{self.preset}" if self.preset else self.name)


@dataclass(frozen=True)
class Source:
    """A data set on disk, and which of its categories are wanted; none named, all."""

    name: str
    root: Path
    categories: tuple[str, ...] = ()
    label: str = ""

    @property
    def shown(self) -> str:
        """Its name in tables; published figures of that name stand beside ours."""
        return self.label or self.name


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    methods: tuple[Method, ...]
    data: tuple[Source, ...]
    settings: tuple[str, ...] = ("full",)
    seeds: tuple[int, ...] = (0,)
    budget: float = BUDGET
    calibration: Road = "auto"
    limit: float = 0.3


@dataclass(frozen=True)
class Cell:
    """One fit, judged on one category, or on each of several where one model serves many."""

    method: Method
    source: Source
    category: str
    setting: str
    seed: int
    budget: float
    calibration: Road
    limit: float
    wanted: tuple[str, ...]

    @property
    def said(self) -> str:
        return f"{self.method.shown}, {self.source.shown} {self.category}, {self.setting}, seed {self.seed}"

    def detector(self) -> Any:
        """The detector it fits, not yet fitted."""
        kind = catalog.resolve("detector", self.method.name)
        return build(kind, {"seed": self.seed, **self.method.fields}, preset=self.method.preset)


def read_plan(path: Path) -> Plan:
    """A plan from a TOML file.

    raises  UnreadableFile where it is no TOML; BadField for anything in it that is not known, with the nearest name
    """
    try:
        raw = tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UnreadableFile(f"{printable(path)}: not a plan in TOML ({error})") from error
    where = printable(path)
    known = [one.name for one in fields(Plan)]
    for name in raw:
        if name not in known:
            raise unknown(name, known, where)
    methods = tuple(Method(**_table(one, Method, f"{where}, [[methods]]")) for one in _tables(raw, "methods", where))
    data = tuple(_source(_table(one, Source, f"{where}, [[data]]"), path.parent) for one in _tables(raw, "data", where))
    rest: dict[str, Any] = {name: value for name, value in raw.items() if name not in ("methods", "data")}
    for name in ("settings", "seeds"):
        if name in rest:
            rest[name] = _several(rest[name], where, name)
    return Plan(methods, data, **rest)


def cells(plan: Plan) -> list[Cell]:
    """All cells of a plan, those of one data set and category side by side, so that they share features.

    raises  BadField, BadLayout for what cannot be run: unknown names, impossible fields, no cell at all
    """
    _check(plan)
    found = [cell for source in plan.data for cell in _of(plan, source)]
    seen: set[tuple[Any, ...]] = set()
    for cell in found:
        place = cell.source.shown, cell.category, cell.setting, cell.seed, cell.method.shown
        if place in seen:
            raise BadField(f"the plan has {cell.said} twice; give one of the two data sets another label, or leave one out")
        seen.add(place)
    if not found:
        settings = ", ".join(plan.settings)
        needs = {method.name: sorted(catalog.resolve("detector", method.name).needs) for method in plan.methods}
        raise BadField(f"the plan has no cell: no method allows the setting {settings} ({needs}); choose other settings")
    return found


def _of(plan: Plan, source: Source) -> Iterator[Cell]:
    names = _categories(amiss.dataset(source.name, source.root), source)
    for setting in plan.settings:
        for category in (ALL,) if setting == MANY else names:
            for method in plan.methods:
                if not allowed(catalog.resolve("detector", method.name).needs, setting):
                    continue
                for seed in plan.seeds:
                    wanted = tuple(names) if setting == MANY else (category,)
                    road: Road = "none" if setting == "zero-shot" else plan.calibration
                    yield Cell(method, source, category, setting, seed, plan.budget, road, plan.limit, wanted)


def _categories(dataset: Dataset, source: Source) -> Sequence[str]:
    for name in source.categories:
        if name not in dataset.categories:
            raise unknown(name, dataset.categories, f"{source.name} at {printable(source.root)}")
    return source.categories or dataset.categories


def _check(plan: Plan) -> None:
    for name in ("methods", "data", "settings", "seeds"):
        if not getattr(plan, name):
            raise BadField(f"the plan names no {name}; methods, data, settings and seeds need one entry or more each")
    check_budget(plan.budget)
    if plan.calibration not in get_args(Road):
        raise unknown(str(plan.calibration), get_args(Road), "calibration")
    if not 0 < plan.limit <= 1:
        raise BadField(f"limit = {plan.limit}: the largest false positive rate in AUPRO, above 0 and up to 1")
    for setting in plan.settings:
        if setting.partition(":")[2].replace(".", "").strip("0") == "" and ":" in setting:
            raise BadField(f"setting {setting!r}: wanted a number above 0, e.g. few-shot:4 or contaminated:0.1")
    labels = [method.shown for method in plan.methods]
    if twice := next((label for label in labels if labels.count(label) > 1), None):
        raise BadField(f"two methods are called {twice!r}; give one of them another label")
    for seed in plan.seeds:
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise BadField(f"seed {seed!r}: wanted whole numbers, 0 or more")
    for method in plan.methods:
        kind = catalog.resolve("detector", method.name)
        if "seed" in method.fields:
            raise BadField(f"{method.shown}: the seed is the plan's, not a field; give seeds = [...]")
        build(kind, method.fields, preset=method.preset)
        for setting in plan.settings:
            allowed(kind.needs, setting)


def _tables(raw: Mapping[str, Any], name: str, where: str) -> list[Mapping[str, Any]]:
    found = raw.get(name, [])
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise BadField(f"{where}: {name} is not a list of tables; write [[{name}]] above each")
    return found


def _table(raw: Mapping[str, Any], kind: type, where: str) -> dict[str, Any]:
    known = [one.name for one in fields(kind)]
    for name in raw:
        if name not in known:
            raise unknown(name, known, where)
    for name in ("name", "root"):
        if name in known and name not in raw:
            raise BadField(f"{where}: one of them has no {name}")
    for name, value in raw.items():
        wanted = Mapping if name == "fields" else list if name == "categories" else str
        if not isinstance(value, wanted):
            raise BadField(f"{where}: {name} = {value!r} is not a {'table' if wanted is Mapping else wanted.__name__}")
    return dict(raw)


def _source(raw: dict[str, Any], base: Path) -> Source:
    root = Path(raw["root"]).expanduser()
    categories = tuple(str(name) for name in raw.get("categories", ()))
    return Source(raw["name"], base / root, categories, raw.get("label", ""))


def _several(value: Any, where: str, name: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise BadField(f"{where}: {name} = {value!r} is not a list; write {name} = [{value!r}]")
    return tuple(value)


def plan_of_words(
    *, methods: str, data: str, categories: str = "", settings: str = "full", seeds: str = "0", **rest: Any
) -> Plan:
    """A plan from the words of a command line, commas between entries.

    methods  name or name:preset     data  name:path, e.g. folder:parts/screw     rest  budget, calibration, limit
    """
    sources = []
    for word in _words(data):
        name, colon, root = word.partition(":")
        if not colon or not root:
            raise BadField(f"--data {word!r}: wanted NAME:PATH, e.g. folder:{word}")
        sources.append(Source(name, Path(root).expanduser(), tuple(_words(categories))))
    numbers = []
    for word in _words(seeds):
        if not word.isdecimal():
            raise BadField(f"--seeds {word!r}: wanted whole numbers, 0 or more")
        numbers.append(int(word))
    chosen = tuple(Method(name, preset=preset or None) for name, _, preset in (word.partition(":") for word in _words(methods)))
    return Plan(chosen, tuple(_sharing(sources)), tuple(_words(settings)), tuple(numbers), **rest)


def _sharing(sources: Sequence[Source]) -> Iterator[Source]:
    """With several data sets, --categories names those of any of them; each keeps its own."""
    if len(sources) == 1 or not sources[0].categories:
        yield from sources
        return
    every = {source: amiss.dataset(source.name, source.root).categories for source in sources}
    for name in sources[0].categories:
        if not any(name in there for there in every.values()):
            raise unknown(name, {one for there in every.values() for one in there}, "the data")
    for source, there in every.items():
        if own := tuple(name for name in source.categories if name in there):
            yield Source(source.name, source.root, own)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
