"""Verdicts on thousands of traces, to see what a change of the rules changes.

``python -m tests.check.verdicts`` judges traces anew and prints each verdict that differs from
`verdicts.json`; with ``--write`` it writes that file. The file says what the checker said, not what
is right: that is up to the clauses, their own tests and the oracles. It is there so that nobody
changes a verdict without seeing it. `test_verdicts` compares all of them.

A trace is of a right run, or of such a run with an edit or two: an event that
is lost, doubled, late, of another row or another attempt; another limit or promise in the header.
The runs are the first workloads of each profile that the suite draws, on the reference engine,
runs of an engine without a plan (`tests.traces.toy_run`), and simulated ones with endpoints
(`tests.check.endpoint_runs`). Runs and edits are drawn from the name of the run, so they are the
same everywhere.

A trace that breaks a clause is judged again with that clause waived, which says what the machine
makes of a step that it refused. Of every fourth finding the words are kept too; of the explanation,
of what was counted and of the timeline a checksum, which tells that they changed, and not how; and
of each run, now and then, which steps are allowed next. Of random walks through the machine
(`tests.machine.walks`) checksums are kept.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from itertools import islice, zip_longest
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from msgspec.structs import replace

from cellspec import FailurePolicy, Limits
from cellspec.check.checker import Checker
from cellspec.check.timeline import ChromeWriter
from cellspec.conformance.campaign.campaign import campaign_workloads
from cellspec.conformance.campaign.causes import Place
from cellspec.conformance.campaign.pairs import Pairs
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.profiles import PROFILES
from cellspec.conformance.run.workload import Workload
from cellspec.engines.reference import ReferenceBackend
from cellspec.errors import SpecError, TraceError
from cellspec.files import write_files
from cellspec.trace import Event, Header
from cellspec.trace.format import SavingPolicy, misfit
from tests.check.endpoint_runs import draw
from tests.machine.walks import A_GROUP, in_short
from tests.recompute.runner import run as simulate
from tests.traces import EVERYTHING_LIMITS, Dice, everything, renumbered, toy_run

__all__ = ["differences", "kept", "runs", "verdicts"]

FILE = Path(__file__).with_name("verdicts.json")

OF_A_PROFILE = 12
"""Runs of each profile."""

TOYS = 24
"""Runs of the engine without a plan."""

AT_ENDPOINTS = 60
"""Simulated runs with endpoints."""

EDITS = 40
"""Edited traces of each run; of three one has two edits."""

EVENTS_MAX = 260
"""Longer runs say nothing new, and take their time."""

WALKS = 408
"""Groups of walks."""

WAIVED_MAX = 2
"""So many clauses are waived in turn."""

Trace = tuple[Header, list[Event]]
Edit = Callable[[random.Random, Header, list[Event]], Trace]


# Runs


def runs() -> list[str]:
    """The names of all runs."""
    drawn = [profile.name for profile in PROFILES if profile.drawn]
    of_profiles = [f"{name} {number}" for name in drawn for number in range(OF_A_PROFILE)]
    toys = [f"toy {number}" for number in range(TOYS)]
    at_endpoints = [f"endpoints {number}" for number in range(AT_ENDPOINTS)]
    return [*of_profiles, *toys, *at_endpoints, *(f"walks {number}" for number in range(WALKS))]


@cache
def _workloads(profile: str) -> list[Workload]:
    beside = ReferenceBackend().capabilities - {"counted_work"}
    places = (Place(profile, number) for number in range(10 * OF_A_PROFILE))
    drawn = campaign_workloads(Pairs(profile, sorted(beside)), places)
    small = (work for _, work in drawn if work.rows * len(work.columns) <= 48)
    return list(islice(small, OF_A_PROFILE))


def _run(name: str) -> Trace:
    kind, number = name.rsplit(" ", 1)
    if kind == "toy":
        return _toy(int(number))
    if kind == "endpoints":
        return _at_endpoints(int(number))
    result = run_workload(ReferenceBackend(), _workloads(kind)[int(number)])
    header = msgspec.convert(result.header, Header)
    return header, [msgspec.convert(event, Event) for event in result.events]


def _toy(number: int) -> Trace:
    limits = (EVERYTHING_LIMITS, Limits(workers=2, group_rows=3, groups=3), Limits())[number % 3]
    failures = FailurePolicy(1 + number % 3, *((4, 0.5) if number % 4 == 3 else ()))
    dice = Dice(crash=0.05, skip=0.4) if number % 2 else None
    return toy_run(everything(4 + number % 5), limits, failures, seed=number, dice=dice)


def _at_endpoints(number: int) -> Trace:
    with TemporaryDirectory() as folder:
        header, *lines = simulate(draw(number), Path(folder)).trace
    events = [line for line in map(json.loads, lines) if "event" in line]
    return msgspec.json.decode(header, type=Header), msgspec.convert(events, list[Event])


# Edits


def _lose(dice: random.Random, header: Header, events: list[Event]) -> Trace:
    del events[dice.randrange(len(events))]
    return header, events


def _double(dice: random.Random, header: Header, events: list[Event]) -> Trace:
    place = dice.randrange(len(events))
    return header, [*events[:place], events[place], *events[place:]]


def _move(dice: random.Random, header: Header, events: list[Event]) -> Trace:
    """One event takes place a little earlier or later; the moments stay as they are."""
    moments = [event.t for event in events]
    event = events.pop(dice.randrange(len(events)))
    events.insert(min(len(events), max(0, event.seq - 1 + dice.choice((-2, -1, 1, 2, 5)))), event)
    return header, [replace(one, t=t) for one, t in zip(events, moments, strict=True)]


def _copy(dice: random.Random, header: Header, events: list[Event]) -> Trace:
    """An event takes place a second time, somewhere else."""
    event, place = dice.choice(events), dice.randrange(len(events))
    copy = replace(event, t=events[place].t)
    return header, [*events[:place], copy, *events[place:]]


def _wait(dice: random.Random, header: Header, events: list[Event]) -> Trace:
    place, more_s = dice.randrange(len(events)), dice.choice((0.0625, 1.0, 60.0))
    late = [replace(event, t=event.t + more_s) for event in events[place:]]
    return header, [*events[:place], *late]


def _at_once(dice: random.Random, header: Header, events: list[Event]) -> Trace:
    """One event takes place when the one before it does."""
    place = dice.randrange(1, len(events))
    events[place] = replace(events[place], t=events[place - 1].t)
    return header, events


def _retold(dice: random.Random, header: Header, events: list[Event]) -> Trace:
    """One field of one event says something else."""
    place = dice.randrange(len(events))
    event = events[place]
    fields: dict[str, object] = {
        name: getattr(event, name)
        for name in event.__struct_fields__
        if name not in ("seq", "t", "event", "reason") and getattr(event, name)
    }
    fields |= {"rows": event.rows} if event.rows == 0 else {}
    fields |= {"scope": event.scope} if event.scope == 0 else {}
    if not fields:
        return header, events
    name = dice.choice(sorted(fields))
    columns = [column.name for column in header.graph.columns]
    other = replace(event, **{name: _other(dice, fields[name], name, columns)})
    with suppress(msgspec.ValidationError):
        events[place] = msgspec.convert(msgspec.to_builtins(other), Event)
    return header, events


def _other(dice: random.Random, value: Any, name: str, columns: Sequence[str]) -> object:
    """A value that is like another, and is not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return max(0, value + dice.choice((-1, 1)))
    if isinstance(value, float):
        return max(0.0, value + dice.choice((-0.5, 0.0625, 0.5)))
    if isinstance(value, str):
        words = {
            "column": columns,
            "failure": ["retryable", "backpressure", "permanent", "timeout"],
            "outcome": ["success", "failed", "stopped", "interrupted"],
            "cause": ["filtered", "killer", "failed"],
        }.get(name, [value])
        return dice.choice([word for word in words if word != value] or [value])
    if isinstance(value, dict):
        return value and {
            key: (_other(dice, each, "", columns) if place == 0 else each)
            for place, (key, each) in enumerate(sorted(value.items()))
        }
    if isinstance(value, tuple | list) and value:
        place = dice.randrange(len(value))
        if dice.random() < 0.2:
            return type(value)(each for at, each in enumerate(value) if at != place)
        return type(value)(
            _other(dice, each, "", columns) if at == place else each
            for at, each in enumerate(value)
        )
    return None


