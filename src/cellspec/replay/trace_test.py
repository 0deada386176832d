"""A trace as a test in Python, to paste beside the tests of an engine."""

from __future__ import annotations

from cellspec.check.checker import Finding

__all__ = ["trace_test"]

_TEST = """\
import io

from cellspec.check.checker import check_file

TRACE = '''\\
{trace}'''


def test_{name}() -> None:
    \"\"\"{title}\"\"\"
    result = check_file(io.BytesIO(TRACE.encode()))
    assert not result.violations, "\\n".join(result.violations[0].explanation)
"""


def trace_test(text: str, finding: Finding | None) -> str:
    """A test that fails as long as a step of the trace is not allowed."""
    if finding is None:
        return _TEST.format(trace=_quoted(text), name="case", title="Every step is allowed.")
    name = finding.clause.lower().replace("-", "_")
    detail = finding.detail.replace("\\", "/").replace('"', "'")
    return _TEST.format(trace=_quoted(text), name=name, title=f"{finding.clause}: {detail}")


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace("'''", "\\'\\'\\'")
