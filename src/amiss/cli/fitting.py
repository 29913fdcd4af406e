"""`amiss fit` and `amiss calibrate`."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import amiss
from amiss import catalog
from amiss.calibration import BUDGET, check_budget
from amiss.cli.console import Console
from amiss.cli.opening import Asked
from amiss.contract import Detector, build
from amiss.data.dataset import SPLITS, Dataset, Split
from amiss.data.protocols import zero_shot
from amiss.data.readers import printable
from amiss.errors import BadField, BadLayout, CannotWrite
from amiss.fields import parse, unknown
from amiss.model import Model
from amiss.types import Sample
from amiss.verdict.calibrate import Road, calibrate, fit_calibrated

_OPTIONS = (
    "out", "dataset", "category", "method", "preset", "budget", "calibration", "goldens", "no-goldens", "workdir",
    "skip-unreadable", "json", "quiet",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class FitRequest:
    """What `amiss fit` was asked; extra holds the method's fields as they were typed."""

    data: Asked
    out: Path
    method: str
    preset: str | None
    budget: float
    calibration: str
    goldens: bool
    workdir: Path | None
    skip_unreadable: bool
    extra: tuple[str, ...]


def run_fit(request: FitRequest, console: Console) -> None:
    """Fit, calibrate, write the model file, say what came out."""
    started = time.perf_counter()
    kind = catalog.resolve("detector", request.method)
    detector = build(kind, field_options(kind, request.extra), preset=request.preset)
    _check_request(request)
    pool = "normal" not in kind.needs
    dataset, category = request.data.opened(unlabelled=pool)
    train, held_out = _learned_from(dataset, category, pool)
    for text in dataset.notes(category):
        console.warn(text)
    if request.skip_unreadable:
        train, held_out = readable(train, console), readable(held_out, console)
    if not train.entries:
        raise BadLayout(f"{printable(dataset.root)}: no {'' if pool else 'good '}picture to learn from")
    with console.progress() as progress:
        model = fit_calibrated(
            detector, train.samples, held_out=held_out.samples, budget=request.budget,
            road=_road(request.calibration), progress=progress, workdir=request.workdir,
        )  # fmt: skip
    source = {"data": printable(os.path.abspath(dataset.root)), "dataset": dataset.name, "category": category}
    model = dataclasses.replace(model, origin={**model.origin, **source})
    model.with_goldens(train.samples[:2] if request.goldens else ()).save(request.out)
    _report(model, request.out, time.perf_counter() - started, console)


def _learned_from(dataset: Dataset, category: str, pool: bool) -> tuple[Split, Split]:
    """What to fit and to calibrate on; a method that takes an unlabelled pool gets the test pictures where there are some."""
    if not pool:
        return dataset.split(category, "train"), dataset.split(category, "calibration")
    if dataset.split(category, "test").entries:
        return zero_shot(dataset, category).fit, Split(())
    return dataset.split(category, "train"), Split(())


def run_calibrate(path: Path, budget: float | None, good: Path | None, out: Path, console: Console) -> None:
    """New thresholds from a new budget, or from good parts the model has not seen."""
    if budget is not None:
        check_budget(budget)
    model = amiss.load(path)
    if good is not None:
        before = model.calibration.budget if model.calibration is not None else BUDGET
        with console.progress() as progress:
            samples, asked = _good_samples(good), before if budget is None else budget
            calibration = calibrate(model.detector, samples, budget=asked, progress=progress)
        seen = len(set(calibration.parts) & set(model.origin.get("digests", ())))
        if seen:
            raise BadField(f"{seen} of {len(samples)} pictures in {printable(good)} were fitted on; give parts it has not seen")
    elif model.calibration is None:
        raise BadField(f"{printable(path)} has no calibration scores; give good parts it has not seen with --good FOLDER")
    else:
        calibration = model.calibration.with_budget(model.calibration.budget if budget is None else budget)
    dataclasses.replace(model, calibration=calibration).save(out)
    _report(dataclasses.replace(model, calibration=calibration), out, None, console)