def _promised(dice: random.Random, header: Header, events: list[Event]) -> Trace:
    """The header has another limit, or promises more or less."""
    limits, failures, claims = header.limits, header.failures, header.claims
    promises: tuple[dict[str, object], ...] = (
        {"limits": replace(limits, workers=dice.choice((1, 2, 3)))},
        {"limits": replace(limits, resources=dict.fromkeys(limits.resources, 1))},
        {"limits": replace(limits, groups=1)},
        {"failures": replace(failures, max_attempts=failures.max_attempts + 1)},
        {"failures": replace(failures, max_attempts=max(1, failures.max_attempts - 1))},
        {"failures": replace(failures, stop_window=2, stop_rate=0.5)},
        {"claims": tuple(name for name in claims if name != "drops")},
        {"claims": tuple(name for name in claims if name != "work_conserving")},
        {"claims": tuple(name for name in claims if name != "resume")},
        {"clock": "real"},
        {"saving": SavingPolicy(rows=2)},
        {"saving": SavingPolicy(seconds=0.5)},
        {"idle_s": 0.5},
        {"bypass": dice.choice((0, 1, 3))},
        {"killer_tries": dice.choice((1, 2))},
        {"timeout_s": dice.choice((0.25, 1.0))},
        {"claim_version": dice.choice((0, 1, 2, 3))},
    )
    if header.endpoints and dice.random() < 0.7:
        columns = [column.name for column in header.graph.columns]
        promises = ({"endpoints": _leaf(dice, header.endpoints, columns)},)
    return replace(header, **dice.choice(promises)), events


