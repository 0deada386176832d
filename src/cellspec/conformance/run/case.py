"""A case file: one workload that broke a clause, with all that a replay needs.

    {"failure": 1, "clause": "BARR-01", "detail": "…", "backend": "my_engine:Backend",
     "waived": [], "workload": {…}}

The suite writes one for each clause that broke. ``pytest --pyargs cellspec.conformance
--engine-backend=my_engine:Backend --replay FILE`` runs it again, and reads a workload alone
(`Workload.to_json`) just as well. The backend that the file names is a hint for people; the suite
imports only the one on the command line (`cellspec.conformance.run.loading`).

The same workload is printed in two more forms: for reading (`describe`), and as a test that can be
pasted into the engine's own tests (`python_test`).
"""

from __future__ import annotations

import ast
import json
import textwrap
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from cellspec.clauses import clauses, retired_clauses
from cellspec.conformance.run.workload import DEFAULT_LATENCY_S, Workload
from cellspec.errors import SpecError
from cellspec.text import counted, node_words, quoted

__all__ = [
    "FAILURE_FORMAT",
    "Case",
    "case_of",
    "describe",
    "differences",
    "python_test",
    "read_case",
]

FAILURE_FORMAT = 1
"""The version of the file that `Case.to_json` writes and `read_case` reads."""

_FIELDS = ("failure", "clause", "detail", "backend", "waived", "workload")


@dataclass(frozen=True, slots=True)
class Case:
    """A workload, the clause that it broke, and the backend it was found on.

    Attributes:
        workload: the workload.
        clause: the clause that broke; "" if unknown.
        detail: the violation, in one line.
        backend: the backend, as ``module:attribute``; "" if unknown.
        waived: clauses that were not judged.
    """

    workload: Workload
    clause: str = ""
    detail: str = ""
    backend: str = ""
    waived: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The case file."""
        plain = {
            "failure": FAILURE_FORMAT,
            "clause": self.clause,
            "detail": self.detail,
            "backend": self.backend,
            "waived": list(self.waived),
            "workload": self.workload.to_dict(),
        }
        lines = (
            f"  {json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}"
            for name, value in plain.items()
        )
        return "{\n" + ",\n".join(lines) + "\n}\n"


def read_case(path: Path) -> Case:
    """Read a case file, or the file of a workload alone.

    Raises:
        SpecError: the file cannot be read or used; one line that names it.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    return case_of(text, str(path))


