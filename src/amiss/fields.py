"""Hyper-parameters as dataclass fields: checked against their types, parsed from text, shown to users.

Understood are int, float, bool, str, Literal[...], X | None, and tuple[X, ...] (commas in text).
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
import typing
from collections.abc import Iterable
from typing import Any

from amiss.errors import BadField

_UNITS = {"": 1, "B": 1, "KB": 2**10, "MB": 2**20, "GB": 2**30, "TB": 2**40}


@dataclasses.dataclass(frozen=True)
class FieldInfo:
    """One hyper-parameter as a user sees it."""

    name: str
    type: str
    default: Any
    help: str


@dataclasses.dataclass(frozen=True)
class Limits:
    """What a number may be; `above` excludes its value, `least` and `most` include theirs; `some`: a tuple holds one or
    more, none twice; `bytes`: a text that byte_count understands.
    """

    least: float | None = None
    above: float | None = None
    most: float | None = None
    odd: bool = False
    some: bool = False
    bytes: bool = False

    def check(self, name: str, value: Any) -> None:
        """raises  BadField naming the field"""
        if self.bytes:
            byte_count(value)
        items = value if isinstance(value, tuple) else (value,)
        numbers = [item for item in items if isinstance(item, int | float) and not isinstance(item, bool)]
        if not all(self._hold(number) for number in numbers) or (self.some and not 0 < len(items) == len(set(items))):
            raise BadField(f"{name} = {value!r}: wanted {self}")

    def _hold(self, value: float) -> bool:
        return (
            (self.least is None or value >= self.least)
            and (self.above is None or value > self.above)
            and (self.most is None or value <= self.most)
            and not (self.odd and value % 2 == 0)
        )

    def __str__(self) -> str:
        texts = (
            (self.some, "one or more, none twice"),
            (self.odd, "odd"),
            (self.least is not None and self.most is None, f"{self.least} or more"),
            (self.least is not None and self.most is not None, f"{self.least} to {self.most}"),
            (self.above is not None, f"above {self.above}"),
            (self.least is None and self.most is not None, f"up to {self.most}"),
        )
        return ", ".join(text for applies, text in texts if applies)


def option(default: Any, text: str, **limits: Any) -> Any:
    """A dataclass field with a default, one line of help, and Limits on its number or numbers."""
    return dataclasses.field(default=default, metadata={"help": text, "limits": Limits(**limits)})


def describe(kind: type) -> list[FieldInfo]:
    """All hyper-parameters of a dataclass, in the order they are declared."""
    hints = typing.get_type_hints(kind)
    return [
        FieldInfo(f.name, _type_name(hints[f.name]), f.default, f.metadata.get("help", "")) for f in dataclasses.fields(kind)
    ]


def check(instance: Any) -> None:
    """Raise BadField where a field's value does not have its declared type; lists become tuples, ints floats."""
    hints = typing.get_type_hints(type(instance))
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        try:
            object.__setattr__(instance, field.name, _coerced(value, hints[field.name]))
        except (TypeError, ValueError, OverflowError):
            raise BadField(
                f"{type(instance).__name__}.{field.name} = {value!r}: wanted {_type_name(hints[field.name])}"
            ) from None
        limits: Limits = field.metadata.get("limits", Limits())
        limits.check(f"{type(instance).__name__}.{field.name}", getattr(instance, field.name))


def parse(kind: type, name: str, text: str) -> Any:
    """The value of one field from its text form, as the command line gives it."""
    hints = typing.get_type_hints(kind)
    key = name.replace("-", "_")
    names = [field.name for field in dataclasses.fields(kind)]
    if key not in names:
        raise unknown(name, names, kind.__name__)
    try:
        return _parsed(text, hints[key])
    except (TypeError, ValueError, OverflowError):
        raise BadField(f"--{name} {text!r}: wanted {_type_name(hints[key])}") from None


def unknown(name: str, known: Iterable[str], where: str) -> BadField:
    """The error for a name that is not there, with the nearest one that is."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(names)}"
    return BadField(f"{where} has no {name!r}; {hint}")


def byte_count(text: str) -> int:
    """Bytes in a text such as "1GB", "512 MB" or "1000000"."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?B?)\s*", text.upper())
    unit = None if match is None else _UNITS.get(match[2] if match[2] in _UNITS else match[2] + "B")
    count = float(match[1]) * unit if match is not None and unit is not None else 0.0
    if not 1 <= count < 2**63:
        raise BadField(f"memory {text!r}: wanted a size such as 512MB or 1GB")
    return int(count)


def _coerced(value: Any, hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if value is None and type(None) in arguments else _coerced(value, _not_none(arguments))
    if origin is typing.Literal:
        if value not in arguments or isinstance(value, bool) != any(isinstance(a, bool) for a in arguments):
            raise ValueError
        return value
    if origin is tuple:
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise TypeError
        return tuple(_coerced(item, arguments[0]) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise TypeError
    if hint is float and not math.isfinite(value):
        raise ValueError
    return value


def _parsed(text: str, hint: Any) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return None if text.lower() == "none" else _parsed(text, _not_none(arguments))
    if origin is tuple:
        return tuple(_parsed(part.strip(), arguments[0]) for part in text.split(",") if part.strip())
    if origin is typing.Literal:
        return _coerced({str(argument): argument for argument in arguments}.get(text, text), hint)
    if hint is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        return _coerced(words.get(text.lower(), text), hint)
    return _coerced(hint(text), hint)


def _not_none(arguments: tuple[Any, ...]) -> Any:
    return next(argument for argument in arguments if argument is not type(None))


def _type_name(hint: Any) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return " or ".join("none" if argument is type(None) else _type_name(argument) for argument in arguments)
    if origin is typing.Literal:
        return " | ".join(str(argument) for argument in arguments)
    if origin is tuple:
        return f"{_type_name(arguments[0])}, ..."
    return str(hint.__name__)
