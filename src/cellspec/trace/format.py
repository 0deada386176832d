"""The lines of a trace as values: header, event, footer, and which fields each event has.

One table, `KINDS`, lists the fields that an event of each kind must and may hold; the reader, the
writer and the JSON Schema all follow it. Types and bounds of the fields are annotations here, and
the codec checks them while it decodes. Whether a field fits the graph (is there such a column? such
a row?) needs the header, and is checked where an event becomes an action
(`cellspec.trace.convert`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias, get_args

import msgspec
from msgspec import Meta

from cellspec.shapes import (
    INTEGER_MAX,
    SECONDS_MAX,
    Column,
    Count,
    FailureKind,
    FailureRules,
    JsonObject,
    Name,
    OutcomeWord,
    Positive,
    Range,
    RunLimits,
    Scope,
    Seconds,
    Trait,
)

__all__ = [
    "CHOICES",
    "KINDS",
    "LINE_BYTES_MAX",
    "TRACE_VERSION",
    "WORDS_OF_2",
    "Cause",
    "Column",
    "EndpointSums",
    "Engine",
    "Event",
    "FailureRules",
    "Footer",
    "Graph",
    "Header",
    "Kind",
    "RequestStep",
    "RunLimits",
    "SavingPolicy",
    "misfit",
    "to_json",
]

TRACE_VERSION = 2
"""The newest version of the format. A trace that can do without its words is written as version 1,
and readers take both: version 2 only adds words, so they judge each word that they meet."""

WORDS_OF_2 = frozenset(
    (
        "set_claims",
        "commits",
        "cache",
        "interrupts",
        "timeouts",
        "lost_workers",
        "filters",
        "prompt_saving",
        "config",
        "killer_cells",
        "requests",
        "endpoints",
    )
)
"""The capabilities whose traces hold words of version 2."""

LINE_BYTES_MAX = 64 << 20
"""The longest line that is read: what bounds a reader's memory when a file is no trace at all."""

Tokens: TypeAlias = Annotated[float, Meta(ge=0, le=INTEGER_MAX)]
RangeList: TypeAlias = tuple[Range, ...]

Kind: TypeAlias = Literal[
    "start",
    "complete",
    "emit",
    "fail",
    "cancel",
    "drop",
    "skip",
    "admit",
    "retire",
    "durable",
    "checkpoint_begin",
    "checkpoint_durable",
    "checkpoint_failed",
    "crash",
    "resume",
    "stop",
    "end",
    "commit_begin",
    "committed",
    "commit_failed",
    "write_begin",
    "recall",
    "take_back",
    "worker_lost",
    "lose",
    "pause",
    "stop_requested",
    "request",
]

Cause: TypeAlias = Literal["failed", "filtered", "killer"]
Step: TypeAlias = Literal[
    "entered",
    "sent",
    "queued",
    "turned_away",
    "refused",
    "serving",
    "decoding",
    "lost",
    "answered",
]

Clock: TypeAlias = Literal["virtual", "real"]
VerdictWord: TypeAlias = Literal["pass", "violated", "inconclusive"]

CHOICES: Mapping[str, tuple[str, ...]] = {
    "traits": get_args(Trait),
    "barrier_scope": get_args(Scope),
    "clock": get_args(Clock),
    "event": get_args(Kind),
    "failure": get_args(FailureKind),
    "outcome": get_args(OutcomeWord),
    "cause": get_args(Cause),
    "step": get_args(Step),
    "verdict": get_args(VerdictWord),
    "counts": get_args(Kind),
}
"""The words that a field takes, by its name."""


# The header


class Engine(JsonObject, frozen=True):
    """The engine that made the trace."""

    name: Annotated[str, Meta(min_length=1, description="The engine's name.")]
    version: Annotated[str, Meta(description="Its version, in its own words.")]


class Graph(JsonObject, frozen=True):
    """The graph: rows × columns."""

    rows: Annotated[int, Meta(ge=1, le=INTEGER_MAX, description="Rows of the dataset.")]
    columns: Annotated[tuple[Column, ...], Meta(min_length=1, description="In any order.")]
    batch_size: Annotated[
        Positive | None, Meta(description="Rows of a batch; needed by barriers of batch scope.")
    ] = None
    barrier_scope: Annotated[
        Scope,
        Meta(description="`batch`: every barrier waits for its batch of rows only."),
    ] = "declared"


