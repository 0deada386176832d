"""The words of ``cellspec check``: the verdict on one trace, and its evidence.

The same trace gives the same bytes. The verdict and its reason come from
`cellspec.conformance.judge.verdict`. A violation comes with an explanation for the person that has
to find the mistake; the JSON form holds the same for programs.
"""

from __future__ import annotations

import json
from typing import Any

from cellspec.check.checker import CheckResult
from cellspec.clauses import clause_set, clause_set_version, version_of
from cellspec.conformance.judge.verdict import Judgement, judge_trace
from cellspec.text import counted

__all__ = ["render_json", "render_text"]


def render_text(result: CheckResult) -> str:
    """The verdict for a person."""
    judgement = judge_trace(result)
    lines = [*_about(result), *_judged(result)]
    for finding in result.violations:
        where = "" if finding.line is None else f" at line {finding.line}"
        lines += [f"violated: {finding.clause}{where}", ""]
        lines += [f"  {line}" for line in finding.explanation]
    if not result.violations:
        lines.append(f"{judgement.verdict.value}: {judgement.reason}")
    return "\n".join(lines) + "\n"


def _about(result: CheckResult) -> list[str]:
    header = result.header
    if header is None:
        return [result.source, ""]
    graph = header.graph
    engine = f"{header.engine.name} {header.engine.version}".strip()
    incarnations = counted(result.incarnations, "incarnation")
    size = f"{counted(graph.rows, 'row')} × {counted(len(graph.columns), 'column')}"
    ended = f"ended: {result.outcome}" if result.ended else "not ended"
    return [
        f"{result.source}: {engine}, {size}, {header.clock} clock",
        f"{counted(result.events, 'event')} in {incarnations}, "
        f"{counted(result.completed_rows, 'row')} resolved without a gap, {ended}",
        *_other_clauses(header.clauses),
        "",
    ]


def _other_clauses(digest: str) -> list[str]:
    """A line that names both sets, if the trace was written for another set of clauses."""
    if digest in ("", clause_set()):
        return []
    written_for = version_of(digest) or f"{digest} (of no known version)"
    return [f"written for clause set {written_for}, judged by clause set {clause_set_version()}"]


def _judged(result: CheckResult) -> list[str]:
    seen = {name: count for name, count in result.evidence.items() if count}
    lines = []
    if seen:
        width = max(max(map(len, seen)), 20)
        lines = [f"{'judged':{width}}  {'times':>12}"]
        lines += [f"{name:{width}}  {count:>12,}" for name, count in seen.items()]
    idle = [name for name in result.evidence if name not in seen]
    if idle and seen and not result.violations:
        lines.append(f"not exercised: {', '.join(idle)}")
    reasons: dict[str, list[str]] = {}
    for clause, reason in result.unjudged.items():
        reasons.setdefault(reason, []).append(clause)
    lines += [f"not judged: {', '.join(names)} ({reason})" for reason, names in reasons.items()]
    if not result.compares_config:
        lines.append(
            "not compared: the configuration, which header and resume must state (CKPT-20)"
        )
    if result.waived:
        lines.append(f"waived: {', '.join(result.waived)}")
    if result.inferred:
        lines.append(f"inferred, and no evidence: {counted(result.inferred, 'event')}")
    return [*lines, ""] if lines else []


def render_json(result: CheckResult) -> str:
    """The verdict for a program."""
    judgement = judge_trace(result)
    return json.dumps(_plain(result, judgement), indent=2, ensure_ascii=False) + "\n"


def _plain(result: CheckResult, judgement: Judgement) -> dict[str, Any]:
    header = result.header
    return {
        "trace": result.source,
        "verdict": judgement.verdict.value,
        "reason": judgement.reason,
        "violations": [
            {
                "clause": finding.clause,
                "detail": finding.detail,
                "seq": finding.seq,
                "line": finding.line,
                "story": list(finding.explanation),
            }
            for finding in result.violations
        ],
        "unreadable": result.unreadable,
        "engine": None
        if header is None
        else {"name": header.engine.name, "version": header.engine.version},
        "clauses": {
            "written_for": None if header is None else header.clauses,
            "judged_by": clause_set(),
            "version": clause_set_version(),
        },
        "rows": None if header is None else header.graph.rows,
        "columns": None if header is None else len(header.graph.columns),
        "events": result.events,
        "inferred": result.inferred,
        "counts": dict(result.counts),
        "evidence": dict(result.evidence),
        "incarnations": result.incarnations,
        "completed_rows": result.completed_rows,
        "ended": result.ended,
        "outcome": result.outcome,
        "waived": list(result.waived),
        "unjudged": dict(result.unjudged),
        "compares_config": result.compares_config,
    }
