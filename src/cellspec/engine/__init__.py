"""The reference engine: runs generators on the reference scheduler, and keeps rows durably.

Give it a graph, a function for each column, and a folder. It fills the table with as much at once
as the limits allow, tries again what may be tried again, gives up rows that cannot be made, and
saves as it goes. If the process dies, the same call goes on from what the folder holds.

>>> import asyncio, tempfile
>>> from cellspec import ColumnDescriptor, ExecutionGraph, ExecutionTraits, FailurePolicy, Limits
>>> from cellspec.engine import AsyncioEngine
>>> from cellspec.faults import Permanent, Retryable
>>> graph = ExecutionGraph(4, [
...     ColumnDescriptor("topic", traits=ExecutionTraits.START),
...     ColumnDescriptor("draft", dependencies=["topic"]),
...     ColumnDescriptor("twin_of", traits=ExecutionTraits.BARRIER, dependencies=["draft"]),
... ])
>>> asked = []
>>> def topic(row, inputs):
...     return ["tides", "moss", "tides", ""][row]
>>> async def draft(row, inputs):                      # a model call, say
...     asked.append(row)
...     if asked.count(row) == 1 and row == 1:
...         raise Retryable("timed out")               # worth another attempt
...     if not inputs["topic"]:
...         raise Permanent("no topic")                # the row is given up
...     return f"All about {inputs['topic']}."
>>> def twin_of(rows, inputs):                         # sees every row that is left
...     first = {}
...     for row, mine in zip(rows, inputs):
...         yield first.setdefault(mine["draft"], row)
>>> async def main(folder):
...     engine = AsyncioEngine(
...         graph, {"topic": topic, "draft": draft, "twin_of": twin_of}, folder=folder,
...         limits=Limits(workers=8), failures=FailurePolicy(max_attempts=3))
...     return await engine.run()
>>> with tempfile.TemporaryDirectory() as folder:
...     result = asyncio.run(main(folder))
...     print(result.outcome, "-", result.reason)
...     for row, values in result.rows().items():
...         print(row, values)
...     print(result.dropped)
success - 3 of 4 rows saved, 1 dropped
0 {'topic': 'tides', 'draft': 'All about tides.', 'twin_of': 0}
1 {'topic': 'moss', 'draft': 'All about moss.', 'twin_of': 1}
2 {'topic': 'tides', 'draft': 'All about tides.', 'twin_of': 0}
{3: Drop(column='draft', cause='Permanent: no topic', kind='failed')}

======================  ==========================================================================
module                  it decides
======================  ==========================================================================
``scheduler``           which call runs next, and what follows when it ends, without input, output
                        or clock; it is assembled from parts, a module each
``aio``, ``threads``    how a call is made: in a task of one event loop, or in a thread of a pool
``storage``             how rows and checkpoints survive a crash at any moment
``generators``          in which forms a generator may be given
``observer``            how a progress bar, a log or the conformance suite follows a run
======================  ==========================================================================

With ``checkpoint_version=3`` a checkpoint claims any cells: a crash loses what was in flight, or is
younger than the last save, and nothing else, also behind a row that takes long.

`AsyncioEngine` takes time from its loop alone, so a test can run a day's work in virtual time
(`cellspec.virtualtime.loop`). `ThreadEngine` is the same for generators that block.
"""

from cellspec.engine.aio import AsyncioEngine
from cellspec.engine.base import Engine, Result
from cellspec.engine.calls import Backoff, Call, CheckpointPlan, Drop, Failed, Restored, Save
from cellspec.engine.generators import Generator
from cellspec.engine.observer import Observer, Observers, ProgressBar
from cellspec.engine.scheduler import Scheduler
from cellspec.engine.storage.durable import Storage, StorageError
from cellspec.engine.storage.stores import MemoryStore, Store
from cellspec.engine.threads import ThreadEngine
from cellspec.engine.values import SKIPPED, Skipped

__all__ = [
    "SKIPPED",
    "AsyncioEngine",
    "Backoff",
    "Call",
    "CheckpointPlan",
    "Drop",
    "Engine",
    "Failed",
    "Generator",
    "MemoryStore",
    "Observer",
    "Observers",
    "ProgressBar",
    "Restored",
    "Result",
    "Save",
    "Scheduler",
    "Skipped",
    "Storage",
    "StorageError",
    "Store",
    "ThreadEngine",
]