def _leaf(dice: random.Random, value: Any, columns: Sequence[str]) -> Any:
    """The same with another value in one place, however deep."""
    if not isinstance(value, dict | list | tuple) or not value:
        return _other(dice, value, "", columns)
    if isinstance(value, dict):
        chosen = dice.choice(sorted(value))
        return value | {chosen: _leaf(dice, value[chosen], columns)}
    place = dice.randrange(len(value))
    return [_leaf(dice, one, columns) if at == place else one for at, one in enumerate(value)]


def _added(dice: random.Random, header: Header, events: list[Event]) -> Trace:
    """Something happens that a process may do at any time."""
    place = dice.randrange(len(events))
    t = events[place].t
    column = dice.choice(header.graph.columns).name
    row = dice.randrange(header.graph.rows)
    new = dice.choice(
        (
            {"event": "stop_requested"},
            {"event": "stop"},
            {"event": "pause", "until": t + 0.5},
            {"event": "write_begin", "rows": row},
            {"event": "durable", "rows": row},
            {"event": "checkpoint_durable"},
            {"event": "checkpoint_failed"},
            {"event": "crash"},
            {"event": "end", "outcome": dice.choice(("failed", "interrupted", "success"))},
            {"event": "drop", "column": column, "rows": row},
            {"event": "skip", "column": column, "rows": row},
            {"event": "cancel", "column": column, "rows": row},
            {"event": "take_back", "column": column, "rows": row},
            {"event": "lose", "column": column, "rows": row},
            {"event": "commit_begin", "rows": row},
            {"event": "committed"},
            {"event": "worker_lost"},
            {"event": "recall", "column": column, "rows": row},
            {"event": "admit", "rows": (row, row + 1)},
            {"event": "retire", "rows": (row, row + 1)},
        )
    )
    event = msgspec.convert({"seq": 1, "t": t, **new}, Event)
    return header, [*events[:place], event, *events[place:]]


def _cut(dice: random.Random, header: Header, events: list[Event]) -> Trace:
    """The run ends earlier than it did."""
    place = dice.randrange(len(events))
    end = replace(events[-1], outcome=dice.choice(("success", "failed", "stopped", "interrupted")))
    return header, [*events[:place], replace(end, t=events[place].t)]


_EDITS: tuple[tuple[Edit, int], ...] = (
    (_lose, 3),
    (_double, 1),
    (_move, 3),
    (_copy, 2),
    (_wait, 3),
    (_at_once, 1),
    (_retold, 5),
    (_promised, 4),
    (_added, 3),
    (_cut, 1),
)


def _edited(name: str, number: int, header: Header, events: list[Event]) -> tuple[str, Trace]:
    dice = random.Random(f"{name} {number}")
    edits = [one for one, _ in _EDITS]
    chosen = dice.choices(edits, [weight for _, weight in _EDITS], k=2 if number % 3 == 2 else 1)
    for edit in chosen:
        header, events = edit(dice, header, list(events))
        events = renumbered(events)
    return ", ".join(edit.__name__[1:] for edit in chosen), (header, events)


# Verdicts


