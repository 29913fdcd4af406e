"""Settings: which pictures a method may learn from and which it is judged on, for any data set and any method that allows it.

    full              all of train, one category                few-shot:K          K of them
    many              train of all categories, one model        contaminated:SHARE  train with defects mixed in
    zero-shot         nothing but the test pictures themselves

Draws are seeded and hang on the content of the pictures, not on their names or order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from amiss.data.dataset import Dataset, Entry, Split
from amiss.data.draw import shuffled
from amiss.errors import BadField, TooFewSamples
from amiss.fields import unknown

CHOICES = ("full", "few-shot:K", "many", "zero-shot", "contaminated:SHARE")


@dataclass(frozen=True)
class Task:
    """One setting on one data set.

    fit          what the method may learn from; in zero-shot the test pictures, for a method that never asks for truths
    calibration  good parts that the data set ships for calibration, may be empty     tests  test split by category
    """

    name: str
    fit: Split
    calibration: Split
    tests: Mapping[str, Split]


def full(dataset: Dataset, category: str) -> Task:
    """One model for one category, from all of its train split."""
    train = dataset.split(category, "train")
    return Task("full", train, dataset.split(category, "calibration"), {category: dataset.split(category, "test")})


def few_shot(dataset: Dataset, category: str, k: int, *, seed: int) -> Task:
    """k pictures of train; those of a smaller k with the same seed are among them. Views of one part count one by one.

    raises  BadField for k below 1, TooFewSamples where train has fewer
    """
    whole = full(dataset, category)
    if k < 1:
        raise BadField(f"few-shot:{k}: wanted 1 or more pictures")
    if k > len(whole.fit.entries):
        raise TooFewSamples(
            f"few-shot:{k}: {category} has {len(whole.fit.entries)} train picture(s), fewer than {k}; choose a smaller k"
        )
    return replace(whole, name=f"few-shot:{k}", fit=Split(shuffled(whole.fit.entries, seed)[:k]))


def many(dataset: Dataset, categories: Iterable[str] | None = None) -> Task:
    """One model for many categories, all where None. The pictures do not say their category, so that no method can read it.

    raises  BadField for no category at all
    """
    names = tuple(dict.fromkeys(dataset.categories if categories is None else categories))
    if not names:
        raise BadField("many: no category given; leave them out to take all")
    return Task(
        "many",
        _joined(dataset.split(name, "train") for name in names),
        _joined(dataset.split(name, "calibration") for name in names),
        {name: _joined([dataset.split(name, "test")]) for name in names},
    )


def zero_shot(dataset: Dataset, category: str) -> Task:
    """No training pictures: the method sees the test pictures together, without their truths."""
    test = dataset.split(category, "test")
    return Task("zero-shot", test, Split(()), {category: test})


def contaminated(dataset: Dataset, category: str, share: float, *, seed: int) -> Task:
    """Train with defective test pictures mixed in, so that they make up `share` of it; they leave the test split.

    Other views of a part that was moved leave the test split too, so that no part is on both sides.
    raises  BadField for a share outside 0 to 1 or too small to be one picture, TooFewSamples where it needs more defects than
    there are beside the one that stays in the test
    """
    whole = full(dataset, category)
    test, good = whole.tests[category].entries, len(whole.fit.entries)
    name = f"contaminated:{share:g}"
    if not 0 < share < 1:
        raise BadField(f"{name}: wanted a share above 0 and below 1")
    defects = [entry for entry in test if entry.defective]
    count = round(share * good / (1 - share))
    if not count:
        raise BadField(f"{name}: of {good} good pictures that is less than one defective one; choose a larger share")
    if count >= len(defects):
        raise TooFewSamples(
            f"{name}: {good} good pictures need {count} defective ones beside them, {category} has {len(defects)} in its test "
            "split and one has to stay there; choose a smaller share"
        )
    moved = shuffled(defects, seed)[:count]
    stay = Split(_apart(test, moved))
    if not any(entry.defective for entry in stay.entries):
        raise TooFewSamples(f"{name}: no defective part would stay in the test split of {category}; choose a smaller share")
    return replace(whole, name=name, fit=Split((*whole.fit.entries, *moved)), tests={category: stay})


def _apart(test: Sequence[Entry], moved: Sequence[Entry]) -> tuple[Entry, ...]:
    """The test pictures that show no part that was moved."""
    ids = {entry.id for entry in moved}
    groups = {entry.group for entry in moved if entry.group is not None}
    return tuple(entry for entry in test if entry.id not in ids and entry.group not in groups)


def _joined(splits: Iterable[Split]) -> Split:
    return Split(tuple(replace(entry, part="") for split in splits for entry in split.entries))


def task(text: str, dataset: Dataset, category: str, *, seed: int) -> Task:
    """The setting that a text names; `many` takes all categories.

    raises  BadField naming the choices
    """
    name, value = _parsed(text)
    if name == "few-shot":
        return few_shot(dataset, category, int(value), seed=seed)
    if name == "contaminated":
        return contaminated(dataset, category, value, seed=seed)
    return many(dataset) if name == "many" else zero_shot(dataset, category) if name == "zero-shot" else full(dataset, category)


def allowed(needs: frozenset[str], name: str) -> bool:
    """Whether a method with these needs can be used in a setting.

    needs   of normal, unlabelled, labelled     name  a task's, e.g. few-shot:4
    raises  BadField naming the choices
    """
    kind, _ = _parsed(name)
    return bool(needs & (frozenset({"unlabelled"}) if kind == "zero-shot" else frozenset({"normal", "unlabelled"})))


_VALUES: dict[str, Callable[[str], float] | None] = {
    "full": None, "few-shot": int, "many": None, "zero-shot": None, "contaminated": float,
}  # fmt: skip


def _parsed(text: str) -> tuple[str, float]:
    """Name and number of a setting; 0 where it takes none."""
    name, colon, number = text.partition(":")
    if name not in _VALUES:
        raise unknown(text, CHOICES, "the list of settings")
    parse = _VALUES[name]
    try:
        if (parse is None) == bool(colon):
            raise ValueError
        return name, 0 if parse is None else parse(number)
    except ValueError:
        raise BadField(f"setting {text!r}: wanted one of {', '.join(CHOICES)}") from None
