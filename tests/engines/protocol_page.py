"""Writes the parts of specs/protocol/README.md that come from the code.

``python -m tests.engines.protocol_page --write`` writes the tables of lines and the exchange again.
"""

from __future__ import annotations

import inspect
import io
import re
import shlex
import sys
from pathlib import Path

from cellspec.engines.lines import messages as m
from cellspec.engines.lines.check import main
from cellspec.files import write_files

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "specs" / "protocol" / "README.md"
ENGINE = "node examples/node/engine.mjs"

_TABLE = r"<!-- lines: {way} -->\n(?:\|.*\n|\n(?=\|))*"
_EXCHANGE = rf"<!-- exchange: {re.escape(ENGINE)} -->\n```text\n(.*?)```\n"


def table(way: str) -> str:
    """The lines of one direction: each with its fields, those that may be left out in brackets."""
    known = m.FROM_ENGINE if way == "from-engine" else m.TO_ENGINE
    rows = ["| `event` | fields | meaning |", "| --- | --- | --- |"]
    for kind, line in known.items():
        needed = line.__struct_encode_fields__[
            : len(line.__struct_encode_fields__) - len(line.__struct_defaults__)
        ]
        fields = [
            f"`{name}`" if name in needed else f"[`{name}`]"
            for name in line.__struct_encode_fields__
        ]
        about = (inspect.getdoc(line) or "").replace("\n", " ")
        rows.append(f"| `{kind}` | {', '.join(fields)} | {about} |")
    return f"<!-- lines: {way} -->\n\n" + "\n".join(rows) + "\n"


def exchange() -> str:
    """The lines of the last workload of the check, on the engine of the page."""
    out = io.StringIO()
    main(["--verbose", *shlex.split(ENGINE)], out)
    (part,) = (
        part
        for part in out.getvalue().split("\n\n")
        if re.match(r"3 columns × 2 rows: .*barrier", part)
    )
    lines = [line for line in part.splitlines() if line[0] in "→←"]
    return re.sub(r'"folder":"[^"]*"', '"folder":"…"', "\n".join(lines)) + "\n"


def shown_table(text: str, way: str) -> str:
    """A table of lines, as a page shows it."""
    found = re.search(_TABLE.format(way=way), text)
    return "" if found is None else found[0]


def shown_exchange(text: str) -> str:
    """The exchange that a page shows."""
    found = re.search(_EXCHANGE, text, re.DOTALL)
    return "" if found is None else found[1]


def rewritten(text: str) -> str:
    """The page with everything as it is now."""
    for way in ("to-engine", "from-engine"):
        now = table(way)
        text = re.sub(_TABLE.format(way=way), lambda _, now=now: now, text)  # type: ignore[misc]
    block = f"<!-- exchange: {ENGINE} -->\n```text\n{exchange()}```\n"
    return re.sub(_EXCHANGE, lambda _: block, text, flags=re.DOTALL)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        write_files(PAGE.parent, {PAGE.name: rewritten(PAGE.read_text(encoding="utf-8"))})
