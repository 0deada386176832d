"""The coverage goals: situations that a campaign must have been in before a clause can pass.

A backend may name some of them in its attribute ``unasked``
(`cellspec.conformance.run.backend`); `cellspec.conformance.judge.profiles` says which profile has
which goal, and `cellspec.conformance.judge.coverage` finds in a run's events which it covered.
"""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Sometimes"]


class Sometimes(StrEnum):
    """A situation that a campaign must have been in; the value is the sentence reports print."""

    WORKERS_FULL = "every worker was busy"
    RESOURCE_FULL = "a resource was used up to its limit"
    BARRIER_RAN = "a barrier started"
    BARRIER_CHAIN = "a barrier read the output of another barrier"
    JOIN = "a cell waited for two columns"
    SHORT_BATCH = "a barrier ran on a short last batch"
    OVERTAKING = "a row overtook an earlier one"
    ORDER_HELD = "an ordered column held back a row whose inputs were there"
    ORDER_INVERTED = "an ordered column got its inputs in another order"
    ODD_TEXTS = "a value looked like a null, a number, an empty or a long text"
    EQUAL_TEXTS = "two rows had equal values"
    MANY_ROWS = "a run had more than 64 rows"
    RANGE_STARTED = "a range of several rows started"
    RANGE_PART = "a range had given some of its rows and not others"
    RANGE_FED = "a node started on a row of a range that was still running"
    SHORT_GROUP = "the last row group was shorter than the others"
    GROUPS_FULL = "as many row groups were admitted as the limit allows"
    GROUP_TURN = "a row group was admitted after another had retired"
    SCOPE_OVER_GROUPS = "a barrier read rows of several row groups"
    RETRIED = "a failed call was tried again"
    PUSHED_BACK = "a call was turned away without spending an attempt"
    BACKOFF_ENDED = "a call was tried again after its backoff"
    BARRIER_RETRIED = "a failed barrier was tried again"
    LAST_ATTEMPT = "the last attempt allowed ended well"
    RANGE_RETRIED = "a range failed after it had given some of its rows"
    DROPPED = "a row was dropped by a permanent failure"
    SPENT = "a row was dropped because its attempts were spent"
    DROP_BESIDE_CALL = "a row was dropped while another of its calls was in flight"
    DROP_DURING_BARRIER = "a row was dropped while a barrier was in flight"
    BARRIER_WITHOUT_ROW = "a barrier ran without a dropped row"
    BARRIER_FAILED = "a barrier failed for good"
    SCOPE_DROPPED = "every row of a barrier's scope was dropped"
    STOPPED = "a run stopped early"
    STOPPED_IN_FLIGHT = "a call was in flight when a run stopped early"
    SKIPPED = "a cell was skipped by its own condition"
    SKIP_SPREAD = "a skip went on to a column that needs it"
    SKIP_HELD = "a cell ran although an input was skipped"
    BARRIER_WITHOUT_SKIP = "a barrier ran without a skipped row"
    SCOPE_SKIPPED = "every row of a barrier's scope was skipped or dropped"
    CRASH_EARLY = "a crash came before any claim was durable"
    CLAIM_PART = "a run resumed from a claim of some of its rows"
    CRASH_TWICE = "a run crashed, was resumed and crashed again"
    CRASH_IN_BARRIER = "a crash came while a barrier was in flight"
    CRASH_LATE = "a crash came when every row was resolved and the run had not ended"
    CRASH_IN_CLAIM = "a crash came while a claim was being written"
    BARRIER_AGAIN = "a barrier ran again although rows of its scope were claimed"
    CLAIM_WITH_DROP = "a run resumed from a claim that covers a dropped row"
    CLAIM_WITH_SKIP = "a run resumed from a claim that covers a skipped cell"
    CRASH_IN_GROUP = "a crash came while a row group was half done"
    CRASH_IN_BACKOFF = "a crash came while a failed call waited to be tried again"
    MORE_ROWS = "a run was resumed with more rows"
    FEWER_ROWS = "a run was resumed with fewer rows"
    OTHER_CONFIG = "a process with another configuration came to claimed cells"
    OTHER_PIPELINE = "a process with another pipeline came to claimed cells"
    OTHER_BATCHES = "a process with another batch size came to claimed cells"
    COLUMN_CLAIM = "a run resumed from a claim of more rows of one column than of another"
    TIMED_OUT = "a call ended as timed out"
    BARRIER_TIMED_OUT = "the call of a barrier ended as timed out"
    SPENT_BY_TIMEOUT = "a row was dropped because the last attempt of a cell timed out"
    SAVE_DUE = "a save was due while rows were left to finish"