def _good_samples(path: Path) -> Sequence[Sample]:
    """Every good picture that a data set has for learning or calibrating."""
    dataset = amiss.dataset("folder", path)
    listed = (entry for name in SPLITS[:2] for entry in dataset.split(dataset.only(), name).entries)
    good = tuple(entry for entry in listed if not entry.defective)
    if not good:
        raise BadLayout(f"{printable(path)}: no good picture to calibrate on")
    return Split(good).samples


def field_options(kind: type[Detector], extra: Iterable[str]) -> dict[str, Any]:
    """`--name value` and `--name=value` pairs as checked fields of a method.

    raises  BadField for anything that is not a field of it
    """
    settings: dict[str, Any] = {}
    words = list(extra)
    while words:
        word = words.pop(0)
        if not word.startswith("--") or word == "--":
            raise BadField(f"{word!r} is one argument too many; fit takes one DATA, and options start with --")
        name, equals, text = word[2:].partition("=")
        if name.replace("-", "_") not in (field.name for field in dataclasses.fields(kind)):
            known = [field.name.replace("_", "-") for field in dataclasses.fields(kind)]
            raise unknown(name, [*known, *_OPTIONS], f"fit with {kind.name}")
        if not equals:
            if not words:
                raise BadField(f"--{name} needs a value")
            text = words.pop(0)
        settings[name.replace("-", "_")] = parse(kind, name, text)
    return settings


def _check_request(request: FitRequest) -> None:
    """What can be refused before hours are spent."""
    check_budget(request.budget)
    _road(request.calibration)
    folder = request.out.parent
    if not folder.is_dir():
        raise CannotWrite(f"{printable(request.out)}: there is no folder {printable(folder)}; make it first")
    if request.workdir is not None:
        try:
            request.workdir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotWrite(
                f"{printable(request.workdir)}: cannot be made ({error.strerror}); choose another --workdir"
            ) from error
        if not os.access(request.workdir, os.W_OK):
            raise CannotWrite(f"{printable(request.workdir)}: cannot write files there; choose another --workdir")
    if request.out.is_dir() or not os.access(folder, os.W_OK):
        raise CannotWrite(f"{printable(request.out)}: cannot write a file there; choose another --out")


def _road(text: str) -> Road:
    for road in get_args(Road):
        if text == road:
            return road  # type: ignore[no-any-return]
    raise unknown(text, get_args(Road), "--calibration")


def readable(split: Split, console: Console) -> Split:
    """The entries that can be read; the others are named."""
    with console.progress() as progress:
        kept, failures = split.readable(progress)
    for reason in failures.values():
        console.warn(f"skipped {reason}")
    return kept


def _report(model: Model, out: Path, seconds: float | None, console: Console) -> None:
    calibration = model.calibration
    values: dict[str, Any] = {
        "model": printable(out),
        "method": model.detector.name,
        "parts": model.origin.get("parts"),
        "seconds": None if seconds is None else round(seconds, 3),
        "bytes": out.stat().st_size,
        "calibration": None,
    }
    lines = [f"{printable(out)}: {model.detector.name} from {values['parts']} {_kind(model)}, {values['bytes'] / 2**20:.1f} MB"]
    if calibration is not None:
        values["calibration"] = {
            "how": calibration.how, "parts": len(calibration.scores), "budget": calibration.budget,
            "bound": calibration.bound, "threshold": calibration.threshold,
            "review_threshold": calibration.review_threshold, "extrapolated": calibration.extrapolated,
        }  # fmt: skip
        lines.append(f"calibration: {calibration.guarantee()}; budget {calibration.budget:g}")
        lines.append(f"NG above {_number(calibration.threshold)}, REVIEW above {_number(calibration.review_threshold)}")
        console.warn(calibration.warning())
    else:
        pool = "" if "normal" in model.detector.needs else ", for some of the pool may be defective"
        console.warn(f"not calibrated{pool}: scores, but no verdicts; run amiss calibrate with good parts it has not seen")
    console.result(values, lines)


def _kind(model: Model) -> str:
    return "good parts" if "normal" in model.detector.needs else "unlabelled parts"


def _number(value: float | None) -> str:
    return "no score" if value is None else f"{value:.4g}"
