"""The command line: `amiss`. The only place that prints.

Exit codes: 0 done; 1 a bug in amiss; 2 something handed over cannot be used (the message says what and how to mend it);
3 `verify` found different scores, `data check` found a data set that cannot be fitted, or cells of a bench failed;
130 interrupted.
"""

from __future__ import annotations

import signal
import sys
from itertools import islice

from amiss.errors import AmissError


def main() -> None:
    """Entry point of the `amiss` command."""
    from amiss.cli.app import app

    _safe_streams()
    sys.argv[1:] = fields_last(sys.argv[1:])
    signal.signal(signal.SIGINT, _interrupt)
    try:
        app(standalone_mode=True)
    except AmissError as error:
        _fail(str(error), 2)
    except _Interrupted:
        _fail("interrupted; what was there before is as it was", 130)
    except BrokenPipeError:
        sys.exit(0)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}; check the path, its rights and the free space", 2)


_WITH_VALUE = {"--out", "-o", "--method", "--preset", "--budget", "--calibration", "--dataset", "--category"}
_FLAGS = {"--goldens", "--no-goldens", "--skip-unreadable", "--json", "--quiet", "-q", "--help", "-h"}


def fields_last(words: list[str]) -> list[str]:
    """The words of `amiss fit` with the method's fields behind the rest, since the option parser does not know them.

    Left where they stand, `--size 64 parts` would read 64 as the data.
    """
    if not words or words[0] != "fit":
        return words
    kept: list[str] = ["fit"]
    fields: list[str] = []
    rest = iter(words[1:])
    for word in rest:
        name, equals, _ = word.partition("=")
        if not word.startswith("-") or name in _FLAGS:
            kept.append(word)
            continue
        pair = [word] if equals else [word, *islice(rest, 1)]
        (kept if name in _WITH_VALUE else fields).extend(pair)
    return kept + fields


class _Interrupted(BaseException):
    """Ctrl-C under a name that the option parser does not catch."""


def _interrupt(number: int, frame: object) -> None:
    raise _Interrupted


def _fail(text: str, code: int) -> None:
    print(f"error: {text}", file=sys.stderr)
    sys.exit(code)


def _safe_streams() -> None:
    """File names need not be UTF-8; printing one must not end the run."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
