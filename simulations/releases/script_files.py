"""Stand-alone scripts: their headers, and their text as a reader downloads it.

A script shows one defect with the engine and the standard library alone. Scripts that drive a
scheduler directly all need the same 220 lines around a small table. Those lines are kept once, in
``scripts/_template.py``; the file of such a script holds the header, the table (`table`) and the
test of its run (`defect`), and imports the rest from the template. `read_scripts` renders each
into one file that stands alone: the release matrix runs that text, and
``python -m simulations.releases --render SCRIPT`` prints it. A script without that import is
rendered as it is.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cellspec.clauses import clauses
from cellspec.errors import SpecError

__all__ = ["TEMPLATE", "Script", "read_scripts", "render_script"]

TEMPLATE = "_template.py"
"""The file beside the scripts that holds the part which several of them share."""

_FIELDS = ("Clause", "Releases", "Defect", "Public", "Fixed by", "Needs")
_IMPORT = re.compile(r"^from _template import .*\n+", re.MULTILINE)
_IMPORTS_BEGIN = "from __future__ import annotations\n"
_TABLE_BEGINS = "WAIT_S = "
_SHARED_BEGINS = "# The same in every script from here on"


@dataclass(frozen=True, slots=True)
class Script:
    """A stand-alone script, as its header describes it.

    Attributes:
        file: name of its file.
        clauses: the clauses that the defect breaks.
        releases: the releases in which the defect shows, as the header says.
        defect: the defect, in a sentence.
        public: True if the script uses the public interface alone.
        fixed: the change that fixed the defect; "" if it is not known.
        text: the script as one file, which needs the engine alone.
        needs: the first release that has the part which the script is about, and in words which
            part; "" if every release of the list has it.
    """

    file: str
    clauses: tuple[str, ...]
    releases: tuple[str, ...]
    defect: str
    public: bool = False
    fixed: str = ""
    text: str = ""
    needs: str = ""

    @property
    def needs_release(self) -> str:
        """The first release that the script can be run on; "" if every one of the list is."""
        return self.needs.partition(",")[0]


def read_scripts(folder: Path, package: str) -> list[Script]:
    """The scripts of a folder, by name. Files whose names begin with ``_`` are left out.

    Args:
        folder: the folder; a missing one is empty.
        package: the import name of the engine: a script imports it and the standard library.

    Raises:
        SpecError: a header with a missing field or an unknown clause, or another import.
    """
    paths = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    return [_read_script(path, package) for path in paths]


def render_script(path: Path) -> str:
    """The text of a script as one file, with the shared part of the template in it.

    Raises:
        SpecError: the script or its template cannot be read, or a part of it is missing.
    """
    text = _read(path)
    if not _IMPORT.search(text):
        return text
    template = _read(path.parent / TEMPLATE)
    head, imports, _ = text.partition(_IMPORTS_BEGIN)
    table = _IMPORT.split(text, maxsplit=1)[1]
    start, shared = template.find(_IMPORTS_BEGIN), template.find(_SHARED_BEGINS)
    table_of_template = template.find(_TABLE_BEGINS)
    if not imports or not table.startswith(_TABLE_BEGINS):
        raise SpecError(f"{path.name}: expected {_TABLE_BEGINS!r} right after the imports")
    if not 0 <= start < table_of_template < shared:
        raise SpecError(f"{TEMPLATE}: expected imports, {_TABLE_BEGINS!r} and {_SHARED_BEGINS!r}")
    return f"{head}{template[start:table_of_template]}{table.rstrip()}\n\n\n{template[shared:]}"


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None


def _read_script(path: Path, package: str) -> Script:
    text = render_script(path)
    header = _header(text)
    for name in _FIELDS[:4]:
        if not header.get(name):
            raise SpecError(f"{path.name}: header: {name}: is missing")
    numbers = tuple(header["Clause"].split())
    for number in numbers:
        if number not in clauses():
            raise SpecError(f"{path.name}: header: Clause: there is no clause {number!r}")
    for module in _imports(text):
        if module not in sys.stdlib_module_names and module not in (package, "pandas"):
            raise SpecError(f"{path.name}: imports {module}; a script needs only {package}")
    releases = () if header["Releases"] == "none" else tuple(header["Releases"].split())
    public = header["Public"].startswith("yes")
    fixed = header.get("Fixed by", "")
    needs = header.get("Needs", "")
    return Script(path.name, numbers, releases, header["Defect"], public, fixed, text, needs)


def _header(text: str) -> dict[str, str]:
    """The fields of the comment at the top; a field goes on in lines that are indented."""
    header: dict[str, str] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            break
        name, colon, value = line.removeprefix("#").strip().partition(": ")
        if colon and name in _FIELDS:
            header[name] = value.strip()
        elif header and line.startswith("#   "):
            header[list(header)[-1]] += f" {line.removeprefix('#').strip()}"
    return header


def _imports(text: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or ".").partition(".")[0]