class SavingPolicy(JsonObject, frozen=True, omit_defaults=True):
    """When the engine promises to save, in rows, row groups or seconds; one of the three."""

    rows: Annotated[
        Positive | None, Meta(description="A save is due when so many rows could be claimed.")
    ] = None
    group: Annotated[bool, Meta(description="A save is due when a row group retires.")] = False
    seconds: Annotated[
        Seconds | None,
        Meta(description="A save is due so long after something could be claimed."),
    ] = None


class Header(JsonObject, frozen=True, omit_defaults=True):
    """Line 1: everything that is needed to judge the events that follow.

    Fields that version 1 does not have are left out at their defaults.
    """

    trace: Annotated[int, Meta(ge=1, le=TRACE_VERSION, description="Version of this format.")]
    engine: Engine
    graph: Graph
    limits: RunLimits
    failures: FailureRules
    seed: Annotated[int | None, Meta(description="The seed of the run, if it has one.")]
    clock: Annotated[
        Clock,
        Meta(description="`virtual`: time passes only when the engine waits."),
    ]
    claims: Annotated[tuple[Name, ...], Meta(description="Capabilities of the engine, as `core`.")]
    clauses: Annotated[str, Meta(description="The clause set that the trace was written for.")]
    config: Annotated[
        dict[str, str] | None,
        Meta(description="By column a digest of what shapes its values; null: not compared."),
    ] = None
    saving: Annotated[
        SavingPolicy | None, Meta(description="When the engine promises to save.")
    ] = None
    idle_s: Annotated[
        Seconds | None,
        Meta(description="Seconds for which ready work may wait beside nothing in flight."),
    ] = None
    bypass: Annotated[
        Count | None,
        Meta(description="The most later nodes that overtake a ready one, if that is promised."),
    ] = None
    killer_tries: Annotated[
        Positive | None,
        Meta(description="How often a cell that ends the process is tried, if that is promised."),
    ] = None
    timeout_s: Annotated[
        Annotated[float, Meta(gt=0, le=SECONDS_MAX)] | None,
        Meta(description="Seconds that a call may be in flight; null: no bound."),
    ] = None
    claim_version: Annotated[
        Annotated[int, Meta(ge=0, le=3)] | None,
        Meta(
            description="What the run's claims hold: 1 whole rows without a gap; 2 the first rows "
            "of each column; 3 any rows; 0: it is asked for none; null: not said."
        ),
    ] = None
    endpoints: Annotated[
        dict[str, dict[str, Any]] | None,
        Meta(description="By resource the endpoint behind it, in the engine's own words."),
    ] = None
    places: Annotated[
        dict[str, dict[str, Positive]] | None,
        Meta(
            description="By column whose calls take several places, how many of each resource; its "
            "`column_resource` is one of these. A call of any other takes one; null: all do."
        ),
    ] = None


# Events


class RequestStep(JsonObject, frozen=True, omit_defaults=True):
    """How far a call came on its way through an endpoint."""

    step: Annotated[
        Step,
        Meta(
            description="`entered`: the scheduler let it go; `sent` by the client; `queued` in the "
            "server's line; `turned_away` by the server, where the client is told later; "
            "`refused`, as the client is told; `serving`: out of the line; "
            "`decoding`: its prompt is read; `lost` by the server; `answered`: the client is "
            "through with it."
        ),
    ]
    prompt_tokens: Annotated[
        Tokens | None, Meta(description="Tokens of the prompt; counts may be fractions.")
    ] = None
    output_tokens: Annotated[
        Tokens | None, Meta(description="Tokens of the answer, as it will be.")
    ] = None
    reserved_tokens: Annotated[
        Tokens | None, Meta(description="Tokens that are reserved for the answer.")
    ] = None
    work: Annotated[
        Seconds | None, Meta(description="Seconds of work, of a call that is not of tokens.")
    ] = None
    retry_after_s: Annotated[
        Seconds | None, Meta(description="Of a refusal: when to come again, as the client is told.")
    ] = None
    limit: Annotated[
        Positive | None, Meta(description="Of a throttle: how many calls may be out from now on.")
    ] = None
    by: Annotated[
        str | None,
        Meta(
            description="Of a refusal: `outage`; `queue`, which was full; or `limit 1`, `limit 2`, "
            "…: of the server's limits the one that lets the call wait longest, as listed."
        ),
    ] = None
    failed: Annotated[
        bool, Meta(description="Of an answer: it is an error, or did not come in time.")
    ] = False


