"""Dask under the conformance suite: the workload as a task graph of Dask's own.

``pytest --pyargs cellspec.conformance --engine-backend=cellspec.engines.dask:DaskBackend``

The suite judges Dask's distributed scheduler, used as by somebody with a pipeline to run and no
scheduler of their own. Each cell is one key of a Dask graph, and so is each barrier and each output
cell of a barrier; each column is one layer. The needs of a cell are Dask dependencies. The driver
hands over all tasks that are left in one piece, and from then on Dask alone decides their order.
The rest of this page says how Dask is asked for each feature, and which features it lacks.

*Order.* Of the tasks that could run, Dask chooses one; left to itself it takes the last row first
as often as not. A claim covers rows without a gap from the first one on, so a layer's annotation
gives earlier rows a higher priority.

*Limits.* The number of workers' threads limits the calls at once. A resource is one of Dask's
worker resources, and a layer's annotation says that each of its tasks takes one unit.

*Retries.* A layer's annotation says how often Dask may run a task again, one time fewer than there
are attempts; a task that fails and may be repeated raises, and Dask runs it again, at once. A task
cannot ask Dask which attempt it is, so the broker beside the probe counts failures, and the last
one does not raise. A call that is turned away (back-pressure) is no failure to Dask. The task
sleeps for the time that it is asked for and calls again, as clients of a rate-limited endpoint do;
it keeps its thread and its unit while it sleeps, which costs throughput and breaks no limit.

*Dropped rows.* Dask knows tasks, not rows; a task that raises for good takes all its dependents
with it, every barrier first of all. So a task that fails for good gives a marker in place of a
value (`Dropped`), tasks that are given the marker pass it on, and a barrier leaves that row out. A
task of the same row that does not read the failure runs on, because nothing could notify it; `fit`
asks for workloads without such columns (`with_failures_in_line`). A skip is a marker too.

*After a crash.* The driver takes results as Dask gives them (``as_completed``), writes the rows
that are complete without a gap to the folder, and claims them (`cellspec.engines.rows`). A run that
resumes gives Dask only the rest of the graph: a claimed cell stands in it as a value. A barrier
whose output an unclaimed row needs is in it again, over all rows of its scope.

*A worker that is killed.* Dask runs its tasks again, and not only those that were running: results
are kept in the memory of workers alone. A cell that was paid for would be paid for twice (clause
SCHED-03). So where workers may die the broker remembers the result of each call, and a task that
Dask runs again is given that, as by a cache before an endpoint that costs money. A call that was
still running when its worker died gave nothing, and is made again.

*Where it runs.* By default in threads of this process, on one cluster for each pair of limits,
which later workloads use again. `ProcessBackend` has workers that are processes, each with a nanny,
and serves the probe to them (`cellspec.engines.remote`). With the environment variable
``DASK_SCHEDULER_ADDRESS``, or the argument `address`, the tasks go to a cluster that is there
already. Its workers must run on this machine, because the probe is served on loopback only, and
must be able to import `cellspec`. Their threads and resources are fixed when they start, so
workloads are fitted to them: ``dask worker $ADDRESS --nworkers 2 --nthreads 1 --resources r=1``.

*Capabilities that are left out.* Row groups, ranges and early stops: Dask has none of them. Work
conservation (``work_conserving``): it cannot be judged in real time. Lost workers
(``lost_workers``): the broker keeps every result, so none is lost; and without it nobody could say
which results went. Dask learns of the death from a connection that closes, at a moment of real
time, and runs the tasks again by itself; it reports to no client who alone had held what.

The modules: `backend`, `driver` (the graph and its results), `calls` (the generators), `tasks`
(what runs in a worker), `clusters`.
"""

from __future__ import annotations

from cellspec.engines.dask.backend import ADDRESS, THREADS, DaskBackend, ProcessBackend
from cellspec.engines.dask.calls import CallBroker, Calls
from cellspec.engines.dask.clusters import stop_clusters
from cellspec.engines.dask.driver import Driver, Key

__all__ = [
    "ADDRESS",
    "THREADS",
    "CallBroker",
    "Calls",
    "DaskBackend",
    "Driver",
    "Key",
    "ProcessBackend",
    "stop_clusters",
]
