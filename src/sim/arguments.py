"""The types of arguments that several commands share: argparse calls them, and shows their errors.

Heavy libraries stay out: ``--help`` must not wait for numpy.
"""

from __future__ import annotations

import argparse
from typing import Any

from cellspec.text import seconds_of

__all__ = [
    "add_case",
    "add_format",
    "count",
    "crash",
    "event_number",
    "from_two",
    "override",
    "seconds",
    "seed",
    "shard",
    "share",
]

CRASH_SYNTAX = "EVENT, TIMEs or random:MEANs"


def add_format(parser: Any, plain: str, *, csv: bool = False, about: str = "") -> None:
    """Add ``--format``, with `plain` (table or text) as its default, json, and perhaps csv.

    Args:
        parser: of the command.
        plain: the default.
        csv: whether CSV is printed too.
        about: what the help says of the formats.
    """
    parser.add_argument(
        "--format",
        choices=(plain, "json", "csv") if csv else (plain, "json"),
        default=plain,
        help=f"of stdout{about and '; '}{about} (default: {plain})",
    )


def add_case(parser: Any) -> None:
    """Add a failure, the engine to run it on, and ``--format``."""
    parser.add_argument(
        "case", metavar="CASE", help="a trace, a case file, or a line that begins cellspec1."
    )
    parser.add_argument(
        "--backend",
        metavar="BACKEND",
        help="the engine to run it on: a name that `cellspec backends` lists, or module:attribute",
    )
    add_format(parser, "text")


def seconds(text: str) -> float:
    """A length of time, perhaps with an s or ms at its end."""
    value = seconds_of(text)
    if value is None:
        raise argparse.ArgumentTypeError(f"expected more than 0 to 1e9 seconds, got {text!r}")
    return value


def event_number(text: str) -> int:
    """The number of an event, from 1."""
    return _from_one(text, "an event number")


def count(text: str) -> int:
    """How many runs or jobs, from 1."""
    return _from_one(text, "a whole number")


def from_two(text: str) -> int:
    """How many runs, from 2: a single one has no interval."""
    value = count(text)
    if value < 2:
        raise argparse.ArgumentTypeError(
            f"expected a whole number from 2, as a single run has no interval, got {text!r}"
        )
    return value


def share(text: str) -> float:
    """A share above 0 and below 1, as a number or in per cent."""
    try:
        value = float(text[:-1]) / 100 if text.endswith("%") else float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(
            f"expected a share above 0 and below 1, as 0.02 or 2%, got {text!r}"
        )
    return value


def shard(text: str) -> tuple[int, int]:
    """One of several equal parts of a work, as 2/4."""
    index, slash, parts = text.partition("/")
    if not (slash and _is_digits(index) and _is_digits(parts)) or not 1 <= int(index) <= int(parts):
        raise argparse.ArgumentTypeError(
            f"expected a part and the number of parts, as 1/4 to 4/4, got {text!r}"
        )
    return int(index), int(parts)


def _from_one(text: str, what: str) -> int:
    if not _is_digits(text) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected {what} from 1, got {text!r}")
    return int(text)


def override(text: str) -> tuple[str, str]:
    """A field of a scenario and the YAML text of its value, from ``--set``."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"expected FIELD=VALUE, got {text!r}")
    return name, value


def seed(text: str) -> int:
    """The seed of a run."""
    if not _is_digits(text):
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text!r}")
    return int(text)


def _is_digits(text: str) -> bool:
    # `int` also takes signs, blanks, underscores and other scripts' digits.
    return text.isascii() and text.isdigit() and len(text) <= 4000


def crash(text: str) -> dict[str, Any]:
    """The fields of a scenario's crash, from ``--crash-at``."""
    kind, _, length = text.rpartition(":")
    if _is_digits(text):
        return {"at_event": event_number(text)}
    try:
        if not length.endswith("s") or kind not in ("", "random"):
            raise ValueError
        value = float(length[:-1])
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected {CRASH_SYNTAX}, got {text!r}") from None
    low = "more than 0" if kind else "0"
    if not (0 < value <= 1e9 or (value == 0 and not kind)):
        raise argparse.ArgumentTypeError(f"expected {low} to 1e9 seconds, got {text!r}")
    return {"random": {"mean_s": value}} if kind else {"at_time_s": value}
