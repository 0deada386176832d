"""The engine on the first screen of the README hangs for the reason that the page gives."""

from __future__ import annotations

import sys
import textwrap
from pathlib import Path

import pytest

from tests.pages import ROOT, blocks_of, shell

ENGINE = ROOT / "examples" / "hangs.py"
WAITS_INSIDE = """\
        async with self.workers:
            inputs = [await self.inputs(column, row) for row in rows]
"""
WAITS_OUTSIDE = """\
        inputs = [await self.inputs(column, row) for row in rows]
        async with self.workers:
"""


def test_the_readme_shows_the_lines_of_the_example() -> None:
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = next(block for block in blocks_of(page) if block.kind == "python")
    assert textwrap.indent(shown.body, "    ") in ENGINE.read_text(encoding="utf-8")


@pytest.mark.long
def test_the_engine_passes_once_it_takes_the_worker_after_the_inputs(tmp_path: Path) -> None:
    text = ENGINE.read_text(encoding="utf-8")
    assert text.count(WAITS_INSIDE) == 1
    (tmp_path / "mended.py").write_text(text.replace(WAITS_INSIDE, WAITS_OUTSIDE))
    suite = "-m pytest -q --pyargs cellspec.conformance --engine-backend=mended:Backend"
    code, out, _ = shell(f"{sys.executable} {suite} --profile=core", tmp_path, both=True)
    assert code == 0, out
    assert "clauses: 22 pass, 2 not claimed" in out