def verdicts(name: str) -> list[str]:
    """What the checker says of a run, and of each edited one, and what may happen next in it."""
    kind, number = name.rsplit(" ", 1)
    if kind == "walks":
        first = A_GROUP * int(number)
        return [in_short(one) for one in range(first, first + A_GROUP)]
    header, events = _run(name)
    events = events[:EVENTS_MAX]
    said = [f"as it is: {_verdict(header, events)}, {_timeline(header, events)}"]
    for place in range(EDITS):
        edit, (other, edited) = _edited(name, place, header, events)
        every_fourth = place % 4 == 0
        said.append(f"{edit}: {_verdict(other, edited, in_full=every_fourth)}")
        if every_fourth:
            said[-1] += f", {_timeline(other, edited)}"
    return [*said, *_enabled(header, events)]


def _enabled(header: Header, events: Sequence[Event]) -> Iterator[str]:
    """What the machine allows as the next step, now and then in a run."""
    checker = Checker(header)
    for event in events:
        checker.feed(event)
        if event.seq % 6 == 0:
            actions = sorted(map(repr, checker.machine.enabled()))
            kinds = Counter(action.kind for action in checker.machine.enabled())
            counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
            yield f"enabled after {event.seq}: {counts or 'nothing'} ({_checksum(actions)})"


def _verdict(header: Header, events: Sequence[Event], *, in_full: bool = False) -> str:
    """What is found, then what is found without the clauses that were broken."""
    said: list[str] = []
    waived: list[str] = []
    while len(waived) <= WAIVED_MAX:
        found, clause = _judge(header, events, waived, in_full=in_full and not waived)
        said.append(found)
        if clause is None:
            break
        waived.append(clause)
    return "; ".join(said)


def _judge(
    header: Header, events: Sequence[Event], waived: Sequence[str], *, in_full: bool
) -> tuple[str, str | None]:
    """The words about a trace, and the clause that it breaks."""
    try:
        checker = Checker(header, waive=waived, slack_s=1.0)
        for event in events:
            if misfit(event):
                return f"no event at {event.seq}", None
            finding = checker.feed(event)
            if finding is not None:
                # The first line is the clause, which may be put into better words.
                check = _checksum(finding.explanation[1:])
                why = f": {finding.detail}" if in_full else ""
                return f"{finding.clause} at {finding.seq} ({check}){why}", finding.clause
    except (SpecError, TraceError) as error:
        return f"{type(error).__name__} ({_checksum(str(error))})", None
    result = checker.result()
    counted = [sorted(result.counts.items()), sorted(result.evidence.items()), result.outcome]
    check = _checksum([*counted, result.incarnations, result.inferred, result.compares_config])
    unjudged = sorted(result.unjudged)
    return ", ".join([f"pass ({check})", f"{result.completed_rows} rows", *unjudged]), None


def _timeline(header: Header, events: Sequence[Event]) -> str:
    """A checksum of the Chrome trace events."""
    put: list[dict[str, Any]] = []
    try:
        writer = ChromeWriter(header, put.append)
        for event in events:
            if misfit(event):
                break
            writer.add(event)
        writer.close()
    except (SpecError, TraceError) as error:
        return f"no timeline ({_checksum(str(error))})"
    return f"{len(put)} in its timeline ({_checksum(put)})"


def _checksum(value: object) -> str:
    return hashlib.blake2b(repr(value).encode(), digest_size=3).hexdigest()


def kept() -> dict[str, list[str]]:
    """The verdicts of the file, by run."""
    said: dict[str, list[str]] = json.loads(FILE.read_text(encoding="utf-8"))
    return said


def differences(name: str, now: Sequence[str], before: Sequence[str]) -> list[str]:
    """What is said of a run now, and was not before, each in a line."""
    pairs = enumerate(zip_longest(now, before))
    return [f"{name}, {at}: {one}; was {was}" for at, (one, was) in pairs if one != was]


def main() -> int:
    """Judge all traces; exit code 1 if a verdict differs from the file and is not written."""
    found = {name: verdicts(name) for name in runs()}
    before = kept() if FILE.exists() else {}
    changed = [
        each for name, now in found.items() for each in differences(name, now, before.get(name, ()))
    ]
    print(*changed, sep="\n")
    if "--write" in sys.argv[1:]:
        lines = [f" {json.dumps(name)}: {json.dumps(said)}" for name, said in found.items()]
        write_files(FILE.parent, {FILE.name: "{\n" + ",\n".join(lines) + "\n}\n"})
        return 0
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())
