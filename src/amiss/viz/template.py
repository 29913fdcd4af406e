"""Pages in one file from templates: [[places]] to fill, a policy that forbids every request, and never half a file."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from amiss.data.readers import printable
from amiss.errors import CannotWrite


def template(name: str) -> str:
    """The text of a template beside this file."""
    from importlib.resources import files

    return files("amiss.viz").joinpath(name).read_text("utf-8")


def filled(content: str, fill: Callable[[str], Iterable[str]]) -> Iterator[str]:
    """A page from its first to its last character; placed strings never contain places themselves.

    fill  the pieces that stand in the place of a name
    """
    for index, piece in enumerate(re.split(r"\[\[(\w+)\]\]", content)):
        if index % 2:
            yield from fill(piece)
        else:
            yield piece


def policy(content: str) -> str:
    """The content security policy of a template: its own style and script, named by digest, and no request at all."""
    rules = ["default-src 'none'; img-src data:; base-uri 'none'; form-action 'none'"]
    for kind in ("style", "script"):
        own = content.split(f"<{kind}>")[1].split(f"</{kind}>")[0]
        rules.append(f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()}'")
    return "; ".join(rules)


def write_page(path: str | os.PathLike[str], pieces: Iterable[str], what: str) -> None:
    """Write a page; an older file stays whole until the new one is complete.

    what  the page's name in an error     raises  CannotWrite saying what to do
    """
    target = Path(path)
    unfinished = target.parent / f".amiss-{secrets.token_hex(6)}.part"
    try:
        with open(unfinished, "x", encoding="utf-8", newline="\n") as file:
            file.writelines(pieces)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, target)
    except OSError as error:
        reason = error.strerror or error
        raise CannotWrite(
            f"{printable(path)}: the {what} cannot be written there ({reason}); free space or choose another file"
        ) from error
    finally:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