def case_of(text: bytes, path: str) -> Case:
    """The case that the text of a file holds.

    Args:
        text: the file's content.
        path: the name of the file; messages begin with it.

    Raises:
        SpecError: it cannot be used; one line that names the file.
    """
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise SpecError(f"{path}: line {error.lineno}: not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        # json finds out by itself which Unicode it is, and names a byte of that.
        byte = error.object[error.start]
        raise SpecError(
            f"{path}: byte {error.start}: expected the text of a case file, got 0x{byte:02x}"
        ) from None
    except (ValueError, RecursionError) as error:
        raise SpecError(f"{path}: not JSON: {error}") from None
    try:
        json.dumps(data, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = error.object[error.start]
        raise SpecError(f"{path}: expected text, got half a character: {half!r}") from None
    if not isinstance(data, dict) or "failure" not in data:
        return Case(Workload.from_dict(data, path))
    if data["failure"] != FAILURE_FORMAT:
        raise SpecError(
            f"{path}: failure: this version of cellspec reads format {FAILURE_FORMAT} of case "
            f"files, got {data['failure']!r:.40}; replay it with the version that wrote it"
        )
    odd = [name for name in data if name not in _FIELDS]
    if odd:
        raise SpecError(f"{path}: {odd[0]}: is no field of a case file")
    if "workload" not in data:
        raise SpecError(f"{path}: workload: is missing")
    for name in ("clause", "detail", "backend"):
        if not isinstance(data.get(name, ""), str):
            raise SpecError(f"{path}: {name}: expected a string, got {data[name]!r}")
    waived = data.get("waived", [])
    if not isinstance(waived, list) or not all(isinstance(one, str) for one in waived):
        raise SpecError(f"{path}: waived: expected a list of clauses, got {waived!r}")
    for number in waived:
        if number not in clauses() and number not in retired_clauses():
            raise SpecError(f"{path}: waived: no such clause: {number!r}")
    return Case(
        Workload.from_dict(data["workload"], f"{path}: workload"),
        data.get("clause", ""),
        data.get("detail", ""),
        data.get("backend", ""),
        # Nothing is judged by a retired clause any more.
        tuple(number for number in waived if number in clauses()),
    )


# For reading


def describe(work: Workload) -> list[str]:
    """The workload in lines for people, without its usual parts."""
    return list(_describe(work))


def _describe(work: Workload) -> Iterator[str]:
    plain = work.to_dict()
    columns = plain["columns"]
    yield f"{counted(len(columns), 'column')} × {counted(work.rows, 'row')}"
    for item in columns:
        # That one call makes one cell is usual, whether it is said or not.
        traits = [trait for trait in item["traits"] if trait != "CELL_BY_CELL"]
        parts = [" ".join(traits).lower().replace("_", " ") or "cell"]
        if item["needs"]:
            parts.append(f"needs {quoted(item['needs'])}")
        if item["side_effects"]:
            parts.append(f"also makes {quoted(item['side_effects'])}")
        if item["may_skip"]:
            parts.append("may skip")
        if not item["propagate_skip"]:
            parts.append("runs although an input was skipped")
        parts.append(f"takes about {work.latency_s.get(item['name'], DEFAULT_LATENCY_S):g} s")
        yield f"  {item['name']!r}: {', '.join(parts)}"
    yield from _describe_rules(work)
    for fault in work.faults:
        wait = f", come back after {fault.cool_down_s:g} s" if fault.cool_down_s else ""
        where = _node(work, fault.column, fault.position)
        how = "hangs" if fault.failure == "timeout" else f"fails: {fault.failure}{wait}"
        if fault.raises:
            how = f"raises {fault.raises}, read as {fault.failure}"
        if fault.answers:
            how = f"answers with a list that is one value too {fault.answers}"
        yield f"call {fault.call} of {where} {how}"
    if work.skips:
        yield f"skipped: {', '.join(f'{column}[{row}]' for column, row in work.skips)}"
    if work.rejects:
        yield f"rejected: {', '.join(f'{column}[{row}]' for column, row in work.rejects)}"
    if work.killers:
        names = ", ".join(f"{column}[{row}]" for column, row in work.killers)
        yield f"ends the process: {names}"
    for incarnation in range(work.incarnations):
        step, rows = work.crash_step(incarnation), work.rows_of(incarnation)
        asked = f"asked for {counted(rows, 'row')}" if work.targets else ""
        stops = " and ".join(map(str, work.stop_steps(incarnation)))
        stops = f"asked to stop after step {stops}" if stops else ""
        ends = f"crashes at step {step}" if step else ""
        if step and work.torn_operation(incarnation):
            number = work.torn_operation(incarnation)
            ends = f"crashes in operation {number} on a file from step {step} on"
        loss = work.loss_step(incarnation)
        loses = f"loses a worker after step {loss}" if loss else ""
        parts = list(filter(None, (asked, stops, loses, ends)))
        if parts:
            yield f"{_process(incarnation)}: {', '.join(parts)}"
    for end in work.ends:
        where = f"call {end.call} of {_node(work, end.column, end.position)}"
        yield f"{where} ends at {end.t:g} s" + (
            f" in {_process(end.incarnation)}" if end.incarnation else ""
        )
    if work.seed:
        yield f"latencies of seed {work.seed}"
    if work.order_seed:
        yield f"what wakes up together runs in another order: order seed {work.order_seed}"


def _process(incarnation: int) -> str:
    return f"run {incarnation + 1} of the process"


def _node(work: Workload, column: str, position: int) -> str:
    rules = work.graph().rules
    if column in rules.index and rules.columns[rules.index[column]].is_barrier:
        return node_words(column, scope=position)
    return node_words(column, position)


_WRITES = {"data": "rows", "claim": "a claim"}


def _describe_rules(work: Workload) -> Iterator[str]:
    if work.batch_size is not None:
        every = ", for every barrier" if work.barrier_scope == "batch" else ""
        yield f"batches of {counted(work.batch_size, 'row')}{every}"
    limits = work.limits
    if limits.workers is not None:
        yield f"at most {counted(limits.workers, 'call')} at once"
    for name, most in limits.resources.items():
        users = [column for column, used in limits.column_resource.items() if used == name]
        if users:
            of = quoted(users)
            yield f"at most {counted(most, 'call')} of {of} at once (resource {name!r})"
    if limits.group_rows is not None:
        at_once = "" if limits.groups is None else f", {limits.groups} at once"
        yield f"row groups of {counted(limits.group_rows, 'row')}{at_once}"
    policy = work.failures
    if policy.max_attempts > 1:
        yield f"{policy.max_attempts} attempts"
    if policy.stop_window is not None:
        yield (
            f"stops early if {policy.stop_rate:.0%} of the last "
            f"{counted(policy.stop_window, 'call')} failed permanently"
        )
    if policy.timeout_s is not None:
        yield f"a call times out after {policy.timeout_s:g} s"
    if work.checkpoint_every_rows is not None:
        every = counted(work.checkpoint_every_rows, "row")
        yield f"a checkpoint of version {work.checkpoint_version} every {every}"
    if work.storage_s:
        yield f"each write of storage takes {work.storage_s:g} s"
    for fault in work.storage_faults:
        lands = ", and is done all the same" if fault.lands else ""
        lasts = ", and all later writes" if fault.lasts else ""
        yield f"write {fault.number} of {_WRITES[fault.write]} fails{lands}{lasts}"
    if work.keep:
        yield "claimed rows are kept if their barriers change"


def differences(asked: Workload, other: Workload) -> list[str]:
    """How another workload differs from the one that was asked for, a line each, for people.

    Columns go by their names, other fields by their lines in `describe`, and fields without a line
    by the name of the field. Empty if the two are equal.
    """
    if asked == other:
        return []
    old, new = describe(asked), describe(other)
    gone = [line.strip() for line in old if line not in new]
    come = [line.strip() for line in new if line not in old]
    made: list[str] = []
    for line in gone:
        subject, found, _ = line.partition(": ")
        meets = [each for each in come if found and each.startswith(f"{subject}: ")]
        if meets:
            come.remove(meets[0])
            made.append(f"{line} → {meets[0].removeprefix(f'{subject}: ')}")
        else:
            made.append(f"without {line}")
    made += [f"with {line}" for line in come]
    plain, others = asked.to_dict(), other.to_dict()
    return made or [f"another {name}" for name in plain if plain[name] != others[name]]


# For pasting

_TEST = '''\
from {module} import {attribute}

from cellspec import ColumnDescriptor, ExecutionTraits, FailurePolicy, Limits
from cellspec.conformance import End, Fault, StorageFault, Workload, run_workload
from cellspec.conformance.campaign.scaling import judge_cost


def test_{name}() -> None:
    """{clause}: {detail}"""
    work = {work}
    result = {judge}
    assert not result.violations, result.violations[0]
'''


def python_test(case: Case, *, made_by_call: bool = True) -> str:
    """A test in Python that fails as long as the case does, whole and ready to be pasted.

    Args:
        case: the case.
        made_by_call: the backend's attribute must be called to get the backend.
    """
    module, _, attribute = (case.backend or "my_engine:Backend").partition(":")
    engine = f"{attribute}()" if made_by_call else attribute
    waive = f", waive={case.waived!r}" if case.waived else ""
    judge = f"run_workload({engine}, work{waive})"
    if case.clause.startswith("COST-"):
        # One run alone does not show the cost of an event: it is run again with more rows.
        judge = f'judge_cost({engine}, "{case.clause}", work{waive})'
    text = _TEST.format(
        module=module,
        attribute=attribute.partition(".")[0],
        name=(case.clause or "case").lower().replace("-", "_"),
        clause=case.clause,
        detail=_one_line(case.detail, 82 - len(case.clause)),
        work="\n    ".join(_workload_lines(case.workload)),
        judge=judge,
    )
    used = {node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)}
    return _without_unused(text, used)


def _one_line(text: str, most: int) -> str:
    line = textwrap.shorten(text, most, placeholder=" …")
    return line.replace("\\", "/").replace('"', "'")


def _workload_lines(work: Workload) -> list[str]:
    """Python that makes the workload: a field a line, and long tuples an item a line."""
    call = ast.parse(repr(work), mode="eval").body
    assert isinstance(call, ast.Call)
    lines = ["Workload("]
    for keyword in call.keywords:
        value = keyword.value
        if isinstance(value, ast.Tuple) and any(isinstance(item, ast.Call) for item in value.elts):
            lines.append(f"    {keyword.arg}=(")
            lines += [f"        {ast.unparse(item)}," for item in value.elts]
            lines.append("    ),")
        else:
            lines.append(f"    {keyword.arg}={ast.unparse(value)},")
    return [*lines, ")"]


def _without_unused(text: str, used: Collection[str]) -> str:
    """Leave out imported names that the test does not use."""
    lines: list[str] = []
    for line in text.splitlines():
        head, found, names = line.partition(" import ")
        if not (found and line.startswith("from cellspec")):
            lines.append(line)
            continue
        kept = [name for name in names.split(", ") if name in used]
        if kept:
            lines.append(f"{head} import {', '.join(kept)}")
    return "\n".join(lines) + "\n"
