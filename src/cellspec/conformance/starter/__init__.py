"""The files that somebody begins with who has an engine: a backend to fill in, a test, an ini file.

Each text beside this module is a whole file for an engine named ``my-engine``, whose backend is the
class ``MyBackend`` of the module ``my_backend``; `starter_files` puts the user's names in. The
backend runs at once. Each place that has to be filled in raises an error that says what belongs
there, so the smoke test of the suite leads from one place to the next.

=========  ====================================================================================
kind       for an engine that
=========  ====================================================================================
async      is coroutines on asyncio; the suite runs it in virtual time
threads    calls its generators from threads; the suite runs it in real time
process    is a process of its own, in any language, and speaks JSON lines
=========  ====================================================================================
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import Final

from cellspec.errors import SpecError

__all__ = ["KINDS", "starter_files"]

KINDS: Final = ("async", "threads", "process")
"""The kinds of engines for which there is a beginning; the first is the default."""

_SLACK = """    --slack=200ms
# In real time: how long work may wait that could start. Take more if your machine is busy; without
# it no clause about waiting is judged, and a whole run ends with exit code 3.
"""


def starter_files(name: str, kind: str = KINDS[0]) -> dict[str, str]:
    """The files for an engine, by their names; the backend comes first.

    Args:
        name: the name of the engine, as ``my-engine``.
        kind: one of `KINDS`.

    Raises:
        SpecError: a name of which no module can be named.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9]*(?:[-_][A-Za-z0-9]+)*", name):
        raise SpecError(
            f"new-backend: expected a name of letters and digits, with - or _ between, as "
            f"my-engine, got {name!r}"
        )
    words = re.split("[-_]", name)
    module = f"{'_'.join(words).lower()}_backend"
    attribute = "".join(word[0].upper() + word[1:] for word in words) + "Backend"
    if kind == "process":
        attribute = "backend"
    texts = {f"{module}.py": _text(f"{kind}_backend")}
    if kind == "process":
        texts[f"{module}_process.py"] = _text("process_process")
    texts[f"test_{module}.py"] = _text("test")
    texts["conformance.ini"] = _text("conformance") + (_SLACK if kind == "threads" else "")
    names = {
        "MyBackend()": attribute if kind == "process" else f"{attribute}()",
        "MyBackend": attribute,
        "my_backend": module,
        "my-engine": name,
    }
    for old, new in names.items():
        texts = {file: text.replace(old, new) for file, text in texts.items()}
    return texts


def _text(name: str) -> str:
    return files("cellspec.conformance.starter").joinpath(f"{name}.txt").read_text("utf-8")
