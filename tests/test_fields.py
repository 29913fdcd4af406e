"""Hyper-parameters: what passes, what is put right, what is refused, and how they are shown."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.errors import BadField
from amiss.fields import byte_count, check, describe, option, parse, unknown


@dataclass(kw_only=True)
class Kettle:
    """One field of every kind."""

    litres: int = option(1, "how much goes in")
    heat: float = option(0.5, "share of full power")
    quiet: bool = option(False, "without the whistle")
    label: str = option("red", "what is printed on it")
    lid: Literal["loose", "tight"] = option("tight", "how it closes")
    level: Literal[1, 2, 3] = option(2, "notch of the switch")
    cups: int | None = option(None, "how many it serves; none for unknown")
    limit: float | None = option(1.5, "highest pressure")
    marks: tuple[int, ...] = option((1, 2), "where lines are drawn")
    names: tuple[str, ...] = option((), "whose it is")

    def __post_init__(self) -> None:
        check(self)


# -- check -------------------------------------------------------------------------------------------------------------


def test_defaults_and_fitting_values_pass_unchanged() -> None:
    given: dict[str, Any] = {"litres": 3, "heat": 0.25, "quiet": True, "label": "", "lid": "loose", "level": 3, "cups": 4}
    kettle = Kettle(**given, limit=None, marks=(7,))
    assert {name: getattr(kettle, name) for name in given} == given
    assert kettle.limit is None and kettle.marks == (7,) and Kettle().level == 2


def test_whole_numbers_become_floats_and_lists_become_tuples() -> None:
    made = Kettle(**{"heat": 1, "limit": 2, "marks": [4, 8], "names": ["a"]})
    assert made.heat == 1.0 and isinstance(made.heat, float) and isinstance(made.limit, float)
    assert made.marks == (4, 8) and made.names == ("a",)


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("litres", 1.0, "int"), ("litres", "1", "int"), ("litres", None, "int"), ("litres", True, "int"),
        ("heat", "hot", "float"), ("heat", True, "float"), ("heat", None, "float"), ("heat", float("nan"), "float"),
        ("heat", float("inf"), "float"), ("heat", 10**400, "float"), ("quiet", 1, "bool"), ("quiet", "yes", "bool"),
        ("label", 3, "str"), ("label", b"red", "str"), ("lid", "open", r"loose \| tight"), ("lid", None, r"loose \| tight"),
        ("lid", ["loose"], r"loose \| tight"), ("level", 4, r"1 \| 2 \| 3"), ("level", True, r"1 \| 2 \| 3"),
        ("level", "2", r"1 \| 2 \| 3"), ("cups", 1.5, "int or none"), ("cups", "none", "int or none"),
        ("limit", float("-inf"), "float or none"), ("marks", 4, "int, ..."), ("marks", "48", "int, ..."),
        ("marks", (4, "8"), "int, ..."), ("marks", (4, None), "int, ..."), ("marks", None, "int, ..."),
        ("names", ("a", 1), "str, ..."), ("heat", np.ones(3), "float"), ("lid", np.ones(3), r"loose \| tight"),
    ],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_with_name_value_and_wish(name: str, value: Any, wanted: str) -> None:
    with pytest.raises(BadField, match=rf"^Kettle\.{name} = (?s:.*): wanted {wanted}$"):
        Kettle(**{name: value})


# -- parse -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("litres", "3", 3), ("litres", "-3", -3), ("heat", "0.25", 0.25), ("heat", "1", 1.0), ("heat", "1e-3", 0.001),
        ("quiet", "true", True), ("quiet", "No", False), ("quiet", "1", True), ("quiet", "0", False), ("label", "", ""),
        ("label", "none", "none"), ("lid", "loose", "loose"), ("level", "3", 3), ("cups", "none", None), ("cups", "None", None),
        ("cups", "2", 2), ("limit", "2", 2.0), ("marks", "4,8,16", (4, 8, 16)), ("marks", "4, 8,", (4, 8)), ("marks", "", ()),
        ("names", "a, b", ("a", "b")),
    ],
)  # fmt: skip
def test_text_becomes_the_value_it_stands_for(name: str, text: str, value: Any) -> None:
    found = parse(Kettle, name, text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("litres", "three", "int"), ("litres", "1.5", "int"), ("litres", "", "int"), ("litres", "none", "int"),
        ("heat", "hot", "float"), ("heat", "nan", "float"), ("heat", "inf", "float"), ("heat", "1e999", "float"),
        ("quiet", "maybe", "bool"), ("quiet", "", "bool"), ("lid", "Loose", r"loose \| tight"), ("level", "4", r"1 \| 2 \| 3"),
        ("level", "one", r"1 \| 2 \| 3"), ("cups", "some", "int or none"), ("marks", "4;8", "int, ..."),
        ("marks", "4,none", "int, ..."),
    ],
)  # fmt: skip
def test_text_that_stands_for_no_value_is_refused_as_it_was_typed(name: str, text: str, wanted: str) -> None:
    with pytest.raises(BadField, match=rf"^--{name} '{text}': wanted {wanted}$"):
        parse(Kettle, name, text)


def test_a_dash_stands_for_an_underscore() -> None:
    @dataclass
    class Long:
        two_words: int = option(0, "")

    assert parse(Long, "two-words", "5") == parse(Long, "two_words", "5") == 5


@pytest.mark.parametrize(("typed", "meant"), [("litre", "litres"), ("heet", "heat"), ("limits", "limit"), ("cup", "cups")])
def test_a_name_that_is_not_there_brings_the_nearest_one(typed: str, meant: str) -> None:
    with pytest.raises(BadField, match=f"^Kettle has no '{typed}'; did you mean '{meant}'\\?$"):
        parse(Kettle, typed, "1")


def test_where_no_name_is_near_all_are_listed() -> None:
    assert str(unknown("zzz", ["b", "a"], "the drawer")) == "the drawer has no 'zzz'; choose from a, b"


# -- describe ----------------------------------------------------------------------------------------------------------


def test_fields_are_shown_in_order_with_type_default_and_help() -> None:
    shown = describe(Kettle)
    assert [info.name for info in shown] == [field.name for field in fields(Kettle)]
    assert [info.type for info in shown] == [
        "int", "float", "bool", "str", "loose | tight", "1 | 2 | 3", "int or none", "float or none", "int, ...", "str, ...",
    ]  # fmt: skip
    assert shown[4].default == "tight" and shown[4].help == "how it closes" and shown[6].default is None


def test_every_shown_default_passes_its_own_check() -> None:
    Kettle(**{info.name: info.default for info in describe(Kettle)})


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("1", 1), ("1000000", 1_000_000), ("1B", 1), ("1KB", 1024), ("1k", 1024), ("512MB", 2**29), ("512 mb", 2**29),
        ("1GB", 2**30), (" 1.5 GB ", 3 * 2**29), ("2tb", 2**41), ("0.5K", 512),
    ],
)  # fmt: skip
def test_sizes_with_and_without_units(text: str, count: int) -> None:
    assert byte_count(text) == count


@pytest.mark.parametrize(
    "text", ["", "GB", "-1GB", "0", "0.0GB", "0.1", "1XB", "1 2", "1,5GB", "1GiB", "inf", "9" * 400 + "TB"]
)
def test_a_text_that_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadField, match=f"memory '{text}': wanted a size such as 512MB or 1GB"):
        byte_count(text)


@given(st.integers(1, 10**6), st.sampled_from(["", "B", "KB", "MB", "GB"]))
def test_a_unit_multiplies_by_its_power_of_two(number: int, unit: str) -> None:
    power = {"": 0, "B": 0, "KB": 10, "MB": 20, "GB": 30}[unit]
    assert byte_count(f"{number}{unit}") == byte_count(f"{number} {unit.lower()}") == number << power