class EndpointSums(JsonObject, frozen=True):
    """What an engine counted at one endpoint, over all incarnations of a run."""

    queue_s: Annotated[Seconds, Meta(description="Seconds of calls in the server's line.")]
    prefill_s: Annotated[Seconds, Meta(description="From there until their prompts were read.")]
    decode_s: Annotated[Seconds, Meta(description="From there until they left.")]
    prompt_tokens: Annotated[
        Tokens, Meta(description="Charged for prompts: of calls that were served, well or not.")
    ]
    output_tokens: Annotated[Tokens, Meta(description="Charged for answers: of the same calls.")]


class Event(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, gc=False):
    """One step of a run. Fields at their defaults are left out of the line.

    `rows` is one row, or a range ``[start, stop)``; `reads`, `dropped` and `skipped` hold ranges.
    `KINDS` lists the fields of each kind of event.
    """

    seq: Annotated[
        int, Meta(ge=1, le=INTEGER_MAX, description="1, 2, 3 … without a gap: the line less one.")
    ]
    t: Annotated[
        float,
        Meta(
            ge=0,
            le=SECONDS_MAX,
            description="Seconds of the engine's clock; never falls within an incarnation.",
        ),
    ]
    event: Annotated[Kind, Meta(description="What happened.")]
    column: Annotated[str | None, Meta(description="The column that it happened to.")] = None
    # No bound on the single row here: msgspec 0.22 reads past its own memory if a union holds
    # both an integer with bounds and an array of fixed length. `misfit` checks it.
    rows: Annotated[
        int | Range | None, Meta(description="One row, or a range of rows [start, stop).")
    ] = None
    scope: Annotated[Count | None, Meta(description="A barrier node, by number from 0.")] = None
    attempt: Annotated[
        Positive | None,
        Meta(
            description="Of a start: 1 for a node's first try in an incarnation, and if left out. "
            "Of an end: the attempt that ended; left out, the one in flight."
        ),
    ] = None
    resource: Annotated[str | None, Meta(description="The resource that the call takes.")] = None
    failure: Annotated[
        FailureKind | None,
        Meta(description="Spends an attempt; spends none; drops the row at once."),
    ] = None
    until: Annotated[
        Seconds | None,
        Meta(description="When the node, or after a pause any, may start again, in seconds."),
    ] = None
    reads: Annotated[
        RangeList | None, Meta(description="The rows that a barrier reads, in row order.")
    ] = None
    # No bound on the number here either; `misfit` checks it.
    claim: Annotated[
        Mapping[str, int | RangeList] | None,
        Meta(
            description="For each column the rows that are claimed as resolved: a number of rows "
            "from 0 on, or ranges. Of a commit, those that are new; columns left out have none."
        ),
    ] = None
    dropped: Annotated[
        RangeList | None,
        Meta(description="The dropped rows that storage read back; left out: not compared."),
    ] = None
    skipped: Annotated[
        dict[str, RangeList] | None,
        Meta(description="By column, the skipped cells that storage read; left out: not compared."),
    ] = None
    records: Annotated[
        Positive | None, Meta(description="Rows of the dataset from now on, if it is another.")
    ] = None
    keep: Annotated[
        bool, Meta(description="Keep claimed rows of barriers whose scope changes.")
    ] = False
    outcome: Annotated[OutcomeWord | None, Meta(description="How the run ended.")] = None
    reason: Annotated[str | None, Meta(description="Why, for people; nothing judges it.")] = None
    incarnation: Annotated[
        Positive | None, Meta(description="The incarnation that begins; the first is 0.")
    ] = None
    commit: Annotated[
        Count | None, Meta(description="The number of a commit, where several are open at once.")
    ] = None
    abandoned: Annotated[
        bool, Meta(description="The call goes on, and its end is nobody's any more.")
    ] = False
    rejected: Annotated[
        RangeList | None, Meta(description="The rows that the answer rejects or leaves out.")
    ] = None
    cause: Annotated[
        Cause | None, Meta(description="Why rows are dropped; left out, a node failed for good.")
    ] = None
    config: Annotated[
        dict[str, str] | None,
        Meta(description="The configuration of the new process, as in the header."),
    ] = None
    keep_config: Annotated[
        bool, Meta(description="Keep claimed cells although their configuration changed.")
    ] = False
    request: Annotated[
        RequestStep | None, Meta(description="Of a request: how far it came, and what it holds.")
    ] = None
    endpoints: Annotated[
        dict[str, EndpointSums] | None,
        Meta(description="Of an end: by resource, what the engine counted at its endpoint."),
    ] = None
    inferred: Annotated[
        bool, Meta(description="Not observed, but concluded: no clause passes on it.")
    ] = False


