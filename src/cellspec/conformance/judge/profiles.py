"""The profiles: for each capability, the clauses to judge and the coverage goals to meet."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from cellspec.clauses import Clause, clauses_of
from cellspec.conformance.run.coverage_goals import Sometimes

__all__ = [
    "DRAWN",
    "ENGINE_CLAUSES",
    "PROFILES",
    "CoverageGoal",
    "Profile",
    "profile_of",
]


@dataclass(frozen=True, slots=True)
class CoverageGoal:
    """A situation that a campaign must cover, if the backend has the capabilities that it needs."""

    what: Sometimes
    needs: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Profile:
    """A capability, with its clauses and the coverage goals of its campaign.

    Attributes:
        name: the capability; a backend that names it is judged by this profile.
        about: one line for the reader of a report.
        clauses: in the order in which they are reported.
        goals: the coverage goals, in the order in which they are reported.
        drawn: random workloads are drawn for it; else it brings workloads of its own.
    """

    name: str
    about: str
    clauses: tuple[Clause, ...]
    goals: tuple[CoverageGoal, ...]
    drawn: bool = True


def _goals(*plain: Sometimes, **needing: Collection[Sometimes]) -> tuple[CoverageGoal, ...]:
    """Coverage goals; a keyword names the further capabilities of its goals, ``a__b``."""
    needs = {what: frozenset[str]() for what in plain}
    for capabilities, group in needing.items():
        needs |= dict.fromkeys(group, frozenset(capabilities.split("__")))
    return tuple(CoverageGoal(what, needs[what]) for what in Sometimes if what in needs)


_S = Sometimes
# Coverage goals that need calls of several nodes at once hold for engines that start all they can
# (`work_conserving`): an engine that runs column by column is right, and never covers them.
PROFILES: tuple[Profile, ...] = (
    Profile(
        "core",
        "cells, barriers, limits, and a table that holds each value once",
        clauses_of("core"),
        _goals(
            _S.WORKERS_FULL,
            _S.RESOURCE_FULL,
            _S.BARRIER_RAN,
            _S.BARRIER_CHAIN,
            _S.JOIN,
            _S.MANY_ROWS,
            _S.WENT_ON,
            batch_barriers=[_S.SHORT_BATCH],
            any_text=[_S.ODD_TEXTS, _S.EQUAL_TEXTS],
            row_ids=[_S.ALIKE_IDS],
            work_conserving=[_S.OVERTAKING],
        ),
    ),
    Profile(
        "ordered",
        "columns whose rows run in order, one at a time",
        clauses_of("ordered"),
        _goals(_S.ORDER_HELD, work_conserving=[_S.ORDER_INVERTED]),
    ),
    Profile(
        "streaming",
        "calls that make many rows and give each as it is ready",
        clauses_of("streaming"),
        _goals(_S.RANGE_STARTED, _S.RANGE_PART, work_conserving=[_S.RANGE_FED]),
    ),
    Profile(
        "groups",
        "row groups, admitted up to a limit and retired when they are done",
        clauses_of("groups"),
        _goals(
            _S.SHORT_GROUP,
            _S.GROUPS_FULL,
            _S.GROUP_TURN,
            _S.SCOPE_OVER_GROUPS,
            ordered=[_S.GROUP_OF_ORDER],
        ),
    ),
    Profile(
        "retries",
        "calls that fail and may be repeated, and calls that are turned away",
        clauses_of("retries"),
        _goals(
            _S.RETRIED,
            _S.PUSHED_BACK,
            _S.BACKOFF_ENDED,
            _S.BARRIER_RETRIED,
            _S.LAST_ATTEMPT,
            streaming=[_S.RANGE_RETRIED],
        ),
    ),
    Profile(
        "drops",
        "rows that fail for good, and the barriers that go on without them",
        clauses_of("drops"),
        _goals(
            _S.DROPPED,
            _S.BARRIER_WITHOUT_ROW,
            _S.BARRIER_FAILED,
            _S.SCOPE_DROPPED,
            retries=[_S.SPENT],
            early_stop=[_S.STOPPED],
            work_conserving=[_S.DROP_BESIDE_CALL, _S.DROP_DURING_BARRIER],
            early_stop__work_conserving=[_S.STOPPED_IN_FLIGHT],
        ),
    ),
    Profile(
        "skips",
        "cells that are left out by a condition, and what follows from that",
        clauses_of("skips"),
        _goals(
            _S.SKIPPED,
            _S.SKIP_SPREAD,
            _S.SKIP_HELD,
            _S.BARRIER_WITHOUT_SKIP,
            _S.SCOPE_SKIPPED,
        ),
    ),
    Profile(
        "resume",
        "crashes anywhere, checkpoints, and going on from them",
        clauses_of("resume"),
        _goals(
            _S.CRASH_EARLY,
            _S.CLAIM_PART,
            _S.CRASH_TWICE,
            _S.CRASH_IN_BARRIER,
            _S.CRASH_LATE,
            _S.BARRIER_AGAIN,
            storage_steps=[_S.CRASH_IN_CLAIM],
            drops=[_S.CLAIM_WITH_DROP],
            skips=[_S.CLAIM_WITH_SKIP],
            groups=[_S.CRASH_IN_GROUP],
            retries=[_S.CRASH_IN_BACKOFF],
            targets=[_S.MORE_ROWS, _S.FEWER_ROWS],
            column_checkpoints=[_S.COLUMN_CLAIM],
            config=[_S.OTHER_CONFIG, _S.OTHER_PIPELINE],
            config__batch_barriers=[_S.OTHER_BATCHES],
            prompt_saving=[_S.SAVE_DUE],
            set_claims=[_S.CLAIM_GAP, _S.BARRIER_BETWEEN],
            row_ids=[_S.IDS_RESUMED],
            commits=[_S.COMMIT_LANDED],
            commits__storage_steps=[_S.COMMIT_LOST],
        ),
    ),
    Profile(
        "timeouts",
        "calls that hang or take too long, and end at a bound",
        clauses_of("timeouts"),
        _goals(
            _S.TIMED_OUT,
            drops=[_S.SPENT_BY_TIMEOUT],
            batch_barriers=[_S.BARRIER_TIMED_OUT],
        ),
    ),
    Profile(
        "interrupts",
        "runs that are asked to stop, as by Ctrl-C, and go on later",
        clauses_of("interrupts"),
        _goals(
            _S.INTERRUPTED,
            _S.ASKED_TWICE,
            work_conserving=[_S.ASKED_IN_FLIGHT],
            groups=[_S.ASKED_IN_GROUP],
            retries=[_S.ASKED_IN_BACKOFF],
            resume=[_S.INTERRUPTED_RESUMED],
            storage_steps=[_S.ASKED_IN_CLAIM],
        ),
    ),
    Profile(
        "storage_faults",
        "storage that is slow, that is full, or that fails now and then",
        clauses_of("storage_faults"),
        _goals(
            _S.CLAIM_FAILED,
            _S.ROWS_FAILED,
            _S.MADE_GOOD,
            _S.SLOW_WRITE,
            _S.LANDED,
        ),
    ),
    Profile(
        "filters",
        "answers that reject their rows, and answers that the engine must refuse",
        clauses_of("filters"),
        _goals(
            _S.FILTERED, _S.LEFT_OUT, _S.ANSWER_REFUSED, drops__early_stop=[_S.FILTERED_IN_WINDOW]
        ),
    ),
    Profile(
        "cache",
        "answers of a cache, after a crash and without a call",
        clauses_of("cache"),
        _goals(_S.RECALLED, _S.RECALLED_UNDER),
    ),
    Profile(
        "lost_workers",
        "workers that are lost, with results that nothing else holds",
        clauses_of("lost_workers"),
        _goals(
            _S.LOST_NEEDED,
            _S.LOST_UNDER,
            _S.LOST_BARRIER,
            _S.REMADE,
            resume=[_S.LOST_BESIDE_DURABLE],
        ),
    ),
    Profile(
        "killer_cells",
        "cells that end the process each time that they are called",
        clauses_of("killer_cells"),
        _goals(_S.KILLED_AGAIN, _S.KILLER_DROPPED),
    ),
    Profile(
        "torn_writes",
        "crashes in the middle of a write, at a byte that nobody announced",
        clauses_of("torn_writes"),
        _goals(_S.WRITE_TORN),
    ),
    Profile(
        "counted_work",
        "what an event costs, in lines of the engine's code, as runs grow",
        clauses_of("counted_work"),
        (),
        drawn=False,
    ),
)
"""The profiles in the order in which they are judged: simple things first."""

DRAWN: tuple[Profile, ...] = tuple(profile for profile in PROFILES if profile.drawn)
"""The profiles for which random workloads are drawn."""


ENGINE_CLAUSES = frozenset(one.number for profile in PROFILES for one in profile.clauses)
"""The clauses that engines are judged by; the others say how this package's own classes behave."""


def profile_of(name: str) -> Profile:
    """The profile of that name; KeyError if there is none."""
    return {profile.name: profile for profile in PROFILES}[name]
