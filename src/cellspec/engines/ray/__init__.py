"""Ray as an engine: the pipeline is Ray's own task graph, and Ray orders it.

``pytest --pyargs cellspec.conformance --engine-backend=cellspec.engines.ray:RayBackend`` runs the
suite on Ray. Each cell and each barrier is one Ray task. Its inputs are object references, so that
Ray's scheduler alone decides when it may start; a barrier gives one object for each row, and a task
that reads it in that row waits for that object. A task of an ordered column also has the reference
of the live row before among its inputs, and ignores its value.

====================  =========================================================================
the specification's   is in Ray
====================  =========================================================================
worker, resource      a custom resource, of which a task takes one part in as many as the limit
attempts              ``max_retries`` with ``retry_exceptions``; Ray counts workers that died on
                      the same budget, so a call whose worker was killed has spent an attempt
back-pressure         nothing: the task waits in its place, as a client library would
a dropped row         a value, `Dropped`, that tasks pass on and barriers leave out; where Ray
                      itself gives up, the driver puts it in the place of the error, and gives
                      Ray the dependents again
a skipped cell        a value, `SKIPPED`
row groups            the driver gives Ray the tasks of a row group when it admits the group
checkpoints           nothing: the driver waits with ``ray.wait``, and keeps a `DriverState`
====================  =========================================================================

Ray repeats a task about a second after it failed, because it looks once a second. A worker that
dies after its call has ended, and before Ray has the result, has the call made and paid for twice
(clause SCHED-03): Ray promises a task at least once. A worker that dies in the last attempt that
``max_retries`` allows costs the row, although no call failed; Ray counts it as a failure, so it
breaks no clause. The suite kills no workers, so its workloads meet neither.

Ray knows no rows, so a task of a dropped row that does not read the failure runs on: see
`cellspec.engines.rows.in_line`. Ray has neither calls that give row after row to waiting tasks, nor
a share of failures at which to stop. The backend has no capability for these, nor for work
conservation, which cannot be judged in real time.

*Where it runs.* By itself a backend starts one local instance of Ray for its process: no dashboard,
no usage reports, loopback only, its files in a temporary folder that is removed at exit. A limit is
a fraction of a resource, so the one instance serves workloads with any limits. To use a cluster
instead, start its nodes, one of them with the resources that limits are parts of,

``ray start --head --resources='{"cellspec_workers": 1, "cellspec_0": 1, "cellspec_1": 1}'``

and set ``RAY_ADDRESS``, as for any Ray program. Limited tasks run on the node that has these
resources, all others anywhere; every node needs cellspec installed, and must reach the machine that
runs the suite, whose address is ``CELLSPEC_PROBE_HOST`` (the loopback interface by default).

*The effects of real time.* A task asks the probe, across processes, for the time of its call. The
probe sees the call end before Ray does, and Ray starts nothing because of it before: order, limits
and retries are judged as they are. But the machine decides when the driver learns of it, so the
durable rows at a crash differ from run to run, and a start that comes *too late* is not judged. And
a claim of some columns of a row may come after the probe saw the row fail, and before the driver
did (clause DROP-04); so the backend does not have ``column_checkpoints``. A claim of whole rows is
safe: a complete row cannot fail.

The modules: `backend`, `driver`, `row_groups`, `tasks` (the code in Ray's workers), `instance`.
"""

from __future__ import annotations

from cellspec.engines.ray.backend import RayBackend
from cellspec.engines.ray.driver import Driver, Key
from cellspec.engines.ray.tasks import Spec

__all__ = ["Driver", "Key", "RayBackend", "Spec"]
