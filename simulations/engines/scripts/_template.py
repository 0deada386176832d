# Clause: SCHED-12
# Releases: 0.5.4 0.5.5
# Defect: One sentence that says what goes wrong, and when.
# Public: no, it drives AsyncTaskScheduler; or: yes
# Fixed by: the change that fixed it, if that is known
"""What the situation is, what must come of it, and what does.

Copy this file, give it a name that begins with the clause (``sched_12_what_goes_wrong.py``), and
fill in the header: the campaign reads it, runs the script on every release, and complains if it
shows in others than the header says. A script needs the engine's package and the standard library,
runs in seconds, bounds everything it waits for, and ends with

- exit code 0 if this release is right;
- exit code 1, after a line that begins with ``DEFECT``, if it is not;
- exit code 2, after a line that begins with ``ABSENT``, if this release has nothing of the kind.
"""

from __future__ import annotations

import asyncio
import sys

WAIT_S = 10.0


async def happens() -> str:
    """Bring it about, and say what happened."""
    return "nothing"


def main() -> int:
    try:
        from data_designer.engine.dataset_builders import async_scheduler  # noqa: F401
    except ImportError:
        print("ABSENT: this release has no scheduler")
        return 2
    print("expected: …")
    found = asyncio.run(asyncio.wait_for(happens(), WAIT_S))
    print(f"happened: {found}")
    if found != "nothing":
        print("DEFECT: the sentence of the header")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
