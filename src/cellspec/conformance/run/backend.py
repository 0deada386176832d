"""The backend: the one small class that stands between the suite and your engine.

A backend does two things. `run` runs the engine on the workload of a `Probe`, with the probe's
calls as the engine's generators, and reports the events that no call shows. `table` reads the
durable table back, so that the suite judges it without a report of the engine.

A backend names its *capabilities*. The suite asks only for these, and reports the others as not
claimed:

====================  ==========================================================================
capability            the engine …
====================  ==========================================================================
``core``              runs cells and barriers in the order of their dependencies, within limits
``batch_barriers``    runs barriers of batch scope
``groups``            admits rows in groups
``streaming``         runs ranges of row-streamable columns as one call
``ordered``           runs ordered columns in row order
``retries``           repeats calls that may be repeated, and waits as long as a call asks for
``drops``             drops rows that failed for good, and goes on
``skips``             leaves out cells, and the cells that depend on them
``resume``            goes on after a crash from its durable state
``column_checkpoints``  claims rows column by column (version 2)
``set_claims``        claims any rows of a column, with gaps (version 3)
``commits``           writes data together with the claim on it: a crash leaves both, or neither
``prompt_saving``     saves when its policy says so, by default every so many rows
``targets``           resumes with another number of rows
``config``            refuses another pipeline, batch size or version of a column over what it
                      claimed, or begins in a fresh place
``early_stop``        stops when too many calls fail permanently
``timeouts``          ends a call that takes longer than ``work.timeout_s``, or gives it up
``interrupts``        ends well when it is asked to stop
``filters``           drops a row that an answer rejects, as filtered, and refuses a barrier's list
                      of another length
``cache``             recalls answers that an earlier incarnation made durable, without a call
``lost_workers``      makes again what went with a worker that was lost
``killer_cells``      gives a row up when a cell of it was in flight as too many processes died
``storage_steps``     reports the steps of its storage, so that it may be killed between them
``storage_faults``    bears storage that is slow, full or failing: it writes inside `Probe.storage`,
                      and resumes
``torn_writes``       keeps what must last in files of its folder that it opens in this process and
                      from Python, and bears a crash in the middle of a write to one
``work_conserving``   starts every call that could start before time moves on
``any_text``          keeps each text as it is: empty, like a null or a number, of several lines,
                      long, or equal in several rows
``row_ids``           names rows by the ids that the workload gives (`Probe.row_ids`): numbers with
                      gaps or out of order, texts, texts of digits
``counted_work``      does no more work for an event in a long run than in a short one; runs in this
                      process and in virtual time, so that its work can be counted
====================  ==========================================================================

An engine that looks for work now and then, and not at once, declares how long that may take: an
attribute ``idle_s``, in seconds of its own clock (clause SCHED-15), which is 0 for a backend
without it. One that starts nothing at all for a while after a failure reports a pause
(`Probe.pause`). One whose policy bounds how often a ready node is overtaken by later ones of its
resource promises that in an attribute ``bypass_bound`` (clause SCHED-17).

Some workloads may be impossible to express for your engine: its barriers always run on a row
group, say, or it counts attempts for the whole run. A backend then has a third method::

    def fit(self, work: Workload) -> Workload | None: ...

It gives the nearest workload that the engine can express, or None, and the suite asks for that one
instead. It is a function of the workload alone, and maps its own results to themselves. Use it for
features that your engine lacks, and leave the mistakes of your engine to the suite.

Some calls raise an exception that names no kind, as other people's code does: `ValueError`,
`OSError`, one that nobody has heard of. It counts as permanent. A backend whose engine can be
told otherwise sets an attribute ``reads_foreign`` to True and reads in ``probe.work.foreign``
what such an exception counts as in this workload: ``"permanent"``, or ``"retryable"``, which some
workloads with the capability ``filters`` ask for.

A backend that saves promptly by another policy than rows names it in an attribute ``saving``: a
`cellspec.conformance.SavePolicy` of row groups, or of seconds.

A backend with the capability ``interrupts`` has a method that asks its engine to stop, as Ctrl-C,
SIGTERM or a deadline would::

    def request_stop(self, probe: Probe) -> None: ...

The suite calls it while `run` runs: in virtual time from the loop, between two of its steps, in
real time from another thread. It returns at once, and the engine then ends its run in its own time.
If an engine writes a claim without a pause, it is never asked in between; its backend says so in
``unasked``, which is described next.

A backend with the capability ``lost_workers`` has a method that makes its engine lose a worker,
with the results that only this worker holds::

    def lose_worker(self, probe: Probe) -> None: ...

The suite calls it while `run` runs: in virtual time from the loop, between two of its steps, in
real time from another thread. It returns at once. The backend reports what was lost (`Probe.lost`).

A backend with the capability ``killer_cells`` names in an attribute ``killer_tries`` how many
processes may die with a cell in flight before its engine gives the row of that cell up. It reports
the drop with the cause ``killer`` (clause DROP-06).

Without the parts that `fit` takes away, a workload may never reach some coverage goals
(`cellspec.conformance.run.coverage_goals.Sometimes`). A backend lists them in an attribute
``unasked``. They are no goals for it then, and every report says so. If it is a mapping, its values
are the reasons, and reports give them. An attribute ``unclaimed`` gives, for a capability that the
backend does not name, why it cannot be asked for: that nothing was tried must not be read as that
nothing breaks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Mapping, Set
from dataclasses import replace
from numbers import Integral
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias, runtime_checkable

from cellspec.conformance.run.coverage_goals import Sometimes
from cellspec.conformance.run.recorder import AdapterError
from cellspec.conformance.run.users_exit import pass_on
from cellspec.conformance.run.values import SKIPPED, Skipped, Table, Value
from cellspec.errors import SpecError
from cellspec.machine.limits import SavePolicy
from cellspec.shapes import SECONDS_MAX

if TYPE_CHECKING:
    from cellspec.conformance.run.probe import Probe
    from cellspec.conformance.run.workload import Workload

__all__ = [
    "CAPABILITIES",
    "SKIPPED",
    "Backend",
    "Fit",
    "Skipped",
    "Table",
    "Value",
    "bypass_bound_of",
    "check_capabilities",
    "claim_version_of",
    "fit_of",
    "idle_s_of",
    "killer_tries_of",
    "reasons_of",
    "saving_of",
    "table_of",
]

CAPABILITIES: Final = (
    "core",
    "batch_barriers",
    "groups",
    "streaming",
    "ordered",
    "retries",
    "drops",
    "skips",
    "resume",
    "column_checkpoints",
    "set_claims",
    "commits",
    "prompt_saving",
    "targets",
    "config",
    "early_stop",
    "timeouts",
    "interrupts",
    "filters",
    "cache",
    "lost_workers",
    "killer_cells",
    "storage_steps",
    "storage_faults",
    "torn_writes",
    "work_conserving",
    "any_text",
    "row_ids",
    "counted_work",
)
"""Every capability that a backend may name, in the order in which reports list them."""


Fit: TypeAlias = "Callable[[Workload], Workload | None]"
"""Maps a workload to the nearest one that an engine can express, or to None."""


@runtime_checkable
class Backend(Protocol):
    """An engine, as the suite sees it.

    Attributes:
        name: the engine's name in reports.
        version: the engine's version.
        capabilities: the capabilities of the engine; names of `CAPABILITIES`.
    """

    name: str
    version: str
    capabilities: frozenset[str]

    def run(self, probe: Probe) -> Coroutine[Any, Any, None] | None:
        """Run the engine on ``probe.work`` in ``probe.folder``, to its end.

        A coroutine function is run on a loop whose time is virtual. A plain function is run in a
        thread of its own, in real time, and may start threads.

        If the engine refuses what it is asked for, raise `cellspec.conformance.Refused` with its
        reason.
        """

    def table(self, probe: Probe) -> Table:
        """Read the durable table in ``probe.folder``, after a crash or after the end.

        Leave the folder as it is: the next incarnation goes on from it. A store that mends its
        files when it is opened, as a database rolls back its journal, is read from a copy of them.
        """


def fit_of(backend: Backend) -> Fit:
    """The function that maps workloads to those that the engine can express.

    It is the backend's own method, or the identity. It asks for checkpoints of cells (version 3)
    only where they can be claimed, and has exceptions that name no kind read as retryable only by
    backends that say that they ask how to read them (``reads_foreign``). It raises `AdapterError`
    if that method fails or gives a value that is no workload.
    """
    own: Fit | None = getattr(backend, "fit", None)
    if own is None:
        return lambda work: _with_reading_of(backend, _with_claims_of(backend, work))

    def fit(work: Workload) -> Workload | None:
        where = f"backend {type(backend).__name__}: fit"
        try:
            made = own(work)
        except Exception as error:
            pass_on(error)
            raise AdapterError(f"{where}: {type(error).__name__}: {error}") from error
        if made is not None and not isinstance(made, type(work)):
            raise AdapterError(f"{where}: expected a Workload or None, got {made!r}")
        if made is None:
            return None
        return _with_reading_of(backend, _with_claims_of(backend, made))

    return fit


def table_of(backend: Backend, probe: Probe) -> Table:
    """The table that a backend reads back.

    Raises:
        AdapterError: it is no `Table`, or one with fields of another type.
    """
    table = backend.table(probe)
    wrong = _misfit_of(table)
    if wrong:
        raise AdapterError(wrong)
    return table


def _misfit_of(table: object) -> str:
    """What is wrong in the form of a table, in words; "" if nothing is."""
    if not isinstance(table, Table):
        return f"expected a Table, got {type(table).__name__}"
    for name in ("rows", "causes"):
        by_row = getattr(table, name)
        if not isinstance(by_row, Mapping):
            return f"{name}: expected a mapping by row, got {type(by_row).__name__}"
    for row, cells in table.rows.items():
        if not isinstance(cells, Mapping):
            return f"rows: row {row!r}: expected a mapping by column, got {type(cells).__name__}"
    for name in ("dropped", "doubled"):
        rows = getattr(table, name)
        if not isinstance(rows, Set):
            return f"{name}: expected a set of rows, got {type(rows).__name__}"
    for name in ("rows", "causes", "dropped", "doubled"):
        for row in getattr(table, name):
            if not isinstance(row, Integral):
                return f"{name}: expected the number of a row, got {row!r}"
    return ""


def reasons_of(backend: Backend) -> tuple[dict[str, str], dict[str, str]]:
    """Why a backend cannot be asked for some situations, and for some capabilities.

    Each is a mapping to reasons in words, empty for a backend that gives none.
    """
    found: list[dict[str, str]] = []
    for name in ("unasked", "unclaimed"):
        given = getattr(backend, name, ())
        reasons = given.items() if isinstance(given, Mapping) else ()
        found.append({str(what): str(why) for what, why in reasons})
    return found[0], found[1]


def saving_of(backend: Backend, work: Workload) -> SavePolicy | None:
    """When the engine promises to save in a run of this workload (clause CKPT-19).

    None if it is without the capability, or is told to save at the end alone.
    """
    if "prompt_saving" not in backend.capabilities:
        return None
    own: SavePolicy | None = getattr(backend, "saving", None)
    if own is not None:
        return None if own.group and work.limits.group_rows is None else own
    every = work.checkpoint_every_rows
    return None if every is None else SavePolicy(rows=every)


def claim_version_of(backend: Backend, work: Workload) -> int | None:
    """The kind of claims that a run is asked for, as `Workload.checkpoint_version`.

    0 for an engine that does not resume. None where nobody can say: an engine that resumes from
    whole rows may write claims, or leave only a table.
    """
    able = frozenset(backend.capabilities)
    if "resume" not in able:
        return 0
    if work.checkpoint_version == 3 and not able.isdisjoint(("set_claims", "commits")):
        return 3
    if "column_checkpoints" in able:
        return min(work.checkpoint_version, 2)
    return None if able.isdisjoint(("set_claims", "commits")) else 1


def bypass_bound_of(backend: Backend) -> int | None:
    """The most later nodes that overtake a ready one, as the backend promises; None for no promise.

    Raises:
        SpecError: its attribute ``bypass_bound`` is no integer from 0.
    """
    promised: int | None = getattr(backend, "bypass_bound", None)
    if promised is not None and (type(promised) is not int or promised < 0):
        where = f"backend {type(backend).__name__}: bypass_bound"
        raise SpecError(f"{where}: expected an integer from 0, got {promised!r}")
    return promised


def killer_tries_of(backend: Backend) -> int | None:
    """How often a cell that ends the process is tried; None without the capability.

    Raises:
        SpecError: the backend has the capability, and its ``killer_tries`` is no integer from 1.
    """
    if "killer_cells" not in backend.capabilities:
        return None
    tries = getattr(backend, "killer_tries", None)
    if type(tries) is not int or tries < 1:
        where = f"backend {type(backend).__name__}: killer_tries"
        raise SpecError(f"{where}: expected an integer from 1, got {tries!r}")
    return tries


def idle_s_of(backend: Backend) -> float:
    """How long ready work may wait beside nothing in flight, in seconds, as the backend declares.

    Raises:
        SpecError: its attribute ``idle_s`` is no finite number from 0.
    """
    declared = getattr(backend, "idle_s", 0.0)
    ok = isinstance(declared, int | float) and not isinstance(declared, bool)
    if not ok or not 0 <= declared <= SECONDS_MAX:
        where = f"backend {type(backend).__name__}: idle_s"
        raise SpecError(f"{where}: expected seconds from 0, got {declared!r}")
    return float(declared)


def _with_claims_of(backend: Backend, work: Workload) -> Workload:
    """The workload, with checkpoints of a version that the engine can write."""
    able = frozenset(backend.capabilities)
    if work.checkpoint_version < 3 or not able.isdisjoint(("set_claims", "commits")):
        return work
    return work.replace(checkpoint_version=2 if "column_checkpoints" in able else 1)


def _with_reading_of(backend: Backend, work: Workload) -> Workload:
    """The workload, with retryable failures that name their kind unless the engine is told it."""
    if work.foreign == "permanent" or getattr(backend, "reads_foreign", False) is True:
        return work
    faults = tuple(replace(fault, raises="") for fault in work.faults)
    return work.replace(foreign="permanent", faults=faults)


_SITUATIONS = frozenset(map(str, Sometimes))


def check_capabilities(backend: Backend) -> None:
    """Refuse a backend whose attributes cannot be used.

    Raises:
        SpecError: an attribute that is missing or of another type, or an unknown capability.
    """
    where = f"backend {type(backend).__name__}"
    capabilities = getattr(backend, "capabilities", None)
    wrong = [
        *(
            f"{name}: expected a string"
            for name in ("name", "version")
            if not isinstance(getattr(backend, name, None), str)
        ),
        *(
            f"{name}: expected a method"
            for name in ("run", "table")
            if not callable(getattr(backend, name, None))
        ),
    ]
    unasked = getattr(backend, "unasked", ())
    listed = isinstance(unasked, Collection) and not isinstance(unasked, str)
    odd = sorted(set(map(str, unasked)) - _SITUATIONS) if listed else []
    if not listed:
        wrong.append(f"unasked: expected a set of situations, or reasons by them, got {unasked!r}")
    elif odd:
        wrong.append(
            f"unasked: no such situation: {odd[0]!r}; "
            "see cellspec.conformance.run.coverage_goals.Sometimes"
        )
    unclaimed = getattr(backend, "unclaimed", {})
    odd = sorted(set(map(str, reasons_of(backend)[1])) - set(CAPABILITIES))
    if not isinstance(unclaimed, Mapping):
        wrong.append(f"unclaimed: expected reasons by capability, got {unclaimed!r}")
    elif odd:
        wrong.append(f"unclaimed: no such capability: {odd[0]!r}")
    if not callable(getattr(backend, "fit", fit_of)):
        wrong.append("fit: expected a method")
    saving = getattr(backend, "saving", None)
    if not isinstance(saving, SavePolicy | None):
        wrong.append(f"saving: expected a SavePolicy, got {saving!r}")
    if not isinstance(capabilities, frozenset | set | tuple | list):
        wrong.append(f"capabilities: expected a set of names, got {capabilities!r}")
        capabilities = ()
    if "interrupts" in capabilities and not callable(getattr(backend, "request_stop", None)):
        wrong.append("request_stop: expected a method, which the capability 'interrupts' needs")
    if "lost_workers" in capabilities and not callable(getattr(backend, "lose_worker", None)):
        wrong.append("lose_worker: expected a method, which the capability 'lost_workers' needs")
    if wrong:
        raise SpecError(f"{where}: {'; '.join(wrong)}")
    unknown = sorted(str(name) for name in capabilities if name not in CAPABILITIES)
    if unknown:
        raise SpecError(
            f"{where}: capabilities: unknown {', '.join(unknown)}; there are "
            f"{', '.join(CAPABILITIES)}"
        )
    if not isinstance(getattr(backend, "reads_foreign", False), bool):
        raise SpecError(f"{where}: reads_foreign: expected True or False")
    idle_s_of(backend)
    bypass_bound_of(backend)
    killer_tries_of(backend)
    if "core" not in capabilities:
        raise SpecError(f"{where}: capabilities: 'core' is missing; no engine is without it")