class Footer(JsonObject, frozen=True):
    """The last line. A trace without it is a beginning, and inconclusive."""

    footer: Annotated[bool, Meta(description="Always true.")]
    events: Annotated[Count, Meta(description="How many events the trace has.")]
    counts: Annotated[dict[Kind, Positive], Meta(description="The same by kind, none that is 0.")]
    verdict: Annotated[
        VerdictWord | None,
        Meta(description="What the writer found, if it judged the run; a reader judges anew."),
    ] = None


class Shape(NamedTuple):
    """The fields of an event of one kind, beside `seq`, `t`, `event` and `inferred`.

    `node` kinds are about cells, which `rows` names, or about a barrier node, which `scope` does.
    """

    about: str
    needs: tuple[str, ...] = ()
    may: tuple[str, ...] = ()
    node: bool = False


KINDS: Mapping[str, Shape] = {
    "start": Shape(
        "A cell, a range of a streaming column, or a barrier node begins.",
        ("column",),
        ("attempt", "resource", "reads"),
        node=True,
    ),
    "complete": Shape(
        "What was started ends well; of a running range, any part of it.",
        ("column",),
        ("attempt", "resource", "rejected"),
        node=True,
    ),
    "emit": Shape("A finished barrier gives its output cells.", ("column", "rows")),
    "fail": Shape(
        "What was started fails.",
        ("column", "failure"),
        ("attempt", "resource", "until", "reason", "abandoned"),
        node=True,
    ),
    "cancel": Shape(
        "What was started ends without a result and without spending an attempt.",
        ("column",),
        ("attempt", "resource", "reason", "abandoned"),
        node=True,
    ),
    "drop": Shape(
        "Rows are recorded as dropped, because of a column.",
        ("column", "rows"),
        ("reason", "cause"),
    ),
    "skip": Shape("Cells are resolved without a value.", ("column", "rows"), ("reason",)),
    "admit": Shape("A row group enters.", ("rows",)),
    "retire": Shape("A row group leaves.", ("rows",)),
    "durable": Shape(
        "Rows of a column, or of every column, are safe on storage.", ("rows",), ("column",)
    ),
    "checkpoint_begin": Shape("A claim is handed to storage.", ("claim",)),
    "checkpoint_durable": Shape("That claim is safe on storage."),
    "checkpoint_failed": Shape(
        "That claim, or without one the rows for the next, could not be written.", (), ("reason",)
    ),
    "crash": Shape("The process is gone, with all that is not durable.", (), ("reason",)),
    "resume": Shape(
        "A new incarnation begins from a claim that storage gave back.",
        ("claim",),
        (
            "dropped",
            "skipped",
            "records",
            "keep",
            "reason",
            "incarnation",
            "config",
            "keep_config",
        ),
    ),
    "stop": Shape("An early stop: nothing starts any more.", (), ("reason",)),
    "end": Shape("The run reports how it ended.", ("outcome",), ("reason", "endpoints")),
    "commit_begin": Shape(
        "Data is handed to storage that is its own claim: rows of a column or of every column, or "
        "a claim of what is new.",
        (),
        ("column", "rows", "claim", "commit"),
    ),
    "committed": Shape("That commit is safe on storage.", (), ("commit",)),
    "commit_failed": Shape(
        "That commit reported an error; it may be on storage all the same.",
        (),
        ("commit", "reason"),
    ),
    "write_begin": Shape(
        "Rows of a column, or of every column, are handed to storage.", ("rows",), ("column",)
    ),
    "recall": Shape(
        "A cache gives what an earlier incarnation made durable, without a call.",
        ("column",),
        ("reason",),
        node=True,
    ),
    "take_back": Shape(
        "What was started is taken from its worker, to be started on another.",
        ("column",),
        ("attempt", "resource", "reason"),
        node=True,
    ),
    "worker_lost": Shape("A worker is gone, with results that only it held.", (), ("reason",)),
    "lose": Shape(
        "Results that were complete and not durable are gone with a worker.",
        ("column",),
        ("reason",),
        node=True,
    ),
    "pause": Shape("The engine starts no call until a time.", (), ("until", "reason")),
    "stop_requested": Shape(
        "The engine is asked to stop; nothing starts from here.", (), ("reason",)
    ),
    "request": Shape(
        "What was started comes a step further on its way through an endpoint.",
        ("column", "request"),
        ("resource",),
        node=True,
    ),
}
"""Every kind of event, in the order in which counts and the schema list them."""

