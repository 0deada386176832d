# Clause: BARR-01
# Releases: 0.5.4 0.5.5 0.5.7 0.5.9 0.6.0 0.6.1 0.7.0 0.8.0 0.9.0 0.9.4 0.9.6 0.9.7
# Defect: If the call of an order-dependent generator for one row group is to be repeated, the
#   next row group has its turn before, and gets what was meant for the first.
# Public: no, it drives AsyncTaskScheduler
"""Row groups of one row and of two rows. The order-dependent generator `SEED` times out once,
for the first of them. Its rows depend on the order of its calls ("row group N must complete
before N+1 starts"): it must be called again for one row, and for two rows after that."""

from __future__ import annotations

from _template import Run, failure

WAIT_S = 10.0


def table() -> Run:
    async def seed(_row: int, call: int) -> None:
        if call == 1:
            raise failure("ModelTimeoutError")

    return Run([("SEED", None, seed)], groups=[1, 2], options={})


def defect(run: Run) -> str:
    ends = [text for _, text in run.log if text.startswith("end SEED")]
    if ends == ["end SEED for 1 rows", "end SEED for 2 rows"]:
        return ""
    return f"the order was: {', '.join(ends) or 'nothing ended'}"
