"""The reader of the tutorial: follows a page of steps, and writes the output of its commands.

``plans/your-engine.md`` tells its reader to write files, to change them and to run commands, and
shows their output. This module is that reader. It takes fenced blocks in the order in which they
stand:

=====================  ==========================================================================
block                  effect
=====================  ==========================================================================
``python file=NAME``   writes the file; so does ``text file=NAME``
``diff file=NAME``     changes the file: lines with ``-`` and without a sign must stand in it, once
``sh``                 runs the lines in a shell, in the reader's folder
``text``               some lines of the output of the commands before it
=====================  ==========================================================================

A comment before the block says which lines are shown, and ``python -m tests.pages --write`` writes
them: `tests.pages` says how.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.pages import WALK as PAGE
from tests.pages import Block, blocks_of, picked, shell

__all__ = ["BESIDE", "PAGE", "Step", "files_after", "read_steps", "replay", "write"]

BESIDE = PAGE.parent / "your-engine"
"""The folder of the files that the tutorial ends with."""

_FOLDER = "your-engine"
_STEP = re.compile(r"^## Step (\d+): (.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Step:
    """A step of the tutorial: its number, its title, and its blocks in order."""

    number: int
    title: str
    blocks: tuple[Block, ...]


def read_steps(page: str) -> list[Step]:
    """The steps of a page, in its order."""
    heads = list(_STEP.finditer(page))
    ends = [*(head.start() for head in heads[1:]), len(page)]
    return [
        Step(int(head[1]), head[2], tuple(blocks_of(page, head.end(), end)))
        for head, end in zip(heads, ends, strict=True)
    ]


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
        steps: the tutorial, up to and with the step that is to be done.
        folder: an empty folder.

    Returns:
        The output that each block should show.
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
            _, printed, _ = shell(block.body, here, both=True)
            # The tutorial begins with a command that makes the folder.
            here = folder / _FOLDER
        elif block.file:
            _write(block, files)
            _save({block.file: files[block.file]}, here)
        elif block.prints:
            shown[block] = picked(block.prints, printed)
    return shown


def _save(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        path = folder / name
        before = path.stat().st_mtime if path.exists() else 0.0
        path.write_text(text, encoding="utf-8")
        # A reader takes more than a second to change a file, and bytecode is told stale by seconds.
        later = max(path.stat().st_mtime, before + 2)
        os.utime(path, (later, later))


def write() -> None:
    """Write the page, and the files beside it, as they are when the page is followed."""
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
