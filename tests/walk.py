"""The newcomer's walk: reads a page of steps, does what it says, and writes what that printed.

``plans/your-engine.md`` tells its reader to write files, to change them and to run commands, and
shows what those print. This module is that reader. It takes fenced blocks in the order in which
they stand:

=====================  ==========================================================================
block                  what it does
=====================  ==========================================================================
``python file=NAME``   writes the file; so does ``text file=NAME``
``diff file=NAME``     changes the file: lines with ``-`` and without a sign must stand in it, once
``sh``                 runs the lines in a shell, in the reader's folder
``text``               what the commands before it printed, or rather some lines of it
=====================  ==========================================================================

Which lines are shown is said in a comment before the block, which no renderer shows: ``<!-- prints:
FIRST .. LAST | ONE -->`` are the lines from one that contains FIRST to one that contains LAST, then
one that contains ONE; each is looked for after the one before. ``…`` stands between parts that were
not next to each other, and for times. So the page can be written as well as checked:

    python -m tests.walk --write
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BESIDE", "PAGE", "Block", "Step", "files_after", "read_steps", "replay"]

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "plans" / "your-engine.md"
BESIDE = ROOT / "plans" / "your-engine"
"""Where the files lie that the walk ends with."""

_FOLDER = "your-engine"
_STEP = re.compile(r"^## Step (\d+): (.*)$", re.MULTILINE)
_BLOCK = re.compile(
    r"^(?:<!-- prints: (?P<prints>[^\n]*) -->\n)?```(?P<kind>\w+)(?: file=(?P<file>\S+))?\n"
    r"(?P<body>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_LINES_TOLD = 40
_CHANGING = (
    (re.compile(r"^=+ (.*?) =+$"), r"=== \1 ==="),
    (re.compile(r" in \d+\.\d+s\b"), " in …"),
    (re.compile(r"CPU time × \d+\.\d+"), "CPU time × …"),
)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of the page.

    Attributes:
        kind: ``python``, ``diff``, ``sh`` or ``text``.
        file: the file that it writes or changes; "" if none.
        prints: which lines of the output it shows; "" if it shows none.
        body: what stands between the fences.
        at: where in the page the body begins.
    """

    kind: str
    file: str
    prints: str
    body: str
    at: int


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the walk: its number, its title, and its blocks in order."""

    number: int
    title: str
    blocks: tuple[Block, ...]


def read_steps(page: str) -> list[Step]:
    """The steps of a page, in its order."""
    heads = list(_STEP.finditer(page))
    ends = [*(head.start() for head in heads[1:]), len(page)]
    return [
        Step(int(head[1]), head[2], tuple(_blocks(page, head.end(), end)))
        for head, end in zip(heads, ends, strict=True)
    ]


def _blocks(page: str, start: int, stop: int) -> Iterator[Block]:
    for found in _BLOCK.finditer(page, start, stop):
        yield Block(
            found["kind"],
            found["file"] or "",
            found["prints"] or "",
            found["body"],
            found.start("body"),
        )


def files_after(steps: Sequence[Step]) -> dict[str, str]:
    """The files of a reader who did these steps, by name."""
    files: dict[str, str] = {}
    for step in steps:
        for block in step.blocks:
            _write(block, files)
    return files


def _write(block: Block, files: dict[str, str]) -> None:
    if block.kind == "diff":
        files[block.file] = _changed(block, files[block.file])
    elif block.file:
        files[block.file] = block.body


def _changed(block: Block, text: str) -> str:
    lines = block.body.splitlines(keepends=True)
    old = "".join(line[1:] for line in lines if line[0] != "+")
    new = "".join(line[1:] for line in lines if line[0] != "-")
    assert text.count(old) == 1, f"{block.file} must hold these lines once:\n{old}"
    return text.replace(old, new)


def replay(steps: Sequence[Step], folder: Path) -> dict[Block, str]:
    """Do the last of these steps, as if those before it had been done.

    Args:
        steps: the walk, up to and with the step that is to be done.
        folder: an empty folder.

    Returns:
        What each block that shows an output should show.
    """
    before, step = steps[:-1], steps[-1]
    files = files_after(before)
    here = folder
    if before:
        here = folder / _FOLDER
        here.mkdir()
        _save(files, here)
    shown: dict[Block, str] = {}
    printed = ""
    for block in step.blocks:
        if block.kind == "sh":
            printed = _run(block.body, here)
            # The walk begins with a command that makes the folder.
            here = folder / _FOLDER
        elif block.file:
            _write(block, files)
            _save({block.file: files[block.file]}, here)
        elif block.prints:
            shown[block] = _picked(block.prints, printed)
    return shown


def _save(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        path = folder / name
        before = path.stat().st_mtime if path.exists() else 0.0
        path.write_text(text, encoding="utf-8")
        # A reader takes more than a second to change a file, and bytecode is told stale by seconds.
        later = max(path.stat().st_mtime, before + 2)
        os.utime(path, (later, later))


def _run(script: str, folder: Path) -> str:
    """What the commands print, on both streams. That they end well is not asked for."""
    ours = ("PYTEST", "HYPOTHESIS", "COV_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    environment |= {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "COLUMNS": "80",
        "PY_COLORS": "0",
        "PYTHONIOENCODING": "utf-8",
    }
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return done.stdout


def _picked(prints: str, output: str) -> str:
    """The lines of an output that a block shows."""
    lines = [_steady(line) for line in output.splitlines()]
    shown: list[str] = []
    at = 0
    for part in prints.split(" | "):
        first, _, last = part.partition(" .. ")
        start = _find(lines, first, at, output)
        stop = _find(lines, last, start + 1, output) if last else start
        if shown and start > at:
            shown.append("…")
        shown += lines[start : stop + 1]
        at = stop + 1
    return "".join(f"{line}\n" for line in shown)


def _find(lines: Sequence[str], text: str, start: int, output: str) -> int:
    for number in range(start, len(lines)):
        if text in lines[number]:
            return number
    last = "\n".join(output.splitlines()[-_LINES_TOLD:])
    raise AssertionError(f"{text!r} is not printed; the last lines are\n{last}")


def _steady(line: str) -> str:
    for changing, steady in _CHANGING:
        line = changing.sub(steady, line)
    return line.rstrip()


def main() -> int:
    """Write the page, and the files beside it, as they are when the page is followed."""
    if sys.argv[1:] != ["--write"]:
        print("usage: python -m tests.walk --write", file=sys.stderr)
        return 2
    page = PAGE.read_text(encoding="utf-8")
    steps = read_steps(page)
    shown: dict[Block, str] = {}
    for number in range(1, len(steps) + 1):
        with tempfile.TemporaryDirectory() as folder:
            shown |= replay(steps[:number], Path(folder))
    for block in sorted(shown, key=lambda block: -block.at):
        page = page[: block.at] + shown[block] + page[block.at + len(block.body) :]
    PAGE.write_text(page, encoding="utf-8")
    BESIDE.mkdir(exist_ok=True)
    _save({n: text for n, text in files_after(steps).items() if n.endswith(".py")}, BESIDE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