_COMMON = ("seq", "t", "event", "inferred")
_DEFAULTS = dict(zip(Event.__struct_fields__[3:], Event.__struct_defaults__, strict=True))


def fields_of(kind: str) -> tuple[str, ...]:
    """The fields that an event of this kind may hold, in the order of a line."""
    shape = KINDS[kind]
    mine = {*_COMMON, *shape.needs, *shape.may, *(("rows", "scope") if shape.node else ())}
    return tuple(name for name in Event.__struct_fields__ if name in mine)


_FOREIGN = {
    kind: tuple(
        (name, default) for name, default in _DEFAULTS.items() if name not in fields_of(kind)
    )
    for kind in KINDS
}


def misfit(event: Event) -> tuple[str, str] | None:
    """A field that an event's kind forbids, and the expected value; None if the event fits."""
    # Nearly all events are starts and ends of one cell: one expression finds that all is well.
    rows = event.rows
    if (
        (event.event == "start" or event.event == "complete")
        and type(rows) is int
        and 0 <= rows <= INTEGER_MAX
        and event.column
        and event.scope is None
        and event.failure is None
        and event.until is None
        and event.reads is None
        and event.claim is None
        and event.dropped is None
        and event.skipped is None
        and event.records is None
        and not event.keep
        and event.outcome is None
        and event.reason is None
        and event.incarnation is None
        and event.rejected is None
        and event.cause is None
        and event.commit is None
        and event.config is None
        and not event.abandoned
        and not event.keep_config
        and event.request is None
        and event.endpoints is None
    ):
        return None
    return _find_misfit(event)


def _find_misfit(event: Event) -> tuple[str, str] | None:
    kind, shape = event.event, KINDS[event.event]
    for name, default in _FOREIGN[kind]:
        if getattr(event, name) != default:
            return name, f"no such field in {_article(kind)} event"
    for name in shape.needs:
        if getattr(event, name) in (None, ""):
            return name, f"expected a value, which {_article(kind)} event needs"
    if shape.node and (event.rows is None) == (event.scope is None):
        return "rows", "expected either rows, of cells, or scope, of a barrier node"
    if event.column == "":
        return "column", "expected a name that is not empty, or no such field"
    if kind == "commit_begin" and (event.rows is None) == (event.claim is None):
        return "rows", "expected either rows, or a claim of what is new"
    if event.claim is not None and event.column is not None:
        return "column", "no such field beside a claim, which names columns"
    if event.rows is not None and event.reads is not None:
        return "reads", "no such field of a cell"
    if isinstance(event.rows, int):
        if not 0 <= event.rows <= INTEGER_MAX:
            return "rows", "expected an integer from 0, or a range of rows"
    elif event.rows is not None and event.rows[0] >= event.rows[1]:
        return "rows", "expected a range [start, stop) that is not empty"
    return _odd_ranges(event)


def _odd_ranges(event: Event) -> tuple[str, str] | None:
    # The order of a barrier's reads is the engine's doing: a clause judges it, not the format.
    for start, stop in event.reads or ():
        if start >= stop:
            return "reads", "expected ranges [start, stop) that are not empty"
    sets = {"dropped": event.dropped or (), "rejected": event.rejected or ()}
    sets |= {f"skipped.{name}": ranges for name, ranges in (event.skipped or {}).items()}
    for name, rows in (event.claim or {}).items():
        if not isinstance(rows, int):
            sets[f"claim.{name}"] = rows
        elif not 0 <= rows <= INTEGER_MAX:
            return f"claim.{name}", "expected an integer from 0, or ranges of rows"
    for name, ranges in sets.items():
        last = 0
        for start, stop in ranges:
            if start < last or start >= stop:
                return (
                    name,
                    "expected ranges [start, stop) in row order, none empty, none over another",
                )
            last = stop
    return None


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "ae" else f"a {kind}"


def to_json(line: Header | Event | Footer) -> dict[str, Any]:
    """A line as plain values, as `json` reads them from the file."""
    made: dict[str, Any] = msgspec.to_builtins(line)
    return made
