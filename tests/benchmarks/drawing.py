"""The share of drawing in a campaign: ``python -m tests.benchmarks.drawing``.

For each profile a campaign of the reference engine is run, and the CPU time of its draws is divided
by that of the whole: a ratio within one run, which a busy machine leaves as it is.
"""

from __future__ import annotations

import time

from cellspec.conformance.campaign.campaign import drawn_workload
from cellspec.conformance.judge.harness import run_workload
from cellspec.conformance.judge.profiles import DRAWN
from cellspec.engines.reference import ReferenceBackend


def drawing_share(profile: str, workloads: int) -> float:
    """The CPU time of drawing, by that of drawing, running and judging."""
    backend = ReferenceBackend()
    drawing = 0.0
    began_s = time.process_time()
    for example in range(2, workloads + 2):
        before_s = time.process_time()
        work = drawn_workload(0, profile, example, sorted(backend.capabilities))
        drawing += time.process_time() - before_s
        run_workload(backend, work)
    return drawing / (time.process_time() - began_s)


if __name__ == "__main__":
    for one in DRAWN:
        if one.name in ReferenceBackend.capabilities:
            print(f"{one.name:16s} {drawing_share(one.name, 100):6.1%}")
